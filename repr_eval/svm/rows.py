"""A feature matrix as the solver sees it: blocks of rows, and the two products of a Newton step in one reading.

The matrix stays what it is (array, memory map, tensor; float16, bfloat16, float32 or float64); a block at a time is
brought to the compute type, float64 for float64 and float32 for the rest. `index` selects rows without a copy of them,
`constant` appends a column of ones that is never stored.
On a CPU every core takes its own share of the blocks through both products by itself.
"""

import threading
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from repr_eval.svm.cores import on_all_cores

BLOCK_BYTES = 4 << 20  # of one block in the compute type: the second product finds it in cache
_WARNINGS = threading.Lock()  # the filters of warnings are shared by all threads
T = TypeVar("T")
Blocks = Iterator[tuple[slice, Tensor]]


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
        tensor = self._select(where).to(self.dtype)
        return torch.cat([tensor, tensor.new_ones(len(tensor), 1)], 1) if self.constant else tensor

    def scores(self, W: Tensor) -> Tensor:
        """X W: [n, k] for W [d, k]."""
        result = torch.empty(self.n, W.shape[1], dtype=self.dtype, device=self.device)

        def work(blocks: Blocks) -> None:
            for rows, x in blocks:
                result[rows] = self._block_scores(x, W)

        self._share_out(work)
        return result

    def scores_and_adjoint(self, V: Tensor, weigh: Callable[[slice, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """S = X V [n, k] and X^T weigh(S) [d, k], each block of rows read once for both.

        The sum over blocks is accumulated in float64.
        """
        scores = torch.empty(self.n, V.shape[1], dtype=self.dtype, device=self.device)
        end = self.d - self.constant

        def work(blocks: Blocks) -> Tensor:
            adjoint = torch.zeros(V.shape[1], self.d, dtype=torch.float64, device=self.device)
            for rows, x in blocks:
                s = self._block_scores(x, V)
                scores[rows] = s
                m = weigh(rows, s).T.contiguous()
                adjoint[:, :end] += _product(m, x)
                if self.constant:
                    adjoint[:, end] += m.sum(1)
            return adjoint

        return scores, sum(self._share_out(work), torch.zeros(())).T.to(self.dtype)

    def adjoint(self, M: Tensor) -> Tensor:
        """X^T M: [d, k] for M [n, k]."""
        zeros = torch.zeros(self.d, M.shape[1], dtype=self.dtype, device=self.device)
        return self.scores_and_adjoint(zeros, lambda rows, _: M[rows].to(self.dtype))[1]

    def _share_out(self, work: Callable[[Blocks], T]) -> list[T]:
        """`work` on contiguous shares of the blocks, one a core, and their results in order."""
        starts = list(range(0, self.n, self.block))
        threads = torch.get_num_threads() if self.device.type == "cpu" and len(starts) > 1 else 1
        shares = [part.tolist() for part in np.array_split(np.array(starts), min(threads, len(starts)))]
        return on_all_cores(lambda share: work(self._blocks(share)), shares)

    def _blocks(self, starts: list[int]) -> Blocks:
        """(rows, features [b, d'] in the compute type, *without* the constant column) from each of `starts`."""
        buffer = torch.empty(self.block, self.d - self.constant, dtype=self.dtype, device=self.device)
        for start in starts:
            rows = slice(start, min(start + self.block, self.n))
            tensor = self._select(rows)
            if tensor.dtype != self.dtype:
                tensor = buffer[: len(tensor)].copy_(tensor)
            yield rows, tensor

    def _select(self, rows: slice | Tensor) -> Tensor:
        """Those rows of X as they are stored, without the constant column."""
        if self.index is None:
            return self.X[rows]
        # Copies whole rows; X[tensor] would go element by element, several times slower in float16.
        return self.X.index_select(0, self.index[rows])

    def _block_scores(self, x: Tensor, W: Tensor) -> Tensor:
        return _product(x, W[:-1]) + W[-1] if self.constant else _product(x, W)


def _product(A: Tensor, B: Tensor) -> Tensor:
    """A B. On a CPU by NumPy's BLAS: with ten columns it is two to three times as fast as torch's."""
    if A.device.type == "cpu":
        with np.errstate(over="ignore", invalid="ignore"):  # who reads the objective sees what is not finite
            return torch.from_numpy(A.numpy() @ B.numpy())
    return A @ B


def _as_tensor(X: np.ndarray | Tensor) -> Tensor:
    """X as a tensor that shares its memory; a memory map stays one."""
    if isinstance(X, Tensor):
        return X
    if any(stride < 0 for stride in X.strides):
        X = np.ascontiguousarray(X)
    with _WARNINGS, warnings.catch_warnings():
        # torch warns of arrays that may not be written to; nothing here writes to X.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(X)
