"""Features on disk, keyed by everything that can change them: written under a temporary name, then renamed.

An entry is `KEY.npy` (float16 or float32 [N, D], memory-mapped on reading) and `KEY.json`, the settings that the key is
the hash of. The settings are written once the features are complete and before they get their name, so that no array
is without them.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np

from repr_eval.system.files import replacing, reserve, write_text
from repr_eval.system.ranks import ALONE, Ranks

STALE_SECONDS = 24 * 3600
VERSION = 2  # of the extraction code and of an entry's layout: raised whenever the same settings would give another one
Fill = Callable[[np.ndarray], None]  # writes the features into an array [N, D], or a rank's share of them
Check = Callable[[np.ndarray], None]  # raises an error where the complete features must not be stored


def key_of(settings: dict[str, Any]) -> str:
    """The name of the entry for `settings` (JSON-able)."""
    text = json.dumps({"version": VERSION, **settings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def read(folder: Path, settings: dict[str, Any], shape: tuple[int, int]) -> np.ndarray | None:
    """The features for `settings`, memory-mapped read-only; None where `folder` has none.

    `settings["precision"]` is the stored type, float16 or float32. An entry of another shape or type (a damaged file)
    counts as none.
    """
    try:
        array = np.lib.format.open_memmap(_path(folder, settings), "r")
    except (OSError, ValueError):
        return None
    return array if (array.shape, array.dtype) == (shape, np.dtype(settings["precision"])) else None


def write(
    folder: Path, settings: dict[str, Any], shape: tuple[int, int], fill: Fill, check: Check, ranks: Ranks = ALONE
) -> np.ndarray:
    """Store what `fill` writes as the features for `settings`, and return it as `read` does.

    On any error, `check`'s too, nothing is stored. Several ranks fill one file, each its share.
    """
    path, dtype = _path(folder, settings), np.dtype(settings["precision"])
    with replacing(path) if ranks.first else nullcontext(path) as own:
        partial = ranks.broadcast(own)
        if ranks.first:
            _remove_stale(folder)
            check_space(folder, settings, shape)
            _create(partial, dtype, shape)
        ranks.wait()
        with open(partial, "rb") as held:
            fcntl.flock(held, fcntl.LOCK_SH)  # however long `fill` takes before it writes
            array = np.lib.format.open_memmap(partial, "r+")
            fill(array)
        array.flush()
        ranks.wait()
        if ranks.first:
            check(array)
            described = json.dumps({"version": VERSION, **settings}, indent=2, sort_keys=True) + "\n"
            write_text(path.with_suffix(".json"), described)
        del array
    ranks.wait()
    stored = read(folder, settings, shape)
    if stored is None:
        raise OSError(f"{path}: could not be read back after writing")
    return stored


def check_space(folder: Path, settings: dict[str, Any], shape: tuple[int, int]) -> None:
    """OSError unless the disk has room. It may be gone when `write` takes it: that is an OSError then."""
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = shape[0] * shape[1] * np.dtype(settings["precision"]).itemsize, shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"{folder}: features need {needed / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB free; "
            "make room, or store them in another folder"
        )


def _create(path: Path, dtype: np.dtype[Any], shape: tuple[int, int]) -> None:
    """An array of zeros whose space on the disk is taken: what others write meanwhile cannot take it away."""
    np.lib.format.open_memmap(path, "w+", dtype, shape)
    try:
        with open(path, "r+b") as file:
            reserve(file.fileno(), os.path.getsize(path))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        needed = os.path.getsize(path) / 1e9
        raise OSError(
            f"{path.parent}: features need {needed:.1f} GB and the disk has not as much free; make room, or store them "
            "in another folder"
        ) from error


def _path(folder: Path, settings: dict[str, Any]) -> Path:
    return folder / f"{key_of(settings)}.npy"


def _remove_stale(folder: Path) -> None:
    """Remove what killed processes left: temporary files that nobody holds, nor has written to for a day."""
    for partial in folder.glob(".partial-*"):
        with suppress(FileNotFoundError, BlockingIOError), open(partial, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - os.fstat(file.fileno()).st_mtime > STALE_SECONDS:
                partial.unlink()
