"""An evaluation: what is no data set."""

from pathlib import Path

import numpy as np
import pytest

import repr_eval as rv
from repr_eval.images.labelled import LabelledImages, make_split


def test_images_of_one_class_are_no_data_set(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    split = make_split(images, np.full(4, 7))
    data = LabelledImages("sevens", split, split, tuple("0123456789"), verified=False, dataset="digits")
    with pytest.raises(ValueError, match="sevens: all 4 training images are of class 7; two classes are needed"):
        rv.evaluate(rv.Pixels(), rv.Digits(), data=data, out=tmp_path / "out", store=tmp_path)
    assert not list(tmp_path.iterdir())
