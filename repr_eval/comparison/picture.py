"""The test images that only one of two measurements gets right, as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from repr_eval.comparison.pair import Comparison, name_of
from repr_eval.predictions import Predictions
from repr_eval.reporting.figures import letter_for_letter, save_figure

if TYPE_CHECKING:
    from repr_eval.images.labelled import LabelledImages

COLUMNS, ROWS = 10, 3  # images that are shown of each of the two


def write_picture(path: Path, comparison: Comparison, data: "LabelledImages") -> int:
    """Write images that only A, and only B, gets right to the PNG `path`; how many are shown.

    Above each stands its class, and the class that the other gives it most often. Of more than 30
    those are shown on which most draws differ, then the first. ValueError where `data` holds other
    test images than were measured on.
    """
    from matplotlib.figure import Figure  # here, for the other commands start without it

    wanted, found = comparison.a.dataset["test_fingerprint"], data.test.fingerprint
    if found != wanted:
        raise ValueError(
            f"{data.name}: its test images are not those measured on ({found[:12]}, {wanted[:12]})",
        )
    if comparison.predictions is None or comparison.only_a is None or comparison.only_b is None:
        raise ValueError("the comparison has no predictions, so it cannot say which images to show")
    a, b = comparison.predictions
    margin = a.draws_right - b.draws_right
    parts = (
        ("A", comparison.a, _most(comparison.only_a, margin), len(comparison.only_a), b),
        ("B", comparison.b, _most(comparison.only_b, -margin), len(comparison.only_b), a),
    )
    heights = [max(1, -(-len(part[2]) // COLUMNS)) for part in parts]  # rows of images
    figure = Figure(figsize=(COLUMNS * 1.1, 1.3 * sum(heights) + 0.9), layout="constrained")
    shares = [1.3 * rows + 0.45 for rows in heights]
    halves = figure.subfigures(2, 1, squeeze=False, height_ratios=shares)[:, 0]
    for half, rows, part in zip(halves, heights, parts, strict=True):
        name, record, shown, total, other = part
        title = f"only {name} is right: {name_of(record)} ({total:,} image{'s' * (total != 1)})"
        half.suptitle(letter_for_letter(title), fontsize="medium")
        cells = half.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axes in cells:
            axes.axis("off")
        for axes, index in zip(cells, shown, strict=False):
            axes.imshow(data.test.images[index])
            caption = _caption(int(index), other, data.classes)
            axes.set_title(letter_for_letter(caption), fontsize="x-small")
    save_figure(figure, path)
    return sum(len(part[2]) for part in parts)


def _most(indices: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Those of `indices` with the largest margin, the first of equals."""
    return indices[np.argsort(-margin[indices], kind="stable")][: ROWS * COLUMNS]


def _caption(index: int, other: Predictions, classes: Sequence[str]) -> str:
    """The class of an image, and what the other calls it: its most frequent wrong answer."""
    truth, given = int(other.labels[index]), other.predicted[:, index]
    answers, counts = np.unique(given[given != truth], return_counts=True)
    labels = (truth, int(answers[counts.argmax()]))
    own, wrong = (classes[label] if 0 <= label < len(classes) else str(label) for label in labels)
    return f"{own}, not {wrong}"
