"""Measures of one representation's spectrum: RankMe, effective rank, alpha-ReQ.

Letters: Z [n, D] the features of n images; s_1 >= s_2 >= ... >= 0 the singular values of Z itself;
v_1 >= v_2 >= ... >= 0 the eigenvalues of the covariance matrix of its columns. With Z_c, which is Z
less its column means, v_i = s_i(Z_c)^2 / (n - 1).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from repr_eval.measures.centred import Centred, pieces

RANK_ME_EPSILON = 1e-7  # for float32 features [Garrido et al. 2023]
FIRST_RANK, LAST_RANK = 6, 100  # the authors' library reptrix: numpy.arange(5, 100), counted from 0


class Spectra(NamedTuple):
    """What the measures of one representation are functions of."""

    singular_values: np.ndarray  # of Z as it is, not centred: float64 [min(n, D)], descending
    variances: np.ndarray  # eigenvalues of the columns' covariance: float64 [min(n, D)], descending


class PowerLaw(NamedTuple):
    """v_i = c * i^(-alpha), fitted over the ranks i = `first` to `last`."""

    alpha: float
    first: int  # counted from 1
    last: int
    r2: float  # coefficient of determination of log v, with the fit's weights; 1 is a perfect fit


def spectra(Z: npt.ArrayLike) -> Spectra:
    """Singular values of Z [n, D] and eigenvalues of its covariance, by Gram matrices.

    The Gram matrices are those of the smaller side, m = min(n, D).What a
    float64 Gram matrix cannot tell from 0 is 0: eigenvalues below m * 2.2e-16 of the largest, so
    singular values below about 1e-6 of the largest. Memory: a few arrays m x m of float64, and
    64 MiB. Time: about 2 n D m + 3 m^3 operations.

    Raises ValueError on what is no matrix, one row, or values that are not finite.
    """
    features = Centred(Z)
    G = features.gram()
    variances = _eigenvalues(G) / (features.n - 1)
    _add_means(G, features)
    return Spectra(np.sqrt(_eigenvalues(G)), variances)


def rank_me(Z: npt.ArrayLike) -> float:
    """RankMe of features Z [n, D]: in [1, min(n, D)], high where many directions are used alike.

        RankMe(Z) = exp(-sum_k p_k log p_k),  p_k = s_k / sum_j s_j + 1e-7

    s_k: the singular values of Z as it is, not centred. [Garrido, Balestriero, Najman & LeCun 2023,
    "RankMe: assessing the downstream performance of pretrained self-supervised representations by
    their rank", ICML] It cannot exceed n: compare only figures of equally many images (the paper
    takes 25,600). A thousand singular values of 0 add 0.16% to it, by the 1e-7 of each.

    Raises ValueError as `spectra` does, and where Z is 0.
    """
    return rank_me_of(spectra(Z).singular_values)


def rank_me_of(singular_values: npt.ArrayLike) -> float:
    """RankMe of a matrix with these singular values [min(n, D)], zeros included; see `rank_me`."""
    p = _shares(singular_values, "singular values") + RANK_ME_EPSILON
    return float(np.exp(-np.sum(p * np.log(p))))


def effective_rank(Z: npt.ArrayLike) -> float:
    """Effective rank of the covariance matrix of features Z [n, D]: in [1, min(n - 1, D)].

        erank(A) = exp(-sum_k p_k log p_k),  p_k = s_k(A) / sum_j s_j(A),  0 log 0 = 0

    [Roy & Vetterli 2007, "The effective rank: a measure of effective dimensionality", EUSIPCO],
    here of A = Cov(Z). The singular values of a covariance matrix are its eigenvalues
    v_k, so p_k is the share of the variance along the k-th principal axis.

    RankMe is the same formula (plus 1e-7) of A = Z. It differs twice: it takes singular values,
    which go with the square root of a variance and so weigh small directions more; and it does not
    centre, so that a large mean counts as one more large direction. On centred features effective
    rank is at most RankMe.

    Raises ValueError as `spectra` does, and where all rows of Z are alike.
    """
    return effective_rank_of(spectra(Z).variances)


def effective_rank_of(values: npt.ArrayLike) -> float:
    """The effective rank of a matrix with these singular values; see `effective_rank`."""
    p = _shares(values, "variances")
    p = p[p > 0]
    return float(np.exp(-np.sum(p * np.log(p))))


def alpha_req(Z: npt.ArrayLike, first: int = FIRST_RANK, last: int = LAST_RANK) -> PowerLaw:
    """alpha-ReQ: how fast the eigenvalues v_i of the covariance of features Z [n, D] decay.

        v_i ~ i^(-alpha),  i = first ... last

    [Agrawal, Mondal, Ghosh & Richards 2022, "alpha-ReQ: assessing representation quality in
    self-supervised learning by measuring eigenspectrum decay", NeurIPS] The fit is that of the
    authors' library reptrix, which follows Stringer et al. 2019: least squares of log v_i on log i
    with weights 1 / i, over the ranks 6 to 100: the first few eigenvalues and the tail do not
    follow the law. `last` ends at the last eigenvalue above 0; the result says which.

    Raises ValueError as `spectra` does, on an impossible range, and where fewer than three
    eigenvalues are left in it.
    """
    return alpha_of(spectra(Z).variances, first, last)


def alpha_of(
    variances: npt.ArrayLike, first: int = FIRST_RANK, last: int = LAST_RANK
) -> PowerLaw:  # fmt: skip
    """The power law of a covariance matrix with these eigenvalues; see `alpha_req`."""
    if not 1 <= first <= last - 2:
        raise ValueError(f"ranks {first} to {last}: needs three ranks at least, counted from 1")
    v = np.sort(np.asarray(variances, np.float64))[::-1]
    v = v[v > 0][:last]
    if len(v) < first + 2:
        needed = f"a power law from rank {first} on needs {first + 2}"
        raise ValueError(f"eigenvalues above 0: {len(v)}; {needed}")
    rank = np.arange(first, len(v) + 1)
    x, y, w = np.log(rank), np.log(v[first - 1 :]), 1 / rank
    slope, offset = np.polyfit(x, y, 1, w=np.sqrt(w))  # its weights are squared with the residuals
    left = np.sum(w * (y - slope * x - offset) ** 2)
    spread = np.sum(w * (y - np.average(y, weights=w)) ** 2)
    # Equal eigenvalues are the law with alpha 0, exactly.
    r2 = 1 - left / spread if spread > 1e-20 * np.sum(w) else 1.0
    return PowerLaw(float(-slope), first, len(v), float(r2))


def _shares(values: npt.ArrayLike, name: str) -> np.ndarray:
    """Values over their sum: float64, in [0, 1]. ValueError where that is not possible."""
    v = np.asarray(values, np.float64)
    if v.ndim != 1 or not np.isfinite(v).all() or (v < 0).any():
        raise ValueError(f"{name}: need one row of finite numbers, none below 0")
    total = v.sum()
    if total <= 0:
        raise ValueError(f"all {name} are 0: there is no rank")
    return v / total


def _eigenvalues(G: np.ndarray) -> np.ndarray:
    """Eigenvalues of a Gram matrix, descending; 0 where they are within its rounding."""
    values = np.linalg.eigvalsh(G)[::-1]
    return np.where(values > len(G) * np.finfo(np.float64).eps * values[0], values, 0.0)


def _add_means(G: np.ndarray, features: Centred) -> None:
    """Turn the centred Gram matrix G into that of the features as they are, in place.

    Adding loses no digits; taking the mean away from a Gram matrix would, where it is large.
    """
    n, mean = features.n, features.mean
    if features.d <= n:
        G += n * np.outer(mean, mean)
        return
    blocks = pieces(n, features.height(features.d))
    along = np.concatenate([features.block(rows) @ mean for rows in blocks])
    G += along[:, None] + along
    G += mean @ mean
