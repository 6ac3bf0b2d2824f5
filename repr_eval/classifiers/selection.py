"""Chooses C on held-out training images. Nothing here is ever handed a test image."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from repr_eval.classifiers.base import Validation
from repr_eval.svm.estimator import L2SVM, Matrix, fit_path
from repr_eval.svm.rows import Rows
from repr_eval.system.parallel import parallel_map
from repr_eval.system.progress import Count, progress_count

PATIENCE = 2  # a path ends once the held-out accuracy has been below its best for so many values of C in a row


def fit_draws(
    X: Matrix, y: np.ndarray, draws: Sequence[np.ndarray | None], C: float, tol: float, progress: bool = True
) -> list[L2SVM]:
    """One classifier for every draw, of these rows of X (None for all), all with the same C, on all cores."""
    with progress_count("draws", total=len(draws), unit="draw", disable=not progress) as bar:
        return parallel_map(lambda rows: next(_watched(fit_path(X, y, [C], index=rows, tol=tol), bar)), list(draws))


def count_correct(models: Sequence[L2SVM], X: Matrix, y: np.ndarray, index: np.ndarray | None = None) -> list[int]:
    """How many rows of X (those of `index`, if given) each model labels as y says; X is read once for all models."""
    rows = Rows(X, index)
    truth = y if index is None else y[index]
    W = np.concatenate([np.column_stack([m.coef_, m.intercept_]) for m in models]).T
    scores = rows.scores(torch.from_numpy(np.ascontiguousarray(W)).to(rows.dtype).to(rows.device)).cpu().numpy()
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores).all(1))[0])
        raise ValueError(f"the features of row {row if index is None else index[row]} hold NaN or infinity")
    counts, start = [], 0
    for model in models:
        part = scores[:, start : start + len(model.coef_)]
        start += len(model.coef_)
        counts.append(int((model.labels_of(part) == truth).sum()))
    return counts


def select_C(
    X: Matrix,
    y: np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    Cs: Sequence[float],
    tol: float,
    progress: bool = True,
) -> Validation:
    """The C with the highest mean accuracy on `folds` of (training rows, held-out rows); the smaller on ties.

    One fold: the path of C ends early by `PATIENCE`, for a large C is the expensive one. Several folds: every value.
    """
    grid = sorted(set(Cs))
    if not grid:
        raise ValueError("the grid of C is empty; give at least one value above 0")
    correct: dict[float, list[int]] = {}
    total = len(folds) * len(grid)
    with progress_count("choosing C", total=total, unit="fit", disable=not progress) as bar:

        def judge(fold: tuple[np.ndarray, np.ndarray]) -> list[tuple[float, int]]:
            path = _watched(fit_path(X, y, grid, index=fold[0], tol=tol), bar)
            return list((_until_worse if len(folds) == 1 else _all)(path, X, y, fold[1]))

        for judged in parallel_map(judge, folds):
            for C, count in judged:
                correct.setdefault(C, []).append(count)
    totals = {C: sum(counts) for C, counts in correct.items()}
    C = max(sorted(totals), key=totals.__getitem__)
    return Validation(C, len(folds[0][1]), correct, at_edge=C in (grid[0], grid[-1]))


def _watched(path: Iterator[L2SVM], bar: Count) -> Iterator[L2SVM]:
    for model in path:
        bar.update()
        yield model


def _all(path: Iterator[L2SVM], X: Matrix, y: np.ndarray, held_out: np.ndarray) -> list[tuple[float, int]]:
    models = list(path)
    return list(zip([m.C for m in models], count_correct(models, X, y, held_out), strict=True))


def _until_worse(path: Iterator[L2SVM], X: Matrix, y: np.ndarray, held_out: np.ndarray) -> Iterator[tuple[float, int]]:
    best, below = -1, 0
    for model in path:
        count = count_correct([model], X, y, held_out)[0]
        yield model.C, count
        best, below = max(best, count), below + 1 if count < best else 0
        if below == PATIENCE:
            return
