"""Pixels and whitened pixels: values by hand, covariance after whitening, rotations that classifiers cannot see."""

import numpy as np
import pytest

from repr_eval.representations.pixels import Pixels, WhitenedPixels
from repr_eval.system.ranks import Ranks


def coloured_noise(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).normal(size=(48, 48))
    return np.clip(128 + 12 * rng.normal(size=(n, 48)) @ mixing, 0, 255).astype(np.uint8).reshape(n, 4, 4, 3)


def test_pixels_by_hand() -> None:
    images = np.array([0, 255, 51], np.uint8).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(Pixels(1).transform(images), [[-1, 1, -0.6]], atol=1e-6)


def test_whitened_pixels_have_the_covariance_of_white_noise() -> None:
    train = coloured_noise(4000, 0)
    model = WhitenedPixels(image_size=4).fit(train)
    white = model.transform(train)
    covariance = np.cov(white.T)
    raw = np.cov((train.reshape(len(train), -1) / 127.5 - 1).T)
    energies = np.linalg.eigvalsh(raw)
    ridge = 0.01 * raw.diagonal().mean()
    np.testing.assert_allclose(np.linalg.eigvalsh(covariance), energies / (energies + ridge), atol=0.01)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-3)


def test_all_directions_of_pca_are_a_rotation_of_zca() -> None:
    train = coloured_noise(500, 0)
    zca, pca = (WhitenedPixels(c, image_size=4).fit(train) for c in (None, 48))
    test = coloured_noise(40, 1)
    A, B = zca.transform(test), pca.transform(test)
    np.testing.assert_allclose(A @ A.T, B @ B.T, rtol=1e-2, atol=1e-2)
    assert np.abs(A - B).max() > 0.1


def test_leading_directions_hold_the_most_variance() -> None:
    train = coloured_noise(500, 0)
    model = WhitenedPixels(3, image_size=4).fit(train)
    assert model.description.n_features == 3
    assert model.description.settings["components"] == 3
    x = train.reshape(500, -1) / 127.5 - 1
    _, V = np.linalg.eigh(np.cov(x.T))
    found = model.transform(train)
    assert np.abs(np.corrcoef(found.T, (x @ V[:, -3:]).T)[:3, 3:]).max(1) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("components", [0, 49])
def test_impossible_numbers_of_directions(components: int) -> None:
    with pytest.raises(ValueError, match=f"{components} components: images of 4x4x3 have 1 to 48"):
        WhitenedPixels(components, image_size=4)


def test_to_be_trained_first_and_images_of_their_size() -> None:
    model = WhitenedPixels(image_size=4)
    with pytest.raises(ValueError, match="trained first"):
        model.transform(coloured_noise(3, 0))
    with pytest.raises(ValueError, match=r"images are \[8, 8, 3\]; pixels whitened \(ZCA\) takes 4x4x3"):
        model.fit(np.zeros((5, 8, 8, 3), np.uint8))


def test_images_that_are_all_alike_cannot_be_whitened() -> None:
    images = np.full((9, 4, 4, 3), 77, np.uint8)
    with pytest.raises(ValueError, match="the 9 training images are all alike"):
        WhitenedPixels(image_size=4).fit(images)
    images[0, 1, 2, 0] = 78
    WhitenedPixels(image_size=4).fit(images)


def test_what_is_learned_is_learned_by_one_process() -> None:
    with pytest.raises(ValueError, match=r"pixels whitened \(ZCA\) is trained by one process: run it without torchrun"):
        WhitenedPixels(image_size=4).fit(coloured_noise(60, 0), Ranks(0, 2))
