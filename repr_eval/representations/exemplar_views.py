"""Random transformations of image patches that leave what they show as it is [Dosovitskiy et al. 2014, section 2].

A patch is a square window of 32x32 pixels in an image, which may be enlarged first. Its views differ in position, scale
and angle, all in one bilinear resampling, then in contrast along the principal components of the pixels' colours, then
in saturation, value and hue. Colours are in 0 to 1 and stay there. The paper gives the ranges (RANGES) and not how the
numbers lie in them: factors and powers are uniform in their logarithm here, all else uniform.

Differs from the paper: beyond the image its edge pixels are repeated, where the released code draws no such patch; that
code also stretches each patch to the full range of values before the last step, of which the paper doesn't speak.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

PATCH = 32  # pixels

# What is drawn: the lower and upper end, how many of it, and whether uniform in the logarithm.
RANGES = {
    "shift": (-0.2, 0.2, 2, False),  # of the patch's side: to the right, downwards
    "scale": (0.7, 1.4, 1, False),
    "angle": (-20.0, 20.0, 1, False),  # degrees, counterclockwise
    "contrast": (0.5, 2.0, 3, True),  # of the projection on each principal component
    "power": (0.25, 4.0, 2, True),  # of saturation and value, like the next two
    "factor": (0.7, 1.4, 2, True),
    "addend": (-0.1, 0.1, 2, False),
    "hue": (-0.1, 0.1, 1, False),  # of a turn
}
N_NUMBERS = sum(count for _, _, count, _ in RANGES.values())


class Transformations(NamedTuple):
    """One transformation for each of n patches; the fields are those of RANGES, each [n, how many of it]."""

    shift: Tensor
    scale: Tensor
    angle: Tensor
    contrast: Tensor
    power: Tensor
    factor: Tensor
    addend: Tensor
    hue: Tensor


class Colours(NamedTuple):
    """Where the pixels' colours lie: their mean [3] and the principal components, columns of `axes` [3, 3]."""

    mean: Tensor
    axes: Tensor


def transformations(numbers: Tensor) -> Transformations:
    """The transformations that `numbers` [n, 14] in 0 to 1 stand for, 0 for the lower end of a range."""
    drawn = []
    columns = numbers.split([count for _, _, count, _ in RANGES.values()], 1)
    for u, (low, high, _, logarithmic) in zip(columns, RANGES.values(), strict=True):
        drawn.append(low * (high / low) ** u if logarithmic else low + (high - low) * u)
    return Transformations(*drawn)


def colours_of(images: np.ndarray) -> Colours:
    """Mean and principal components of the pixels of images uint8 [N, S, S, 3], in 0 to 1."""
    pixels = images.reshape(-1, 3).astype(np.float32) / 255
    mean = pixels.mean(0, dtype=np.float64)
    centred = pixels - mean.astype(np.float32)
    _, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    return Colours(torch.from_numpy(mean).float(), torch.from_numpy(axes).float())


def transformed(x: Tensor, centres: Tensor, t: Transformations, colours: Colours, side: int) -> Tensor:
    """A view float [n, 3, 32, 32] of one patch of each image in x [n, 3, S, S], brought to `side` pixels a side.

    `centres` [n, 2], across and down, say where the patches are, from -1 to 1 over the image.
    """
    return recoloured(contrasted(resampled(x, centres, t, side), t, colours), t)


def resampled(x: Tensor, centres: Tensor, t: Transformations, side: int) -> Tensor:
    """Translation, scaling and rotation of the patches of x that `transformed` speaks of: [n, 3, 32, 32]."""
    angle = t.angle[:, 0] * (math.pi / 180)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    rotation = torch.stack([cosine, -sine, sine, cosine], 1).view(-1, 2, 2)
    # A pixel at p of the view, -1 to 1, comes from R (p - 2 shift) / scale of the patch, PATCH / side of the image.
    linear = rotation * (PATCH / side / t.scale)[:, :, None]
    offset = centres[:, :, None] - linear @ (2 * t.shift)[:, :, None]
    grid = F.affine_grid(torch.cat([linear, offset], 2), [len(x), 3, PATCH, PATCH], align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def contrasted(x: Tensor, t: Transformations, colours: Colours) -> Tensor:
    """x [n, 3, h, w] with each pixel's projections on the principal components multiplied ("contrast 1")."""
    mean = colours.mean[:, None]
    matrices = (colours.axes * t.contrast[:, None, :]) @ colours.axes.T
    return (matrices @ (x.flatten(2) - mean) + mean).clamp_(0, 1).view_as(x)


def recoloured(x: Tensor, t: Transformations) -> Tensor:
    """x [n, 3, h, w] with saturation and value raised to a power, multiplied and added to, and the hue turned."""
    hsv = to_hsv(x)
    power, factor, addend = (p[:, :, None, None] for p in (t.power, t.factor, t.addend))
    sv = (hsv[:, 1:] ** power * factor + addend).clamp_(0, 1)
    return to_rgb(torch.cat([hsv[:, :1] + t.hue[:, :, None, None], sv], 1))


def to_hsv(x: Tensor) -> Tensor:
    """Hue (a turn is 1), saturation and value of red, green and blue [n, 3, h, w] in 0 to 1 [Smith 1978]."""
    red, green, blue = x.unbind(1)
    value, low = x.amax(1), x.amin(1)
    chroma = value - low
    c = torch.where(chroma > 0, chroma, 1.0)  # of a grey the hue is 0
    in_sixths = torch.where(value == green, (blue - red) / c + 2, (red - green) / c + 4)
    in_sixths = torch.where(value == red, (green - blue) / c, in_sixths)
    return torch.stack([in_sixths / 6 % 1, chroma / torch.where(value > 0, value, 1.0), value], 1)


def to_rgb(x: Tensor) -> Tensor:
    """Red, green and blue of hue (a turn is 1), saturation and value [n, 3, h, w]: the inverse of `to_hsv`."""
    hue, saturation, value = x.split(1, 1)
    # The share of the chroma that each colour lacks falls to 0 over a sixth of a turn, stays so for two, and rises.
    k = (torch.tensor([5.0, 3.0, 1.0], device=x.device).view(1, 3, 1, 1) + 6 * hue) % 6
    return value - value * saturation * torch.minimum(k, 4 - k).clamp_(0, 1)


def gradients(images: np.ndarray, side: int) -> Tensor:
    """Mean squared gradient of the patches of images uint8 [N, S, S, 3] brought to `side`: float [N, P, P].

    The patches lie at every pixel of the image, from the upper left one.
    """
    window = images.shape[1] * PATCH // side
    blocks = []
    for start in range(0, len(images), 5000):
        grey = torch.from_numpy(images[start : start + 5000].mean(3, dtype=np.float32))
        across, down = grey[:, :-1, 1:] - grey[:, :-1, :-1], grey[:, 1:, :-1] - grey[:, :-1, :-1]
        blocks.append(F.avg_pool2d((across.square() + down.square())[:, None], window - 1, 1)[:, 0])
    return torch.cat(blocks)


def draw_patches(images: np.ndarray, n: int, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """n patches of different images uint8 [N, S, S, 3]: which images, int64 [n], and the patches' centres [n, 2].

    Drawn with a probability proportional to the mean squared gradient in them, after the paper; one patch an image,
    after the released code. ValueError where fewer than n images are anything but flat.
    """
    size = images.shape[1]
    where = gradients(images, side)
    weights = where.flatten(1).double()
    if (structured := int((weights.sum(1) > 0).sum())) < n:
        raise ValueError(
            f"{n:,} patches of different images: only {structured:,} of {len(images):,} images are not flat; "
            f"at least {n:,} such training images are needed"
        )
    which = torch.multinomial(weights.mean(1), n, generator=generator)
    position = torch.multinomial(weights[which], 1, generator=generator)
    corners = torch.cat([position % where.shape[2], position // where.shape[2]], 1)
    return which, (2 * corners + size * PATCH // side) / size - 1
