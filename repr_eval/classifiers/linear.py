"""What the linear classifiers have in common: their coefficients, and features less their mean.

With an intercept that is not penalised, subtracting the mean of the training rows changes no
answer: the intercept takes it up. A penalty on |W|^2 does not change under rotations either, so
that n rows of more than n features are as good as their n coordinates in the space that they span.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from repr_eval.svm.estimator import Matrix
from repr_eval.svm.rows import Rows, product
from repr_eval.svm.validation import not_finite

BLOCK_BYTES = 64 << 20  # of a block of rows, in float64
ROTATED_UP_TO = 8192  # rows; an eigendecomposition of more costs more than it saves


@dataclass(frozen=True)
class Linear:
    """Scores X W^T + b: coef_ float64 [K, d], intercept_ [K]; K = 1 where two classes share one."""

    classes_: np.ndarray  # the labels, sorted
    coef_: np.ndarray
    intercept_: np.ndarray
    gap: float | None = None  # relative duality gap, where there is one

    def labels_of(self, scores: np.ndarray) -> np.ndarray:
        """Labels [n] for scores [n, K]: the class with the highest, of one score by its sign."""
        winners = (scores[:, 0] > 0).astype(int) if scores.shape[1] == 1 else scores.argmax(1)
        labels: np.ndarray = self.classes_[winners]
        return labels


def classes_of(y: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The classes of labels y [n], sorted, and y as numbers from 0 on; ValueError for one class."""
    classes, numbers = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"the {len(y)} labelled images are all of class {classes[0]}; {name} needs two classes")
    return classes, numbers


class Centred:
    """Rows `index` of X [N, d] (all, if None) less their mean, in float64; X is read where it lies.

    ValueError where features hold NaN or infinity.
    """

    def __init__(self, X: Matrix, index: np.ndarray | None) -> None:
        self.rows = Rows(X, index, constant=False).in_double()
        ones = np.full((self.rows.n, 1), 1 / self.rows.n)
        self.mean = self.rows.adjoint(self.rows.like(ones)).cpu().numpy()[:, 0]
        if not np.isfinite(self.mean).all():
            raise not_finite(X, index) or ValueError("the features are too large to be summed up")

    @property
    def wide(self) -> bool:
        """Whether there are at least as many features as rows."""
        return self.rows.n <= self.rows.d

    def gram(self) -> np.ndarray:
        """Products of rows with each other, [n, n]."""
        K = np.zeros((self.rows.n, self.rows.n))
        for part in self.rows.columns():
            part = part - part.mean(0)
            K += product(part, part.T).cpu().numpy()
        return K

    def scatter(self) -> np.ndarray:
        """Products of features with each other, summed over rows, [d, d]."""
        S = np.zeros((self.rows.d, self.rows.d))
        for _, part in self.blocks():
            S += part.T @ part
        return S

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """The rows themselves, some at a time: which, and [b, d]."""
        size = max(1, BLOCK_BYTES // (8 * self.rows.d))
        for start in range(0, self.rows.n, size):
            some = np.arange(start, min(start + size, self.rows.n))
            part = self.rows.subset(some)
            columns = [column.cpu().numpy() for column in part.columns()]
            yield slice(start, start + len(some)), np.concatenate(columns, 1) - self.mean

    def adjoint(self, A: np.ndarray) -> np.ndarray:
        """X^T A [d, k] for A [n, k], less the means of its columns: then that of X has no part."""
        return self.rows.adjoint(self.rows.like(A - A.mean(0))).cpu().numpy()

    def coordinates(self) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        """Z [n, r] with Z Z^T = `gram`, and what turns weights [r, k] for Z into those for X, [d, k].

        Z = U L^(1/2) of the eigendecomposition U L U^T of the Gram matrix where that is small, else
        the rows themselves. Directions whose variance is rounding (at most n eps of the largest)
        are left out.
        """
        if not self.wide or self.rows.n > ROTATED_UP_TO:
            Z = np.empty((self.rows.n, self.rows.d))
            for rows, part in self.blocks():
                Z[rows] = part
            return Z, lambda W: W
        L, U = eigh(self.gram(), overwrite_a=True, check_finite=False)
        kept = L / max(L[-1], np.finfo(float).tiny) > self.rows.n * np.finfo(float).eps
        kept[-1] = True
        roots = np.sqrt(np.maximum(L[kept], np.finfo(float).tiny))
        U = U[:, kept]
        return U * roots, lambda W: self.adjoint(U @ (W / roots[:, None]))
