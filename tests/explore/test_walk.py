"""Walks of a linear generator are straight; controls and path length by hand."""

import json
from math import pi, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import random_images, run
from PIL import Image
from toy_networks import SIZE, toy_models

from repr_eval.explore import walk
from repr_eval.explore.models import Models
from repr_eval.explore.walk import Control


def test_uniform_noise_goes_straight() -> None:
    a, b = torch.tensor([[0.0, 1.0, -1.0]]), torch.tensor([[1.0, 0.0, 1.0]])
    way = walk.between(a, b, torch.tensor([0.0, 0.25, 1.0]), "uniform")
    assert way.tolist() == [[[0, 1, -1], [0.25, 0.75, -0.5], [1, 0, 1]]]


def test_normal_noise_goes_round() -> None:
    """A third of the way from (2, 0) to (0, 2): 30 degrees on the circle of radius 2."""
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    way = walk.between(a, b, torch.tensor([[0.0, 1 / 3, 1.0]]), "normal")[0]
    torch.testing.assert_close(way, torch.tensor([[2, 0], [sqrt(3), 1], [0, 2]]).float())
    torch.testing.assert_close(way.norm(dim=1), torch.full((3,), 2.0))


@pytest.mark.parametrize("sign", [1, -1])
def test_where_no_circle_is_told_it_goes_straight(sign: int) -> None:
    a = torch.tensor([[2.0, 0.0]])
    way = walk.between(a, sign * a, torch.tensor([0.0, 0.5, 1.0]), "normal")
    assert way[0, :, 0].tolist() == [2, 1 + sign, 2 * sign]


def test_legs_lead_round_and_begin_where_the_last_one_ended() -> None:
    models = toy_models()
    made = walk.legs(models, 4, 9, seed=1)
    assert made.shape == (4, 9, 3)
    torch.testing.assert_close(made[:, 0], models.noise(4, 1))
    torch.testing.assert_close(made[:, -1], made[:, 0].roll(-1, 0))
    with pytest.raises(ValueError, match="`legs` 1: a walk needs two points or more"):
        walk.legs(models, 1, 9, seed=1)


def test_a_straight_walk_has_equal_steps() -> None:
    """Steps are an eighth of the ends' distance; jumps between images 0, 5, 5 ... are told as they are."""
    models = toy_models()
    z = torch.tensor([[[0.0, 0, 0], [4, 0, 0]]])
    legs = walk.between(z[:, 0], z[:, 1], torch.linspace(0, 1, 9), "uniform")
    values = [0, 3] * 5  # features of ten images, each 16 numbers of the same value for red
    unrelated = models.features_of_noise(torch.tensor([[float(v), 0, 0] for v in values]))
    told = walk.smoothness(models, legs, Control(unrelated, "ten"))
    assert told["walk"]["mean"] == pytest.approx(0.5)
    assert told["walk"]["largest_over_mean"]["mean"] == pytest.approx(1)
    assert told["jumps"]["mean"] == pytest.approx(3)  # 0, 3, 0, 3, ...
    assert told["largest_step_over_mean_jump"] == pytest.approx(0.5 / 3)
    # 0 is nearest to 0, 0.5, 1 and (the first of two as near) 1.5; then 3: one jump in eight steps
    assert told["nearest"]["largest"] == pytest.approx(3)
    assert told["nearest"]["largest_over_mean"]["mean"] == pytest.approx(8)
    assert told["nearest"]["largest_over_mean"]["one_jump"] == 8


def test_distribution_of_steps() -> None:
    told = walk.distribution(np.array([[1.0, 3.0], [0.0, 0.0], [2.0, 2.0]]))
    assert told["mean"] == pytest.approx(8 / 6)
    assert told["largest"] == 3
    assert told["quantiles"]["0.5"] == 1.5
    assert told["largest_over_mean"] == {
        "mean": 1.25, "largest": 1.5, "rows": 2, "rows_that_stay": 1, "one_jump": 2,
    }  # fmt: skip
    assert walk.distribution(np.zeros((1, 2)))["largest_over_mean"]["mean"] is None


def test_the_path_length_of_a_linear_generator_is_its_ends_distance() -> None:
    """Mean |b - a|^2 for numbers uniform in (-1, 1): 3 * 2/3 = 2 in the long run."""
    told = walk.path_length(toy_models(), 2000, seed=0)
    assert told["ratio"] == pytest.approx(1, abs=0.005)
    assert told["mean"] == pytest.approx(2, abs=0.15)
    assert told["trimmed"] < told["mean"]


def test_the_path_length_on_circles_is_that_of_the_arc() -> None:
    """Between vectors of one length r at right angles the ratio is (r pi / 2)^2 / (2 r^2)."""
    models, rows = toy_models("normal"), 300
    made = {2: torch.tensor([[2.0, 0, 0]]), 3: torch.tensor([[0, 2.0, 0]])}

    class AtRightAngles(Models):
        def noise(self, n: int, seed: int, index: int = 0) -> torch.Tensor:
            return made[index].expand(n, -1)

    fixed = AtRightAngles(**{name: getattr(models, name) for name in models.__dataclass_fields__})
    told = walk.path_length(fixed, rows, seed=0)
    assert told["ratio"] == pytest.approx(pi**2 / 8, abs=0.005)


def test_controls_of_real_images() -> None:
    models = toy_models()
    real = random_images(20, SIZE)
    made = walk.control(models, 0, real, "twenty.npy")
    assert made.description == "20 real images of twenty.npy"
    assert sorted(made.features[:, 0]) == sorted(models.features(real)[:, 0])
    with pytest.raises(ValueError, match="`data`: 8 images; the control needs 9 or more"):
        walk.control(models, 0, real[:8])


def test_a_walk_writes_the_same_twice(tmp_path: Path) -> None:
    models = toy_models()
    numbers = [walk.run(models, tmp_path / name, 3, "c", 3, 10) for name in ("a", "b")]
    assert numbers[0] == numbers[1]
    for file in ("walk.png", "walk.webp", "walk.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert json.loads((tmp_path / "a" / "walk.json").read_text())["numbers"]["noise"] == "uniform"
    with Image.open(tmp_path / "a" / "walk.webp") as film:  # equal neighbours are one frame
        assert 2 < film.n_frames <= len(walk.film(models, 3, 3)) == 72  # type: ignore[attr-defined]
    other = walk.run(models, tmp_path / "c", 4, "c", 3, 10)
    assert other["walk"]["mean"] != numbers[0]["walk"]["mean"]
    assert "the walk: mean step" in walk.in_words(other)[0]


def test_the_command(tmp_path: Path) -> None:
    done = run("explore", "walk", "--weights", "svhn-grey-contrastive", "--out", tmp_path,
               "--legs", 2, "--pairs", 2, "--data", "digits")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "jumps between 1,000 real images of handwritten digits" in done.output
    assert (tmp_path / "walk.png").is_file()


def test_the_command_needs_d_and_images(tmp_path: Path) -> None:
    from repr_eval.gan.pretrained import find_both

    generator = find_both("svhn-grey-contrastive")[1]
    done = run("explore", "walk", "--weights", generator, "--out", tmp_path)
    assert done.exit_code == 1
    assert "steps are measured in D's features; give --weights of a discriminator too" in done.output
    done = run("explore", "walk", "--weights", generator, "--out", tmp_path, "--data", "missing.npy")
    assert done.output.startswith("repr-eval explore: missing.npy: no such file or folder")
