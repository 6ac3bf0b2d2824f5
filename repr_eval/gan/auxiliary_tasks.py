"""What D learns from real images besides telling them from fakes, each through a head of its own.

The heads take part in training and in checkpoints; they are no part of the published discriminator.

- rotation [Gidaris et al. 2018; as D's second task: Chen et al. 2019, SS-GAN, section 3]: an image turned by
  0, 1, 2 or 3 quarter turns; cross-entropy of a linear head's four logits.
- contrast [Chen et al. 2020, SimCLR, equation 1; in D: Jeong & Shin 2021, ContraD]: with u_i the unit projections of
  2N views, two of each of N images, and i' the other view of i's image,
  loss = E_i -log( exp(u_i.u_i' / t) / sum_{j != i} exp(u_i.u_j / t) ).
  Of more than two views of each image, view v of image i is told from those of the other images by the unit mean m_iv
  of i's other views: loss = E_iv -log( exp(u_iv.m_iv / t) / sum_j exp(u_iv.m_jv / t) ).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repr_eval.gan.networks import BN_EPS, GRID
from repr_eval.gan.recipes import Recipe

TURNS = 4


class Heads(nn.Module):
    """Linear rotation head and two-layer projection head, on what they read of D's maps, float [N, d]."""

    def __init__(self, maps: tuple[int, ...], recipe: Recipe):
        super().__init__()
        self.reads = recipe.tasks_read
        d = {"last": maps[-1] * GRID * GRID, "all": sum(maps) * GRID * GRID, "mean": maps[-1]}[self.reads]
        hidden, length = recipe.projection
        norm = [nn.BatchNorm1d(hidden, BN_EPS)] if recipe.projection_norm else []
        self.rotation = nn.Linear(d, TURNS, bias=False) if recipe.rotation else None
        self.projection = (
            nn.Sequential(nn.Linear(d, hidden, bias=False), *norm, nn.ReLU(), nn.Linear(hidden, length, bias=False))
            if recipe.contrast
            else None
        )

    def read(self, activations: list[Tensor]) -> Tensor:
        """The last layer's maps, or those of all layers max-pooled to a 4x4 grid (the features), flattened; or the
        means of the last layer's maps, which images of any size have."""
        if self.reads == "mean":
            return activations[-1].mean((2, 3))
        chosen = activations if self.reads == "all" else activations[-1:]
        return torch.cat([F.max_pool2d(h, h.shape[-1] // GRID).flatten(1) for h in chosen], 1)


def turned(images: Tensor) -> tuple[Tensor, Tensor]:
    """Images [N, 3, S, S], number i turned by i mod 4 quarter turns, and those numbers int64 [N].

    Batches come in random order, so a fixed assignment is a random one.
    """
    turns = torch.arange(len(images), device=images.device) % TURNS
    result = torch.empty_like(images)
    for k in range(TURNS):
        result[k::TURNS] = torch.rot90(images[k::TURNS], k, (2, 3))
    return result, turns


def rotation_loss(heads: Heads, activations: list[Tensor], turns: Tensor) -> Tensor:
    """Cross-entropy of the rotation head on D's activations on images turned by `turns` int64 [N]."""
    assert heads.rotation is not None
    return F.cross_entropy(heads.rotation(heads.read(activations)).float(), turns)


def contrast_loss(heads: Heads, views: list[list[Tensor]], temperature: float) -> Tensor:
    """`telling_views_apart` of the projections of D's activations on several views of the same images."""
    assert heads.projection is not None
    projections = [heads.projection(heads.read(activations)) for activations in views]
    if len(projections) == 2:
        return telling_views_apart(projections[0], projections[1], temperature)
    return telling_many_apart(torch.stack(projections), temperature)


def telling_views_apart(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """The mean over 2N views of -log p(the other view of the same image); projections float [N, k] each."""
    u = F.normalize(torch.cat([one, other]).float(), dim=1)
    n = len(one)
    similarity = u @ u.T / temperature
    similarity = similarity.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=u.device), -torch.inf)
    partner = torch.arange(2 * n, device=u.device).roll(n)
    return F.cross_entropy(similarity, partner)


def telling_many_apart(projections: Tensor, temperature: float) -> Tensor:
    """The mean over V views of N images of -log p(the mean of the image's other views); projections [V, N, k]."""
    u = F.normalize(projections.float(), dim=2)
    others = F.normalize(u.sum(0) - u, dim=2)
    similarity = torch.bmm(u, others.transpose(1, 2)) / temperature
    own = torch.arange(u.shape[1], device=u.device).repeat(len(u))
    return F.cross_entropy(similarity.flatten(0, 1), own)
