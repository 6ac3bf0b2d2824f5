"""The contact sheet: the samples of a seed with their numbers, by which other commands name them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from repr_eval.explore.models import Models
from repr_eval.explore.pictures import Row, picture

SHEET = 64  # samples
COLUMNS = 8


def contact_sheet(models: Models, n: int, seed: int) -> np.ndarray:
    """The first n samples of the seed, each with its number below, from 0: a picture uint8 [H, W, 3]."""
    images = models.images(models.noise(n, seed))
    rows = [
        Row(
            "",
            images[start : start + COLUMNS],
            [str(i) for i in range(start, min(start + COLUMNS, n))],
        )
        for start in range(0, n, COLUMNS)
    ]
    return picture(rows)


def named(sheet: Tensor, numbers: Sequence[int], parameter: str) -> Tensor:
    """The noise [k, z_dim] of the samples of these numbers on the sheet, noise [n, z_dim].

    ValueError, which names `parameter`, where there are none, one is not there or is named twice.
    """
    words = ",".join(map(str, numbers))
    if not numbers:
        raise ValueError(f"`{parameter}`: names no sample; needs numbers of the sheet such as 3,17,20")
    for number in numbers:
        if not 0 <= number < len(sheet):
            raise ValueError(
                f"`{parameter}` {words}: {number} is not on the sheet, which has 0 to "
                f"{len(sheet) - 1}; a larger `sheet` has more"
            )
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"`{parameter}` {words}: names a sample twice")
    return sheet[torch.tensor(list(numbers))]
