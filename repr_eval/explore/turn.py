"""An axis between two poses [paper, section 6.3.2 and figure 8]: from one mean of samples to another.

Added to other samples, parts of it turn them too, if G has an axis for what tells the two.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from repr_eval.explore.models import Models
from repr_eval.explore.output import save_numbers
from repr_eval.explore.pictures import Row, picture
from repr_eval.explore.probe import Probe, share_as_high
from repr_eval.explore.sheet import SHEET, contact_sheet, named
from repr_eval.gan.samples import save_picture

STEPS = 9
TURNED = 8  # random samples that are shown
JUDGED = 32  # that are judged, with every axis
RANDOM = 40  # axes
PER_END = 4  # samples whose mean is an end of a random axis [paper, figure 8]


def ends_of(models: Models, start: Sequence[int], end: Sequence[int], sheet: int, seed: int) -> tuple[Tensor, Tensor]:
    """The noise [k, d] of the samples of both poses.

    ValueError where one names no sample of the sheet, or both the same ones.
    """
    noise = models.noise(sheet, seed)
    ends = named(noise, start, "start"), named(noise, end, "end")
    if set(start) == set(end):
        words = ",".join(map(str, end))
        raise ValueError(f"`end` {words}: the samples of `start`; there is no axis between them")
    return ends


def along(z: Tensor, axis: Tensor) -> Tensor:
    """Noise [N, 9, d]: z [N, d] plus t times the axis [d], t from -1 to 1; z itself in the middle."""
    return z[:, None] + torch.linspace(-1, 1, STEPS)[:, None] * axis


def monotony(scores: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation float [N] of each row of scores [N, T] with its place in the row.

    1: every step rises; 0 for a row of equal scores.
    """
    places = np.arange(scores.shape[1])
    return np.array([spearmanr(places, row).statistic if np.ptp(row) > 0 else 0.0 for row in scores])


def random_axes(models: Models, n: int, length: float, seed: int) -> Tensor:
    """n axes [n, d] of that length: between means of four random samples, on no sheet."""
    fours = models.noise(n * 2 * PER_END, seed, 6).reshape(n, 2, PER_END, -1).mean(2)
    axes = fours[:, 1] - fours[:, 0]
    return axes / axes.norm(dim=1, keepdim=True) * length


def judged(models: Models, axis: Tensor, probe: Probe, seed: int) -> dict[str, Any]:
    """How the probe's score changes along the axis [d] on 32 random samples, and along 40 random axes.

    `monotony`: Spearman's correlation of score and place, mean over samples. `rise`: score at the
    end less that at the start, mean over samples. `share_of_random_as_high`: of random axes with
    the axis' own value or a higher one, the axis among them.
    """
    z = models.noise(JUDGED, seed, 5)

    def told(one: Tensor) -> tuple[float, float]:
        scores = probe.scores(models.features_of_noise(along(z, one).flatten(0, 1))).reshape(JUDGED, STEPS)
        return float(monotony(scores).mean()), float((scores[:, -1] - scores[:, 0]).mean())

    own = told(axis)
    others = np.array([told(one) for one in random_axes(models, RANDOM, float(axis.norm()), seed)])
    return {"probe": probe.description, "samples": JUDGED, "random_axes": RANDOM} | {
        name: {
            "axis": own[i],
            "random_mean": float(others[:, i].mean()),
            "std_of_random": float(others[:, i].std(ddof=1)),
            "share_of_random_as_high": share_as_high(own[i], others[:, i]),
        }
        for i, name in enumerate(("monotony", "rise"))
    }


def drawn(
    models: Models, start: Sequence[int], end: Sequence[int], ends: tuple[Tensor, Tensor], seed: int
) -> np.ndarray:
    """The picture uint8 [H, W, 3]: both poses with their means, the way between, samples turned."""
    rows = []
    for name, numbers, z in zip(("from", "to"), (start, end), ends, strict=True):
        shown = models.images(torch.cat([z, z.mean(0, keepdim=True)]))
        words = [str(number) for number in numbers]
        rows.append(Row(f"{name} {','.join(words)}", shown, [*words, "mean of z"]))
    first, last = (z.mean(0) for z in ends)
    axis, t = last - first, torch.linspace(0, 1, STEPS)[:, None]
    rows.append(Row("from one mean to the other", models.images(first + t * axis)))
    turned = along(models.noise(TURNED, seed, 5), axis)
    captions = [f"{place:+.2f}" for place in torch.linspace(-1, 1, STEPS).tolist()]
    for i, z in enumerate(turned):
        title = "random samples, in the middle, and so much of that way added" if i == 0 else ""
        rows.append(Row(title, models.images(z), captions if i == TURNED - 1 else ()))
    return picture(rows)


def run(
    models: Models, out: Path, seed: int, command: str, start: Sequence[int], end: Sequence[int],
    sheet: int = SHEET, probe: Probe | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write turn.png and turn.json, and sheet.png, to `out`; the numbers."""
    ends = ends_of(models, start, end, sheet, seed)
    axis = ends[1].mean(0) - ends[0].mean(0)
    numbers: dict[str, Any] = {
        "from": list(start),
        "to": list(end),
        "axis_norm": float(axis.norm()),
        "judged": judged(models, axis, probe, seed) if probe else None,
    }
    save_picture(out / "sheet.png", contact_sheet(models, sheet, seed))
    save_picture(out / "turn.png", drawn(models, start, end, ends, seed))
    save_numbers(out / "turn.json", "turn", models, seed, command, numbers)
    return numbers


def in_words(numbers: dict[str, Any]) -> list[str]:
    """The numbers of a turn in lines."""
    told = numbers["judged"]
    if told is None:
        return ["no numbers of how it turns: `probe` and `attribute` name what is judged"]
    probe = told["probe"]
    lines = [
        f"probe of {probe['attribute']} ({probe['data']}): accuracy "
        f"{100 * probe['test_accuracy']:.1f}% on "
        f"{probe['test_images']:,} real test images, half of them with it"
    ]
    names = {"monotony": "Spearman's correlation of score and place", "rise": "rise of the score"}
    for name, words in names.items():
        part = told[name]
        lines.append(
            f"{words}: {part['axis']:+.3f}; along {told['random_axes']} random axes "
            f"{part['random_mean']:+.3f} (std of axes {part['std_of_random']:.3f}); share with as much or more "
            f"{part['share_of_random_as_high']:.3f}"
        )
    return lines
