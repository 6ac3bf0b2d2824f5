"""Solves the Newton system (I + 2C X^T D X) s = -g of `newton` for all classes, reading X once an iteration."""

import torch
from torch import Tensor

from repr_eval.svm.conjugate_gradients import conjugate_gradients
from repr_eval.svm.hinge import Masked
from repr_eval.svm.primal.precondition import LeadingDirections
from repr_eval.svm.rows import Rows

CG_LIMIT = 500  # iterations in one Newton step
# A system is solved to a fraction of its right-hand side, in the preconditioner's norm, or as far as is enough. The
# fraction is what the system before missed the truth by (Eisenstat & Walker 1996, choice 1), within these bounds: while
# the active rows change a lot a better solution of a wrong system is worth nothing, later nothing else is in the way.
FORCING_BOUNDS = 0.01, 0.1


class HessianConjugateGradients:
    """Preconditioned conjugate gradients: one reading of X an iteration, shared by the classes still at work.

    One object serves the Newton steps of one minimisation, one after the other.
    """

    def __init__(self, preconditioner: LeadingDirections | None = None):
        self.preconditioner = preconditioner
        self.began: dict[int, float] = {}  # by class, the norm of the right-hand side of the last system
        self.left: dict[int, float] = {}  # and of what its solution left of it

    def __call__(
        self, rows: Rows, D: Tensor, g: Tensor, C: float, enough: Tensor, rough: bool, classes: Tensor
    ) -> tuple[Tensor, Tensor, int]:
        inverse = self.preconditioner.at(D, C) if self.preconditioner else lambda R, live: R
        S, Q, numbers = torch.zeros_like(g), torch.zeros_like(D), classes.tolist()

        def apply(P: Tensor, live: Tensor) -> tuple[Tensor, Tensor]:
            XP, adjoint = rows.scores_and_adjoint(P, Masked(D[:, live]), rough)
            return P + 2 * C * adjoint, XP

        left, readings = conjugate_gradients(
            apply, inverse, -g, S, Q,
            fraction=lambda norms: self._forcing(numbers, norms), enough=enough, limit=CG_LIMIT,
        )  # fmt: skip
        self.left.update(zip(numbers, left.tolist(), strict=True))
        return S, Q, readings

    def _forcing(self, classes: list[int], norms: Tensor) -> Tensor:
        """To which fraction of its norm each class's right-hand side is to be brought."""
        fractions = []
        for k, norm in zip(classes, norms.tolist(), strict=True):
            missed = abs(norm - self.left[k]) / self.began[k] if k in self.left else FORCING_BOUNDS[1]
            if missed != missed:  # rounding has spoilt a norm
                missed = FORCING_BOUNDS[1]
            fractions.append(min(max(missed, FORCING_BOUNDS[0]), FORCING_BOUNDS[1]))
            self.began[k] = norm
        return norms.new_tensor(fractions)
