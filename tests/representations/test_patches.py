"""Whitened patches: nearest ones and pooled counts by hand, the whole against plain loops."""

import json

import numpy as np
import pytest
import torch

from repr_eval.representations import patches as module
from repr_eval.representations.kmeans import random_patches
from repr_eval.representations.patches import (
    SIZES,
    Patches,
    PatchesSettings,
    nearest,
    pooling,
    whitened_patches,
)

SIDE = 20  # of images: 15 positions and 5 blocks a side
TINY = PatchesSettings(patches=7, cells=2)


@pytest.fixture(autouse=True)
def few_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHITENED_BY", 2000)


def images_of(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8)


def test_the_largest_scores_by_hand_ties_included() -> None:
    scores = torch.tensor([[3.0, -1, 7, 5, 0], [1, 2, 2, 2, 9]])
    assert nearest(scores, 1).int().tolist() == [[0, 0, 1, 0, 0], [0, 0, 0, 0, 1]]
    assert nearest(scores, 2).int().tolist() == [[0, 0, 1, 1, 0], [0, 1, 1, 1, 1]]
    assert nearest(scores, 4).int().tolist() == [[1, 0, 1, 1, 1], [0, 1, 1, 1, 1]]


def test_exactly_the_nearest_patches_and_negatives_are_near() -> None:
    model = Patches(PatchesSettings(patches=30, cells=2, near=0.4), image_size=SIDE)
    generator = torch.Generator().manual_seed(0)
    model.dictionary = torch.randn(30, 108, generator=generator) * (1 + torch.arange(30))[:, None]
    x = 5 * torch.randn(50, 108, generator=generator)
    near = model.near(x)
    assert near.shape == (50, 60)
    exact = "donot_use_mm_for_euclid_dist"
    for half, sign in ((near[:, :30], 1), (near[:, 30:], -1)):
        order = torch.cdist(x, sign * model.dictionary, compute_mode=exact).argsort(1)
        for row, expected in zip(half, order, strict=True):
            assert set(row.nonzero().flatten().tolist()) == set(expected[:12].tolist())


def test_pooled_positions_by_hand() -> None:
    # Of 27 positions the blocks are 0-4, 3-7, ..., 21-25 and 24-26: nine; three cells have three.
    weights = pooling(27, 3).view(3, 3, 27, 27)
    torch.testing.assert_close(weights.sum((2, 3)), torch.ones(3, 3))
    along = weights[0, 0].sum(1)  # positions 0 to 10; 3, 4, 6 and 7 are in two of the blocks
    expected = torch.tensor([1.0, 1, 1, 2, 2, 1, 2, 2, 1, 1, 1] + 16 * [0]) / 15
    torch.testing.assert_close(along, expected)
    last = weights[0, 2].sum(0)[18:]  # blocks 18-22, 21-25 and 24-26, the last of three positions
    fifth, third = 1 / 15, 1 / 9
    by_hand = [fifth, fifth, fifth, 2 * fifth, 2 * fifth, fifth, fifth + third, fifth + third, third]
    torch.testing.assert_close(last, torch.tensor(by_hand))
    assert pooling(27, 9).view(9, 9, 27, 27)[0, 1].nonzero().tolist() == [
        [row, column] for row in range(5) for column in range(3, 8)
    ]


def test_the_whole_representation_is_that_of_plain_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHED", 7 * 40)  # 40 of the 225 positions at a time
    images = images_of(30)
    model = Patches(TINY, seed=4, image_size=SIDE).fit(images)
    generator = np.random.default_rng([4, 0])
    X = random_patches(images, 2000, generator, torch.device("cpu")).double().numpy() / 255
    energies, V = np.linalg.eigh(np.cov(X.T))
    ZCA, centre = V @ np.diag((energies + 1e-3) ** -0.5) @ V.T, X.mean(0)
    D = (X[:7] - centre) @ ZCA
    torch.testing.assert_close(model.dictionary.double(), torch.from_numpy(D), atol=1e-3, rtol=1e-3)
    encoded = np.zeros((30, 15, 15, 14))
    for i in range(30):
        for r in range(15):
            for c in range(15):
                window = images[i, r : r + 6, c : c + 6].transpose(2, 0, 1).reshape(-1) / 255
                x = (window - centre) @ ZCA
                for half, sign in ((0, 1), (7, -1)):
                    near = np.linalg.norm(x - sign * D, axis=1).argsort()[:2]  # 0.4 of 7
                    encoded[i, r, c, half + near] = 1
    # Blocks 0-4, 3-7, 6-10, 9-13, 12-14; the first cell has the first three, the second the last.
    starts = ((0, 3, 6), (6, 9, 12))
    counts = [
        np.mean([encoded[:, r : r + 5, c : c + 5].mean((1, 2)) for r in rows for c in columns], 0)
        for rows in starts
        for columns in starts
    ]
    expected = 25 * np.concatenate(counts, 1)
    found = model.sums(images).numpy()
    assert (np.abs(found - expected) < 1e-4).mean() > 0.99  # all but ties in float32
    assert found.std(0).min() > 0.1
    standard = (found - found.mean(0)) / np.sqrt(found.var(0) + 0.01)
    np.testing.assert_allclose(model.transform(images), standard, atol=1e-3)


def test_features_follow_from_the_seed_and_not_from_the_call() -> None:
    images = images_of(70)  # more than a block
    model = Patches(TINY, image_size=SIDE).fit(images)
    out = model.transform(images)
    assert out.shape == (70, 2 * 7 * 4)
    np.testing.assert_allclose(model.transform(images[66:67]), out[66:67], atol=1e-5)
    np.testing.assert_allclose(model.transform(images[::-1]), out[::-1], atol=1e-5)
    again = Patches(TINY, image_size=SIDE).fit(images)
    np.testing.assert_array_equal(again.transform(images), out)
    other = Patches(TINY, seed=1, image_size=SIDE).fit(images)
    assert np.abs(other.transform(images) - out).max() > 0.5
    with pytest.raises(ValueError, match="trained first"):
        Patches(TINY, image_size=SIDE).transform(images)


def test_the_sizes_say_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHITENED_BY", 400_000)
    assert (SIZES["published"].neighbours, SIZES["small"].neighbours) == (819, 409)
    said = whitened_patches(3).description
    assert said.method == "2,048 whitened patches, 147,456 features"
    assert (said.n_features, said.max_units) == (147_456, 4096)
    assert json.loads(json.dumps(said.settings)) == said.settings
    assert said.settings["seed"] == 3
    small = whitened_patches(size="small").description
    assert small.method == "1,024 whitened patches, 18,432 features"


@pytest.mark.parametrize(
    ("settings", "side", "message"),
    [
        (PatchesSettings(2, 1), 32, "0.4 of 2 patches: 0 would count as near, which must be one"),
        (PatchesSettings(9, 1, near=1.0), 32, "1 of 9 patches: 9 would count as near"),
        (PatchesSettings(2001, 1), 32, "2,001 patches: at most 2,000 are drawn"),
        (PatchesSettings(9, 10), 32, "10 cells a side: images of 32x32 have 9 blocks a side"),
        (PatchesSettings(9, 0), 32, "0 cells a side"),
        (PatchesSettings(9, 1), 9, "1 cells a side: images of 9x9 have 1 blocks a side"),
    ],
)
def test_impossible_settings_are_named(settings: PatchesSettings, side: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Patches(settings, image_size=side)
    with pytest.raises(ValueError, match="unknown size 'huge'; choose from published, small"):
        whitened_patches(size="huge")
