"""The denoising autoencoder: what its corruptions do, what it does about them, its two sizes."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from repr_eval.representations.autoencoders import Training
from repr_eval.representations.dae import (
    SIZES,
    DenoisingFeatures,
    DenoisingSettings,
    denoising_autoencoder,
    masked,
    noisy,
)  # fmt: skip

TINY = DenoisingSettings(
    maps=(12,), kernel=5, corruption="masking", level=0.25,
    training=Training(images_seen=16 * 200, batch=16, learning_rate=5e-3),
)  # fmt: skip


def smooth_pictures(n: int, seed: int = 0) -> np.ndarray:
    """Images uint8 [n, 16, 16, 3], each pixel foretold by its neighbours: a plane of brightness, much of it above 0."""
    slopes = np.random.default_rng(seed).uniform(-1, 1, (n, 2, 3))
    rows, columns = np.mgrid[-1:1:16j, -1:1:16j]
    planes = slopes[:, :1, None] * rows[..., None] + slopes[:, 1:, None] * columns[..., None]
    return (140 + 50 * planes).astype(np.uint8)


def test_masking_forces_the_same_share_of_every_image_to_0_and_leaves_the_rest() -> None:
    x = torch.rand(20, 3, 8, 8) + 0.1
    corrupted = masked(x, 0.25, torch.Generator().manual_seed(0))
    gone = (corrupted == 0).all(1)
    assert gone.sum((1, 2)).tolist() == [16] * 20
    torch.testing.assert_close(corrupted, x * ~gone[:, None], rtol=0, atol=0)  # all three colours, or none
    assert len({tuple(row) for row in gone.flatten(1).tolist()}) == 20  # other pixels in every image
    torch.testing.assert_close(masked(x, 0.0, torch.Generator()), x, rtol=0, atol=0)
    assert not masked(x, 1.0, torch.Generator()).any()


def test_every_pixel_is_masked_equally_often() -> None:
    gone = masked(torch.ones(4000, 1, 4, 4), 0.25, torch.Generator().manual_seed(1)) == 0
    often = gone.float().mean(0)
    assert (often - 0.25).abs().max() < 5 * (0.25 * 0.75 / 4000) ** 0.5


def test_noise_has_the_deviation_asked_for_and_no_mean() -> None:
    x = torch.rand(50, 3, 16, 16)
    noise = noisy(x, 0.3, torch.Generator().manual_seed(0)) - x
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=5 * 0.3 / x.numel() ** 0.5)
    neighbours = torch.corrcoef(torch.stack([noise[..., :-1].flatten(), noise[..., 1:].flatten()]))[0, 1]
    assert abs(neighbours.item()) < 0.03


def test_the_loss_is_the_error_against_the_clean_image() -> None:
    model = DenoisingFeatures(TINY, "tiny", image_size=16)
    network, x = model.new_network(), torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        made = network(masked(x, 0.25, torch.Generator().manual_seed(7)))
        expected = (made - x).square().mean()
        torch.testing.assert_close(network.loss(x, torch.Generator().manual_seed(7)), expected)


@pytest.mark.parametrize(("corruption", "level"), [("masking", 0.25), ("gaussian", 0.3)])
def test_what_is_made_of_a_corrupted_image_is_nearer_to_the_clean_one(corruption: str, level: float) -> None:
    settings = replace(TINY, corruption=corruption, level=level)
    model = DenoisingFeatures(settings, "tiny", image_size=16)
    model.fit(smooth_pictures(200))
    x, generator = model.to_input(smooth_pictures(20, seed=1)), torch.Generator().manual_seed(0)
    corrupted = model.new_network().corrupt(x, level, generator)
    with torch.no_grad():
        error = (model.network(corrupted) - x).square().mean()
    assert error < 0.3 * (corrupted - x).square().mean()


def test_pixels_lie_between_0_and_1_and_features_are_of_the_clean_image() -> None:
    model = DenoisingFeatures(TINY, "tiny", image_size=16)
    images = np.zeros((2, 16, 16, 3), np.uint8)
    images[1] = 255
    x = model.to_input(images)
    torch.testing.assert_close(x, torch.stack([torch.zeros(3, 16, 16), torch.ones(3, 16, 16)]), rtol=0, atol=0)
    model.network = model.new_network()
    (h,) = model.network.activations(x)
    torch.testing.assert_close(model.features(images).view(2, 12, 4, 4), h.view(2, 12, 4, 2, 4, 2).amax((3, 5)))


@pytest.mark.parametrize(("size", "maps"), [("published", (128, 256, 512)), ("small", (64, 128, 256))])
def test_two_sizes(size: str, maps: tuple[int, ...]) -> None:
    model = denoising_autoencoder(3, size=size)
    description = model.description
    assert size in description.method
    assert description.n_features == 16 * sum(maps)
    assert description.layer_features == tuple(16 * m for m in maps)
    assert (str(description.layers), description.max_units) == ("1-3 of 3", maps[-1])
    assert description.settings["seed"] == 3
    assert description.settings["maps"] == list(maps)
    assert (description.settings["corruption"], description.settings["level"]) == ("masking", 0.25)
    network, x = model.new_network(), torch.zeros(1, 3, 32, 32)
    with torch.no_grad():
        assert [tuple(h.shape) for h in network.activations(x)] == [
            (1, m, side, side) for m, side in zip(maps, (16, 8, 4), strict=True)
        ]
        assert network(x).shape == x.shape


def test_unknown_size() -> None:
    assert set(SIZES) == {"published", "small"}
    with pytest.raises(ValueError, match="unknown size 'huge'; choose from published, small"):
        denoising_autoencoder(0, size="huge")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maps": ()}, r"maps \(\)"),
        ({"maps": (4, 0)}, r"maps \(4, 0\)"),
        ({"kernel": 4}, "kernel 4 is not odd"),
        ({"corruption": "salt"}, "'salt'; choose from masking, gaussian"),
        ({"level": 1.5}, "level 1.5 of masking"),
        ({"corruption": "gaussian", "level": -0.1}, "level -0.1 of gaussian"),
    ],
)
def test_impossible_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)
