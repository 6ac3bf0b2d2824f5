"""The L2-SVM against liblinear, against answers known by hand, and against its own certificate."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC
from svm_problems import PROBLEMS, dual, liblinear, primal, problem, signs, weights_of, with_constant

from repr_eval.svm import L2SVM, fit_path
from repr_eval.svm.regularization_path import RegularizationPath


@pytest.fixture(params=PROBLEMS)
def Xy(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    return PROBLEMS[request.param]()


@pytest.mark.parametrize("liblinear_dual", [True, False])
@pytest.mark.parametrize("C", [1e-3, 0.1])
def test_objective_is_liblinears(Xy: tuple[np.ndarray, np.ndarray], C: float, liblinear_dual: bool) -> None:
    X, y = Xy
    expected = primal(X, y, C, weights_of(liblinear(X, y, C, liblinear_dual)))
    for tol, close in ((1e-3, 1e-3), (1e-6, 1e-6), (1e-10, 1e-9)):
        reached = primal(X, y, C, weights_of(L2SVM(C=C, tol=tol).fit(X, y)))
        np.testing.assert_allclose(reached, expected, rtol=close)


def as_memory_map(X: np.ndarray, folder: Path) -> np.ndarray:
    np.save(folder / "features.npy", X)
    mapped: np.ndarray = np.load(folder / "features.npy", mmap_mode="r")
    return mapped


FORMS: dict[str, Callable[[np.ndarray, Path], Any]] = {
    "float32": lambda X, folder: X.astype(np.float32),
    "float16": lambda X, folder: X.astype(np.float16),
    "F-ordered": lambda X, folder: np.asfortranarray(X),
    "F-ordered float16": lambda X, folder: np.asfortranarray(X.astype(np.float16)),
    "reversed": lambda X, folder: X[::-1],
    "every other row": lambda X, folder: X[::2],
    "memory map": as_memory_map,
    "float16 memory map": lambda X, folder: as_memory_map(X.astype(np.float16), folder),
    "tensor": lambda X, folder: torch.from_numpy(X),
    "bfloat16 tensor": lambda X, folder: torch.from_numpy(X).bfloat16(),
    "list": lambda X, folder: X.tolist(),
    "uint8": lambda X, folder: (40 * X + 120).clip(0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("shape", [(200, 12), (40, 100)], ids=["many rows", "few rows"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_features_is_fitted_as_its_float64_copy(
    form: str, shape: tuple[int, int], tmp_path: Path
) -> None:
    X = FORMS[form](problem(*shape, 3)[0], tmp_path)
    exact = (X.double().numpy() if isinstance(X, torch.Tensor) else np.asarray(X)).astype(np.float64)
    y = problem(*shape, 3)[1][: len(exact)]
    C = 1e-6 if form == "uint8" else 0.01
    model = L2SVM(C=C, tol=1e-6).fit(X, y)
    expected = primal(exact, y, C, weights_of(liblinear(exact, y, C, dual=False)))
    np.testing.assert_allclose(primal(exact, y, C, weights_of(model)), expected, rtol=2e-6)
    np.testing.assert_array_equal(model.predict(X), model.predict(exact))


def test_fitting_leaves_the_features_as_they_are() -> None:
    for n, d in ((100, 10), (20, 60)):
        X, y = problem(n, d, 3)
        before = X.copy()
        L2SVM().fit(X, y)
        np.testing.assert_array_equal(X, before)


def test_solution_known_by_hand_penalises_the_intercept() -> None:
    # x = 2 and 0 with labels +1 and -1, C = 1/2. With both rows active (I + A'A) (w, b) = A'y for A = [[2, 1], [0, 1]]:
    # [[5, 2], [2, 3]] (w, b) = (2, 0), so w = 6/11 and b = -4/11. The margins, 8/11 and 4/11, are below 1: the rows are
    # active indeed. Objective: (36 + 16) / 242 + (9 + 49) / 242 = 5/11.
    model = L2SVM(C=0.5, tol=1e-12).fit(np.array([[2.0], [0.0]]), [1, -1])
    np.testing.assert_allclose(model.coef_, [[6 / 11]], rtol=1e-9)
    np.testing.assert_allclose(model.intercept_, [-4 / 11], rtol=1e-9)
    np.testing.assert_allclose(model.objective_, [5 / 11], rtol=1e-9)


def test_all_rows_active_is_ridge_regression() -> None:
    # With a small C every margin is below 1, the loss is quadratic and the solution that of one linear system.
    X, y = problem(60, 5, 3)
    C, A = 1e-4, with_constant(X)
    W = np.linalg.solve(np.eye(6) + 2 * C * A.T @ A, 2 * C * A.T @ signs(y))
    assert (signs(y) * (A @ W) < 1).all()
    np.testing.assert_allclose(weights_of(L2SVM(C=C, tol=1e-14).fit(X, y)), W, atol=1e-7)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_gap_is_primal_minus_dual_and_bounds_the_distance_to_the_minimum(
    Xy: tuple[np.ndarray, np.ndarray], steps: int
) -> None:
    X, y = Xy
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = L2SVM(C=0.1, tol=1e-15, max_iter=steps).fit(X, y)
    W = weights_of(model)
    P, D = primal(X, y, 0.1, W), dual(X, y, 0.1, W)
    minimum = primal(X, y, 0.1, weights_of(liblinear(X, y, 0.1, dual=False)))
    np.testing.assert_allclose(model.objective_, P, rtol=1e-9)
    np.testing.assert_allclose(model.gap_, (P - D) / P, rtol=1e-6, atol=1e-11)
    assert (P - minimum <= model.gap_ * P + 1e-9 * P).all()
    assert model.n_iter_ <= steps


def test_stopping_early_is_a_warning() -> None:
    with pytest.warns(ConvergenceWarning, match=r"stopped after 1 Newton steps at a relative gap of .*raise max_iter"):
        model = L2SVM(C=1.0, tol=1e-6, max_iter=1).fit(*problem(300, 20, 3))
    assert model.n_iter_ == 1
    assert model.gap_.max() > 1e-6


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("C", [1e-4, 1e-2, 1.0])
def test_converged_gap_is_within_tol_and_true(Xy: tuple[np.ndarray, np.ndarray], C: float, dtype: type) -> None:
    X, y = Xy
    X = X.astype(dtype)
    model = L2SVM(C=C).fit(X, y)
    W = weights_of(model)
    minimum = primal(X, y, C, weights_of(liblinear(X, y, C, dual=False)))
    assert (model.gap_ <= 1e-3).all()
    assert (primal(X, y, C, W) <= minimum * (1 + model.gap_ + 1e-6)).all()
    np.testing.assert_allclose(model.objective_, primal(X, y, C, W), rtol=1e-6)


@pytest.mark.parametrize("shape", [(300, 20), (40, 150)], ids=["many rows", "few rows"])
@pytest.mark.parametrize("Cs", [(1e-4, 1e-3, 1e-2, 0.1), (0.1, 1e-3)], ids=["rising", "falling"])
def test_path_reaches_what_cold_fits_reach(shape: tuple[int, int], Cs: tuple[float, ...]) -> None:
    X, y = problem(*shape, 3)
    path = list(fit_path(X, y, Cs, tol=1e-8))
    assert [model.C for model in path] == list(Cs)
    for model in path:
        cold = L2SVM(C=model.C, tol=1e-8).fit(X, y)
        np.testing.assert_allclose(model.objective_, cold.objective_, rtol=1e-8)
        # 1/2 |w - w*|^2 is at most the gap, for both.
        apart = np.linalg.norm(weights_of(model) - weights_of(cold), axis=0)
        assert (apart <= 2 * np.sqrt(2 * 1e-8 * cold.objective_)).all()


def test_path_starts_from_the_solution_before() -> None:
    X, y = problem(300, 20, 3)
    again = list(fit_path(X, y, [0.1, 0.1]))[1]
    assert again.n_iter_ == 0


def test_path_fits_no_further_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[float] = []
    solve = RegularizationPath.solve

    def noting(self: RegularizationPath, C: float, *rest: Any) -> Any:
        fitted.append(C)
        return solve(self, C, *rest)

    monkeypatch.setattr(RegularizationPath, "solve", noting)
    path = fit_path(*problem(50, 5, 2), [1e-3, 1e-2, 0.1])
    assert [next(path).C, next(path).C] == [1e-3, 1e-2] == fitted


def test_path_refuses_a_bad_C_before_the_first_fit() -> None:
    with pytest.raises(ValueError, match="'C' parameter of L2SVM must be a float in the range"):
        next(fit_path(*problem(50, 5, 2), [1e-3, -1.0]))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("chosen", [150, 25], ids=["many rows", "few rows"])
def test_index_selects_rows_as_a_copy_would(chosen: int, dtype: type, tmp_path: Path) -> None:
    X, y = problem(300, 40, 4)
    index = np.random.default_rng(1).permutation(300)[:chosen]
    stored = as_memory_map(X.astype(dtype), tmp_path)
    by_index = next(fit_path(stored, y, [0.01], index=index, tol=1e-6))
    by_copy = next(fit_path(stored[index], y[index], [0.01], tol=1e-6))
    np.testing.assert_allclose(weights_of(by_index), weights_of(by_copy), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(by_index.classes_, by_copy.classes_)


def test_rows_outside_the_index_are_never_used() -> None:
    X, y = problem(100, 10, 3)
    index = np.arange(0, 100, 2)
    expected = next(fit_path(X, y, [0.1], index=index))
    X[1::2], y[1::2] = np.nan, 7
    np.testing.assert_array_equal(weights_of(next(fit_path(X, y, [0.1], index=index))), weights_of(expected))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_that_span_few_dimensions(dtype: type) -> None:
    # Like blurred pixels: 200 rows of rank 6. Their Gram matrix, rounded to float32, is not positive definite.
    X, y = problem(200, 5, 3)
    wide: np.ndarray = (X @ np.random.default_rng(1).normal(size=(5, 400)) + 1).astype(dtype)
    minimum = primal(wide, y, 1e-3, weights_of(liblinear(wide, y, 1e-3, dual=True)))
    np.testing.assert_allclose(primal(wide, y, 1e-3, weights_of(L2SVM(C=1e-3).fit(wide, y))), minimum, rtol=1e-3)


def test_few_rows_of_float32_converge_at_a_large_C() -> None:
    X, y = problem(100, 1000, 3)
    model = L2SVM(C=100.0, tol=1e-6).fit((X + 1).astype(np.float32), y)
    assert model.n_iter_ <= 5
    assert (model.gap_ <= 1e-6).all()


def test_predictions_and_their_shapes() -> None:
    X, y = problem(200, 10, 4)
    names = np.array(["cat", "dog", "frog", "ship"])[y]
    model = L2SVM(C=0.1).fit(X, names)
    assert model.decision_function(X[:7]).shape == (7, 4)
    np.testing.assert_allclose(model.decision_function(X), with_constant(X) @ weights_of(model), rtol=1e-9)
    np.testing.assert_array_equal(model.predict(X), model.classes_[model.decision_function(X).argmax(1)])
    np.testing.assert_array_equal(model.predict(X), LinearSVC(C=0.1).fit(X, names).predict(X))
    assert model.coef_.shape == (4, 10)
    assert model.intercept_.shape == (4,)
    assert model.n_features_in_ == 10


def test_two_classes_have_one_weight_vector_for_the_second() -> None:
    X, y = problem(200, 10, 2)
    model = L2SVM(C=0.1).fit(X, np.array(["no", "yes"])[y])
    assert model.coef_.shape == (1, 10)
    assert model.decision_function(X).shape == (200,)
    np.testing.assert_array_equal(model.predict(X) == "yes", model.decision_function(X) > 0)
    assert model.score(X, np.array(["no", "yes"])[y]) > 0.7
