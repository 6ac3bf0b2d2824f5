"""The controls: an image's pixels themselves, and its pixels whitened."""

import numpy as np
import torch
from torch import Tensor

from repr_eval.images.scale import to_unit
from repr_eval.representations.base import Description
from repr_eval.representations.batched import Batched, on_device
from repr_eval.representations.fitted import TRAINED_ON, Fitted

SCALE = "x / 127.5 - 1"
RIDGE = 0.01  # of the mean variance of a pixel, added to the variance in every direction
ALIKE = 1e-12  # mean variance of a pixel that is rounding alone


def scaled_pixels(images: np.ndarray, device: torch.device | None = None) -> Tensor:
    """Images uint8 [N, S, S, 3] as rows [N, S * S * 3] in [-1, 1]."""
    return to_unit(on_device(images, device or torch.device("cpu")).flatten(1))


class Pixels(Batched):
    """Raw pixels in [-1, 1], flattened."""

    block = 4096

    def __init__(self, image_size: int = 32):
        super().__init__(device=None)
        self.image_size = self.input_size = image_size
        d = image_size * image_size * 3
        settings = {"representation": "pixels", "scale": SCALE}
        self.description = Description(
            method="raw pixels", trained_on="nothing", layers="-", n_features=d, max_units=None, settings=settings
        )

    def features(self, images: np.ndarray) -> Tensor:
        return scaled_pixels(images)


class WhitenedPixels(Fitted):
    """Pixels x as (x - mean) V (E + e)^-1/2 V^T, with V E V^T their covariance over the training images: ZCA.

    With `components` (PCA) as (x - mean) V (E + e)^-1/2 on that number of leading directions. With all directions the
    two are rotations of each other, which neither an L2-SVM nor cosine similarity can tell apart.
    """

    block = 4096

    def __init__(
        self, components: int | None = None, image_size: int = 32,
        device: torch.device | None = None,
    ):  # fmt: skip
        d = image_size * image_size * 3
        if components is not None and not 1 <= components <= d:
            raise ValueError(f"{components} components: images of {image_size}x{image_size}x3 have 1 to {d}")
        self.components = components
        kind = "ZCA" if components is None else f"PCA, {components:,} directions"
        settings = {
            "representation": "whitened pixels", "scale": SCALE, "components": components, "ridge": RIDGE,
        }  # fmt: skip
        description = Description(
            method=f"pixels whitened ({kind})",
            trained_on=TRAINED_ON,
            layers="-",
            n_features=components or d,
            max_units=None,
            settings=settings,
        )
        super().__init__(description, image_size, device)

    def train(self, images: np.ndarray) -> None:
        d = images[0].size
        total, square = torch.zeros(d, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64)
        for start in range(0, len(images), self.block):
            x = scaled_pixels(images[start : start + self.block]).double()
            total += x.sum(0)
            square.addmm_(x.T, x)
        mean = total / len(images)
        energies, V = torch.linalg.eigh(square / len(images) - mean[:, None] * mean)
        energies, V = energies[-(self.components or d) :].clamp_min(0), V[:, -(self.components or d) :]
        variance = float((square.diagonal() / len(images) - mean.square()).mean())
        if variance < ALIKE:
            raise ValueError(f"the {len(images):,} training images are all alike; whitening needs images that differ")
        ridge = RIDGE * variance
        W = V / (energies + ridge).sqrt()
        self.mean = mean.float().to(self.device)
        self.W = (W if self.components else W @ V.T).float().to(self.device)

    def features(self, images: np.ndarray) -> Tensor:
        return (scaled_pixels(images, self.device) - self.mean) @ self.W
