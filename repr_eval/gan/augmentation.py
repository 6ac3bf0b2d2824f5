"""Random views of images, differentiable, so that G can be trained through them [Zhao et al. 2020, section 3].

Applied alike to all that D sees, real or fake: G then learns the images themselves and not their views. Here are the
choices, which recipes and settings hold; `repr_eval.gan.views` draws the views.
"""

from dataclasses import dataclass


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
