"""What a check says of a file, and what all checks use."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repr_eval.system.arrays import mapped
from repr_eval.system.files import sha256_of_file
from repr_eval.system.json_text import read_object


@dataclass(frozen=True)
class Checked:
    """What there is to say of a file, and of others that are one thing with it."""

    path: Path
    what: str  # its kind, for the summary
    wrong: str = ""  # the first thing that is
    remark: str = ""
    again: tuple[Path, ...] = ()  # what may be removed: it can be made again, or is of no use
    bytes: int = 0


@dataclass(frozen=True)
class Check:
    """A check to be made. `work` returns a remark, or raises ValueError or OSError: what is wrong."""

    path: Path
    what: str
    work: Callable[[], str | None]
    again: tuple[Path, ...] = ()  # as of `Checked`, where something is wrong
    more: tuple[Path, ...] = ()  # files that are read as well

    def made(self) -> Checked:
        """What comes of it; nothing but the file's own errors is raised."""
        size = sum(path.stat().st_size for path in (self.path, *self.more) if path.is_file())
        try:
            remark = self.work() or ""
        except (ValueError, OSError, MemoryError) as error:
            told = " ".join(str(error).split()) or type(error).__name__
            own = str(self.path) in told
            wrong = told if own else f"{self.path}: {told}"
            return Checked(self.path, self.what, wrong, again=self.again, bytes=size)
        return Checked(self.path, self.what, remark=remark, bytes=size)


def sha256_of_rows(path: Path, shape: list[Any], dtype: str) -> str:
    """The SHA-256 of the rows in a .npy file; ValueError unless they are of that shape and type."""
    rows = mapped(path)
    if list(rows.shape) != shape or str(rows.dtype) != dtype:
        raise ValueError(f"is {rows.dtype} {list(rows.shape)}; stored was {dtype} {shape}")
    if rows.offset + rows.nbytes != path.stat().st_size:
        raise ValueError("goes on after its array")
    if not rows.flags.c_contiguous:
        return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()
    return sha256_of_file(path, rows.offset)


def described(path: Path) -> dict[str, Any]:
    """The object in a JSON file; ValueError that names the file where there is none."""
    try:
        return read_object(path)
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error


def same(found: str, stored: object) -> None:
    """ValueError unless a hash is the one that was stored."""
    if found != stored:
        raise ValueError(f"its content is not what was stored (SHA-256 {found[:12]}, not {stored!s:.12})")
