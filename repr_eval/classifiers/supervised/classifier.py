"""The control: a supervised CNN of D's architecture, trained on the same labels from scratch [paper, section 5.2].

The paper optimises it by random search over 64 hyperparameter configurations and reports 28.87% validation error for
1,000 labels of SVHN. What is chosen here, on held-out training images, is the number of a configuration (`search`); the
test images are seen once, by networks with that one. It takes the images themselves, not features.
Differs from the paper: the test error is what counts; that of validation is recorded with it.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repr_eval.classifiers.base import Features, Fold, Tested, Validation
from repr_eval.classifiers.configurations import SETTING, images_of, judge_draws, select_configuration
from repr_eval.classifiers.supervised.network import MOMENTUM, PADDING, WARM_UP, predicted, trained
from repr_eval.classifiers.supervised.search import SIZES, Search, configuration
from repr_eval.gan.architectures import architecture_named
from repr_eval.representations.fitted import of_size
from repr_eval.system.random_streams import random_state_for

PRECISIONS = ("fp32", "bf16")


class SupervisedCNN:
    """The classifier of the protocols. All that is random follows from `seed`, the configuration and the fold or draw.

    One network after another is trained, on all cores or the device; a training is only ever handed its own rows.
    """

    kind, setting = "supervised CNN", SETTING
    needs = "images"

    def __init__(self, search: Search, seed: int, precision: str = "fp32", device: torch.device | None = None):
        if precision not in PRECISIONS:
            raise ValueError(f"unknown precision {precision!r}; choose {' or '.join(PRECISIONS)}")
        self.search = search
        self.seed = seed
        self.precision = precision
        self.device = device or torch.device("cpu")
        self.arch = architecture_named(search.arch)
        words = [search.arch, f"{search.configurations} configurations"]
        words += [search.size] * (search.size != "published") + [precision] * (precision != "fp32")
        self.name = f"{self.kind} ({', '.join(words)})"
        self.grid: tuple[float, ...] | None = tuple(float(number) for number in range(search.configurations))
        tried = [asdict(configuration(seed, number, search.mirror)) for number in range(search.configurations)]
        self.settings: dict[str, Any] = {"seed": seed, "precision": precision} | asdict(search)
        self.settings |= {"tried": tried, "momentum": MOMENTUM, "warm_up": WARM_UP, "padding": PADDING}

    def select(self, train: Features, folds: Sequence[Fold], grid: Sequence[float]) -> Validation:
        """Every configuration is trained on each fold's rows and judged on its held-out rows, of the folds that count.

        `Validation.C` is a configuration's number: no value lies beside another, so none is at an edge.
        """
        images, used = images_of(train.X, self.device), folds[: self.search.folds]
        return select_configuration(self._labels, images, train.y, used, grid, "random search")

    def test(self, train: Features, draws: Sequence[np.ndarray | None], value: float, test: Features) -> Tested:
        """For every draw one network with the chosen configuration, judged once, by its last weights."""
        images, asked = images_of(train.X, self.device), images_of(test.X, self.device)
        return judge_draws(self._labels, images, train.y, draws, value, asked, test.y)

    def _labels(self, images: Tensor, y: np.ndarray, number: int, use: str, index: int, asked: Tensor) -> np.ndarray:
        """What a network trained on `images` with labels y calls the images `asked`: one of its own classes each.

        It is the `index`-th that is trained with that configuration for this use.
        """
        classes, labels = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"the {len(y)} labelled images are all of class {classes[0]}; a CNN needs two classes")
        rng = random_state_for(f"supervised/{use}/{number}", self.seed, index)
        network = trained(
            images, torch.from_numpy(labels).to(self.device), len(classes), self.arch, self.search.width,
            configuration(self.seed, number, self.search.mirror), self.search.n_seen(len(y), use),
            int(rng.randint(1 << 62, dtype=np.int64)), self.precision,
        )  # fmt: skip
        return classes[predicted(network, asked).cpu().numpy()]


def supervised_cnn(
    seed: int, arch: str = "dcgan32", size: str = "published", device: torch.device | None = None,
    precision: str = "fp32",
) -> SupervisedCNN:  # fmt: skip
    """The row of `SIZES` for that size and architecture, or a ValueError that says what there is."""
    searches = of_size(SIZES, size)
    if arch not in searches:
        raise ValueError(f"no supervised CNN for {arch!r}; choose from {', '.join(searches)}")
    return SupervisedCNN(searches[arch], seed, precision, device)
