"""The folder of a training run: its lock, its settings and history, and the log of losses.

Files that another process or a later life of the run reads are written whole; the log is cut back to the checkpoint.
"""

import json
import logging
import os
from collections import deque
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from repr_eval.gan.checkpoint import latest_step
from repr_eval.gan.run_history import changes, continued, stretch
from repr_eval.gan.settings import SETTINGS, TrainingSettings, read_history, read_settings, refuse_changes
from repr_eval.gan.start import Start
from repr_eval.gan.watched import LINES, EventFiles, add_lines, as_json
from repr_eval.system.files import naming, open_own, sweep, write_all, write_text
from repr_eval.system.ranks import Ranks

COLLAPSE_WINDOW = 500  # steps
COLLAPSE_LOSS = 1e-3  # a mean D loss below this over the window: the fakes are told apart beyond doubt
SAMPLES = "samples"  # the folder of the grids
LOG_HEADER = "step,images_seen,d_loss,g_loss\n"
DISCRIMINATOR, GENERATOR, LOG = "discriminator.safetensors", "generator.safetensors", "losses.csv"

logger = logging.getLogger(__name__)


class TrainingFailed(ValueError):
    """The game broke down: NaN, or a loss that collapsed. The last good checkpoint is kept."""


def check_folder(out: Path, resume: bool) -> None:
    """Raise a ValueError where `out` cannot be the folder of a run that is to begin or, with `resume`, to go on."""
    if (out / SAMPLES).is_symlink():
        raise ValueError(f"{out / SAMPLES}: is a link, which no run makes; remove it, or choose another `out`")
    if (out / SETTINGS).exists():
        if not resume:
            raise ValueError(
                f"{out}: already holds a run; pass `resume=True` to go on with it, or choose another `out`"
            )
    elif latest_step(out):
        raise ValueError(f"{out}: has checkpoints but no {SETTINGS} that says of what; choose another `out`")


def prepare_folder(
    out: Path, settings: TrainingSettings, resume: bool, device: torch.device, start: Start | None
) -> None:
    check_folder(out, resume)
    stored, past = out / SETTINGS, []
    if stored.exists():
        before = read_settings(stored)
        refuse_changes(before, settings, out)
        if settings.started_from and not start and not latest_step(out):
            raise ValueError(f"{out}: has no checkpoint yet; name the weights that it starts from again (`start`)")
        past = read_history(stored)
        if latest_step(out) > settings.total_steps:
            raise ValueError(
                f"{out}: has {latest_step(out)} steps, more than the {settings.total_steps} asked for; raise `epochs` "
                "or `max_steps`, or choose another `out`"
            )
        _refuse_other_pace(before, settings, latest_step(out), out)
    for folder in (out, out / SAMPLES):
        sweep(folder, seconds=0)  # no other process writes here
    now = stretch(latest_step(out), device)
    if past and now["from_step"] and (differences := changes(past[-1], now)):
        logger.warning(
            "%s: goes on with %s: as good, but not to the last bit what it would have been", out, differences
        )
    content = {"format": 1, "settings": settings.to_json(), "history": continued(past, now)}
    write_text(stored, json.dumps(content, indent=2) + "\n")


def _refuse_other_pace(before: TrainingSettings, now: TrainingSettings, step: int, out: Path) -> None:
    """Raise a ValueError where, with the new length, the steps taken would have been taken at other rates."""
    if before.total_steps != now.total_steps and step > min(before.decay_from, now.decay_from):
        raise ValueError(
            f"{out}: is at step {step}, and its rates fall from step {before.decay_from} on (at the length asked: "
            f"{now.decay_from}); end it with its own length, or start another run from {out / DISCRIMINATOR}"
        )


def cut_log(path: Path, step: int, events: EventFiles | None = None) -> list[float]:
    """Leave the log, and what is made of it, as they were after `step` steps; D's losses in it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[1:] if path.is_file() else []
        kept = [line for line in lines if line.endswith("\n") and int(line.split(",")[0]) <= step]
        losses = [float(line.split(",")[2]) for line in kept]
        lines_of_json = "".join(map(as_json, kept))
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path}: not the losses of a run ({error}); move it away to go on without them") from error
    write_text(path, LOG_HEADER + "".join(kept))
    write_text(path.parent / LINES, lines_of_json)
    if events:
        events.begin(kept, step)
    return losses


class Log:
    """losses.csv and log.jsonl, fed with losses still on the device and written at every look; `events` too."""

    def __init__(self, path: Path, batch_size: int, ranks: Ranks, events: EventFiles | None = None):
        self.path = path
        self.batch_size = batch_size
        self.ranks = ranks
        self.events = events
        self.waiting: list[tuple[int, Tensor]] = []
        self.recent: deque[float] = deque(maxlen=COLLAPSE_WINDOW)
        self.last = (float("nan"), float("nan"))

    def add(self, step: int, losses: Tensor) -> None:
        """Note D's and G's losses after `step` steps, float [2]; float [0] of a step without the game."""
        if len(losses):
            self.waiting.append((step, losses))

    def look(self) -> None:
        """Write what is waiting; raise TrainingFailed if it shows that the game broke down."""
        if not self.waiting:
            return
        values = self.ranks.sum(torch.stack([losses for _, losses in self.waiting])) / self.ranks.count
        rows = []
        for (step, _), (d_loss, g_loss) in zip(self.waiting, values.tolist(), strict=True):
            if not np.isfinite([d_loss, g_loss]).all():
                raise TrainingFailed(
                    f"step {step}: the loss is NaN or infinite (D {d_loss}, G {g_loss}); the last checkpoint is kept. "
                    'Try a lower `lr`, `precision="fp32"`, or another `seed`, in a new `out`'
                )
            rows.append(f"{step},{step * self.batch_size},{d_loss:.6g},{g_loss:.6g}\n")
            self.recent.append(d_loss)
            self.last = (d_loss, g_loss)
        self.waiting.clear()
        if self.ranks.first:
            with naming(self.path), open_own(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
                write_all(file, "".join(rows).encode())
            add_lines(self.path.parent, rows)
            if self.events:
                self.events.add(rows)
        if len(self.recent) == COLLAPSE_WINDOW and np.mean(self.recent) < COLLAPSE_LOSS:
            raise TrainingFailed(
                f"step {rows[-1].split(',')[0]}: D's loss has collapsed (mean {np.mean(self.recent):.2g} over "
                f"{COLLAPSE_WINDOW} steps): it no longer teaches G. The last checkpoint is kept. "
                "Try a lower `lr`, a larger `batch_size`, more images, or another `seed`, in a new `out`"
            )
