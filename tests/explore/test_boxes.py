"""Boxes: their file, the places inside, and the page that draws them."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_networks import SIZE, toy_models

from repr_eval.explore.boxes import page
from repr_eval.explore.boxes.drawn import (
    FORMAT,
    Box,
    Boxes,
    Sheet,
    check_fit,
    generator_hash,
    head,
    outlined,
    read_boxes,
)
from repr_eval.explore.models import read_models

EXAMPLE = Path(__file__).parents[2] / "examples" / "faces64-mouths.json"
SHEET = Sheet("ab", "uniform", 2**63 - 1, 8, 16)
BOX = {"sample": 7, "left": 0, "top": 4, "right": 16, "bottom": 12}


def written(path: Path, **changes: Any) -> Path:
    """A file of one box, but for `changes`; None takes a key away."""
    content = json.loads(head(SHEET) + f'"dot", "boxes": [{json.dumps(BOX)}]}}') | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
    return path


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    boxes = read_boxes(written(tmp_path / "b.json"))
    assert boxes == Boxes(SHEET, "dot", (Box(7, 0, 4, 16, 12),))
    assert boxes.samples == (7,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "x"}, 'has no "format": "repr-eval boxes/1"'),
        ({"boxes": []}, "holds no box; draw some"),
        ({"boxes": None}, 'needs "boxes", a list'),
        ({"boxes": [3]}, 'box 3: "sample" is null; needs a whole number'),
        ({"boxes": [BOX | {"left": 1.5}]}, '"left" is 1.5; needs a whole number'),
        ({"boxes": [BOX | {"left": True}]}, '"left" is true; needs a whole number'),
        ({"boxes": [BOX | {"sample": 8}]}, "sample 8: box 0,4,16,12: no such sample; the sheet has 0 to 7"),
        ({"boxes": [BOX | {"sample": -1}]}, "no such sample"),
        ({"boxes": [BOX | {"right": 17}]}, "needs 0 <= left < right <= 16 and 0 <= top < bottom <= 16, in pixels"),
        ({"boxes": [BOX | {"top": -1}]}, "sample 7: box 0,-1,16,12: needs 0 <= left"),
        ({"boxes": [BOX | {"bottom": 4}]}, "needs 0 <= left"),
        ({"seed": "0"}, '"seed" is "0"; needs a whole number'),
        ({"z": None}, '"z" is null; needs a text'),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = written(tmp_path / "b.json", **changes)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_boxes(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_what_is_no_file_of_boxes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_boxes(tmp_path / "missing.json")
    (tmp_path / "b.json").write_bytes(b"\xff{")
    with pytest.raises(ValueError, match="no JSON"):
        read_boxes(tmp_path / "b.json")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"no JSON \(is nested too deep\)"):
        read_boxes(tmp_path / "deep.json")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("generator_sha256", "cd" * 32, "drawn on samples of another generator (cdcdcdcdcdcd) than toy"),
        ("z", "normal", "drawn on samples of normal noise; give `z=normal`, not uniform"),
        ("seed", 3, "drawn on the samples of seed 3; give `seed=3`, not 0"),
        ("image_size", 5, '"image_size" is 5; these samples have 4x4 pixels'),
    ],
)
def test_boxes_of_other_samples(field: str, value: Any, message: str) -> None:
    models = toy_models()
    sheet: dict[str, Any] = {
        "generator_sha256": generator_hash(models),
        "z": "uniform",
        "seed": 0,
        "sheet": 9,
        "image_size": SIZE,
    }
    box = (Box(0, 0, 0, 1, 1),)
    check_fit(Boxes(Sheet(**sheet), "", box), models, 0, Path("b.json"))
    with pytest.raises(ValueError, match=re.escape(f"b.json: {message}")):
        check_fit(Boxes(Sheet(**(sheet | {field: value})), "", box), models, 0, Path("b.json"))


def test_places_are_inside_where_their_centre_is() -> None:
    """16 pixels, 4x4 places, centres at 2, 6, 10 and 14."""
    boxes = Boxes(SHEET, "", (Box(5, 2, 0, 7, 3), Box(5, 13, 15, 14, 16), Box(2, 0, 0, 16, 16)))
    inside = boxes.inside(4)
    assert boxes.samples == (2, 5)
    assert inside[0].all()
    assert np.argwhere(inside[1]).tolist() == [[0, 0], [0, 1], [3, 3]]  # the last holds no centre
    assert boxes.inside(16)[1].sum() == 5 * 3 + 1


def test_outlines_are_the_outermost_pixels() -> None:
    boxes = Boxes(SHEET, "", (Box(5, 2, 1, 6, 4),))
    images = np.zeros((2, 16, 16, 3), np.uint8)
    made = outlined(images, [4, 5], boxes, (255, 0, 0))
    assert made[0].max() == 0
    marked = made[1, ..., 0] == 255
    assert marked.sum() == 4 * 3 - 2
    assert marked[1:4, 2:6].sum() == marked.sum()
    assert images.max() == 0


class Elements(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_holds_the_samples_and_loads_nothing() -> None:
    text = page.to_html(toy_models(), seed=3, n=5, boxed='a "<b>"')
    parser = Elements()
    parser.feed(text)
    images = [attributes["src"] or "" for tag, attributes in parser.found if tag == "img"]
    assert len(images) == 5
    assert all(source.startswith("data:image/png;base64,") for source in images)
    assert not [tag for tag, _ in parser.found if tag in ("link", "iframe", "object", "b")]
    assert not re.search(r"https?:|//\w+\.|@import|url\(", text.replace("URL", ""))
    assert "default-src 'none'" in text
    (name,) = [attributes["value"] for tag, attributes in parser.found if attributes.get("id") == "object"]
    assert name == 'a "<b>"'
    told = json.loads(text.partition('type="application/json">')[2].partition("</script>")[0])
    assert told["format"] == FORMAT
    assert told["sheet"]["sheet"] == 5
    assert json.loads(told["head"] + '"x"}')["seed"] == 3


def test_the_page_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    models = toy_models()
    pages = [page.run(models, tmp_path / str(i), seed, 5).read_bytes() for i, seed in enumerate((0, 0, 1))]
    assert pages[0] == pages[1] != pages[2]


def test_the_example_fits_the_shipped_faces() -> None:
    boxes = read_boxes(EXAMPLE)
    check_fit(boxes, read_models(["faces64-w0.25"]), 0, EXAMPLE)
    assert len(boxes.samples) == len(boxes.boxes) == 58
