"""What the benchmarks count, by hand: a step's arithmetic, the plain networks, the study's lists and table."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from dying_training import SETTINGS
from torch import nn

from benchmarks import arithmetic, recipes_table, train
from benchmarks.plain_dcgan import PlainGan, plain_discriminator, plain_generator
from benchmarks.proxy import ProxyData, proxy
from repr_eval.gan.architectures import ARCHITECTURES
from repr_eval.gan.augmentation import Augmentation
from repr_eval.gan.networks import Discriminator, Generator
from repr_eval.gan.recipes import PAPER
from repr_eval.representations.pixels import Pixels

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_convolutions_are_those_of_the_networks(name: str) -> None:
    arch = ARCHITECTURES[name]
    D, G = Discriminator(arch, 0.25), Generator(arch, 0.25)
    for found, network in (
        (arithmetic.discriminator_convolutions(arch, 0.25), D),
        (arithmetic.generator_convolutions(arch, 0.25), G),
    ):
        shapes = [(c.after, c.before, c.kernel, c.kernel) for c in found]
        convs = list(network.convs)
        if network is G:  # the weights of a transposed convolution are [input, output, k, k]: as those of its transpose
            assert found[-1].side == arch.image_size
        assert shapes == [tuple(conv.state_dict()["weight"].shape) for conv in convs]


def test_a_steps_operations_by_hand() -> None:
    arch = ARCHITECTURES["dcgan32-svhn"]  # at width 1: 3 -> 64 @16, 64 -> 128 @8, 128 -> 256 @4, kernel 5
    first, second, third = 25 * 3 * 64 * 256, 25 * 64 * 128 * 64, 25 * 128 * 256 * 16
    # D: maps and weight gradients of three and two batches, input gradients of three but for the first layer's one;
    # G's convolutions are the same three, each computed forward and for both gradients.
    expected = 2 * ((3 + 2 + 1 + 3) * first + (3 + 2 + 3 + 3) * (second + third))
    assert arithmetic.operations(arithmetic.step_work(arch, 1.0), 1) == expected
    assert arithmetic.operations(arithmetic.step_work(arch, 1.0), 7) == 7 * expected


def test_parts_of_a_convolution_can_be_timed() -> None:
    conv = arithmetic.Convolution(4, 8, 8, 2, 3)
    times = [
        arithmetic.seconds_alone(conv, p, 2, torch.float32, CPU) for p in ("maps", "input gradient", "weight gradient")
    ]
    assert all(0 < seconds < 1 for seconds in times)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_plain_networks_compute_the_same(name: str) -> None:
    arch, rng = ARCHITECTURES[name], torch.Generator().manual_seed(0)
    D, G = Discriminator(arch, 0.1), Generator(arch, 0.1)
    plain_D, plain_G = plain_discriminator(arch, 0.1), plain_generator(arch, 0.1)
    for plain, network in ((plain_D, D), (plain_G, G)):
        for kind in (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d):
            its, mine = ([m for m in net.modules() if isinstance(m, kind)] for net in (plain, network))
            for one, other in zip(its, mine, strict=True):
                one.load_state_dict(other.state_dict())
    z = torch.rand(4, arch.z_dim, generator=rng)
    x = torch.rand(4, 3, arch.image_size, arch.image_size, generator=rng)
    torch.testing.assert_close(plain_G(z), G(z), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plain_D(x)[:, 0], D(x).sigmoid(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_plain_gan_plays() -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    gan = PlainGan(images, "dcgan32-svhn", 0.1, 4, CPU)
    losses = [gan.step() for _ in range(3)]  # the third starts the second epoch
    assert np.isfinite(losses).all()


# The study of recipes.


def test_the_proxy_score_of_images_that_are_their_label() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 10
    images = np.zeros((300, 32, 32, 3), np.uint8) + (labels * 25).astype(np.uint8)[:, None, None, None]
    images[:, 0, 0, 0] = rng.integers(0, 256, 300)
    images[np.arange(300), 1, labels] = 255
    rows = np.arange(300)
    draws = np.stack([rows[:100], rows[100:200]])
    scored = proxy(Pixels(), ProxyData(images, labels, draws, rows[200:], rows[:50]))
    assert scored.correct == [100, 100]
    assert scored.n == 100
    chance = proxy(
        Pixels(),
        ProxyData(images, rng.permutation(labels), np.stack([rows[:100], rows[100:200]]), rows[200:], rows[:50]),
    )
    assert sum(chance.correct) / 200 < 0.25


def test_the_table_says_what_differs(tmp_path: Path) -> None:
    recipe = replace(PAPER, name="mine", lr=1e-3, augmentation=Augmentation(crop=0.5, flip=True))
    common = {"settings": SETTINGS.to_json(), "commit": "abc", "validation_n": 100, "C": 1e-4, "images_a_second": 9.6}
    records = [
        common | {"recipe": "paper", "images_seen": 1280, "validation_correct": [50, 52]},
        common | {"recipe": "mine", "images_seen": 1280, "validation_correct": [60, 61], "cpu_seconds": 64.0,
                  "settings": replace(SETTINGS, recipe=recipe).to_json()},
        common | {"recipe": "mine", "images_seen": 1280, "validation_correct": [58, 59],
                  "settings": replace(SETTINGS, recipe=recipe, seed=2).to_json()},
        common | {"recipe": "mine", "images_seen": 1280, "validation_correct": [70, 71], "views": "mirror",
                  "settings": replace(SETTINGS, recipe=recipe).to_json()},
        {"recipe": "broken", "images_seen": 1280, "failed": "NaN", "settings": SETTINGS.to_json(), "commit": "abc"},
    ]  # fmt: skip
    path = tmp_path / "recipes.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    recipes_table.write(path, tmp_path, ("paper", "mine"))
    lines = (tmp_path / "recipes.md").read_text().splitlines()
    assert "| 70.50 | mirror |" in lines[2]
    assert lines[3].startswith(
        "| mine | 0.03 | fp32 | 1 | 1,280 | 60.50 | single | 0.0001 | 10 | 20 | lr 0.001; augmentation crop 0.5, flip 1"
    )
    assert "| 51.00 |" in lines[5]
    assert "failed: NaN" in lines[6]
    assert lines[-1] == "| mine | 0.03 | 1,280 | fp32 | 2 | 59.50 | 1.41 |"
    assert (tmp_path / "recipes.png").stat().st_size > 0
    assert len((tmp_path / "recipes.csv").read_text().splitlines()) == 6


def test_the_picture_has_a_line_through_the_means_of_whatever_was_measured_more_than_once_on_its_way() -> None:
    rows = [
        ("paper", 0, 1280, 0.5, 0), ("paper", 1, 1280, 0.52, 0), ("paper", 0, 2560, 0.6, 0), ("mine", 0, 1280, 0.7, 0),
        ("random", 0, 0, 0.4, 0), ("left out", 0, 1280, 0.1, 0), ("left out", 0, 2560, 0.1, 0),
        ("mine", 0, 2560, 0.8, 640), ("mine", 0, 5120, 0.9, 640),  # of another run, which began with weights
        ("paper", 0, 2560, 0.9, 0),  # averaged over views
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["recipe", "seed", "images_seen", "accuracy", "images_before"])
    table["width"], table["precision"] = 0.5, "bf16"
    table["views"] = ["single"] * (len(rows) - 1) + ["mirror"]
    axes = recipes_table.curves(table, ("paper", "mine", "random")).axes[0]
    mine, _, line, points, level = (np.array(drawn.get_xydata()) for drawn in axes.lines)
    np.testing.assert_allclose(mine, [(2560, 80), (5120, 90)])
    np.testing.assert_allclose(line, [(1280, 51), (2560, 60)])
    np.testing.assert_allclose(points, [(1280, 50), (1280, 52), (2560, 60)])
    np.testing.assert_allclose(level[:, 1], [40, 40])
    assert axes.get_legend_handles_labels()[1] == [
        "mine, width 0.5, bf16, from weights of 640 images", "paper, width 0.5, bf16"
    ]  # fmt: skip


def test_the_table_of_training_says_what_was_stored() -> None:
    rates = {"plain": 20.0, "paper, fp32": 30.0, "paper, bf16": 70.0, "contrastive, bf16": 50.0}
    fixed = {
        "seconds_of_a_command_with_one_step": 6.0, "seconds_of_a_checkpoint": 0.5, "checkpoint_megabytes": 200.0,
        "peak_memory_megabytes": 1500,
    }  # fmt: skip
    result = {
        "width": 1.0, "rates": {name: {"images_a_second": rate} for name, rate in rates.items()},
        "times_plain": {name: rate / 20 for name, rate in rates.items()}, "fixed": fixed,
        "arithmetic_limit_images_a_second": {"fp32": 60.0, "bf16": 100.0}, "share_of_limit": {"fp32": 0.5, "bf16": 0.7},
    }  # fmt: skip
    stored = {"command": "c", "machine": "two cores, no GPU", "commit": "abcdefghi", "results": [result]}
    lines = train.markdown(stored).splitlines()
    assert "| 1 | plain | 20 | 1.0 |  |  |" in lines
    assert "| 1 | paper, bf16 | 70 | 3.5 | 100 | 70% |" in lines
    assert "| 1 | contrastive, bf16 | 50 | 2.5 |  |  |" in lines
    assert "| 1 | 6.0 | 0.50 | 200 | 1,500 |" in lines
    assert "| | on a CUDA GPU | not measured | | | |" in lines


def test_the_stored_table_of_training_is_what_the_stored_figures_give() -> None:
    stored = json.loads(train.RESULTS.read_text(encoding="utf-8"))
    assert train.markdown(stored) == train.RESULTS.with_suffix(".md").read_text(encoding="utf-8")
