"""Guided backpropagation by hand, what a unit sees, and how concentrated a response is."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import random_images, run

from repr_eval.explore import respond
from repr_eval.explore.respond import (
    Strongest,
    compared,
    concentration,
    concentrations,
    gradients,
    guided,
    seen,
    strip,
    strongest,
    untrained,
)
from repr_eval.gan.architectures import Architecture, architecture_named
from repr_eval.gan.networks import Discriminator, Generator
from repr_eval.gan.weights import WeightsInfo, save_weights

TOY = Architecture(
    name="toy", image_size=4, kernel=1, discriminator=((3, 1), (1, 1)), generator=((3, 1),), generator_base=1,
    z_dim=1, z="normal",
)  # fmt: skip


def weights(network: Discriminator, layer: int) -> torch.Tensor:
    """A convolution's weights, to read and to write."""
    return network.state_dict()[f"convs.{layer}.weight"]


def toy() -> Discriminator:
    """Two layers of 1x1 convolutions: every pixel for itself."""
    network = Discriminator(TOY, eps=1e-12).eval()
    weights(network, 0).copy_(torch.diag(torch.tensor([1.0, -1, -2]))[..., None, None])
    weights(network, 1).copy_(torch.tensor([2.0, 3, -1]).reshape(1, 3, 1, 1))
    return network


def test_guided_backpropagation_by_hand() -> None:
    """A pixel (1, 2, -1): the first layer's sums are (1, -2, 2), the second's is 2 - 1.2 - 2 = -1.2.

    Back: 1 * 0.2 at the second LeakyReLU; 0.2 * (2, 3, -1) = (0.4, 0.6, -0.2) at the outputs of the
    first, of which the negative one becomes 0; slopes (1, 0.2, 1) make (0.4, 0.12, 0); weights
    (1, -1, -2) make (0.4, -0.12, 0). The plain gradient would have 0.4 in the third place.
    """
    x = torch.zeros(1, 3, 4, 4)
    x[0, :, 1, 2] = torch.tensor([1.0, 2, -1])
    made = guided(toy(), x, torch.tensor([0]), torch.tensor([1 * 4 + 2]))
    expected = torch.zeros(1, 3, 4, 4)
    expected[0, :, 1, 2] = torch.tensor([0.4, -0.12, 0])
    torch.testing.assert_close(made, expected)


def test_images_do_not_mix() -> None:
    """Each image has its own unit, and gets the gradient that it gets alone."""
    network = Discriminator(architecture_named("dcgan32-svhn"), 0.1).eval()
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features, places = torch.tensor([0, 3, 5]), torch.tensor([0, 7, 15])
    together = guided(network, x, features, places)
    alone = torch.cat([guided(network, x[i : i + 1], features[i : i + 1], places[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone)


def test_the_strongest_units_are_found() -> None:
    """With weights of 1 a unit is the sum of its pixel's colours."""
    network = toy()
    weights(network, 0).copy_(torch.eye(3)[..., None, None])
    weights(network, 1).fill_(1)
    images = np.full((70, 4, 4, 3), 20, np.uint8)
    images[66, 3, 1] = 250
    images[2, 0, 2] = 200
    images[5, 1, 1] = 100
    found = strongest(network, images, 2)
    assert found.images.tolist() == [[66, 2]]
    assert found.places.tolist() == [[3 * 4 + 1, 2]]
    assert found.values[0, 0] == pytest.approx(3 * (250 / 127.5 - 1), rel=1e-5)


@pytest.mark.parametrize("arch", ["dcgan32", "dcgan32-svhn", "dcgan64"])
@pytest.mark.parametrize("place", [0, 6, 15])
def test_a_unit_sees_where_its_gradient_reaches(arch: str, place: int) -> None:
    network = Discriminator(architecture_named(arch), 0.01).eval()
    for layer in range(len(network.convs)):
        weights(network, layer).fill_(1)
    size = network.arch.image_size
    made = guided(network, torch.ones(1, 3, size, size), torch.tensor([0]), torch.tensor([place]))
    reached = np.zeros((size, size), bool)
    reached[seen(network, place)] = True
    np.testing.assert_array_equal((made[0].abs().sum(0) > 0).numpy(), reached)


def test_concentration_by_hand() -> None:
    one = np.zeros((10, 10, 3))
    one[4, 7] = (0, -2, 1)
    assert concentration(one) == pytest.approx((1, 0.01))
    assert concentration(np.full((10, 10, 3), 1e-9)) == pytest.approx((0.05, 1))
    two = np.zeros((4, 4, 3))
    two[0, 0, 0], two[2, 2, 1] = 3, -3
    assert concentration(two) == pytest.approx((0.5, 1 / 8))  # 5% of 16 pixels, rounded up, is one
    assert np.isnan(concentration(np.zeros((4, 4, 3)))).all()


def test_features_without_a_gradient_are_counted() -> None:
    """All weights back to the images are 0."""
    network, images = toy(), random_images(3, 4)
    weights(network, 0).zero_()
    values = concentrations(network, images, strongest(network, images))
    assert np.isnan(values).all()
    with pytest.raises(ValueError, match="the guided gradients of all features are 0"):
        compared(values, values)


def test_learned_against_untrained_by_hand() -> None:
    """Of 20 ways to part six features the one at hand and its mirror image are as far apart: p = 0.1."""
    learned = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [np.nan, np.nan]])
    numbers = compared(learned, np.array([[0.3, 0.7], [0.2, 0.8], [0.1, 0.9]]))
    assert numbers["top_share"]["probability"] == 1
    assert numbers["top_share"]["p"] == pytest.approx(0.1)
    assert numbers["top_share"]["learned"]["median"] == pytest.approx(0.8)
    assert numbers["participation_ratio"]["probability"] == 0
    assert numbers["features_without_gradient"] == {"learned": 1, "untrained": 0}


def test_the_control_has_settled_statistics_and_its_own_seed() -> None:
    network, images = Discriminator(architecture_named("dcgan32-svhn"), 0.05), random_images(128)
    one, same, other = (untrained(network, images, seed) for seed in (0, 0, 1))
    assert torch.equal(weights(one, 0), weights(same, 0))
    assert not torch.equal(weights(one, 0), weights(other, 0))
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
    *_, last = one.activations(x)
    assert float(last.detach().abs().mean()) > 0.1  # initial weights alone leave next to nothing of an image


def test_a_strip_shows_images_above_gradients() -> None:
    images, made = random_images(2, 4), np.zeros((2, 4, 4, 3))
    made[1, 0, 0] = (-3, 3, 0)
    picture = strip(images, made)
    assert picture.shape == (14, 14, 3)
    np.testing.assert_allclose(picture[2:6, 8:12], images[1] / 255)
    np.testing.assert_allclose(picture[8, 8], (0, 1, 0.5))
    np.testing.assert_allclose(picture[8:12, 2:6], 0.5)


def test_gradients_are_those_of_the_strongest_units() -> None:
    network, images = toy(), random_images(5, 4)
    found = Strongest(np.array([[4, 1]]), np.array([[3, 9]]), np.zeros((1, 2), np.float32))
    made = gradients(network, images, 0, found)
    assert made.shape == (2, 4, 4, 3)
    assert [np.flatnonzero(np.abs(one).sum(2)).tolist() for one in made] == [[3], [9]]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    arch = architecture_named("dcgan32-svhn")
    made = {name: tmp_path / f"{name}.safetensors" for name in ("g", "d")}
    torch.manual_seed(0)
    save_weights(made["g"], Generator(arch, 0.05), WeightsInfo("generator", arch.name, 0.05))
    save_weights(made["d"], Discriminator(arch, 0.05), WeightsInfo("discriminator", arch.name, 0.05))
    np.save(tmp_path / "real.npy", random_images(100))
    return made | {"data": tmp_path / "real.npy"}


def test_the_command_writes_the_same_again(files: dict[str, Path], tmp_path: Path) -> None:
    written = []
    for name in ("one", "two"):
        out = tmp_path / name
        networks = ("--weights", files["g"], "--weights", files["d"])
        done = run("explore", "respond", *networks, "--data", files["data"], "--features", "9,2", "--out", out)
        assert done.exit_code == 0, done.output
        assert "median of 13 features" in done.stdout
        numbers = json.loads((out / "respond.json").read_text())["numbers"]
        assert numbers["features_shown"] == [9, 2]
        assert numbers["images"] == 100
        written.append(((out / "respond.png").read_bytes(), numbers))
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--features", "3,13"], "feature 13: the last convolution has features 0 to 12"),
        (["--features", "3,3"], "features 3,3: name one or more, each once"),
        (["--features", "a"], "--features a: must be whole numbers, such as 0,5,17"),
        (["--data", "nowhere"], "nowhere: no such file or folder"),
    ],
)
def test_bad_options(files: dict[str, Path], tmp_path: Path, words: list[str], message: str) -> None:
    networks = ("--weights", files["g"], "--weights", files["d"])
    done = run("explore", "respond", *networks, "--data", files["data"], "--out", tmp_path / "out", *words)
    assert done.exit_code == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_generator_alone_has_nothing_to_look_at(files: dict[str, Path], tmp_path: Path) -> None:
    done = run("explore", "respond", "--weights", files["g"], "--data", files["data"], "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "a discriminator is looked at; give its weights too" in done.stderr


def test_only_the_first_features_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(respond, "MEASURED", 2)
    network, images = Discriminator(architecture_named("dcgan32-svhn"), 0.05).eval(), random_images(10)
    assert concentrations(network, images, strongest(network, images)).shape == (2, 2)
