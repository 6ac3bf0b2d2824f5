"""Rows of small images with words: pictures for people, uint8 [H, W, 3]."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 64  # pixels that an image is shown with, at least
BORDER = 4
FONT, LINE = 11, 14  # points; pixels of a line of words


@dataclass(frozen=True)
class Row:
    """Images uint8 [N, H, W, 3] side by side, a title above them, and a caption below each.

    `colours` are those of the captions, by Pillow's names; black where there are none.
    """

    title: str
    images: np.ndarray
    captions: Sequence[str] = ()
    colours: Sequence[str] = ()


def enlarged(images: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Images uint8 [N, H, W, 3], `side` pixels wide or more: each pixel repeated a whole number of times."""
    times = -(-side // images.shape[2])
    return images.repeat(times, 1).repeat(times, 2)


def picture(rows: Sequence[Row]) -> np.ndarray:
    """The rows one below the other on white: uint8 [H, W, 3]. Titles and captions of "" take no space."""
    font = ImageFont.load_default(FONT)
    shown = [enlarged(row.images) for row in rows]
    widths = [BORDER + len(images) * (images.shape[2] + BORDER) for images in shown]
    titles = [int(font.getlength(row.title)) + 2 * BORDER for row in rows]
    heights = [
        images.shape[1] + BORDER + LINE * (bool(row.title) + any(row.captions))
        for row, images in zip(rows, shown, strict=True)
    ]
    canvas = Image.new("RGB", (max(*widths, *titles), BORDER + sum(heights)), "white")
    draw, top = ImageDraw.Draw(canvas), BORDER
    for row, images, height in zip(rows, shown, heights, strict=True):
        if row.title:
            draw.text((BORDER, top), row.title, "black", font)
        height_of_images, side = images.shape[1:3]
        y = top + LINE * bool(row.title)
        for i, image in enumerate(images):
            x = BORDER + i * (side + BORDER)
            canvas.paste(Image.fromarray(image), (x, y))
            if i < len(row.captions):
                colour = row.colours[i] if i < len(row.colours) else "black"
                draw.text((x + side // 2, y + height_of_images + 1), row.captions[i], colour, font, anchor="ma")
        top += height
    return np.asarray(canvas)
