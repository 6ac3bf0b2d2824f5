"""Progress of long work on stderr: a bar on a terminal, elsewhere a line now and then, for logs.

It is shown unless the work is done inside `silent()`.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeAlias, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")

EVERY = 10.0  # seconds between two lines, and before the first one of a bar
DELAY = 2.0  # seconds before a bar that is wiped out in the end is shown: most work is done by then


class Lines(Generic[T]):
    """What tqdm is to a terminal, for a log: at most one line every `EVERY` seconds, of all bars together.

    A line is written when a step ends, so that work which ends before `EVERY` seconds writes nothing.
    """

    last: ClassVar[float] = float("-inf")  # when the last line was written, on the clock `time.monotonic`

    def __init__(
        self, work: Iterable[T] | None, what: str, total: int | None, unit: str, initial: int, disable: bool,
        each: tuple[int, str],
    ) -> None:  # fmt: skip
        self.work = work
        self.what = what
        self.total = len(work) if total is None and hasattr(work, "__len__") else total  # type: ignore[arg-type]
        self.unit = unit
        self.initial = initial
        self.disable = disable
        self.each = each
        self.n = initial
        self.values = ""
        self.started = time.monotonic()

    def __iter__(self) -> Iterator[T]:
        for piece in () if self.work is None else self.work:
            yield piece
            self.update()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Say nothing: what is done is said by those who asked for it."""

    def update(self, n: int = 1) -> None:
        """Count `n` more."""
        self.n += n
        self._look()

    def set_postfix(self, **values: object) -> None:
        """What the lines end with from now on: names and values."""
        self.values = "".join(f", {name} {value}" for name, value in values.items())
        self._look()

    def line(self, seconds: float) -> str:
        """Such as "train-gan: 1,200 of 28,110 steps, 610 images/s, d 0.61, g 1.9"."""
        count, things = self.each
        of = "" if self.total is None else f" of {self.total:,}"
        rate = count * (self.n - self.initial) / seconds
        return f"{self.what}: {self.n:,}{of} {plural(self.unit)}, {rate:.3g} {things}/s{self.values}"

    def _look(self) -> None:
        now = time.monotonic()
        if self.disable or now - self.started < EVERY or now - Lines.last < EVERY:
            return
        Lines.last = now
        print(self.line(now - self.started), file=sys.stderr, flush=True)


_silent: ContextVar[bool] = ContextVar("silent", default=False)


@contextmanager
def silent(is_silent: bool = True) -> Iterator[None]:
    """Show no progress of what is begun inside this block; `silent(False)` leaves it as it is outside."""
    token = _silent.set(is_silent or _silent.get())
    try:
        yield
    finally:
        _silent.reset(token)


Count: TypeAlias = "tqdm[Any] | Lines[Any]"


def progress_bar(
    work: Iterable[T], what: str, total: int | None = None, *, unit: str = "step", disable: bool = False
) -> "tqdm[T] | Lines[T]":
    """`work` itself, its progress shown under the name `what`; a bar is wiped out in the end."""
    disable = disable or _silent.get()
    if sys.stderr.isatty():
        from tqdm import tqdm

        return tqdm(work, what, total, unit=unit, disable=disable, delay=DELAY, leave=False)
    return Lines(work, what, total, unit, 0, disable, (1, plural(unit)))


def progress_count(
    what: str, total: int, *, unit: str = "step", initial: int = 0, disable: bool = False, keep: bool = False,
    each: tuple[int, str] | None = None,
) -> Count:  # fmt: skip
    """A bar that `update()` moves on, from `initial`; `keep` leaves it on the terminal in the end.

    `each` is what a line's rate counts: (128, "images") where a step is 128 images. Default: the units themselves.
    """
    disable = disable or _silent.get()
    if sys.stderr.isatty():
        from tqdm import tqdm

        shown: dict[str, Any] = {"unit": unit, "initial": initial, "disable": disable}
        return tqdm(None, what, total, **shown, delay=0 if keep else DELAY, leave=keep)
    return Lines(None, what, total, unit, initial, disable, each or (1, plural(unit)))


def plural(unit: str) -> str:
    """English's, as far as units here need it."""
    return unit + ("es" if unit.endswith("ch") else "s")
