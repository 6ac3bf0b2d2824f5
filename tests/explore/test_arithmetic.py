"""Arithmetic is exact where G is linear; the command keeps the order of its terms."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import run
from toy_networks import toy_models

from repr_eval.explore import arithmetic
from repr_eval.explore.arithmetic import Term
from repr_eval.explore.probe import Probe
from repr_eval.svm.estimator import L2SVM

TERMS = [Term(1, (0, 1, 2)), Term(-1, (3, 4, 5)), Term(1, (6, 7, 8))]


def red_probe() -> Probe:
    """Its score is red's number of z over four, with a weight near 1 on one of its pixels."""
    svm = L2SVM(C=1.0)
    X = np.zeros((2, 48), np.float32)
    X[:, 0] = -1, 1
    svm.fit(X, np.array([0, 1]))
    return Probe(svm, "red", {"attribute": "red", "data": "toys", "test_accuracy": 1.0, "test_images": 2})


def test_the_result_is_the_sum_of_means() -> None:
    vectors = [
        torch.tensor([[1.0, 0], [3, 0]]),
        torch.tensor([[1.0, 1]]),
        torch.tensor([[0.0, 4], [0, 0]]),
    ]
    assert arithmetic.result_of(vectors, [1, -1, 1]).tolist() == [1, 1]
    assert arithmetic.singles(vectors, [1, -1, 1]).tolist() == [[0, 3]]


def test_noise_around_the_result() -> None:
    result = torch.tensor([1.0, -2.0])
    made = arithmetic.around(result, 4000, seed=0) - result
    assert made.abs().max() <= arithmetic.SCALE
    assert made.abs().mean() == pytest.approx(arithmetic.SCALE / 2, rel=0.05)
    assert torch.equal(arithmetic.around(result, 4, seed=0), arithmetic.around(result, 4, seed=0))


def test_random_results_have_the_same_form() -> None:
    """Their variance: 1/3 of each number, over three, of three terms."""
    made = arithmetic.random_results(toy_models(), TERMS, 2000, seed=0)
    assert made.shape == (2000, 3)
    assert made.var().item() == pytest.approx(1 / 3, rel=0.05)


def test_the_probe_judges_exactly() -> None:
    models, probe = toy_models(), red_probe()
    vectors = arithmetic.vectors_of(models, TERMS, 64, seed=0)
    told = arithmetic.judged(models, TERMS, vectors, probe, seed=0)
    slope = 4 * probe.scores(models.features_of_noise(torch.tensor([[1.0, 0, 0]])))[0]
    red = models.noise(9, 0)[:, 0].reshape(3, 3).mean(1)
    expected = float(red[0] - red[1] + red[2])
    assert told["result_itself"]["score"] == pytest.approx(slope * expected / 4, abs=1e-5)
    assert [part["mean"]["score"] for part in told["parts"]] == pytest.approx((slope * red / 4).tolist(), abs=1e-5)
    assert told["singles"]["score"] == pytest.approx(told["result_itself"]["score"], abs=1e-5)
    assert [part["term"] for part in told["parts"]] == ["+ 0,1,2", "- 3,4,5", "+ 6,7,8"]
    chance = arithmetic.random_results(models, TERMS, arithmetic.RANDOM, seed=0)[:, 0]
    as_high = int((chance >= expected).sum())
    assert told["share_of_random_as_high"] == pytest.approx((1 + as_high) / (1 + arithmetic.RANDOM))


def test_the_same_seed_draws_the_same(tmp_path: Path) -> None:
    models = toy_models(discriminator=False)
    numbers = [arithmetic.run(models, tmp_path / name, 0, "c", TERMS) for name in ("a", "b")]
    assert numbers[0] == numbers[1]
    for file in ("sheet.png", "arithmetic.png", "arithmetic.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    vectors = [arithmetic.vectors_of(models, TERMS, 64, seed) for seed in (0, 1)]
    assert not torch.equal(vectors[0][0], vectors[1][0])


def test_terms_that_name_nothing(tmp_path: Path) -> None:
    models = toy_models()
    with pytest.raises(ValueError, match="no terms; `plus` 3,17,20 adds"):
        arithmetic.vectors_of(models, [], 64, seed=0)
    with pytest.raises(ValueError, match="`minus` 64: 64 is not on the sheet"):
        arithmetic.run(models, tmp_path, 0, "c", [Term(-1, (64,))])
    assert list(tmp_path.iterdir()) == []


def test_the_command_keeps_the_order_and_tells_single_vectors(tmp_path: Path) -> None:
    done = run("explore", "arithmetic", "--weights", "svhn-grey-contrastive", "--out", tmp_path,
               "--minus", "5", "--plus=3,17,20", "--minus", "2,4")  # fmt: skip
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "arithmetic.json").read_text())["numbers"]
    assert told["terms"] == [
        {"sign": -1, "numbers": [5]},
        {"sign": 1, "numbers": [3, 17, 20]},
        {"sign": -1, "numbers": [2, 4]},
    ]
    assert "note: --minus 5 is a single vector" in done.output
    assert "--probe and --attribute name one" in done.output


def test_the_command_draws_the_sheet_alone(tmp_path: Path) -> None:
    done = run(
        "explore",
        "arithmetic",
        "--weights",
        "svhn-grey-contrastive",
        "--out",
        tmp_path,
        "--sheet",
        9,
    )
    assert done.exit_code == 0, done.output
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--plus 3,x", "--plus '3,x': needs numbers of samples such as 3,17,20"),
        ("--plus ,", "--plus ',': needs numbers of samples"),
        (
            "--plus 3,70",
            "--plus 3,70: 70 is not on the sheet, which has 0 to 63; a larger --sheet has more",
        ),
        ("--plus 3 --probe svhn", "--probe needs --attribute too"),
        ("--attribute 7", "--attribute needs --probe too"),
        (
            "--probe digits --attribute 7",
            "--probe: there is no result to judge; give --plus and --minus",
        ),
        (
            "--plus 3 --probe digits --attribute x",
            "--attribute 'x': no class of handwritten digits",
        ),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, arguments: str, message: str) -> None:
    words = ["--weights", "svhn-grey-contrastive", "--out", tmp_path, *arguments.split()]
    done = run("explore", "arithmetic", *words)
    assert done.exit_code == 1
    assert message in done.output
    assert len(done.output.splitlines()) == 1
