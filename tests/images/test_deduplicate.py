"""Codes and what collapses, by hand; planted duplicates."""

from pathlib import Path

import numpy as np
import pytest
import torch
from factories import random_images

from repr_eval.images import deduplicate
from repr_eval.images.deduplicate import (
    Autoencoder,
    brightened,
    codes,
    collapse,
    recall_on_planted,
    recompressed,
    root_mean_square,
    shifted,
    to_input,
    train,
)


def plain(*levels: int, size: int = 32) -> np.ndarray:
    """Images of one colour each."""
    return np.repeat(np.array(levels, np.uint8), 3 * size**2).reshape(-1, size, size, 3)


def by_mean(*limits: float) -> Autoencoder:
    """Unit i is the mean of an image in [-1, 1] less limit i; all others are 0."""
    network = Autoencoder(torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.encoder.weight.zero_()
        for unit, limit in enumerate(limits):
            network.encoder.weight[unit] = 1 / 3072
            network.encoder.bias[unit] = -limit
    return network


def test_codes_are_active_units() -> None:
    """Means of -1, 0.004 and 1 against limits of 0 and 0.5; with a threshold of 0.6 the last one has one unit."""
    network, images = by_mean(0, 0.5), plain(0, 128, 255)
    assert np.unpackbits(codes(network, images), axis=1)[:, :3].tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]
    assert np.unpackbits(codes(network, images, 0.6), axis=1)[:, :3].tolist() == [[0] * 3, [0] * 3, [1, 0, 0]]
    assert codes(network, images).shape == (3, 16)


def test_codes_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = Autoencoder(torch.Generator().manual_seed(0)), random_images(20)
    whole = codes(network, images)
    monkeypatch.setattr(deduplicate, "BLOCK", 7)
    np.testing.assert_array_equal(codes(network, images), whole)
    assert len(np.unique(whole, axis=0)) == 20


def test_equal_codes_collapse_to_the_first() -> None:
    """Distances of plain images are differences of their levels. A copy brighter by 8 is near, one by 9 is far."""
    images = plain(100, 50, 108, 109, 50, 200)
    hashed = np.array([[1], [2], [1], [1], [2], [3]], np.uint8)
    found = collapse(images, hashed)
    assert found.kept.tolist() == [0, 1, 5]
    assert found.removed.tolist() == [2, 3, 4]
    assert found.originals.tolist() == [0, 0, 1]
    assert found.distances.tolist() == [8, 9, 0]
    assert found.near.tolist() == [True, False, True]
    confirmed = collapse(images, hashed, confirm=True)
    assert confirmed.kept.tolist() == [0, 1, 3, 5]
    assert confirmed.removed.tolist() == [2, 4]
    assert confirmed.near.all()


def test_near_is_what_either_of_the_two_allows() -> None:
    """Stripes lie far from themselves, moved by a pixel; a plain image does not: they are no duplicates."""
    stripes = plain(0)
    stripes[:, :, ::2] = 255
    grey = plain(128)
    for first, second in ((stripes, grey), (grey, stripes)):
        found = collapse(np.concatenate([first, second]), np.zeros((2, 1), np.uint8))
        assert found.distances == pytest.approx([127.5], abs=0.01)
        assert not found.near.any()
    moved = collapse(np.concatenate([stripes, shifted(stripes)]), np.zeros((2, 1), np.uint8))
    assert moved.near.all()


def test_nothing_collapses() -> None:
    found = collapse(plain(1, 2), np.array([[1], [2]], np.uint8))
    assert found.kept.tolist() == [0, 1]
    assert found.removed.tolist() == found.near.tolist() == []


def test_distances_by_hand() -> None:
    """Half of all values differ by 6: the root of 18."""
    one = plain(10)
    other = one.copy()
    other[:, :16] = 4
    assert root_mean_square(one, other) == pytest.approx([18**0.5])


def test_planted_changes() -> None:
    images = random_images(3)
    np.testing.assert_array_equal(shifted(images)[:, :, 1:], images[:, :, :-1])
    np.testing.assert_array_equal(shifted(images)[:, :, 0], images[:, :, 0])
    np.testing.assert_array_equal(brightened(plain(0, 247, 250)), plain(8, 255, 255))
    assert np.abs(recompressed(plain(90)).astype(int) - 90).max() <= 1
    assert recompressed(images).shape == images.shape
    assert (recompressed(images) != images).any()


def test_recall_by_hand() -> None:
    """The one unit is active above level 127.5: 8 levels make 120 bright, but neither 100 nor 200 another."""
    recall = recall_on_planted(by_mean(0), plain(100, 120, 200))
    assert recall["identical"] == recall["shifted"] == recall["recompressed"] == (3, 3)
    assert recall["brightened"] == (2, 3)


def test_a_threshold_above_everything_makes_all_alike() -> None:
    network, images = Autoencoder(torch.Generator().manual_seed(0)), random_images(6)
    assert len(collapse(images, codes(network, images, 1e9)).removed) == 5


def test_larger_images_are_downsampled() -> None:
    """A picture of two halves stays one; 32x32 pixels are taken as they are."""
    large = plain(0, size=64)
    large[:, :, 32:] = 255
    small = to_input(large).reshape(3, 32, 32)
    assert float(small[:, :, :15].max()) == -1
    assert float(small[:, :, 17:].min()) == 1
    images = random_images(2)
    expected = images.transpose(0, 3, 1, 2).reshape(2, -1) / 127.5 - 1
    np.testing.assert_allclose(to_input(images).numpy(), expected, atol=1e-6)


def test_training_restores_images_better_and_repeats_itself() -> None:
    """Plain images: to restore one from a code with dropout is easy to learn."""
    images = plain(*range(0, 250, 10))
    one, same, other = (train(images, seed, steps=30) for seed in (0, 0, 1))
    before = train(images, 0, steps=1)
    x = to_input(images)
    errors = [float(network.loss(x, torch.Generator().manual_seed(0)).detach()) for network in (before, one)]
    assert errors[1] < errors[0] / 2
    assert torch.equal(one.encoder.weight, same.encoder.weight)
    assert not torch.equal(one.encoder.weight, other.encoder.weight)


def test_planted_copies_collapse() -> None:
    """Copies among random images, wherever they are."""
    images = random_images(60)
    images[[20, 41, 59]] = images[[3, 3, 7]]
    found = collapse(images, codes(train(images, steps=20), images))
    assert found.removed.tolist() == [20, 41, 59]
    assert found.originals.tolist() == [3, 3, 7]
    assert found.near.all()


def test_a_memory_map_is_read_as_an_array(tmp_path: Path) -> None:
    images = random_images(30)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    network = train(mapped, steps=2)
    np.testing.assert_array_equal(codes(network, mapped), codes(network, images))


@pytest.mark.parametrize(
    "images", [np.zeros((2, 16, 16, 3), np.uint8), np.zeros((0, 32, 32, 3), np.uint8), np.zeros((2, 32, 32, 3))]
)
def test_images_of_another_form(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"images are .*; needed: uint8 \[N, S, S, 3\] with at least one image"):
        train(images)


def test_settings_that_mean_nothing() -> None:
    with pytest.raises(ValueError, match="steps=0: needs at least 1"):
        train(random_images(3), steps=0)
    for threshold in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"threshold=.*: must be a number of 0 or more"):
            codes(by_mean(0), plain(0), threshold)
    with pytest.raises(ValueError, match="1 codes for 2 images: needs one for each"):
        collapse(plain(0, 1), np.zeros((1, 16), np.uint8))
