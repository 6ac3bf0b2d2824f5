"""Files that appear whole or not at all: write to a temporary name, then rename."""

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in `path`'s folder; on success it is synced to disk and becomes `path`.

    On any error, a full disk or an interrupt, the temporary file is removed and `path` is as it was; an OSError that
    names no file (a full disk's does not) is raised with `path`'s name. The temporary name ends like `path`'s own,
    since some writers choose the format by it.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder; a file is to be written there", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".partial-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        with naming(path):
            yield partial
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
        # mkstemp makes files private; these are ordinary results.
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError that does not say which file it is about (a full disk's does not) the name `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def reserve(file: int, size: int) -> None:
    """Take the disk's space for the first `size` bytes of an open file that is that long; OSError where it is full.

    What a file has no space for is missed by a write through a memory map, and that is a signal (SIGBUS), not an error.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    start = os.lseek(file, 4096, os.SEEK_SET)  # Past the header of a .npy; macOS has no posix_fallocate.
    zeros = bytes(1 << 20)
    while start < size:
        start += os.write(file, zeros[: size - start])


def append_line(path: Path, line: str, what: str) -> None:
    """Add a line to `path`, under a lock. If the disk is full, leave the file as it was and raise OSError.

    A last line without its end (the machine stopped while it was written) stays a line of its own. `what` is what the
    error calls the line.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b", buffering=0) as file, naming(path):
        fcntl.flock(file, fcntl.LOCK_EX)
        before = os.fstat(file.fileno()).st_size
        torn = before > 0 and os.pread(file.fileno(), 1, before - 1) != b"\n"
        content = ("\n" * torn + line + "\n").encode()
        try:
            if file.write(content) != len(content):
                raise OSError(f"{path}: the disk is full; the {what} was not written")
            os.fsync(file.fileno())
        except OSError:
            file.truncate(before)
            raise
