"""Features made a block of images at a time, by one process or several."""

from abc import ABC, abstractmethod
from typing import Self

import numpy as np
import torch
from torch import Tensor

from repr_eval.images.scale import to_unit
from repr_eval.representations.base import CPU, Description, Representation
from repr_eval.system.progress import progress_bar
from repr_eval.system.ranks import ALONE, Ranks


class Batched(Representation, ABC):
    """A representation that makes features of `block` images at a time.

    Several ranks can share the work. `fit` gives each of them the same result, and `transform` fills those rows of
    one array `out` that are the rank's share.
    """

    description: Description
    block: int  # images at a time
    input_size: int | None  # side of the images it takes; None for any

    def __init__(self, device: torch.device | None):
        self.device = device or CPU

    def fit(self, images: np.ndarray, ranks: Ranks = ALONE) -> Self:
        return self

    def transform(self, images: np.ndarray, out: np.ndarray | None = None, ranks: Ranks = ALONE) -> np.ndarray:
        self.check_fitted()
        check_size(images, self.input_size, self.description.method)
        out = features_array(len(images), self.description, out)
        starts = range(0, len(images), self.block)[ranks.number :: ranks.count]
        for start in progress_bar(starts, "features", unit="block"):
            with torch.no_grad():
                made = self.features(images[start : start + self.block]).cpu().numpy()
            with np.errstate(over="ignore"):  # whoever stores features in a narrower type looks for infinity
                out[start : start + len(made)] = made
        return out

    def check_fitted(self) -> None:
        """Raise a ValueError where `fit` must come first, and has not."""

    def at_input_size(self, images: np.ndarray) -> np.ndarray:
        """Images [N, S, S, 3] as `features` sees them: as large, unless it resizes them itself.

        What is resized here are float32 levels in [0, 255], which `features` takes as well.
        """
        return images

    @abstractmethod
    def features(self, images: np.ndarray) -> Tensor:
        """The features float [n, D] of a block of images; each row depends on its own image only."""


def features_array(n: int, description: Description, out: np.ndarray | None) -> np.ndarray:
    """`out`, or a new float32 array [n, n_features]. ValueError where `out` has another shape or is not float."""
    shape = (n, description.n_features)
    if out is None:
        return np.empty(shape, np.float32)
    if out.shape != shape or out.dtype.kind != "f":
        raise ValueError(
            f"out is {out.dtype} {list(out.shape)}; {description.method} of {n:,} images needs float {list(shape)}"
        )
    return out


def on_device(images: np.ndarray, device: torch.device) -> Tensor:
    """Images [N, S, S, 3] as a tensor of their type on `device`; on the CPU it shares their memory where it can."""
    # torch warns of arrays that may not be written to.
    return torch.from_numpy(np.require(images, requirements=("C", "W"))).to(device)


def to_network(images: np.ndarray, device: torch.device) -> Tensor:
    """Images uint8 [N, S, S, 3] -> float32 [N, 3, S, S] in [-1, 1], channels-last, on `device`."""
    return to_unit(on_device(images, device).permute(0, 3, 1, 2))


def check_size(images: np.ndarray, size: int | None, taker: str) -> None:
    """ValueError unless images are [N, size, size, 3]; square ones of any size where `size` is None."""
    if images.ndim != 4 or images.shape[1:] != (size or images.shape[1], size or images.shape[1], 3):
        takes = f"{size}x{size}x3" if size else "square images of three colours"
        raise ValueError(f"images are {list(images.shape[1:])}; {taker} takes {takes}")
