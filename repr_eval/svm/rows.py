"""A feature matrix as the solver sees it: blocks of rows, and the two products of a Newton step in one reading.

The matrix stays what it is (array, memory map, tensor; any float type, small integers); a block at a time is brought
to the compute type, float64 for float64 and wide integers and float32 for the rest. `index` selects rows without a copy
of them, `constant` appends a column of ones that is never stored.
On a CPU every core takes its own share of the blocks through both products by itself.

Products may be `rough`: in bfloat16, summed up in float32, where the machine has units for it. They cost half, are good
to three digits, and serve where only the direction of a step is at stake.
"""

import copy
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from repr_eval.svm.cores import on_all_cores

BLOCK_BYTES = 8 << 20  # of one block in float32: the second product finds it in cache
COLUMNS = 4096  # at a time, where X is read by columns
GPU_BLOCK_BYTES = 256 << 20
FEW_COLUMNS = 16
ROUGH_FROM = 1 << 22  # numbers in X below which rough products save nothing worth having
_WARNINGS = threading.Lock()  # the filters of warnings are shared by all threads
T = TypeVar("T")
Blocks = Iterator[tuple[slice, Tensor]]


class NotFinite(ArithmeticError):
    """X holds NaN, infinity or values whose squares are too large."""


class Rows:
    """n rows of d features each, d counting the constant column if there is one."""

    def __init__(self, X: np.ndarray | Tensor, index: np.ndarray | None = None, constant: bool = True):
        self.X = _as_tensor(X)
        self.device = self.X.device
        self.index = None if index is None else torch.from_numpy(np.ascontiguousarray(index)).to(self.device)
        self.constant = constant
        self.n = len(self.X) if index is None else len(index)
        self.d = self.X.shape[1] + constant
        wide = self.X.dtype in (torch.float64, torch.int32, torch.int64)
        self.dtype = torch.float64 if wide else torch.float32
        self.rough = torch.bfloat16 if self._rough_pays() else self.dtype
        size = BLOCK_BYTES if self.device.type == "cpu" else GPU_BLOCK_BYTES
        self.block = max(1, min(self.n, size // (self.dtype.itemsize * max(1, self.d))))

    def in_double(self) -> "Rows":
        """The same rows, computed with in float64."""
        double = copy.copy(self)
        double.dtype = double.rough = torch.float64
        double.block = max(1, self.block * self.dtype.itemsize // 8)
        return double

    def like(self, W: np.ndarray) -> Tensor:
        """W as a tensor of the compute type, where X is."""
        return torch.from_numpy(np.ascontiguousarray(W)).to(dtype=self.dtype, device=self.device)

    def subset(self, chosen: np.ndarray) -> "Rows":
        """Rows `chosen` of these."""
        index = torch.from_numpy(chosen).to(self.device)
        part = copy.copy(self)
        part.index = index if self.index is None else self.index[index]
        part.n = len(chosen)
        return part

    def columns(self) -> Iterator[Tensor]:
        """All columns [n, b] in the compute type, some at a time, the constant one the last of all."""
        for start in range(0, self.d, COLUMNS):
            part = self.X[:, start : start + COLUMNS]
            part = (part if self.index is None else part.index_select(0, self.index)).to(self.dtype)
            yield (
                torch.cat([part, part.new_ones(self.n, 1)], 1) if self.constant and start + COLUMNS >= self.d else part
            )

    def gram(self) -> Tensor:
        """X X^T [n, n] in the compute type."""
        K = torch.zeros(self.n, self.n, dtype=self.dtype, device=self.device)
        for part in self.columns():
            K += product(part, part.T)
        return K

    def scores(self, W: Tensor, rough: bool = False) -> Tensor:
        """X W: [n, k] for W [d, k]."""
        dtype = self.rough if rough else self.dtype
        scores = torch.empty(self.n, W.shape[1], dtype=self.dtype, device=self.device)
        forward = self._forward(W, dtype)
        # Weights of many columns do not stay in cache beside a block: the fewer blocks, the better.
        block = self.block * max(1, min(4, W.shape[1] // 64))

        def work(blocks: Blocks) -> None:
            for rows, x in blocks:
                scores[rows] = forward(x)

        self._share_out(work, dtype, block)
        return scores

    def scores_and_adjoint(
        self, V: Tensor, weigh: Callable[[slice, Tensor], Tensor], rough: bool = False
    ) -> tuple[Tensor, Tensor]:
        """S = X V [n, k] and X^T weigh(S) [d, k], each block of rows read once for both.

        The sum over blocks is accumulated in float64, or in float32 where it is `rough`.
        """
        dtype = self.rough if rough else self.dtype
        scores = torch.empty(self.n, V.shape[1], dtype=self.dtype, device=self.device)
        forward = self._forward(V, dtype)

        def weighed(rows: slice, x: Tensor) -> Tensor:
            scores[rows] = s = forward(x)
            return weigh(rows, s)

        return scores, self._adjoint(weighed, V.shape[1], dtype)

    def adjoint(self, M: Tensor) -> Tensor:
        """X^T M: [d, k] for M [n, k]."""
        M = M.to(self.dtype)
        return self._adjoint(lambda rows, _: M[rows], M.shape[1], self.dtype)

    def _forward(self, W: Tensor, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """What gives the scores [b, k] of a block."""
        if dtype == self.dtype:
            return lambda x: product(x, W[:-1]) + W[-1] if self.constant else product(x, W)
        weights, constant = W[: self.d - self.constant].T.to(dtype).contiguous(), W[-1] if self.constant else 0.0
        if len(weights) > FEW_COLUMNS:
            return lambda x: (x @ weights.T).to(self.dtype) + constant
        return lambda x: (weights @ x.T).T.to(self.dtype) + constant  # in this order quicker

    def _adjoint(self, weighed: Callable[[slice, Tensor], Tensor], k: int, dtype: torch.dtype) -> Tensor:
        """Sum over blocks of x^T weighed(rows, x): [d, k]."""
        end = self.d - self.constant
        sums = torch.float64 if dtype == self.dtype else self.dtype

        def work(blocks: Blocks) -> Tensor:
            total = torch.zeros(k, self.d, dtype=sums, device=self.device)
            for rows, x in blocks:
                m = weighed(rows, x).T.contiguous()
                total[:, :end] += product(m.to(dtype), x)
                if self.constant:
                    total[:, end] += m.sum(1)
            return total

        return sum(self._share_out(work, dtype), torch.zeros((), device=self.device)).T.to(self.dtype)

    def _share_out(self, work: Callable[[Blocks], T], dtype: torch.dtype, block: int | None = None) -> list[T]:
        """`work` on contiguous shares of the blocks, one a core, and their results in order."""
        block = block or self.block
        starts = list(range(0, self.n, block))
        threads = torch.get_num_threads() if self.device.type == "cpu" and len(starts) > 1 else 1
        shares = [part.tolist() for part in np.array_split(np.array(starts), min(threads, len(starts)))]
        return on_all_cores(lambda share: work(self._blocks(share, block, dtype)), shares)

    def _blocks(self, starts: list[int], block: int, dtype: torch.dtype) -> Blocks:
        """(rows, features [b, d'] in `dtype`, *without* the constant column) from each of `starts`."""
        shape = min(block, self.n), self.d - self.constant
        steps = [self.dtype] if dtype == self.dtype else [self.dtype, dtype]  # float16 -> bfloat16 in one is slow
        buffers = [torch.empty(shape, dtype=step, device=self.device) for step in steps]
        for start in starts:
            rows = slice(start, min(start + block, self.n))
            tensor = self._select(rows)
            for buffer in buffers:
                if tensor.dtype not in (dtype, buffer.dtype):
                    tensor = buffer[: len(tensor)].copy_(tensor)
            yield rows, tensor

    def _select(self, rows: slice | Tensor) -> Tensor:
        """Those rows of X as they are stored, without the constant column."""
        if self.index is None:
            return self.X[rows]
        # Copies whole rows; X[tensor] would go element by element, several times slower in float16.
        return self.X.index_select(0, self.index[rows])

    def _rough_pays(self) -> bool:
        return self.dtype == torch.float32 and self.n * self.d >= ROUGH_FROM and _bfloat16_units(self.device.type)


@cache
def _bfloat16_units(device: str) -> bool:
    """Whether products of bfloat16 are faster than those of float32 there."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def product(A: Tensor, B: Tensor) -> Tensor:
    """A B. On a CPU by NumPy's BLAS: with ten columns it is two to three times as fast as torch's."""
    if A.device.type == "cpu" and A.dtype != torch.bfloat16:
        with np.errstate(over="ignore", invalid="ignore"):  # who reads the objective sees what is not finite
            return torch.from_numpy(A.numpy() @ B.numpy())
    return A @ B


def _as_tensor(X: np.ndarray | Tensor) -> Tensor:
    """X as a tensor that shares its memory; a memory map stays one."""
    if isinstance(X, Tensor):
        return X
    if any(stride < 0 or stride % X.itemsize for stride in X.strides):
        X = np.ascontiguousarray(X)
    with _WARNINGS, warnings.catch_warnings():
        # torch warns of arrays that may not be written to; nothing here writes to X.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(X)
