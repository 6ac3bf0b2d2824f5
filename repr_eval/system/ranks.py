"""Several processes on one job: torchrun starts them, torch.distributed joins them (gloo on CPUs, NCCL on GPUs).

A process that torchrun did not start is the first of one rank, and everything here does nothing. The ranks see one file
system: the first of them writes.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class RankLost(ValueError):
    """Another rank of the job is gone."""


@dataclass(frozen=True)
class Ranks:
    """This process's number, from 0, among `count`."""

    number: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        return self.number == 0

    def share(self, n: int, what: str) -> slice:
        """This rank's contiguous part of `n` things; ValueError unless all ranks get as many, and at least 2."""
        if n % self.count or n // self.count < 2:
            raise ValueError(f"{what} {n} cannot be shared by {self.count} ranks: needs a multiple, 2 or more for each")
        part = n // self.count
        return slice(self.number * part, (self.number + 1) * part)

    def wait(self) -> None:
        """Until all ranks are here."""
        self.broadcast(None)

    def broadcast(self, value: T) -> T:
        """Broadcast rank 0's `value`: every rank returns it."""
        if self.count == 1:
            return value
        import torch.distributed as dist

        values = [value]
        with self.collective():
            dist.broadcast_object_list(values, device=_cpu())
        return values[0]

    def any(self, value: bool) -> bool:
        """Whether `value` is True on any rank."""
        if self.count == 1:
            return value
        import torch

        return bool(self.sum(torch.tensor(float(value))))

    def sum(self, values: "torch.Tensor") -> "torch.Tensor":
        """The sum of `values` over the ranks, on the CPU."""
        if self.count == 1:
            return values
        import torch.distributed as dist

        total = values.detach().to("cpu", copy=True)
        with self.collective():
            dist.all_reduce(total)
        return total

    @contextmanager
    def collective(self) -> Iterator[None]:
        """Say it in one line, as RankLost, where talking to the others fails within the block."""
        try:
            yield
        except RuntimeError as error:
            if self.count == 1 or type(error).__name__ == "OutOfMemoryError":  # torch's, a RuntimeError too
                raise
            raise RankLost(f"rank {self.number}: another rank is gone ({str(error).splitlines()[0][:100]})") from error


ALONE = Ranks()


def current() -> Ranks:
    """What this process is at the moment."""
    if not _started_by_torchrun():
        return ALONE
    import torch.distributed as dist

    return Ranks(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ALONE


@contextmanager
def joined() -> Iterator[None]:
    """Join the ranks that torchrun started, if it did, until the end of the block."""
    if not _started_by_torchrun():
        yield
        return
    import torch
    import torch.distributed as dist

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
        current().wait()  # who leaves while others still talk makes them fail
    finally:
        leave()


def _started_by_torchrun() -> bool:
    return os.environ.get("WORLD_SIZE", "1") != "1" and "LOCAL_RANK" in os.environ


def leave() -> None:
    """Leave the job; from now on this process works alone."""
    import torch.distributed as dist

    if dist.is_initialized():
        gc.collect()  # what holds on to the group in a cycle of references would outlive it, and abort at the exit
        dist.destroy_process_group()


def _cpu() -> "torch.device":
    import torch

    return torch.device("cpu")
