"""Turns of a linear generator: scores rise with every step of the axis."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import run
from toy_networks import toy_models

from repr_eval.explore import turn
from repr_eval.explore.probe import Probe


class Red:
    """In the place of an SVM: the score is red's first pixel."""

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return X[:, 0]


def red_probe() -> Probe:
    told = {"attribute": "red", "data": "toys", "test_accuracy": 1.0, "test_images": 2}
    return Probe(Red(), "red", told)  # type: ignore[arg-type]


def test_along_the_axis() -> None:
    made = turn.along(torch.tensor([[1.0, 0]]), torch.tensor([4.0, 0]))
    assert made[0, :, 0].tolist() == [-3, -2, -1, 0, 1, 2, 3, 4, 5]
    assert made[0, :, 1].tolist() == [0] * 9


def test_monotony_is_spearman_s() -> None:
    """Of 1, 3, 2: 1 - 6 * (0 + 1 + 1) / (3 * 8) = 0.5."""
    scores = np.array([[1, 2, 9], [9, 2, 1], [1, 3, 2], [4, 4, 4]], float)
    assert turn.monotony(scores) == pytest.approx([1, -1, 0.5, 0])


def test_random_axes_have_the_length() -> None:
    axes = turn.random_axes(toy_models(), 50, 2.5, seed=0)
    torch.testing.assert_close(axes.norm(dim=1), torch.full((50,), 2.5))
    assert (axes[:, 0] > 0).sum() in range(12, 39)  # either way


def test_an_axis_of_red_rises_with_every_step() -> None:
    """Red is a quarter of z: from t = -1 to 1 the score rises by 2 * 3 / 4; half of random axes rise too."""
    told = turn.judged(toy_models(), torch.tensor([3.0, 0, 0]), red_probe(), seed=0)
    assert told["monotony"]["axis"] == pytest.approx(1)
    assert told["rise"]["axis"] == pytest.approx(1.5, abs=1e-5)
    assert told["rise"]["share_of_random_as_high"] == pytest.approx(1 / 41)
    rising = (turn.random_axes(toy_models(), turn.RANDOM, 3, seed=0)[:, 0] > 0).sum().item()
    assert told["monotony"]["random_mean"] == pytest.approx((2 * rising - turn.RANDOM) / turn.RANDOM)
    other = turn.judged(toy_models(), torch.tensor([-3.0, 0, 0]), red_probe(), seed=0)
    assert other["monotony"]["axis"] == pytest.approx(-1)
    assert other["monotony"]["share_of_random_as_high"] == 1


def test_the_same_seed_turns_the_same(tmp_path: Path) -> None:
    models = toy_models()
    start, end = (1, 2, 3, 4), (5, 6, 7, 8)
    numbers = [turn.run(models, tmp_path / name, 0, "c", start, end, 64, red_probe()) for name in "ab"]
    assert numbers[0] == numbers[1]
    for file in ("sheet.png", "turn.png", "turn.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    noise = models.noise(9, 0)
    axis = noise[5:9].mean(0) - noise[1:5].mean(0)
    assert numbers[0]["axis_norm"] == pytest.approx(float(axis.norm()))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "RANDOM", 2)
    monkeypatch.setattr(turn, "JUDGED", 2)
    done = run("explore", "turn", "--weights", "svhn-grey-contrastive", "--out", tmp_path,
               "--from", "1,2", "--to", "3", "--probe", "digits", "--attribute", "7")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "probe of 7 (handwritten digits)" in done.output
    assert "note: --to 3 is a single vector" in done.output
    told = json.loads((tmp_path / "turn.json").read_text())["numbers"]
    assert (told["from"], told["to"]) == ([1, 2], [3])
    assert -1 <= told["judged"]["monotony"]["axis"] <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--from 1,2 --to 2,1", "--to 2,1: the samples of --from; there is no axis between them"),
        ("--from 1,99 --to 2", "--from 1,99: 99 is not on the sheet"),
        ("--from 1 --to 2,99", "--to 2,99: 99 is not on the sheet"),
        ("--from 1 --to x", "--to 'x': needs numbers of samples such as 3,17,20"),
        ("--from 1 --to 2 --attribute 7", "--attribute needs --probe too"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, arguments: str, message: str) -> None:
    words = ["--weights", "svhn-grey-contrastive", "--out", tmp_path, *arguments.split()]
    done = run("explore", "turn", *words)
    assert done.exit_code == 1
    assert message in done.output
    assert len(done.output.splitlines()) == 1


def test_a_probe_needs_a_discriminator(tmp_path: Path) -> None:
    from repr_eval.gan.pretrained import find_both

    generator = find_both("svhn-grey-contrastive")[1]
    words = ["--from", "1", "--to", "2", "--probe", "digits", "--attribute", "7"]
    done = run("explore", "turn", "--weights", generator, "--out", tmp_path, *words)
    assert done.exit_code == 1
    assert "--probe: it judges in D's features; give --weights of a discriminator too" in done.output
