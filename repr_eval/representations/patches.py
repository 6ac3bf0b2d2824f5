"""A dictionary of whitened image patches, nothing learned but the whitening [Thiry et al. 2021].

Louis Thiry, Michael Arbel, Eugene Belilovsky and Edouard Oyallon, "The Unreasonable Effectiveness
of Patches in Deep Convolutional Kernels Methods", ICLR 2021. K patches d_k of 6x6 pixels are drawn
at random from the training images and whitened by ZCA. An image's patch x, whitened too, is encoded
by 2K indicators: whether d_k is among the 40% of the dictionary that are nearest to x, and whether
-d_k is among the 40% of the negatives that are. Both follow from one product, since

    |x - d_k|^2 = |x|^2 - 2 (x.d_k - |d_k|^2 / 2),   |x + d_k|^2 = |x|^2 - 2 (-x.d_k - |d_k|^2 / 2).

The indicators at all positions of a window, stride 1, are averaged over blocks of 5x5 positions at
distances of 3 (the last block is smaller where they do not fit), and the blocks' means once more,
adaptively, to 6x6 cells. The features are standardised over the training images, as the paper's
batch norm does, for a linear classifier.

From the paper: the encoding and its two halves. From the same authors' released code (its README,
the command "2K patches" of the linear classifier on CIFAR-10, which says 82.3%; 85.5% with 16,384
patches): 2,048 patches, 40%, 10^-3 added to each eigenvalue with pixels in [0, 1], 5x5 blocks at
distances of 3, 6x6 cells.
Differs from the paper: there the linear classifier is trained by SGD with cross-entropy, through a
bottleneck, on images that are cropped and mirrored at random; here the protocols' L2-SVM sees each
image once. The whitening comes from 400,000 patches instead of all, and the last step's mean and
variance, of every feature instead of every map, from 10,000 images. Where several patches are
equally far, all of them count as near. The size "small" is ours.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from repr_eval.representations.base import Description
from repr_eval.representations.batched import on_device
from repr_eval.representations.fitted import TRAINED_ON, of_size
from repr_eval.representations.kmeans import (
    CACHED,
    PATCH,
    StandardisedSums,
    patches_of,
    random_patches,
    whitening,
)
from repr_eval.representations.layers import Layers
from repr_eval.system.parallel import parallel_map

WHITENED_BY = 400_000  # patches
RIDGE = 1e-3  # added to each eigenvalue, with pixels in [0, 1]
BLOCK, STRIDE = 5, 3  # of positions that are averaged, and from one such block to the next
PIXELS = 255.0


@dataclass(frozen=True)
class PatchesSettings:
    """How many patches the dictionary has, and how finely their indicators are pooled."""

    patches: int  # K
    cells: int  # along a side
    near: float = 0.4  # fraction of the dictionary that counts as near

    @property
    def neighbours(self) -> int:
        """How many patches count as near, rounded down."""
        return int(self.near * self.patches)

    def check(self, image_size: int) -> None:
        """ValueError where no patch or every patch would be near, or images have too few blocks."""
        if not 0 < self.neighbours < self.patches:
            raise ValueError(
                f"{self.near:g} of {self.patches} patches: {self.neighbours} would count as near, "
                "which must be one or more, and not all"
            )
        if self.patches > WHITENED_BY:
            raise ValueError(f"{self.patches:,} patches: at most {WHITENED_BY:,} are drawn")
        side = image_size - PATCH + 1
        blocks = max(0, -(-(side - BLOCK) // STRIDE) + 1)
        if side < BLOCK or not 1 <= self.cells <= blocks:
            raise ValueError(
                f"{self.cells} cells a side: images of {image_size}x{image_size} have {blocks} "
                "blocks a side; needs 1 or more cells, and at least as many blocks"
            )


SIZES = {
    "published": PatchesSettings(patches=2048, cells=6),
    "small": PatchesSettings(patches=1024, cells=3),
}


def nearest(scores: Tensor, k: int) -> Tensor:
    """For each row of scores [n, K], bool [n, K]: which are among its k largest, ties included."""
    last = scores.shape[1] - k
    if scores.device.type == "cpu":  # numpy's selection takes half the time of torch's
        kth = torch.from_numpy(np.partition(scores.numpy(), last, axis=1)[:, last])
    else:
        kth = scores.kthvalue(last + 1, dim=1).values
    return scores >= kth[:, None]


def pooling(side: int, cells: int) -> Tensor:
    """The weights [cells^2, side^2] with which a map of side^2 positions, row by row, is pooled.

    Means over blocks of 5x5 positions at distances of 3, averaged to cells: every row sums to 1.
    """
    one_hot = torch.eye(side * side).view(side * side, 1, side, side)
    blocks = F.avg_pool2d(one_hot, BLOCK, STRIDE, ceil_mode=True)
    return F.adaptive_avg_pool2d(blocks, cells).flatten(1).T.contiguous()


class Patches(StandardisedSums):
    """The representation: 2 K cells^2 features."""

    block = 64

    def __init__(
        self, settings: PatchesSettings, seed: int = 0, image_size: int = 32,
        device: torch.device | None = None,
    ):  # fmt: skip
        settings.check(image_size)
        self.settings, self.seed = settings, seed
        n_features = 2 * settings.patches * settings.cells**2
        said = asdict(settings) | {
            "representation": "patches", "patch": PATCH, "whitened_by": WHITENED_BY,
            "whitening": RIDGE, "block": BLOCK, "stride": STRIDE, "seed": seed,
        }  # fmt: skip
        description = Description(
            method=f"{settings.patches:,} whitened patches, {n_features:,} features",
            trained_on=TRAINED_ON,
            layers=Layers(1, 1, 1),
            n_features=n_features,
            max_units=2 * settings.patches,
            settings=said,
        )
        super().__init__(description, image_size, device)

    def train(self, images: np.ndarray) -> None:
        rng = np.random.default_rng([self.seed, 0])
        drawn = random_patches(images, WHITENED_BY, rng, self.device) / PIXELS
        self.centre, self.whiten = whitening(drawn, RIDGE)
        # Their order is random already: each is of an image and a position of its own.
        self.dictionary = (drawn[: self.settings.patches] - self.centre) @ self.whiten
        self.weights = pooling(self.image_size - PATCH + 1, self.settings.cells).to(self.device)
        self.standardise(images, rng)

    def near(self, x: Tensor) -> Tensor:
        """Indicators bool [n, 2K] of whitened patches x [n, d]: dictionary, then negatives."""
        half = 0.5 * self.dictionary.square().sum(1)
        products = x @ self.dictionary.T
        k = self.settings.neighbours
        return torch.cat([nearest(products - half, k), nearest(-products - half, k)], 1)

    def sums(self, images: np.ndarray) -> Tensor:
        return torch.stack(parallel_map(self._sums_of, list(on_device(images, self.device))))

    def _sums_of(self, image: Tensor) -> Tensor:
        """Of an image [S, S, 3], how many of a block's positions have a patch near: [2K cells^2].

        The mean over blocks where a cell has several; some positions at a time, kept in cache.
        """
        x = patches_of(image.permute(2, 0, 1)[None].float() / PIXELS)
        x = (x - self.centre) @ self.whiten
        at_once = max(1, CACHED // self.settings.patches) if self.device.type == "cpu" else len(x)
        pooled = torch.zeros(len(self.weights), 2 * self.settings.patches, device=self.device)
        parts = zip(x.split(at_once), self.weights.split(at_once, dim=1), strict=True)
        for part, weights in parts:
            pooled.addmm_(weights, self.near(part).float())
        return (BLOCK**2 * pooled).flatten()


def whitened_patches(
    seed: int = 0,
    device: torch.device | None = None,
    size: str = "published",
) -> Patches:
    """The representation of 32x32 images in one of SIZES. ValueError where none has that name."""
    return Patches(of_size(SIZES, size), seed, device=device)
