"""explore deduplicate: rows to keep, the picture of pairs, and numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
from factories import random_images, run
from PIL import Image

from repr_eval.gan.unlabelled import read_packed


@pytest.fixture
def array(tmp_path: Path) -> Path:
    """Fifty images of noise; row 30 is row 4 again."""
    images = random_images(50)
    images[30] = images[4]
    np.save(tmp_path / "array.npy", images)
    return tmp_path / "array.npy"


def deduplicated(array: Path, out: Path, *more: object) -> dict[str, object]:
    done = run("explore", "deduplicate", array, "--steps", 5, "--out", out, *more)
    assert done.exit_code == 0, done.output
    content = json.loads((out / "deduplicate.json").read_text())
    assert content["study"] == "deduplicate"
    return dict(content["numbers"])


def test_the_rows_to_keep_are_written(array: Path, tmp_path: Path) -> None:
    numbers = deduplicated(array, tmp_path / "out")
    kept = np.load(tmp_path / "out" / "kept.npy")
    assert kept.dtype == np.int64
    assert kept.tolist() == [row for row in range(50) if row != 30]
    assert (numbers["kept"], numbers["removed"], numbers["false_positives"]) == (49, 1, 0)
    assert numbers["planted"]["identical"] == {"found": 50, "made": 50}  # type: ignore[index]
    others = [one["threshold"] for one in numbers["other_thresholds"]]  # type: ignore[attr-defined]
    assert others == [0.5, 1.0, 2.0]
    assert (tmp_path / "out" / "deduplicate.png").is_file()


def test_the_same_seed_writes_the_same(array: Path, tmp_path: Path) -> None:
    first, second = (deduplicated(array, tmp_path / name) for name in ("one", "two"))
    assert first == second
    pictures = [(tmp_path / name / "deduplicate.png").read_bytes() for name in ("one", "two")]
    assert pictures[0] == pictures[1]


def test_what_is_confirmed_is_near(tmp_path: Path) -> None:
    """Above every activation all images have one code. Of grey levels 0, 5, 10, ... one other lies within 8 of 0."""
    images = np.repeat(np.arange(0, 250, 5, dtype=np.uint8), 3 * 32**2).reshape(-1, 32, 32, 3)
    np.save(tmp_path / "grey.npy", images)
    all_of_them = deduplicated(tmp_path / "grey.npy", tmp_path / "out", "--threshold", "1000000")
    assert (all_of_them["removed"], all_of_them["false_positives"]) == (49, 48)
    confirmed = deduplicated(tmp_path / "grey.npy", tmp_path / "out", "--threshold", "1000000", "--confirm")
    assert (confirmed["removed"], confirmed["false_positives"]) == (1, 0)
    assert np.load(tmp_path / "out" / "kept.npy")[:2].tolist() == [0, 2]


def test_a_picture_of_nothing_does_not_stay(tmp_path: Path) -> None:
    """The second run removes nothing, and with it the first one's picture."""
    grey = np.repeat(np.array([10, 10, 200], np.uint8), 3 * 32**2).reshape(-1, 32, 32, 3)
    for name, images in (("twice", grey), ("once", random_images(5))):
        np.save(tmp_path / f"{name}.npy", images)
        numbers = deduplicated(tmp_path / f"{name}.npy", tmp_path / "out")
        assert (tmp_path / "out" / "deduplicate.png").exists() == (name == "twice")
    assert numbers["removed"] == 0


def test_a_line_for_each_threshold(array: Path, tmp_path: Path) -> None:
    done = run("explore", "deduplicate", array, "--steps", 5, "--out", tmp_path / "out", "--threshold", 1)
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "  threshold 0", "  threshold 0.5", "> threshold 1", "  threshold 2"
    ]  # fmt: skip
    assert "planted duplicates found: identical 50/50, shifted " in lines[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "not a whole .npy array"),
        (lambda path: np.save(path, np.zeros((3, 32, 32), np.uint8)), "needed: uint8 [N, S, S, 3]"),
        (lambda path: np.save(path, random_images(3, 16)), "at least one image and S of at least 32"),
    ],
)
def test_what_is_no_packed_array(make: object, message: str, tmp_path: Path) -> None:
    make(tmp_path / "a.npy")  # type: ignore[operator]
    done = run("explore", "deduplicate", tmp_path / "a.npy", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images as files; image 7 is image 2 again."""
    images = random_images(12)
    images[7] = images[2]
    (tmp_path / "folder").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "folder" / f"{number:02}.png")
    return tmp_path / "folder"


def test_pack_writes_an_array_without_duplicates(folder: Path, tmp_path: Path) -> None:
    """Of the two images that are equal the second goes; the array that was packed stays as it is, twice."""
    words = ["pack", folder, tmp_path / "all.npy", "--workers", 1, "--deduplicate", "--confirm", "--steps", 5]
    for _ in range(2):
        done = run(*words)
        assert done.exit_code == 0, done.output
        assert "planted duplicates found: identical 12/12" in done.stdout
        every, unique = (np.load(tmp_path / f"{name}.npy") for name in ("all", "all-unique"))
        np.testing.assert_array_equal(every, random_images(12)[[0, 1, 2, 3, 4, 5, 6, 2, 8, 9, 10, 11]])
        np.testing.assert_array_equal(unique, np.delete(every, 7, 0))
    read = read_packed(tmp_path / "all-unique.npy")  # its sidecar has its hash
    numbers = json.loads((tmp_path / "all-unique.json").read_text())["numbers"]
    assert (len(read.images), numbers["removed"], numbers["false_positives"]) == (11, 1, 0)
    assert (tmp_path / "all-unique.png").exists()


def test_pack_writes_over_nothing_else(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "all-unique.npy", np.zeros(3))
    done = run("pack", folder, tmp_path / "all.npy", "--workers", 1, "--deduplicate", "--steps", 5)
    assert done.exit_code == 1
    assert "all-unique.npy: exists and is no array without duplicates; remove it" in done.stderr.splitlines()[-1]
    assert np.load(tmp_path / "all-unique.npy").tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--threshold 0", "--threshold is for --deduplicate, which is not given"),
        ("--confirm", "--confirm is for --deduplicate"),
        ("--steps 3", "--steps is for --deduplicate"),
        ("--deduplicate --size 16", "--size 16: --deduplicate needs images of 32x32 or more"),
    ],
)
def test_options_of_pack_that_do_not_go_together(folder: Path, tmp_path: Path, words: str, message: str) -> None:
    done = run("pack", folder, tmp_path / "all.npy", *words.split())
    assert done.exit_code == 1
    assert message in done.stderr
    assert not (tmp_path / "all.npy").exists()
