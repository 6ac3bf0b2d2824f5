"""Solves the Newton system (I + 2C X^T D X) s = -g of `newton` for all classes, reading X once an iteration."""

import torch
from torch import Tensor

from repr_eval.svm.precondition import LeadingDirections
from repr_eval.svm.rows import Rows

CG_LIMIT = 500  # iterations in one Newton step
# A system is solved to this fraction of its right-hand side, in the preconditioner's norm, or as far as is enough; only
# to the larger one where the goal is farther than FAR times what is enough: the active rows will change a lot yet.
FORCING, FORCING_FAR, FAR = 0.1, 0.3, 30


class ConjugateGradients:
    """Preconditioned conjugate gradients: one reading of X an iteration, shared by the classes still at work."""

    def __init__(self, preconditioner: LeadingDirections | None = None):
        self.preconditioner = preconditioner

    def __call__(
        self, rows: Rows, D: Tensor, g: Tensor, C: float, enough: Tensor, rough: bool
    ) -> tuple[Tensor, Tensor, int]:
        inverse = self.preconditioner.at(D, C) if self.preconditioner else lambda R, classes: R
        live = torch.arange(g.shape[1], device=rows.device)
        S, Q, R = torch.zeros_like(g), torch.zeros_like(D), -g
        Z = inverse(R, live)
        P, rz = Z.clone(), (R * Z).sum(0)
        far = g.double().norm(dim=0) > FAR * enough
        target = torch.where(far, FORCING_FAR, FORCING) ** 2 * rz
        readings = 0
        while readings < CG_LIMIT:
            mask = D[:, live]
            readings += 1
            XP, adjoint = rows.scores_and_adjoint(P, lambda r, s, mask=mask: s * mask[r], rough)  # type: ignore[misc]
            HP = P + 2 * C * adjoint
            step = rz / (P * HP).sum(0)
            S[:, live] += step * P
            Q[:, live] += step * XP
            R = R - step * HP
            Z = inverse(R, live)
            rz, before = (R * Z).sum(0), rz
            keep = (R.double().norm(dim=0) > enough[live]) & (rz > target[live])
            if not keep.any():
                break
            live, R, Z = live[keep], R[:, keep], Z[:, keep]
            P = Z + (rz / before)[keep] * P[:, keep]
            rz = rz[keep]
        return S, Q, readings
