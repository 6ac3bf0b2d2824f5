"""Two ways to solve (K_AA + diag(1 / 2C u_A)) b_A = y_A of `gram.solver`, for the active rows A of every class."""

from collections.abc import Callable

import torch
from torch import Tensor

from repr_eval.svm.conjugate_gradients import Inverse, conjugate_gradients
from repr_eval.svm.primal.precondition import inverse_beside_identity, leading_eigenvectors
from repr_eval.svm.rows import product
from repr_eval.system.parallel import parallel_map

DIRECTIONS = 256  # of K that the preconditioner knows
CG_LIMIT = 300  # iterations in one Newton step
# Of more classes, those with the same active rows share a core, and the preconditioner knows fewer directions: of 300
# classes its cores took most of the time. Figures were stored with fewer, so of these nothing may change.
MANY, DIRECTIONS_OF_MANY = 32, 64
FORCING = 1e-3  # of its first residual, to which a system is solved: a rough solution might not even be a way down

# (y [n, k], u, active, b to start from, C) -> the solution b, zero outside of the active rows; K b
ActiveSystem = Callable[[Tensor, Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]


class Cholesky:
    """By a factorisation for each class; classes with the same active rows (all, at a cold start) share one."""

    def __init__(self, K: Tensor):
        self.K = K

    def __call__(self, y: Tensor, u: Tensor, active: Tensor, b: Tensor, C: float) -> tuple[Tensor, Tensor]:
        b = torch.zeros_like(b)
        patterns, pattern_of = torch.unique(u * active, dim=1, return_inverse=True)
        for number, pattern in enumerate(patterns.T):
            A, classes = pattern.nonzero().squeeze(1), (pattern_of == number).nonzero().squeeze(1)
            system = self.K.index_select(0, A).index_select(1, A)
            system.diagonal().add_(1 / (2 * C * pattern[A]))
            b[A[:, None], classes] = torch.cholesky_solve(y[A][:, classes], torch.linalg.cholesky(system))
        return b, product(self.K, b)


class GramConjugateGradients:
    """By conjugate gradients, one product K p an iteration for all classes.

    The preconditioner takes K for Z Z^T + e I: its leading eigenvectors, scaled, and the mean of its other eigenvalues.
    With Delta = diag(e + 1 / 2C u_A) its inverse on the rows A is, by Woodbury's formula,

        Delta^-1 - Delta^-1 Z_A (I + Z_A^T Delta^-1 Z_A)^-1 Z_A^T Delta^-1.
    """

    def __init__(self, K: Tensor, directions: int = DIRECTIONS):
        self.K = K
        r = min(len(K), directions)
        energies, vectors = leading_eigenvectors(K, r)
        self.Z = (vectors * energies.clamp_min(0).sqrt()).to(K.dtype)
        rest = float(K.diagonal().double().sum() - energies.sum())
        self.e = max(0.0, rest) / max(1, len(K) - r)

    def __call__(self, y: Tensor, u: Tensor, active: Tensor, b: Tensor, C: float) -> tuple[Tensor, Tensor]:
        ridge = torch.where(active, 1 / (2 * C * u), 0.0)
        inverse = self._inverse(active, ridge)
        B = b * active
        O = product(self.K, B)  # noqa: E741
        R = active * (y - O) - ridge * B

        def apply(P: Tensor, live: Tensor) -> tuple[Tensor, Tensor]:
            KP = product(self.K, P)
            return active[:, live] * KP + ridge[:, live] * P, KP

        conjugate_gradients(
            apply, inverse, R, B, O, fraction=lambda _: FORCING, enough=R.new_zeros(R.shape[1]), limit=CG_LIMIT
        )
        return B, O

    def _inverse(self, active: Tensor, ridge: Tensor) -> Inverse:
        scale = torch.where(active, 1 / (self.e + ridge), 0.0)
        own, core_of = scale, torch.arange(scale.shape[1], device=scale.device)
        shared = len(core_of) > MANY
        if shared:
            own, core_of = torch.unique(scale, dim=1, return_inverse=True)

        def core(k: int) -> Tensor:
            A = own[:, k].nonzero().squeeze(1)
            return inverse_beside_identity(self.Z[A] * own[A, k, None].sqrt())

        cores = torch.stack(parallel_map(core, range(own.shape[1])))

        def apply(R: Tensor, classes: Tensor) -> Tensor:
            scaled = scale[:, classes] * R
            inside = product(self.Z.T, scaled)
            if shared and len(cores) == 1:
                c = product(cores[0], inside)
            else:
                c = torch.bmm(cores[core_of[classes]], inside.T[:, :, None])[:, :, 0].T
            return scaled - scale[:, classes] * product(self.Z, c)

        return apply
