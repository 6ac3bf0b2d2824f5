"""What a protocol is given and what it returns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from repr_eval.protocols.selection import Validation
from repr_eval.svm.estimator import Matrix

TOL = 1e-3  # relative duality gap of every fit in a protocol


OWN_GRID = "own-C"  # added to a protocol's name when C is chosen from another grid than the protocol's


def named(protocol: str, Cs: Sequence[float], grid: Sequence[float]) -> str:
    """The protocol's name, or one that says that its `grid` of C was exchanged for `Cs`."""
    return protocol if sorted(Cs) == sorted(grid) else f"{protocol}/{OWN_GRID}"


@dataclass(frozen=True)
class Features:
    """Features X float [N, D] of a split's images with their labels y int64 [N]."""

    X: Matrix
    y: np.ndarray


@dataclass(frozen=True)
class Outcome:
    """Counts, never rates: how many of `n_test` images each draw's classifier got right, and how C came about."""

    protocol: str
    labels: int  # labelled images a classifier is trained on
    validation: Validation
    test_correct: list[int]  # one number a draw
    n_test: int
    largest_gap: float  # relative duality gap, over the fits that were tested
    lists: dict[str, np.ndarray]  # every index list used
    selection_seconds: float
    test_seconds: float
