"""The probe tells a class of real images by D's features."""

import numpy as np
import pytest
from toy_networks import SIZE, toy_models

from repr_eval.explore.probe import fit_probe, share_as_high
from repr_eval.images.labelled import LabelledImages, make_split


def coloured(n: int = 60, size: int = SIZE) -> LabelledImages:
    """Red images and others of a data set: red above half, or below."""
    rng = np.random.default_rng(0)
    splits = []
    for _ in range(2):
        labels = np.arange(n) % 3
        images = rng.integers(0, 100, (n, size, size, 3))
        images[labels == 1, :, :, 0] += 150
        splits.append(make_split(images.astype(np.uint8), labels))
    train, test = splits
    return LabelledImages("colours", train, test, ("blue", "red", "dark"), verified=False)


def test_a_probe_tells_red() -> None:
    models, data = toy_models(), coloured()
    probe = fit_probe(models, data, "red", seed=0)
    assert probe.description["test_accuracy"] == 1
    assert probe.description["train_images"] == 40  # 20 of 60 are red
    red = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    red[0, :, :, 0] = 255
    assert (probe.scores(models.features(red)) > 0).tolist() == [True, False]


def test_what_is_no_class_or_of_another_size() -> None:
    models = toy_models()
    with pytest.raises(ValueError, match="`attribute` 'green': no class of colours, which has blue, red, dark"):
        fit_probe(models, coloured(), "green", seed=0)
    with pytest.raises(ValueError, match="colours: images of 8x8; these networks take 4x4"):
        fit_probe(models, coloured(size=8), "red", seed=0)
    with pytest.raises(ValueError, match="`attribute` red: colours has 3 training and 3 test images of it"):
        fit_probe(models, coloured(9), "red", seed=0)


def test_share_as_high() -> None:
    """Of 1, 2, 3 and the value itself: 2 and 3 are as high as 2."""
    assert share_as_high(2, np.array([1, 2, 3])) == 0.75
    assert share_as_high(9, np.array([1, 2, 3])) == 0.25
