"""A representation of images of one size, given images of another: they are resized first, and the record says so."""

from dataclasses import replace
from typing import Self

import numpy as np
from PIL import Image
from torch import Tensor

from repr_eval.images.decode import squared
from repr_eval.representations.base import Representation
from repr_eval.representations.batched import Batched
from repr_eval.system.ranks import ALONE, Ranks

FILTER = "bicubic, antialiased (Pillow)"


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """Images uint8 [N, S, S, 3] as uint8 [N, size, size, 3], by the filter that image files are read with."""
    made = np.empty((len(images), size, size, 3), np.uint8)
    for row, image in enumerate(images):
        made[row] = squared(Image.fromarray(image), size)
    return made


class Resized(Batched):
    """Features of images that are brought to the size that `representation` takes."""

    input_size = None

    def __init__(self, representation: Batched, size: int, given: int):
        super().__init__(representation.device)
        self.representation = representation
        self.size = size
        self.block = representation.block
        description = representation.description
        settings = description.settings | {"resized": {"from": given, "to": size, "filter": FILTER}}
        self.description = replace(description, settings=settings)

    def fit(self, images: np.ndarray, ranks: Ranks = ALONE) -> Self:
        self.representation.fit(resized(images, self.size), ranks)
        return self

    def check_fitted(self) -> None:
        self.representation.check_fitted()

    def features(self, images: np.ndarray) -> Tensor:
        return self.representation.features(resized(images, self.size))


def taking(representation: Representation, size: int) -> Representation:
    """The representation for images of side `size`: itself, if it takes these."""
    taken = representation.input_size if isinstance(representation, Batched) else None
    if taken is None or taken == size or not isinstance(representation, Batched):
        return representation
    return Resized(representation, taken, size)
