"""An unsupervised convolutional kernel network of two layers [Mairal et al. 2014; Mairal 2016].

Julien Mairal, Piotr Koniusz, Zaid Harchaoui and Cordelia Schmid, "Convolutional Kernel Networks",
NIPS 2014; Julien Mairal, "End-to-End Kernel Learning with Supervised Convolutional Kernel
Networks", NIPS 2016, whose unsupervised variant this is. Neither labels nor gradients. A layer
approximates the kernel of two 3x3 patches x, y of the maps below (zeros around the image),

    K(x, y) = |x| |y| k(x.y / (|x| |y|)),    k(u) = exp((u - 1) / sigma^2),

by the inner product of psi(x) and psi(y), the projection (Nystroem) onto the span of anchors Z:

    psi(x) = |x| k(Z^T Z)^-1/2 k(Z^T x / |x|).

Z, patches of length 1, come from spherical K-means of the patches of training images. The psi at
all positions are pooled with Gaussian weights exp(-t^2 / s^2) for distances t up to s, of sum 1
along each side, at every s-th position. The maps of layer 2 are the features: of every image their
mean is subtracted, and the length is brought to 1 (here times the root of their number, so that
their mean square is 1: another unit of C).

From the papers: the kernel, its approximation, spherical K-means, Gaussian pooling. From D. Chen's
reimplementation (claying/CKN-Pytorch-image, its README), which prints 82.0% on CIFAR-10 for 256 and
1,024 maps and 77.5% for 64 and 256, both with whitened images and without augmentation: sigma 0.6,
subsampling by 2 and then 6, the pooling's width, the last step.
Set here, not checked against the papers: images are whitened locally (each pixel's three colours
from the 5x5 pixels around it, as the middle of a ZCA of such windows does, 0.01 of the mean
eigenvalue added to each); 10^-3 is added to the eigenvalues of k(Z^T Z); 10 rounds of K-means from
random patches, and a patch at random where an anchor has none.
Differs from the papers: each layer learns from 100,000 patches of at most 10,000 images (there, a
million), so that memory stays bounded.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from repr_eval.representations.base import Description
from repr_eval.representations.batched import on_device
from repr_eval.representations.fitted import TRAINED_ON, Fitted, of_size
from repr_eval.representations.layers import Layers
from repr_eval.system.progress import progress_bar

SIDE = 3  # of a layer's patches
WINDOW = 5  # side of what a pixel is whitened by
WHITENED_BY = 200_000  # such windows
RIDGE = 0.01  # of the mean eigenvalue, added to each
ROUNDS = 10  # of spherical K-means
INVERSE = 1e-3  # added to the eigenvalues of the anchors' kernel matrix
BLOCK = 5000  # patches at a time
ALIKE = 1e-12  # mean eigenvalue that is rounding alone
SHORT = 1e-6  # length up to which a patch has no direction


@dataclass(frozen=True)
class KernelNetworkSettings:
    """How large a network is, and from how much it is learned."""

    maps: tuple[int, ...]  # of every layer
    subsampling: tuple[int, ...] = (2, 6)  # of every layer
    sigma: float = 0.6
    patches: int = 100_000  # that a layer is learned from
    images: int = 10_000  # that these are of, at most

    def sides(self, image_size: int) -> tuple[int, ...]:
        """Positions along a side of every layer's pooled maps."""
        sides = [image_size]
        for step in self.subsampling:
            sides.append((sides[-1] - 1) // step + 1)
        return tuple(sides[1:])

    def check(self, image_size: int) -> None:
        """ValueError where a layer has more maps than patches, or maps too small for patches."""
        if max(self.maps) > self.patches:
            raise ValueError(f"{max(self.maps):,} maps of {self.patches:,} patches: needs as many")
        smallest = min(image_size, *self.sides(image_size)[:-1])
        if image_size < WINDOW or smallest < SIDE:
            sides = ", ".join(map(str, (image_size, *self.sides(image_size)[:-1])))
            raise ValueError(
                f"images of {image_size}x{image_size}: {sides} positions a side below the layers; "
                f"needs {SIDE}, and images of {WINDOW}x{WINDOW}"
            )


SIZES = {
    "published": KernelNetworkSettings(maps=(256, 1024)),
    "small": KernelNetworkSettings(maps=(64, 256)),
}


def spherical_kmeans(X: Tensor, k: int, generator: torch.Generator, rounds: int = ROUNDS) -> Tensor:
    """Directions [k, d] of length 1, means of those rows of X [n, d] (length 1) nearest to them."""
    Z = X[torch.randperm(len(X), generator=generator)[:k].to(X.device)]
    for _ in progress_bar(range(rounds), "K-means", unit="round"):
        sums = torch.zeros_like(Z, dtype=torch.float64)
        for x in X.split(BLOCK):
            sums.index_add_(0, (x @ Z.T).argmax(1), x.double())
        empty = sums.norm(dim=1) < SHORT
        anew = torch.randint(len(X), (int(empty.sum()),), generator=generator).to(X.device)
        sums[empty] = X[anew].double()
        Z = F.normalize(sums).to(X.dtype)
    return Z


def gaussian_pooling(side: int, step: int) -> Tensor:
    """The weights [positions, side] along one side: a Gaussian around every `step`-th position.

    What would lie outside the maps counts as 0.
    """
    distance = torch.arange(0, side, step)[:, None] - torch.arange(side)
    around = torch.exp(-(torch.arange(-step, step + 1) / step).square())
    weights = torch.exp(-(distance / step).square()) / around.sum()
    return weights * (distance.abs() <= step)


def root_of_inverse(K: Tensor) -> Tensor:
    """K^-1/2 of a positive semi-definite matrix, `INVERSE` added to its eigenvalues."""
    energies, V = torch.linalg.eigh(K.double())
    return ((V / (energies.clamp_min(0) + INVERSE).sqrt()) @ V.T).to(K.dtype)


@dataclass(frozen=True)
class KernelLayer:
    """One layer, with k anchors of patches of c maps."""

    anchors: Tensor  # [k, c * SIDE^2], of length 1
    projection: Tensor  # [k, k], k(Z^T Z)^-1/2
    pooling: Tensor  # [P', P]
    sigma: float

    @classmethod
    def of(cls, anchors: Tensor, sigma: float, side: int, step: int) -> "KernelLayer":
        """The layer with these anchors, on maps of `side` positions a side."""
        kernel = torch.exp((anchors @ anchors.T - 1) / sigma**2)
        pooling = gaussian_pooling(side, step).to(anchors.device)
        return cls(anchors, root_of_inverse(kernel), pooling, sigma)

    def kernels(self, maps: Tensor) -> Tensor:
        """|x| k(Z^T x / |x|) of every position's patch x in maps [N, c, P, P]: [N, k, P, P]."""
        filters = self.anchors.view(len(self.anchors), -1, SIDE, SIDE)
        squares = F.avg_pool2d(maps.square().sum(1, keepdim=True), SIDE, 1, SIDE // 2) * SIDE**2
        length = squares.sqrt()
        cosines = F.conv2d(maps, filters, padding=SIDE // 2).div_(length.clamp_min(SHORT))
        return cosines.sub_(1).div_(self.sigma**2).exp_().mul_(length)

    def responses(self, maps: Tensor) -> Tensor:
        """Pooled psi of maps [N, c, P, P]: [N, k, P', P']."""
        pooled = self.pooling @ self.kernels(maps) @ self.pooling.T  # fewer positions to project
        return (self.projection @ pooled.flatten(2)).view(pooled.shape)


class KernelNetwork(Fitted):
    """The representation: the last layer's maps, of mean 0 and mean square 1 in every image."""

    block = 16

    def __init__(
        self, settings: KernelNetworkSettings, seed: int = 0, image_size: int = 32,
        device: torch.device | None = None,
    ):  # fmt: skip
        settings.check(image_size)
        self.settings, self.seed = settings, seed
        n_features = settings.maps[-1] * settings.sides(image_size)[-1] ** 2
        maps = " + ".join(f"{count:,}" for count in settings.maps)
        said = asdict(settings) | {
            "representation": "kernel-network", "patch": SIDE, "whitening_window": WINDOW,
            "whitened_by": WHITENED_BY, "whitening": RIDGE, "rounds": ROUNDS, "inverse": INVERSE,
            "seed": seed,
        }  # fmt: skip
        count = len(settings.maps)
        description = Description(
            method=f"{count}-layer kernel network, {maps} maps, {n_features:,} features",
            trained_on=TRAINED_ON,
            layers=Layers(count, count, count),
            n_features=n_features,
            max_units=max(settings.maps),
            settings=said,
        )
        super().__init__(description, image_size, device)

    def train(self, images: np.ndarray) -> None:
        s, rng = self.settings, np.random.default_rng([self.seed, 0])
        generator = torch.Generator().manual_seed(self.seed)
        self._learn_whitening(images, rng)
        self.layers: list[KernelLayer] = []
        sides = (self.image_size, *s.sides(self.image_size))
        for count, side, step in zip(s.maps, sides, s.subsampling, strict=False):
            X = self._patches(images, rng)
            if len(X) < count:
                raise ValueError(f"{count:,} maps: only {len(X):,} patches of these images vary")
            anchors = spherical_kmeans(X, count, generator)
            self.layers.append(KernelLayer.of(anchors, s.sigma, side, step))

    def _learn_whitening(self, images: np.ndarray, rng: np.random.Generator) -> None:
        """Filters [3, 3, WINDOW, WINDOW] and offsets [3]: the middle pixel of a window's ZCA."""
        count = images.shape[1] - WINDOW + 1
        counts = (len(images), count, count)
        which, rows, columns = (rng.integers(0, n, WHITENED_BY) for n in counts)
        windows = np.lib.stride_tricks.sliding_window_view(images, (WINDOW, WINDOW), axis=(1, 2))
        X = torch.from_numpy(windows[which, rows, columns].reshape(WHITENED_BY, -1)).double() / 255
        energies, V = torch.linalg.eigh(torch.cov(X.T))
        if energies.mean() < ALIKE:
            n = f"{len(images):,}"
            raise ValueError(f"the {n} training images are all of one colour; whitening needs more")
        middle = torch.arange(3) * WINDOW**2 + WINDOW**2 // 2
        W = (V[middle] / (energies + RIDGE * energies.mean()).sqrt()) @ V.T
        self.whiten = W.view(3, 3, WINDOW, WINDOW).float().to(self.device)
        self.offset = -(W @ X.mean(0)).float().to(self.device)

    def whitened(self, images: np.ndarray) -> Tensor:
        """Images uint8 [N, S, S, 3] as float [N, 3, S, S], whitened; reflected at their borders."""
        x = on_device(images, self.device).permute(0, 3, 1, 2).float() / 255
        padded = F.pad(x, (WINDOW // 2,) * 4, mode="reflect")
        return F.conv2d(padded, self.whiten, self.offset)

    def maps(self, images: np.ndarray) -> Tensor:
        """Maps [N, k, P, P] of the last layer that has been learned."""
        x = self.whitened(images)
        for layer in self.layers:
            x = layer.responses(x)
        return x

    def _patches(self, images: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Patches [n, c * SIDE^2] that the next layer would see, brought to length 1.

        From within the maps of random images; of every image at different positions. Those that
        are 0 are left out.
        """
        s = self.settings
        sample = np.sort(rng.permutation(len(images))[: s.images])
        each, drawn = math.ceil(s.patches / len(sample)), []
        starts = range(0, len(sample), self.block)
        for start in progress_bar(starts, "patches", unit="block"):
            maps = self.maps(images[sample[start : start + self.block]])
            x = F.unfold(maps, SIDE).transpose(1, 2)
            at = torch.from_numpy(rng.random(x.shape[:2]).argsort(1)[:, :each]).to(self.device)
            drawn.append(x.take_along_dim(at[:, :, None], 1).flatten(0, 1))
        X = torch.cat(drawn)[: s.patches]
        return F.normalize(X[X.norm(dim=1) > SHORT])

    def features(self, images: np.ndarray) -> Tensor:
        x = self.maps(images).flatten(1)
        return F.normalize(x - x.mean(1, keepdim=True)) * math.sqrt(x.shape[1])


def kernel_network(
    seed: int = 0,
    device: torch.device | None = None,
    size: str = "published",
) -> KernelNetwork:
    """The representation of 32x32 images in one of SIZES. ValueError where none has that name."""
    return KernelNetwork(of_size(SIZES, size), seed, device=device)
