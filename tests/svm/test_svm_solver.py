"""The parts of the L2-SVM's solver: products in blocks, preconditioned Newton systems, problems of few rows."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from svm_problems import primal, problem, signs, weights_of, with_constant

from repr_eval.svm import L2SVM, fit_path
from repr_eval.svm import regularization_path as path_module
from repr_eval.svm import rows as rows_module
from repr_eval.svm.gram import active_set
from repr_eval.svm.gram.active_set import ActiveSystem, Cholesky, GramConjugateGradients
from repr_eval.svm.gram.solver import GramSolver
from repr_eval.svm.hinge import Masked
from repr_eval.svm.primal.newton import Problem, minimise
from repr_eval.svm.primal.precondition import LeadingDirections, inverse_beside_identity
from repr_eval.svm.primal.system import HessianConjugateGradients
from repr_eval.svm.rows import Rows
from repr_eval.system.parallel import parallel_map


def as_problem(X: np.ndarray, y: np.ndarray) -> Problem:
    rows = Rows(X)
    Y = rows.like(signs(y))
    return Problem(rows, Y, torch.ones_like(Y))


def test_few_rows_and_conjugate_gradients_agree() -> None:
    few = as_problem(*problem(60, 300, 3))
    by_gram = GramSolver(few).solve(0.05, 1e-10, 100)
    by_cg = minimise(few, 0.05, 1e-10, 100, HessianConjugateGradients())
    assert by_gram.converged
    assert by_cg.converged
    np.testing.assert_allclose(by_gram.primal, by_cg.primal, rtol=1e-9)
    np.testing.assert_allclose(by_gram.W, by_cg.W, atol=1e-6)


@pytest.mark.parametrize("system", [Cholesky, GramConjugateGradients])
def test_systems_of_active_rows_are_solved(system: type[Cholesky | GramConjugateGradients]) -> None:
    K = Rows(problem(30, 80, 3)[0]).gram()
    rng = np.random.default_rng(2)
    active = torch.from_numpy(rng.random((30, 4)) < 0.5)
    active[:, 1] = False  # a class without an active row
    active[:, 3] = active[:, 0]
    y = torch.from_numpy(np.where(rng.random((30, 4)) < 0.5, 1.0, -1.0))
    u = torch.from_numpy(rng.random((30, 4)) + 0.5)
    solver: ActiveSystem = system(K)
    b, scores = solver(y, u, active, 0.01 * y, 0.3)
    for k in range(4):
        A = active[:, k].numpy()
        expected = np.zeros(30)
        S = K.numpy()[np.ix_(A, A)] + np.diag(1 / (0.6 * u.numpy()[A, k]))
        expected[A] = np.linalg.solve(S, y.numpy()[A, k])
        np.testing.assert_allclose(b[:, k], expected, atol=1e-9)
    np.testing.assert_allclose(scores, K @ b, atol=1e-9)


@pytest.mark.parametrize(("many", "cores"), [(0, 2), (99, 40)])
def test_many_classes_share_what_is_made_of_their_active_rows(
    many: int, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    K = Rows(problem(30, 80, 3)[0]).gram()
    rng = np.random.default_rng(2)
    active = torch.from_numpy(rng.random((30, 2)) < 0.5)[:, np.arange(40) % 2]
    y = torch.from_numpy(np.where(rng.random((30, 40)) < 0.5, 1.0, -1.0))
    made: list[tuple[int, ...]] = []

    def counted(Z: torch.Tensor) -> torch.Tensor:
        made.append(tuple(Z.shape))
        return inverse_beside_identity(Z)

    monkeypatch.setattr(active_set, "MANY", many)
    monkeypatch.setattr(active_set, "inverse_beside_identity", counted)
    b, scores = GramConjugateGradients(K, 7)(y, torch.ones_like(y), active, torch.zeros_like(y), 0.3)
    assert len(made) == cores
    assert {shape[1] for shape in made} == {7}
    for k in range(40):
        A = active[:, k].numpy()
        S = K.numpy()[np.ix_(A, A)] + np.eye(A.sum()) / 0.6
        np.testing.assert_allclose(b[A, k], np.linalg.solve(S, y.numpy()[A, k]), rtol=1e-2, atol=1e-4)
    np.testing.assert_allclose(scores, K @ b, atol=1e-9)


def test_one_core_for_all_classes_solves_their_systems() -> None:
    K = Rows(problem(30, 80, 3)[0]).gram()
    y = torch.from_numpy(np.where(np.random.default_rng(2).random((30, 40)) < 0.5, 1.0, -1.0))
    active = torch.ones_like(y, dtype=torch.bool)
    b, _ = GramConjugateGradients(K, 30)(y, torch.ones_like(y), active, torch.zeros_like(y), 0.3)
    np.testing.assert_allclose(b, np.linalg.solve(K.numpy() + np.eye(30) / 0.6, y.numpy()), atol=1e-9)


@pytest.mark.parametrize(("classes", "directions"), [(10, 256), (32, 256), (33, 64)])
def test_fewer_directions_are_known_of_many_classes(classes: int, directions: int) -> None:
    rng = np.random.default_rng(0)
    solver = GramSolver(as_problem(rng.normal(size=(300, 400)), np.arange(300) % classes))
    assert isinstance(solver.system, GramConjugateGradients)
    assert solver.system.Z.shape[1] == directions
    assert solver.solve(0.01, 1e-3, 20).converged


def test_gram_matrix_by_blocks_of_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    X = problem(20, 23, 3)[0]
    index = np.array([3, 17, 5])
    for columns in (4, 8, 23, 24, 100):  # the constant column alone, with others, not in the last block
        monkeypatch.setattr(rows_module, "COLUMNS_AT_ONCE", columns)
        A = with_constant(X[index])
        np.testing.assert_allclose(Rows(X, index).gram(), A @ A.T, rtol=1e-12)
        np.testing.assert_allclose(Rows(X).subset(index).gram(), A @ A.T, rtol=1e-12)
        np.testing.assert_allclose(Rows(X, index).subset(np.array([2, 0])).gram(), (A @ A.T)[::-2, ::-2], rtol=1e-12)


def test_few_rows_go_over_to_float64_where_float32_cannot_prove_enough() -> None:
    X, y = problem(100, 1000, 3)
    few = as_problem((X + 1).astype(np.float32), y)
    solver = GramSolver(few)
    assert solver.solve(1e-3, 1e-3, 100).converged
    assert solver.K.dtype == solver.problem.rows.dtype == torch.float32
    assert solver.solve(100.0, 1e-9, 100).converged
    assert solver.K.dtype == solver.problem.rows.dtype == torch.float64


def test_certificate_of_few_rows_is_that_of_the_weights_returned() -> None:
    X, y = problem(200, 3000, 3)
    X = (X + 3).astype(np.float32)
    for C in (1e-4, 1.0, 1e3):
        model = L2SVM(C=C).fit(X, y)
        np.testing.assert_allclose(model.primal_, primal(X, y, C, weights_of(model)), rtol=1e-4)
        best = L2SVM(C=C, tol=1e-9).fit(X.astype(np.float64), y)
        assert (model.dual_ <= best.primal_ * (1 + 1e-5)).all()
        assert (model.primal_ >= best.dual_ * (1 - 1e-5)).all()
        assert (model.gap_ <= 1e-3).all()


def test_a_path_of_few_rows_makes_one_gram_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Rows] = []
    gram = Rows.gram

    def noting(rows: Rows) -> torch.Tensor:
        made.append(rows)
        return gram(rows)

    monkeypatch.setattr(Rows, "gram", noting)
    assert len(list(fit_path(*problem(50, 200, 3), [1e-3, 1e-2, 0.1]))) == 3
    assert len(made) == 1


def spiked(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """A few directions that outweigh the rest a thousandfold, as in activations."""
    X, y = problem(n, d, 3)
    rng = np.random.default_rng(3)
    return X + 30 * rng.normal(size=(n, 8)) @ rng.normal(size=(8, d)), y


def test_preconditioner_saves_readings_and_changes_nothing_else() -> None:
    spikes = as_problem(*spiked(500, 100))
    plain = minimise(spikes, 0.01, 1e-9, 100, HessianConjugateGradients())
    directions = LeadingDirections(spikes.rows, sample=60, directions=12)
    helped = minimise(spikes, 0.01, 1e-9, 100, HessianConjugateGradients(directions))
    assert plain.converged
    assert helped.converged
    np.testing.assert_allclose(helped.primal, plain.primal, rtol=1e-8)
    assert helped.n_passes < 0.8 * plain.n_passes


def test_preconditioner_of_all_directions_is_the_hessian() -> None:
    rows = Rows(problem(60, 9, 3)[0])
    rng = np.random.default_rng(4)
    D = torch.from_numpy(rng.random((60, 2)) * (rng.random((60, 2)) < 0.5))
    R = torch.from_numpy(rng.normal(size=(10, 3)))
    inverse = LeadingDirections(rows, sample=60, directions=10).at(D, 0.7)
    A = with_constant(problem(60, 9, 3)[0])
    expected = [
        np.linalg.solve(np.eye(10) + 1.4 * A.T @ (D[:, [k]].numpy() * A), R[:, j]) for j, k in enumerate((1, 0, 1))
    ]
    np.testing.assert_allclose(inverse(R, torch.tensor([1, 0, 1])), np.stack(expected, 1), rtol=1e-7)


def test_estimator_preconditions_large_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = spiked(300, 60)
    plain = L2SVM(C=0.01, tol=1e-8).fit(X, y)
    monkeypatch.setattr(path_module, "PRECONDITION_FROM", 50)
    helped = L2SVM(C=0.01, tol=1e-8).fit(X, y)
    np.testing.assert_allclose(helped.objective_, plain.objective_, rtol=1e-8)
    assert helped.n_passes_ < plain.n_passes_


def test_rough_products_reach_the_same_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = spiked(400, 80)
    X = X.astype(np.float16)
    full = minimise(as_problem(X, y), 0.01, 1e-6, 100, HessianConjugateGradients())
    monkeypatch.setattr(rows_module, "ROUGH_FROM", 1)
    monkeypatch.setattr(rows_module, "_bfloat16_units", lambda device: True)
    roughly = as_problem(X, y)
    assert roughly.rows.rough == torch.bfloat16
    found = minimise(roughly, 0.01, 1e-6, 100, HessianConjugateGradients())
    assert found.converged
    np.testing.assert_allclose(found.primal, full.primal, rtol=1e-6)
    W = found.W.double().numpy()
    np.testing.assert_allclose(found.primal, primal(X.astype(np.float64), y, 0.01, W), rtol=1e-5)


def test_sums_are_the_same_bits_on_any_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BLOCK_BYTES", 100_000)
    X = problem(1000, 300, 2)[0].astype(np.float32)
    M = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    found, before = [], torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(Rows(X).adjoint(M))
    torch.set_num_threads(before)
    assert Rows(X).block < 1000
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_rough_products_are_good_to_two_digits(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    X = problem(103, 70, 2)[0].astype(np.float32)
    monkeypatch.setattr(rows_module, "ROUGH_FROM", 1)
    monkeypatch.setattr(rows_module, "_bfloat16_units", lambda device: True)
    monkeypatch.setattr(rows_module, "BLOCK_BYTES", 4 * 71 * 5)
    V = torch.randn(71, 4, generator=torch.Generator().manual_seed(0))
    D = torch.rand(103, 4, generator=torch.Generator().manual_seed(1))
    S, adjoint = Rows(X).scores_and_adjoint(V, Masked(D), rough=True)
    A = with_constant(X)
    apart = np.abs(S.numpy() - A @ V.numpy()).max()
    assert 0 < apart < 0.02 * np.abs(A @ V.numpy()).max()
    expected = A.T @ (D.double().numpy() * S.double().numpy())
    assert np.abs(adjoint.numpy() - expected).max() < 0.02 * np.abs(expected).max()


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
    S, adjoint = rows.scores_and_adjoint(torch.from_numpy(V), Masked(torch.from_numpy(weights)))
    scores, back = rows.scores(torch.from_numpy(V)), rows.adjoint(torch.from_numpy(weights))
    A = with_constant(X[index])
    np.testing.assert_allclose(S, A @ V, rtol=1e-12)
    np.testing.assert_allclose(scores, A @ V, rtol=1e-12)
    np.testing.assert_allclose(adjoint, A.T @ (weights * (A @ V)), rtol=1e-10)
    np.testing.assert_allclose(back, A.T @ weights, rtol=1e-10)


def test_work_is_shared_among_cores_in_order(threads: int) -> None:
    def piece(number: int) -> tuple[int, int, list[int]]:
        return number, torch.get_num_threads(), parallel_map(lambda n: n, [number, -number])

    assert parallel_map(piece, range(7)) == [(number, 1, [number, -number]) for number in range(7)]
    with ThreadPoolExecutor(1) as pool:  # what a new thread would use is not this thread's setting
        assert torch.get_num_threads() == pool.submit(torch.get_num_threads).result() == threads
    with pytest.raises(ZeroDivisionError):
        parallel_map(lambda n: 1 // n, [1, 0])
    assert torch.get_num_threads() == threads


MEMORY = """
import resource
import numpy as np
from repr_eval.svm import L2SVM

rng = np.random.default_rng(0)
L2SVM().fit(rng.normal(size=(50, 5)), np.arange(50) % 3)  # what libraries take at their first use
X = np.empty((24_000, 4_000), np.float16)
for start in range(0, len(X), 500):
    X[start : start + 500] = rng.standard_normal((500, 4_000), np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
L2SVM(C=1e-4, tol=0.01).fit(X, np.arange(len(X)) % 3)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / X.nbytes)
"""


@pytest.mark.slow
def test_no_copy_of_the_features_in_float32_is_made() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.8  # times X; in float32 it is 2, in float64 4
