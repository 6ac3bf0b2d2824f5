"""The stacked what-where autoencoder, SWWAE [Zhao, Mathieu, Goroshin & LeCun 2015, arXiv 1506.02351].

The encoder is a stack of stages: convolutions with batch norm and ReLU, then max-pooling, which gives "what", the
maxima, for the next stage, and "where", the positions of the maxima, for the decoder. The decoder goes back stage by
stage: it puts each "what" at its "where", zeros elsewhere, and convolves. With x the image, h_m the input of the
encoder's stage m > 1, and x', h_m' what the decoder makes of them [section 3],

    loss = lambda_L2rec |x' - x|^2 + lambda_L2M sum_m |h_m' - h_m|^2                        (means over all values)

Differs from the paper: there, a classification loss of the labelled images is trained along with these two, and 27.83%
and 23.56% (without and with dropout; SVHN, 1000 labels) are the errors of that classifier. Here nothing is trained with
labels: the loss is the paper's two unsupervised terms alone, and an L2-SVM classifies by the encoder's maps. Batch norm
has no gains and biases, with which the second term could be made small by making all maps small; its statistics at
feature time are recomputed from training images, without dropout. "Where" is the position itself, not a soft one. How
much is dropped, and where, is of this project.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repr_eval.gan.networks import settle_statistics
from repr_eval.representations.autoencoders import (
    Autoencoder,
    AutoencoderFeatures,
    AutoencoderSettings,
    Training,
    visiting_order,
)  # fmt: skip
from repr_eval.representations.batched import to_network
from repr_eval.representations.fitted import of_size
from repr_eval.system.random_streams import dropped

POOL = 2
DROPPED = 0.5  # share of "what" dropped [Hinton et al. 2012, arXiv 1207.0580, hidden units]


@dataclass(frozen=True)
class WhatWhereSettings(AutoencoderSettings):
    """`stages`: the layers before each pooling, as (maps, kernel). `dropout`: share of "what" dropped in training."""

    stages: tuple[tuple[tuple[int, int], ...], ...]
    lambda_rec: float
    lambda_m: float
    dropout: float
    statistics_from: int  # images, for batch norm's statistics at feature time

    def __post_init__(self) -> None:
        if not self.stages or not all(self.stages):
            raise ValueError(f"stages {self.stages}: needs a stage or more, of a layer or more")
        if any(maps < 1 or kernel % 2 == 0 for maps, kernel in chain(*self.stages)):
            raise ValueError(f"stages {self.stages}: a layer needs a map or more, and a kernel of odd size")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} is not in [0, 1)")
        if self.statistics_from < 1:
            raise ValueError(f"statistics_from {self.statistics_from} is less than 1")
        if self.lambda_rec < 0 or self.lambda_m < 0:
            raise ValueError(f"lambda_rec {self.lambda_rec} and lambda_m {self.lambda_m}: neither may be negative")

    @property
    def maps(self) -> tuple[int, ...]:
        """Maps of every layer."""
        return tuple(maps for maps, _ in chain(*self.stages))


SIZES = {
    # (128)5c-2p-(128)3c-(256)3c-2p-(256)3c-2p in the paper's notation, lambdas 1 and 0.2: as a public reimplementation
    # of the paper has them for 32x32 colour images. Adam's steps and their number, 50 epochs of 50,000 images, are of
    # this project.
    "published": WhatWhereSettings(
        stages=(((128, 5),), ((128, 3), (256, 3)), ((256, 3),)), lambda_rec=1.0, lambda_m=0.2, dropout=0.0,
        statistics_from=10_000, training=Training(images_seen=2_500_000, batch=128, learning_rate=1e-3),
    ),
    # Half the maps, for minutes on two CPU cores.
    "small": WhatWhereSettings(
        stages=(((64, 5),), ((64, 3), (128, 3)), ((128, 3),)), lambda_rec=1.0, lambda_m=0.2, dropout=0.0,
        statistics_from=10_000, training=Training(images_seen=50_000, batch=64, learning_rate=1e-3),
    ),
}  # fmt: skip


def pool(x: Tensor) -> tuple[Tensor, Tensor]:
    """Maxima of the 2x2 cells of maps [N, C, S, S], "what", and their positions, "where": both [N, C, S/2, S/2]."""
    what, where = F.max_pool2d(x, POOL, return_indices=True)
    return what, where


def unpool(what: Tensor, where: Tensor) -> Tensor:
    """Maps [N, C, 2S, 2S] with each of `what` at its `where` and zeros elsewhere."""
    return F.max_unpool2d(what, where, [POOL, POOL])


class Stage(nn.Module):
    """The convolutions between two poolings, and their mirror images."""

    def __init__(self, below: int, layers: tuple[tuple[int, int], ...]):
        super().__init__()
        sides = list(pairwise((below, *(maps for maps, _ in layers))))
        kernels = [kernel for _, kernel in layers]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, k, padding=k // 2, bias=False) for (a, b), k in zip(sides, kernels, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(b, affine=False) for _, b in sides)
        # A deconvolution of stride 1 is a convolution.
        self.deconvs = nn.ModuleList(
            nn.Conv2d(b, a, k, padding=k // 2) for (a, b), k in zip(sides[::-1], kernels[::-1], strict=True)
        )

    def encode(self, x: Tensor) -> Iterator[Tensor]:
        """Each layer's maps after ReLU."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
            yield x

    def decode(self, h: Tensor) -> Tensor:
        """What is made of the stage's input; the last layer is linear."""
        for deconv in self.deconvs[:-1]:
            h = F.relu(deconv(h))
        return self.deconvs[-1](h)


class WhatWhereAutoencoder(Autoencoder):
    """Images float [N, 3, S, S] in [-1, 1]; S a multiple of 2^stages."""

    def __init__(self, settings: WhatWhereSettings):
        super().__init__()
        self.settings = settings
        inputs = (3, *(layers[-1][0] for layers in settings.stages))
        self.stack = [Stage(below, layers) for below, layers in zip(inputs, settings.stages, strict=False)]
        self.stages = nn.ModuleList(self.stack)

    def activations(self, x: Tensor) -> Iterator[Tensor]:
        for stage in self.stack:
            for h in stage.encode(x):
                yield h
            x, _ = pool(h)

    def loss(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The sum of the two terms; what the decoder and the next stage get of "what" is dropped out."""
        encoded, switches, h = [x], [], x
        for stage in self.stack:
            *_, h = stage.encode(h)
            what, where = pool(h)
            encoded.append(what)
            switches.append(where)
            h = dropped(what, self.settings.dropout, generator)
        loss = x.new_zeros(())
        for m in reversed(range(len(self.stack))):
            h = self.stack[m].decode(unpool(h, switches[m]))
            h = F.relu(h) if m > 0 else h  # as what it is to resemble
            weight = self.settings.lambda_m if m > 0 else self.settings.lambda_rec
            loss = loss + weight * F.mse_loss(h.float(), encoded[m].float())
        return loss


class WhatWhereFeatures(AutoencoderFeatures):
    """The representation; `size` is a word for the settings in the method's name."""

    def __init__(
        self, settings: WhatWhereSettings, size: str, seed: int = 0, image_size: int = 32,
        device: torch.device | None = None,
    ):  # fmt: skip
        self.settings = settings
        method = f"SWWAE with{'' if settings.dropout else 'out'} dropout, without labels, {size}"
        halvings = len(settings.stages)
        super().__init__("what-where", method, settings, settings.maps, halvings, seed, image_size, device)

    def new_network(self) -> WhatWhereAutoencoder:
        return WhatWhereAutoencoder(self.settings)

    def to_input(self, images: np.ndarray) -> Tensor:
        return to_network(images, self.device)

    def train(self, images: np.ndarray) -> None:
        super().train(images)
        sample = visiting_order(len(images), min(len(images), self.settings.statistics_from), self.seed).numpy()
        starts = range(0, len(sample), self.training.batch)
        settle_statistics(
            self.network, (self.to_input(images[sample[start : start + self.training.batch]]) for start in starts)
        )


def what_where_autoencoder(
    seed: int, dropout: bool, device: torch.device | None = None, size: str = "published"
) -> WhatWhereFeatures:
    """The representation with the row of `SIZES` called `size`, or a ValueError that lists them."""
    settings = replace(of_size(SIZES, size), dropout=DROPPED if dropout else 0.0)
    return WhatWhereFeatures(settings, size, seed, device=device)
