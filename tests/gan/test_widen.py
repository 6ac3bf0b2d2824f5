"""Networks of twice the width: the same function, maps that can part ways, and a run that starts from them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from dying_training import SETTINGS, go_on, images
from torch import nn

from repr_eval.cli import main
from repr_eval.gan.architectures import ARCHITECTURES
from repr_eval.gan.networks import Discriminator, Generator, initialise
from repr_eval.gan.settings import read_settings
from repr_eval.gan.weights import load_discriminator
from repr_eval.gan.widen import widened


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trained_looking(network: Discriminator | Generator) -> Discriminator | Generator:
    """With statistics that are not those of a new network."""
    initialise(network, rng())
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=rng(1))  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2, generator=rng(2))  # type: ignore[union-attr]
    return network.eval()


@pytest.mark.parametrize("arch", ARCHITECTURES)
@torch.no_grad()
def test_the_function_stays_and_every_map_stands_twice(arch: str) -> None:
    architecture = ARCHITECTURES[arch]
    D = trained_looking(Discriminator(architecture, 0.125))
    assert isinstance(D, Discriminator)
    x = torch.rand(4, 3, architecture.image_size, architecture.image_size, generator=rng()) * 2 - 1
    wide = widened(D, rng(), noise=0.0)
    assert isinstance(wide, Discriminator)
    assert wide.width == 0.25
    torch.testing.assert_close(wide(x), D(x), rtol=1e-4, atol=1e-6)
    for mine, its in zip(wide.activations(x), D.activations(x), strict=True):
        torch.testing.assert_close(mine, torch.cat([its, its], 1), rtol=1e-3, atol=1e-6)
    G = trained_looking(Generator(architecture, 0.125))
    z = torch.randn(4, architecture.z_dim, generator=rng())
    torch.testing.assert_close(widened(G, rng(), noise=0.0)(z), G(z), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_noise_tells_the_copies_apart() -> None:
    D = trained_looking(Discriminator(ARCHITECTURES["dcgan32-svhn"], 0.125))
    exact, noisy = (widened(D, rng(), noise).state_dict() for noise in (0.0, 0.05))
    for name, value in exact.items():
        if value.ndim > 1:
            assert float((noisy[name] - value).std() / value.std()) == pytest.approx(0.05, rel=0.1), name
        else:
            assert torch.equal(noisy[name], value), name


def test_a_width_that_cannot_be_doubled() -> None:
    with pytest.raises(ValueError, match=r"dcgan32-svhn of width 0\.02 cannot be widened"):
        widened(Discriminator(ARCHITECTURES["dcgan32-svhn"], 0.02), rng())


def test_a_run_starts_from_widened_weights(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", images())
    go_on(tmp_path / "narrow", replace(SETTINGS, width=0.125, max_steps=2))
    weights = [tmp_path / "narrow" / f"{name}.safetensors" for name in ("discriminator", "generator")]
    words = ["train-gan", "--data", tmp_path / "images.npy", "--batch-size", 8, "--z-dim", 5, "--max-steps", 1]
    words += ["--from", weights[0], "--from", weights[1]]

    def train(out: str, *more: object) -> str:
        result = CliRunner().invoke(main, [str(word) for word in (*words, "--out", tmp_path / out, *more)])
        return "" if result.exit_code == 0 else result.output

    assert train("wide", "--widen") == ""
    settings = read_settings(tmp_path / "wide" / "settings.json")
    assert settings.width == 0.25
    assert settings.started_from
    assert settings.started_from["widened"] is True
    assert load_discriminator(tmp_path / "wide" / "discriminator.safetensors")[1].images_seen == 24
    assert "give --width 0.125, or widen it (--widen)" in train("other", "--width", 0.25)
    assert "is of width 0.25, this run of 0.125" in train("other", "--width", 0.125, "--widen")
    result = CliRunner().invoke(main, ["train-gan", "--data", "digits", "--widen", "--out", str(tmp_path / "none")])
    assert "name the weights that are to be widened, with --from" in result.output
