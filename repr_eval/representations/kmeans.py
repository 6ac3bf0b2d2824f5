"""One layer of K-means features [Coates, Lee & Ng 2011, sections 3.1 and 3.2; settings of their released code].

Learned from unlabelled images: patches of 6x6 pixels, each brought to mean 0 and variance 1 (plus 10 on the scale of
pixels 0 to 255), whitened by ZCA (plus 0.1 to each eigenvalue), and clustered by K-means. An image's features: at every
position of a 6x6 window, stride 1, with z_k the distance of its whitened patch to centroid k,

    f_k = max(0, mean(z) - z_k)                                                                     ("triangle")

summed up over each quadrant of the image, 4K numbers, standardised over the training images [section 4.2, footnote].
Differs from the paper: the mean and variance of that last step come from 10,000 of the training images.
"""

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from repr_eval.representations.base import Description
from repr_eval.representations.batched import on_device
from repr_eval.representations.fitted import TRAINED_ON, Fitted
from repr_eval.representations.layers import Layers
from repr_eval.system.parallel import parallel_map
from repr_eval.system.progress import progress_bar

PATCH = 6
N_PATCHES = 400_000
ITERATIONS = 50
CONTRAST, WHITENING = 10.0, 0.1  # added to a patch's variance, and to each eigenvalue
BLOCK = 10_000  # patches at a time
CACHED = 1 << 18  # distances of an image's windows at a time: what a core keeps close
STANDARDISED_BY = 10_000  # images
SPREAD = 0.01  # added to the variance of a feature


def patches_of(images: Tensor) -> Tensor:
    """All 6x6 patches of images float [N, 3, S, S], stride 1, row by row: [N * (S - 5)^2, 108]."""
    return F.unfold(images, PATCH).transpose(1, 2).reshape(-1, images.shape[1] * PATCH * PATCH)


def normalised(patches: Tensor) -> Tensor:
    """Every patch [n, d], pixels in 0 to 255, with mean 0 and (nearly) variance 1."""
    variance, mean = torch.var_mean(patches, 1, keepdim=True)
    return (patches - mean) / (variance + CONTRAST).sqrt()


def whitening(patches: Tensor, ridge: float = WHITENING) -> tuple[Tensor, Tensor]:
    """Mean [d] and symmetric matrix [d, d] with which (x - mean) W has (nearly) the identity as its covariance.

    `ridge` is added to each eigenvalue of the covariance of `patches` [n, d].
    """
    mean = patches.mean(0)
    centred = (patches - mean).double()
    energies, V = torch.linalg.eigh(centred.T @ centred / (len(patches) - 1))
    return mean, ((V / (energies + ridge).sqrt()) @ V.T).to(patches.dtype)


def kmeans(X: Tensor, k: int, generator: torch.Generator, iterations: int = ITERATIONS) -> Tensor:
    """Centroids [k, d] of the rows of X [n, d], by Lloyd's algorithm from N(0, 0.01); empty ones end at 0."""
    C = 0.1 * torch.randn(k, X.shape[1], generator=generator).to(X.device)
    for _ in progress_bar(range(iterations), "K-means", unit="round"):
        sums, counts = torch.zeros_like(C, dtype=torch.float64), torch.zeros(k, dtype=torch.float64, device=X.device)
        half = 0.5 * C.square().sum(1)
        for x in X.split(BLOCK):
            nearest = torch.addmm(half, x, C.T, beta=-1).argmax(1)
            sums.index_add_(0, nearest, x.double())
            counts += torch.bincount(nearest, minlength=k)
        C = (sums / counts.clamp_min(1)[:, None]).to(X.dtype)
    return C


def triangle(x: Tensor, C: Tensor) -> Tensor:
    """max(0, mean(z) - z_k) for the distances z of patches x [n, d] to centroids C [k, d]: [n, k]."""
    z = torch.addmm(C.square().sum(1), x, C.T, alpha=-2).add_(x.square().sum(1, keepdim=True)).clamp_min_(0).sqrt_()
    return (z.mean(1, keepdim=True) - z).clamp_min_(0)


def halves(x: Tensor, dim: int) -> tuple[Tensor, ...]:
    """The two halves of x along a dimension; the first is the larger where the length is odd."""
    return x.tensor_split(2, dim)


def quadrant_sums(f: Tensor) -> Tensor:
    """Sums of maps f [N, P, P, k] over the four quadrants, the upper left one the largest where P is odd: [N, 4k]."""
    return torch.cat([part.sum((1, 2)) for half in halves(f, 1) for part in halves(half, 2)], 1)


def random_patches(images: np.ndarray, n: int, rng: np.random.Generator, device: torch.device) -> Tensor:
    """Patches float [n, 108] at random positions of random images uint8 [N, S, S, 3]; numbers as in `patches_of`."""
    positions = images.shape[1] - PATCH + 1
    which, rows, columns = (rng.integers(0, count, n) for count in (len(images), positions, positions))
    windows = np.lib.stride_tricks.sliding_window_view(images, (PATCH, PATCH), axis=(1, 2))
    return torch.from_numpy(windows[which, rows, columns].reshape(n, -1)).to(device).float()


class StandardisedSums(Fitted):
    """Features that are sums over quadrants, each brought to mean 0 and (nearly) variance 1 on the training images."""

    block = 4

    @abstractmethod
    def sums(self, images: np.ndarray) -> Tensor:
        """Float [N, D], not standardised."""

    def features(self, images: np.ndarray) -> Tensor:
        return (self.sums(images) - self.mean) / self.spread

    def standardise(self, images: np.ndarray, rng: np.random.Generator) -> None:
        """Take mean and spread of every feature from at most `STANDARDISED_BY` of `images`."""
        sample = images[np.sort(rng.permutation(len(images))[:STANDARDISED_BY])]
        total = torch.zeros(2, self.description.n_features, dtype=torch.float64, device=self.device)
        starts = range(0, len(sample), self.block)
        for start in progress_bar(starts, "standardisation", unit="block"):
            sums = self.sums(sample[start : start + self.block]).double()
            total += torch.stack([sums.sum(0), sums.square().sum(0)])
        mean, square = total / len(sample)
        self.mean, self.spread = mean.float(), (square - mean.square() + SPREAD).sqrt().float()


class KMeans(StandardisedSums):
    """The representation, with k = `n_centroids`: 4k features."""

    block = 64

    def __init__(
        self, n_centroids: int = 1600, seed: int = 0, image_size: int = 32, n_patches: int = N_PATCHES,
        device: torch.device | None = None,
    ):  # fmt: skip
        k = n_centroids
        if k < 2 or n_patches < k:
            raise ValueError(f"{k} centroids of {n_patches:,} patches: needs 2 or more, and at least as many patches")
        if image_size < 2 * PATCH:
            raise ValueError(f"image size {image_size}: needs {2 * PATCH} or more, twice the side of a patch")
        self.n_centroids, self.seed, self.n_patches = n_centroids, seed, n_patches
        settings = {
            "representation": "kmeans", "centroids": k, "patch": PATCH, "patches": n_patches, "iterations": ITERATIONS,
            "activation": "triangle", "pooling": "sum 2x2", "whitening": WHITENING, "contrast": CONTRAST, "seed": seed,
        }  # fmt: skip
        description = Description(
            method=f"1-layer K-means, {k:,} centroids",
            trained_on=TRAINED_ON,
            layers=Layers(1, 1, 1),
            n_features=4 * k,
            max_units=k,
            settings=settings,
        )
        super().__init__(description, image_size, device)

    def train(self, images: np.ndarray) -> None:
        rng = np.random.default_rng([self.seed, 0])
        patches = normalised(random_patches(images, self.n_patches, rng, self.device))
        self.centre, self.whiten = whitening(patches)
        generator = torch.Generator().manual_seed(self.seed)
        self.C = kmeans((patches - self.centre) @ self.whiten, self.n_centroids, generator)
        self.standardise(images, rng)

    def sums(self, images: np.ndarray) -> Tensor:
        return torch.stack(parallel_map(self._sums_of, list(on_device(images, self.device))))

    def _sums_of(self, image: Tensor) -> Tensor:
        """Sums [4k] of an image [S, S, 3]; of some rows of windows at a time, so that their distances stay in cache."""
        x = (normalised(patches_of(image.permute(2, 0, 1)[None].float())) - self.centre) @ self.whiten
        k, side = self.n_centroids, image.shape[0] - PATCH + 1
        at_once = max(1, CACHED // (side * k)) if self.device.type == "cpu" else side
        total = torch.zeros(2, 2, k, device=self.device)
        for row, half in enumerate(halves(x.view(side, side, -1), 0)):
            for rows in half.split(at_once):
                f = triangle(rows.flatten(0, 1), self.C).view(-1, side, k)
                for column, part in enumerate(halves(f, 1)):
                    total[row, column] += part.sum((0, 1))
        return total.flatten()
