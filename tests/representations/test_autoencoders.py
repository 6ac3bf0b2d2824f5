"""What the autoencoders share: initial weights, the images' order, a loss that is watched, features of all layers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from repr_eval.gan.networks import GRID
from repr_eval.representations.autoencoders import (
    AutoencoderFeatures,
    Training,
    initialise_autoencoder,
    train_autoencoder,
    visiting_order,
)
from repr_eval.representations.dae import DenoisingFeatures, DenoisingSettings
from repr_eval.representations.swwae import WhatWhereFeatures, WhatWhereSettings

TRAINING = Training(images_seen=96, batch=16, learning_rate=1e-2)
DENOISING = DenoisingSettings(maps=(4, 6), kernel=3, corruption="masking", level=0.25, training=TRAINING)
WHAT_WHERE = WhatWhereSettings(
    stages=(((4, 5),), ((4, 3), (6, 3))),
    lambda_rec=1.0,
    lambda_m=0.2,
    dropout=0.5,
    statistics_from=1000,
    training=TRAINING,
)


def pictures(n: int, seed: int = 0) -> np.ndarray:
    """Images uint8 [n, 16, 16, 3]: mixtures of two fixed patterns, so of rank 2 about their mean."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(9).uniform(-1, 1, (2, 4, 4, 3)).repeat(4, 1).repeat(4, 2)
    mixed = np.tensordot(rng.uniform(-1, 1, (n, 2)), patterns, 1)
    return (127.5 + 60 * mixed).astype(np.uint8)


def denoiser(seed: int = 0, **changes: Any) -> DenoisingFeatures:
    return DenoisingFeatures(replace(DENOISING, **changes), "tiny", seed, image_size=16)


def what_where(seed: int = 0, **changes: Any) -> WhatWhereFeatures:
    return WhatWhereFeatures(replace(WHAT_WHERE, **changes), "tiny", seed, image_size=16)


def filled(model: AutoencoderFeatures, images: np.ndarray, train_images: np.ndarray | None = None) -> np.ndarray:
    """The features of `images` by `model`, fitted to `train_images` first where there are some."""
    if train_images is not None:
        model.fit(train_images)
    return model.transform(images)


both = pytest.mark.parametrize("make", [denoiser, what_where])


def test_initial_weights_have_the_variance_of_2_over_the_terms_of_a_sum() -> None:
    network = nn.Sequential(
        nn.Conv2d(30, 40, 5), nn.ConvTranspose2d(40, 30, 5, 2), nn.BatchNorm2d(30, affine=False), nn.Conv2d(8, 500, 3)
    )
    initialise_autoencoder(network, torch.Generator().manual_seed(0))
    for layer, terms in ((0, 30 * 25), (1, 40 * 25 / 4), (3, 8 * 9)):
        weight, bias = list(network[layer].parameters())
        assert weight.mean().item() == pytest.approx(0, abs=0.05 * (2 / terms) ** 0.5)
        assert weight.var().item() == pytest.approx(2 / terms, rel=0.05)
        assert not bias.any()


def test_every_epoch_visits_every_image_in_an_order_of_its_own() -> None:
    order = visiting_order(10, 25, seed=3)
    first, second, third = order[:10], order[10:20], order[20:]
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))
    assert first.tolist() != second.tolist()
    assert len(set(third.tolist())) == 5
    torch.testing.assert_close(order, visiting_order(10, 25, seed=3))
    assert order.tolist() != visiting_order(10, 25, seed=4).tolist()
    with pytest.raises(ValueError, match="0 images"):
        visiting_order(0, 5, 0)


@both
def test_the_loss_falls_on_images_of_low_rank(make: Any) -> None:
    model = make(training=replace(TRAINING, images_seen=16 * 150))
    model.fit(pictures(64))
    assert len(model.losses) == 3  # of 50 steps each
    assert model.losses[-1] < 0.6 * model.losses[0]


@both
def test_features_do_not_depend_on_the_call_and_equal_seeds_give_equal_ones(make: Any) -> None:
    train_images, images = pictures(40), pictures(9, seed=1)
    model = make().fit(train_images)
    out = filled(model, images)
    assert out.std(0).max() > 0
    np.testing.assert_array_equal(out, filled(model, images))  # nothing is learned or drawn again
    np.testing.assert_allclose(out[4:5], filled(model, images[4:5]), atol=1e-5)
    np.testing.assert_array_equal(out, filled(make(), images, train_images))
    assert np.abs(out - filled(make(seed=1), images, train_images)).max() > 0.01
    assert np.abs(out - filled(make(), images, pictures(40, seed=2))).max() > 0.001


@both
def test_global_randomness_is_without_influence(make: Any) -> None:
    torch.manual_seed(0)
    first = filled(make(), pictures(4), pictures(40))
    torch.manual_seed(1)
    np.testing.assert_array_equal(first, filled(make(), pictures(4), pictures(40)))


@both
def test_features_are_maxima_over_a_grid_of_every_layer_in_turn(make: Any) -> None:
    model = make()
    images = pictures(3)
    model.fit(images)
    features, description = model.features(images), model.description
    assert not model.network.training
    assert features.shape == (3, description.n_features)
    assert sum(description.layer_features) == description.n_features
    with torch.no_grad():
        for layer, h in enumerate(model.network.activations(model.to_input(images)), 1):
            part = features[:, description.columns(layer, layer)].reshape(3, -1, GRID, GRID)
            cells = h.unflatten(3, (GRID, -1)).unflatten(2, (GRID, -1))  # [N, C, 4, rows, 4, columns]
            torch.testing.assert_close(part, cells.amax((3, 5)))
    assert layer == len(description.layer_features)


@both
def test_bfloat16_trains_and_features_stay_float32(make: Any) -> None:
    model, exact = make(training=replace(TRAINING, precision="bf16")), make()
    model.fit(pictures(32))
    exact.fit(pictures(32))
    assert model.losses == pytest.approx(exact.losses, rel=0.05)
    assert model.losses != exact.losses
    assert model.features(pictures(2)).dtype == torch.float32


@both
def test_a_loss_that_is_not_finite_is_an_error(make: Any) -> None:
    with pytest.raises(ValueError, match=r"loss is (nan|inf) after 96 images: .* rate of 1e\+30 in fp32"):
        make(training=replace(TRAINING, learning_rate=1e30)).fit(pictures(32))


def test_a_loss_that_is_not_finite_is_noticed_before_the_end() -> None:
    model = denoiser()
    network = model.new_network()
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, float("nan"))
    long = replace(TRAINING, images_seen=16 * 500)
    with pytest.raises(ValueError, match="loss is nan after 800 images"):
        train_autoencoder(network, pictures(32), model.to_input, long, 0, model.device)


@both
def test_settings_tell_all_before_and_after_fitting(make: Any) -> None:
    model = make(seed=5)
    before, settings = model.description, model.description.settings
    assert settings["seed"] == 5
    assert settings["training"] == {"images_seen": 96, "batch": 16, "learning_rate": 1e-2, "precision": "fp32"}
    assert model.description.fitted_to("print").settings == settings | {"learned_from": "print"}
    with pytest.raises(ValueError, match=r"must be trained first: call fit\(train_images\)"):
        filled(model, pictures(2))
    assert model.fit(pictures(20)) is model
    filled(model, pictures(2))
    assert model.description == before


@both
def test_fitting_again_forgets_what_was_learned_and_an_interrupted_fit_leaves_nothing(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = make(), pictures(4, seed=1)
    filled(model, images, pictures(40))
    np.testing.assert_array_equal(
        filled(model, images, pictures(40, seed=2)), filled(make(), images, pictures(40, seed=2))
    )

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("repr_eval.representations.autoencoders.train_autoencoder", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(pictures(40))
    with pytest.raises(ValueError, match="must be trained first"):
        filled(model, images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images_seen": 0}, "images_seen 0"),
        ({"batch": 0}, "batch 0"),
        ({"learning_rate": 0.0}, "learning rate 0.0"),
        ({"learning_rate": float("nan")}, "learning rate nan"),
        ({"precision": "fp16"}, "'fp16'; choose fp32 or bf16"),
    ],
)
def test_impossible_training(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TRAINING, **changes)


@both
def test_impossible_seeds_and_images(make: Any) -> None:
    with pytest.raises(ValueError, match="seed -1"):
        make(seed=-1)
    model = make()
    with pytest.raises(ValueError, match="20 is not a multiple of 16"):
        type(model)(model.settings, "tiny", image_size=20)
    with pytest.raises(ValueError, match=r"takes 16x16x3"):
        model.fit(np.zeros((2, 32, 32, 3), np.uint8))
