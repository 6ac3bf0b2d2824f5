"""Images in lines with a caption above each and a label before each line, as a PNG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

INCHES = 1.05  # of a column
LABEL = 1.2  # columns' widths left of the images, where lines have labels


@dataclass(frozen=True)
class Captioned:
    """An image uint8 [H, W, 3] and what stands above it."""

    image: np.ndarray
    caption: str = ""
    colour: str = "black"  # of the caption


def save_sheet(path: Path, lines: Sequence[Sequence[Captioned]], labels: Sequence[str] = ()) -> None:
    """Write lines of images, all of one shape, to the PNG `path`; `labels` stand before the lines."""
    from matplotlib.figure import Figure  # here, for help starts without it

    from repr_eval.reporting.figures import letter_for_letter, save_figure

    height, width = lines[0][0].image.shape[:2]
    above, between = 0.22 * width, 0.06 * width  # in pixels of the images
    left = LABEL * width if labels else 0
    columns = max(len(line) for line in lines)
    size = (left + columns * (width + between), len(lines) * (height + above + between))
    figure = Figure(figsize=(size[0] / width * INCHES, size[1] / width * INCHES))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))
    axes.axis("off")
    for number, line in enumerate(lines):
        top = number * (height + above + between) + above
        if labels:
            axes.text(left - 2 * between, top + height / 2, labels[number], ha="right", va="center", fontsize=8)
        for column, cell in enumerate(line):
            x = left + column * (width + between)
            axes.imshow(cell.image, extent=(x, x + width, top + height, top), interpolation="nearest")
            text = letter_for_letter(cell.caption)
            axes.text(x + width / 2, top - between / 2, text, ha="center", fontsize=7, color=cell.colour)
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0), aspect="equal")
    save_figure(figure, path)
