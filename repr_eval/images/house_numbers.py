"""House-number-like digits in the layout of SVHN's cropped digits, drawn rather than photographed.

They stand in for the originals in tests and in rehearsals of the full scale (73,257 train, 26,032 test,
531,131 extra). An error rate measured on them says nothing about SVHN's, so `about.json` names them.

One picture is a row of up to three digits of one face (the middle one is the label, the others are cut by
the left and right border), laid on a wall or a plate, then lit unevenly, blurred and given noise. Every
range below is a choice made by eye, not a measurement of SVHN.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.io import savemat

from repr_eval.system.files import exclusive, replacing, write_text
from repr_eval.system.progress import progress_count

NAME = "house-numbers-generated"
GENERATOR_NAME = "house-numbers 1"  # Raise the number with any change that can move a pixel.
SIDE = 32

_FACES = tuple(
    f"DejaVu{face}.ttf"
    for face in (
        *("Sans", "Sans-Bold", "Sans-Oblique", "Sans-BoldOblique"),
        *("Serif", "Serif-Bold", "Serif-Italic", "Serif-BoldItalic"),
        *("SansMono", "SansMono-Bold", "SansMono-Oblique", "SansMono-BoldOblique"),
    )
)
_BLANK = 10  # The atlas column after the ten digits: no digit at all.
_DIGIT_HEIGHT, _CELL_HEIGHT, _CELL_WIDTH = 28, 36, 40  # Atlas pixels; the cell leaves an empty margin.
_SUPERSAMPLING = 4
_BLOCK = 256  # Pictures drawn together; small enough for the arrays to stay near the processor's caches.


@cache
def _atlas() -> np.ndarray:
    """Coverage of every glyph, float64 [faces, 11, 36, 40] in [0, 1], centred, 28 high; 10 is blank."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    atlas = np.zeros((len(_FACES), 11, _CELL_HEIGHT, _CELL_WIDTH))
    size = (_CELL_WIDTH * _SUPERSAMPLING, _CELL_HEIGHT * _SUPERSAMPLING)
    for face, name in enumerate(_FACES):
        # DejaVu's digits are 0.729 em high. The basic layout is the one that every build of Pillow has.
        em = _DIGIT_HEIGHT * _SUPERSAMPLING / 0.729
        font = ImageFont.truetype(str(folder / name), em, layout_engine=ImageFont.Layout.BASIC)
        for digit in range(10):
            glyph = Image.new("L", size)
            left, top, right, bottom = font.getbbox(str(digit))
            corner = ((size[0] - left - right) / 2, (size[1] - top - bottom) / 2)
            ImageDraw.Draw(glyph).text(corner, str(digit), fill=255, font=font)
            atlas[face, digit] = np.asarray(glyph.reduce(_SUPERSAMPLING)) / 255
    atlas.setflags(write=False)
    return atlas


def _per_image(values: np.ndarray) -> np.ndarray:
    """[n] -> [n, 1, 1], to meet arrays of pixels."""
    return values[:, None, None]


def _row_coordinates(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel lies in its row of digits: u (along), v (down), float64 [n, 32, 32], in atlas pixels.

    The origin is the middle of the centre digit. Drawn per picture: height 16 to 29 pixels, width 0.7 to 1.1
    of the face's own, turn within 15 degrees, shear within 0.25, shift within 2.5 pixels.
    """
    pixel = np.arange(SIDE) - (SIDE - 1) / 2
    x = pixel[None, None, :] - _per_image(rng.uniform(-2.5, 2.5, n))
    y = pixel[None, :, None] - _per_image(rng.uniform(-2.5, 2.5, n))
    scale = rng.uniform(16, 29, n) / _DIGIT_HEIGHT
    stretch = rng.uniform(0.7, 1.1, n)
    angle = np.deg2rad(np.clip(rng.normal(0, 6, n), -15, 15))
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    v = _per_image(cosine) * y - _per_image(sine) * x
    along = _per_image(cosine / stretch) * x + _per_image(sine / stretch) * y
    return along + _per_image(rng.uniform(-0.25, 0.25, n)) * v, v


def _coverage(labels: np.ndarray, u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Share of ink in each pixel, float64 [n, 32, 32] in [0, 1]; 60% of the sides have a neighbour."""
    n = len(labels)
    atlas = _atlas()
    beside = np.where(rng.random((n, 2)) < 0.6, rng.integers(0, 10, (n, 2)), _BLANK)
    blank = np.full(n, _BLANK)
    row = np.stack([blank, beside[:, 0], labels, beside[:, 1], blank], axis=1)
    row += 11 * rng.integers(0, len(_FACES), (n, 1))
    # A pixel belongs to one digit of the row only, so that one look-up serves all three.
    advance = _per_image(rng.uniform(23, 29, n))
    place = np.clip(np.rint(u / advance), -2, 2)
    glyph = np.take_along_axis(row, (place + 2).astype(np.int64).reshape(n, -1), axis=1).reshape(u.shape)
    column = np.clip(u - place * advance + (_CELL_WIDTH - 1) / 2, 0, _CELL_WIDTH - 1.001)
    line = np.clip(v + (_CELL_HEIGHT - 1) / 2, 0, _CELL_HEIGHT - 1.001)
    j, i = column.astype(np.int64), line.astype(np.int64)
    right, down = column - j, line - i
    at = (glyph * _CELL_HEIGHT + i) * _CELL_WIDTH + j
    flat = atlas.reshape(-1)
    upper = flat[at] * (1 - right) + flat[at + 1] * right
    lower = flat[at + _CELL_WIDTH] * (1 - right) + flat[at + _CELL_WIDTH + 1] * right
    return upper * (1 - down) + lower * down


def _texture(n: int, rng: np.random.Generator) -> np.ndarray:
    """A wall's unevenness, float64 [n, 32, 32], about [-1, 1]: blotches, for a third also stripes."""
    knots = 6
    place = np.linspace(0, knots - 1, SIDE)
    hat = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(knots)))  # [32, 6], linear interpolation
    blotches = hat @ rng.normal(0, 0.6, (n, knots, knots)) @ hat.T
    heading = rng.uniform(0, np.pi, n)
    frequency = 2 * np.pi / rng.uniform(4, 14, n)
    pixel = np.arange(SIDE)
    along_x = _per_image(np.cos(heading) * frequency) * pixel[None, None, :]
    along_y = _per_image(np.sin(heading) * frequency) * pixel[None, :, None]
    stripes = np.sin(along_x + along_y + _per_image(rng.uniform(0, 2 * np.pi, n)))
    depth = np.where(rng.random(n) < 0.35, rng.uniform(0.2, 0.8, n), 0.0)
    return blotches + _per_image(depth) * stripes


def _colours(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ground, surroundings and ink, float64 [n, 3] near [0, 255], and the contrast of ink to ground [n].

    The contrast is 32 to 160 grey levels, mostly low. Ink is the darker for three in ten:
    a linear SVM of raw pixels then errs on 64% with 1000 labels (84% with even chances, 52% with two in ten).
    """
    contrast = 32 + 128 * rng.beta(1.2, 2.0, n)
    sign = np.where(rng.random(n) < 0.3, -1.0, 1.0)
    middle = rng.uniform(20 + contrast / 2, 235 - contrast / 2)
    tints = rng.normal(0, 14, (3, n, 3))
    tints -= tints.mean(axis=2, keepdims=True)  # A tint moves the hue and leaves the contrast.
    ground = (middle - sign * contrast / 2)[:, None] + tints[0]
    ink = (middle + sign * contrast / 2)[:, None] + tints[1]
    return ground, ground + rng.uniform(-45, 45, (n, 1)) + tints[2], ink, contrast


def _paint(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sharp and noiseless pictures of `labels`, float64 [n, 3, 32, 32], unclipped, about [0, 255]."""
    n = len(labels)
    u, v = _row_coordinates(n, rng)
    ink_cover = _coverage(labels, u, v, rng)
    ground, around, ink, contrast = _colours(n, rng)
    # For four in ten, the row stands on a plate whose upper and lower edges may show.
    plate_half = _per_image(np.where(rng.random(n) < 0.4, rng.uniform(16, 22, n), np.inf))
    plate_cover = np.clip(plate_half - np.abs(v) + 0.5, 0, 1)
    shade = _texture(n, rng) * _per_image(contrast * rng.uniform(0.03, 0.3, n))
    # Raised digits: a faint shadow or highlight of the ink, one pixel down and to the right.
    relief = np.zeros_like(ink_cover)
    relief[:, 1:, 1:] = ink_cover[:, :-1, :-1]
    shade += _per_image(contrast * np.clip(rng.normal(0, 0.2, n), -0.4, 0.4)) * relief

    def spread(colour: np.ndarray) -> np.ndarray:
        return colour[:, :, None, None]

    picture = spread(around) + plate_cover[:, None] * spread(ground - around) + shade[:, None]
    return picture + ink_cover[:, None] * (spread(ink) - picture)


def _photograph(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light, blur and noise: float64 [n, 3, 32, 32] -> uint8 of the same shape.

    A slope of light of up to 30% from middle to border, Gaussian blur of 0.35 to 1.3 pixels, noise of 1 to
    8 grey levels, of which half is shared by the three channels.
    """
    n = len(pictures)
    pixel = (np.arange(SIDE) - (SIDE - 1) / 2) / (SIDE / 2)
    slope_x, slope_y = _per_image(rng.uniform(-0.3, 0.3, n)), _per_image(rng.uniform(-0.3, 0.3, n))
    pictures = pictures * (1 + slope_x * pixel[None, None, :] + slope_y * pixel[None, :, None])[:, None]
    sigma = _per_image(rng.uniform(0.35, 1.3, n))
    distance = np.arange(SIDE)[:, None] - np.arange(SIDE)
    blur = np.exp(-0.5 * (distance / sigma) ** 2)
    blur /= blur.sum(axis=2, keepdims=True)  # [n, 32, 32]; normalised, so that a border does not darken.
    pictures = blur[:, None] @ pictures @ blur.transpose(0, 2, 1)[:, None]
    strength = rng.uniform(1, 8, n)[:, None, None, None] * np.sqrt(0.5)
    pictures += strength * (rng.standard_normal((n, 3, SIDE, SIDE)) + rng.standard_normal((n, 1, SIDE, SIDE)))
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8)


def _blocks(n: int, rng: np.random.Generator) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Which of the `n` these are (at most 256), their images uint8 [m, 3, 32, 32] and labels int64 [m]."""
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        labels = rng.integers(0, 10, _BLOCK)
        images = _photograph(_paint(labels, rng), rng)
        yield slice(start, stop), images[: stop - start], labels[: stop - start]


def draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw `n` house-number digits: images uint8 [n, 32, 32, 3] and labels int64 [n] in 0..9, equally likely.

    Of generators in the same state, the one asked for fewer pictures gives the first of the other's. The
    generator moves on by whole blocks of 256 pictures. Arithmetic is in double precision, whose rounding
    is too fine for another processor to move a pixel. The pixels may change with the versions of numpy
    (random streams), matplotlib (its DejaVu fonts) and Pillow (their renderer). Raises ValueError for n < 1.
    """
    _require_at_least(1, n=n)
    images = np.empty((n, SIDE, SIDE, 3), np.uint8)
    labels = np.empty(n, np.int64)
    for part, block, block_labels in _blocks(n, rng):
        images[part] = block.transpose(0, 2, 3, 1)
        labels[part] = block_labels
    return images, labels


def write_svhn_layout(folder: Path, n_train: int, n_test: int, seed: int, n_extra: int = 0) -> None:
    """Write `train_32x32.mat`, `test_32x32.mat`, with `n_extra` > 0 `extra_32x32.mat`, last `about.json`.

    As in SVHN: MATLAB v5, `X` uint8 [32, 32, 3, N] and `y` uint8 [N, 1] with 10 for the digit 0. The splits
    have independent random streams of `seed`, so a split does not depend on the sizes of the others. A split
    being written is held in memory about four times (3 kB a picture each time), which MATLAB's writer needs.

    Raises ValueError for n_train, n_test < 1 or n_extra, seed < 0, and FileExistsError if `folder` already
    holds .mat files.
    """
    _require_at_least(1, n_train=n_train, n_test=n_test)
    _require_at_least(0, n_extra=n_extra, seed=seed)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder, "drawing digits"):
        _write_layout(folder, n_train, n_test, seed, n_extra)


def _write_layout(folder: Path, n_train: int, n_test: int, seed: int, n_extra: int) -> None:
    """As `write_svhn_layout`, with the lock of the folder."""
    present = sorted(path.name for path in folder.glob("*.mat"))
    if present:
        raise FileExistsError(f"{folder} already holds {', '.join(present)}; name an empty or new folder")
    sizes = {"train": n_train, "test": n_test, "extra": n_extra}
    for (split, n), stream in zip(sizes.items(), np.random.SeedSequence(seed).spawn(3), strict=True):
        if n:
            _write_split(folder / f"{split}_32x32.mat", n, np.random.default_rng(stream))
    about = {"name": NAME, "generator": GENERATOR_NAME, "seed": seed, "n_train": n_train, "n_test": n_test}
    write_text(folder / "about.json", json.dumps(about | {"n_extra": n_extra}, indent=2) + "\n")


def _write_split(path: Path, n: int, rng: np.random.Generator) -> None:
    """Draw `n` pictures into one .mat file, whole or not at all."""
    # Laid out so that X below is in MATLAB's (Fortran) order and the writer need not turn it round.
    pixels = np.empty((n, 3, SIDE, SIDE), np.uint8)
    digits = np.empty((n, 1), np.uint8)
    with progress_count(path.name, total=n, unit="image", keep=True) as bar:
        for part, images, labels in _blocks(n, rng):
            pixels[part] = images.transpose(0, 1, 3, 2)
            digits[part, 0] = np.where(labels == 0, 10, labels)
            bar.update(len(images))
    with replacing(path) as partial:
        savemat(partial, {"X": pixels.transpose(3, 2, 1, 0), "y": digits}, do_compression=True)


def _require_at_least(least: int, **numbers: int) -> None:
    """Raise ValueError for the first of `numbers` below `least`."""
    for name, number in numbers.items():
        if number < least:
            raise ValueError(f"{name} must be at least {least}, not {number}")
