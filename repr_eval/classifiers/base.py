"""What a protocol trains on labelled features, and how it chooses that classifier's one setting.

The L2-SVM is the protocols' own; the others are second opinions on the same images, splits and draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np

from repr_eval.gan.networks import Discriminator
from repr_eval.svm.estimator import Matrix

TOL = 1e-3  # relative duality gap of every fit in a protocol
Fold = tuple[np.ndarray, np.ndarray]  # rows to train on, rows held out


@dataclass(frozen=True)
class Features:
    """Features X float [N, D] of a split's images with their labels y int64 [N]; `Classifier.needs` may ask for others.

    `network` comes with the training images, to a classifier that needs it: the one that is evaluated, as it was given.
    """

    X: Matrix
    y: np.ndarray
    network: Discriminator | None = None


@dataclass(frozen=True)
class Validation:
    """Held-out images classified correctly, of `n` a fold, for every C tried: int [folds] each; and the choice.

    C stands for the one setting of the classifier: C of the L2-SVM, k of nearest neighbours, ...
    """

    C: float
    n: int
    correct: dict[float, list[int]]
    at_edge: bool  # the best C is the grid's first or last: a wider grid might do better


@dataclass(frozen=True)
class Tested:
    """Test images classified correctly, one number a draw; the fits' largest relative duality gap, if any.

    `predicted` holds the class that each draw's classifier gives each test image, int [draws, N], if it is kept: only
    then can two measurements be compared image by image (`repr_eval.comparison`). `top5_correct`: images whose class is
    among the five that a draw's classifier ranks highest, where there are more than ten classes and scores to rank by.
    """

    correct: list[int]
    largest_gap: float | None = None
    predicted: np.ndarray | None = field(default=None, compare=False)
    top5_correct: list[int] | None = None

    @classmethod
    def of(
        cls, predicted: np.ndarray, y: np.ndarray, largest_gap: float | None = None,
        top5_correct: list[int] | None = None,
    ) -> Self:  # fmt: skip
        """What the classes `predicted` int [draws, N] amount to, where y int [N] are the right ones."""
        return cls([int(count) for count in (predicted == y).sum(1)], largest_gap, predicted, top5_correct)


class Classifier(Protocol):
    """A way to classify features, with one setting that is chosen on held-out training images."""

    name: str  # in records and tables
    setting: str  # what the chosen number is called
    grid: tuple[float, ...] | None  # values to choose from; None for the protocol's own
    # "features"; "images": X is then the images themselves, uint8 [N, S, S, 3]; or "network": images, and the network.
    needs: str

    @property
    def settings(self) -> dict[str, Any]:
        """All else that decides what it does, in JSON's types, where the name does not say it."""

    def select(self, train: Features, folds: Sequence[Fold], grid: Sequence[float]) -> Validation:
        """The value with the highest mean accuracy on the folds' held-out rows; the smaller on ties."""

    def test(self, train: Features, draws: Sequence[np.ndarray | None], value: float, test: Features) -> Tested:
        """A classifier for every draw (rows of `train`; None for all), each judged on all of `test`."""


def kind_of(classifier: Classifier) -> str:
    """The kind of classifier: its name, unless that tells its size too and an attribute `kind` has the name alone."""
    return str(getattr(classifier, "kind", classifier.name))


def whole_numbers(grid: Sequence[float], least: int, setting: str, of: str = "") -> list[int]:
    """The values of `grid` as integers; ValueError where one is none, or below `least`, which names the setting."""
    for value in grid:
        if not float(value).is_integer() or value < least:
            raise ValueError(f"{setting} {value:g}: must be a whole number{of}, {least} or more")
    return [int(value) for value in grid]
