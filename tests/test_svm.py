"""The L2-SVM against liblinear, against answers known by hand, and against its own certificate."""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.svm import LinearSVC

from repr_eval.svm import L2SVM, estimator, fit_path
from repr_eval.svm import rows as rows_module
from repr_eval.svm.cores import on_all_cores
from repr_eval.svm.few_rows import FewRows
from repr_eval.svm.newton import Solution, minimise
from repr_eval.svm.newton_systems import ConjugateGradients, GramSolve
from repr_eval.svm.precondition import LeadingDirections
from repr_eval.svm.rows import Rows


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

    def noting(rows: Rows, Y: torch.Tensor, C: float, *rest: Any) -> Solution:
        fitted.append(C)
        return minimise(rows, Y, C, *rest)

    monkeypatch.setattr(estimator, "minimise", noting)
    path = fit_path(*problem(50, 5, 2), [1e-3, 1e-2, 0.1])
    assert [next(path).C, next(path).C] == [1e-3, 1e-2] == fitted


def test_path_refuses_a_bad_C_before_the_first_fit() -> None:
    with pytest.raises(ValueError, match=r"C=-1\.0: needs a finite number above 0"):
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


def test_few_rows_and_conjugate_gradients_agree() -> None:
    X, y = problem(60, 300, 3)
    rows, Y = Rows(X), torch.from_numpy(signs(y))
    few = FewRows(rows)
    by_gram = minimise(few.reduced, Y, 0.05, 1e-10, 100, GramSolve(few.gram))
    by_cg = minimise(rows, Y, 0.05, 1e-10, 100, ConjugateGradients())
    assert by_gram.converged
    assert by_cg.converged
    np.testing.assert_allclose(by_gram.primal, by_cg.primal, rtol=1e-9)
    np.testing.assert_allclose(few.lift(by_gram.W), by_cg.W, atol=1e-6)


def test_newton_system_of_the_gram_matrix_is_solved_exactly() -> None:
    X = problem(30, 80, 3)[0]
    rows = Rows(X)
    few = FewRows(rows)
    rng = np.random.default_rng(2)
    active = torch.from_numpy((rng.random((30, 4)) < 0.5).astype(float))
    active[:, 1] = 0  # a class without an active row: H is the identity
    active[:, 3] = active[:, 0]
    g = torch.from_numpy(rng.normal(size=(81, 4)))
    S, XS, _ = GramSolve(few.gram)(rows, active, g, 0.3, torch.zeros(4))
    A = with_constant(X)
    for k in range(4):
        H = np.eye(81) + 0.6 * A.T @ (active[:, k].numpy()[:, None] * A)
        np.testing.assert_allclose(S[:, k], -np.linalg.solve(H, g[:, k].numpy()), atol=1e-7)
    np.testing.assert_allclose(XS, A @ S.numpy(), atol=1e-10)


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


def spiked(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """A few directions that outweigh the rest a thousandfold, as in activations."""
    X, y = problem(n, d, 3)
    rng = np.random.default_rng(3)
    return X + 30 * rng.normal(size=(n, 8)) @ rng.normal(size=(8, d)), y


def test_preconditioner_saves_readings_and_changes_nothing_else() -> None:
    X, y = spiked(500, 100)
    rows, Y = Rows(X), torch.from_numpy(signs(y))
    plain = minimise(rows, Y, 0.01, 1e-9, 100, ConjugateGradients())
    helped = minimise(rows, Y, 0.01, 1e-9, 100, ConjugateGradients(LeadingDirections(rows, sample=60, directions=12)))
    assert plain.converged
    assert helped.converged
    np.testing.assert_allclose(helped.primal, plain.primal, rtol=1e-8)
    assert helped.n_passes < plain.n_passes


def test_estimator_preconditions_large_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = spiked(300, 60)
    plain = L2SVM(C=0.01, tol=1e-8).fit(X, y)
    monkeypatch.setattr(estimator, "PRECONDITION_FROM", 50)
    helped = L2SVM(C=0.01, tol=1e-8).fit(X, y)
    np.testing.assert_allclose(helped.objective_, plain.objective_, rtol=1e-8)
    assert helped.n_passes_ < plain.n_passes_


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_products_do_not_depend_on_blocks_and_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    X, _ = problem(103, 7, 2)
    rng = np.random.default_rng(0)
    V, index = rng.normal(size=(8, 4)), rng.permutation(103)[:90]
    weights = rng.normal(size=(90, 4))
    monkeypatch.setattr(rows_module, "BLOCK_BYTES", 8 * 8 * 5)  # five rows a block
    rows = Rows(X, index)
    assert rows.block == 5
    S, adjoint = rows.scores_and_adjoint(torch.from_numpy(V), lambda r, s: torch.from_numpy(weights)[r] * s)
    scores, back = rows.scores(torch.from_numpy(V)), rows.adjoint(torch.from_numpy(weights))
    A = with_constant(X[index])
    np.testing.assert_allclose(S, A @ V, rtol=1e-12)
    np.testing.assert_allclose(scores, A @ V, rtol=1e-12)
    np.testing.assert_allclose(adjoint, A.T @ (weights * (A @ V)), rtol=1e-10)
    np.testing.assert_allclose(back, A.T @ weights, rtol=1e-10)


def test_work_is_shared_among_cores_in_order(threads: int) -> None:
    def piece(number: int) -> tuple[int, int, list[int]]:
        return number, torch.get_num_threads(), on_all_cores(lambda n: n, [number, -number])

    assert on_all_cores(piece, range(7)) == [(number, 1, [number, -number]) for number in range(7)]
    with ThreadPoolExecutor(1) as pool:  # what a new thread would use is not this thread's setting
        assert torch.get_num_threads() == pool.submit(torch.get_num_threads).result() == threads
    with pytest.raises(ZeroDivisionError):
        on_all_cores(lambda n: 1 // n, [1, 0])
    assert torch.get_num_threads() == threads


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


def test_is_an_estimator() -> None:
    model = L2SVM(C=0.3, tol=1e-5, max_iter=7)
    assert clone(model).get_params() == {"C": 0.3, "tol": 1e-5, "max_iter": 7}
    X, y = problem(60, 5, 3)
    assert model.fit(X, y) is model
    assert model.get_params() == {"C": 0.3, "tol": 1e-5, "max_iter": 7}
    with pytest.raises(NotFittedError):
        L2SVM().predict(X)


def _fit(**changes: Any) -> L2SVM:
    X, y = problem(40, 6, 3)
    arguments = {"X": X, "y": y, **changes}
    return L2SVM(C=arguments.get("C", 1.0), tol=arguments.get("tol", 1e-3)).fit(arguments["X"], arguments["y"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.zeros(40, int)}, "at least 2 classes"),
        ({"C": 0}, "C=0: needs a finite number above 0"),
        ({"C": -1.0}, r"C=-1\.0"),
        ({"C": float("nan")}, "C=nan"),
        ({"C": float("inf")}, "C=inf"),
        ({"tol": 0}, "tol=0: needs a number above 0"),
        ({"y": np.arange(39) % 3}, r"inconsistent numbers of samples: X has 40, y \[39\]"),
        ({"y": np.linspace(0, 1, 40)}, "continuous"),
        ({"X": np.zeros(40)}, r"Expected 2D array.*\[40\]"),
        ({"X": np.zeros((0, 6)), "y": np.zeros(0, int)}, "at least one row"),
        ({"X": np.zeros((40, 6), complex)}, "complex128"),
    ],
)
def test_bad_input_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _fit(**changes)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(60, 8), (20, 50)], ids=["many rows", "few rows"])
@pytest.mark.parametrize("preconditioned", [True, False])
def test_features_that_are_not_finite_are_refused(
    bad: float, shape: tuple[int, int], preconditioned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if preconditioned:
        monkeypatch.setattr(estimator, "PRECONDITION_FROM", 1)
    X, y = problem(*shape, 3)
    X[7, 3] = bad
    for features in (X, X.astype(np.float16)):
        with pytest.raises(ValueError, match="X contains NaN or infinity"):
            L2SVM().fit(features, y)


def test_other_features_than_fitted_are_refused() -> None:
    X, y = problem(40, 6, 3)
    with pytest.raises(ValueError, match="X has 5 features, but L2SVM is expecting 6"):
        L2SVM().fit(X, y).predict(X[:, :5])
