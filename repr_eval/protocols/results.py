"""What a protocol returns, and how its name tells of another grid than its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from repr_eval.classifiers.base import Validation

OWN_GRID = "own-C"  # added to a protocol's name when C is chosen from another grid than the protocol's


def named(protocol: str, Cs: Sequence[float], grid: Sequence[float]) -> str:
    """The protocol's name, or one that says that its `grid` of C was exchanged for `Cs`."""
    return protocol if sorted(Cs) == sorted(grid) else f"{protocol}/{OWN_GRID}"


@dataclass(frozen=True)
class Outcome:
    """Counts, never rates: how many of `n_test` images each draw's classifier got right, and how C came about."""

    protocol: str
    classifier: str
    labels: int  # labelled images a classifier is trained on
    validation: Validation
    test_correct: list[int]  # one number a draw
    n_test: int
    largest_gap: float | None  # relative duality gap, over the fits that were tested
    lists: dict[str, np.ndarray]  # every index list used
    selection_seconds: float
    test_seconds: float
    classifier_settings: dict[str, Any] = field(default_factory=dict)
    predicted: np.ndarray | None = field(default=None, compare=False)  # int [draws, n_test], where they are kept
    top5_correct: list[int] | None = None  # one number a draw, of more than ten classes, where there are scores
