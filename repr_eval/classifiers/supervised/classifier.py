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

from repr_eval.classifiers.base import Features, Fold, Tested, Validation, whole_numbers
from repr_eval.classifiers.supervised.network import MOMENTUM, PADDING, WARM_UP, predicted, trained
from repr_eval.classifiers.supervised.search import SIZES, Search, configuration
from repr_eval.gan.architectures import architecture_named
from repr_eval.representations.fitted import of_size
from repr_eval.svm.estimator import Matrix
from repr_eval.system.progress import progress_bar, progress_count
from repr_eval.system.random_streams import random_state_for

SIDE = 32
PRECISIONS = ("fp32", "bf16")


class SupervisedCNN:
    """The classifier of the protocols. All that is random follows from `seed`, the configuration and the fold or draw.

    One network after another is trained, on all cores or the device; a training is only ever handed its own rows.
    """

    kind, setting = "supervised CNN", "configuration"
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
        numbers = sorted(set(whole_numbers(grid, 0, self.setting)))
        if not numbers:
            raise ValueError("there are no configurations to choose from; give at least one number")
        images, used = images_of(train.X, self.device), folds[: self.search.folds]
        correct: dict[float, list[int]] = {float(number): [] for number in numbers}
        with progress_count("random search", total=len(numbers) * len(used), unit="network") as bar:
            for fold, (rows, held_out) in enumerate(used):
                own, asked = self._some(images, rows), self._some(images, held_out)
                for number in numbers:
                    predictions = self._labels(own, train.y[rows], number, "search", fold, asked)
                    correct[float(number)].append(int((predictions == train.y[held_out]).sum()))
                    bar.update()
        best = max(numbers, key=lambda number: sum(correct[number]))
        return Validation(float(best), len(used[0][1]), correct, at_edge=False)

    def test(self, train: Features, draws: Sequence[np.ndarray | None], value: float, test: Features) -> Tested:
        """For every draw one network with the chosen configuration, judged once, by its last weights."""
        number = whole_numbers([value], 0, self.setting)[0]
        images, asked = images_of(train.X, self.device), images_of(test.X, self.device)
        predicted = []
        for draw, rows in enumerate(progress_bar(draws, "networks", unit="network")):
            own, y = (images, train.y) if rows is None else (self._some(images, rows), train.y[rows])
            predicted.append(self._labels(own, y, number, "test", draw, asked))
        return Tested.of(np.stack(predicted), test.y)

    def _some(self, images: Tensor, rows: np.ndarray) -> Tensor:
        return images[torch.from_numpy(rows).to(self.device)]

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


def images_of(X: Matrix, device: torch.device | None = None) -> Tensor:
    """Images uint8 [N, 32, 32, 3] as uint8 [N, 3, 32, 32], channels-last; ValueError on anything else."""
    if X.ndim != 4 or tuple(X.shape[1:]) != (SIDE, SIDE, 3) or str(X.dtype).removeprefix("torch.") != "uint8":
        raise ValueError(
            f"{str(X.dtype).removeprefix('torch.')} {list(X.shape)}: a CNN takes images, uint8 [N, {SIDE}, {SIDE}, 3]"
        )
    return torch.from_numpy(np.array(X)).to(device or torch.device("cpu")).permute(0, 3, 1, 2)


def supervised_cnn(
    seed: int, arch: str = "dcgan32", size: str = "published", device: torch.device | None = None,
    precision: str = "fp32",
) -> SupervisedCNN:  # fmt: skip
    """The row of `SIZES` for that size and architecture, or a ValueError that says what there is."""
    searches = of_size(SIZES, size)
    if arch not in searches:
        raise ValueError(f"no supervised CNN for {arch!r}; choose from {', '.join(searches)}")
    return SupervisedCNN(searches[arch], seed, precision, device)
