"""A feature matrix as the solver sees it: blocks of rows, and the two products of a Newton step in one reading.

The matrix stays what it is (array, memory map, tensor; any float type, small integers); a block at a time is brought
to the compute type, float64 for float64 and wide integers and float32 for the rest. `index` selects rows without a copy
of them, `constant` appends a column of ones that is never stored.
On a CPU the cores take shares of the blocks, each through both products by itself.

Products may be `rough`: in bfloat16, summed up in float32, where the machine has units for it. They cost half, are good
to three digits, and serve where only the direction of a step is at stake.
"""

import copy
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from repr_eval.svm import products
from repr_eval.svm.hinge import Hinge, Masked
from repr_eval.system.parallel import parallel_map

BLOCK_BYTES = 4 << 20  # of a piece of a block, in the compute type: what a core keeps close
TILE = 7168  # columns of a piece
COLUMNS_AT_ONCE = 4096  # at a time, where X is read by columns
SHARES = 8  # of the blocks
SHARE_ROWS = 2048  # fewer of them are hardly worth a share's own sums
GPU_BLOCK_BYTES = 256 << 20
FEW_COLUMNS = 16
ROUGH_FROM = 1 << 22  # numbers in X below which rough products save nothing worth having
_WARNINGS = threading.Lock()  # the filters of warnings are shared by all threads
T = TypeVar("T")


class Tile:
    """Brings pieces of X to the type `to` of a product, in memory that is used again and stays in cache."""

    def __init__(self, full: torch.dtype, to: torch.dtype, device: torch.device):
        self.to = to
        # By way of the full type: float16 -> bfloat16 at once is slow.
        self.buffers = [torch.empty(0, dtype=dtype, device=device) for dtype in dict.fromkeys((full, to))]

    def __call__(self, x: Tensor) -> Tensor:
        for number, buffer in enumerate(self.buffers):
            if x.dtype not in (self.to, buffer.dtype):
                if buffer.numel() < x.numel():
                    self.buffers[number] = buffer = buffer.new_empty(x.numel())
                x = buffer[: x.numel()].view(x.shape).copy_(x)
        return x


class NotFinite(ArithmeticError):
    """X holds NaN, infinity or values whose squares are too large."""


class Rows:
    """n rows of d features each, d counting the constant column if there is one."""

    def __init__(self, X: np.ndarray | Tensor, index: np.ndarray | None = None, constant: bool = True):
        self.X = _as_tensor(X)
        self.device = self.X.device
        self.index = None if index is None else torch.from_numpy(np.ascontiguousarray(index, np.int64)).to(self.device)
        self.constant = constant
        self.n = len(self.X) if index is None else len(index)
        self.d = self.X.shape[1] + constant
        wide = self.X.dtype in (torch.float64, torch.int32, torch.int64)
        self.dtype = torch.float64 if wide else torch.float32
        self.rough = torch.bfloat16 if self._rough_pays() else self.dtype
        size = BLOCK_BYTES if self.device.type == "cpu" else GPU_BLOCK_BYTES
        self.scratch = products.Scratch()
        self.block = max(1, min(self.n, size // (self.dtype.itemsize * min(TILE, self.d))))

    def in_double(self) -> "Rows":
        """The same rows, computed with in float64."""
        double = copy.copy(self)
        double.dtype = double.rough = torch.float64
        double.block = max(1, self.block * self.dtype.itemsize // 8)
        return double

    def like(self, W: np.ndarray) -> Tensor:
        """W as a tensor of the compute type, where X is."""
        return torch.from_numpy(np.ascontiguousarray(W)).to(dtype=self.dtype, device=self.device)

    def subset(self, selected: np.ndarray) -> "Rows":
        """Rows `chosen` of these."""
        index = torch.from_numpy(selected).to(self.device)
        part = copy.copy(self)
        part.index = index if self.index is None else self.index[index]
        part.n = len(selected)
        return part

    def columns(self) -> Iterator[Tensor]:
        """All columns [n, b] in the compute type, some at a time, the constant one the last of all."""
        for start in range(0, self.d, COLUMNS_AT_ONCE):
            part = self.X[:, start : start + COLUMNS_AT_ONCE]
            part = (part if self.index is None else part.index_select(0, self.index)).to(self.dtype)
            last = start + COLUMNS_AT_ONCE >= self.d
            yield torch.cat([part, part.new_ones(self.n, 1)], 1) if last and self.constant else part

    def gram(self) -> Tensor:
        """X X^T [n, n] in the compute type."""
        K = torch.zeros(self.n, self.n, dtype=self.dtype, device=self.device)
        for part in self.columns():
            K += product(part, part.T)
        return K

    def scores(self, W: Tensor, rough: bool = False) -> Tensor:
        """X W: [n, k] for W [d, k]."""
        if self._compiled(W.shape[1]):
            return products.scores(self.X, self.index, W, self.constant, self._shares(), self.scratch)
        dtype = self.rough if rough else self.dtype
        scores = torch.empty(self.n, W.shape[1], dtype=self.dtype, device=self.device)
        # Many columns of weights do not stay in cache: then the fewer pieces, the better.
        wide = W.shape[1] > FEW_COLUMNS
        forward = self._forward(W, dtype, self.d if wide else TILE)

        def work(rows: slice, tile: Tile, _: None) -> None:
            scores[rows] = forward(self._select(rows), tile)

        self._share_out(work, lambda: None, dtype, 4 if wide else 1)
        return scores

    def scores_and_adjoint(self, V: Tensor, weighing: Masked | Hinge, rough: bool = False) -> tuple[Tensor, Tensor]:
        """S = X V [n, k] and X^T weighing(S) [d, k], each block of rows read once for both.

        The sum over blocks is accumulated in float64, or in float32 where it is `rough`.
        """
        rough = rough and self.rough != self.dtype
        if self._compiled(V.shape[1], rough):
            return products.scores_and_adjoint(
                self.X, self.index, V, weighing, self.constant, self._shares(), self.scratch, rough
            )
        dtype = self.rough if rough else self.dtype
        scores = torch.empty(self.n, V.shape[1], dtype=self.dtype, device=self.device)
        forward = self._forward(V, dtype, TILE)

        def weighed(rows: slice, x: Tensor, tile: Tile) -> Tensor:
            scores[rows] = s = forward(x, tile)
            return weighing(rows, s)

        return scores, self._adjoint(weighed, V.shape[1], dtype)

    def adjoint(self, M: Tensor) -> Tensor:
        """X^T M: [d, k] for M [n, k]."""
        M = M.to(self.dtype)
        if self._compiled(M.shape[1]):
            return products.adjoint(self.X, self.index, M, self.constant, self._shares(), self.scratch)
        return self._adjoint(lambda rows, *_: M[rows], M.shape[1], self.dtype)

    def _forward(self, W: Tensor, dtype: torch.dtype, width: int) -> Callable[[Tensor, Tile], Tensor]:
        """What gives the scores [b, k] of a block, from `width` columns at a time."""
        weights = W[: self.d - self.constant].to(dtype)
        if width == TILE and dtype == torch.bfloat16:
            weights = weights.T.contiguous().T  # in this order the product of few columns is the quickest
        constant = W[-1] if self.constant else torch.zeros_like(W[-1])

        def forward(x: Tensor, tile: Tile) -> Tensor:
            s = constant.expand(len(x), -1)
            for start in range(0, x.shape[1], width):
                part, w = tile(x[:, start : start + width]), weights[start : start + width]
                s = s + (product(w.T, part.T).T if width == TILE and dtype == torch.bfloat16 else product(part, w))
            return s

        return forward

    def _adjoint(self, weighed: Callable[[slice, Tensor, Tile], Tensor], k: int, dtype: torch.dtype) -> Tensor:
        """Sum over blocks x of x^T weighed(rows, x): [d, k]."""
        sums = torch.float64 if dtype == self.dtype else self.dtype

        def zeros() -> Tensor:
            return torch.zeros(k, self.d, dtype=sums, device=self.device)

        def work(rows: slice, tile: Tile, total: Tensor) -> None:
            x = self._select(rows)
            m = weighed(rows, x, tile).T.contiguous()
            rough = m.to(dtype)
            for start in range(0, x.shape[1], TILE):
                part = tile(x[:, start : start + TILE])
                total[:, start : start + part.shape[1]] += product(rough, part)
            if self.constant:
                total[:, -1] += m.sum(1)

        return sum(self._share_out(work, zeros, dtype), zeros()).T.to(self.dtype)

    def _share_out(
        self, work: Callable[[slice, Tile, T], None], begin: Callable[[], T], dtype: torch.dtype, blocks: int = 1
    ) -> list[T]:
        """`work` on all rows, `blocks` blocks at a time, in contiguous shares that the cores take as they come free.

        Returns for every share, in order, what `begin` made for it and `work` had at hand. There are as many shares
        whatever the number of cores, so that sums over them come out the same.
        """
        block = blocks * self.block
        starts = np.arange(0, self.n, block)
        shares = min(SHARES if self.device.type == "cpu" else 1, len(starts))

        def share(starts: np.ndarray) -> T:
            tile, result = Tile(self.dtype, dtype, self.device), begin()
            for start in starts.tolist():
                work(slice(start, min(start + block, self.n)), tile, result)
            return result

        return parallel_map(share, np.array_split(starts, shares))

    def _compiled(self, k: int, rough: bool = False) -> bool:
        return self.dtype == torch.float32 and products.suits(self.X, k, rough)

    def _shares(self) -> list[slice]:
        """All rows, in as many pieces whatever the number of cores, so that sums over them come out the same."""
        fit = min(SHARES, max(2, self.n // SHARE_ROWS))
        shares = min(self.n, 1 << fit.bit_length() - 1)  # a power of two: even on 2, 4 or 8 cores
        ends = np.linspace(0, self.n, shares + 1).astype(int).tolist()
        return [slice(start, end) for start, end in pairwise(ends)]

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
    capabilities = torch.cpu.get_capabilities() if device == "cpu" else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


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
