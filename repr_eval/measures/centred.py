"""A feature matrix less its column means, in float64, a block at a time."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

BLOCK_BYTES = 64 << 20  # of a block in float64
# Share of a matrix's squared size below which what is left without its column means is rounding.
RESOLUTION = 1e-26


class Centred:
    """Features [n, D] with their column means float64 [D]; `block` gives parts without the means.

    Raises ValueError on what is no matrix of at least two rows of real, finite numbers.
    """

    def __init__(
        self, Z: npt.ArrayLike, name: str = "Z", block_bytes: int = BLOCK_BYTES
    ):  # fmt: skip
        self.Z = Z if isinstance(Z, np.ndarray) else np.asarray(Z)
        self.name, self.block_bytes = name, block_bytes
        what = f"{name} is {self.Z.dtype} {list(self.Z.shape)}"
        if self.Z.ndim != 2 or self.Z.dtype.kind not in "fiub":
            raise ValueError(f"{what}; needs real numbers [images, features]")
        self.n, self.d = self.Z.shape
        if self.n < 2 or self.d < 1:
            raise ValueError(f"{what}; needs two rows and one column at least")
        total = np.zeros(self.d)
        with np.errstate(invalid="ignore", over="ignore"):  # refused next
            for rows in pieces(self.n, self.height(self.d)):
                total += self.Z[rows].sum(0, dtype=np.float64)
        if not np.isfinite(total).all():
            column = np.isfinite(total).argmin()
            raise ValueError(f"{name} holds NaN or infinity in column {column}")
        self.mean = total / self.n
        self._find_squares()

    def _find_squares(self) -> None:
        """The squared lengths float64 [n] of the centred rows, and their sum."""
        self.squares = np.empty(self.n)
        with np.errstate(over="ignore"):  # refused next
            for rows in pieces(self.n, self.height(self.d)):
                block = self.block(rows)
                self.squares[rows] = np.einsum("ij,ij->i", block, block)
            self.trace = float(self.squares.sum())
            size = self.n * float(self.mean @ self.mean)
        if not np.isfinite(self.trace + size):
            raise ValueError(f"{self.name} holds values too large to be squared in float64")
        if self.trace <= RESOLUTION * size:
            self.squares[:], self.trace = 0.0, 0.0

    @property
    def constant(self) -> bool:
        """Whether all rows are alike."""
        return self.trace == 0

    def height(self, width: int) -> int:
        """How many rows (or columns) of this width make a block."""
        return max(1, self.block_bytes // (8 * width))

    def block(self, rows: slice, columns: slice = slice(None)) -> np.ndarray:
        """Float64 [rows, columns] without the column means: a copy."""
        block = self.Z[rows, columns].astype(np.float64)
        block -= self.mean[columns]
        return block

    def gram(self) -> np.ndarray:
        """The centred Gram matrix float64 of the smaller side: X'X [D, D], or XX' [n, n]."""
        G = np.zeros((min(self.n, self.d),) * 2)
        if self.constant:
            return G
        if self.d <= self.n:
            for rows in pieces(self.n, self.height(self.d)):
                block = self.block(rows)
                G += block.T @ block
        else:
            for columns in pieces(self.d, self.height(self.n)):
                block = self.block(slice(None), columns)
                G += block @ block.T
        return G


def pieces(n: int, size: int) -> Iterator[slice]:
    """0 to `n` in slices of `size`."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
