"""The contact sheet, its numbers, and pictures with words."""

import numpy as np
import pytest
import torch
from factories import random_images
from toy_networks import toy_models

from repr_eval.explore.pictures import BORDER, LINE, Row, enlarged, picture
from repr_eval.explore.sheet import contact_sheet, named


def test_samples_are_found_by_their_numbers() -> None:
    sheet = torch.arange(12.0).reshape(4, 3)
    assert named(sheet, (2, 0), "plus").tolist() == [[6, 7, 8], [0, 1, 2]]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((), "`plus`: names no sample"),
        ((0, 4), "`plus` 0,4: 4 is not on the sheet, which has 0 to 3; a larger `sheet` has more"),
        ((-1,), "`plus` -1: -1 is not on the sheet"),
        ((1, 2, 1), "`plus` 1,2,1: names a sample twice"),
    ],
)
def test_numbers_that_are_not_there(numbers: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        named(torch.zeros(4, 3), numbers, "plus")


def test_every_pixel_is_repeated() -> None:
    image = np.array([[[1] * 3, [2] * 3], [[3] * 3, [4] * 3]], np.uint8)[None]
    assert enlarged(image, 3)[0, :, :, 0].tolist() == [
        [1, 1, 2, 2],
        [1, 1, 2, 2],
        [3, 3, 4, 4],
        [3, 3, 4, 4],
    ]


def test_images_stand_where_they_belong() -> None:
    images = random_images(3, 64)
    made = picture([Row("title", images[:2], ["0", "1"]), Row("", images[2:])])
    top, left = BORDER + LINE, BORDER + 64 + BORDER
    np.testing.assert_array_equal(made[top : top + 64, left : left + 64], images[1])
    assert made[:top].min() < 128  # the title
    assert made[top + 64 : top + 64 + LINE].min() < 128  # the captions
    below = top + 64 + BORDER + LINE
    np.testing.assert_array_equal(made[below : below + 64, BORDER : BORDER + 64], images[2])
    assert made.shape == (below + 64 + BORDER, 2 * 64 + 3 * BORDER, 3)


def test_tall_images_and_coloured_captions() -> None:
    """Images twice as high as wide: each pixel repeated by the width; the second caption is blue."""
    images = random_images(2, 64)[:, :, :32]
    made = picture([Row("", images, ["1", "1"], ["black", "blue"])])
    assert made.shape == (BORDER + 128 + BORDER + LINE, 2 * 64 + 3 * BORDER, 3)
    np.testing.assert_array_equal(
        made[BORDER : BORDER + 128, BORDER : BORDER + 64], images[0].repeat(2, 0).repeat(2, 1)
    )
    captions = made[BORDER + 128 :].astype(int)
    black, blue = captions[:, : BORDER + 64], captions[:, BORDER + 64 :]
    assert black[:, :, 2].min() < 128
    assert blue[:, :, 0].min() < 128
    assert blue[:, :, 2].min() == 255


def test_a_larger_sheet_begins_alike() -> None:
    models = toy_models()
    small, large = (contact_sheet(models, n, seed=0) for n in (8, 16))
    height = len(small) - BORDER
    np.testing.assert_array_equal(large[:height], small[:height])
    assert not np.array_equal(contact_sheet(models, 8, seed=1), small)
