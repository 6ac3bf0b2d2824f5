"""For fewer rows than columns: the same problem in as many dimensions as there are rows.

The optimal w is a combination X^T b of the rows, so only inner products matter. With the Gram matrix K = X X^T = L L^T,
the n x n matrix L has the same inner products as X and may stand in its place: w' found on L gives the same
objective, scores and certificate, and w = X^T L^-T w' is the solution in the features. One Gram matrix serves every C,
every class and every subset of the rows.
"""

import torch
from torch import Tensor

from repr_eval.svm.rows import Rows

# On the diagonal before the factorisation, relative to its mean: makes duplicated rows harmless. It changes |w|^2 by
# this much of |b|^2, far below any tolerance of the solver.
JITTER = {torch.float32: 1e-7, torch.float64: 1e-12}


class FewRows:
    """`rows` of n < d, and the n x n matrix `reduced` that stands in for them."""

    def __init__(self, rows: Rows):
        self.rows = rows
        self.gram = gram(rows)
        self.gram.diagonal().add_(JITTER[rows.dtype] * self.gram.diagonal().mean())
        self.factor = torch.linalg.cholesky(self.gram)  # float64: squaring X has squared its condition
        self.reduced = Rows(self.factor.to(rows.dtype), constant=False)

    def lift(self, w: Tensor) -> Tensor:
        """Weights [n, k] found on `reduced` -> weights [d, k] of the features."""
        b = torch.linalg.solve_triangular(self.factor.T, w.double(), upper=True)
        return self.rows.adjoint(b)


def gram(rows: Rows) -> Tensor:
    """X X^T, float64 [n, n], the constant column included; products in the compute type, in blocks of columns."""
    X = rows.take(slice(None))
    K = torch.zeros(rows.n, rows.n, dtype=torch.float64, device=rows.device)
    for start in range(0, rows.d, 4096):
        part = X[:, start : start + 4096]
        K += part @ part.T
    return K
