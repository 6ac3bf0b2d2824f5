"""Images with captions: each where it belongs, pixel for pixel."""

from pathlib import Path

import numpy as np
from PIL import Image

from repr_eval.explore.sheets import INCHES, Captioned, save_sheet


def test_images_stand_in_lines(tmp_path: Path) -> None:
    """Two lines of red, green and blue; the second has one image less."""
    red, green, blue = (np.full((32, 32, 3), np.eye(3)[i] * 255, np.uint8) for i in range(3))
    lines = [[Captioned(red, "$1"), Captioned(green)], [Captioned(blue)]]
    save_sheet(tmp_path / "sheet.png", lines)
    with Image.open(tmp_path / "sheet.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    cell = INCHES * 110  # at 110 dots an inch
    step = (cell * 1.06, cell * 1.28)
    for row, column, colour in ((0, 0, (255, 0, 0)), (0, 1, (0, 255, 0)), (1, 0, (0, 0, 255)), (1, 1, (255, 255, 255))):
        y, x = int((row + 0.6) * step[1]), int((column + 0.45) * step[0])
        assert tuple(pixels[y, x]) == colour
    assert pixels.shape[1] == int(2 * step[0])


def test_labels_widen_the_sheet(tmp_path: Path) -> None:
    image = Captioned(np.zeros((8, 8, 3), np.uint8))
    save_sheet(tmp_path / "bare.png", [[image]])
    save_sheet(tmp_path / "labelled.png", [[image]], ["sample"])
    with Image.open(tmp_path / "bare.png") as bare, Image.open(tmp_path / "labelled.png") as labelled:
        assert labelled.size[0] > 2 * bare.size[0]
