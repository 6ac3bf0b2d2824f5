"""Attributes by hand: bound to the images they were given to, and turned with them."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import random_images, run

from repr_eval.explore.attributes import FORMAT, SHIPPED, labelled, pixel_hash, read_attributes
from repr_eval.gan.unlabelled import UnlabelledImages, sha256_of

MEANINGS = {"bright": {"mirrored": "same"}, "left": {"mirrored": "opposite"}}


def images() -> UnlabelledImages:
    made = random_images(12, 8)
    return UnlabelledImages(made, "made.npy", sha256_of(made))


def written(path: Path, data: UnlabelledImages, **changes: Any) -> str:
    """A list of rows 0 to 9: the even ones bright, rows 0 to 4 to the left, of row 9 nobody knows."""
    rows = [
        {"row": row, "sha256": pixel_hash(data.images[row]), "bright": row % 2 == 0}
        | ({"left": row < 5} if row < 9 else {})
        for row in range(10)
    ]
    content = {"format": FORMAT, "attributes": MEANINGS, "images": rows} | changes
    path.write_text(json.dumps(content))
    return str(path)


def test_labels_go_to_their_rows_and_turn_with_them(tmp_path: Path) -> None:
    data = images()
    listed = read_attributes(written(tmp_path / "list.json", data))
    rows = {pixel_hash(image): row for row, image in enumerate(data.images)}
    turned = {pixel_hash(image[:, ::-1]): row for row, image in enumerate(data.images)}
    for attribute, n, has in (("bright", 10, lambda row: row % 2 == 0), ("left", 9, lambda row: row < 5)):
        made = labelled(data, listed, attribute)
        assert made.classes == (f"not {attribute}", attribute)
        sides = []
        for split in (made.train, made.test):
            seen = {}
            for image, label in zip(split.images, split.labels, strict=True):
                key = pixel_hash(image)
                mirrored = key in turned
                row = turned[key] if mirrored else rows[key]
                assert bool(label) == (has(row) != (mirrored and attribute == "left"))
                seen[row, mirrored] = label
            assert {row for row, mirrored in seen if mirrored} == {row for row, mirrored in seen if not mirrored}
            sides.append({row for row, _ in seen})
        assert sides[0] | sides[1] == set(range(n))
        assert not sides[0] & sides[1]
        assert len(sides[1]) == {"bright": 4, "left": 3}[attribute]  # 30% of 5 and 5; of 5 and 4, rounded


def test_other_images_are_refused(tmp_path: Path) -> None:
    data = images()
    listed = read_attributes(written(tmp_path / "list.json", data))
    changed = data.images.copy()
    changed[3, 0, 0, 0] ^= 1
    with pytest.raises(ValueError, match=r"`labels` list: row 3 of made\.npy is not the image that was labelled"):
        labelled(UnlabelledImages(changed, "made.npy", ""), listed, "bright")
    with pytest.raises(ValueError, match=r"`labels` list: row 9 of made\.npy is not the image"):
        labelled(UnlabelledImages(data.images[:9], "made.npy", ""), listed, "bright")
    with pytest.raises(ValueError, match="`attribute` 'hat': the list list has bright, left"):
        labelled(data, listed, "hat")


def test_an_attribute_that_all_have(tmp_path: Path) -> None:
    data = images()
    rows = [{"row": 0, "sha256": pixel_hash(data.images[0]), "bright": True}]
    listed = read_attributes(written(tmp_path / "list.json", data, images=rows))
    with pytest.raises(ValueError, match="`attribute` 'bright': the list list has no images with it, or none without"):
        labelled(data, listed, "bright")


ROW = {"row": 0, "sha256": "0" * 16}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "pictures"}, "its format is 'pictures'"),
        ({"images": [ROW | {"bright": "yes"}]}, "row 0: bright is 'yes', neither true nor false"),
        ({"images": [ROW | {"sha256": "0"}]}, "row 0 with sha256 '0'"),
        ({"images": [{"row": 0}]}, "'sha256' is missing"),
        ({"images": 3}, "not iterable"),
        ({"attributes": {"bright": {"mirrored": "maybe"}}}, "mirrored is neither same nor opposite"),
        ({"attributes": {"bright": {}}}, "'mirrored' is missing"),
        ({"attributes": ["bright"]}, "has no attribute"),
    ],
)
def test_what_is_no_list(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = written(tmp_path / "list.json", images(), **changes)
    with pytest.raises(ValueError, match="not a list of attributes") as told:
        read_attributes(path)
    assert message in str(told.value)
    assert "\n" not in str(told.value)


def test_a_list_that_is_nested_too_deep(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"not a list of attributes \(is nested too deep\)"):
        read_attributes(str(tmp_path / "deep.json"))


def test_the_list_that_ships() -> None:
    """Every row once; a hundred labels of a smile or more, and none of an attribute that is not explained."""
    listed = read_attributes("faces64")
    rows = [image["row"] for image in listed.images]
    assert rows == sorted(set(rows))
    assert max(rows) < 19_233
    known = {name: [i[name] for i in listed.images if name in i] for name in listed.meanings}
    assert {name: (sum(values), len(values)) for name, values in known.items()} == {
        "smile": (94, 266), "glasses": (48, 312), "facing-left": (26, 70),
    }  # fmt: skip
    assert {key for image in listed.images for key in image} == {"row", "sha256", *known}
    assert SHIPPED["faces64"].stat().st_size < 50_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--labels faces64", "--labels faces64: needs --probe, the packed .npy whose rows it labels, and --attribute"),
        ("--labels none --probe p.npy --attribute a", "--labels none: no such file, nor a list that ships (faces64)"),
        (
            "--labels faces64 --probe svhn --attribute smile",
            "--probe svhn: no such file; with --labels it is the packed",
        ),
        ("--labels faces64 --probe real.npy --attribute smile", "row 142 of real.npy (3 images) is not the image that"),
        ("--labels faces64 --probe real.npy --attribute hat", "--attribute 'hat': the list faces64 has smile, glasses"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("real.npy", random_images(3))
    for command in ("arithmetic --plus 1,2", "turn --from 1,2 --to 3,4"):
        done = run("explore", *command.split(), "--weights", "svhn-grey-contrastive", *arguments.split())
        assert done.exit_code == 1, done.output
        told = re.sub("row [0-9]+", "row 142", done.stderr)
        assert message in told
        assert len(told.splitlines()) == 1


def test_a_probe_of_a_list_judges_a_result(tmp_path: Path) -> None:
    """Twenty images, the even ones bright: the probe is right on all of its test images."""
    made = random_images(20)
    made[::2] = made[::2] // 4 + 190
    np.save(tmp_path / "real.npy", made)
    rows = [{"row": row, "sha256": pixel_hash(made[row]), "bright": row % 2 == 0} for row in range(20)]
    source = written(tmp_path / "list.json", images(), images=rows)
    named = ["--probe", tmp_path / "real.npy", "--labels", source, "--attribute", "bright"]
    words = ["--weights", "svhn-grey-contrastive", "--out", tmp_path / "out", "--plus", "1,2", *named]
    done = run("explore", "arithmetic", *words)
    assert done.exit_code == 0, done.output
    probe = json.loads((tmp_path / "out" / "arithmetic.json").read_text())["numbers"]["judged"]["probe"]
    assert probe["data"] == "bright of 20 images of real.npy (20 images), list list, and their mirror images"
    assert (probe["train_images"], probe["test_images"], probe["test_accuracy"]) == (28, 12, 1)
