"""What L2SVM is given: scikit-learn's conventions, weights with LinearSVC's meaning, bad input named in plain words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import _get_check_estimator_ids, estimator_checks_generator
from svm_problems import problem, weights_of

from repr_eval.svm import L2SVM, fit_path
from repr_eval.svm import regularization_path as path_module

# Needs an environment variable set before SciPy is imported, and says nothing of estimators without array API support.
NOT_OURS = "check_array_api_input"
CHECKS = [
    (estimator, check)
    for estimator, check in estimator_checks_generator(L2SVM())
    if NOT_OURS not in _get_check_estimator_ids(check)
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=_get_check_estimator_ids)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::sklearn.exceptions.ConvergenceWarning")
def test_scikit_learns_checks(estimator: L2SVM, check: Callable[[L2SVM], None]) -> None:
    check(estimator)


def test_there_are_as_many_checks_as_scikit_learn_has() -> None:
    assert len(CHECKS) > 50


def test_is_an_estimator() -> None:
    model = L2SVM(C=0.3, tol=1e-5, max_iter=7, class_weight={0: 2.0})
    parameters = {"C": 0.3, "tol": 1e-5, "max_iter": 7, "class_weight": {0: 2.0}}
    assert clone(model).get_params() == parameters
    X, y = problem(60, 5, 3)
    assert model.fit(X, y) is model
    assert model.get_params() == parameters
    with pytest.raises(NotFittedError):
        L2SVM().predict(X)


def test_grid_search_in_a_pipeline_chooses_as_with_linear_svc() -> None:
    X, y = problem(120, 8, 3)
    chosen = []
    for model in (L2SVM(tol=1e-8), LinearSVC(tol=1e-8, max_iter=100_000)):
        step = type(model).__name__.lower()
        search = GridSearchCV(make_pipeline(StandardScaler(), model), {f"{step}__C": [1e-5, 1e-2, 1.0]}, cv=3)
        search.fit(X.astype(np.float32), y)
        chosen.append((search.best_params_[f"{step}__C"], search.cv_results_["mean_test_score"].tolist()))
    assert chosen[0] == chosen[1]


WEIGHTS: dict[str, tuple[int, Any, bool]] = {  # classes, class_weight, with sample weights
    "samples": (3, None, True),
    "classes": (3, {0: 5.0, 2: 0.1}, False),
    "two classes": (2, {0: 5.0, 1: 0.1}, False),
    "balanced": (3, "balanced", False),
    "balanced, two classes": (2, "balanced", False),
    "samples and classes": (3, {0: 5.0, 2: 0.1}, True),
    "samples, balanced": (3, "balanced", True),
    "samples and two classes": (2, {1: 7.0}, True),
}


@pytest.mark.parametrize("shape", [(150, 10), (30, 90)], ids=["many rows", "few rows"])
@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_mean_what_they_mean_to_linear_svc(case: str, shape: tuple[int, int]) -> None:
    classes, class_weight, sampled = WEIGHTS[case]
    X, y = problem(*shape, classes)
    y[y == 1] = np.where(np.arange((y == 1).sum()) % 3, 0, 1)  # not balanced
    rng = np.random.default_rng(5)
    sample_weight = rng.random(len(y)) * (rng.random(len(y)) < 0.8) if sampled else None
    ours = L2SVM(C=0.1, tol=1e-12, class_weight=class_weight).fit(X, y, sample_weight)
    theirs = LinearSVC(C=0.1, tol=1e-10, dual=False, max_iter=100_000, class_weight=class_weight)
    theirs.fit(X, y, sample_weight)
    np.testing.assert_allclose(weights_of(ours), weights_of(theirs), atol=2e-5)
    assert np.abs(weights_of(ours) - weights_of(L2SVM(C=0.1, tol=1e-12).fit(X, y))).max() > 1e-3
    assert (ours.gap_ <= 1e-12).all()


def test_a_path_is_weighted_as_its_fits_are() -> None:
    X, y = problem(100, 6, 3)
    sample_weight, index = np.random.default_rng(0).random(100), np.arange(10, 90)
    path = fit_path(X, y, [0.1], index=index, tol=1e-10, class_weight={0: 3.0}, sample_weight=sample_weight)
    alone = L2SVM(C=0.1, tol=1e-10, class_weight={0: 3.0}).fit(X[index], y[index], sample_weight[index])
    np.testing.assert_allclose(weights_of(next(path)), weights_of(alone), atol=1e-6)


def test_column_names_are_kept_and_compared() -> None:
    import pandas as pd

    X, y = problem(40, 2, 2)
    frame = pd.DataFrame(X, columns=["a", "b"])
    model = L2SVM().fit(frame, y)
    assert model.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame.rename(columns={"a": "c"}))


def _fit(**changes: Any) -> L2SVM:
    X, y = problem(40, 6, 3)
    arguments = {"X": X, "y": y, "sample_weight": None, **changes}
    parameters = {name: arguments[name] for name in ("C", "tol", "max_iter", "class_weight") if name in arguments}
    return L2SVM(**parameters).fit(arguments["X"], arguments["y"], arguments["sample_weight"])


def _objects() -> np.ndarray:
    X = problem(40, 6, 3)[0].astype(object)
    X[3, 2] = "cat"
    return X


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.zeros(40, int)}, r"samples of at least 2 classes in the data, .* only one class: .*0"),
        ({"C": 0}, r"'C' parameter of L2SVM must be a float in the range \(0\.0, inf\). Got 0 instead"),
        ({"C": -1.0}, r"'C' parameter .* Got -1\.0 instead"),
        ({"C": float("nan")}, "'C' parameter .* Got nan instead"),
        ({"C": float("inf")}, "'C' parameter .* Got inf instead"),
        ({"C": "1"}, "'C' parameter .* Got '1' instead"),
        ({"tol": 0}, "'tol' parameter .* Got 0 instead"),
        ({"max_iter": -1}, "'max_iter' parameter .* Got -1 instead"),
        ({"class_weight": "even"}, "'class_weight' parameter .* Got 'even' instead"),
        ({"y": np.arange(39) % 3}, r"inconsistent numbers of samples: \[40, 39\]"),
        ({"y": None}, "requires y to be passed, but the target y is None"),
        ({"y": np.linspace(0, 1, 40)}, "continuous"),
        ({"y": np.where(np.arange(40) == 3, np.nan, 1.0)}, "Input y contains NaN"),
        ({"sample_weight": -np.ones(40)}, "Negative values in data passed to `sample_weight`"),
        ({"sample_weight": np.zeros(40)}, "at least one non-zero"),
        ({"sample_weight": np.ones(39)}, r"sample_weight.shape == \(39,\)"),
        ({"X": np.zeros(40)}, "Expected 2D array, got 1D array instead"),
        ({"X": torch.zeros(40)}, "Expected 2D array, got 1D array instead"),
        ({"X": np.zeros((0, 6)), "y": np.zeros(0, int)}, r"0 sample\(s\)"),
        ({"X": torch.zeros(0, 6), "y": np.zeros(0, int)}, r"0 sample\(s\)"),
        ({"X": np.zeros((40, 0))}, r"0 feature\(s\)"),
        ({"X": np.zeros((40, 6), complex)}, "Complex data not supported"),
        ({"X": torch.zeros((40, 6), dtype=torch.complex64)}, "Complex data not supported"),
        ({"X": _objects()}, "could not convert string to float: 'cat'"),
    ],
)
def test_bad_input_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _fit(**changes)


@pytest.mark.parametrize("X", [sparse.csr_matrix(np.eye(40, 6)), torch.eye(40, 6).to_sparse()], ids=["scipy", "torch"])
def test_sparse_features_are_refused(X: Any) -> None:
    with pytest.raises(TypeError, match="Sparse data was passed"):
        _fit(X=X)


def test_objects_that_are_numbers_are_taken_for_numbers() -> None:
    X, y = problem(40, 6, 3)
    np.testing.assert_array_equal(weights_of(_fit(X=X.astype(object))), weights_of(L2SVM().fit(X, y)))


def test_a_class_with_one_member_is_fitted_as_liblinear_does() -> None:
    X, y = problem(60, 5, 3)
    y = np.where(np.arange(60) == 7, 9, y)
    theirs = LinearSVC(C=0.1, dual=False, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(weights_of(L2SVM(C=0.1, tol=1e-12).fit(X, y)), weights_of(theirs), atol=1e-5)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.nan, r"Input X contains NaN\. The first is in row 7, column 3\."),
        (np.inf, r"Input X contains infinity or a value too large for dtype\('float\d\d'\)\. .* row 7, column 3\."),
        (-np.inf, r"Input X contains infinity or a value too large for dtype\('float\d\d'\)\. .* row 7, column 3\."),
    ],
)
@pytest.mark.parametrize("shape", [(60, 8), (20, 50)], ids=["many rows", "few rows"])
@pytest.mark.parametrize("preconditioned", [True, False])
def test_features_that_are_not_finite_are_named(
    bad: float, message: str, shape: tuple[int, int], preconditioned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if preconditioned:
        monkeypatch.setattr(path_module, "PRECONDITION_FROM", 1)
    X, y = problem(*shape, 3)
    model = L2SVM().fit(X, y)
    X[7, 3] = bad
    X[9, 1] = bad
    for features in (X, X.astype(np.float16), torch.from_numpy(X), torch.from_numpy(X).bfloat16()):
        expected = message.replace(r"float\d\d", r"b?float\d\d")
        for refuse in (lambda X: L2SVM().fit(X, y), model.predict):
            with pytest.raises(ValueError, match=expected):
                refuse(features)
    with pytest.raises(ValueError, match=message):
        next(fit_path(X, y, [1.0], index=np.delete(np.arange(len(y)), 9)[::-1]))


def test_finite_features_too_large_to_square_are_refused() -> None:
    X, y = problem(30, 4, 2)
    with pytest.raises(ValueError, match="too large for their squares"):
        L2SVM().fit((1e30 * X).astype(np.float32), y)


def test_a_truncated_memory_map_is_refused_before_it_is_read(tmp_path: Path) -> None:
    X, y = problem(4000, 6, 3)
    model = L2SVM(C=0.1).fit(X, y)
    path = tmp_path / "features.npy"
    np.save(path, X)
    stored = np.load(path, mmap_mode="r")
    assert (model.predict(stored) == model.predict(X)).all()
    with open(path, "r+b") as file:
        file.truncate(100_000)
    for features in (stored, stored[5:], np.asarray(stored)):
        for refuse in (lambda X: L2SVM().fit(X, y[: len(X)]), model.predict):
            with pytest.raises(ValueError, match=r"features\.npy.* has only 100,000: it was truncated"):
                refuse(features)


def test_other_features_than_fitted_are_refused() -> None:
    X, y = problem(40, 6, 3)
    for features in (X[:, :5], torch.from_numpy(X[:, :5])):
        with pytest.raises(ValueError, match="X has 5 features, but L2SVM is expecting 6"):
            L2SVM().fit(X, y).predict(features)
