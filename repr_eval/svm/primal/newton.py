"""Minimises liblinear's L2-loss SVM objective for many classes at once, and proves how close it came.

For one class, with y_i = +1 or -1 and costs u_i >= 0 (1 unless samples or classes are weighted), the problem (Fan et
al. 2008, LIBLINEAR, section 2) is

    min over w of  P(w) = 1/2 |w|^2 + C sum_i u_i xi_i^2,     xi_i = max(0, 1 - y_i w.x_i).

P is convex, once differentiable and piecewise quadratic:

    gradient            g = w - 2C X^T (y u xi)
    generalised Hessian H = I + 2C X^T D X,               D_ii = u_i where xi_i > 0, else 0.

A Newton step solves H s = -g and walks to the exact minimum along s (Keerthi & DeCoste 2005; Lin, Weng & Keerthi
2008). The classes differ in D, g and s, but share every reading of X.

The certificate. alpha_i = 2C u_i xi_i is feasible in the dual

    max over alpha >= 0 of  D(alpha) = sum alpha - 1/2 |X^T (y alpha)|^2 - sum alpha^2 / 4C u.

Put X^T (y alpha) = w - g and w.(w - g) = sum_i alpha_i y_i w.x_i = 2C sum u_i xi_i (1 - xi_i) into P(w) - D(alpha), and
all but one term cancels:

    P(w) - D(alpha) = 1/2 |g|^2.

So half the squared gradient bounds how far P(w) is above its minimum; it costs nothing and is what `tol` is about.

Only directions are ever computed roughly (in bfloat16): g and P, and so the certificate, come from full products.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from repr_eval.svm.hinge import Hinge
from repr_eval.svm.line_search import exact_step_length
from repr_eval.svm.rows import Rows

# (rows, D [n, k], g [d, k], C, enough [k], rough, numbers of the classes [k])
# -> s [d, k] with |H s + g| <= about `enough`, X s [n, k], readings
NewtonSystem = Callable[[Rows, Tensor, Tensor, float, Tensor, bool, Tensor], tuple[Tensor, Tensor, int]]


@dataclass(frozen=True)
class Problem:
    """Rows X, targets Y [n, k] of +1 and -1, and costs U [n, k]: multiples of C."""

    rows: Rows
    Y: Tensor
    U: Tensor

    def in_double(self) -> "Problem":
        """The same, computed in float64."""
        return Problem(self.rows.in_double(), self.Y.double(), self.U.double())


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
    problem: Problem, C: float, tol: float, max_iter: int, solve: NewtonSystem, start: Tensor | None = None
) -> Solution:
    """Solve `problem` from `start` [d, k] (zeros if None), to a relative gap of `tol`.

    Stops after `max_iter` Newton steps, converged or not.
    """
    rows, Y, U = problem.rows, problem.Y, problem.U
    W = torch.zeros(rows.d, Y.shape[1], dtype=rows.dtype, device=rows.device) if start is None else start.clone()
    steps = passes = 0
    rough, before = True, torch.full((Y.shape[1],), float("inf"), dtype=torch.float64, device=rows.device)
    while True:
        O, G, primal = _objective(problem, C, W)  # noqa: E741
        passes += 1
        gap = 0.5 * G.double().square().sum(0)
        open_ = (gap > tol * primal).nonzero().squeeze(1)
        if len(open_) == 0 or steps == max_iter:
            return Solution(
                W=W, primal=primal, dual=primal - gap, n_newton=steps, n_passes=passes, converged=len(open_) == 0
            )
        rough = rough and bool((primal < before)[open_].all())  # else rough directions are what is in the way
        before = primal
        y, u, o, g, w = Y[:, open_], U[:, open_], O[:, open_], G[:, open_], W[:, open_]
        # Half of the gradient that `tol` allows: the rest is room for the change of the active set.
        enough = 0.5 * (2 * tol * primal[open_]).sqrt()
        s, q, readings = solve(rows, u * (y * o < 1), g, C, enough, rough, open_)
        t = exact_step_length(y, u, o, q, (w * s).double().sum(0), (s * s).double().sum(0), C)
        W[:, open_] += s * t.to(rows.dtype)
        steps, passes = steps + 1, passes + readings


def _objective(problem: Problem, C: float, W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores [n, k], gradient [d, k] and primal objective [k] (float64) at W."""
    rows, Y, U = problem.rows, problem.Y, problem.U
    O, adjoint = rows.scores_and_adjoint(W, Hinge(U, Y))  # noqa: E741
    loss = (U * (1 - Y * O).clamp_min(0).square()).double().sum(0)
    return O, W - 2 * C * adjoint, 0.5 * W.double().square().sum(0) + C * loss
