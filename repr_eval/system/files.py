"""Files that appear whole or not at all: write to a temporary name, then rename.

What is opened under a name that somebody else can guess is opened here: links are not followed, nothing is emptied, and
what is no regular file (a FIFO, a device) is neither waited for nor read.
"""

import errno
import fcntl
import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedReader, FileIO
from pathlib import Path

# Temporary files of this package. No other name of its own begins so, and no file of anybody else's is removed.
_PREFIX = ".repr-eval-partial-"
_TEMPORARY = re.compile(rf"{re.escape(_PREFIX)}[a-z0-9_]{{8}}(\.\w*)?")
STALE_SECONDS = 24 * 3600  # a lock says who writes, but on some file systems not to other machines
_swept: set[str] = set()  # folders, in this process


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in `path`'s folder; on success it is synced to disk and becomes `path`.

    On any error, a full disk or an interrupt, the temporary file is removed and `path` is as it was; an OSError that
    names no file (a full disk's does not) is raised with `path`'s name. The temporary name ends like `path`'s own,
    since some writers choose the format by it. What killed processes left in the folder is removed (`sweep`).
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder; a file is to be written there", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    if (folder := os.path.realpath(path.parent)) not in _swept:
        _swept.add(folder)
        sweep(path.parent)
    handle, name = tempfile.mkstemp(prefix=_PREFIX, suffix=path.suffix, dir=path.parent)
    partial = Path(name)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_SH)  # until the end: this file is being written
        with naming(path):
            yield partial
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
        # mkstemp makes files private; these are ordinary results.
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)
        rename(partial, path)
    finally:
        os.close(handle)
        partial.unlink(missing_ok=True)


def rename(path: Path, name: Path) -> None:
    """Give `path` another name in its folder, in place of what has it, and bring that to the disk."""
    os.replace(path, name)
    handle = os.open(name.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system that cannot sync a folder
            os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path, seconds: float = STALE_SECONDS) -> None:
    """Remove the temporary files that killed processes of this package left in `folder`.

    Those are regular files of its names, of this user, which nobody holds nor has written to for so many seconds.
    """
    with suppress(OSError):
        for path in temporary(folder):
            with suppress(OSError, ValueError), open_own(path, os.O_RDONLY) as file:
                if _is_left(file, seconds):
                    path.unlink()


def temporary(folder: Path) -> list[Path]:
    """What has the name of a temporary file of this package in `folder`."""
    return [folder / name for name in sorted(filter(_TEMPORARY.fullmatch, os.listdir(folder)))]


def is_left(path: Path) -> bool:
    """Whether `sweep` would remove the temporary file `path`."""
    with suppress(OSError, ValueError), open_own(path, os.O_RDONLY) as file:
        return _is_left(file, STALE_SECONDS)
    return False


def _is_left(file: FileIO, seconds: float) -> bool:
    """Whether an open file is this user's, unlocked and as old as that; it is locked from then on. OSError if held."""
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    its = os.fstat(file.fileno())
    return its.st_uid == os.getuid() and time.time() - its.st_mtime >= seconds


def open_own(path: Path, flags: int) -> FileIO:
    """A file under a name that this package gives its own, unbuffered, opened with `flags` (os.O_RDWR, ...).

    FileExistsError where a link, a folder, a FIFO or a device has the name: that was not made here.
    """
    wrong = FileExistsError(errno.EEXIST, "is not a file that repr-eval has made; remove it", str(path))
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise wrong from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise wrong
    mode = {os.O_RDONLY: "r", os.O_WRONLY: "w", os.O_RDWR: "r+"}[flags & os.O_ACCMODE]
    file = FileIO(handle, mode)
    file.name = str(path)  # what errors and memory maps call it
    return file


def is_own(path: Path) -> bool:
    """Whether `path` is there, as a file that can be this package's. FileExistsError where it is a link or no file."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode):
        raise FileExistsError(errno.EEXIST, "is not a file that repr-eval has made; remove it", str(path))
    return True


def open_regular(path: Path) -> BufferedReader:
    """A file of the user's for reading. ValueError where it is no regular file, nor a link to one.

    A FIFO would be waited for, a device read for ever.
    """
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 (the caller closes it)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError(f"{path}: is not a regular file")
    return file


def _without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK)


def sha256_of_file(path: Path, start: int = 0) -> str:
    """The SHA-256 of a file's bytes from `start` on, in hexadecimal digits."""
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_regular(path: Path) -> None:
    """Raise a ValueError where `path` is there and is no regular file, nor a link to one."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{path}: is not a regular file")


@contextmanager
def exclusive(folder: Path, doing: str, by_file: bool = False) -> Iterator[None]:
    """Hold the folder's lock, which the system releases however the process ends; with `by_file` that of its .lock.

    ValueError where another process holds it; `doing` says what it does there.
    """
    with ExitStack() as closing:
        if by_file:
            handle = closing.enter_context(open_own(folder / ".lock", os.O_RDWR | os.O_CREAT)).fileno()
        else:
            handle = os.open(folder, os.O_RDONLY)
            closing.callback(os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{folder}: another process is {doing} in this folder") from error
        yield


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError that does not say which file it is about (a full disk's does not) the name `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_all(file: FileIO, content: bytes) -> None:
    """Write `content` to an unbuffered file; OSError where the disk takes a part of it alone."""
    if file.write(content) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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
    with open_own(path, os.O_RDWR | os.O_CREAT | os.O_APPEND) as file, naming(path):
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
