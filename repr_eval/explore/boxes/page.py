"""The page on which people draw boxes: one HTML file that holds the samples and loads nothing."""

import io
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from PIL import Image

from repr_eval.explore.boxes.drawn import FORMAT, head, sheet_of
from repr_eval.explore.models import Models
from repr_eval.system.files import write_text
from repr_eval.system.html_page import data_uri, templates

if TYPE_CHECKING:
    from jinja2 import Environment

NAME = "boxes.html"


def run(models: Models, out: Path, seed: int, n: int, boxed: str = "") -> Path:
    """Write boxes.html to `out`: the first n samples of the seed, to draw boxes on. `boxed`: around what."""
    path = out / NAME
    write_text(path, to_html(models, seed, n, boxed))
    return path


def to_html(models: Models, seed: int, n: int, boxed: str = "") -> str:
    """The page as HTML."""
    images = models.images(models.noise(n, seed))
    sheet = sheet_of(models, n, seed)
    told = {"format": FORMAT, "sheet": asdict(sheet), "head": head(sheet)}
    return _environment().get_template("page.html.j2").render(
        model=models.name, seed=seed, n=n, size=images.shape[1], boxed=boxed,
        images=[_source(image) for image in images],
        told=Markup(json.dumps(told).replace("<", "\\u003c")),
        css=Markup(_file("page.css")), js=Markup(_file("page.js")),
    )  # fmt: skip


def _source(image: np.ndarray) -> str:
    """An image uint8 [S, S, 3] as the address of a PNG that is in the address itself."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return data_uri(file.getvalue(), "png")


@cache
def _environment() -> "Environment":
    return templates(Path(__file__).parent)


@cache
def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
