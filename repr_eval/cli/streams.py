"""stdout and stderr of the command line: work goes on where nobody reads them any more, or they are closed."""

import io
import os
import sys
from typing import Any


class _Pipe(io.FileIO):
    """A standard stream that, once its reader is gone (`| head`), takes what is written and drops it."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return super().write(content)


def unbreakable() -> None:
    """Give the process a stdout and a stderr that no reader's end can break.

    Closed ones (`2>&-`) lead nowhere: a file would else get their number, and what is meant for them. What somebody has
    put in the place of the streams (a test) is left as it is.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
    if sys.stdout is sys.__stdout__:
        sys.stdout = sys.__stdout__ = _wrapped(1, sys.stdout)  # type: ignore[misc]
    if sys.stderr is sys.__stderr__:
        sys.stderr = sys.__stderr__ = _wrapped(2, sys.stderr)  # type: ignore[misc]


def _wrapped(number: int, stream: Any) -> io.TextIOWrapper:
    """A text stream to that file number, written as `stream` is."""
    if stream is not None:
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Pipe(number, "w", closefd=False)),
        encoding=getattr(stream, "encoding", "utf-8"),
        errors=getattr(stream, "errors", "backslashreplace"),
        line_buffering=number == 2 or getattr(stream, "line_buffering", False),
    )
