"""For fewer rows than columns: the same problem in as many dimensions as there are rows.

The optimal w is a combination X^T b of the rows, so only inner products matter. With the Gram matrix K = X X^T = L L^T,
the n x n matrix L has the same inner products as X and may stand in its place: w' found on L gives the same
objective, scores and certificate, and w = X^T L^-T w' is the solution in the features. One Gram matrix serves every C,
every class and every subset of the rows.
"""

import torch
from torch import Tensor

from repr_eval.svm.rows import Rows

# On the diagonal before the factorisation, relative to its mean: makes duplicated rows harmless. It raises the
# objective by the fraction 2C JITTER |x|^2 at most.
JITTER = 1e-12


class FewRows:
    """`rows` of n < d, and the n x n matrix `reduced`, float64, that stands in for them."""

    def __init__(self, rows: Rows):
        self.rows = rows
        # Rounded to float32, the Gram matrix of rows that span too few dimensions need not be positive definite.
        for precision in dict.fromkeys((rows.dtype, torch.float64)):
            self.gram = gram(rows, precision)
            if not torch.isfinite(self.gram).all():
                raise ValueError("Input X contains NaN or infinity.")
            self.gram.diagonal().add_(JITTER * self.gram.diagonal().mean())
            self.factor, failed = torch.linalg.cholesky_ex(self.gram)  # float64: squaring X has squared its condition
            if not failed:
                break
        else:
            raise ValueError("the rows of X are too alike, or their values too large, for float64 to tell them apart")
        self.reduced = Rows(self.factor, constant=False)

    def lift(self, w: Tensor) -> Tensor:
        """Weights [n, k] found on `reduced` -> weights [d, k] of the features."""
        b = torch.linalg.solve_triangular(self.factor.T, w.double(), upper=True)
        return self.rows.adjoint(b)


def gram(rows: Rows, precision: torch.dtype) -> Tensor:
    """X X^T, float64 [n, n], the constant column included; products in `precision`, in blocks of columns."""
    X = rows.take(slice(None))
    K = torch.zeros(rows.n, rows.n, dtype=torch.float64, device=rows.device)
    for start in range(0, rows.d, 4096):
        part = X[:, start : start + 4096].to(precision)
        K += part @ part.T
    return K
