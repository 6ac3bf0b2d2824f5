"""A supervised CNN's random search [Bergstra & Bengio 2012]: how long it is, and what it draws hyperparameters from.

The paper (section 5.2) says neither which hyperparameters it searched nor within which bounds: these are not from it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from repr_eval.system.random_streams import random_state_for

# Of lists every member is as likely; of pairs (low, high) every value between is, in the logarithm.
OPTIMISERS = ("adam", "sgd")
LR = {"adam": (3e-4, 5e-3), "sgd": (5e-3, 1e-1)}
WEIGHT_DECAY = {"adam": (1e-3, 1.0), "sgd": (1e-5, 1e-2)}
NO_DECAY = 0.25  # share of the configurations without weight decay
BATCH_SIZES = (32, 64, 128)
DROPOUTS = (0.0, 0.25, 0.5)
SMOOTHINGS = (0.0, 0.1)
CROPS = MIRRORS = (False, True)

T = TypeVar("T")


@dataclass(frozen=True)
class Configuration:
    """The hyperparameters of a training."""

    optimiser: str  # "adam", with decoupled weight decay [Loshchilov & Hutter 2019], or "sgd"
    lr: float  # the schedule's highest
    weight_decay: float  # of convolutions and the dense layer, not of batch norm
    batch_size: int  # or all images, where there are fewer
    dropout: float  # share of the last convolution's outputs that the dense layer misses
    smoothing: float  # share of each label that is spread over all classes [Szegedy et al. 2016, section 7]
    crop: bool  # each time an image is seen it is shifted by up to 4 pixels each way
    mirror: bool  # ... and mirrored half of the times


@dataclass(frozen=True)
class Search:
    """How many configurations are tried, and how long a network is trained; a row never changes once it was used.

    A training sees its images `epochs` times, but in the search at most `search_images` and for the test at most
    `test_images` of them, counting repeats (None: no limit). Its length is not searched: the schedule ends with it.
    """

    size: str
    arch: str
    width: float
    mirror: bool  # may views be mirrored? Digits may not
    configurations: int
    folds: int | None  # the first so many of the protocol's judge; None for all
    epochs: int
    search_images: int | None = None
    test_images: int | None = None

    def n_seen(self, n: int, use: str) -> int:
        """How many images a training on n of them for the "search" or the "test" sees, repeats counted."""
        most = {"search": self.search_images, "test": self.test_images}[use]
        return self.epochs * n if most is None else min(self.epochs * n, most)


# The paper's number of configurations, on every fold, at full width.
PUBLISHED = {
    search.arch: search
    for search in (
        Search(size="published", arch="dcgan32", width=1.0, mirror=True, configurations=64, folds=None, epochs=100),
        Search(
            size="published", arch="dcgan32-svhn", width=1.0, mirror=False, configurations=64, folds=None, epochs=100
        ),
    )
}
# For minutes of two cores. Where the search's trainings are the shorter ones it favours what learns fast.
SMALL = {
    search.arch: search
    for search in (
        Search(
            size="small",
            arch="dcgan32",
            width=0.25,
            mirror=True,
            configurations=6,
            folds=1,
            epochs=12,
            search_images=80_000,
            test_images=400_000,
        ),
        Search(
            size="small",
            arch="dcgan32-svhn",
            width=0.5,
            mirror=False,
            configurations=8,
            folds=2,
            epochs=25,
            search_images=80_000,
            test_images=400_000,
        ),
    )
}
SIZES = {"published": PUBLISHED, "small": SMALL}


def configuration(seed: int, number: int, mirror: bool = True) -> Configuration:
    """The configuration of that number, from 0; with `mirror` False the same one without mirror images."""
    rng = random_state_for("supervised/configuration", seed, number)
    optimiser = _one_of(OPTIMISERS, rng)
    lr, decay, decays = _between(*LR[optimiser], rng), _between(*WEIGHT_DECAY[optimiser], rng), rng.rand() >= NO_DECAY
    return Configuration(
        optimiser=optimiser, lr=lr, weight_decay=decay if decays else 0.0, batch_size=_one_of(BATCH_SIZES, rng),
        dropout=_one_of(DROPOUTS, rng), smoothing=_one_of(SMOOTHINGS, rng), crop=_one_of(CROPS, rng),
        mirror=_one_of(MIRRORS, rng) and mirror,
    )  # fmt: skip


def _one_of(values: Sequence[T], rng: np.random.RandomState) -> T:
    return values[rng.randint(len(values))]


def _between(low: float, high: float, rng: np.random.RandomState) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))
