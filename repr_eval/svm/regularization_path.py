"""One problem for one C after the other: what they share is made once, and each starts from the solution before."""

import numpy as np
import torch
from torch import Tensor

from repr_eval.svm.gram.solver import GramSolver
from repr_eval.svm.primal.newton import Problem, Solution, minimise
from repr_eval.svm.primal.precondition import LeadingDirections
from repr_eval.svm.primal.system import HessianConjugateGradients
from repr_eval.svm.rows import NotFinite, Rows
from repr_eval.svm.validation import Matrix, not_finite

FEW_ROWS = 4096  # up to so many rows, and fewer than columns, the Gram matrix is the cheaper way
PRECONDITION_FROM = 1000  # rows or columns below which conjugate gradients need no help


class RegularizationPath:
    """The problem of X (its rows `index`), targets Y [n, K] and costs U [n, K] (ones if None)."""

    def __init__(self, X: Matrix, index: np.ndarray | None, Y: np.ndarray, U: np.ndarray | None):
        self.X, self.index = X, index
        rows = Rows(X, index)
        costs = torch.ones(1, 1, dtype=rows.dtype, device=rows.device).expand(Y.shape) if U is None else rows.like(U)
        self.problem = Problem(rows, rows.like(Y), costs)
        self.gram: GramSolver | None = None
        self.directions: LeadingDirections | None = None
        self.W: Tensor | None = None

    def solve(self, C: float, tol: float, max_iter: int) -> Solution:
        """The solution for C; ValueError where X is not finite."""
        try:
            solution = self._solve(C, tol, max_iter)
            if torch.isfinite(solution.primal).all():
                return solution
        except NotFinite:
            pass
        raise not_finite(self.X, self.index) or ValueError(
            "Input X holds values too large for their squares to be summed up in float32"
        )

    def _solve(self, C: float, tol: float, max_iter: int) -> Solution:
        rows = self.problem.rows
        if rows.n < rows.d and rows.n <= FEW_ROWS:
            self.gram = self.gram or GramSolver(self.problem)
            return self.gram.solve(C, tol, max_iter)
        if self.directions is None and min(rows.n, rows.d) >= PRECONDITION_FROM:
            self.directions = LeadingDirections(rows)
            self.W = self.directions.best_start(self.problem, C) if max_iter > 0 else None
        solution = minimise(self.problem, C, tol, max_iter, HessianConjugateGradients(self.directions), self.W)
        self.W = solution.W
        return solution
