"""The compiled products against float64, and against those of NumPy and torch: every type, shape, weighing and tail."""

import subprocess
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np
import pytest
import torch
from svm_problems import problem

from repr_eval.svm import L2SVM, fit_path, products
from repr_eval.svm import rows as rows_module
from repr_eval.svm.hinge import Hinge, Masked
from repr_eval.svm.rows import Rows

needs_compiled = pytest.mark.skipif(products.library() is None, reason="installed without a compiler, or another CPU")
TYPES = [torch.float16, torch.bfloat16, torch.float32]


def matrices(n: int, d: int, k: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(n, d, generator=generator).to(dtype)
    V = torch.randn(d + 1, k, generator=generator) / d**0.5
    return X, V, torch.rand(n, k, generator=generator), torch.randn(n, k, generator=generator).sign()


@needs_compiled
@pytest.mark.parametrize("rough", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("n", "d", "k"), [(1, 1, 1), (127, 31, 10), (300, 545, 3), (130, 64, 25), (5, 1100, 12), (9, 90, 128)]
)
def test_products_are_right(n: int, d: int, k: int, dtype: torch.dtype, rough: bool) -> None:
    X, V, U, Y = matrices(n, d, k, dtype)
    if rough and not products.suits(X, k, rough):
        pytest.skip("no bfloat16 units")
    A = torch.cat([X, torch.ones(n, 1)], 1).double()
    S = A @ V.double()
    tolerance = 0.02 if rough else 1e-5
    scratch = products.Scratch()  # used again, with what the product before left in it
    for weighing, M in ((Masked(U), U * S), (Hinge(U, Y), U * Y * (1 - Y * S).clamp_min(0))):
        found, adjoint = products.scores_and_adjoint(
            X, None, V, weighing, True, [slice(0, n // 2), slice(n // 2, n)], scratch, rough
        )
        assert (found - S).abs().max() <= tolerance * S.abs().max()
        expected = A.T @ M
        assert (adjoint - expected).abs().max() <= tolerance * (1 + expected.abs().max())


@needs_compiled
def test_rows_by_index_and_apart_in_memory() -> None:
    X, V, U, _ = matrices(200, 70, 4, torch.float16)
    wide = torch.zeros(200, 99, dtype=torch.float16)
    wide[:, 7:77] = X
    index = np.random.default_rng(0).permutation(200)[:150]
    there, here = Rows(wide[:, 7:77], index), Rows(X.double())
    assert there._compiled(4)
    A = torch.cat([X, torch.ones(200, 1)], 1).double()[index]
    np.testing.assert_allclose(there.scores(V), A @ V.double(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(there.adjoint(U[:150]), A.T @ U[:150].double(), rtol=0, atol=1e-4)
    assert not here._compiled(4)


def test_without_them_the_solution_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = problem(400, 60, 3)
    X = X.astype(np.float16)
    first = L2SVM(C=0.01, tol=1e-6).fit(X, y)
    monkeypatch.setattr(products, "suits", lambda X, k, rough=False: False)
    second = L2SVM(C=0.01, tol=1e-6).fit(X, y)
    np.testing.assert_allclose(first.coef_, second.coef_, atol=2e-4)
    np.testing.assert_allclose(first.primal_, second.primal_, rtol=1e-6)


@needs_compiled
def test_what_they_do_not_take_goes_the_other_way() -> None:
    X, *_ = matrices(50, 20, 2, torch.float32)
    assert products.suits(X, 2)
    assert not products.suits(X.T.contiguous().T, 2)  # by columns
    assert not products.suits(X.double(), 2)
    assert not products.suits(X, 1000)


def test_rows_may_be_selected_as_numpy_selects_them() -> None:
    X, y = problem(300, 40, 3)
    X = X.astype(np.float16)
    mask = np.arange(300) % 3 > 0
    numbers = np.flatnonzero(mask)
    expected = L2SVM(C=0.1, tol=1e-5).fit(X[mask], y[mask])
    for index in (mask, numbers, numbers.astype(np.int32), numbers - 300):
        (found,) = fit_path(X, y, [0.1], tol=1e-5, index=index)
        np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-4)


@needs_compiled
@pytest.mark.parametrize("rough", [False, True])
def test_sums_are_the_same_bits_on_any_number_of_cores_in_memory_used_before(
    rough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "SHARE_ROWS", 40)
    monkeypatch.setattr(rows_module, "ROUGH_FROM", 1)
    rows = Rows(matrices(333, 90, 1, torch.float16)[0])
    if rough and rows.rough == rows.dtype:
        pytest.skip("no bfloat16 units")
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            products = []
            for k in (25, 3, 128):
                _, V, U, _ = matrices(333, 90, k, torch.float16)
                products += [rows.scores_and_adjoint(V, Masked(U), rough)[1], rows.adjoint(U)]
            found.append(products)
    finally:
        torch.set_num_threads(before)
    for others in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], others, strict=True))


@needs_compiled
def test_they_do_not_depend_on_torchs_default_type() -> None:
    X, V, U, _ = matrices(64, 40, 3, torch.float16)
    before = products.scores_and_adjoint(X, None, V, Masked(U), True, [slice(0, 64)], products.Scratch())
    torch.set_default_dtype(torch.float64)
    try:
        after = products.scores_and_adjoint(X, None, V, Masked(U), True, [slice(0, 64)], products.Scratch())
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@needs_compiled
def test_a_library_without_products_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an ARM machine with a compiler gets: the file is there, and has nothing but the answer no."""
    source, built = tmp_path / "stub.c", tmp_path / f"_products{EXTENSION_SUFFIXES[0]}"
    source.write_text("int products_at_hand(int rough) { return 0; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(built), str(source)], check=True)
    monkeypatch.setattr(products, "__file__", str(tmp_path / "products.py"))
    assert products.library.__wrapped__() is None
