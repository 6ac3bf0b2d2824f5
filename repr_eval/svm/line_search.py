"""The exact minimum of the SVM's objective along a direction, for many classes at once."""

import torch
from torch import Tensor


def exact_step_length(
    y: Tensor, u: Tensor, o: Tensor, q: Tensor, ws: Tensor, ss: Tensor, C: float, rounds: int = 50
) -> Tensor:
    """t [k], float64, that minimises P(w + t s), by Newton's method on the piecewise linear derivative.

    Given targets y, costs u, scores o = X w and q = X s, all [n, k], and the products w.s and s.s [k], float64.
    A bracket guards it: the derivative rises with t, so its sign says on which side of t the minimum lies.
    """
    y, u, o, q = (tensor.double() for tensor in (y, u, o, q))
    t, low, high = torch.ones_like(ws), torch.zeros_like(ws), torch.full_like(ws, float("inf"))
    for _ in range(rounds):
        slack = (1 - y * (o + t * q)).clamp_min(0)
        slope = ws + t * ss - 2 * C * (y * u * q * slack).sum(0)
        curvature = ss + 2 * C * (u * q.square() * (slack > 0)).sum(0)
        low, high = torch.where(slope < 0, t, low), torch.where(slope > 0, t, high)
        step = slope / curvature.clamp_min(torch.finfo(torch.float64).tiny)
        if (step.abs() <= 1e-10 * t.abs().clamp_min(1e-10)).all():
            break
        new = t - step
        outside = (new <= low) | (new >= high)
        middle = torch.where(high.isinf(), 2 * t, 0.5 * (low + high))
        t = torch.where(outside & (slope != 0), middle, new)
    return t
