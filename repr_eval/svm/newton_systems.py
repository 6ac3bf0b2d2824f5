"""Two ways to solve the Newton system (I + 2C X^T D X) s = -g of `newton`, for all classes."""

from collections.abc import Callable

import torch
from torch import Tensor

from repr_eval.svm.rows import Rows

Preconditioner = Callable[[Tensor, float, Tensor], Tensor]  # (residuals [d, k], C, active fraction [k]) -> [d, k]

CG_LIMIT = 500  # iterations in one Newton step
FORCING = 0.1  # a system is solved to this fraction of its right-hand side, or as far as it is enough, if that is less


class ConjugateGradients:
    """Preconditioned conjugate gradients: one reading of X an iteration, shared by the classes still at work."""

    def __init__(self, precondition: Preconditioner = lambda R, C, active: R):
        self.precondition = precondition

    def __call__(self, rows: Rows, active: Tensor, g: Tensor, C: float, enough: Tensor) -> tuple[Tensor, Tensor, int]:
        fraction = active.mean(0)
        target = torch.maximum(enough, FORCING * g.double().norm(dim=0))
        S, Q, R = torch.zeros_like(g), torch.zeros_like(active), -g
        Z = self.precondition(R, C, fraction)
        P, rz = Z.clone(), (R * Z).sum(0)
        live = torch.arange(g.shape[1], device=rows.device)
        readings = 0
        while readings < CG_LIMIT:
            mask = active[:, live]
            readings += 1
            XP, adjoint = rows.scores_and_adjoint(P, lambda r, s, mask=mask: s * mask[r])  # type: ignore[misc]
            HP = P + 2 * C * adjoint
            step = rz / (P * HP).sum(0)
            S[:, live] += step * P
            Q[:, live] += step * XP
            R = R - step * HP
            keep = R.double().norm(dim=0) > target[live]
            if not keep.any():
                break
            live, R, P, rz = live[keep], R[:, keep], P[:, keep], rz[keep]
            Z = self.precondition(R, C, fraction[live])
            rz, before = (R * Z).sum(0), rz
            P = Z + (rz / before) * P
        return S, Q, readings


class GramSolve:
    """Exactly, where the Gram matrix K = X X^T, float64 [n, n], is at hand.

    With A the active rows of a class (Woodbury): s = -(g - X_A^T (K_AA + I / 2C)^-1 X_A g).
    """

    def __init__(self, K: Tensor):
        self.K = K

    def __call__(self, rows: Rows, active: Tensor, g: Tensor, C: float, enough: Tensor) -> tuple[Tensor, Tensor, int]:
        Xg = rows.scores(g).double()
        B = torch.zeros_like(Xg)
        # Classes with the same active rows (all of them, at a cold start) share a factorisation.
        patterns, pattern_of = torch.unique(active > 0, dim=1, return_inverse=True)
        for number, pattern in enumerate(patterns.T):
            A, classes = pattern.nonzero().squeeze(1), (pattern_of == number).nonzero().squeeze(1)
            system = self.K.index_select(0, A).index_select(1, A)
            system.diagonal().add_(1 / (2 * C))
            solved = torch.cholesky_solve(Xg[A][:, classes], torch.linalg.cholesky(system))
            B[A[:, None], classes] = solved
        S = rows.adjoint(B) - g
        return S, rows.scores(S), 3
