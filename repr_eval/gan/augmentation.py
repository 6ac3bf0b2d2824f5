"""Random views of images, differentiable, so that G can be trained through them [Zhao et al. 2020, section 3].

Applied alike to all that D sees, real or fake: G then learns the images themselves and not their views. Every image
draws its own numbers, from a generator that the caller seeds.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

ASPECT = (3 / 4, 4 / 3)  # of a crop, uniform in its logarithm [Szegedy et al. 2015, section 6]
LUMA = (0.299, 0.587, 0.114)  # grey value of red, green and blue [ITU-R BT.601]
YIQ = (LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))  # rows Y, I, Q [FCC NTSC]


@dataclass(frozen=True)
class Augmentation:
    """Which views are drawn; the defaults change nothing. Images are float [N, 3, S, S] in [-1, 1].

    Geometry, in one bilinear resampling: a crop of `crop` to `crop_to` of the area, scaled back to the whole or to
    `size` pixels a side [Szegedy et al. 2015]; a mirror image half of the time; a shift of up to `translate` of the
    side each way, where edge pixels are repeated (differs from Zhao et al., who pad with 0).
    Colour, in this order: `hue` turns the colours about the grey axis by U(-h, h) of a full turn [in the YIQ plane, as
    Karras et al. 2020, section 3 of their appendix B]; `saturation` scales the distance from the pixel's grey value by
    U(1 - s, 1 + s), and by 0 in a share `grey` of the images; `contrast` scales the distance from the image's mean by
    U(1 - c, 1 + c); `brightness` adds U(-b, b). All but grey change a share `jitter` of the images.
    `cutout` greys a square of that share of the side, centred anywhere [DeVries & Taylor 2017].
    """

    crop: float = 1.0
    flip: bool = False
    translate: float = 0.0
    brightness: float = 0.0
    saturation: float = 0.0
    grey: float = 0.0
    contrast: float = 0.0
    cutout: float = 0.0
    hue: float = 0.0
    jitter: float = 1.0
    crop_to: float = 1.0
    size: int = 0  # pixels a side; 0 for the image's own

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A new view of every image in x [N, 3, S, S]; `generator` lives on the images' device."""
        if self.crop < 1 or self.flip or self.translate or self.size:
            grid = self._grid(x, generator)
            x = F.grid_sample(x.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
        if self.brightness or self.saturation or self.grey or self.contrast or self.hue:
            x = self._coloured(x, generator)
        if self.cutout:
            x = x * self._kept(x, generator)
        return x.contiguous(memory_format=torch.channels_last)

    def _grid(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Where each pixel of the view comes from: [N, S, S, 2], (x, y) in [-1, 1] as grid_sample has them."""
        n, side = len(x), x.shape[-1]
        area = _uniform(n, self.crop, self.crop_to, generator)
        aspect = torch.exp(_uniform(n, math.log(ASPECT[0]), math.log(ASPECT[1]), generator))
        if self.crop == 1:
            aspect = torch.ones_like(aspect)
        width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
        left, top = ((1 - size) * _uniform(n, -1, 1, generator) for size in (width, height))
        # Whole pixels, so that a shift alone does not blur.
        shift = (_uniform(2 * n, -self.translate, self.translate, generator) * side).round() * 2 / side
        mirror = torch.where(_uniform(n, 0, 1, generator) < 0.5, -1.0, 1.0) if self.flip else torch.ones_like(area)
        zero = torch.zeros_like(area)
        theta = torch.stack([width * mirror, zero, left + shift[:n], zero, height, top + shift[n:]], 1)
        size = self.size or side
        return F.affine_grid(theta.view(n, 2, 3), [n, 3, size, size], align_corners=False)

    def _coloured(self, x: Tensor, generator: torch.Generator) -> Tensor:
        n = len(x)
        added = _uniform(n, -self.brightness, self.brightness, generator).view(n, 1, 1, 1)
        saturation = _uniform(n, 1 - self.saturation, 1 + self.saturation, generator)
        turned_grey = _uniform(n, 0, 1, generator) < self.grey
        contrast = _uniform(n, 1 - self.contrast, 1 + self.contrast, generator).view(n, 1, 1, 1)
        if self.jitter < 1:
            still = _uniform(n, 0, 1, generator) >= self.jitter
            saturation = torch.where(still, 1.0, saturation)
            added, contrast = (
                torch.where(still.view(n, 1, 1, 1), kept, value) for kept, value in ((0.0, added), (1.0, contrast))
            )
        if self.hue:
            angle = 2 * math.pi * _uniform(n, -self.hue, self.hue, generator)
            x = _hue_turned(x, torch.where(still, 0.0, angle) if self.jitter < 1 else angle)
        saturation = torch.where(turned_grey, 0.0, saturation).view(n, 1, 1, 1)
        grey = LUMA[0] * x[:, :1] + LUMA[1] * x[:, 1:2] + LUMA[2] * x[:, 2:]
        x = torch.lerp(grey, x, saturation)
        mean = x.mean((1, 2, 3), keepdim=True)
        return torch.lerp(mean, x, contrast) + added

    def _kept(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """[N, 1, S, S]: 0 in the square that is cut out, 1 elsewhere."""
        n, side = len(x), x.shape[-1]
        half = self.cutout * side / 2
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
