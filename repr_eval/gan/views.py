"""Draws the views of images that an `Augmentation` describes: differentiable, so that G can be trained through them.

Every image draws its own numbers, from a generator that the caller seeds.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from repr_eval.gan.augmentation import Augmentation

ASPECT = (3 / 4, 4 / 3)  # of a crop, uniform in its logarithm [Szegedy et al. 2015, section 6]
LUMA = (0.299, 0.587, 0.114)  # grey value of red, green and blue [ITU-R BT.601]
YIQ = (LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))  # rows Y, I, Q [FCC NTSC]


def augmented(x: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """A new view, drawn as `how` says, of every image in x [N, 3, S, S]; `generator` lives on the images' device."""
    if how.crop < 1 or how.flip or how.translate or how.size:
        grid = _grid(x, how, generator)
        x = F.grid_sample(x.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    if how.brightness or how.saturation or how.grey or how.contrast or how.hue:
        x = _coloured(x, how, generator)
    if how.cutout:
        x = x * _kept(x, how, generator)
    return x.contiguous(memory_format=torch.channels_last)


def _grid(x: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Where each pixel of the view comes from: [N, S, S, 2], (x, y) in [-1, 1] as grid_sample has them."""
    n, side = len(x), x.shape[-1]
    area = _uniform(n, how.crop, how.crop_to, generator)
    aspect = torch.exp(_uniform(n, math.log(ASPECT[0]), math.log(ASPECT[1]), generator))
    if how.crop == 1:
        aspect = torch.ones_like(aspect)
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    left, top = ((1 - size) * _uniform(n, -1, 1, generator) for size in (width, height))
    # Whole pixels, so that a shift alone does not blur.
    shift = (_uniform(2 * n, -how.translate, how.translate, generator) * side).round() * 2 / side
    mirror = torch.where(_uniform(n, 0, 1, generator) < 0.5, -1.0, 1.0) if how.flip else torch.ones_like(area)
    zero = torch.zeros_like(area)
    theta = torch.stack([width * mirror, zero, left + shift[:n], zero, height, top + shift[n:]], 1)
    size = how.size or side
    return F.affine_grid(theta.view(n, 2, 3), [n, 3, size, size], align_corners=False)


def _coloured(x: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    n = len(x)
    added = _uniform(n, -how.brightness, how.brightness, generator).view(n, 1, 1, 1)
    saturation = _uniform(n, 1 - how.saturation, 1 + how.saturation, generator)
    turned_grey = _uniform(n, 0, 1, generator) < how.grey
    contrast = _uniform(n, 1 - how.contrast, 1 + how.contrast, generator).view(n, 1, 1, 1)
    if how.jitter < 1:
        still = _uniform(n, 0, 1, generator) >= how.jitter
        saturation = torch.where(still, 1.0, saturation)
        added, contrast = (
            torch.where(still.view(n, 1, 1, 1), kept, value) for kept, value in ((0.0, added), (1.0, contrast))
        )
    if how.hue:
        angle = 2 * math.pi * _uniform(n, -how.hue, how.hue, generator)
        x = _hue_turned(x, torch.where(still, 0.0, angle) if how.jitter < 1 else angle)
    saturation = torch.where(turned_grey, 0.0, saturation).view(n, 1, 1, 1)
    grey = LUMA[0] * x[:, :1] + LUMA[1] * x[:, 1:2] + LUMA[2] * x[:, 2:]
    x = torch.lerp(grey, x, saturation)
    mean = x.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, x, contrast) + added


def _kept(x: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """[N, 1, S, S]: 0 in the square that is cut out, 1 elsewhere."""
    n, side = len(x), x.shape[-1]
    half = how.cutout * side / 2
    centre = (_uniform(2 * n, 0, side, generator)).view(2, n, 1)
    inside = (torch.arange(side, device=x.device) + 0.5 - centre).abs() < half
    return 1 - (inside[0, :, :, None] & inside[1, :, None, :]).unsqueeze(1).float()


def _hue_turned(x: Tensor, angle: Tensor) -> Tensor:
    """x [N, 3, S, S] with its colours turned by `angle` [N], in radians, in the plane of YIQ's I and Q."""
    to_yiq = torch.tensor(YIQ, device=x.device)
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).view(-1, 3, 3)
    matrix = torch.linalg.inv(to_yiq) @ turn @ to_yiq
    n, _, height, width = x.shape
    return (matrix @ x.reshape(n, 3, height * width)).view(n, 3, height, width)


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, device=generator.device) * (high - low) + low
