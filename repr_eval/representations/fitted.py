"""What representations have in common that learn from the target's training images, without labels."""

from abc import abstractmethod
from dataclasses import replace
from typing import Self, TypeVar

import numpy as np
import torch

from repr_eval.representations.base import Description
from repr_eval.representations.batched import Batched, check_size
from repr_eval.system.ranks import ALONE, Ranks

TRAINED_ON = "the training images"  # what a description says of all of these
Settings = TypeVar("Settings")


def of_size(sizes: dict[str, Settings], size: str) -> Settings:
    """The settings called `size`, or a ValueError that lists what there is."""
    if size not in sizes:
        raise ValueError(f"unknown size {size!r}; choose from {', '.join(sizes)}")
    return sizes[size]


class Fitted(Batched):
    """A Representation whose `fit` trains it, on images uint8 [N, image_size, image_size, 3], by one process alone.

    A subclass says what it is in `description`, with every setting. All that is random in `fit` follows from them.
    """

    block = 128

    def __init__(self, description: Description, image_size: int, device: torch.device | None = None):
        super().__init__(device)
        self.description = replace(description, fitted_on="learned_from")
        self.image_size = self.input_size = image_size
        self.fitted = False

    def fit(self, images: np.ndarray, ranks: Ranks = ALONE) -> Self:
        check_size(images, self.image_size, self.description.method)
        if ranks.count > 1:
            raise ValueError(f"{self.description.method} is trained by one process: run it without torchrun")
        self.fitted = False  # so that an interrupted training leaves no mixture of two
        self.train(images)
        self.fitted = True
        return self

    def check_fitted(self) -> None:
        if not self.fitted:
            raise ValueError(f"{self.description.method} must be trained first: call fit(train_images)")

    @abstractmethod
    def train(self, images: np.ndarray) -> None:
        """Learn from `images`; what was learned before is forgotten."""
