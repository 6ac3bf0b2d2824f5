"""The one scale on which networks and classifiers see pixels: levels 0 to 255 as numbers in [-1, 1]."""

from torch import Tensor


def to_unit(levels: Tensor) -> Tensor:
    """x / 127.5 - 1 of levels x from 0 to 255, as float32."""
    return levels.float() / 127.5 - 1


def to_levels(x: Tensor) -> Tensor:
    """The nearest of the levels 0 to 255, as whole float32 numbers, of x on the scale of `to_unit`."""
    return ((x + 1) * 127.5).round().clamp(0, 255)
