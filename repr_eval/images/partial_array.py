"""A large uint8 array on disk, filled block by block in any order, that survives being killed at any moment.

Beside the array `.partial-NAME` lies a journal, `.partial-NAME.journal`: one line of JSON that says what the array is
to hold (the key), then one line for every finished block. The order of writes is the whole idea: rows reach the disk
before the journal names their block, the journal is emptied before an array is begun anew, and it is removed last: an
array without a journal is not ours. Nor is a link, which is neither followed nor removed.
"""

import errno
import json
import logging
import os
import sys
import time
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from repr_eval.system.arrays import mapped_npy, npy_header
from repr_eval.system.files import is_own, naming, open_own, reserve, write_all

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

# A kill loses at most this much finished work; a sync costs milliseconds.
SYNC_SECONDS = 2.0


class PartialArray:
    """A uint8 array of `shape` on its way to becoming `out`; `done` maps its finished blocks to their notes.

    `key` is everything that decides the content. A partial array found with another key is thrown away (a warning
    is logged), one with the same key is taken up.
    Used as a context, which holds a lock against a second run; leaving it, also by an error, records what is finished.
    """

    def __init__(self, out: Path, shape: tuple[int, ...], key: dict[str, Any]) -> None:
        self.out = out
        self.shape = shape
        self.key = key
        self.path, self.journal_path, self.compact_path = partial_paths(out)
        self.done: dict[int, Any] = {}
        self._unsynced: dict[int, Any] = {}
        self._synced_at = time.monotonic()

    def __enter__(self) -> Self:
        with naming(self.journal_path):
            self.out.parent.mkdir(parents=True, exist_ok=True)
            _refuse_foreign(self.out)
            self._journal = open_own(self.journal_path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            self._lock()
            if not self._take_up():
                self._begin()
        except BaseException:
            self._journal.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.sync()
        finally:
            self._journal.close()

    def write(self, block: int, start: int, rows: npt.NDArray[np.uint8], note: Any) -> None:
        """Store `rows` from row `start` on, finishing `block`; `note` (plain JSON) is kept in `done`."""
        self.array[start : start + len(rows)] = rows
        self._unsynced[block] = self.done[block] = note
        if time.monotonic() - self._synced_at >= SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Bring all rows to the disk, then say so in the journal."""
        if self._unsynced:
            with naming(self.path):
                self.array.flush()
            self._append(*(_line(block, note) for block, note in self._unsynced.items()))
            self._unsynced.clear()
        self._synced_at = time.monotonic()

    def _lock(self) -> None:
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FileExistsError(f"{self.out}: another run is writing it") from error
        except OSError as error:
            logger.warning("%s: cannot be locked (%s); let no other run write it", self.journal_path, error)

    def _take_up(self) -> bool:
        """Read the journal; False where there is nothing to go on from."""
        lines, end = self._read_journal()
        if not lines or not self.path.exists():
            return False
        stored = lines[0] if isinstance(lines[0], dict) else {}
        changed = [name for name in self.key if stored.get(name) != self.key[name]]
        if changed:
            logger.warning("%s: %s changed since it was begun; starting over", self.path, ", ".join(changed))
            return False
        with open_own(self.path, os.O_RDWR) as file:
            array = mapped_npy(file, np.dtype(np.uint8), self.shape)
        if array is None:
            logger.warning("%s: damaged; starting over", self.path)
            return False
        done = {line["block"]: line["note"] for line in lines[1:]}
        self.array, self.done = array, done
        self._journal.truncate(end)
        return True

    def _read_journal(self) -> tuple[list[Any], int]:
        """The journal's whole lines before any damaged one, and where they end: a kill can leave half a line."""
        lines: list[Any] = []
        end = 0
        self._journal.seek(0)
        for line in self._journal.read().splitlines(keepends=True):
            try:
                content = json.loads(line.decode() if line.endswith(b"\n") else "")
                if lines and content != _line(content["block"], content["note"]):
                    break
            except (ValueError, RecursionError, TypeError, KeyError):
                break
            lines.append(content)
            end += len(line)
        return lines, end

    def _begin(self) -> None:
        self._journal.truncate(0)
        os.fsync(self._journal.fileno())
        try:
            self.array = create_array(self.path, self.shape)
            self._append(self.key)
        except BaseException:
            self.path.unlink(missing_ok=True)
            self.journal_path.unlink()
            raise

    def _append(self, *lines: Any) -> None:
        with naming(self.journal_path):
            write_all(self._journal, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
            os.fsync(self._journal.fileno())


def _line(block: int, note: Any) -> dict[str, Any]:
    """What the journal says of a finished block; of a line that a disk has changed the checksum is wrong."""
    return {"block": block, "note": note, "crc32": zlib.crc32(json.dumps([block, note]).encode())}


def partial_paths(out: Path) -> tuple[Path, Path, Path]:
    """Where the unfinished `out`, its journal, and a copy of it without unwanted rows lie."""
    path = out.with_name(f".partial-{out.name}")
    return path, path.with_name(f"{path.name}.journal"), path.with_name(f"{path.name}.compact")


def remove_leftovers(out: Path) -> None:
    """Remove whatever is left of an unfinished `out`, the journal last. FileExistsError where that is not ours."""
    _refuse_foreign(out)
    array, journal, copy = partial_paths(out)
    for path in (copy, array, journal):
        path.unlink(missing_ok=True)


def _refuse_foreign(out: Path) -> None:
    """FileExistsError where a link or no file has the name of one of ours, or an array has no journal."""
    array, journal, _ = partial_paths(out)
    there = {path: is_own(path) for path in partial_paths(out)}
    if there[array] and not there[journal]:
        raise FileExistsError(
            errno.EEXIST, f"is not of an unfinished pack ({journal.name} is not there); remove it", str(array)
        )


def create_array(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
    """A new .npy file of uint8 zeros, memory-mapped, its space on the disk already taken; in place of one of ours.

    Taken now since a write through the map to a full disk would not raise but kill the process (SIGBUS).
    """
    dtype = np.dtype(np.uint8)
    if is_own(path):
        path.unlink()
    try:
        with naming(path), open_own(path, os.O_RDWR | os.O_CREAT | os.O_EXCL) as file:
            header = npy_header(dtype, shape)
            write_all(file, header)
            size = len(header) + int(np.prod(shape))
            file.truncate(size)
            reserve(file.fileno(), size)
            array = mapped_npy(file, dtype, shape)
            assert array is not None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return array
