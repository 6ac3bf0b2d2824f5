"""Multinomial logistic regression, scikit-learn's by L-BFGS, with a certificate; C is chosen.

For K classes it minimises

    P(W, b) = 1/2 |W|^2 + C sum_i -log p(y_i | x_i),
    p(k | x) = exp(x.w_k + b_k) / sum_j exp(x.w_j + b_j)

over W [d, K] and the intercepts b, which are not penalised; of two classes one weight vector
tells, with p(1 | x) = 1 / (1 + exp(-x.w - b)). So Kornblith, Shlens & Le 2019 (Do better ImageNet
models transfer better?) and DINOv2's code (log_regression.py) probe features. Features are not
scaled.
Differs from the paper: ten values of C, where these two have 45 from 1e-6 to 1e5.

How far from the minimum a fit is, is known: min_b P(W, b) is strongly convex in W with modulus 1,
so it lies at most 1/2 |G|^2 above the minimum, where G is its gradient, W + C X^T (p - Y) at the
best b for that W [Nesterov 2004, Introductory Lectures on Convex Optimization, theorem 2.1.10].
That bound, relative to P, is what is recorded.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn import linear_model
from sklearn.exceptions import ConvergenceWarning

from repr_eval.classifiers.base import TOL, Features, Fold, Tested, Validation
from repr_eval.classifiers.linear import Centred, Linear, classes_of
from repr_eval.classifiers.selection import fit_each, judged, select_value
from repr_eval.svm.estimator import Matrix

CS = tuple(float(f"1e{power}") for power in range(-6, 4))
MAX_ITER = 1000  # as in DINOv2's and CLIP's evaluations
FIRST_TOL, LAST_TOL = 1e-2, 1e-12  # of L-BFGS, divided by 10 until the gap is small enough
NEWTON_STEPS, HALVINGS = 50, 30


class LogisticRegression:
    """The classifier of the protocols, with C from `grid` or any other numbers above 0.

    A fit ends at a relative gap of at most 1e-3, or after `max_iter` iterations of L-BFGS: the
    record then holds the larger gap, the tables say NOT CONVERGED, and a ConvergenceWarning says
    it at once. Memory: the training features in float64; of n rows of more features, up to 8,192,
    float64 [n, n] instead.
    """

    name, setting = "logistic regression", "C"
    grid: tuple[float, ...] | None = CS
    needs = "features"

    def __init__(self, max_iter: int = MAX_ITER) -> None:
        if isinstance(max_iter, bool) or not isinstance(max_iter, int) or max_iter < 1:
            raise ValueError(f"max_iter {max_iter!r}: must be a whole number, 1 or more")
        self.max_iter = max_iter

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "solver": "L-BFGS",
            "intercept": "not penalised",
            "scaling": "none",
            "max_iter": self.max_iter,
        }

    def select(self, train: Features, folds: Sequence[Fold], grid: Sequence[float]) -> Validation:
        """As for the L2-SVM; one fold's path ends after two values worse by a standard error."""
        gaps: list[float] = []

        def path(rows: np.ndarray | None, Cs: Sequence[float]) -> Iterator[Linear]:
            for model in logistic_path(train.X, train.y, Cs, rows, max_iter=self.max_iter):
                gaps.append(model.gap or 0.0)
                yield model

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # `_tell` says it once
            validation = select_value(path, train, folds, grid, self.setting, 1.0)
        self._tell(gaps, "choosing C")
        return validation

    def test(self, train: Features, draws: Sequence[np.ndarray | None], value: float, test: Features) -> Tested:
        def path(rows: np.ndarray | None, Cs: Sequence[float]) -> Iterator[Linear]:
            return logistic_path(train.X, train.y, Cs, rows, max_iter=self.max_iter)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            models = fit_each(path, draws, value)
        gaps = [model.gap or 0.0 for model in models]
        self._tell(gaps, "the fits that are tested")
        return judged(models, test, max(gaps))

    def _tell(self, gaps: Sequence[float], of: str) -> None:
        """A ConvergenceWarning where fits were stopped before they had converged."""
        stopped = [gap for gap in gaps if gap > TOL]
        if stopped:
            warnings.warn(
                f"logistic regression, {of}: {len(stopped)} of {len(gaps)} fits stopped after "
                f"{self.max_iter} iterations at relative gaps up to {max(stopped):.2g}, above {TOL:g}; "
                "raise max_iter",
                ConvergenceWarning,
                stacklevel=3,
            )


def logistic_path(
    X: Matrix,
    y: np.ndarray,
    Cs: Sequence[float],
    index: np.ndarray | None = None,
    tol: float = TOL,
    max_iter: int = MAX_ITER,
) -> Iterator[Linear]:
    """Fitted to rows `index` (None: all) of features X [N, d] and labels y [N], for every C in order.

    Each fit begins with the one before. Its `gap` is above `tol` where `max_iter` iterations did
    not do. ValueError where a C is not a number above 0, where there is one class only, or X holds
    NaN or infinity.
    """
    for C in Cs:
        if not 0 < C < float("inf"):
            raise ValueError(f"C {C:g}: must be above 0 and finite")
    classes, labels = classes_of(y if index is None else y[index], "logistic regression")
    rows = Centred(X, index)
    Z, back = rows.coordinates()
    model = linear_model.LogisticRegression(warm_start=True)
    for C in Cs:
        gap = _fit(model, Z, labels, C, tol, max_iter)
        W = back(model.coef_.T)
        yield Linear(classes, W.T, model.intercept_ - rows.mean @ W, gap)


def _fit(
    model: linear_model.LogisticRegression,
    Z: np.ndarray,
    labels: np.ndarray,
    C: float,
    tol: float,
    max_iter: int,
) -> float:
    """Fit `model` until its relative gap, returned, is at most `tol`, or `max_iter` iterations are done."""
    gradient, left = FIRST_TOL, max_iter
    while True:
        model.set_params(C=C, tol=gradient, max_iter=left).fit(Z, labels)
        gap = relative_gap(Z, labels, model.coef_.T, model.intercept_, C)
        left -= int(model.n_iter_.max())
        gradient /= 10
        if gap <= tol or left < 1 or gradient < LAST_TOL:
            return gap


def relative_gap(
    Z: np.ndarray,
    labels: np.ndarray,
    W: np.ndarray,
    b: np.ndarray,
    C: float,
) -> float:
    """A bound on (P(W, b) - minimum of P) / P(W, b).

    For features Z [n, r], labels [n] from 0 on, W [r, K] and b [K]; K = 1 for two classes.
    """
    scores, intercepts = Z @ W, b
    if W.shape[1] == 1:  # the first class has the score 0
        scores, intercepts = np.pad(scores, ((0, 0), (1, 0))), np.pad(b, (1, 0))
    penalty = 0.5 * float((W**2).sum())
    primal = penalty + C * _loss(scores + intercepts, labels)
    best = _best_intercepts(scores, labels, intercepts)
    residual = softmax(scores + best, axis=1)
    residual[np.arange(len(labels)), labels] -= 1
    G = W + C * (Z.T @ residual[:, -W.shape[1] :])
    above_best = primal - penalty - C * _loss(scores + best, labels)
    return (max(0.0, above_best) + 0.5 * float((G**2).sum())) / primal


def _loss(scores: np.ndarray, labels: np.ndarray) -> float:
    """sum_i -log p(y_i | x_i) for scores [n, K]."""
    return float((logsumexp(scores, axis=1) - scores[np.arange(len(labels)), labels]).sum())


def _best_intercepts(scores: np.ndarray, labels: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The b [K] with the least loss for scores [n, K] + b, from a b nearby, by damped Newton steps."""
    n, K = scores.shape
    counts, loss = np.bincount(labels, minlength=K), _loss(scores + b, labels)
    for _ in range(NEWTON_STEPS):
        p = softmax(scores + b, axis=1)
        gradient = p.sum(0) - counts
        if np.abs(gradient).max() <= 1e-12 * n:
            break
        # A constant added to all of b changes nothing: 1 1^T makes the matrix regular.
        H = np.diag(p.sum(0) + 1e-12 * n) - p.T @ p + 1
        step, last = np.linalg.solve(H, gradient), loss
        for _ in range(HALVINGS):
            loss = _loss(scores + (b - step), labels)
            if loss <= last:
                break
            step /= 2
        else:
            break
        b = b - step
    return b


LOGISTIC_REGRESSION = LogisticRegression()
