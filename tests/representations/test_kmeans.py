"""K-means features: planted centroids, whitening, activation and pooling by hand, the whole against plain loops."""

import numpy as np
import pytest
import torch

from repr_eval.representations import kmeans as module
from repr_eval.representations.kmeans import (
    KMeans,
    kmeans,
    normalised,
    patches_of,
    quadrant_sums,
    random_patches,
    triangle,
    whitening,
)


def smooth_images(n: int, size: int) -> np.ndarray:
    """Neighbouring pixels are alike, and images differ in contrast: whitening and normalisation have work to do."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (n, size, size, 3))
    blurred = (noise + np.roll(noise, 1, 1) + np.roll(noise, 1, 2)) // 3
    return (128 + (blurred - 128) // rng.choice([1, 4, 16], (n, 1, 1, 1))).astype(np.uint8)


def test_planted_centroids_are_found() -> None:
    generator = torch.Generator().manual_seed(3)
    planted = 10 * torch.eye(5, 8)
    X = planted.repeat(200, 1) + 0.1 * torch.randn(1000, 8, generator=generator)
    found = kmeans(X, 40, generator, iterations=20)
    apart = torch.cdist(planted, found)
    assert (apart.min(1).values < 0.3).all()  # the noise has a length of 0.28


def test_rounds_go_on_until_every_centroid_is_the_mean_of_the_rows_nearest_to_it() -> None:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(200, 2, generator=generator)
    found = kmeans(X, 5, generator)
    nearest = torch.cdist(X, found).argmin(1)
    torch.testing.assert_close(torch.stack([X[nearest == j].mean(0) for j in range(5)]), found)  # none is empty


def test_whitened_patches_have_the_identity_as_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    X = 30 * torch.randn(4000, 6, generator=generator) @ torch.randn(6, 6, generator=generator) + 5
    mean, W = whitening(X)
    torch.testing.assert_close(W, W.T)
    torch.testing.assert_close(torch.cov(((X - mean) @ W).T), torch.eye(6), atol=0.01, rtol=0)


def test_patches_come_row_by_row_and_are_normalised() -> None:
    images = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).reshape(2, 3, 8, 8)
    patches = patches_of(images)
    assert patches.shape == (2 * 9, 108)
    torch.testing.assert_close(patches[4], images[0, :, 1:7, 1:7].reshape(-1))
    n = normalised(patches)
    torch.testing.assert_close(n.mean(1), torch.zeros(18), atol=1e-5, rtol=0)
    variance = patches.var(1)
    torch.testing.assert_close(n.var(1), variance / (variance + 10))


def test_triangle_by_hand() -> None:
    x, C = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]])
    torch.testing.assert_close(triangle(x, C), torch.tensor([[0.0, 1.0, 2.0]]))  # distances 5, 1, 0; mean 2


def test_quadrants_of_an_odd_number_of_positions() -> None:
    f = torch.ones(1, 27, 27, 2)
    f[..., 1] = 3
    expected = [14 * 14, 3 * 14 * 14, 14 * 13, 3 * 14 * 13, 13 * 14, 3 * 13 * 14, 13 * 13, 3 * 13 * 13]
    assert quadrant_sums(f).tolist() == [expected]


def test_standardisation_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    model = KMeans(2, image_size=12, n_patches=2)
    sums = torch.full((2, 8), 5.0)
    sums[1, 0] = 5 + 2 * 0.03**0.5  # mean 5 + sqrt(0.03), variance 0.03; a hundredth is added to it
    monkeypatch.setattr(model, "sums", lambda images: sums)
    images = np.zeros((2, 12, 12, 3), np.uint8)
    model.standardise(images, np.random.default_rng(0))
    expected = torch.zeros(2, 8)  # what does not vary
    expected[:, 0] = torch.tensor([-1, 1]) * 0.03**0.5 / 0.2
    torch.testing.assert_close(model.features(images), expected)


def test_features_do_not_depend_on_what_else_is_in_the_call_and_are_standardised() -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 12, 12, 3), dtype=np.uint8)
    model = KMeans(8, image_size=12, n_patches=2000).fit(images)
    out = model.transform(images)
    assert out.shape == (60, 32)
    np.testing.assert_allclose(out[7:8], model.transform(images[7:8]), atol=1e-4)
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-4)
    assert (out.std(0) < 1.001).all()
    again = KMeans(8, image_size=12, n_patches=2000).fit(images)
    np.testing.assert_array_equal(out, again.transform(images))
    with pytest.raises(ValueError, match="trained first"):
        KMeans(8).transform(np.zeros((1, 32, 32, 3), np.uint8))


def test_parameters_are_kept_as_given_and_impossible_ones_are_named() -> None:
    model = KMeans(n_centroids=30, seed=5, n_patches=2000)
    assert (model.n_centroids, model.seed, model.image_size, model.n_patches) == (30, 5, 32, 2000)
    with pytest.raises(ValueError, match="1 centroids of 400,000 patches: needs 2 or more, and at least as many"):
        KMeans(1)
    with pytest.raises(ValueError, match="30 centroids of 29 patches"):
        KMeans(30, n_patches=29)
    with pytest.raises(ValueError, match="image size 11: needs 12 or more"):
        KMeans(30, image_size=11)


def test_random_patches_are_rows_of_the_patches_that_features_are_made_of() -> None:
    images = smooth_images(4, 12)
    every = patches_of(torch.from_numpy(images).permute(0, 3, 1, 2).float()).tolist()
    place = {tuple(row): number for number, row in enumerate(every)}
    assert len(place) == 4 * 7 * 7  # so a row tells its image and position
    drawn = random_patches(images, 4000, np.random.default_rng(0), torch.device("cpu"))
    found = [place.get(tuple(row), -1) for row in drawn.tolist()]
    times = np.bincount(np.array(found) + 1, minlength=len(every) + 1)
    assert times[0] == 0  # no row is of anything else
    assert times[1:].min() > 0
    assert times[1:].max() < 50  # 20 on average


def test_the_whole_representation_is_that_of_plain_loops_over_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    images, k, positions = smooth_images(40, 12), 6, 7
    drawn: list[np.ndarray] = []

    def watched(of: np.ndarray, n: int, rng: np.random.Generator, device: torch.device) -> torch.Tensor:
        assert of is images
        patches = random_patches(of, n, rng, device)
        drawn.append(patches.numpy().astype(np.float64))
        return patches

    monkeypatch.setattr(module, "random_patches", watched)
    monkeypatch.setattr(module, "CACHED", 2 * positions * k)  # two rows of windows at a time, of four and of three
    model = KMeans(k, image_size=12, n_patches=1000).fit(images)
    out = model.transform(images)

    def contrast_normalised(x: np.ndarray) -> np.ndarray:
        return np.asarray((x - x.mean()) / np.sqrt(x.var(ddof=1) + 10))

    (patches,) = drawn
    X = np.stack([contrast_normalised(x) for x in patches])
    energies, V = np.linalg.eigh(np.cov(X.T))
    ZCA, centre = V @ np.diag((energies + 0.1) ** -0.5) @ V.T, X.mean(0)
    white, C = (X - centre) @ ZCA, model.C.numpy().astype(np.float64)
    nearest = np.linalg.norm(white[:, None] - C, axis=2).argmin(1)
    np.testing.assert_allclose(C, [white[nearest == j].mean(0) for j in range(k)], atol=1e-4)  # none is empty

    sums = np.zeros((40, 2, 2, k))
    for i in range(40):
        for r in range(positions):
            for c in range(positions):
                window = images[i, r : r + 6, c : c + 6].astype(np.float64).transpose(2, 0, 1).reshape(-1)
                z = np.linalg.norm((contrast_normalised(window) - centre) @ ZCA - C, axis=1)
                sums[i, int(r >= 4), int(c >= 4)] += np.maximum(0, z.mean() - z)
    expected = sums.reshape(40, -1)
    expected = (expected - expected.mean(0)) / np.sqrt(expected.var(0) + 0.01)
    assert np.median(expected.std(0)) > 0.9
    np.testing.assert_allclose(out, expected, atol=2e-3)
