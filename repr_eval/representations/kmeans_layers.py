"""K-means in three layers with learned receptive fields [Coates & Ng 2011].

Adam Coates and Andrew Y. Ng, "Selecting Receptive Fields in Deep Networks", NIPS 2011: 82.0% on CIFAR-10 with three
layers of at most 3,200 maps. Learned from unlabelled images, layer by layer; with size "one layer", of 4,800 maps, that
is all (the DCGAN paper's table has 80.6% for one layer of so many units). Every layer:

    patches, each brought to mean 0 and variance 1, whitened by ZCA; a dictionary D of unit length by gain-shape vector
    quantisation (K-means with |x.d| in place of the distance); response max(0, D x - 0.25) at every position.

Layer 1 sees patches of 6x6 pixels. A further layer sees neighbourhoods of 2x2 cells of the layer below, whose maps are
first averaged over blocks: 4K variables for K maps, too many for one K-means. So it gets receptive fields [section 3]:
N variables at random, each with the T variables most similar to it, and a dictionary of its own for every field.
Similar are two variables x_j, x_k (mean 0, variance 1, correlation a) whose squares are correlated after ZCA of the
pair alone. With g = 1 / sqrt(1 + a) and b = 1 / sqrt(1 - a),

    z_j = ((g + b) x_j + (g - b) x_k) / 2,    z_k = ((g - b) x_j + (g + b) x_k) / 2,
    S_jk = (E[z_j^2 z_k^2] - 1) / sqrt((E[z_j^4] - 1) (E[z_k^4] - 1)),

for which moments of x_j and x_k up to the fourth are enough. The features: every layer's responses summed up over each
quadrant of the image, concatenated, standardised over the training images, for a linear SVM.

From the paper: the similarity and its whitening by pairs, N = 32, T = 200, 1,600 maps and then twice 3,200 (100 of each
field), patches of 6x6, all layers together for the SVM. From the same authors' released code (sc_vq_demo, for "The
Importance of Encoding Versus Training with Sparse Coding and Vector Quantization", ICML 2011): gain-shape quantisation,
50 rounds from random directions, the threshold of 0.25, 10 added to a patch's variance on the scale of pixels 0 to 255,
0.1 added to each eigenvalue. From `kmeans`: 400,000 patches, and the last step's constant.
Set here, not checked against the paper: averages over blocks of 3x3 (27x27 positions to 9x9) and of 2x2 (8x8 to 4x4),
the same threshold, eigenvalue and (in proportion) contrast constants in all layers, positive responses only.
Differs from the paper: the further layers are learned from 5,000 of the images, eight neighbourhoods of each, and the
last step's mean and variance come from 10,000, so that memory stays bounded. The size "small" is ours.
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
    CONTRAST,
    PATCH,
    WHITENING,
    StandardisedSums,
    normalised,
    patches_of,
    quadrant_sums,
    random_patches,
    whitening,
)
from repr_eval.representations.layers import Layers
from repr_eval.system.progress import progress_bar, silent

THRESHOLD = 0.25  # of a response
BLOCK = 2000  # patches at a time [released code]
EMPTY = 1e-3  # squared length of the sum of a direction's patches under which it is drawn anew [released code]
CORRELATED = 0.999  # correlation up to which a pair is whitened in full: beyond it the difference is mostly rounding
DEAD = 1e-6  # spread of a variable up to which it counts as constant
# Spread that a further layer's variables are given, of the order of a patch's pixels: CONTRAST fits both.
VARIABLE_SPREAD = 32.0


@dataclass(frozen=True)
class KMeansLayersSettings:
    """How large a network is, and from how much it is learned."""

    maps: int  # of layer 1
    patches: int  # of pixels, that layer 1 is learned from
    iterations: int  # of vector quantisation
    pooling: tuple[
        int, ...
    ] = ()  # side of the blocks averaged before each further layer; as many as there are of those
    fields: int = 0  # N, in every further layer
    field: int = 0  # T, the variables in a receptive field
    field_maps: int = 0  # learned of a receptive field
    images: int = 0  # that a further layer is learned from
    neighbourhoods: int = 0  # of each of these

    def counts(self) -> tuple[int, ...]:
        """Maps of every layer."""
        return (self.maps, *(self.fields * self.field_maps for _ in self.pooling))

    def sides(self, image_size: int) -> tuple[int, ...]:
        """Positions along a side of every layer's maps."""
        sides = [image_size - PATCH + 1]
        for block in self.pooling:
            sides.append(sides[-1] // block - 1)
        return tuple(sides)

    def check(self, image_size: int) -> None:
        """ValueError where images are too small for every layer's quadrants, or a layer for the fields of the next."""
        if min(self.sides(image_size)) < 2:
            sides = ", ".join(map(str, self.sides(image_size)))
            raise ValueError(f"images of {image_size}x{image_size}: {sides} positions a side in the layers, needs 2")
        for variables in (4 * count for count in self.counts()[:-1]):
            if max(self.fields, self.field) > variables:
                raise ValueError(f"{self.fields} receptive fields of {self.field}: a layer has {variables} variables")


SIZES = {
    "published": KMeansLayersSettings(
        maps=1600, fields=32, field=200, field_maps=100, pooling=(3, 2),
        patches=400_000, images=5000, neighbourhoods=8, iterations=50,
    ),
    "one layer": KMeansLayersSettings(maps=4800, patches=400_000, iterations=50),
    "small": KMeansLayersSettings(
        maps=800, fields=16, field=200, field_maps=100, pooling=(3, 2),
        patches=200_000, images=4000, neighbourhoods=8, iterations=25,
    ),
}  # fmt: skip


def block_means(maps: Tensor, block: int) -> Tensor:
    """Means of maps [N, P, P, k] over blocks side by side, the rest dropped: [N, P // block, P // block, k]."""
    return F.avg_pool2d(maps.permute(0, 3, 1, 2), block).permute(0, 2, 3, 1)


def neighbourhoods(maps: Tensor) -> Tensor:
    """All 2x2 cells of maps [N, P, P, k], stride 1: [N, P - 1, P - 1, 4k], upper left, upper right, lower left, ..."""
    last = maps.shape[1] - 1
    return torch.cat([maps[:, r : r + last, c : c + last] for r in (0, 1) for c in (0, 1)], 3)


def gain_shape(X: Tensor, k: int, generator: torch.Generator, iterations: int) -> Tensor:
    """Directions of unit length [k, d], each patch of X [n, d] near a multiple, of either sign, of one of them.

    From random directions; where no patch is left to a direction, it is drawn anew.
    """
    D = F.normalize(torch.randn(k, X.shape[1], generator=generator)).to(X.device)
    for _ in progress_bar(range(iterations), "K-means", unit="round"):
        sums = torch.zeros_like(D, dtype=torch.float64)
        for x in X.split(BLOCK):
            nearest = (x @ D.T).abs_().argmax(1)
            gain = (x * D[nearest]).sum(1, keepdim=True)
            sums.index_add_(0, nearest, (gain * x).double())
        empty = sums.square().sum(1) < EMPTY
        sums[empty] = torch.randn(int(empty.sum()), X.shape[1], generator=generator).to(sums)
        D = F.normalize(sums).to(X.dtype)
    return D


def filters_of(X: Tensor, k: int, generator: torch.Generator, iterations: int) -> tuple[Tensor, Tensor]:
    """Filters W [d, k] and biases [k] learned from patches X [n, d], on the scale of pixels 0 to 255.

    Whitening and dictionary in one: the response to a patch x is max(0, normalised(x) W + bias).
    """
    X = normalised(X)
    centre, whiten = whitening(X)
    W = whiten @ gain_shape((X - centre) @ whiten, k, generator, iterations).T
    return W, -(centre @ W) - THRESHOLD


def similarity(X: Tensor, seeds: Tensor) -> Tensor:
    """Correlation, in [-1, 1], of the squares of column j of X [n, d] and of every column, each pair whitened: [N, d].

    j runs through `seeds`, N integers. X has columns of mean 0 and variance 1; one that is 0 has similarity 0.
    """
    moments = torch.zeros(4, len(seeds), X.shape[1], dtype=torch.float64, device=X.device)
    own = torch.zeros(2, X.shape[1], dtype=torch.float64, device=X.device)
    for x in X.split(BLOCK):
        s, x2 = x[:, seeds], x.square()
        products = [s.T @ x, s.pow(3).T @ x, s.square().T @ x2, s.T @ (x2 * x)]
        moments += torch.stack(products)
        own += torch.stack([x2.sum(0), x2.square().sum(0)])
    m11, m31, m22, m13 = moments / len(X)
    m02, m04 = own / len(X)
    m20, m40 = m02[seeds, None], m04[seeds, None]
    a = m11.clamp(-CORRELATED, CORRELATED)
    g, b = (1 + a).rsqrt(), (1 - a).rsqrt()
    p, q = (g + b) / 2, (g - b) / 2  # z_j = p x_j + q x_k, z_k = q x_j + p x_k
    # E[z^2] is 1 but for pairs beyond CORRELATED and constants: kept, for what is returned to be a correlation always.
    second_j, second_k = p**2 * m20 + 2 * p * q * m11 + q**2 * m02, q**2 * m20 + 2 * p * q * m11 + p**2 * m02
    middle = 6 * p**2 * q**2 * m22
    fourth_j = p**4 * m40 + 4 * p**3 * q * m31 + middle + 4 * p * q**3 * m13 + q**4 * m04
    fourth_k = q**4 * m40 + 4 * p * q**3 * m31 + middle + 4 * p**3 * q * m13 + p**4 * m04
    both = (
        p**2 * q**2 * (m40 + m04)
        + 2 * p * q * (p**2 + q**2) * (m31 + m13)
        + (2 * p**2 * q**2 + (p**2 + q**2) ** 2) * m22
    )
    variances = (fourth_j - second_j**2) * (fourth_k - second_k**2)
    return (both - second_j * second_k) / variances.clamp_min(1e-12).sqrt()


@dataclass(frozen=True)
class Layer:
    """A further layer: N receptive fields of T variables each, and k filters of each."""

    columns: Tensor  # [N, T], which of the variables of a neighbourhood
    centre: Tensor  # [N, T], with `scale` brings them to mean 0 and spread SCALE
    scale: Tensor  # [N, T]
    filters: Tensor  # [N, T, k]
    bias: Tensor  # [N, 1, k]

    def responses(self, maps: Tensor) -> Tensor:
        """Of maps [B, P, P, K] the layer's own [B, P - 1, P - 1, N k]."""
        x = neighbourhoods(maps)
        fields, field = self.columns.shape
        rows = x.flatten(0, 2).index_select(1, self.columns.flatten())
        rows = rows.sub_(self.centre.flatten()).mul_(self.scale.flatten())
        rows = normalised(rows.view(-1, field)).view(-1, fields, field).transpose(0, 1)
        responses = torch.baddbmm(self.bias, rows, self.filters).clamp_min_(0)
        return responses.transpose(0, 1).reshape(*x.shape[:3], -1)


def learn_layer(
    X: Tensor,
    settings: KMeansLayersSettings,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> Layer:
    """A layer learned from neighbourhoods X [n, 4K], which are overwritten (there may be gigabytes of them)."""
    spread, centre = torch.std_mean(X, 0)
    scale = torch.where(spread > DEAD, 1 / spread, 0)
    X.sub_(centre).mul_(scale)
    alive = scale.nonzero().flatten().cpu().numpy()
    if len(alive) < settings.fields:
        raise ValueError(f"{settings.fields} receptive fields: only {len(alive)} variables ever vary on these images")
    seeds = torch.from_numpy(rng.permutation(alive)[: settings.fields]).to(X.device)
    columns = similarity(X, seeds).topk(settings.field).indices
    fields = progress_bar(columns, "receptive fields", unit="field")
    with silent():  # one bar for all, none for each
        learned = [
            filters_of(VARIABLE_SPREAD * X[:, field], settings.field_maps, generator, settings.iterations)
            for field in fields
        ]
    filters, bias = torch.stack([W for W, _ in learned]), torch.stack([b[None] for _, b in learned])
    return Layer(
        columns=columns, centre=centre[columns], scale=VARIABLE_SPREAD * scale[columns], filters=filters, bias=bias
    )


class KMeansLayers(StandardisedSums):
    """The representation: four features a map of every layer, one of each quadrant."""

    def __init__(
        self, settings: KMeansLayersSettings, seed: int = 0, image_size: int = 32,
        device: torch.device | None = None,
    ):  # fmt: skip
        settings.check(image_size)
        self.settings, self.seed = settings, seed
        counts = settings.counts()
        maps, n_features = " + ".join(f"{count:,}" for count in counts), 4 * sum(counts)
        kind = "learned RF" if settings.pooling else "gain-shape"
        method = f"{len(counts)}-layer K-means, {kind}, {maps} maps, {n_features:,} features"
        said = asdict(settings) | {
            "representation": "receptive-fields", "patch": PATCH,
            "neighbourhood": 2, "threshold": THRESHOLD, "contrast": CONTRAST, "whitening": WHITENING,
            "variables_scale": VARIABLE_SPREAD, "features_pooling": "sum 2x2", "seed": seed,
        }  # fmt: skip
        layers = Layers(1, len(counts), len(counts))
        super().__init__(
            Description(
                method=method,
                trained_on=TRAINED_ON,
                layers=layers,
                n_features=n_features,
                max_units=max(counts),
                settings=said,
            ),
            image_size,
            device,
        )

    def train(self, images: np.ndarray) -> None:
        rng, generator = np.random.default_rng([self.seed, 0]), torch.Generator().manual_seed(self.seed)
        s = self.settings
        patches = random_patches(images, s.patches, rng, self.device)
        self.filters, self.bias = filters_of(patches, s.maps, generator, s.iterations)
        self.further: list[Layer] = []
        for _ in s.pooling:
            self.further.append(learn_layer(self._neighbourhoods(images, rng), s, rng, generator))
        self.standardise(images, rng)

    def responses(self, images: np.ndarray) -> list[Tensor]:
        """Maps [N, P, P, k] of every layer that has been learned."""
        patches = patches_of(on_device(images, self.device).permute(0, 3, 1, 2).float())
        side = images.shape[1] - PATCH + 1
        first = torch.addmm(self.bias, normalised(patches), self.filters).clamp_min_(0)
        maps = [first.view(len(images), side, side, -1)]
        for block, layer in zip(self.settings.pooling, self.further, strict=False):
            maps.append(layer.responses(block_means(maps[-1], block)))
        return maps

    def _neighbourhoods(self, images: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Neighbourhoods [n, 4K] that the next layer would see, at random positions of random images.

        Of every image they are at different positions, all positions where there are no more than asked for.
        """
        s, depth = self.settings, len(self.further)
        sample = np.sort(rng.permutation(len(images))[: s.images])
        positions = s.sides(self.image_size)[depth + 1] ** 2
        each = min(s.neighbourhoods, positions)
        drawn = torch.empty(len(sample), each, 4 * s.counts()[depth], device=self.device)
        starts = range(0, len(sample), self.block)
        for start in progress_bar(starts, "responses", unit="block"):
            maps = self.responses(images[sample[start : start + self.block]])[-1]
            x = neighbourhoods(block_means(maps, s.pooling[depth])).flatten(1, 2)
            at = torch.from_numpy(rng.random((len(x), positions)).argsort(1)[:, :each]).to(self.device)
            drawn[start : start + len(x)] = x.take_along_dim(at[:, :, None], 1)
        return drawn.flatten(0, 1)

    def sums(self, images: np.ndarray) -> Tensor:
        return torch.cat([quadrant_sums(maps) for maps in self.responses(images)], 1)


def receptive_fields(seed: int = 0, device: torch.device | None = None, size: str = "published") -> KMeansLayers:
    """The representation of 32x32 images in one of SIZES. ValueError where there is none of that name."""
    return KMeansLayers(of_size(SIZES, size), seed, device=device)
