"""Ridge regression on one-hot targets as a classifier: the closed form, with alpha chosen as C is.

For targets Y [n, K], 1 for a row's own class and 0 for the others, it minimises

    |X W + b - Y|^2 + alpha |W|^2

over W [d, K] and the intercept b, which is not penalised; a row gets the class with the highest
score [Hoerl & Kennard 1970; Hastie, Tibshirani & Friedman, The Elements of Statistical Learning,
sections 3.4.1 and 4.2]. With X and Y less their means,

    W = (X^T X + alpha I)^-1 X^T Y = X^T (X X^T + alpha I)^-1 Y,

of which the smaller matrix is made, once for all alphas. These are the answers of scikit-learn's
`RidgeClassifier`, whose targets are 1 and -1: its W is twice this one.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, lapack

from repr_eval.classifiers.base import Features, Fold, Tested, Validation
from repr_eval.classifiers.linear import Centred, Linear, classes_of
from repr_eval.classifiers.selection import fit_each, judged, select_value
from repr_eval.svm.estimator import Matrix

ALPHAS = tuple(float(f"1e{power}") for power in range(-3, 8))


class Ridge:
    """The classifier of the protocols, with alpha from `grid` or any other numbers above 0.

    Features are not scaled. Memory: two matrices float64 of min(n, d) rows and columns.
    """

    name, setting = "ridge", "alpha"
    grid: tuple[float, ...] | None = ALPHAS
    needs = "features"

    @property
    def settings(self) -> dict[str, Any]:
        return {"targets": "one-hot", "intercept": "not penalised", "scaling": "none"}

    def select(self, train: Features, folds: Sequence[Fold], grid: Sequence[float]) -> Validation:
        """As for C; every value is tried, for another one costs little."""

        def path(rows: np.ndarray | None, alphas: Sequence[float]) -> Iterator[Linear]:
            return ridge_path(train.X, train.y, alphas, rows)

        return select_value(path, train, folds, grid, self.setting, None)

    def test(self, train: Features, draws: Sequence[np.ndarray | None], value: float, test: Features) -> Tested:
        def path(rows: np.ndarray | None, alphas: Sequence[float]) -> Iterator[Linear]:
            return ridge_path(train.X, train.y, alphas, rows)

        models = fit_each(path, draws, value)
        return judged(models, test)


def ridge_path(
    X: Matrix,
    y: np.ndarray,
    alphas: Sequence[float],
    index: np.ndarray | None = None,
) -> Iterator[Linear]:
    """Fitted to rows `index` (None: all) of features X [N, d], labels y [N], for every alpha in order.

    ValueError where an alpha is not a number above 0, where there is one class only, or X holds NaN
    or infinity.
    """
    for alpha in alphas:
        if not 0 < alpha < float("inf"):
            raise ValueError(f"alpha {alpha:g}: must be above 0 and finite")
    classes, labels = classes_of(y if index is None else y[index], "ridge")
    Y = np.eye(len(classes))[labels]
    mean = Y.mean(0)
    Y -= mean
    rows = Centred(X, index)
    if rows.wide:
        M, B = rows.gram(), Y
    else:
        M, B = rows.scatter(), rows.adjoint(Y)
    for alpha in alphas:
        solution = _solved(M, alpha, B)
        W = rows.adjoint(solution) if rows.wide else solution
        yield Linear(classes, W.T, mean - rows.mean @ W)


def _solved(M: np.ndarray, alpha: float, B: np.ndarray) -> np.ndarray:
    """(M + alpha I)^-1 B for M [m, m], symmetric and, but for rounding, not negative, and B [m, k]."""
    A = M.copy(order="F")
    A.flat[:: len(A) + 1] += alpha
    try:
        factor = cho_factor(A, lower=True, overwrite_a=True, check_finite=False)
        solution: np.ndarray = cho_solve(factor, B)
        return solution
    except LinAlgError:  # alpha is less than the rounding of M
        A = M.copy(order="F")
        A.flat[:: len(A) + 1] += alpha
        lwork = int(lapack.dsysv_lwork(len(A), lower=1)[0])
        _, _, solution, info = lapack.dsysv(A, B, lwork=lwork, lower=1, overwrite_a=1)
        if info:
            raise ValueError(f"alpha {alpha:g} is too small for these features") from None
        return solution


RIDGE = Ridge()
