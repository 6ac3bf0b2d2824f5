"""The networks that studies look at: one image a noise vector, and the statistics that make it so."""

from pathlib import Path

import numpy as np
import pytest
import torch

from repr_eval.explore.models import BATCH, read_models, settled
from repr_eval.explore.output import save_film
from repr_eval.gan.architectures import architecture_named
from repr_eval.gan.networks import Discriminator, Generator, initialise
from repr_eval.gan.weights import WeightsInfo, save_weights
from repr_eval.system.random_streams import draw_noise, generator_for

ARCH = architecture_named("dcgan32-svhn")


def generator(width: float = 0.05) -> Generator:
    network = Generator(ARCH, width)
    initialise(network, generator_for(0, "init-g"))
    return network


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A generator, a discriminator, one without statistics, and one of another size."""
    made = {name: tmp_path / f"{name}.safetensors" for name in ("g", "d", "bare", "large")}
    save_weights(made["g"], generator(), WeightsInfo("generator", ARCH.name, 0.05, z="normal"))
    discriminator = Discriminator(ARCH, 0.05)
    save_weights(made["d"], discriminator, WeightsInfo("discriminator", ARCH.name, 0.05))
    save_weights(made["bare"], discriminator, WeightsInfo("discriminator", ARCH.name, 0.05, statistics=False))
    large = Discriminator(architecture_named("dcgan64"), 0.05)
    save_weights(made["large"], large, WeightsInfo("discriminator", "dcgan64", 0.05))
    return made


def test_the_layers_of_g_end_in_its_images() -> None:
    network, z = generator().eval(), torch.randn(3, 100)
    layers = list(network.activations(z))
    assert len(layers) == len(network.convs) + 1
    assert torch.equal(layers[-1], network(z))
    assert torch.equal(list(network.onwards(layers[1], 1))[-1], layers[-1])


def test_statistics_are_those_of_the_noise() -> None:
    """The dense layer's norm: the mean over batches of each batch's mean and biased variance."""
    network = settled(generator(), "normal")
    draws = generator_for(0, "statistics")
    with torch.no_grad():
        batches = [network.dense(draw_noise(BATCH, 100, "normal", draws)) for _ in range(32)]
    mean = torch.stack([batch.mean(0) for batch in batches]).mean(0)
    variance = torch.stack([batch.var(0) for batch in batches]).mean(0)
    torch.testing.assert_close(network.dense_norm.running_mean, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.dense_norm.running_var, variance, rtol=1e-4, atol=1e-5)


def test_an_image_depends_on_its_own_noise_only(files: dict[str, Path]) -> None:
    models = read_models([str(files["g"])])
    z = models.noise(70, seed=3)
    together = models.images(z)
    assert together.shape == (70, 32, 32, 3)
    alone = np.concatenate([models.images(z[row : row + 1]) for row in (0, 65)])
    assert np.abs(together[[0, 65]].astype(int) - alone).max() <= 1
    assert together.std() > 1


def test_a_generator_without_statistics_draws_the_same(files: dict[str, Path], tmp_path: Path) -> None:
    """They are made of noise in any case, so that the file's own, if it has any, decide nothing."""
    network = generator()
    network.dense_norm.running_mean = torch.full_like(network.dense_norm.weight.detach(), 3)
    for name, kept in (("bare-g", False), ("other-g", True)):
        info = WeightsInfo("generator", ARCH.name, 0.05, z="normal", statistics=kept)
        save_weights(tmp_path / f"{name}.safetensors", network, info)
    made = [
        models.images(models.noise(3, seed=0))
        for models in (read_models([str(tmp_path / f"{name}.safetensors")]) for name in ("bare-g", "other-g", "g"))
    ]
    np.testing.assert_array_equal(made[0], made[2])
    np.testing.assert_array_equal(made[1], made[2])


def test_more_noise_begins_alike(files: dict[str, Path]) -> None:
    models = read_models([str(files["g"])])
    assert models.z == "normal"
    assert torch.equal(models.noise(5, seed=1), models.noise(70, seed=1)[:5])
    assert not torch.equal(models.noise(5, seed=1), models.noise(5, seed=2))
    assert torch.equal(models.noise(64, seed=1), draw_noise(64, 100, "normal", generator_for(1, "samples")))


def test_features_are_those_of_the_suite(files: dict[str, Path]) -> None:
    from repr_eval.representations.discriminator import from_weights

    models = read_models([str(files["g"]), str(files["d"])])
    images = models.images(models.noise(4, seed=0))
    expected = from_weights(files["d"], bn="running").transform(images)
    np.testing.assert_array_equal(models.features(images), expected)
    with pytest.raises(ValueError, match="D's features are needed; give a discriminator's weights too"):
        read_models([str(files["g"])]).features(images)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["d"], "d.safetensors: a discriminator alone; give a generator's weights"),
        (["g", "g"], "g.safetensors: a second generator; give one of each"),
        (["g", "bare"], "bare.safetensors: has no batch-norm statistics, which D's features need"),
        (["g", "large"], "G draws 32x32 images, D takes 64x64; give networks of one run"),
    ],
)
def test_networks_that_do_not_go_together(files: dict[str, Path], names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_models([str(files[name]) for name in names])


def test_shipped_weights_are_both() -> None:
    models = read_models(["svhn-grey-contrastive"])
    assert models.discriminator is not None
    assert set(models.description) == {"generator", "discriminator", "z", "generator_statistics"}


def test_a_film_has_its_frames(tmp_path: Path) -> None:
    from PIL import Image

    frames = [np.full((8, 10, 3), 60 * number, np.uint8) for number in range(4)]
    save_film(tmp_path / "film.webp", frames)
    with Image.open(tmp_path / "film.webp") as film:
        assert film.n_frames == 4  # type: ignore[attr-defined]
        film.seek(2)
        assert np.asarray(film.convert("RGB")).max() == 120
