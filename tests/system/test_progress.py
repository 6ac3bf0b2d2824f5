"""Progress: a bar on a terminal, elsewhere lines at most so often, and nothing of what is soon done."""

import io
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import repr_eval
from repr_eval.system import progress as module
from repr_eval.system.progress import Lines, plural, progress_bar, progress_count, silent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Log:
    """A stderr that is no terminal, to which no line was written before."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys, self.text = capsys, ""

    def getvalue(self) -> str:
        self.text += self.capsys.readouterr().err
        return self.text


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Log:
    monkeypatch.setattr(Lines, "last", float("-inf"))
    return Log(capsys)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("tqdm.std.time", lambda: self.now)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))

    def watch(self, bar: Iterable[int], step: float) -> list[int]:
        """What the bar passes on, `step` seconds each."""
        seen = []
        for value in bar:
            seen.append(value)
            self.now += step
        return seen


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_log_gets_a_line_every_ten_seconds(log: Log, clock: Clock) -> None:
    assert clock.watch(progress_bar(range(30), "features", unit="block"), 1.5) == list(range(30))
    lines = log.getvalue().splitlines()
    assert lines[0] == "features: 7 of 30 blocks, 0.667 blocks/s"
    assert [int(re.findall(r"\d+", line)[0]) for line in lines] == [7, 14, 21, 28]
    assert "\r" not in log.getvalue()


def test_any_iterable_is_passed_on_as_it_is(log: Log, clock: Clock) -> None:
    """An array says itself neither that it is true nor that it is false."""
    rows = np.arange(6).reshape(3, 2)
    assert [row.tolist() for row in progress_bar(rows, "rows")] == rows.tolist()
    assert list(progress_bar([], "rows")) == []


def test_what_ends_before_ten_seconds_writes_nothing(log: Log, clock: Clock) -> None:
    clock.watch(progress_bar(range(100), "draws"), 0.09)
    with progress_count("packing", total=3, unit="image") as bar:
        bar.update(3)
        bar.set_postfix(d="1.0")
    assert log.getvalue() == ""


def test_two_bars_share_the_ten_seconds(log: Log, clock: Clock) -> None:
    """One within the other, in a quarter of an hour: 900 seconds."""
    for _ in progress_bar(range(9), "networks", unit="network"):
        clock.watch(progress_bar(range(1000), "training"), 0.1)
    assert 60 < len(log.getvalue().splitlines()) <= 90


def test_a_line_tells_the_losses_and_counts_images(log: Log, clock: Clock) -> None:
    with progress_count("train-gan", total=28_110, initial=1000, each=(32, "images"), keep=True) as bar:
        clock.now += 10
        bar.update(200)
        bar.set_postfix(d="0.61", g="1.9")
        clock.now += 10
        bar.set_postfix(d="0.60", g="2.0")
    assert log.getvalue().splitlines() == [
        "train-gan: 1,200 of 28,110 steps, 640 images/s",
        "train-gan: 1,200 of 28,110 steps, 320 images/s, d 0.60, g 2.0",
    ]


def test_an_unknown_end_and_silence(log: Log, clock: Clock) -> None:
    clock.watch(progress_bar((n for n in range(3)), "batch-norm statistics", unit="batch"), 6)
    assert log.getvalue() == "batch-norm statistics: 2 batches, 0.167 batches/s\n"
    assert clock.watch(progress_bar(range(4), "batches", disable=True), 100) == [0, 1, 2, 3]
    assert len(log.getvalue().splitlines()) == 1


def test_silence_is_of_what_is_begun_within(log: Log, clock: Clock) -> None:
    before = progress_bar(range(2), "before")
    with silent():
        inside = progress_bar(range(2), "inside")
        with silent(False):
            clock.watch(progress_bar(range(2), "silent still"), 10)
            with progress_count("counted", 2) as bar:
                clock.now += 20
                bar.update()
        assert log.getvalue() == ""
        clock.watch(before, 10)
    clock.watch(inside, 10)
    with silent(False):
        clock.watch(progress_bar(range(2), "after"), 10)
    assert {line.split(":")[0] for line in log.getvalue().splitlines()} == {"before", "after"}


def test_silence_ends_with_an_error(log: Log, clock: Clock) -> None:
    with pytest.raises(ZeroDivisionError), silent():
        print(1 / 0)
    clock.watch(progress_bar(range(2), "after"), 10)
    assert log.getvalue().startswith("after: 1 of 2")


def test_a_terminal_shows_nothing_of_what_is_silent(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with silent():
        clock.watch(progress_bar(range(10), "features", unit="block"), 1)
        with progress_count("pack", 2, unit="image", keep=True) as bar:
            bar.update(2)
    assert stream.getvalue() == ""


def test_the_clock_is_looked_at_however_fast_steps_were(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """In real time: many quick steps, then slow ones."""
    monkeypatch.setattr(module, "EVERY", 0.1)
    for n in progress_bar(range(10_005), "steps"):
        if n >= 10_000:
            time.sleep(0.11)
    assert 4 <= len(log.getvalue().splitlines()) <= 6


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    clock.watch(progress_bar(range(10), "features", unit="block"), 1)
    assert "\rfeatures:  30%|" in stream.getvalue()
    assert stream.getvalue().endswith("\r")  # wiped out
    with progress_count("pack", 2, unit="image", keep=True) as bar:
        bar.update(2)
    assert "\rpack: 100%|" in stream.getvalue()
    assert stream.getvalue().endswith("\n")


def test_plurals() -> None:
    assert [plural(unit) for unit in ("step", "batch", "image")] == ["steps", "batches", "images"]


def test_all_bars_go_through_it() -> None:
    package = Path(repr_eval.__file__).parent
    users = [path.name for path in package.rglob("*.py") if re.search(r"\btqdm\b", path.read_text(encoding="utf-8"))]
    assert users == ["progress.py"]
