"""Runs of training, weights, and packed images."""

from collections.abc import Iterator
from pathlib import Path

from repr_eval.gan import pretrained
from repr_eval.gan.checkpoint import check_checkpoints, latest_step
from repr_eval.gan.run_folder import DISCRIMINATOR, GENERATOR, LOG, LOG_HEADER
from repr_eval.gan.settings import SETTINGS, read_history, read_settings
from repr_eval.gan.weights import load_network
from repr_eval.system.arrays import mapped
from repr_eval.system.files import sha256_of_file
from repr_eval.system.json_text import read_object
from repr_eval.verification.base import Check, described, same, sha256_of_rows

MANIFEST = "manifest.json"


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run of training."""
    return (folder / SETTINGS).is_file() and (
        any((folder / name).is_file() for name in (DISCRIMINATOR, LOG)) or latest_step(folder) > 0
    )


def run_checks(folder: Path) -> Iterator[Check]:
    """Of the settings, the losses, every checkpoint and the weights of a run."""

    def settings() -> None:
        read_settings(folder / SETTINGS)
        read_history(folder / SETTINGS)

    yield Check(folder / SETTINGS, "run", settings)
    if (folder / LOG).is_file():
        yield Check(folder / LOG, "run", lambda: _losses(folder / LOG))
    for path, work in check_checkpoints(folder, _run_of(folder)):
        yield Check(path, "checkpoint", work)
    for name in (DISCRIMINATOR, GENERATOR):
        if (folder / name).is_file():
            yield weights_check(folder / name)


def _run_of(folder: Path) -> str:
    """What the checkpoints of a run are bound to; nothing that they could be where its settings are damaged."""
    try:
        return read_settings(folder / SETTINGS).run
    except (ValueError, OSError):
        return "unknown"


def _losses(path: Path) -> str:
    header, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True) or [""]
    if header != LOG_HEADER:
        raise ValueError(f"begins with {header.strip()!r:.60}")
    for number, line in enumerate(lines, 2):
        step, images, *losses = line.split(",")
        if not (step.isdecimal() and images.isdecimal() and len(losses) == 2 and line.endswith("\n")):
            raise ValueError(f"line {number} is {line!r:.60}")
        [float(loss) for loss in losses]
    return "has no hash"


def weights_check(path: Path) -> Check:
    """Of a weights file: against the manifest beside it or, of one that none names, whether it is whole."""

    def work() -> str | None:
        stored = _in_manifest(path)
        if stored is not None:
            same(sha256_of_file(path), stored)
        load_network(path)
        return None if stored is not None else "has no hash stored with it; its tensors fit its network"

    return Check(path, "weights", work)


def _in_manifest(path: Path) -> str | None:
    """The hash that a manifest beside the file says it has."""
    manifest = path.with_name(MANIFEST)
    return _hashes(manifest).get(path.name) if manifest.is_file() else None


def _hashes(manifest: Path) -> dict[str, str]:
    """The files that a manifest names, and their hashes; ValueError where it is none."""
    try:
        models = read_object(manifest)["models"].values()
        return {str(name): str(sha256) for model in models for name, sha256 in model["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{manifest}: not a manifest of weights ({error!r})") from error


def is_manifest_folder(folder: Path) -> bool:
    """Whether a folder has a manifest of weights, or something else of that name beside weights."""
    manifest = folder / MANIFEST
    if not manifest.is_file() or any(folder.glob("*.safetensors")):
        return manifest.is_file()
    try:
        return bool(_hashes(manifest))
    except ValueError:
        return False


def manifest_checks(folder: Path) -> Iterator[Check]:
    """Of a folder of shipped weights: its manifest, every file that this names, and other weights there."""
    manifest = folder / MANIFEST
    yield Check(manifest, "weights", lambda: f"names {len(_hashes(manifest))} files")
    there = {path for path in folder.glob("*.safetensors") if path.is_file()}
    try:
        named = {folder / name for name in _hashes(manifest)}
    except ValueError:
        named = set()
    for path in sorted(there | named):
        yield weights_check(path)


def shipped() -> Path | None:
    """The folder of shipped weights, if there is one."""
    try:
        return pretrained.folder()
    except ValueError:
        return None


def is_pack(path: Path) -> bool:
    """Whether a file is an array of images with a sidecar beside it."""
    if path.suffix != ".npy" or not path.is_file() or not path.with_suffix(".json").is_file():
        return False
    try:
        rows = mapped(path)
    except (ValueError, OSError):
        return _says_pack(path)
    return (rows.dtype == "uint8" and rows.ndim == 4) or _says_pack(path)


def _says_pack(path: Path) -> bool:
    try:
        return str(read_object(path.with_suffix(".json")).get("format")) == "repr-eval image pack"
    except (ValueError, OSError):
        return False


def pack_check(path: Path) -> Check:
    """Of a packed array: its rows against the hash in its sidecar."""
    sidecar = path.with_suffix(".json")

    def work() -> None:
        if not sidecar.is_file():
            raise ValueError(f"has no sidecar {sidecar.name}, and so no hash to check it by")
        content = described(sidecar)
        try:
            count, size, sha256 = content["count"], content["size"], content["sha256"]
        except KeyError as error:
            raise ValueError(f"{sidecar}: not the sidecar of a packed array ({error!r})") from error
        same(sha256_of_rows(path, [count, size, size, 3], "uint8"), sha256)

    return Check(path, "packed images", work, more=(sidecar,))
