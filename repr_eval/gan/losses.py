"""What D and G minimise, as functions of D's logits on real images, r [N], and on fake ones, f [M].

- logistic [Goodfellow et al. 2014, section 3; the paper's]: D: E softplus(-r) + E softplus(f);
  G, non-saturating: E softplus(-f).
- hinge [Lim & Ye 2017; Miyato et al. 2018, equations 16 and 17]: D: E max(0, 1 - r) + E max(0, 1 + f); G: -E f.
- relativistic average [Jolicoeur-Martineau 2018, section 4.2]: with r' = r - E f and f' = f - E r,
  D: E softplus(-r') + E softplus(f'); G: E softplus(-f') + E softplus(r').
- consistency [Zhang et al. 2020, CR-GAN, section 2.2]: E (r1 - r2)^2 over two views of the same real images, for D.
- R1 [Mescheder et al. 2018, equation 9]: gamma / 2 E |grad_x D(x)|^2 over real x, for D.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class AdversarialLoss:
    """Two functions of (logits on real [N], logits on fake [M]), float32, to a scalar."""

    of_discriminator: Callable[[Tensor, Tensor], Tensor]
    of_generator: Callable[[Tensor, Tensor], Tensor]
    generator_needs_real: bool = False  # whether `of_generator` looks at its first argument


def _logistic(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def _hinge(real: Tensor, fake: Tensor) -> Tensor:
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def _relativistic(real: Tensor, fake: Tensor) -> Tensor:
    return _logistic(real - fake.mean(), fake - real.mean())


ADVERSARIAL_LOSSES = {
    "logistic": AdversarialLoss(_logistic, lambda real, fake: F.softplus(-fake).mean()),
    "hinge": AdversarialLoss(_hinge, lambda real, fake: -fake.mean()),
    "relativistic": AdversarialLoss(_relativistic, lambda real, fake: _relativistic(fake, real), True),
}


def inconsistency(one: Tensor, other: Tensor) -> Tensor:
    """Mean squared difference of D's logits [N] on two views of the same images."""
    return (one - other).square().mean()


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """E |grad_x D(x)|^2 / 2 for D's `logits` [N] on `images` [N, 3, S, S], which must require a gradient."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean() / 2
