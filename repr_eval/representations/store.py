"""Features on disk, keyed by everything that can change them: written under a temporary name, then renamed.

An entry is `KEY.npy` (float16 or float32 [N, D], memory-mapped on reading) and `KEY.json`, the settings that the key is
the hash of. The description is written once the features are complete and before they get their name, so that no array
is without one.
"""

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

from repr_eval.system.files import replacing, write_text
from repr_eval.system.ranks import current

STALE_SECONDS = 24 * 3600
VERSION = 1  # of the extraction code: raised whenever the same settings would give other numbers
Fill = Callable[[np.ndarray], None]  # writes the features into an array [N, D]


def key_of(settings: dict[str, Any]) -> str:
    """The name of the entry for `settings` (JSON-able)."""
    text = json.dumps({"version": VERSION, **settings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def stored_features(folder: Path, settings: dict[str, Any], shape: tuple[int, int], fill: Fill) -> np.ndarray:
    """The features for `settings`, memory-mapped read-only: from `folder`, or made there by `fill` first.

    `settings["precision"]` is the stored type, float16 or float32. An entry of another shape or type (a damaged file)
    is made again.
    """
    path = folder / f"{key_of(settings)}.npy"
    dtype = np.dtype(settings["precision"])
    stored, ranks = _open(path, shape, dtype), current()
    if ranks.broadcast(stored is not None):
        stored = _open(path, shape, dtype) if stored is None else stored
        if stored is None:
            raise OSError(f"{path}: the first rank has found these features and rank {ranks.number} has not")
        return stored
    with replacing(path) if ranks.first else nullcontext(path) as own:
        partial = ranks.broadcast(own)
        if ranks.first:
            _remove_stale(folder)
            _check_space(partial, shape[0] * shape[1] * dtype.itemsize)
            np.lib.format.open_memmap(partial, "w+", dtype, shape)
        ranks.wait()
        with open(partial, "rb") as held:
            fcntl.flock(held, fcntl.LOCK_SH)  # for `fill` may learn for days before it writes
            array = np.lib.format.open_memmap(partial, "r+")
            fill(array)
        array.flush()
        ranks.wait()
        if ranks.first:
            _check_finite(array)
            described = json.dumps({"version": VERSION, **settings}, indent=2, sort_keys=True) + "\n"
            write_text(path.with_suffix(".json"), described)
        del array
    ranks.wait()
    made = _open(path, shape, dtype)
    if made is None:
        raise OSError(f"{path}: could not be read back after writing")
    return made


def has(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether `folder` holds features for `settings`."""
    return (folder / f"{key_of(settings)}.npy").exists()


def remove(folder: Path, settings: dict[str, Any]) -> None:
    """Forget the features for `settings`."""
    (folder / f"{key_of(settings)}.npy").unlink(missing_ok=True)


def _open(path: Path, shape: tuple[int, int], dtype: np.dtype[Any]) -> np.ndarray | None:
    try:
        array = np.lib.format.open_memmap(path, "r")
    except (OSError, ValueError):
        return None
    return array if array.shape == shape and array.dtype == dtype else None


def _remove_stale(folder: Path) -> None:
    """Remove what killed processes left: temporary files that nobody holds, nor has written to for a day."""
    for partial in folder.glob(".partial-*"):
        with suppress(FileNotFoundError, BlockingIOError), open(partial, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - os.fstat(file.fileno()).st_mtime > STALE_SECONDS:
                partial.unlink()


def _check_finite(array: np.ndarray, rows: int = 1024) -> None:
    for start in range(0, len(array), rows):
        if not np.isfinite(array[start : start + rows]).all():
            row = start + int(np.flatnonzero(~np.isfinite(array[start : start + rows]).all(1))[0])
            raise ValueError(
                f"the features of image {row} hold NaN or infinity as {array.dtype} "
                "(float16 reaches 65,504; --store-as float32 goes further)"
            )


def _check_space(path: Path, needed: int) -> None:
    """Raise OSError unless the disk has room: a memory map on a full disk ends in a signal, not in an error."""
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise OSError(
            f"{path.parent}: features need {needed / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB free; "
            "make room, or name another folder with --store"
        )
