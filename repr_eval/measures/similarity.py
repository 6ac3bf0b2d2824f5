"""How alike two representations of the same images are: linear centred kernel alignment (CKA).

Letters: X [n, D] and Y [n, E] features of the same n images, row for row, less their column means;
K = XX' and L = YY' their kernels [n, n], which are never made as a whole. <K, L> = sum_ij K_ij L_ij
= ||Y'X||_F^2 comes from blocks of kernels where n is smaller than all columns together, else from
blocks of Y'X.
"""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from repr_eval.measures.centred import BLOCK_BYTES, Centred, pieces

KERNEL_ROWS = 512  # side of a block of kernels
COLUMNS = 1024  # side of a block of Y'X


class SimilarityTable(NamedTuple):
    """Linear CKA of every first matrix with every second one; NaN where it is not defined."""

    cka: np.ndarray  # float64 [firsts, seconds], in [0, 1]
    debiased: np.ndarray  # of the same shape; around 0, and below, for unrelated features


def linear_cka(X: npt.ArrayLike, Y: npt.ArrayLike, debiased: bool = False) -> float:
    """Linear CKA of features X [n, D] and Y [n, E] of the same n images: in [0, 1].

        CKA = ||Y'X||_F^2 / (||X'X||_F ||Y'Y||_F),  X and Y less their column means

    [Kornblith, Norouzi, Lee & Hinton 2019, "Similarity of neural network representations
    revisited", ICML, section 3] 1 where Y is X rotated, scaled and shifted. Other invertible maps
    change it.

    It is biased upwards: unrelated Gaussian features of D = E dimensions give about D / (n + D),
    and not 0. `debiased` takes the unbiased estimate of HSIC [Song, Smola, Gretton, Bedo &
    Borgwardt 2012, JMLR; for CKA: Nguyen, Raghu & Kornblith 2021, ICLR] for all three terms; it
    needs four images or more:

        <K, L> becomes <K, L> - n/(n-2) sum_i K_ii L_ii + tr K tr L / ((n-1)(n-2))

    Raises ValueError on matrices of unequally many rows, values that are not finite, features that
    are the same for every image, and where n is too small for debiased terms above 0.
    """
    table = similarity_table([X], [Y])
    value = float((table.debiased if debiased else table.cka)[0, 0])
    if not np.isfinite(value):
        alike = "X or Y has the same features for every image"
        why = f"{alike}, or there are too few images" if debiased else alike
        raise ValueError(f"CKA is not defined: {why}")
    return value


def similarity_table(
    Xs: Sequence[npt.ArrayLike], Ys: Sequence[npt.ArrayLike], whole: bool = False,
    block_bytes: int = BLOCK_BYTES,
) -> SimilarityTable:  # fmt: skip
    """Linear CKA of every X of `Xs` with every Y of `Ys`, such as the layers of two networks.

    `whole` adds a last row and column: the columns of all Xs, and of all Ys, side by side. All
    pairs share one reading; a block of a matrix takes `block_bytes`. Raises ValueError as
    `linear_cka` does, but for what is not defined: that is NaN.
    """
    if not len(Xs) or not len(Ys):
        raise ValueError(f"{len(Xs)} and {len(Ys)} matrices: CKA needs one on each side")
    features = [
        Centred(Z, f"{letter}[{k}]", block_bytes)
        for letter, side in (("Xs", Xs), ("Ys", Ys))
        for k, Z in enumerate(side)
    ]
    n = features[0].n
    for one in features:
        if one.n != n:
            rows = f"{one.name} has {one.n:,} rows and Xs[0] {n:,}"
            raise ValueError(f"{rows}: CKA needs features of the same images")
    first = len(Xs)
    sums = _sums(first, len(features), whole)
    products = sums @ _products(features) @ sums.T
    correction = sums @ _correction(features) @ sums.T
    end = first + whole  # of the first side
    return SimilarityTable(
        _normalised(products)[:end, end:],
        _normalised(products + correction)[:end, end:],
    )


def _sums(first: int, count: int, whole: bool) -> np.ndarray:
    """Which matrices each result adds up: 0 or 1 [results, count].

    The matrices one by one; with `whole`, after those of each side, all of that side: the kernel of
    features side by side is the sum of their kernels, and <K, L> is linear in both.
    """
    one = np.eye(count)
    if not whole:
        return one
    return np.vstack([one[:first], one[:first].sum(0), one[first:], one[first:].sum(0)])


def _normalised(products: np.ndarray) -> np.ndarray:
    """products_ij / sqrt(products_ii products_jj); NaN where one of the two is not above 0."""
    size = np.sqrt(np.where(products.diagonal() > 0, products.diagonal(), np.nan))
    return products / size[:, None] / size


def _products(features: list[Centred]) -> np.ndarray:
    """<K_a, K_b> of all pairs: float64 [m, m]."""
    n, total = features[0].n, sum(one.d for one in features)
    varying = [k for k, one in enumerate(features) if not one.constant]
    result = np.zeros((len(features),) * 2)
    if varying:
        those = [features[k] for k in varying]
        result[np.ix_(varying, varying)] = _by_kernels(those) if n < total else _by_columns(those)
    return result


def _by_kernels(features: list[Centred]) -> np.ndarray:
    """<K_a, K_b> from blocks of the kernels, every block of all kernels at once."""
    n, products = features[0].n, np.zeros((len(features),) * 2)
    side = min(KERNEL_ROWS, *(one.height(one.d) for one in features))
    blocks = list(pieces(n, side))
    for i, rows in enumerate(blocks):
        upper = [one.block(rows) for one in features]
        kernels = np.array([(x @ x.T).ravel() for x in upper])
        products += kernels @ kernels.T
        for others in blocks[i + 1 :]:
            pairs = zip(upper, features, strict=True)
            kernels = np.array([(x @ one.block(others).T).ravel() for x, one in pairs])
            products += 2 * kernels @ kernels.T  # its transpose is a block, too
    return products


def _by_columns(features: list[Centred]) -> np.ndarray:
    """<K_a, K_b> = ||X_a' X_b||_F^2 from blocks of columns, each summed up over blocks of rows."""
    products = np.zeros((len(features),) * 2)
    blocks = [(k, columns) for k, one in enumerate(features) for columns in pieces(one.d, COLUMNS)]
    for one, other in combinations_with_replacement(blocks, 2):
        (a, left), (b, right) = one, other
        cross = np.zeros((left.stop - left.start, right.stop - right.start))
        for rows in pieces(features[a].n, features[a].height(COLUMNS)):
            cross += features[a].block(rows, left).T @ features[b].block(rows, right)
        square = np.sum(cross**2)
        products[a, b] += square
        if one != other:  # also the pair the other way round
            products[b, a] += square
    return products


def _correction(features: list[Centred]) -> np.ndarray:
    """What makes <K_a, K_b> unbiased: float64 [m, m]; NaN for fewer than four images."""
    n = features[0].n
    if n < 4:
        return np.full((len(features),) * 2, np.nan)
    squares = np.array([one.squares for one in features])
    traces = squares.sum(1)
    return np.outer(traces, traces) / ((n - 1) * (n - 2)) - n / (n - 2) * squares @ squares.T
