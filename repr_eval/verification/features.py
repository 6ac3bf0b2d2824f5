"""Stored features, and folders of features: the hashes of their rows, and the settings that keys are of."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from repr_eval.representations import feature_folder, store
from repr_eval.system.arrays import mapped
from repr_eval.verification.base import Check, described, same, sha256_of_rows

_ENTRY = re.compile(r"[0-9a-f]{32}\.(npy|json)")


def entries(folder: Path) -> list[str]:
    """The keys of the entries in a folder of stored features, whole or not; none in another folder."""
    files = (path for path in folder.iterdir() if _ENTRY.fullmatch(path.name))
    return sorted({path.stem for path in files if path.is_file() and not path.is_symlink()})


def checks(folder: Path) -> Iterator[Check]:
    """Of every entry of a folder of stored features."""
    for key in entries(folder):
        array, sidecar = folder / f"{key}.npy", folder / f"{key}.json"
        yield Check(array, "features", _entry(array), (array, sidecar), (sidecar,))


def _entry(path: Path) -> Callable[[], str | None]:
    def work() -> str | None:
        sidecar = path.with_suffix(".json")
        if not sidecar.is_file() or not path.is_file():
            missing = path if sidecar.is_file() else sidecar
            raise ValueError(f"{path}: is not whole: there is no {missing.name}")
        content = described(sidecar)
        version = content.pop("version", None)
        if version != store.VERSION and type(version) is int:
            return f"of version {version}, and read by none that is in use"
        try:
            hashes = store.RowHashes(**content.pop(store.HASHES))
            precision = content["precision"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{sidecar}: says nothing of the rows ({error!r})") from error
        if store.key_of(content) != path.stem:
            raise ValueError(f"{sidecar}: its settings are not those of its name")
        _check_rows(path, hashes, precision)
        return None

    return work


def _check_rows(path: Path, hashes: store.RowHashes, precision: object) -> None:
    rows, size = mapped(path), hashes.block_rows
    if type(size) is not int or size < 1 or not isinstance(hashes.blocks, list):
        raise ValueError("its hashes cannot be read")
    if rows.ndim != 2 or str(rows.dtype) != precision or len(hashes.blocks) != -(-len(rows) // size):
        raise ValueError(f"is {rows.dtype} {list(rows.shape)}; another array was stored")
    if changed := hashes.changed(rows):
        first, last = changed[0].start, changed[0].stop - 1
        raise ValueError(f"rows {first} to {last} are not those that were stored")


def folder_checks(folder: Path) -> Iterator[Check]:
    """Of a folder of features in plain files: one for its sidecar, one for each array."""
    sidecar = folder / feature_folder.SIDECAR
    yield Check(sidecar, "feature folder", _sidecar(folder))
    for path in feature_folder.files_of(folder)[:-1]:
        yield Check(path, "feature folder", _array(path, sidecar))


def _sidecar(folder: Path) -> Callable[[], None]:
    def work() -> None:
        feature_folder.FeatureFolder(folder)

    return work


def _array(path: Path, sidecar: Path) -> Callable[[], None]:
    def work() -> None:
        try:
            stored = described(sidecar)["arrays"][path.stem]
            shape, kind, sha256 = stored["shape"], stored["type"], stored["sha256"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{sidecar}: does not describe {path.name}") from error
        same(sha256_of_rows(path, shape, kind), sha256)

    return work
