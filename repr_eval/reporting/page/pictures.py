"""Pictures that a page holds: their own bytes as data URIs, small ones made of pixels."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from repr_eval.system.html_page import data_uri

FORMATS = {".png": "PNG", ".webp": "WEBP"}  # and the kinds of picture that such files must hold


@dataclass(frozen=True)
class Sample:
    """A picture as a data URI; sides in pixels."""

    name: str
    uri: str
    width: int
    height: int


def uri_size(path: Path) -> int:
    """About the characters that the picture takes in a page."""
    return path.stat().st_size * 4 // 3 + 40


def embedded(path: Path, name: str) -> Sample:
    """The file's own bytes; OSError where they are no picture of the kind that its name says."""
    from PIL import Image

    content, kind = path.read_bytes(), FORMATS[path.suffix]
    with Image.open(BytesIO(content), formats=[kind]) as image:
        image.load()
        width, height = image.size
    return _sample(name, content, kind, (width, height))


def small(pixels: np.ndarray, name: str, side: int) -> Sample:
    """An image uint8 [S, S, 3], made smaller where its side is above `side` pixels."""
    from PIL import Image

    image, file = Image.fromarray(pixels), BytesIO()
    image.thumbnail((side, side))
    image.save(file, format="PNG")
    return _sample(name, file.getvalue(), "PNG", image.size)


def _sample(name: str, content: bytes, kind: str, size: tuple[int, int]) -> Sample:
    return Sample(name, data_uri(content, kind.lower()), *size)
