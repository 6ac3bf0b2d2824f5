"""k nearest neighbours by cosine similarity: needs no training, only the labelled rows themselves.

A row gets the label that most of its k most similar labelled rows have; of labels with as many, the one whose rows are
the more similar in sum. k is chosen like C, on held-out training images.

Weighted, a row of similarity s votes with exp(s / 0.07): the label with the largest sum wins. That
is the classifier of Wu et al. 2018 (Unsupervised Feature Learning via Non-Parametric Instance
Discrimination, section 3.4), by which DINO's tables are made (Caron et al. 2021; eval_knn.py).
Differs from the paper: DINO's code prints test accuracies for k of 10, 20, 100 and 200 and finds
that 20 usually works best; here k is chosen on held-out training images.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repr_eval.classifiers.base import Features, Fold, Tested, Validation, whole_numbers
from repr_eval.svm.rows import product
from repr_eval.system.progress import progress_bar

KS = (1, 3, 5, 10, 20, 50, 100)
WEIGHTED_KS = (1, 5, 10, 20, 50, 100, 200)
TEMPERATURE = 0.07
BLOCK = 1024  # rows of a block; of queries, and of labelled rows


class NearestNeighbours:
    """The classifier of the protocols, with k from `grid` or any other whole numbers."""

    name, setting = "kNN", "k"
    grid: tuple[float, ...] | None = tuple(float(k) for k in KS)
    needs = "features"
    temperature: float | None = None  # None: every neighbour has one vote

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def select(self, train: Features, folds: Sequence[Fold], grid: Sequence[float]) -> Validation:
        """As for C; values of k above the smallest fold are left out, ValueError where none is left."""
        smallest = min(len(rows) for rows, _ in folds)
        ks = sorted({k for k in _whole(grid) if k <= smallest})
        if not ks:
            raise ValueError(f"k {', '.join(f'{k:g}' for k in grid)}: there are only {smallest} labelled images")
        correct: dict[float, list[int]] = {float(k): [] for k in ks}
        for rows, held_out in folds:
            counts = count_correct_by_k(train, [rows], ks, train, held_out, self.temperature)
            for k in ks:
                correct[float(k)] += counts[k]
        k = max(ks, key=lambda k: sum(correct[k]))
        return Validation(float(k), len(folds[0][1]), correct, at_edge=k == max(ks) or k == min(ks) > 1)

    def test(self, train: Features, draws: Sequence[np.ndarray | None], value: float, test: Features) -> Tested:
        """Each draw's labelled rows vote on every test row."""
        k = _whole([value])[0]
        everything = np.arange(len(train.y))
        sets = [everything if rows is None else rows for rows in draws]
        predicted = predicted_by_k(train, sets, [k], test, None, self.temperature)[k]
        return Tested.of(predicted, test.y)


class WeightedNearestNeighbours(NearestNeighbours):
    """kNN where a neighbour of cosine similarity s votes with exp(s / temperature), as in DINO."""

    kind = "weighted kNN"
    grid: tuple[float, ...] | None = tuple(float(k) for k in WEIGHTED_KS)

    def __init__(self, temperature: float = TEMPERATURE) -> None:
        number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
        if not number or not 0 < temperature < float("inf"):
            raise ValueError(f"temperature {temperature!r}: must be a number above 0")
        self.temperature = float(temperature)
        another = "" if temperature == TEMPERATURE else f" (temperature {temperature:g})"
        self.name = self.kind + another

    @property
    def settings(self) -> dict[str, Any]:
        return {"similarity": "cosine", "temperature": self.temperature}


def _whole(grid: Sequence[float]) -> list[int]:
    return whole_numbers(grid, 1, "k", " of neighbours")


def count_correct_by_k(
    train: Features, sets: Sequence[np.ndarray], ks: Sequence[int], queries: Features, index: np.ndarray | None,
    temperature: float | None = None,
) -> dict[int, list[int]]:  # fmt: skip
    """How many queries (rows `index`, or all) each of the `sets` of labelled rows [M] labels right, for every k."""
    truth = queries.y if index is None else queries.y[index]
    predicted = predicted_by_k(train, sets, ks, queries, index, temperature)
    return {k: [int(count) for count in (labels == truth).sum(1)] for k, labels in predicted.items()}


def predicted_by_k(
    train: Features, sets: Sequence[np.ndarray], ks: Sequence[int], queries: Features, index: np.ndarray | None,
    temperature: float | None = None,
) -> dict[int, np.ndarray]:  # fmt: skip
    """The label [sets, queries] that each of the `sets` of labelled rows [M] gives each query, for every k.

    Similarities to a row that is in several sets are computed once. The classes of all of `train` can be told apart.
    ValueError where features hold NaN or infinity.
    """
    classes, y = np.unique(train.y, return_inverse=True)
    union = np.unique(np.concatenate(list(sets)))
    columns = [torch.from_numpy(np.searchsorted(union, rows)) for rows in sets]
    labels, lengths = torch.from_numpy(y[union]), _lengths(_blocks(train.X, union), union)
    asked = np.arange(len(queries.y)) if index is None else index
    predicted = {k: np.empty((len(sets), len(asked)), classes.dtype) for k in ks}
    starts = range(0, len(asked), BLOCK)
    for start in progress_bar(starts, "neighbours", unit="block"):
        rows = slice(start, start + BLOCK)
        similar = _similarities(queries.X, asked[rows], train.X, union, lengths)
        for number, own in enumerate(columns):
            labels_by_k = vote(similar[:, own], labels[own], ks, len(classes), temperature)
            for k, label in labels_by_k.items():
                predicted[k][number, rows] = classes[label.numpy()]
    return predicted


def vote(
    similar: Tensor, labels: Tensor, ks: Sequence[int], n_classes: int, temperature: float | None = None
) -> dict[int, Tensor]:
    """The label int64 [b], of `labels` [M] from 0 on, that each k finds for similarities [b, M] in [-1, 1].

    With a `temperature` votes are weighted; they are counted in units of the nearest one's, so that
    none overflows.
    """
    values, nearest = similar.topk(min(max(ks), similar.shape[1]), dim=1)
    if temperature is None:
        # A similarity weighs less than any vote, however many there are.
        weights = 1 + values.double() / (4 * similar.shape[1])
    else:
        weights = ((values.double() - values[:, :1].double()) / temperature).exp()
    votes = torch.zeros(len(similar), n_classes, dtype=torch.float64)
    labels_by_k, before = {}, 0
    for k in sorted(ks):
        votes.scatter_add_(1, labels[nearest[:, before:k]], weights[:, before:k])
        labels_by_k[k], before = votes.argmax(1), k
    return labels_by_k


def _similarities(
    X: np.ndarray | Tensor, some: np.ndarray, Y: np.ndarray | Tensor, others: np.ndarray, lengths: Tensor
) -> Tensor:
    """Cosines float32 [len(some), len(others)] of rows of X with rows of Y, which have `lengths`; 0 for rows of 0."""
    asked = _floats(X, some)
    unit = asked / _lengths([asked], some)[:, None]
    return torch.cat([product(unit, rows.T) for rows in _blocks(Y, others)], 1) / lengths


def _blocks(X: np.ndarray | Tensor, rows: np.ndarray) -> Iterator[Tensor]:
    for start in range(0, len(rows), BLOCK):
        yield _floats(X, rows[start : start + BLOCK])


def _floats(X: np.ndarray | Tensor, rows: np.ndarray) -> Tensor:
    """Those rows of X, float32 on the CPU."""
    return torch.as_tensor(X[rows]).to("cpu", torch.float32)


def _lengths(blocks: Iterable[Tensor], rows: np.ndarray) -> Tensor:
    """The lengths of `rows`, which come in `blocks`, float32, above 0; ValueError where one is not finite."""
    lengths = torch.cat([torch.linalg.vector_norm(part, dim=1, dtype=torch.float64) for part in blocks])
    if not lengths.isfinite().all():
        row = rows[int((~lengths.isfinite()).nonzero()[0])]
        raise ValueError(f"the features of row {row} hold NaN or infinity")
    return lengths.clamp_min(1e-30).float()


NEAREST_NEIGHBOURS = NearestNeighbours()
WEIGHTED_NEIGHBOURS = WeightedNearestNeighbours()
