"""Chooses the number of a configuration, of classifiers that train a network on images.

A training is only ever handed its own rows. Held-out training images decide; the test images are
seen once, by networks with the chosen configuration.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from repr_eval.classifiers.base import Fold, Tested, Validation, whole_numbers
from repr_eval.svm.estimator import Matrix
from repr_eval.system.progress import progress_bar, progress_count

SETTING = "configuration"
SIDE = 32
# (images uint8 [N, 3, S, S], labels int64 [N], number, "search" or "test", which of that use's
# trainings, images asked) -> what a network trained on the former calls the latter: int64.
Labels = Callable[[Tensor, np.ndarray, int, str, int, Tensor], np.ndarray]


def select_configuration(
    labels: Labels,
    images: Tensor,
    y: np.ndarray,
    folds: Sequence[Fold],
    grid: Sequence[float],
    title: str,
) -> Validation:
    """The number in `grid` with the most held-out images of `folds` right; the smaller on ties.

    No number lies beside another, so none is at an edge. ValueError where a number is no whole
    number from 0 on.
    """
    numbers = sorted(set(whole_numbers(grid, 0, SETTING)))
    if not numbers:
        raise ValueError("there are no configurations to choose from; give at least one number")
    correct: dict[float, list[int]] = {float(number): [] for number in numbers}
    with progress_count(title, total=len(numbers) * len(folds), unit="network") as bar:
        for fold, (rows, held_out) in enumerate(folds):
            own, asked = some(images, rows), some(images, held_out)
            for number in numbers:
                predictions = labels(own, y[rows], number, "search", fold, asked)
                correct[float(number)].append(int((predictions == y[held_out]).sum()))
                bar.update()
    best = max(numbers, key=lambda number: sum(correct[number]))
    return Validation(float(best), len(folds[0][1]), correct, at_edge=False)


def judge_draws(
    labels: Labels,
    images: Tensor,
    y: np.ndarray,
    draws: Sequence[np.ndarray | None],
    value: float,
    asked: Tensor,
    truth: np.ndarray,
) -> Tested:
    """For every draw one network of that configuration, judged once by the images `asked`."""
    number = whole_numbers([value], 0, SETTING)[0]
    predicted = []
    for draw, rows in enumerate(progress_bar(draws, "networks", unit="network")):
        own, its = (images, y) if rows is None else (some(images, rows), y[rows])
        predicted.append(labels(own, its, number, "test", draw, asked))
    return Tested.of(np.stack(predicted), truth)


def some(images: Tensor, rows: np.ndarray) -> Tensor:
    """Those rows of `images`, on their device."""
    return images[torch.from_numpy(rows).to(images.device)]


def images_of(X: Matrix, device: torch.device | None = None, side: int = SIDE, taker: str = "a CNN") -> Tensor:
    """Images uint8 [N, side, side, 3] as uint8 [N, 3, side, side]; ValueError on all else."""
    if X.ndim != 4 or tuple(X.shape[1:]) != (side, side, 3) or str(X.dtype).removeprefix("torch.") != "uint8":
        raise ValueError(
            f"{str(X.dtype).removeprefix('torch.')} {list(X.shape)}: {taker} takes images, uint8 [N, {side}, {side}, 3]"
        )
    return torch.from_numpy(np.array(X)).to(device or torch.device("cpu")).permute(0, 3, 1, 2)
