"""Problems for the tests of the L2-SVM, and liblinear's objective written out in float64."""

from collections.abc import Callable

import numpy as np
from sklearn.svm import LinearSVC

from repr_eval.svm import L2SVM


def problem(n: int, d: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features float64 [n, d] with a mean, as activations have, and labels that a linear rule gets partly right."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) + 0.5
    scores = X @ rng.normal(size=(d, classes)) / np.sqrt(d) + rng.normal(size=(n, classes))
    return X, (scores - scores.mean(0)).argmax(1)


def signs(y: np.ndarray) -> np.ndarray:
    """Targets of +1 and -1, [n, K]: one column for two classes, else one a class."""
    classes = np.unique(y)
    return np.where(y[:, None] == (classes if len(classes) > 2 else classes[1:]), 1.0, -1.0)


def with_constant(X: np.ndarray) -> np.ndarray:
    return np.column_stack([np.asarray(X, dtype=np.float64), np.ones(len(X))])


def weights_of(model: L2SVM | LinearSVC) -> np.ndarray:
    """[d + 1, K], float64, the intercepts last."""
    return np.column_stack([model.coef_, model.intercept_]).astype(np.float64).T


def primal(X: np.ndarray, y: np.ndarray, C: float, W: np.ndarray) -> np.ndarray:
    """liblinear's objective [K] at weights W [d + 1, K], in float64."""
    loss = np.maximum(0, 1 - signs(y) * (with_constant(X) @ W)) ** 2
    return 0.5 * (W**2).sum(0) + C * loss.sum(0)


def dual(X: np.ndarray, y: np.ndarray, C: float, W: np.ndarray) -> np.ndarray:
    """liblinear's dual objective [K] at alpha = 2C xi, the multipliers that belong to W."""
    Y = signs(y)
    alpha = 2 * C * np.maximum(0, 1 - Y * (with_constant(X) @ W))
    return alpha.sum(0) - 0.5 * ((with_constant(X).T @ (Y * alpha)) ** 2).sum(0) - (alpha**2).sum(0) / (4 * C)


def liblinear(X: np.ndarray, y: np.ndarray, C: float, dual: bool) -> LinearSVC:
    return LinearSVC(C=C, dual=dual, tol=1e-9, max_iter=1_000_000, random_state=0).fit(X.astype(np.float64), y)


def repeated(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(X, 3, axis=0), np.repeat(y, 3)


def with_column(X: np.ndarray, value: float) -> np.ndarray:
    return np.column_stack([X, np.full(len(X), value)])


PROBLEMS: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "many rows": lambda: problem(400, 20, 3),
    "few rows": lambda: problem(50, 200, 4),
    "two classes, many rows": lambda: problem(300, 15, 2),
    "two classes, few rows": lambda: problem(40, 120, 2),
    "duplicated rows": lambda: repeated(*problem(100, 20, 3)),
    "duplicated rows, few": lambda: repeated(*problem(20, 200, 3)),
    "constant column": lambda: (with_column(problem(200, 10, 3)[0], 2.0), problem(200, 10, 3)[1]),
    "column of zeros, few rows": lambda: (with_column(problem(30, 90, 3)[0], 0.0), problem(30, 90, 3)[1]),
}
