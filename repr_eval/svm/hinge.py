"""What becomes of a block's scores between the two products of a Newton step."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Masked:
    """D s: of the Hessian, for costs D [n, k] that are 0 where a row has no loss."""

    D: Tensor

    def __call__(self, rows: slice, s: Tensor) -> Tensor:
        return self.D[rows] * s


@dataclass(frozen=True)
class Hinge:
    """u y max(0, 1 - y s): of the gradient, for costs U and targets Y, both [n, k]."""

    U: Tensor
    Y: Tensor

    def __call__(self, rows: slice, s: Tensor) -> Tensor:
        return self.U[rows] * self.Y[rows] * (1 - self.Y[rows] * s).clamp_min(0)
