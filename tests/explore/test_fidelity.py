"""samples and its --fidelity: by a stand-in for torch-fidelity, whose answers are known."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from factories import random_images, run

from repr_eval.explore import fidelity
from repr_eval.gan.architectures import architecture_named
from repr_eval.gan.networks import Discriminator, Generator, initialise
from repr_eval.gan.weights import WeightsInfo, save_weights
from repr_eval.system.random_streams import generator_for

ARCH = architecture_named("dcgan32-svhn")
NAMES = (
    "frechet_inception_distance", "kernel_inception_distance_mean", "kernel_inception_distance_std",
    "inception_score_mean", "inception_score_std",
)  # fmt: skip


class StandIn(ModuleType):
    """FID: the difference of the mean levels; all else is 0. Keeps what it was asked."""

    __version__ = "0"

    def __init__(self) -> None:
        super().__init__("torch_fidelity")
        self.asked: list[dict[str, Any]] = []

    def calculate_metrics(self, **asked: Any) -> dict[str, float]:
        self.asked.append(asked)
        means = []
        for name in ("input1", "input2"):
            images = asked[name]
            first = images[0]
            assert (first.dtype, first.shape[0]) == (torch.uint8, 3)
            means.append(np.mean([images[i].numpy().mean() for i in range(len(images))]))
        return dict.fromkeys(NAMES, 0.0) | {NAMES[0]: float(abs(means[0] - means[1]))}


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn()
    monkeypatch.setitem(sys.modules, "torch_fidelity", made)
    return made


@pytest.fixture
def generator(tmp_path: Path) -> Path:
    network = Generator(ARCH, 0.05)
    initialise(network, generator_for(0, "init-g"))
    save_weights(tmp_path / "g.safetensors", network, WeightsInfo("generator", ARCH.name, 0.05, z="normal"))
    return tmp_path / "g.safetensors"


def test_images_reach_it_as_they_are(stand_in: StandIn) -> None:
    """Grey of 30 against grey of 50: a distance of 20."""
    samples, real = (np.full((n, 8, 8, 3), level, np.uint8) for n, level in ((5, 30), (7, 50)))
    numbers = fidelity.measure(samples, real)
    assert (numbers["fid"], numbers["kid"], numbers["samples"], numbers["real_images"]) == (20, 0, 5, 7)
    assert stand_in.asked[0]["kid_subset_size"] == 5
    image = random_images(1, 8)
    np.testing.assert_array_equal(fidelity.Images(image)[0].permute(1, 2, 0).numpy(), image[0])


def test_the_command_writes_picture_and_numbers(generator: Path, tmp_path: Path, stand_in: StandIn) -> None:
    np.save(tmp_path / "real.npy", random_images(90))
    out = tmp_path / "out" / "grid.png"
    words = ["--weights", generator, "--fidelity", "--data", tmp_path / "real.npy", "--images", 70, "--out", out]
    for command in (["explore", "samples"], ["samples"]):
        done = run(*command, *words)
        assert done.exit_code == 0, done.output
    assert "KID 0.0000" in done.output
    assert len(stand_in.asked[0]["input1"]) == len(stand_in.asked[0]["input2"]) == 70
    numbers = json.loads(out.with_suffix(".json").read_text())["numbers"]
    assert (numbers["samples"], numbers["real_images"], numbers["data"]) == (70, 70, "real.npy (90 images)")
    one, two = (asked["input1"].images for asked in stand_in.asked)
    np.testing.assert_array_equal(one, two)  # the same seed


def test_without_fidelity_both_names_draw_the_same(generator: Path, tmp_path: Path) -> None:
    for name, command in (("one", ["samples"]), ("two", ["explore", "samples"])):
        assert run(*command, "--weights", generator, "--n", 4, "--out", tmp_path / f"{name}.png").exit_code == 0
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert not (tmp_path / "two.json").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (URLError("no network"), "could not load the weights of its Inception network (<urlopen error no network>)"),
        (RuntimeError("odd\nshapes"), "torch-fidelity failed: RuntimeError: odd shapes"),
    ],
)
def test_its_errors_are_one_line(
    generator: Path, tmp_path: Path, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def failing(**asked: object) -> None:
        raise error

    monkeypatch.setattr(stand_in, "calculate_metrics", failing)
    np.save(tmp_path / "real.npy", random_images(4))
    words = ["--fidelity", "--data", tmp_path / "real.npy", "--images", 4, "--out", tmp_path / "grid.png"]
    done = run("samples", "--weights", generator, *words)
    assert done.exit_code == 1
    assert message in done.stderr
    assert done.stderr.startswith("repr-eval samples: --fidelity")
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "grid.png").exists()  # the picture needs none of it


def test_without_the_package_the_extra_is_named(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    np.save(tmp_path / "real.npy", random_images(4))
    done = run("samples", "--weights", generator, "--fidelity", "--data", tmp_path / "real.npy",
               "--out", tmp_path / "grid.png")  # fmt: skip
    assert done.exit_code == 1
    assert "--fidelity needs torch-fidelity, which is not installed" in done.stderr
    assert "pip install 'repr-eval[fidelity]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    weights = ("--weights", "svhn-grey-contrastive")
    assert "--fidelity needs --data, the real images too" in run("samples", *weights, "--fidelity").stderr
    assert "--data digits needs --fidelity too" in run("samples", *weights, "--data", "digits").stderr
    with pytest.raises(ValueError, match="1 samples and 3 real images: fidelity needs 2 of each or more"):
        fidelity.measure(random_images(1), random_images(3))


def test_a_discriminator_where_a_generator_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "d.safetensors"
    save_weights(file, Discriminator(ARCH, 0.05), WeightsInfo("discriminator", ARCH.name, 0.05))
    for command in ("samples", "explore walk"):
        done = run(*command.split(), "--weights", file, "--out", tmp_path / "out")
        assert done.exit_code == 1
        assert str(file) in done.stderr
        assert "generator" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_name_that_stands_for_both_is_the_generator(tmp_path: Path) -> None:
    for name in ("svhn-grey-contrastive", "svhn-grey-contrastive-generator"):
        done = run("samples", "--weights", name, "--n", 2, "--out", tmp_path / f"{name}.png")
        assert done.exit_code == 0, done.output
    one, two = sorted(tmp_path.glob("*.png"))
    assert one.read_bytes() == two.read_bytes()
