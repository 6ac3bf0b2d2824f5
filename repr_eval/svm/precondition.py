"""A preconditioner from the leading directions of the feature matrix.

H = I + 2C X^T D X has a few eigenvalues in the thousands (activations are positive, so their mean alone is one) and a
long tail; conjugate gradients spend most of their iterations on the former. Those directions are much the same for
every class, value of C and set of active rows, up to the fraction rho of rows that are active. A sample of the rows
gives them: with X_S X_S^T = U L U^T, V = X_S^T U L^-1/2 are directions and L n/m their energies in all of X. Then

    M = I + V (2C rho L n/m) V^T,        M^-1 r = r - V ( (2C rho L n/m) / (1 + 2C rho L n/m) * V^T r ).

A wrong guess costs iterations, never exactness.
"""

import numpy as np
import torch
from torch import Tensor

from repr_eval.svm.rows import Rows

SAMPLE = 2000  # rows
DIRECTIONS = 400
SEED = 0  # of the choice of rows; changes the time, not the result


class LeadingDirections:
    """The preconditioner above; call it with residuals [d, k], C and the active fraction [k]."""

    def __init__(self, rows: Rows, sample: int = SAMPLE, directions: int = DIRECTIONS):
        m = min(sample, rows.n)
        chosen = np.sort(np.random.RandomState(SEED).permutation(rows.n)[:m])
        A = rows.take(chosen)
        energies, U = torch.linalg.eigh((A @ A.T).double())
        r = min(directions, m // 2, rows.d)
        energies, U = energies[-r:], U[:, -r:]
        usable = energies > 1e-6 * energies[-1]
        energies, U = energies[usable], U[:, usable]
        self.V = A.T @ (U / energies.sqrt()).to(rows.dtype)  # [d, r], orthonormal columns
        self.energies = (energies * (rows.n / m)).to(rows.dtype)

    def __call__(self, R: Tensor, C: float, active: Tensor) -> Tensor:
        weight = 2 * C * self.energies[:, None] * active
        return R - self.V @ (weight / (1 + weight) * (self.V.T @ R))
