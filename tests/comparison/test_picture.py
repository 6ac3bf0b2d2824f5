"""The picture of images that only one gets right: which, with what words, and when there is none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from comparison_records import BASE, one_draw, stored
from matplotlib.axes import Axes
from PIL import Image

from repr_eval.comparison import picture
from repr_eval.comparison.pair import Comparison, compare
from repr_eval.comparison.picture import write_picture
from repr_eval.images.labelled import LabelledImages, make_split
from repr_eval.predictions import Predictions

SPLIT = make_split(np.random.default_rng(0).integers(0, 256, (100, 8, 8, 3), np.uint8), np.full(100, 3))
DATA = LabelledImages("noise", SPLIT, SPLIT, tuple("abc$e$"), verified=False, dataset="cifar10")


def compared(folder: Path, a: np.ndarray, b: np.ndarray) -> Comparison:
    dataset = BASE["dataset"] | {"test_fingerprint": SPLIT.fingerprint}
    return compare(
        stored(folder, "A$_1$", a, dataset=dataset),
        stored(folder, "B", b, dataset=dataset),
        out=folder,
    )


def test_it_shows_the_images_that_only_one_gets_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[np.ndarray] = []
    monkeypatch.setattr(Axes, "imshow", lambda axes, image: shown.append(image))
    comparison = compared(tmp_path, *one_draw(both=60, only_a=2, only_b=35, neither=3))
    assert write_picture(tmp_path / "x.png", comparison, DATA) == 2 + 30
    np.testing.assert_array_equal(np.stack(shown), SPLIT.images[[60, 61, *range(62, 92)]])


def test_it_is_a_png(tmp_path: Path) -> None:
    write_picture(tmp_path / "x.png", compared(tmp_path, *one_draw(60, 2, 15, 23)), DATA)
    with Image.open(tmp_path / "x.png") as image:
        assert image.format == "PNG"
        assert image.size[0] > 1000
        assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 100


def test_nothing_to_show(tmp_path: Path) -> None:
    assert write_picture(tmp_path / "x.png", compared(tmp_path, *one_draw(60, 0, 0, 40)), DATA) == 0


def test_those_on_which_most_draws_differ_come_first() -> None:
    margin = np.array([0, 2, 1, 3, 3, -2])
    assert picture._most(np.array([1, 2, 3, 4]), margin).tolist() == [3, 4, 1, 2]


def test_words_are_the_class_and_the_others_most_frequent_mistake() -> None:
    other = Predictions.of(np.array([[0], [2], [2], [1], [0], [2]]), np.array([1]))
    assert picture._caption(0, other, ("cat", "dog", "frog")) == "dog, not frog"
    assert picture._caption(0, other, ("cat",)) == "1, not 2"


def test_other_images_are_refused(tmp_path: Path) -> None:
    comparison = compared(tmp_path, *one_draw(60, 2, 35, 3))
    other = replace(DATA, test=replace(SPLIT, fingerprint="f" * 64))
    with pytest.raises(ValueError, match=r"noise: its test images are not those measured on \(ffffffffffff, "):
        write_picture(tmp_path / "x.png", comparison, other)
    with pytest.raises(ValueError, match="the comparison has no predictions"):
        write_picture(tmp_path / "x.png", replace(comparison, predictions=None), DATA)
    assert not (tmp_path / "x.png").exists()
