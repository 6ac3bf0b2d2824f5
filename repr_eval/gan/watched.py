"""A run to watch while it trains: losses.csv once more as JSON lines, and TensorBoard's event files.

losses.csv is what a run goes on from; both are made anew from it at every start, so that they hold
what it holds: a run that was stopped, or killed, has no line twice and misses none.
"""

import importlib
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from repr_eval.system.files import naming, open_own, write_all

LINES = "log.jsonl"
EVENTS = "tensorboard"  # folder of the event files
LOGS = ("tensorboard",)  # what `log` may name
_NAMES = ("step", "images_seen", "d_loss", "g_loss")
_EPOCH = re.compile(r"epoch-(\d+)\.png")


def as_json(row: str) -> str:
    """A line of losses.csv as a line of JSON: the same numbers under the names of its columns."""
    return json.dumps(_numbers(row)) + "\n"


def _numbers(row: str) -> dict[str, int | float]:
    """The numbers of a line of losses.csv under the names of its columns."""
    step, seen, *losses = row.split(",")
    return dict(zip(_NAMES, [int(step), int(seen), *map(float, losses)], strict=True))


def add_lines(out: Path, rows: Iterable[str]) -> None:
    """Append these lines of losses.csv to log.jsonl."""
    with naming(out / LINES), open_own(out / LINES, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
        write_all(file, "".join(map(as_json, rows)).encode())


def writer_for(log: str | None) -> Callable[..., Any] | None:
    """The class that writes event files; None where `log` is None.

    ValueError where `log` is another word than "tensorboard", or that package is not installed.
    """
    if log is None:
        return None
    if log not in LOGS:
        raise ValueError(f"`log` {log!r}: choose {' or '.join(LOGS)}, or None")
    try:
        importlib.import_module("tensorboard")
        written: Callable[..., Any] = importlib.import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError as error:
        raise ValueError(
            f"`log` {log!r}: the package tensorboard cannot be imported here ({error}); "
            "pip install 'repr-eval[tensorboard]'"
        ) from error
    return written


class EventFiles:
    """Losses by step and grids of samples in the folder tensorboard/ of a run.

    Differs from log.jsonl in one thing: what was trained before the last start has that start's
    time of day.
    """

    def __init__(self, writer: Callable[..., Any], out: Path, steps_per_epoch: int):
        self.make, self.out, self.steps_per_epoch = writer, out, steps_per_epoch
        self.writer: Any = None
        self.shown: set[int] = set()  # steps that have a grid

    def begin(self, rows: Iterable[str], step: int) -> None:
        """Write what the run has after `step` steps, `rows` of losses.csv, in place of older files."""
        for old in (self.out / EVENTS).glob("events.out.tfevents.*"):
            old.unlink()
        # A TensorBoard that is open drops what it has read from step 0 on.
        self.writer = self.make(str(self.out / EVENTS), purge_step=0)
        self.add(rows)
        for path in sorted((self.out / "samples").glob("*.png")):
            match = _EPOCH.fullmatch(path.name)
            if match and int(match[1]) * self.steps_per_epoch <= step:
                self.picture(path, int(match[1]) * self.steps_per_epoch)

    def add(self, rows: Iterable[str]) -> None:
        """Note these lines of losses.csv."""
        for row in rows:
            line = _numbers(row)
            for network, name in (("D", "d_loss"), ("G", "g_loss")):
                self.writer.add_scalar(f"loss/{network}", line[name], line["step"])
        self.writer.flush()

    def picture(self, path: Path, step: int) -> None:
        """Note the grid of samples `path`, a PNG, once for each step; one that is damaged is left out."""
        import numpy as np  # here, for help starts without them
        from PIL import Image

        if step in self.shown:
            return
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        except OSError:
            return
        self.writer.add_image("samples", pixels, step, dataformats="HWC")
        self.shown.add(step)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
