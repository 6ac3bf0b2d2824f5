"""Minimises liblinear's L2-loss SVM objective for many classes at once, and proves how close it came.

For one class, with y_i = +1 or -1, the problem (Fan et al. 2008, LIBLINEAR, section 2) is

    min over w of  P(w) = 1/2 |w|^2 + C sum_i xi_i^2,     xi_i = max(0, 1 - y_i w.x_i).

P is convex, once differentiable and piecewise quadratic:

    gradient            g = w - 2C X^T (y xi)
    generalised Hessian H = I + 2C X^T D X,               D_ii = 1 where xi_i > 0, else 0.

A Newton step solves H s = -g and walks to the exact minimum along s (Keerthi & DeCoste 2005; Lin, Weng & Keerthi
2008). The classes differ in D, g and s, but share every reading of X.

The certificate. alpha_i = 2C xi_i is feasible in the dual max sum alpha - 1/2 |X^T (y alpha)|^2 - sum alpha^2 / 4C.
Put X^T (y alpha) = w - g and w.(w - g) = sum_i alpha_i y_i w.x_i = 2C sum xi_i (1 - xi_i) into P(w) - D(alpha), and all
but one term cancels:

    P(w) - D(alpha) = 1/2 |g|^2.

So half the squared gradient bounds how far P(w) is above its minimum; it costs nothing and is what `tol` is about.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from repr_eval.svm.rows import Rows

# (rows, active [n, k], g [d, k], C, enough [k]) -> s [d, k] with |H s + g| <= about `enough`, X s [n, k], readings of X
NewtonSystem = Callable[[Rows, Tensor, Tensor, float, Tensor], tuple[Tensor, Tensor, int]]


@dataclass(frozen=True)
class Solution:
    """Weights W [d, k] with, for every class [k], primal and dual objective; and the work it took."""

    W: Tensor
    primal: Tensor
    dual: Tensor
    n_newton: int  # Newton steps
    n_passes: int  # readings of X
    converged: bool

    @property
    def relative_gap(self) -> Tensor:
        """(primal - dual) / primal, float64 [k]."""
        return (self.primal - self.dual) / self.primal


def minimise(
    rows: Rows,
    Y: Tensor,
    C: float,
    tol: float,
    max_iter: int,
    solve: NewtonSystem,
    start: Tensor | None = None,
) -> Solution:
    """Solve for targets Y [n, k] of +1 and -1, from `start` [d, k] (zeros if None), to a relative gap of `tol`.

    Stops after `max_iter` Newton steps, converged or not.
    """
    W = torch.zeros(rows.d, Y.shape[1], dtype=rows.dtype, device=rows.device) if start is None else start.clone()
    steps = passes = 0
    while True:
        O, G, primal = _objective(rows, Y, C, W)  # noqa: E741
        passes += 1
        gap = 0.5 * G.double().square().sum(0)
        open_ = (gap > tol * primal).nonzero().squeeze(1)
        if len(open_) == 0 or steps == max_iter:
            return Solution(W, primal, primal - gap, steps, passes, converged=len(open_) == 0)
        y, o, g, w = Y[:, open_], O[:, open_], G[:, open_], W[:, open_]
        # Half of the gradient that `tol` allows: the rest is room for the change of the active set.
        enough = 0.5 * (2 * tol * primal[open_]).sqrt()
        s, q, readings = solve(rows, (y * o < 1).to(rows.dtype), g, C, enough)
        W[:, open_] += s * _exact_step_length(y, o, q, w, s, C).to(rows.dtype)
        steps, passes = steps + 1, passes + readings


def _objective(rows: Rows, Y: Tensor, C: float, W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores [n, k], gradient [d, k] and primal objective [k] (float64) at W."""
    O, adjoint = rows.scores_and_adjoint(W, lambda r, s: Y[r] * (1 - Y[r] * s).clamp_min(0))  # noqa: E741
    loss = (1 - Y * O).clamp_min(0).double().square().sum(0)
    return O, W - 2 * C * adjoint, 0.5 * W.double().square().sum(0) + C * loss


def _exact_step_length(y: Tensor, o: Tensor, q: Tensor, w: Tensor, s: Tensor, C: float, rounds: int = 50) -> Tensor:
    """t [k] that minimises P(w + t s) for every class, by Newton's method on the piecewise linear derivative.

    A bracket guards it: the derivative rises with t, so its sign says on which side of t the minimum lies.
    """
    y, o, q, w, s = (tensor.double() for tensor in (y, o, q, w, s))
    ws, ss = (w * s).sum(0), (s * s).sum(0)
    t, low, high = torch.ones_like(ws), torch.zeros_like(ws), torch.full_like(ws, float("inf"))
    for _ in range(rounds):
        slack = (1 - y * (o + t * q)).clamp_min(0)
        slope = ws + t * ss - 2 * C * (y * q * slack).sum(0)
        curvature = ss + 2 * C * (q.square() * (slack > 0)).sum(0)
        low, high = torch.where(slope < 0, t, low), torch.where(slope > 0, t, high)
        step = slope / curvature.clamp_min(torch.finfo(torch.float64).tiny)
        if (step.abs() <= 1e-10 * t.abs().clamp_min(1e-10)).all():
            break
        new = t - step
        outside = (new <= low) | (new >= high)
        middle = torch.where(high.isinf(), 2 * t, 0.5 * (low + high))
        t = torch.where(outside & (slope != 0), middle, new)
    return t
