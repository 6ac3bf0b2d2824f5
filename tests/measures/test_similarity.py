"""Linear CKA: answers by hand, invariances, both ways of computing it, the unbiased estimate."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from repr_eval.measures import linear_cka, similarity, similarity_table


def noise(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def plain(X: np.ndarray, Y: np.ndarray) -> float:
    """Linear CKA from whole centred kernels."""
    K, L = ((Z - Z.mean(0)) @ (Z - Z.mean(0)).T for Z in (X, Y))
    return float(np.sum(K * L) / np.sqrt(np.sum(K * K) * np.sum(L * L)))


def unbiased(X: np.ndarray, Y: np.ndarray) -> float:
    """CKA by U-centred kernels of the features as they are [Szekely & Rizzo 2014, section 2]."""
    kernels = []
    n = len(X)
    for Z in (X, Y):
        K = Z @ Z.T
        np.fill_diagonal(K, 0)
        rows = K.sum(1) / (n - 2)
        K = K - rows[:, None] - rows + K.sum() / ((n - 1) * (n - 2))
        np.fill_diagonal(K, 0)
        kernels.append(K)
    K, L = kernels
    return float(np.sum(K * L) / np.sqrt(np.sum(K * K) * np.sum(L * L)))


SIZES = [(60, 5, 8), (20, 50, 30), (20, 4, 90)]  # by columns, by kernels, by kernels


@pytest.mark.parametrize(("n", "d"), [(60, 6), (20, 50)])
def test_features_rotated_scaled_and_shifted_are_the_same(n: int, d: int) -> None:
    X = noise(n, d)
    Y = 3 * X @ ortho_group.rvs(d, random_state=0) + np.arange(d)
    assert linear_cka(X, Y) == pytest.approx(1, abs=1e-12)
    assert linear_cka(X, Y, debiased=True) == pytest.approx(1, abs=1e-12)


def test_directions_that_share_nothing_have_similarity_0() -> None:
    X = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    Y = np.array([[1.0], [1.0], [-1.0], [-1.0]])
    assert linear_cka(X, Y) == 0


def test_one_of_two_directions_has_the_root_of_a_half() -> None:
    # K = xx' + yy', L = xx' with x, y orthogonal and equally long: <K, L> = s, <K, K> = 2 s, <L, L> = s.
    X = np.array([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    assert linear_cka(X, X[:, :1]) == pytest.approx(0.5**0.5)


def test_unrelated_features_have_the_bias_that_the_docstring_says_and_none_debiased() -> None:
    X, Y = noise(400, 200), noise(400, 200, 1)
    assert linear_cka(X, Y) == pytest.approx(200 / 600, abs=0.01)
    assert abs(linear_cka(X, Y, debiased=True)) < 0.02


@pytest.mark.parametrize(("n", "d", "e"), SIZES)
def test_it_is_that_of_whole_kernels(n: int, d: int, e: int) -> None:
    X = noise(n, d) + 3
    Y = np.tanh(X @ noise(d, e, 1))
    assert linear_cka(X, Y) == pytest.approx(plain(X, Y), rel=1e-10)
    assert linear_cka(Y, X) == pytest.approx(linear_cka(X, Y), rel=1e-10)
    assert linear_cka(X, Y, debiased=True) == pytest.approx(unbiased(X, Y), rel=1e-10)


@pytest.mark.parametrize(("n", "d", "e"), SIZES)
def test_blocks_give_what_the_whole_gives(n: int, d: int, e: int, monkeypatch: pytest.MonkeyPatch) -> None:
    Xs, Ys = [noise(n, d).astype(np.float16), noise(n, 3, 1)], [noise(n, e, 2) ** 3]
    whole = similarity_table(Xs, Ys, whole=True)
    monkeypatch.setattr(similarity, "KERNEL_ROWS", 7)
    monkeypatch.setattr(similarity, "COLUMNS", 2)
    for block_bytes in (1, 500, 1 << 20):
        blocks = similarity_table(Xs, Ys, whole=True, block_bytes=block_bytes)
        for values, others in zip(whole, blocks, strict=True):
            np.testing.assert_allclose(values, others, rtol=1e-10)


@pytest.mark.parametrize("n", [20, 100])
def test_the_table_has_every_pair_and_the_layers_together(n: int) -> None:
    X, Y = noise(n, 12), noise(n, 9, 1) ** 3
    Xs, Ys = [X[:, :4], X[:, 4:]], [Y[:, :2], Y[:, 2:5], Y[:, 5:]]
    for debiased in (False, True):
        table = similarity_table(Xs, Ys, whole=True)[debiased]
        expected = [[linear_cka(x, y, debiased) for y in (*Ys, Y)] for x in (*Xs, X)]
        np.testing.assert_allclose(table, expected, rtol=1e-9)
        np.testing.assert_allclose(similarity_table(Xs, Ys)[debiased], table[:2, :3], rtol=1e-12)


def test_what_does_not_vary_has_no_similarity() -> None:
    X, alike = noise(20, 3), np.full((20, 2), 0.1)
    table = similarity_table([X, alike], [X], whole=True)
    assert np.isnan(table.cka[1, 0])
    assert table.cka[2, 0] == pytest.approx(1)
    with pytest.raises(ValueError, match="X or Y has the same features for every image"):
        linear_cka(X, alike)


def test_too_few_images_for_the_unbiased_estimate() -> None:
    X = noise(3, 2)
    assert linear_cka(X, X) == pytest.approx(1)
    with pytest.raises(ValueError, match="too few images"):
        linear_cka(X, X, debiased=True)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Ys\[0\] has 19 rows and Xs\[0\] 20"):
        linear_cka(noise(20, 2), noise(19, 2))
    with pytest.raises(ValueError, match=r"Ys\[0\] holds NaN or infinity in column 0"):
        linear_cka(noise(3, 1), np.array([[1.0], [np.inf], [0.0]]))
    with pytest.raises(ValueError, match="0 and 1 matrices"):
        similarity_table([], [noise(3, 1)])
