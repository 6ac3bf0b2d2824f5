"""What representations have in common that learn from the target's training images, without labels."""

import copy
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from repr_eval.representations.base import Description
from repr_eval.representations.batched import check_size, fill_in_blocks
from repr_eval.system.ranks import current

LEARNED = "learned_from"  # the setting of a description that holds the fingerprint of the images learned from
Settings = TypeVar("Settings")


def of_size(sizes: dict[str, Settings], size: str) -> Settings:
    """The settings called `size`, or a ValueError that lists what there is."""
    if size not in sizes:
        raise ValueError(f"unknown size {size!r}; choose from {', '.join(sizes)}")
    return sizes[size]


class Fitted(ABC):
    """A Representation that is `fit` to the training images, once, before the first features are made.

    A subclass says what it is in `description`, with every setting; images are uint8 [N, image_size, image_size, 3].
    All that is random in `fit` follows from its settings.
    """

    block = 128  # images at a time

    def __init__(
        self, description: Description, image_size: int, device: torch.device | None = None, progress: bool = True
    ):
        self.description, self.image_size = description, image_size
        self.device, self.progress = device or torch.device("cpu"), progress
        self._train_images: np.ndarray | None = None

    @abstractmethod
    def fit(self, images: np.ndarray) -> None:
        """Learn from `images`."""

    @abstractmethod
    def features(self, images: np.ndarray) -> Tensor:
        """Float [N, D], every image's for itself."""

    def adapted(self, train_images: np.ndarray, fingerprint: str) -> Self:
        """Such a representation of these training images; nothing is learned yet."""
        check_size(train_images, self.image_size, self.description.method)
        adapted = copy.copy(self)
        adapted._train_images = train_images
        settings = self.description.settings | {LEARNED: fingerprint}
        adapted.description = replace(self.description, trained_on="the training images", settings=settings)
        return adapted

    def fill(self, images: np.ndarray, out: np.ndarray) -> None:
        """Write the features of `images` into `out` [N, D]."""
        if LEARNED not in self.description.settings:
            raise ValueError(f"{self.description.method} is to be trained first: call adapted(train_images, ...)")
        check_size(images, self.image_size, self.description.method)
        if current().count > 1:
            raise ValueError(f"{self.description.method} is trained by one process: run it without torchrun")
        if self._train_images is not None:
            self.fit(self._train_images)
            self._train_images = None
        with torch.no_grad():
            fill_in_blocks(images, out, self.block, self.features, self.progress)
