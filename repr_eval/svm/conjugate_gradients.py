"""Preconditioned conjugate gradients on many systems at once; those that are solved fall out."""

from collections.abc import Callable

import torch
from torch import Tensor

# (directions P [m, k], numbers of their systems [k]) -> A P [m, k], and an image of P [n, k] that is wanted as well
Operator = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Inverse = Callable[[Tensor, Tensor], Tensor]  # (residuals [m, k], numbers of their systems [k]) -> M^-1 residuals
Fraction = Callable[[Tensor], Tensor | float]  # norms of the first residuals [k] -> to which fraction to bring each


def conjugate_gradients(
    apply: Operator, inverse: Inverse, R: Tensor, X: Tensor, image: Tensor, *,
    fraction: Fraction, enough: Tensor, limit: int,
) -> tuple[Tensor, int]:  # fmt: skip
    """Improve in place the solutions X [m, k] of k systems A x = b, of which R [m, k] is what X leaves, b - A x.

    `image` [n, k] follows X. A system is solved when its residual's norm (r.M^-1 r)^1/2 is at `fraction` of what it
    was, or its Euclidean norm at `enough` [k]; there is at least one iteration, and `limit` are the most.
    Returns the former norm of what is left [k], and the number of iterations.
    """
    live = torch.arange(R.shape[1], device=R.device)
    Z = inverse(R, live)
    P, rz = Z.clone(), (R * Z).sum(0)
    left, norms = rz.clone(), rz.sqrt()
    target = (fraction(norms) * norms).square()
    iterations = 0
    while iterations < limit:
        iterations += 1
        AP, IP = apply(P, live)
        step = rz / (P * AP).sum(0).masked_fill(rz == 0, 1)  # a system may have begun at its solution
        X[:, live] += step * P
        image[:, live] += step * IP
        R = R - step * AP
        Z = inverse(R, live)
        rz, before = (R * Z).sum(0), rz
        left[live] = rz
        keep = (R.double().norm(dim=0) > enough[live]) & (rz > target[live])
        if not keep.any():
            break
        live, R, rz = live[keep], R[:, keep], rz[keep]
        P = Z[:, keep] + (rz / before[keep]) * P[:, keep]
    return left.sqrt(), iterations
