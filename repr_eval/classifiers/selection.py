"""Chooses C on held-out training images. Nothing here is ever handed a test image."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import sqrt
from typing import TypeVar

import numpy as np
import torch

from repr_eval.classifiers.base import Features, Fold, Tested, Validation
from repr_eval.classifiers.linear import Linear
from repr_eval.svm.estimator import L2SVM, Matrix, fit_path
from repr_eval.svm.rows import Rows
from repr_eval.system.parallel import parallel_map
from repr_eval.system.progress import Count, progress_count

TOP5_FROM = 10  # classes; of more, it is also counted how often the right one is among the five ranked highest
PATIENCE = 2  # a path ends once the held-out accuracy has been below its best for so many values of C in a row
Model = TypeVar("Model", L2SVM, Linear)
# Rows (None for all) and values of the setting -> a fit for each value.
Path = Callable[[np.ndarray | None, Sequence[float]], Iterator[Model]]


def fit_draws(X: Matrix, y: np.ndarray, draws: Sequence[np.ndarray | None], C: float, tol: float) -> list[L2SVM]:
    """One classifier for every draw, of these rows of X (None for all), all with the same C, on all cores."""
    return fit_each(lambda rows, Cs: fit_path(X, y, Cs, index=rows, tol=tol), draws, C)


def fit_each(
    path: Path[Model],
    draws: Sequence[np.ndarray | None],
    value: float,
) -> list[Model]:
    """What `path` fits with `value` for every draw, on all cores."""
    with progress_count("draws", total=len(draws), unit="draw") as bar:
        return parallel_map(lambda rows: next(_watched(path(rows, [value]), bar)), list(draws))


def count_correct(models: Sequence[Model], X: Matrix, y: np.ndarray, index: np.ndarray | None = None) -> list[int]:
    """How many rows of X (those of `index`, if given) each model labels as y says; X is read once for all models."""
    truth = y if index is None else y[index]
    return [int(count) for count in (predicted_by(models, X, index) == truth).sum(1)]


def predicted_by(models: Sequence[Model], X: Matrix, index: np.ndarray | None = None) -> np.ndarray:
    """The label [models, N] that each model gives each row of X (those of `index`, if given); X is read once for all.

    ValueError where features hold NaN or infinity.
    """
    return np.stack([model.labels_of(scores) for model, scores in _scored(models, X, index)])


def judged(models: Sequence[Model], test: Features, largest_gap: float | None = None) -> Tested:
    """What each model says of the test images, and, of more than ten classes, how often it ranks theirs among five."""
    predicted, top5 = [], []
    for model, scores in _scored(models, test.X, None):
        predicted.append(model.labels_of(scores))
        if len(model.classes_) > TOP5_FROM:
            top5.append(count_in_top(scores, model.classes_, test.y, 5))
    return Tested.of(np.stack(predicted), test.y, largest_gap, top5 or None)


def count_in_top(scores: np.ndarray, classes: np.ndarray, y: np.ndarray, k: int) -> int:
    """How many rows have their class y [N] among the k highest of their scores [N, K] for `classes` [K], ascending.

    Of equal scores the first class's counts as the higher, as for the prediction itself. A class that has no score is
    never among them.
    """
    columns = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
    own = scores[np.arange(len(y)), columns][:, None]
    before = np.arange(len(classes)) < columns[:, None]
    above = (scores > own).sum(1) + ((scores == own) & before).sum(1)
    return int(((above < k) & (classes[columns] == y)).sum())


def _scored(models: Sequence[Model], X: Matrix, index: np.ndarray | None) -> Iterator[tuple[Model, np.ndarray]]:
    """Each model with its scores [N, its columns] of the rows of X; X is read once for all."""
    rows = Rows(X, index)
    W = np.concatenate([np.column_stack([m.coef_, m.intercept_]) for m in models]).T
    scores = rows.scores(torch.from_numpy(np.ascontiguousarray(W)).to(rows.dtype).to(rows.device)).cpu().numpy()
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores).all(1))[0])
        raise ValueError(f"the features of row {row if index is None else index[row]} hold NaN or infinity")
    start = 0
    for model in models:
        yield model, scores[:, start : start + len(model.coef_)]
        start += len(model.coef_)


def select_C(
    X: Matrix,
    y: np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    Cs: Sequence[float],
    tol: float,
) -> Validation:
    """The C with the highest mean accuracy on `folds` of (training rows, held-out rows); the smaller on ties.

    One fold: the path of C ends early by `PATIENCE`, for a large C is the expensive one. Several folds: every value.
    """

    def path(rows: np.ndarray | None, values: Sequence[float]) -> Iterator[L2SVM]:
        return fit_path(X, y, values, index=rows, tol=tol)

    return select_value(path, Features(X, y), folds, Cs, "C", 0.0)


def select_value(
    path: Path[Model],
    train: Features,
    folds: Sequence[Fold],
    grid: Sequence[float],
    setting: str,
    slack: float | None,
) -> Validation:
    """The value with the highest mean accuracy on the folds' held-out rows; the smaller on ties.

    `path` fits. With one fold the path, of rising values, ends once `PATIENCE` of them in a row have
    been worse than the best, by more than `slack` standard errors of its accuracy; with several
    folds, or without `slack`, every value is tried.
    """
    values = sorted(set(grid))
    if not values:
        raise ValueError(f"the grid of {setting} is empty; give at least one value above 0")
    correct: dict[float, list[int]] = {}
    total = len(folds) * len(values)
    with progress_count(f"choosing {setting}", total=total, unit="fit") as bar:

        def judge(fold: Fold) -> list[tuple[float, int]]:
            fits = _watched(path(fold[0], values), bar)
            if len(folds) > 1 or slack is None:
                models = list(fits)
                return list(zip(values, count_correct(models, train.X, train.y, fold[1]), strict=True))
            return list(_until_worse(zip(values, fits, strict=False), train, fold[1], slack))

        for judged in parallel_map(judge, folds):
            for value, count in judged:
                correct.setdefault(value, []).append(count)
    totals = {value: sum(counts) for value, counts in correct.items()}
    best = max(sorted(totals), key=totals.__getitem__)
    return Validation(best, len(folds[0][1]), correct, at_edge=best in (values[0], values[-1]))


def _watched(path: Iterator[Model], bar: Count) -> Iterator[Model]:
    for model in path:
        bar.update()
        yield model


def _until_worse(
    path: Iterable[tuple[float, Model]], train: Features, held_out: np.ndarray, slack: float
) -> Iterator[tuple[float, int]]:
    best, below, n = -1, 0, len(held_out)
    for value, model in path:
        count = count_correct([model], train.X, train.y, held_out)[0]
        yield value, count
        best = max(best, count)
        worse = count < best - slack * sqrt(best * (n - best) / n)
        below = below + 1 if worse else 0
        if below == PATIENCE:
            return
