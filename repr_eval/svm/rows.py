"""A feature matrix as the solver sees it: blocks of rows, and the two products of a Newton step in one reading.

The matrix stays what it is (array, memory map, tensor; float16, bfloat16, float32 or float64); a block at a time is
brought to the compute type, float64 for float64 and float32 for the rest. `index` selects rows without a copy of them,
`constant` appends a column of ones that is never stored.
"""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

BLOCK_BYTES = 32 << 20  # of one block in the compute type


class Rows:
    """n rows of d features each, d counting the constant column if there is one."""

    def __init__(self, X: np.ndarray | Tensor, index: np.ndarray | None = None, constant: bool = True):
        self.X = _as_tensor(X)
        self.device = self.X.device
        self.index = None if index is None else torch.from_numpy(index).to(self.device)
        self.constant = constant
        self.n = len(self.X) if index is None else len(index)
        self.d = self.X.shape[1] + constant
        self.dtype = torch.float64 if self.X.dtype == torch.float64 else torch.float32
        self.block = max(1, min(self.n, BLOCK_BYTES // (self.dtype.itemsize * max(1, self.d))))

    def take(self, rows: slice | np.ndarray) -> Tensor:
        """Those rows [b, d] in the compute type, constant column included."""
        where = rows if isinstance(rows, slice) else torch.from_numpy(rows).to(self.device)
        tensor = self.X[where if self.index is None else self.index[where]].to(self.dtype)
        return torch.cat([tensor, tensor.new_ones(len(tensor), 1)], 1) if self.constant else tensor

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """(rows, features [b, d'] in the compute type, *without* the constant column), through the whole matrix."""
        buffer = torch.empty(self.block, self.d - self.constant, dtype=self.dtype, device=self.device)
        for start in range(0, self.n, self.block):
            rows = slice(start, min(start + self.block, self.n))
            tensor = self.X[rows if self.index is None else self.index[rows]]
            if tensor.dtype != self.dtype:
                tensor = buffer[: len(tensor)].copy_(tensor)
            yield rows, tensor

    def scores(self, W: Tensor) -> Tensor:
        """X W: [n, k] for W [d, k]."""
        result = torch.empty(self.n, W.shape[1], dtype=self.dtype, device=self.device)
        for rows, x in self.blocks():
            result[rows] = self._block_scores(x, W)
        return result

    def scores_and_adjoint(self, V: Tensor, weigh: Callable[[slice, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """S = X V [n, k] and X^T weigh(S) [d, k], each block of rows read once for both.

        The sum over blocks is accumulated in float64.
        """
        scores = torch.empty(self.n, V.shape[1], dtype=self.dtype, device=self.device)
        adjoint = torch.zeros(V.shape[1], self.d, dtype=torch.float64, device=self.device)
        end = self.d - self.constant
        for rows, x in self.blocks():
            s = scores[rows] = self._block_scores(x, V)
            m = weigh(rows, s).T.contiguous()
            adjoint[:, :end] += m @ x
            if self.constant:
                adjoint[:, end] += m.sum(1)
        return scores, adjoint.T.to(self.dtype)

    def adjoint(self, M: Tensor) -> Tensor:
        """X^T M: [d, k] for M [n, k]."""
        zeros = torch.zeros(self.d, M.shape[1], dtype=self.dtype, device=self.device)
        return self.scores_and_adjoint(zeros, lambda rows, _: M[rows].to(self.dtype))[1]

    def _block_scores(self, x: Tensor, W: Tensor) -> Tensor:
        return torch.addmm(W[-1], x, W[:-1]) if self.constant else x @ W


def _as_tensor(X: np.ndarray | Tensor) -> Tensor:
    """X as a tensor that shares its memory; a memory map stays one."""
    if isinstance(X, Tensor):
        return X
    if any(stride < 0 for stride in X.strides):
        X = np.ascontiguousarray(X)
    with warnings.catch_warnings():
        # torch warns of arrays that may not be written to; nothing here writes to X.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(X)
