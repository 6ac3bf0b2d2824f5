"""An evaluation: what is no data set, and which features a record is of."""

from pathlib import Path

import numpy as np
import pytest

import repr_eval as rv
from repr_eval.evaluation import seen_through
from repr_eval.images.handwritten import load_handwritten_digits
from repr_eval.images.labelled import LabelledImages, make_split
from repr_eval.protocols.base import Digits
from repr_eval.records import read_records
from repr_eval.representations.extraction import extract
from repr_eval.representations.pixels import Pixels


def test_images_of_one_class_are_no_data_set(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    split = make_split(images, np.full(4, 7))
    data = LabelledImages("sevens", split, split, tuple("0123456789"), verified=False, dataset="digits")
    with pytest.raises(ValueError, match="sevens: all 4 training images are of class 7; two classes are needed"):
        seen_through(data, Pixels(), Digits(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_record_says_which_stored_features_it_is_of(tmp_path: Path) -> None:
    digits = load_handwritten_digits()
    few = rv.Digits(per_class=2, draws=1)
    result = rv.evaluate(Pixels(), few, data=digits, store=tmp_path / "store", out=tmp_path)
    sha256 = extract(Pixels(), digits, tmp_path / "store").sha256
    assert sha256
    assert result.record.features_sha256 == sha256
    assert read_records(tmp_path) == [result.record]
    line = result.record.to_line()  # without a hash, as older lines
    (tmp_path / "records.jsonl").write_text(line.replace(f'"features_sha256": "{sha256}", ', ""))
    (older,) = read_records(tmp_path)
    assert older.features_sha256 is None
    assert "features_sha256" not in older.to_line()
    (tmp_path / "records.jsonl").write_text(line.replace(sha256, "xyz"))
    with pytest.raises(ValueError, match=r"line 1: cannot be read \(features_sha256 is 'xyz'\)"):
        read_records(tmp_path)


def test_a_line_that_is_no_record_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    def never(images: np.ndarray) -> np.ndarray:
        raise AssertionError("computed")

    (tmp_path / "records.jsonl").write_text("nonsense\n")
    with pytest.raises(ValueError, match="line 1: cannot be read"):
        rv.evaluate(never, rv.Digits(per_class=2, draws=1), out=tmp_path)


def test_what_a_function_computes_is_not_stored_and_has_no_such_hash() -> None:
    def rows(images: np.ndarray) -> np.ndarray:
        return images.mean((2, 3), dtype=np.float32)

    assert rv.evaluate(rows, rv.Digits(per_class=2, draws=1)).record.features_sha256 is None


def test_counts_do_not_come_from_features_that_the_disk_has_changed(tmp_path: Path) -> None:
    few, digits = rv.Digits(per_class=4, draws=2), load_handwritten_digits()
    first = rv.evaluate(Pixels(), few, data=digits, store=tmp_path).record
    (path,) = tmp_path.glob("*.npy")
    rows = np.load(path, mmap_mode="r+")
    rows[:] = np.roll(rows, len(rows) // 2, 0)
    rows.flush()
    again = rv.evaluate(Pixels(), few, data=digits, store=tmp_path).record
    assert (again.test_correct, again.features_sha256) == (first.test_correct, first.features_sha256)
