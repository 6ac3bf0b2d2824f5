"""Exemplar CNN: features of a network that tells patches of unlabelled images apart, however transformed.

[Dosovitskiy, Springenberg, Riedmiller & Brox 2014, "Discriminative Unsupervised Feature Learning with Convolutional
Neural Networks"; their released code.] Every seed patch is a surrogate class of its own, whose samples are random
transformations of the patch (`exemplar_views`). A network of two 5x5 convolutions and a dense layer, in the paper's
notation 64c5-64c5-128f, learns to name the class: softmax, and dropout of the dense layer [section 4].

Features [section 4]: what all three layers answer after their ReLU, the dense layer as a convolution without padding,
the maximum over each quadrant of a map ("4-quadrant max-pooling"), concatenated. Images of CIFAR-10 are brought to
64x64 for that [released code], where the dense layer has 9x9 answers. Each layer is divided by the 99.99th percentile
of its features [released code].

Differs from the paper: the seed patches are of the target's training images, where the paper's are cut at several
scales from STL-10's unlabelled 96x96 images at places of large gradient. With size "small" a seed patch is a whole
32x32 training image; the features are of the 32x32 image too, the dense layer having one answer, taken as it is. With
size "published" it is a window of 32x32 of the image brought to 64x64, at a place of large gradient. In enlarging,
pixels are interpolated linearly (released code: cubically). What is subtracted is the mean colour of the seeds' images
rather than the mean of each pixel over all samples. The percentiles are those of 1,000 training images, where the
released code takes each batch's own. Pooling between layers is the released configuration's, 3x3 at every second pixel;
the paper says 2x2. The learning rate falls after fixed numbers of steps, those of the released script for the network
64c5-128c5-256c5-512f; the paper divides it by 3 wherever the error on held-out samples stops falling.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, repeat

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repr_eval.representations.base import Description
from repr_eval.representations.batched import on_device
from repr_eval.representations.exemplar_views import (
    N_NUMBERS,
    PATCH,
    RANGES,
    Colours,
    colours_of,
    draw_patches,
    transformations,
    transformed,
)
from repr_eval.representations.fitted import TRAINED_ON, Fitted, of_size
from repr_eval.representations.layers import Layers
from repr_eval.system.progress import progress_bar
from repr_eval.system.random_streams import dropped

DENSE = PATCH // 4  # side of the maps that the dense layer sees in training
SCALED_BY = 1000  # images
PERCENTILE = 0.9999


@dataclass(frozen=True)
class ExemplarSettings:
    """What decides the network, with the images and the seed. The four layers are conv, conv, dense and softmax."""

    classes: int  # seed patches
    views: int  # samples of each, drawn once
    side: int  # of the images, enlarged where that is more than 32
    schedule: tuple[tuple[float, int], ...]  # learning rates and for how many steps
    batch: int
    gain: float  # of pixels in 0 to 1, after their mean is subtracted
    initial: tuple[float, float, float, float]  # standard deviations of the four layers' first weights
    last_rate: float  # of the softmax layer's weights: share of the learning rate
    decay: float  # of the dense and softmax layers' weights
    bias: float = 0.1  # at first, but 0 in the softmax layer
    bias_rate: float = 2.0  # multiple of the learning rate
    maps: tuple[int, int] = (64, 64)
    units: int = 128
    dropout: float = 0.5
    momentum: float = 0.9

    def __post_init__(self) -> None:
        for name in ("classes", "views", "batch", "units"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is less than 1")
        for name in ("gain", "last_rate", "bias_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} {getattr(self, name)} is not above 0")
        if self.side < PATCH or self.side % PATCH:
            raise ValueError(f"side {self.side}: needs a multiple of {PATCH}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout}: needs 0 or more, and less than 1")

    @property
    def layer_features(self) -> tuple[int, int, int]:
        """How many features each layer has."""
        return (4 * self.maps[0], 4 * self.maps[1], (1 if self.side == PATCH else 4) * self.units)


SIZES = {
    # 8000 classes of 150 samples, momentum 0.9, first rate 0.01 [paper]; all else from the released configurations.
    "published": ExemplarSettings(
        classes=8000, views=150, side=64, batch=128, gain=255 / 256, initial=(1e-4, 0.01, 0.005, 0.01), last_rate=0.25,
        schedule=((0.01, 1_200_000), (0.004, 120_000), (0.001, 120_000), (0.0004, 60_000), (0.0001, 60_000)),
        decay=0.004,
    ),
    # One pass over 300,000 samples, each rate for the same share of it. So short a training starts from weights that
    # keep the variance [He et al. 2015, section 2.2] of pixels whose own is about 1, with the full rate everywhere.
    "small": ExemplarSettings(
        classes=2000, views=150, side=32, batch=32, gain=4.0, initial=(0.16, 0.035, 0.022, 0.01), last_rate=1.0,
        schedule=((0.01, 7200), (0.004, 720), (0.001, 720), (0.0004, 360), (0.0001, 360)),
        decay=0.0005,
    ),
}  # fmt: skip


class ExemplarNetwork(nn.Module):
    """The network; takes patches float [n, 3, 32, 32] in training, images of any larger side for their features."""

    def __init__(self, settings: ExemplarSettings, generator: torch.Generator):
        super().__init__()
        first, second = settings.maps
        self.dropout = settings.dropout
        self.conv1, self.conv2 = nn.Conv2d(3, first, 5, padding=2), nn.Conv2d(first, second, 5, padding=2)
        self.dense = nn.Linear(second * DENSE**2, settings.units)
        self.softmax = nn.Linear(settings.units, settings.classes)
        weights, biases = self.weights_and_biases()
        for weight, std in zip(weights, settings.initial, strict=True):
            nn.init.normal_(weight, 0, std, generator=generator)
        for bias, value in zip(biases, (*(settings.bias,) * 3, 0.0), strict=True):
            nn.init.constant_(bias, value)

    def weights_and_biases(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Those of the four layers, in their order."""
        parameters = list(self.parameters())
        return parameters[::2], parameters[1::2]

    def convolved(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the two convolutions answer, and what the dense layer sees: maps with 1, 1/2 and 1/4 of x's side."""
        h1 = F.relu(self.conv1(x))
        h2 = F.relu(self.conv2(F.max_pool2d(h1, 3, 2, ceil_mode=True)))
        return h1, h2, F.max_pool2d(h2, 3, 2, ceil_mode=True)

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Logits [n, classes] of patches in training; `generator` says what is dropped."""
        h = F.relu(self.dense(self.convolved(x)[2].flatten(1)))
        return self.softmax(dropped(h, self.dropout, generator))

    def answers(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The maps of the three layers below the softmax, the dense one moved over the images x [n, 3, S, S]."""
        h1, h2, seen = self.convolved(x)
        kernels = self.dense.weight.view(-1, seen.shape[1], DENSE, DENSE)
        return h1, h2, F.relu(F.conv2d(seen, kernels, self.dense.bias))

    def optimiser(self, settings: ExemplarSettings) -> torch.optim.SGD:
        """Stochastic gradient descent; `share` of each group is its multiple of the learning rate."""
        weights, biases = self.weights_and_biases()
        decay, last = settings.decay, settings.last_rate
        groups = [
            {"params": weights[:2], "share": 1.0, "weight_decay": 0.0},
            {"params": weights[2:3], "share": 1.0, "weight_decay": decay},
            # so that share times decay is the dense layer's [released configuration: 1/4 and 4]
            {"params": weights[3:], "share": last, "weight_decay": decay / last},
            {"params": biases, "share": settings.bias_rate, "weight_decay": 0.0},
        ]
        return torch.optim.SGD(groups, lr=settings.schedule[0][0], momentum=settings.momentum)


def quadrant_maxima(h: Tensor) -> Tensor:
    """Maxima of maps [n, C, P, P] over the four quadrants, the upper left one the largest where P is odd: [n, 4C].

    A map of a single answer has one quadrant.
    """
    half = -(-h.shape[-1] // 2)
    return F.max_pool2d(h, half, ceil_mode=True).flatten(1)


def endless_batches(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Numbers below n, `size` or at the end of a pass fewer at a time: endless passes, each in an order of its own."""
    while True:
        yield from torch.randperm(n, generator=generator).split(size)


class ExemplarCNN(Fitted):
    """The representation. `size` is what its name calls the settings."""

    block = 64

    def __init__(
        self, settings: ExemplarSettings, seed: int = 0, device: torch.device | None = None,
        size: str = "own settings",
    ):  # fmt: skip
        self.settings, self.seed = settings, seed
        shape = f"{settings.maps[0]}c5-{settings.maps[1]}c5-{settings.units}f"
        described = {
            "representation": "exemplar", "size": size, "seed": seed, **asdict(settings), "patch": PATCH,
            "transformations": RANGES, "pooling": "max 2x2", "scaled_by": SCALED_BY, "percentile": PERCENTILE,
        }  # fmt: skip
        description = Description(
            method=f"Exemplar CNN {shape} ({size}: {settings.classes:,} classes)", trained_on=TRAINED_ON,
            layers=Layers(1, 3, 3),
            n_features=sum(settings.layer_features), max_units=max(*settings.maps, settings.units), settings=described,
        )  # fmt: skip
        super().__init__(description, PATCH, device)

    def train(self, images: np.ndarray) -> None:
        s, generator = self.settings, torch.Generator().manual_seed(self.seed)
        which, centres = draw_patches(images, s.classes, s.side, generator)
        sources = images[which.numpy()]
        self.colours = Colours(*(part.to(self.device) for part in colours_of(sources)))
        self.seeds = torch.from_numpy(sources).to(self.device).permute(0, 3, 1, 2).contiguous()
        self.centres = centres.to(self.device)
        # The samples are drawn once, as in the paper, and kept as the numbers that they are made from.
        self.numbers = torch.rand(s.classes * s.views, N_NUMBERS, generator=generator)
        self.network = ExemplarNetwork(s, generator).to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._descend(generator)
        self._take_scales(images[torch.randperm(len(images), generator=generator)[:SCALED_BY].numpy()])

    def views(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Samples int64 [n] of the surrogate data, 0 to classes * views - 1: what the network sees, and the classes."""
        labels = (samples // self.settings.views).to(self.device)
        t = transformations(self.numbers[samples].to(self.device))
        x = transformed(self.seeds[labels].float() / 255, self.centres[labels], t, self.colours, self.settings.side)
        return self._input(x), labels

    def features(self, images: np.ndarray) -> Tensor:
        return torch.cat([f / scale for f, scale in zip(self._pooled(images), self.scales, strict=True)], 1)

    def _descend(self, generator: torch.Generator) -> None:
        s = self.settings
        optimiser = self.network.optimiser(s)
        rates = chain.from_iterable(repeat(rate, steps) for rate, steps in s.schedule)
        total, samples = sum(steps for _, steps in s.schedule), endless_batches(len(self.numbers), s.batch, generator)
        shown = progress_bar(rates, "surrogate classes", total)
        for step, rate in enumerate(shown):
            for group in optimiser.param_groups:
                group["lr"] = rate * group["share"]
            x, labels = self.views(next(samples))
            loss = F.cross_entropy(self.network(x, generator), labels)
            if not torch.isfinite(loss):
                raise ValueError(f"the loss is {loss.item()} at step {step:,} of {total:,}; it must stay finite")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def _take_scales(self, images: np.ndarray) -> None:
        blocks = [self._pooled(images[i : i + self.block]) for i in range(0, len(images), self.block)]
        layers = (torch.cat(layer) for layer in zip(*blocks, strict=True))
        # A layer that never answers is left at 0.
        self.scales = [torch.quantile(layer.flatten(), PERCENTILE).clamp_min(1e-6) for layer in layers]

    @torch.no_grad()
    def _pooled(self, images: np.ndarray) -> list[Tensor]:
        """The features of each layer, before they are scaled, of images uint8 [n, 32, 32, 3]."""
        x = on_device(images, self.device).permute(0, 3, 1, 2)
        x = F.interpolate(x.float() / 255, (self.settings.side,) * 2, mode="bilinear", align_corners=False)
        return [quadrant_maxima(h) for h in self.network.answers(self._input(x))]

    def _input(self, x: Tensor) -> Tensor:
        x = (x - self.colours.mean[:, None, None]) * self.settings.gain
        return x.contiguous(memory_format=torch.channels_last)


def exemplar_cnn(seed: int, device: torch.device | None = None, size: str = "published") -> ExemplarCNN:
    """An Exemplar CNN of the settings in SIZES, published or small (made for two CPU cores)."""
    return ExemplarCNN(of_size(SIZES, size), seed, device, size)
