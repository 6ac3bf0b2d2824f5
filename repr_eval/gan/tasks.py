"""What D learns from real images besides telling them from fakes, each through a head of its own on its last layer.

The heads take part in training and in checkpoints; they are no part of the published discriminator.

- rotation [Gidaris et al. 2018; as D's second task: Chen et al. 2019, SS-GAN, section 3]: an image turned by
  0, 1, 2 or 3 quarter turns; cross-entropy of a linear head's four logits.
- contrast [Chen et al. 2020, SimCLR, equation 1; in D: Jeong & Shin 2021, ContraD]: with u_i the unit projections of
  2N views, two of each of N images, and i' the other view of i's image,
  loss = E_i -log( exp(u_i.u_i' / t) / sum_{j != i} exp(u_i.u_j / t) ).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TURNS = 4
HIDDEN, PROJECTION = 256, 128  # units of the projection head; SimCLR projects to 128


class Heads(nn.Module):
    """Linear rotation head and two-layer projection head on D's last maps, flattened, float [N, d]."""

    def __init__(self, d: int, rotation: bool, contrast: bool):
        super().__init__()
        self.rotation = nn.Linear(d, TURNS, bias=False) if rotation else None
        self.projection = (
            nn.Sequential(nn.Linear(d, HIDDEN, bias=False), nn.ReLU(), nn.Linear(HIDDEN, PROJECTION, bias=False))
            if contrast
            else None
        )


def turned(images: Tensor) -> tuple[Tensor, Tensor]:
    """Images [N, 3, S, S], number i turned by i mod 4 quarter turns, and those numbers int64 [N].

    Batches come in random order, so a fixed assignment is a random one.
    """
    turns = torch.arange(len(images), device=images.device) % TURNS
    result = torch.empty_like(images)
    for k in range(TURNS):
        result[k::TURNS] = torch.rot90(images[k::TURNS], k, (2, 3))
    return result, turns


def contrast_loss(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """The mean over 2N views of -log p(the other view of the same image); projections float [N, k] each."""
    u = F.normalize(torch.cat([one, other]).float(), dim=1)
    n = len(one)
    similarity = u @ u.T / temperature
    similarity = similarity.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=u.device), -torch.inf)
    partner = torch.arange(2 * n, device=u.device).roll(n)
    return F.cross_entropy(similarity, partner)
