"""One image file to uint8 [size, size, 3]: the shorter side resized to `size`, then the centre cropped.

The rule. Of an image w x h the centred square box of side s = min(w, h) is kept: from ((w - s) / 2, (h - s) / 2) to
((w + s) / 2, (h + s) / 2), its edges never rounded to whole pixels. Pillow's bicubic filter (a = -0.5), antialiased
(its support grows with the reduction), resizes that box to size x size in two passes, horizontal then vertical,
each rounded to the nearest integer and clipped to 0..255. An image smaller than `size` is enlarged by the same filter.
This is "resize the shorter side, then crop the centre" without the roundings of the long side and of the crop's offset.

Bicubic, because its weights vary smoothly. Pillow's box filter gives each source pixel wholly to one output pixel,
so that after a reduced-scale decode (below) neighbouring outputs average 2 or 3 pixels in turn: a mean difference
of 1.55 instead of 0.21. Lanczos rings more and is slower.

Reduced-scale decoding. A JPEG is decoded at 1/1, 1/2, 1/4 or 1/8 of its size (in the DCT domain, by libjpeg), the
smallest that leaves the shorter side at least REDUCED_SIDES * size. Measured on 59 full-size ImageNet photographs
against full decoding: the absolute difference in levels of 255, its 99.9th percentile, its mean in the worst image, and
the processor time an image (one core of an AMD EPYC, Pillow 13.0, libjpeg-turbo 3.2):

    size  REDUCED_SIDES  mean   99.9%  max  worst mean  time
    32    full decoding  0      0      0    0           2.9 ms
    32    4              0.158  3      9    0.32        1.8 ms
    32    3 (chosen)     0.210  3      9    0.56        1.6 ms
    32    2              0.508  6      19   1.00        1.5 ms
    64    full decoding  0      0      0    0           2.8 ms
    64    3 (chosen)     0.061  2      8    0.70        2.6 ms
    64    2              0.379  5      12   0.98        1.9 ms

Conventions. EXIF orientation is ignored, as ImageNet pipelines do. Transparency is composited over white, so that
colours hidden under it never show. CMYK becomes RGB by Pillow's plain formula, without colour profiles, and Adobe's
inverted CMYK is recognised. Of 16-bit grey the high byte is kept. Of an animation the first frame is taken.
"""

import io
import math
import os
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, UnidentifiedImageError, features

from repr_eval.system.files import open_regular

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MOST_PIXELS = 89_478_485  # of an image, by its header: Pillow's own limit, whatever a program has set there
REDUCED_SIDES = 3
BACKGROUND = (255, 255, 255)


class UnreadableImage(ValueError):
    """A file whose bytes are not a whole image of one of FORMATS; says which file and why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: cannot be read as an image ({self.reason})"


def image_names(folder: Path) -> list[str]:
    """The relative POSIX paths of the images anywhere under `folder`, sorted as strings.

    An image is a file whose name ends in one of SUFFIXES, in any case. Names that begin with a dot, of files and of
    folders, are passed over (macOS leaves `._name.JPEG` beside real images). Linked folders are entered, each folder
    once: one that several paths lead to under its own name or, where that lies elsewhere, that of the first link.
    Raises ValueError where there is no image, OSError where a folder cannot be listed.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: {'is not a folder' if folder.exists() else 'does not exist'}")
    names = []
    for parent, files in _folders(folder):
        prefix = Path(parent).relative_to(folder).as_posix() + "/"
        prefix = "" if prefix == "./" else prefix
        names += [prefix + name for name in files if _is_image_name(name)]
    if not names:
        raise ValueError(f"{folder}: has no images (no file ends in {', '.join(SUFFIXES)}, in any case)")
    return sorted(names)


def _folders(top: Path) -> Iterator[tuple[str, list[str]]]:
    """Every folder at and below `top` that a path without a dot's name leads to, once, and the names of its files.

    Links come after all that is found without them, in the order of their names; none is followed to a folder that
    `top` lies in.
    """
    above = (os.stat(folder) for folder in (*top.absolute().parents, *top.resolve().parents))
    entered = {(its.st_dev, its.st_ino) for its in above}
    waiting = deque([str(top)])
    while waiting:
        for parent, folders, files in os.walk(waiting.popleft(), onerror=_raise):
            its = os.stat(parent)
            if (its.st_dev, its.st_ino) in entered:
                folders.clear()
                continue
            entered.add((its.st_dev, its.st_ino))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            waiting += [path for name in folders if os.path.islink(path := os.path.join(parent, name))]
            yield parent, files


def image_files(folder: Path) -> list[Path]:
    """The images anywhere under `folder`, in the order of `image_names`."""
    return [folder / name for name in image_names(folder)]


def decode(path: Path, size: int) -> npt.NDArray[np.uint8]:
    """The image in `path` as uint8 [size, size, 3], RGB, by the rule at the top of this module.

    Raises UnreadableImage (a ValueError) for a file that is broken, cut short, of no known format, or so large that
    Pillow takes it for a decompression bomb; OSError where the file itself cannot be read.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size}")
    try:
        with open_regular(path) as file:
            content = file.read()  # Apart from decoding: a failing disk is not an unreadable image.
    except ValueError as error:
        raise UnreadableImage(path, "not a regular file") from error
    try:
        return _decode(content, size)
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImage(path, f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file") from error
    except Exception as error:  # Pillow's readers raise nearly anything on broken bytes.
        raise UnreadableImage(path, str(error) or type(error).__name__) from error


def resampler() -> dict[str, Any]:
    """The rule of `decode` for a record: in words, as values, and the versions of the decoders."""
    return {
        "description": (
            "min-side resize then centre crop: the centred square box of the shorter side, its edges not rounded to "
            "whole pixels, resized by Pillow's antialiased bicubic filter in two passes, horizontal then vertical, "
            "each rounded to the nearest integer; smaller images enlarged by the same filter; JPEGs first decoded at "
            f"the smallest of 1/1, 1/2, 1/4, 1/8 that leaves the shorter side at least {REDUCED_SIDES} times the size"
        ),
        "geometry": "min-side resize then centre crop",
        "filter": "bicubic",
        "antialias": True,
        "box_rounding": "none",
        "jpeg_reduced_decode": {"scales": [1, 2, 4, 8], "least_shorter_side_in_sizes": REDUCED_SIDES},
        "exif_orientation": "ignored",
        "background": list(BACKGROUND),
        "decoder": {"pillow": PIL.__version__, "libjpeg_turbo": features.version("libjpeg_turbo")},
    }


def _decode(content: bytes, size: int) -> npt.NDArray[np.uint8]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Mostly about EXIF, which is not used.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            check_size(image)
            return _square(image, size, *_reduce(image, REDUCED_SIDES * size))


def check_size(image: Image.Image) -> None:
    """ValueError for an image that is so large, by its header, that decoding would fill the memory."""
    if math.prod(image.size) > MOST_PIXELS:
        raise ValueError(f"{image.size[0]:,}x{image.size[1]:,} pixels; at most {MOST_PIXELS:,} are decoded")


def squared(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """An image of Pillow's as uint8 [size, size, 3], by the rule at the top of this module.

    ValueError as of `check_size`: most are not decoded yet.
    """
    check_size(image)
    return _square(image, size, *image.size)


def _square(image: Image.Image, size: int, width: float, height: float) -> npt.NDArray[np.uint8]:
    """The centred square box of an image whose whole is `width` x `height` of its pixels, resized."""
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return np.array(_rgb(image).resize((size, size), Image.Resampling.BICUBIC, box=box), dtype=np.uint8)


def _reduce(image: Image.Image, least: int) -> tuple[float, float]:
    """Have a JPEG decoded at the smallest scale whose sides are still at least `least`.

    Returns the width and height of the whole image in pixels of that scale: 187.5 for half of 375, where
    the decoded image has 188 columns and the last is half padding.
    """
    drafted = image.draft(image.mode, (least, least))  # None for all but JPEG.
    if drafted is None:
        return image.size
    _, (_, _, width, height) = drafted
    return width, height


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose range is unknown")
    if image.mode.startswith("I"):
        high_byte = np.clip(np.asarray(image), 0, 65535) >> 8
        image = Image.fromarray(high_byte.astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*BACKGROUND, 255)), image)
    return image.convert("RGB")


def _is_image_name(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _raise(error: OSError) -> None:
    raise error
