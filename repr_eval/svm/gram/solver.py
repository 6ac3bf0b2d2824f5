"""For fewer rows than columns: the same problem in the space of the rows, where only inner products matter.

The solution of every C and class is a combination w = X^T b of the rows, b [n, k]. With the Gram matrix K = X X^T, made
once, everything is told by the scores o = K b: with xi as in `primal.newton`,

    |w|^2 = b.o,      g = X^T r for r = b - 2C y u xi,      primal - dual = 1/2 r.K r.

A Newton step is a guess at the rows A that have a loss: it leads to the w with b zero outside of A and

    (K_AA + diag(1 / 2C u_A)) b_A = y_A                                                             (active_set)

The result is lifted to the features, w = X^T b, and what is certified is the w that is returned: its own primal
objective, against the dual objective of alpha = 2C u xi.
"""

import torch
from torch import Tensor

from repr_eval.svm.gram.active_set import (
    DIRECTIONS,
    DIRECTIONS_OF_MANY,
    MANY,
    ActiveSystem,
    Cholesky,
    GramConjugateGradients,
)
from repr_eval.svm.line_search import exact_step_length
from repr_eval.svm.primal.newton import Problem, Solution
from repr_eval.svm.rows import product

STALLED = 3  # Newton steps that gain nothing, after which rounding is taken to be in the way
GAIN = 1e-6  # of the objective
ROOM = 0.5  # of the gap asked for is left to the rounding of w


class GramSolver:
    """`problem` of few rows, for one C after the other, each from the solution before.

    Begins in the problem's own precision and by conjugate gradients. Where they do not get to the gap that is asked for
    it goes over, for good, to factorisations of the same K in float64, and at last to float64 from the features on.
    """

    def __init__(self, problem: Problem):
        self.problem = problem
        self.K = problem.rows.gram()
        directions = DIRECTIONS if problem.Y.shape[1] <= MANY else DIRECTIONS_OF_MANY
        self.system: ActiveSystem = GramConjugateGradients(self.K, directions)
        self.b = torch.zeros_like(problem.Y)

    def solve(self, C: float, tol: float, max_iter: int) -> Solution:
        """To a relative gap of `tol`, in `max_iter` Newton steps at most; NotFinite where X is not."""
        while True:
            try:
                solution = self._solve(C, tol, max_iter)
            except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # rounding has made a system indefinite
                if not self._more_exactly():
                    raise
                continue
            if solution.converged or solution.n_newton == max_iter or not self._more_exactly():
                return solution

    def _more_exactly(self) -> bool:
        """Go over to the next way of solving; False where there is none."""
        if isinstance(self.system, GramConjugateGradients):
            self.K = self.K.double()
        elif self.problem.rows.dtype != torch.float64:
            self.problem = self.problem.in_double()
            self.K = self.problem.rows.gram()
        else:
            return False
        self.system = Cholesky(self.K)
        return True

    def _solve(self, C: float, tol: float, max_iter: int) -> Solution:
        K, rows, Y, U = self.K, self.problem.rows, self.problem.Y, self.problem.U
        Y, U = Y.to(K.dtype), U.to(K.dtype)
        patience = STALLED if isinstance(self.system, GramConjugateGradients) else max_iter
        b, steps = _minimise(K, Y, U, C, ROOM * tol, max_iter, patience, self.system, self.b.to(K.dtype))
        W = rows.adjoint(b)
        xi = (1 - Y * rows.scores(W).to(K.dtype)).clamp_min(0)
        loss = C * (U * xi.square()).double().sum(0)
        primal = 0.5 * W.double().square().sum(0) + loss
        beta = (2 * C * Y * U * xi).double()  # y alpha
        dual = (beta * (Y - 0.5 * (K.double() @ beta))).sum(0) - loss
        converged = bool((primal - dual <= tol * primal).all())
        if converged:
            self.b = b
        return Solution(W=W, primal=primal, dual=dual, n_newton=steps, n_passes=2, converged=converged)


def _minimise(
    K: Tensor, Y: Tensor, U: Tensor, C: float, tol: float, max_iter: int, patience: int, system: ActiveSystem, b: Tensor
) -> tuple[Tensor, int]:
    """b [n, k] with a relative gap of `tol`, from b, and the Newton steps it took.

    Gives up after `max_iter` steps, or `patience` in a row in which no class's objective falls.
    """
    best, stalled, steps = torch.full_like(Y[0], float("inf")), 0, 0
    b = b.clone()
    while True:
        O = product(K, b)  # noqa: E741
        xi = (1 - Y * O).clamp_min(0)
        primal = 0.5 * (b * O).sum(0) + C * (U * xi.square()).sum(0)
        r = b - 2 * C * Y * U * xi
        gap = 0.5 * (r * product(K, r)).sum(0)
        open_ = (gap > tol * primal).nonzero().squeeze(1)
        stalled = 0 if (primal < (1 - GAIN) * best)[open_].any() else stalled + 1
        if len(open_) == 0 or steps == max_iter or stalled == patience:
            return b, steps
        best = torch.minimum(best, primal)
        y, u, o, start = Y[:, open_], U[:, open_], O[:, open_], b[:, open_]
        new, scores = system(y, u, (y * o < 1) & (u > 0), start, C)
        s, q = new - start, scores - o
        t = exact_step_length(y, u, o, q, (o * s).double().sum(0), (s * q).double().sum(0), C)
        b[:, open_] += s * t.to(b.dtype)
        steps += 1
