"""Independent pieces of work on all cores, each piece on one.

Products with ten columns and problems of a thousand rows are too small to be worth sharing among threads that wait for
each other after every operation; whole blocks, and whole fits, are not.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController

S = TypeVar("S")
T = TypeVar("T")


def parallel_map(work: Callable[[S], T], pieces: Sequence[S]) -> list[T]:
    """`work` of every piece, in their order; as many at once as torch may use threads, each with a single one.

    Within a piece that runs so, and for fewer than two pieces, it is a plain loop.
    """
    threads = min(torch.get_num_threads(), len(pieces))
    if threads < 2:
        return [work(piece) for piece in pieces]
    before = torch.get_num_threads()
    try:
        with (
            ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
            _blas().limit(limits=1),
        ):
            return list(pool.map(work, pieces))
    finally:
        torch.set_num_threads(before)


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")
