"""Boxes drawn around an object in the samples of a sheet: their file, its checks, and the places inside.

The file is JSON: `format`; `generator_sha256`, `z`, `seed` and `sheet`, which say whose samples
these are; `image_size`; `object`, what was boxed, in the user's words; and `boxes`, a list of
{"sample", "left", "top", "right", "bottom"} in pixels, `right` and `bottom` being the first beyond.
"""

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from repr_eval.explore.models import Models
from repr_eval.gan.weights import weights_hash
from repr_eval.system.files import open_regular
from repr_eval.system.json_text import from_json

FORMAT = "repr-eval boxes/1"


@dataclass(frozen=True)
class Box:
    """The pixels of columns `left` to `right` - 1 and rows `top` to `bottom` - 1 of a sample of the sheet."""

    sample: int
    left: int
    top: int
    right: int
    bottom: int

    @property
    def words(self) -> str:
        return f"sample {self.sample}: box {self.left},{self.top},{self.right},{self.bottom}"


@dataclass(frozen=True)
class Sheet:
    """Which samples: the first `sheet` of a generator under a seed. `image_size`: pixels of a side."""

    generator_sha256: str
    z: str
    seed: int
    sheet: int
    image_size: int


@dataclass(frozen=True)
class Boxes:
    """Boxes on the samples of a sheet; `object` says around what, "" for nothing said."""

    sheet: Sheet
    object: str
    boxes: tuple[Box, ...]

    @property
    def samples(self) -> tuple[int, ...]:
        """The numbers of the samples that have a box, in order."""
        return tuple(sorted({box.sample for box in self.boxes}))

    def inside(self, side: int) -> np.ndarray:
        """Whether a place of a map is inside a box, bool [samples, side, side], a row for each of `samples`.

        A place is inside where its centre is. A box that is too small to hold a centre has the place
        in which its own middle lies.
        """
        rows = {sample: row for row, sample in enumerate(self.samples)}
        places = np.zeros((len(rows), side, side), bool)
        cell = self.sheet.image_size / side
        centres = (np.arange(side) + 0.5) * cell
        for box in self.boxes:
            spans = []
            for low, high in ((box.top, box.bottom), (box.left, box.right)):
                held = (low <= centres) & (centres < high)
                spans.append(held if held.any() else np.arange(side) == int((low + high) / 2 / cell))
            places[rows[box.sample]] |= spans[0][:, None] & spans[1]
        return places


def generator_hash(models: Models) -> str:
    """SHA-256 of G's weights without its batch norms' statistics, which machines round differently."""
    bare = copy.deepcopy(models.generator)
    for module in bare.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
    return weights_hash(bare)


def sheet_of(models: Models, n: int, seed: int) -> Sheet:
    """The sheet of the first n samples of a seed."""
    return Sheet(generator_hash(models), models.z, seed, n, models.generator.arch.image_size)


def head(sheet: Sheet) -> str:
    """How the text of a file begins, up to `object`, for the page: JavaScript would round large seeds."""
    return json.dumps({"format": FORMAT} | asdict(sheet), indent=1)[:-2] + ',\n "object": '


def read_boxes(path: Path) -> Boxes:
    """The boxes of a file. ValueError, which names it, where it holds none, or one that is not on its sheet."""
    try:
        with open_regular(path) as file:
            content = from_json(file.read())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ValueError(f"{path}: no JSON ({error}); the page of `repr-eval explore boxes` saves it") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f'{path}: has no "format": "{FORMAT}"; the page of `repr-eval explore boxes` saves it')
    sheet = Sheet(**_fields(content, Sheet, f"{path}"))
    if not isinstance(content.get("boxes"), list):
        raise ValueError(f'{path}: needs "boxes", a list')
    boxes = Boxes(sheet, str(content.get("object", "")), tuple(_box(box, path) for box in content["boxes"]))
    if not boxes.boxes:
        raise ValueError(f"{path}: holds no box; draw some on the page of `repr-eval explore boxes`")
    for box in boxes.boxes:
        _check(box, sheet, path)
    return boxes


def _fields(content: Any, kind: type[Sheet] | type[Box], where: str) -> dict[str, Any]:
    """The values of `kind`'s fields in `content`."""
    values = {}
    for field in fields(kind):
        value = content.get(field.name) if isinstance(content, dict) else None
        if type(value) is not field.type:
            wanted = "a whole number" if field.type is int else "a text"
            raise ValueError(f'{where}: "{field.name}" is {json.dumps(value)}; needs {wanted}')
        values[field.name] = value
    return values


def _box(content: Any, path: Path) -> Box:
    return Box(**_fields(content, Box, f"{path}: box {json.dumps(content)}"))


def _check(box: Box, sheet: Sheet, path: Path) -> None:
    if not 0 <= box.sample < sheet.sheet:
        raise ValueError(f"{path}: {box.words}: no such sample; the sheet has 0 to {sheet.sheet - 1}")
    size = sheet.image_size
    if not (0 <= box.left < box.right <= size and 0 <= box.top < box.bottom <= size):
        raise ValueError(
            f"{path}: {box.words}: needs 0 <= left < right <= {size} and 0 <= top < bottom <= {size}, in pixels"
        )


def check_fit(boxes: Boxes, models: Models, seed: int, path: Path) -> None:
    """ValueError unless the boxes were drawn on samples of this generator, under this seed."""
    theirs, ours = boxes.sheet, sheet_of(models, boxes.sheet.sheet, seed)
    if theirs.generator_sha256 != ours.generator_sha256:
        raise ValueError(
            f"{path}: drawn on samples of another generator ({theirs.generator_sha256[:12]}) than {models.name} "
            f"({ours.generator_sha256[:12]}); give the `weights` of that one, or draw new boxes"
        )
    if theirs.z != ours.z:
        raise ValueError(f"{path}: drawn on samples of {theirs.z} noise; give `z={theirs.z}`, not {ours.z}")
    if theirs.seed != ours.seed:
        raise ValueError(f"{path}: drawn on the samples of seed {theirs.seed}; give `seed={theirs.seed}`, not {seed}")
    if theirs.image_size != ours.image_size:
        size = ours.image_size
        raise ValueError(f'{path}: "image_size" is {theirs.image_size}; these samples have {size}x{size} pixels')


def outlined(images: np.ndarray, samples: Sequence[int], boxes: Boxes, colour: tuple[int, int, int]) -> np.ndarray:
    """Images uint8 [N, S, S, 3] of the samples of these numbers, their boxes' outermost pixels in `colour`."""
    drawn = images.copy()
    for image, sample in zip(drawn, samples, strict=True):
        for _, left, top, right, bottom in (astuple(box) for box in boxes.boxes if box.sample == sample):
            image[[top, bottom - 1], left:right] = colour
            image[top:bottom, [left, right - 1]] = colour
    return drawn
