"""L2SVM: liblinear's L2-regularised, squared-hinge, one-vs-rest linear classifier, for large dense features."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from repr_eval.svm.few_rows import FewRows
from repr_eval.svm.newton import Solution, minimise
from repr_eval.svm.newton_systems import ConjugateGradients, GramSolve
from repr_eval.svm.precondition import LeadingDirections
from repr_eval.svm.rows import Rows

Matrix = np.ndarray | Tensor
FEW_ROWS = 8192  # up to so many rows, and fewer than columns, the Gram matrix is the cheaper way
PRECONDITION_FROM = 1000  # rows or columns below which conjugate gradients need no help


class L2SVM(ClassifierMixin, BaseEstimator):
    """For every class k, minimises 1/2 |w|^2 + C sum_i max(0, 1 - y_i (w.x_i + b))^2 + 1/2 b^2.

    That is the objective of scikit-learn's `LinearSVC` with its defaults (loss="squared_hinge", penalty="l2",
    intercept_scaling=1): the intercept is the weight of a constant column and is penalised like the others; C
    multiplies the sum over samples. Two classes give one weight vector, more give one for each against the rest.

    Parameters
    ----------
    C : float > 0, weight of the loss.
    tol : float > 0, relative duality gap (primal - dual) / primal at which every class stops.
    max_iter : int, Newton steps at most; stopping there raises a ConvergenceWarning.

    Attributes
    ----------
    classes_ : the class labels, sorted.
    coef_ [K, d], intercept_ [K] : float, K = 1 for two classes, else one row for each class.
    n_iter_ : int, Newton steps taken.
    n_passes_ : int, readings of the features.
    objective_ [K] : float64, the primal objective reached.
    gap_ [K] : float64, the relative duality gap reached, an upper bound on how far the objective is from its minimum.
    n_features_in_ : int.
    """

    def __init__(self, C: float = 1.0, tol: float = 1e-3, max_iter: int = 100):
        self.C = C
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any) -> "L2SVM":
        """Fit to features X float [n, d] (array, memory map, tensor; any float type) and labels y [n]."""
        fitted = next(fit_path(X, y, [self.C], tol=self.tol, max_iter=self.max_iter))
        for name in vars(fitted):
            if name.endswith("_"):
                setattr(self, name, getattr(fitted, name))
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores float [n, K] of X [n, d]; [n] for two classes."""
        check_is_fitted(self)
        rows = Rows(_matrix(X))
        if rows.d - 1 != self.n_features_in_:
            raise ValueError(
                f"X has {rows.d - 1} features, but L2SVM is expecting {self.n_features_in_} features as input"
            )
        W = torch.from_numpy(np.column_stack([self.coef_, self.intercept_]).T.copy()).to(rows.dtype).to(rows.device)
        scores = rows.scores(W).cpu().numpy()
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Labels [n] of X [n, d]: the class with the highest score."""
        return self.labels_of(self.decision_function(X))

    def labels_of(self, scores: np.ndarray) -> np.ndarray:
        """Labels [n] for scores [n, K] (or [n], of two classes): the class with the highest."""
        scores = scores.reshape(len(scores), -1)
        winners = (scores[:, 0] > 0).astype(int) if scores.shape[1] == 1 else scores.argmax(1)
        return self.classes_[winners]


def fit_path(
    X: Any,
    y: Any,
    Cs: Sequence[float],
    *,
    index: np.ndarray | None = None,
    tol: float = 1e-3,
    max_iter: int = 100,
) -> Iterator[L2SVM]:
    """Fitted `L2SVM`s for every C of `Cs` in the given order, each started from the one before.

    `index` [m] selects rows of X and y without copying X. Rising C is the quick order. A generator: a caller who
    has seen enough just stops asking.
    """
    matrix = _matrix(X)
    rows = Rows(matrix, index)
    classes, Y = _targets(y, len(matrix), index, rows)
    for C in Cs:
        if not (np.isfinite(C) and C > 0):
            raise ValueError(f"C={C!r}: needs a finite number above 0")
    if not tol > 0:
        raise ValueError(f"tol={tol!r}: needs a number above 0")
    few = FewRows(rows) if rows.n < rows.d and rows.n <= FEW_ROWS else None
    work = rows if few is None else few.reduced
    solve = _newton_system(rows) if few is None else GramSolve(few.gram)
    W = None
    for C in Cs:
        solution = minimise(work, Y.to(work.dtype), C, tol, max_iter, solve, W)
        if not torch.isfinite(solution.primal).all():
            raise ValueError("Input X contains NaN or infinity.")
        if not solution.converged:
            warnings.warn(
                f"L2SVM stopped after {max_iter} Newton steps at a relative gap of "
                f"{float(solution.relative_gap.max()):.2g}, above tol={tol}; raise max_iter",
                ConvergenceWarning,
                stacklevel=2,
            )
        W = solution.W
        yield _fitted(solution, W if few is None else few.lift(W), classes, C, tol, max_iter)


def _newton_system(rows: Rows) -> ConjugateGradients:
    if min(rows.n, rows.d) < PRECONDITION_FROM:
        return ConjugateGradients()
    return ConjugateGradients(LeadingDirections(rows))


def _fitted(solution: Solution, W: Tensor, classes: np.ndarray, C: float, tol: float, max_iter: int) -> L2SVM:
    model = L2SVM(C=C, tol=tol, max_iter=max_iter)
    weights = W.cpu().numpy()
    model.classes_ = classes
    model.coef_, model.intercept_ = np.ascontiguousarray(weights[:-1].T), weights[-1].copy()
    model.n_iter_, model.n_passes_ = solution.n_newton, solution.n_passes
    model.objective_, model.gap_ = solution.primal.cpu().numpy(), solution.relative_gap.cpu().numpy()
    model.n_features_in_ = len(weights) - 1
    return model


def _matrix(X: Any) -> Matrix:
    """X as a 2-D float array or tensor, itself where it already is one."""
    if not isinstance(X, Tensor | np.ndarray):
        X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2 or len(X) == 0:
        raise ValueError(f"Expected 2D array with at least one row, got an array of shape {list(X.shape)}")
    if isinstance(X, np.ndarray):
        if X.dtype.kind in "iub":
            return X.astype(np.float32 if X.dtype.itemsize < 4 else np.float64)
        if X.dtype not in (np.float16, np.float32, np.float64):
            raise ValueError(f"X is of type {X.dtype}; needed: float16, float32 or float64")
    return X


def _targets(y: Any, n: int, index: np.ndarray | None, rows: Rows) -> tuple[np.ndarray, Tensor]:
    """The classes and the targets [n, K] of +1 and -1."""
    labels = np.asarray(y)
    check_classification_targets(labels)
    if labels.shape != (n,):
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: X has {n}, y {list(labels.shape)}"
        )
    chosen = labels if index is None else labels[index]
    classes = np.unique(chosen)
    if len(classes) < 2:
        raise ValueError(f"L2SVM needs samples of at least 2 classes in the data, but it contains only {classes[0]!r}")
    positive = classes if len(classes) > 2 else classes[1:]
    Y = np.where(chosen[:, None] == positive, 1.0, -1.0)
    return classes, torch.from_numpy(Y).to(dtype=rows.dtype, device=rows.device)
