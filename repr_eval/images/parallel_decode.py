"""Blocks of image files decoded in several processes, for `pack`.

This module and what it imports stay light: every process started here imports them.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.synchronize import Event
from pathlib import Path
from types import FrameType

import numpy as np
import numpy.typing as npt

from repr_eval.images.decode import UnreadableImage, decode

# The images of a block, uint8 [n, size, size, 3], and its unreadable files: position in the block -> reason.
# The row of an unreadable file is zero.
Block = tuple[npt.NDArray[np.uint8], dict[int, str]]

TASKS = 4  # threads and processes that a worker needs, here and there
logger = logging.getLogger(__name__)

_stop: Event | None = None  # Set in the processes started here, and only there.


def decode_blocks(
    todo: list[int], paths_of: Callable[[int], list[str]], size: int, workers: int
) -> Generator[tuple[int, Block]]:
    """Decode the files `paths_of(block)` of every block in `todo`, yielding each block when it is ready.

    At most two blocks a worker are in flight. With one worker all is done in this process, and so it is where
    the system does not let enough threads start: a pool would wait for ever for those that it lacks. Closing the
    generator ends the work within the time of an image or so. An OSError from reading a file is raised here.
    """
    if workers > 1 and not _threads_start(TASKS * workers):
        logger.warning("no %d threads can be started here (ulimit -u): this process decodes alone", TASKS * workers)
        workers = 1
    if workers == 1:
        for block in todo:
            yield block, decode_block(paths_of(block), size)
        return
    queue = iter(todo)
    context = multiprocessing.get_context("spawn")  # Never fork: the caller may run threads.
    stop = context.Event()
    pending: dict[Future[Block], int] = {}
    pool = ProcessPoolExecutor(workers, context, _start_worker, (stop,))
    held = _HeldInterrupt()  # until the workers are started
    try:
        while True:
            for block in islice(queue, 2 * workers - len(pending)):
                pending[pool.submit(decode_block, paths_of(block), size)] = block
            held.release()
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                yield pending.pop(future), future.result()
    except BrokenProcessPool as error:
        raise OSError("a process that decodes images has ended early (killed, or out of memory)") from error
    finally:
        stop.set()
        try:
            held.release()
        finally:
            pool.shutdown(cancel_futures=True)


class _HeldInterrupt:
    """Ctrl-C, from here on until `release`, which then delivers it.

    A worker that is starting would answer it with a traceback, so that it inherits it blocked; and so would one whose
    parent were interrupted while it starts it. Blocking alone does not hold it back from the parent: another thread
    may take the signal, and Python still answers it in this one.
    """

    def __init__(self) -> None:
        self.received = False
        self.holding = True
        self.handled = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT)
        if self.handled:
            signal.signal(signal.SIGINT, self._receive)
        self.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True

    def release(self) -> None:
        if not self.holding:
            return
        self.holding = False
        signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)  # what was blocked is received now
        if self.handled:
            signal.signal(signal.SIGINT, self.handled)
        if self.received:
            signal.raise_signal(signal.SIGINT)


def _threads_start(n: int) -> bool:
    """Whether the system lets this process start `n` threads at once."""
    end, threads = threading.Event(), []
    try:
        for _ in range(n):
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError:
        return False
    finally:
        end.set()
        for thread in threads:
            thread.join()
    return True


def decode_block(paths: list[str], size: int) -> Block:
    """Decode the files `paths` in order."""
    rows = np.zeros((len(paths), size, size, 3), np.uint8)
    unreadable = {}
    for row, path in enumerate(paths):
        if _stop is not None and _stop.is_set():
            break  # The parent is leaving and will not look at this block.
        try:
            rows[row] = decode(Path(path), size)
        except UnreadableImage as error:
            unreadable[row] = error.reason
    return rows, unreadable


def _start_worker(stop: Event) -> None:
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which then sets `stop`.
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """End this process when its parent is gone: a pool's processes would wait for a killed parent for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
