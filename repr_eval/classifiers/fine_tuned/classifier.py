"""A discriminator fine-tuned, all of it, on the labels at hand, for the protocols.

What is chosen, on held-out training images, is the number of a configuration (`search`), as for the
supervised CNN; the test images are seen once, by networks with that one. It takes the images and
the network that is evaluated.
"""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repr_eval.classifiers.base import Features, Fold, Tested, Validation
from repr_eval.classifiers.configurations import SETTING, images_of, judge_draws, select_configuration
from repr_eval.classifiers.fine_tuned.network import fine_tuned
from repr_eval.classifiers.fine_tuned.search import SIZES, Search
from repr_eval.classifiers.supervised.classifier import PRECISIONS
from repr_eval.classifiers.supervised.network import PADDING, WARM_UP, predicted
from repr_eval.gan.networks import Discriminator
from repr_eval.representations.fitted import of_size
from repr_eval.system.random_streams import random_state_for


class FineTuned:
    """The classifier of the protocols; `seed`, configuration and fold or draw decide all chance.

    `size` is the search, a row of `SIZES` or its name. `mirror`: images are mirrored half of the
    times; digits should not be. `precision` "bf16" trains the convolutions in bfloat16. One network
    after another is trained, on the device of the network given, from its weights; a training is
    only ever handed its own rows.
    """

    kind, setting = "fine-tuned", SETTING
    needs = "network"

    def __init__(
        self, size: str | Search = "small", seed: int = 0, mirror: bool = True, precision: str = "fp32"
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"unknown precision {precision!r}; choose {' or '.join(PRECISIONS)}")
        self.search = search = size if isinstance(size, Search) else of_size(SIZES, size)
        self.seed = seed
        self.mirror = mirror
        self.precision = precision
        count = len(search.configurations)
        words = [f"{count} configuration{'s' * (count > 1)}"]
        words += [search.size] * (search.size != "full") + ["unmirrored"] * (not mirror)
        self.name = f"{self.kind} ({', '.join([*words, *[precision] * (precision != 'fp32')])})"
        self.grid: tuple[float, ...] | None = tuple(float(number) for number in range(count))
        self.settings: dict[str, Any] = {
            "seed": seed, "precision": precision, "mirror": mirror, "optimiser": "AdamW", "warm_up": WARM_UP,
            "padding": PADDING, "head": "linear, on all layers, max 4x4", "batch_norm": "of the labelled images",
            "size": search.size, "tried": [asdict(one) for one in search.configurations], "folds": search.folds,
            "epochs": search.epochs, "batch_size": search.batch_size, "search_images": search.search_images,
            "test_images": search.test_images,
        }  # fmt: skip

    def select(self, train: Features, folds: Sequence[Fold], grid: Sequence[float]) -> Validation:
        """Each configuration, trained on the rows of the folds that count, is judged on the others.

        `Validation.C` is a configuration's number: no value lies beside another, so none is at an
        edge.
        """
        self._check(grid)
        start = _network_of(train)
        labels, used = partial(self._labels, start), folds[: self.search.folds]
        return select_configuration(labels, _images(train, start), train.y, used, grid, "fine-tuning")

    def test(self, train: Features, draws: Sequence[np.ndarray | None], value: float, test: Features) -> Tested:
        """For every draw one network of the chosen configuration, judged once, by its last weights."""
        self._check([value])
        start = _network_of(train)
        labels, images, asked = partial(self._labels, start), _images(train, start), _images(test, start)
        return judge_draws(labels, images, train.y, draws, value, asked, test.y)

    def _check(self, grid: Sequence[float]) -> None:
        """ValueError where a number is too high; the others are refused where they are used."""
        count = len(self.search.configurations)
        for number in grid:
            if number >= count:
                raise ValueError(f"{self.setting} {number:g}: {self.name} has 0 to {count - 1}")

    def _labels(
        self, start: Discriminator, images: Tensor, y: np.ndarray, number: int, use: str, index: int, asked: Tensor
    ) -> np.ndarray:
        """What `start`, trained on `images` with labels y, calls the images `asked`.

        Each gets one of the classes in y. It is the `index`-th network that is trained with that
        configuration for this use.
        """
        classes, labels = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"the {len(y)} labelled images are all of class {classes[0]}; fine-tuning needs two")
        rng = random_state_for(f"fine-tuned/{use}/{number}", self.seed, index)
        network = fine_tuned(
            start, images, torch.from_numpy(labels).to(images.device), len(classes), self.search.configurations[number],
            self.search, self.search.n_seen(len(y), use), self.mirror, int(rng.randint(1 << 62, dtype=np.int64)),
            self.precision,
        )  # fmt: skip
        return classes[predicted(network, asked).cpu().numpy()]


def _network_of(train: Features) -> Discriminator:
    if train.network is None:
        raise ValueError("fine-tuning needs a network: Features(images, labels, network), with a discriminator")
    return train.network


def _images(features: Features, start: Discriminator) -> Tensor:
    return images_of(features.X, next(start.parameters()).device, start.arch.image_size, start.arch.name)
