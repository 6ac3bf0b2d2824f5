"""Run folders of `train-gan`: losses and sample grids, embedded as far as the page's size allows."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from markupsafe import Markup

from repr_eval.reporting.page.charts import losses_chart, thinned
from repr_eval.reporting.page.pictures import Sample, embedded, uri_size
from repr_eval.system.json_text import read_object

POINTS = 300  # of a curve of losses, at most
_EPOCH = re.compile(r"epoch-(\d+)\.png")
_SHOWN = ("data", "n_images", "arch", "width", "recipe", "epochs", "max_steps", "seed", "precision")


@dataclass(frozen=True)
class Run:
    """A run folder, for the template."""

    name: str
    facts: tuple[tuple[str, str], ...]
    chart: Markup
    samples: tuple[Sample, ...]
    left_out: tuple[str, ...]

    @property
    def size(self) -> int:
        """Characters of its pictures."""
        return len(self.chart) + sum(len(sample.uri) for sample in self.samples)


def read_run(folder: Path, budget: int) -> Run:
    """The run of `folder`, its pictures in at most `budget` characters; ValueError where it is none."""
    folder = Path(folder)
    if not (folder / "losses.csv").is_file():
        raise ValueError(f"{folder}: not the folder of a training run; it has no losses.csv")
    chart, told = _losses(folder / "losses.csv")
    samples, left_out = _samples(folder / "samples", budget - len(chart))
    facts = [*_settings(folder / "settings.json"), *told]
    return Run(folder.resolve().name, tuple(facts), chart, tuple(samples), tuple(left_out))


def _settings(path: Path) -> list[tuple[str, str]]:
    try:
        settings = read_object(path)["settings"]
        found = [(name, settings[name]) for name in _SHOWN if settings.get(name) is not None]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [("settings", f"cannot be read ({error})")]
    return [(name.replace("_", " "), _words(value)) for name, value in found]


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("name", json.dumps(value, sort_keys=True)))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _losses(path: Path) -> tuple[Markup, list[tuple[str, str]]]:
    """The chart, and in words how long the run is; a last line without its end is left out."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True)[1:], 2):
        if not line.endswith("\n"):
            continue
        try:
            step, seen, d_loss, g_loss = map(float, line.split(","))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not the losses of a run ({error})") from error
        if not all(map(isfinite, (step, seen, d_loss, g_loss))):
            raise ValueError(f"{path}, line {number}: a loss is not finite: {line.strip()!r:.60}")
        rows.append((step, seen, d_loss, g_loss))
    if not rows:
        return Markup(), [("losses", "none yet")]
    steps, images, d, g = (list(column) for column in zip(*rows, strict=True))
    told = [("steps", f"{int(steps[-1]):,}"), ("images seen", f"{int(images[-1]):,}")]
    if len(rows) > POINTS:
        told.append(("losses", f"means of {POINTS} stretches of {len(rows):,} values"))
    curves = {"discriminator": thinned(d, POINTS), "generator": thinned(g, POINTS)}
    return Markup(losses_chart("losses against images seen", thinned(images, POINTS), curves)), told


def _samples(folder: Path, budget: int) -> tuple[list[Sample], list[str]]:
    """Grids spread evenly over the epochs, the last among them, as many as fit."""
    named = sorted((int(match[1]), path) for path in folder.glob("*.png") if (match := _EPOCH.fullmatch(path.name)))
    if not named:
        return [], ["There are no grids of samples."]
    kept = _fitting([uri_size(path) for _, path in named], budget)
    samples, left_out = [], []
    for number in kept:
        epoch, path = named[number]
        try:
            samples.append(embedded(path, f"epoch {epoch}"))
        except OSError as error:
            left_out.append(f"{path.name} cannot be read ({error}).")
    if len(kept) < len(named):
        left_out.insert(0, f"{len(kept)} of {len(named)} grids of samples are shown: the page's size allows no more.")
    return samples, left_out


def _fitting(sizes: Sequence[int], budget: int) -> list[int]:
    """Which of the pictures to take: as many as fit, the last and others at even distances."""
    for wanted in range(len(sizes), 0, -1):
        last = len(sizes) - 1
        chosen = [last] if wanted == 1 else sorted({round(i * last / (wanted - 1)) for i in range(wanted)})
        if sum(sizes[number] for number in chosen) <= budget:
            return chosen
    return []
