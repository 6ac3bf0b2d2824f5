"""Problems as unlike as can be, solved by L2SVM and by liblinear run to convergence."""

from collections.abc import Callable

import numpy as np
import pytest
from svm_problems import liblinear, primal, weights_of

from repr_eval.svm import L2SVM

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # training X, y; held-out X, y


def drawn(n: int, d: int, classes: int, held_out: int = 2000) -> Split:
    """n + held_out rows of non-negative features with a few strong directions, as activations are."""
    rng = np.random.default_rng(n + d)
    scales = 1 / np.sqrt(1 + np.arange(d))
    X = np.abs(rng.normal(size=(n + held_out, d)) @ (scales[:, None] * rng.normal(size=(d, d))) / np.sqrt(d))
    scores = X @ rng.normal(size=(d, classes)) + 0.3 * rng.normal(size=(n + held_out, classes))
    y = (scores - scores.mean(0)).argmax(1)
    return X[:n], y[:n], X[n:], y[n:]


def with_first(split: Split, change: Callable[[np.ndarray], np.ndarray]) -> Split:
    return change(split[0]), split[1], change(split[2]), split[3]


def duplicated() -> Split:
    X, y, X_test, y_test = drawn(150, 30, 3)
    return np.repeat(X, 4, axis=0), np.repeat(y, 4), X_test, y_test


def imbalanced() -> Split:
    X, y, X_test, y_test = drawn(3000, 25, 3)
    kept = (y == 0) | (np.arange(3000) % 60 == 0)
    return X[kept], y[kept], X_test, y_test


PROBLEMS: dict[str, Callable[[], Split]] = {
    "n >> d": lambda: drawn(2000, 12, 4),
    "n << d": lambda: drawn(120, 900, 4),
    "n about d": lambda: drawn(200, 190, 3),
    "duplicated rows": duplicated,
    "constant column": lambda: with_first(drawn(400, 20, 3), lambda X: np.column_stack([X, np.full(len(X), 3.0)])),
    "wildly scaled columns": lambda: with_first(drawn(400, 20, 3), lambda X: X * np.logspace(-3, 2, 20)),
    "float16": lambda: with_first(drawn(400, 40, 5), lambda X: X.astype(np.float16)),
    "float16, n << d": lambda: with_first(drawn(100, 600, 5), lambda X: X.astype(np.float16)),
    "one row in sixty of two classes": imbalanced,
    "two classes": lambda: drawn(300, 50, 2),
}


@pytest.mark.parametrize("C", [1e-2, 1.0])
@pytest.mark.parametrize("case", PROBLEMS)
def test_agrees_with_liblinear(case: str, C: float) -> None:
    X, y, X_test, _ = PROBLEMS[case]()
    exact = X.astype(np.float64)
    theirs = liblinear(exact, y, C, dual=False)
    minimum = primal(exact, y, C, weights_of(theirs))
    for tol in (1e-3, 1e-6):
        ours = L2SVM(C=C, tol=tol).fit(X, y)
        reached = primal(exact, y, C, weights_of(ours))
        assert (ours.gap_ <= tol).all()
        assert (reached - minimum <= (ours.gap_ + 1e-6) * reached).all()
        assert (ours.dual_ <= minimum * (1 + 1e-6)).all()
        np.testing.assert_allclose(ours.primal_, reached, rtol=1e-6)
    assert (ours.predict(X_test) == theirs.predict(X_test.astype(np.float64))).mean() >= 0.999
