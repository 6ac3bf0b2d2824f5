"""One changed file through its loader: what comes of it that must not."""

import random
import resource
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from fuzzed_loaders import LOADERS, Loader
from mutations import mutated

FINE = (ValueError, OSError, MemoryError)
SECONDS = 20  # a file that takes longer counts as a hang
MEGABYTES = 1_000  # and one that takes more memory than that as a bomb
REGRESSIONS = Path(__file__).parent / "regressions"


class Fuzzed:
    """A loader with its good file in a folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self.loader: Loader = LOADERS[name]
        self.path = self.loader.make(folder)
        self.good = self.path.read_bytes()
        self.result = self.loader.load(self.path)

    def failure(self, content: bytes) -> str | None:
        """What is wrong with the answer to a file of that content; None where nothing is."""
        self.path.write_bytes(content)
        before = _most_megabytes()
        try:
            with _limited():
                result = self.loader.load(self.path)
        except FINE:
            result = self.result
        except _TooLong:
            return f"took more than {SECONDS} s"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return "".join(traceback.format_exception(error))
        if (taken := _most_megabytes() - before) > MEGABYTES:
            return f"took {taken:,.0f} MB"
        if self.loader.checked and result != self.result:
            return f"was believed: {result!r:.80}"
        return None

    def failures(self, rng: random.Random, n: int) -> Iterator[tuple[bytes, str]]:
        """The contents among `n` changed ones that fail, and how."""
        for _ in range(n):
            content = mutated(self.good, rng, self.loader.text)
            if failure := self.failure(content):
                yield content, failure


def _most_megabytes() -> float:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


class _TooLong(BaseException):
    pass


@contextmanager
def _limited() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> Any:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
