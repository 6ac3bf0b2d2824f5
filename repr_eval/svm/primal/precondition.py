"""A preconditioner that knows the leading directions of the features, and for each class what the Hessian does there.

H = I + 2C X^T D X has a few eigenvalues in the thousands (activations are positive, so their mean alone is one) and a
long flat tail; conjugate gradients spend most of their iterations on the former. Those directions are much the same for
every class, value of C and set of active rows, so they are found once: V [d, r], orthonormal, the leading eigenvectors
of a sample of the rows, and Z = X V [n, r], what every row is there. In them a class's Hessian is exactly
I + 2C Z^T D Z, small enough to invert at every Newton step; outside it is taken for a multiple of the identity,

    M = V (I + 2C Z^T D Z) V^T + tau (I - V V^T),      tau = 1 + 2C mean(D) e,

with e the mean energy of a direction outside. A wrong guess costs iterations, never exactness.
"""

import numpy as np
import torch
from torch import Tensor

from repr_eval.svm.conjugate_gradients import Inverse
from repr_eval.svm.primal.newton import Problem, minimise
from repr_eval.svm.rows import NotFinite, Rows, product
from repr_eval.system.parallel import parallel_map

SAMPLE_BOUNDS = 1500, 4000  # rows, at least and at most; between them an eighth of all
DIRECTIONS_BOUNDS = 256, 512  # at least and at most; between them one for 40 rows
START_GAP, START_STEPS = 0.03, 10  # how far the start is worth improving
SEED = 0  # of the choice of rows; changes the time, not the result


class LeadingDirections:
    """V, Z and the energy outside, for `rows`."""

    def __init__(self, rows: Rows, sample: int | None = None, directions: int | None = None):
        m = min(sample or min(max(SAMPLE_BOUNDS[0], rows.n // 8), SAMPLE_BOUNDS[1]), rows.n)
        r = directions or min(max(DIRECTIONS_BOUNDS[0], rows.n // 40), DIRECTIONS_BOUNDS[1])
        sample_rows = np.sort(np.random.RandomState(SEED).permutation(rows.n)[:m])
        part = rows.subset(sample_rows)
        K = part.gram()
        self.V = _leading_directions(part, K, min(r, m // 2, rows.d))
        Z = rows.scores(self.V, rough=True)
        if not torch.isfinite(Z).all():
            raise NotFinite
        outside = float(K.diagonal().mean()) - float(Z.square().sum() / rows.n)
        self.Z = Z.to(rows.rough)
        # Read twice an iteration, so kept short. What rounding leaves of V, the rows of B [r, d], is not orthonormal;
        # where B^T B exceeds I, less of the identity is taken out of the span, and M stays positive.
        basis = self.V.T.contiguous().to(torch.float16 if rows.dtype == torch.float32 else rows.dtype)
        self.basis, full = Rows(basis, constant=False), basis.to(self.V.dtype)
        self.share = 1 / max(1.0, float(torch.linalg.eigvalsh(product(full, full.T).double())[-1]))
        self.energy_outside = max(0.0, outside) * rows.n / max(1, rows.d - self.V.shape[1])

    def best_start(self, problem: Problem, C: float) -> Tensor:
        """Where to start a first fit [d, K]: the best weights among the combinations of V, found in Z alone."""

        def solve(rows: Rows, D: Tensor, g: Tensor, C: float, *_: object) -> tuple[Tensor, Tensor, int]:
            s = -torch.bmm(self._inverses(D, C), g.T[:, :, None])[:, :, 0].T
            return s, rows.scores(s), 1

        inside = Problem(Rows(self.Z, constant=False), problem.Y, problem.U)
        return self.V @ minimise(inside, C, START_GAP, START_STEPS, solve).W

    def at(self, D: Tensor, C: float) -> Inverse:
        """M^-1 for the active rows D [n, k] of k classes."""
        tau = 1 + 2 * C * D.mean(0) * self.energy_outside
        inside = self._inverses(D, C)
        inside.diagonal(dim1=1, dim2=2).sub_(self.share / tau[:, None])

        def apply(R: Tensor, classes: Tensor) -> Tensor:
            c = self.basis.scores(R).T[:, :, None]
            return R / tau[classes] + self.basis.adjoint(torch.bmm(inside[classes], c)[:, :, 0].T)

        return apply

    def _inverses(self, D: Tensor, C: float) -> Tensor:
        """(I + 2C Z^T D Z)^-1 for each class: [k, r, r]."""

        def inverse(k: int) -> Tensor:
            active = D[:, k].nonzero().squeeze(1)
            Z = self.Z.index_select(0, active).to(self.V.dtype)
            return inverse_beside_identity(Z.mul_((2 * C * D[active, k, None]).sqrt()))

        return torch.stack(parallel_map(inverse, range(D.shape[1])))


def inverse_beside_identity(Z: Tensor) -> Tensor:
    """(I + Z^T Z)^-1 [r, r] for Z [m, r], found in float64; LinAlgError where rounding has made it indefinite."""
    B = product(Z.T, Z).double()
    B.diagonal().add_(1)
    return torch.cholesky_inverse(torch.linalg.cholesky(B)).to(Z.dtype)


def leading_eigenvectors(K: Tensor, r: int, rounds: int = 3) -> tuple[Tensor, Tensor]:
    """About the r leading eigenvalues [r] of K [m, m] and their vectors [m, r], by subspace iteration; float64."""
    if not torch.isfinite(K).all():
        raise NotFinite
    generator = torch.Generator().manual_seed(SEED)
    Q = torch.randn(len(K), r, generator=generator, dtype=torch.float64).to(K.device, K.dtype)
    for _ in range(rounds):
        Q = torch.linalg.qr(product(K, Q))[0]
    energies, U = torch.linalg.eigh((Q.T @ product(K, Q)).double())
    return energies, Q.double() @ U


def _leading_directions(rows: Rows, K: Tensor, r: int) -> Tensor:
    """About the r leading eigenvectors of X^T X, orthonormal, [d, at most r], given K = X X^T."""
    energies, U = leading_eigenvectors(K, r)
    usable = energies > 1e-6 * energies[-1]
    U = (U[:, usable] / energies[usable].sqrt()).to(K.dtype)
    V = torch.cat([product(part.T, U) for part in rows.columns()])
    L = torch.linalg.cholesky(product(V.T, V).double())
    return torch.linalg.solve_triangular(L.to(V.dtype), V.T, upper=False).T.contiguous()
