"""L2SVM: liblinear's L2-regularised, squared-hinge, one-vs-rest linear classifier, for large dense features."""

import warnings
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from repr_eval.svm.regularization_path import RegularizationPath
from repr_eval.svm.rows import Rows
from repr_eval.svm.validation import (
    Matrix,
    checked_features,
    checked_labels,
    checked_sample_weight,
    costs,
    not_finite,
    one_against_rest,
)

__all__ = ["L2SVM", "Matrix", "fit_path"]


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
    class_weight : dict {class: weight}, "balanced" or None, multiples of C as `LinearSVC` has them: of two classes
        each has its own; of more, a class's weight counts for its own samples in its own problem.

    Attributes
    ----------
    classes_ : the class labels, sorted.
    coef_ [K, d], intercept_ [K] : float, K = 1 for two classes, else one row for each class.
    primal_ [K], dual_ [K] : float64, the primal objective of these coefficients, and that of a feasible dual point:
        the minimum lies between them.
    gap_ [K] : float64, (primal_ - dual_) / primal_.
    objective_ [K] : primal_ by its short name.
    n_iter_ : int, Newton steps taken.
    n_passes_ : int, readings of the features.
    n_features_in_ : int; feature_names_in_ : where X has column names.
    """

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's protocol)
        "C": [Interval(Real, 0.0, None, closed="neither")],
        "tol": [Interval(Real, 0.0, None, closed="neither")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "class_weight": [None, dict, StrOptions({"balanced"})],
    }

    def __init__(self, C: float = 1.0, tol: float = 1e-3, max_iter: int = 100, class_weight: Any = None):
        self.C = C
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "L2SVM":
        """Fit to features X [n, d] (array, memory map or tensor of any real type), labels y [n], weights [n] >= 0."""
        self._validate_params()
        path, self.classes_ = _prepared(self, X, y, sample_weight=sample_weight)
        return self._fitted(path)

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores float [n, K] of X [n, d]; [n] for two classes."""
        check_is_fitted(self)
        X = checked_features(self, X, reset=False)
        rows = Rows(X)
        scores = rows.scores(rows.like(np.column_stack([self.coef_, self.intercept_]).T)).cpu().numpy()
        if not np.isfinite(scores).all() and (error := not_finite(X)):
            raise error
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Labels [n] of X [n, d]: the class with the highest score."""
        return self.labels_of(self.decision_function(X))

    def labels_of(self, scores: np.ndarray) -> np.ndarray:
        """Labels [n] for scores [n, K] (or [n], of two classes): the class with the highest."""
        scores = scores.reshape(len(scores), -1)
        winners = (scores[:, 0] > 0).astype(int) if scores.shape[1] == 1 else scores.argmax(1)
        return self.classes_[winners]

    def _fitted(self, path: RegularizationPath) -> "L2SVM":
        """Self with what `path` finds for its C."""
        solution = path.solve(self.C, self.tol, self.max_iter)
        if not solution.converged:
            warnings.warn(
                f"L2SVM stopped after {solution.n_newton} Newton steps at a relative gap of "
                f"{float(solution.relative_gap.max()):.2g}, above tol={self.tol}; raise max_iter",
                ConvergenceWarning,
                stacklevel=3,
            )
        weights = solution.W.cpu().numpy()
        self.coef_, self.intercept_ = np.ascontiguousarray(weights[:-1].T), weights[-1].copy()
        self.n_iter_, self.n_passes_ = solution.n_newton, solution.n_passes
        self.primal_, self.dual_ = solution.primal.cpu().numpy(), solution.dual.cpu().numpy()
        self.gap_ = solution.relative_gap.cpu().numpy()
        self.objective_ = self.primal_
        return self


def fit_path(
    X: Any,
    y: Any,
    Cs: Sequence[float],
    *,
    index: np.ndarray | None = None,
    tol: float = 1e-3,
    max_iter: int = 100,
    class_weight: Any = None,
    sample_weight: Any = None,
) -> Iterator[L2SVM]:
    """Fitted `L2SVM`s for every C of `Cs` in the given order, each started from the one before.

    `index` [m] selects rows of X, y and sample_weight without copying X. Rising C is the quick order. A generator: a
    caller who has seen enough just stops asking.
    """
    models = [L2SVM(C=C, tol=tol, max_iter=max_iter, class_weight=class_weight) for C in Cs]
    for model in models:
        model._validate_params()
    if not models:
        return
    path, classes = _prepared(models[0], X, y, index, sample_weight)
    seen = {name: value for name, value in vars(models[0]).items() if name.endswith("_in_")}
    for model in models:
        model.__dict__.update(seen, classes_=classes)
        yield model._fitted(path)


def _prepared(
    model: L2SVM, X: Any, y: Any, index: np.ndarray | None = None, sample_weight: Any = None
) -> tuple[RegularizationPath, np.ndarray]:
    """The checked problem, ready to be solved for any C, and its classes."""
    labels = checked_labels(model, y)
    matrix = checked_features(model, X, reset=True)
    check_consistent_length(matrix, labels)
    if sample_weight is not None:
        sample_weight = checked_sample_weight(sample_weight, labels)
    if index is not None:
        index = np.arange(len(labels))[index]  # whatever selects rows, as numbers from 0 on
        labels = labels[index]
        sample_weight = None if sample_weight is None else sample_weight[index]
    classes, Y = one_against_rest(labels)
    U = costs(labels, Y, model.class_weight, sample_weight)
    return RegularizationPath(matrix, index, Y, U), classes
