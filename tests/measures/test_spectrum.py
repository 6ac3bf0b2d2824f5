"""RankMe, effective rank and alpha-ReQ: answers by hand, invariances, agreement with scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import entropy, ortho_group
from sklearn.decomposition import PCA

from repr_eval.measures import (
    alpha_of,
    alpha_req,
    effective_rank,
    effective_rank_of,
    rank_me,
    rank_me_of,
    spectra,
)
from repr_eval.measures.centred import Centred

WIDE, TALL = (30, 50), (50, 30)


def noise(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def with_spectrum(values: np.ndarray, n: int) -> np.ndarray:
    """Centred features [n, D] whose centred singular values are `values`."""
    left = np.linalg.qr(np.column_stack([np.ones(n), noise((n, len(values)))]))[0][:, 1:]
    return left * values @ ortho_group.rvs(len(values), random_state=1).T


# Answers by hand.


def test_uncorrelated_features_of_one_size_have_full_rank() -> None:
    Z = np.vstack([np.eye(8), -np.eye(8)])  # covariance 2/15 times the identity; columns of length sqrt(2)
    assert rank_me(Z) == pytest.approx(8, rel=1e-4)
    assert effective_rank(Z) == pytest.approx(8, rel=1e-12)


def test_one_direction_has_rank_one() -> None:
    Z = np.outer(np.arange(-5.0, 6.0), [1.0, 2.0, -3.0])
    assert effective_rank(Z) == pytest.approx(1, abs=1e-9)
    assert rank_me(Z) == pytest.approx(1, abs=1e-5)


def test_two_directions_by_hand() -> None:
    # Singular values 3 and 1: shares 3/4 and 1/4. Variances go as 9 and 1: shares 9/10 and 1/10.
    Z = with_spectrum(np.array([3.0, 1.0]), 20)
    assert rank_me(Z) == pytest.approx(4 / 3**0.75, rel=1e-5)
    assert effective_rank(Z) == pytest.approx(10 / 9**0.9, rel=1e-10)


def test_the_mean_counts_in_rank_me_alone() -> None:
    Z = np.vstack([np.eye(8), -np.eye(8)])
    moved = Z + 1000.0
    assert effective_rank(moved) == pytest.approx(8, rel=1e-9)
    # One singular value of 1000 * sqrt(16 * 8), and seven of sqrt(2); the eighth is the mean's own.
    singular = np.array([1000 * 128**0.5, *[2**0.5] * 7])
    assert rank_me(moved) == pytest.approx(np.exp(entropy(singular)), rel=1e-4)


def test_a_thousand_zeros_add_what_the_docstring_says() -> None:
    assert rank_me_of([1.0, *[0.0] * 1000]) == pytest.approx(1.0016, abs=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.5])
def test_a_power_law_is_found(alpha: float) -> None:
    variances = 7.0 * np.arange(1, 121) ** -alpha
    found = alpha_req(with_spectrum(np.sqrt(variances), 200))
    assert found.alpha == pytest.approx(alpha, abs=1e-9)
    assert (found.first, found.last) == (6, 100)
    assert found.r2 == pytest.approx(1, abs=1e-9)


def test_alpha_is_of_its_range_alone_and_says_which() -> None:
    variances = np.arange(1, 201.0) ** -1.5
    variances[:5] *= 100
    variances[100:] /= 100
    assert alpha_of(variances).alpha == pytest.approx(1.5)
    assert alpha_of(variances, 1, 200).alpha != pytest.approx(1.5, abs=0.1)
    short = alpha_of([*np.arange(1, 41.0) ** -2.0, 0.0, 0.0])
    assert short.alpha == pytest.approx(2)
    assert short.last == 40


def test_alpha_weighs_ranks_by_their_reciprocals() -> None:
    # Three points (log i, y) with weights 1/i: the weighted least squares by the normal equations.
    values = [1.0, 0.7, 0.1]
    x, y, w = np.log([1, 2, 3]), np.log(values), 1 / np.array([1, 2, 3])
    centre = (w @ x) / w.sum()
    slope = np.sum(w * (x - centre) * y) / np.sum(w * (x - centre) ** 2)
    found = alpha_of(values, 1, 3)
    assert found.alpha == pytest.approx(-slope)
    left = y - y @ w / w.sum() - slope * (x - centre)
    assert found.r2 == pytest.approx(1 - w @ left**2 / (w @ (y - y @ w / w.sum()) ** 2))


# Other programs, and what changes nothing.


@pytest.mark.parametrize("shape", [WIDE, TALL])
def test_spectra_are_those_of_numpy_and_scikit_learn(shape: tuple[int, int]) -> None:
    Z = noise(shape) + 5 * noise((1, shape[1]), 1)
    found = spectra(Z)
    np.testing.assert_allclose(found.singular_values, np.linalg.svd(Z, compute_uv=False), rtol=1e-8)
    variances = PCA(svd_solver="full").fit(Z).explained_variance_
    np.testing.assert_allclose(found.variances, variances, rtol=1e-8, atol=1e-12)
    assert effective_rank(Z) == pytest.approx(np.exp(entropy(variances)), rel=1e-9)


def test_zeros_are_not_rounding() -> None:
    Z = noise((40, 3)) @ noise((3, 60), 1)
    found = spectra(Z)
    assert [np.count_nonzero(values) for values in found] == [3, 3]


@pytest.mark.parametrize("shape", [WIDE, TALL])
def test_rotations_scale_and_order_change_nothing(shape: tuple[int, int]) -> None:
    Z = noise(shape) ** 3 + 1
    rotated = 7 * Z[np.random.default_rng(2).permutation(shape[0])] @ ortho_group.rvs(shape[1], random_state=0)
    for measure in (rank_me, effective_rank, lambda features: alpha_req(features).alpha):
        assert measure(rotated) == pytest.approx(measure(Z), rel=1e-8)


def test_effective_rank_of_centred_features_is_below_rank_me() -> None:
    Z = noise(TALL) ** 3
    Z -= Z.mean(0)
    assert effective_rank(Z) < rank_me(Z) <= 30


@pytest.mark.parametrize("shape", [WIDE, TALL])
@pytest.mark.parametrize("block_bytes", [1, 1000, 1 << 20])
def test_blocks_give_what_the_whole_gives(shape: tuple[int, int], block_bytes: int) -> None:
    Z = noise(shape).astype(np.float16)
    exact = Z.astype(np.float64) - Z.mean(0, dtype=np.float64)
    features = Centred(Z, block_bytes=block_bytes)
    small = exact.T @ exact if shape[1] <= shape[0] else exact @ exact.T
    np.testing.assert_allclose(features.gram(), small, rtol=0, atol=1e-11)
    np.testing.assert_allclose(features.squares, (exact**2).sum(1))
    assert Z.dtype == np.float16


def test_a_memory_map_of_float16_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    Z = noise(TALL).astype(np.float16)
    np.save(tmp_path / "Z.npy", Z)
    mapped = np.load(tmp_path / "Z.npy", mmap_mode="r")
    assert rank_me(mapped) == rank_me(Z)
    assert rank_me(mapped[:, 3:9]) == rank_me(Z[:, 3:9].copy())
    assert (mapped == Z).all()


# What is refused.


def test_features_that_are_alike_have_no_rank() -> None:
    alike = np.full((50, 3), 0.1)
    assert (spectra(alike).variances == 0).all()
    with pytest.raises(ValueError, match="all variances are 0"):
        effective_rank(alike)
    with pytest.raises(ValueError, match="eigenvalues above 0: 0"):
        alpha_req(alike)
    assert rank_me(alike) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="all singular values are 0"):
        rank_me(np.zeros((5, 3)))


@pytest.mark.parametrize(
    ("Z", "message"),
    [
        (np.zeros(5), r"Z is float64 \[5\]; needs real numbers \[images, features\]"),
        (np.zeros((5, 2), complex), "Z is complex128"),
        (np.zeros((1, 4)), r"Z is float64 \[1, 4\]; needs two rows"),
        (np.array([[1.0, np.nan], [0.0, 1.0]]), "Z holds NaN or infinity in column 1"),
        (np.array([[1.0, -np.inf], [0.0, np.inf]]), "Z holds NaN or infinity in column 1"),
        (np.array([[1e200, 0.0], [0.0, 1.0]]), "Z holds values too large"),
    ],
)
def test_what_is_no_matrix_of_features_is_refused(Z: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank_me(Z)


def test_wrong_values_and_ranges_are_refused() -> None:
    with pytest.raises(ValueError, match="variances: need one row of finite numbers"):
        effective_rank_of([1.0, -0.1])
    with pytest.raises(ValueError, match="ranks 0 to 9"):
        alpha_of(np.ones(20), 0, 9)
    with pytest.raises(ValueError, match="ranks 5 to 6"):
        alpha_of(np.ones(20), 5, 6)
    with pytest.raises(ValueError, match="eigenvalues above 0: 7; a power law from rank 6 on needs 8"):
        alpha_of(np.ones(7))
