"""The weights that ship with repr-eval: `pretrained/NAME.safetensors`, described in `pretrained/manifest.json`."""

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from repr_eval.system.files import sha256_of_file
from repr_eval.system.json_text import read_object

_PACKAGE = Path(__file__).resolve().parent.parent
_FOLDERS = (_PACKAGE / "pretrained", _PACKAGE.parent / "pretrained")  # in an installed package, in a checkout

UNTRAINED = re.compile(r"random(?::(\d+))?")  # the control, in the place of a name; with another seed


def is_untrained(name: str | None) -> bool:
    """Whether `name` is the untrained control: "random", or "random:SEED"."""
    return bool(UNTRAINED.fullmatch(name or ""))


def folder() -> Path:
    """The folder of shipped weights."""
    for path in _FOLDERS:
        if (path / "manifest.json").is_file():
            return path
    looked = " or ".join(str(path) for path in _FOLDERS)
    raise ValueError(f"no shipped weights: no manifest.json in {looked}; name a .safetensors file instead")


def manifest() -> dict[str, Any]:
    """The manifest: "best", the name of the best discriminator, and "models", one description a name."""
    path = folder() / "manifest.json"
    try:
        content = read_object(path)
        content["models"][content["best"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a manifest of shipped weights ({error!r})") from error
    return content


def best() -> str:
    """The name of the best shipped discriminator."""
    return str(manifest()["best"])


def find_weights(name: str) -> Path:
    """The file of shipped weights called `name`, or the path `name` itself. ValueError says what there is instead.

    Shipped weights are compared with the manifest's SHA-256.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix == ".safetensors" or len(path.parts) > 1:
        raise ValueError(f"{name}: no such weights file")
    try:
        shipped = folder() / f"{name}.safetensors"
    except ValueError as error:
        raise ValueError(f"no weights called {name!r}: {error}") from error
    if not shipped.is_file():
        names = ", ".join(sorted(manifest()["models"]))
        raise ValueError(
            f"no weights called {name!r}; shipped are {names}; controls and methods: `help(repr_eval.representation)`"
        )
    _check(shipped)
    return shipped


def _check(shipped: Path) -> None:
    """Raise a ValueError unless the file is the one that the manifest tells the SHA-256 of."""
    listed = {
        name: sha256
        for model in manifest()["models"].values()
        if isinstance(model, dict) and isinstance(model.get("files"), dict)
        for name, sha256 in model["files"].items()
    }
    if shipped.name not in listed:
        raise ValueError(f"{shipped}: manifest.json beside it does not name this file; give its path to use it")
    its = os.stat(shipped)
    if _sha256(shipped, its.st_size, its.st_mtime_ns) != listed[shipped.name]:
        raise ValueError(f"{shipped}: is not the file that shipped (its SHA-256, by manifest.json); install it again")


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    """The file's SHA-256, while size and time of change are the same."""
    return sha256_of_file(path)


def find_both(source: str) -> list[Path]:
    """The files that `source` stands for: a file itself, or D's and, where there is one, G's of shipped weights."""
    path = find_weights(source)
    generator = path.with_name(f"{path.stem}-generator{path.suffix}")
    shipped = not Path(source).is_file()
    return [path, find_weights(generator.stem)] if shipped and generator.is_file() else [path]
