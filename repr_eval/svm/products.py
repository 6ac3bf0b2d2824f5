"""The two products of a Newton step as compiled code (products.c): for a few columns, two to five times BLAS.

Part of the package where it was installed with a C compiler, on x86-64 processors with AVX2 or AVX-512; elsewhere the
same products are made by NumPy and torch in `rows`.
"""

import ctypes
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from repr_eval.svm.hinge import Hinge, Masked
from repr_eval.system.parallel import parallel_map

KINDS = {torch.float16: 0, torch.bfloat16: 1, torch.float32: 2}
GIVEN, SCORES, MASKED, HINGE = range(4)
MOST_COLUMNS = 128  # of weights, above which a product is large enough for BLAS


@cache
def library() -> ctypes.CDLL | None:
    """The compiled products; None where there are none for this machine."""
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_products{suffix}")
        if path.is_file():
            compiled = ctypes.CDLL(str(path))
            if not compiled.products_at_hand(False):
                return None
            long, pointer, integer = ctypes.c_int64, ctypes.c_void_p, ctypes.c_int
            compiled.products.argtypes = (
                integer, integer, pointer, long, pointer, long, long, long, integer, pointer, pointer, pointer, integer,
                pointer, pointer, pointer, pointer, pointer,
            )  # fmt: skip
            compiled.products_sums.argtypes = (integer, long, integer, integer, pointer, pointer, long)
            compiled.products_space.argtypes = (integer, long, integer)
            compiled.products_space.restype = long
            compiled.products.restype = compiled.products_sums.restype = None
            return compiled
    return None


class Scratch:
    """Memory that products use again: fresh pages, which the kernel has to clear, cost a quarter of their time."""

    def __init__(self) -> None:
        self._spare: dict[str, list[np.ndarray]] = defaultdict(list)

    def take(self, purpose: str, size: int) -> np.ndarray:
        """At least `size` bytes with anything in them; nobody else gets them until they are given back."""
        with suppress(IndexError):
            spare = self._spare[purpose].pop()
            if len(spare) >= size:
                return spare
        return np.empty(size, np.uint8)

    def give_back(self, purpose: str, memory: np.ndarray) -> None:
        """Nothing in it is needed any more."""
        self._spare[purpose].append(memory)


def suits(X: Tensor, k: int, rough: bool = False) -> bool:
    """Whether there are compiled (rough) products of X [n, d] with k columns of weights."""
    compiled = library()
    together = X.stride(1) == 1 or X.shape[1] == 1
    fits = X.device.type == "cpu" and X.dtype in KINDS and together and 0 < k <= MOST_COLUMNS
    return fits and compiled is not None and bool(compiled.products_at_hand(rough))


def scores(
    X: Tensor, index: Tensor | None, W: Tensor, constant: bool, blocks: Sequence[slice], scratch: Scratch
) -> Tensor:
    """X W [n, k] for the rows `index` of X, in blocks that the cores share."""
    S = _floats(_rows(X, index), W.shape[1])
    _products(X, index, W, constant, blocks, scratch, SCORES, S)
    return S


def scores_and_adjoint(
    X: Tensor, index: Tensor | None, W: Tensor, weighing: Masked | Hinge, constant: bool, blocks: Sequence[slice],
    scratch: Scratch, rough: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """S = X W [n, k] and X^T weighing(S) [d, k]."""
    S = _floats(_rows(X, index), W.shape[1])
    kind, A, B = (MASKED, weighing.D, None) if isinstance(weighing, Masked) else (HINGE, weighing.U, weighing.Y)
    return S, _products(X, index, W, constant, blocks, scratch, kind, S, A, B, total=True, rough=rough)


def adjoint(
    X: Tensor, index: Tensor | None, M: Tensor, constant: bool, blocks: Sequence[slice], scratch: Scratch
) -> Tensor:
    """X^T M [d, k] for M [n, k]."""
    return _products(X, index, M.new_empty(0, M.shape[1]), constant, blocks, scratch, GIVEN, A=M, total=True)


def _products(
    X: Tensor, index: Tensor | None, W: Tensor, constant: bool, blocks: Sequence[slice], scratch: Scratch,
    weighing: int, S: Tensor | None = None, A: Tensor | None = None, B: Tensor | None = None, total: bool = False,
    rough: bool = False,
) -> Tensor:  # fmt: skip
    compiled = library()
    assert compiled is not None  # `suits` said so
    assert blocks  # of no rows there are no sums
    d, k = X.shape[1], W.shape[1]
    V = W[:d].T.contiguous()
    bias = W[d].contiguous() if constant and len(W) else _floats(k).zero_()
    A, B = (None if M is None else M.contiguous() for M in (A, B))

    def share(rows: slice) -> tuple[np.ndarray | None, np.ndarray]:
        G, sums = scratch.take("sums", 8 * k * d) if total else None, np.zeros(k)
        memory = scratch.take("work", compiled.products_space(rough, d, k))
        compiled.products(
            rough, KINDS[X.dtype], X.data_ptr(), X.stride(0), _address(index), rows.start, rows.stop, d, k,
            V.data_ptr(), bias.data_ptr(), _address(S), weighing, _address(A), _address(B), memory.ctypes.data,
            None if G is None else G.ctypes.data, sums.ctypes.data,
        )  # fmt: skip
        scratch.give_back("work", memory)
        return G, sums

    shares = parallel_map(share, blocks)
    adjoint = _floats(k, d + constant)
    if total:
        totals = [G for G, _ in shares if G is not None]
        places = (ctypes.c_void_p * len(totals))(*(G.ctypes.data for G in totals))
        compiled.products_sums(rough, d, k, len(totals), places, adjoint.data_ptr(), d + constant)
        for G in totals:
            scratch.give_back("sums", G)
        if constant:
            adjoint[:, d] = torch.from_numpy(sum(sums for _, sums in shares))
    return adjoint.T


def _floats(*shape: int) -> Tensor:
    return torch.empty(*shape, dtype=torch.float32, device="cpu")


def _rows(X: Tensor, index: Tensor | None) -> int:
    return len(X) if index is None else len(index)


def _address(M: Tensor | None) -> int | None:
    return None if M is None else M.data_ptr()
