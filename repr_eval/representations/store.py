"""Features on disk, keyed by everything that can change them: written under a temporary name, then renamed.

An entry is `KEY.npy` (float16 or float32 [N, D], memory-mapped on reading) and `KEY.json`: the settings that the key is
the hash of, and the SHA-256 of each block of rows. That file is written once the features are complete and before they
get their name, so that no array is without it. An array is hashed when it is opened: what a disk has lost or changed
is no features.
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from repr_eval.system.arrays import mapped_npy
from repr_eval.system.files import replacing, require_regular, reserve, sweep, write_text
from repr_eval.system.json_text import read_object
from repr_eval.system.parallel import parallel_map
from repr_eval.system.ranks import ALONE, Ranks

VERSION = 3  # of the extraction code and of an entry's layout: raised whenever the same settings would give another one
HASHES = "rows_sha256"  # in KEY.json, beside the settings
BLOCK_BYTES = 1 << 22  # hashed at a time: at most so many, but at least one row
Fill = Callable[[np.ndarray], None]  # writes the features into an array [N, D], or a rank's share of them
Check = Callable[[np.ndarray], None]  # raises an error where the complete features must not be stored

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RowHashes:
    """What the rows of an array are known by: the SHA-256 of every `block_rows` of them, the last block may be less."""

    block_rows: int
    blocks: list[str]  # hexadecimal

    @property
    def id(self) -> str:
        """The SHA-256 of the blocks' ones, one after the other as text: of all rows, in 64 hexadecimal digits."""
        return hashlib.sha256("".join(self.blocks).encode()).hexdigest()

    @classmethod
    def of(cls, rows: np.ndarray) -> "RowHashes":
        """Of an array [N, D]."""
        block_rows = max(1, BLOCK_BYTES // max(1, rows[:1].nbytes))
        return cls(block_rows, _hashed(rows, block_rows, 0, -(-len(rows) // block_rows)))

    def changed(self, rows: np.ndarray, first: int = 0, last: int | None = None) -> list[range]:
        """Which of the `rows` [N, D] from `first` to before `last` (default: N) are in a block with another content."""
        start = first // self.block_rows
        stop = -(-(len(rows) if last is None else last) // self.block_rows)
        wanted, size = self.blocks[start:stop], self.block_rows
        return [
            range(block * size, min((block + 1) * size, len(rows)))
            for block, (sha256, its) in enumerate(zip(_hashed(rows, size, start, stop), wanted, strict=True), start)
            if sha256 != its
        ]


def _hashed(rows: np.ndarray, block_rows: int, start: int, stop: int) -> list[str]:
    def sha256(block: int) -> str:
        part = rows[block * block_rows : (block + 1) * block_rows]
        return hashlib.sha256(np.ascontiguousarray(part).data).hexdigest()

    return parallel_map(sha256, range(start, stop))


@dataclass(frozen=True)
class Entry:
    """Stored features."""

    rows: np.ndarray  # float [N, D], memory-mapped read-only
    hashes: RowHashes


def key_of(settings: dict[str, Any]) -> str:
    """The name of the entry for `settings` (JSON-able)."""
    text = json.dumps(_described(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def read(folder: Path, settings: dict[str, Any], shape: tuple[int, int]) -> Entry | None:
    """The features for `settings`; None where `folder` has none.

    `settings["precision"]` is the stored type, float16 or float32. An entry of another shape or type (a damaged file)
    counts as none, and so does one whose rows are not those that were stored; the log has a warning then.
    """
    entry = _opened(folder, settings, shape)
    if entry is None or not (changed := entry.hashes.changed(entry.rows)):
        return entry
    logger.warning(
        "%s: rows %d to %d are not those that were stored (%d of %d blocks are changed); the features are made again",
        _path(folder, settings), changed[0].start, changed[0].stop - 1, len(changed), len(entry.hashes.blocks),
    )  # fmt: skip
    return None


def _opened(folder: Path, settings: dict[str, Any], shape: tuple[int, int]) -> Entry | None:
    """As `read`, with the rows unread."""
    path = _path(folder, settings)
    try:
        with _locked(folder, fcntl.LOCK_SH):
            content = read_object(path.with_suffix(".json"))
            require_regular(path)
            with FileIO(path) as file:
                rows = mapped_npy(file, np.dtype(settings["precision"]), shape)
        hashes = RowHashes(**content.pop(HASHES))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if rows is None or content != _described(settings):
        return None
    size, blocks = hashes.block_rows, hashes.blocks
    if type(size) is not int or size < 1 or not isinstance(blocks, list) or len(blocks) != -(-len(rows) // size):
        return None
    return Entry(rows, hashes)


def write(
    folder: Path, settings: dict[str, Any], shape: tuple[int, int], fill: Fill, check: Check, ranks: Ranks = ALONE
) -> Entry:
    """Store what `fill` writes as the features for `settings`, and return it as `read` does.

    On any error, `check`'s too, nothing is stored. Several ranks fill one file, each its share.
    """
    path, dtype = _path(folder, settings), np.dtype(settings["precision"])
    with ExitStack() as publishing, replacing(path) if ranks.first else nullcontext(path) as own:
        partial = ranks.broadcast(own)
        if ranks.first:
            sweep(folder)
            check_space(folder, settings, shape)
            _create(partial, dtype, shape)
        ranks.wait()
        array = np.lib.format.open_memmap(partial, "r+")
        fill(array)
        array.flush()
        ranks.wait()
        if ranks.first:
            check(array)
            hashes = RowHashes.of(array)
            described = _described(settings) | {HASHES: vars(hashes)}
            publishing.enter_context(_locked(folder, fcntl.LOCK_EX))  # until both files have their names
            write_text(path.with_suffix(".json"), json.dumps(described, indent=2, sort_keys=True) + "\n")
        del array
    ranks.wait()
    stored = _opened(folder, settings, shape)
    if stored is None:
        raise OSError(f"{path}: could not be read back after writing")
    return stored


def _described(settings: dict[str, Any]) -> dict[str, Any]:
    return {"version": VERSION, **settings}


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    """Two runs that store the same features at once leave the array and the hashes of one of them.

    A file system without locks lets both write: then hashes may not fit, and the features are made again.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, kind)
        yield
    finally:
        os.close(handle)


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
