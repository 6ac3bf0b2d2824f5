"""Ranks: the order, the groups and what stands in no group."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison_records import BASE, one_draw, stored
from scipy import stats

from repr_eval.comparison.pair import BOTH, DRAWS, MCNEMAR
from repr_eval.comparison.ranking import Panel, rank, to_csv, to_markdown, write_ranking
from repr_eval.comparison.statistics import holm


def shown(panel: Panel) -> list[tuple[int, str, str]]:
    return [(line.place, line.group, line.row.method) for line in panel.lines]


def three(folder: Path, **changes: Any) -> None:
    """Right on 90, 84 and 50 of 100 images; each is right only where the better ones are."""
    for name, right in (("worst", 50), ("best", 90), ("second", 84)):
        stored(
            folder,
            name,
            [np.arange(100) < right],
            **({"keep": name != changes.pop("without", "")} | changes),
        )


def test_groups_of_single_classifiers(tmp_path: Path) -> None:
    three(tmp_path)
    (panel,) = rank(tmp_path)
    # Against each other: 6 to 0, 40 to 0 and 34 to 0; the first has p = 1/32, the largest of three.
    assert shown(panel) == [(1, "a", "best"), (2, "b", "second"), (3, "c", "worst")]
    assert panel.test == MCNEMAR
    p = [stats.binomtest(0, n).pvalue for n in (6, 40, 34)]
    assert p[0] == 1 / 32
    assert [line.p_best for line in panel.lines] == [
        None,
        *(pytest.approx(one) for one in holm(p)[:2]),
    ]
    assert [line.behind for line in panel.lines] == pytest.approx([0, 0.06, 0.40])


def test_those_that_cannot_be_told_apart_share_a_letter(tmp_path: Path) -> None:
    three(tmp_path)
    a, _ = one_draw(85, 0, 0, 15)
    stored(tmp_path, "third", a)  # one image more than "second", five fewer than "best": p = 1/16
    (panel,) = rank(tmp_path)
    assert [line.group for line in panel.lines] == ["a", "a", "a", "b"]  # 6 x 1/32 is above 0.05
    assert panel.remark == (
        "Methods that share a letter cannot be told apart: McNemar's exact test; Holm's correction over all pairs."
    )


def draws(rate: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((5, 200)) < rate


def test_draws_are_compared_over_draws_and_images(tmp_path: Path) -> None:
    for name, rate in (("a", 0.9), ("b", 0.7), ("c", 0.7)):
        stored(tmp_path, name, draws(rate, ord(name)), protocol="cifar10/per-class/1", labels=4_000)
    (panel,) = rank(tmp_path)
    assert panel.test == BOTH
    assert [line.group for line in panel.lines] == ["a", "b", "b"]
    assert panel.title == "cifar10/per-class/1: CIFAR-10, 4,000 labels, seed 0, 5 draws"


# Without predictions.


def test_of_single_classifiers_those_without_predictions_are_in_no_group(tmp_path: Path) -> None:
    three(tmp_path, without="worst")
    (panel,) = rank(tmp_path)
    assert [line.group for line in panel.lines] == ["a", "b", ""]
    assert panel.remark.endswith("1 of 3 have no stored predictions, and are in no group; measure again to store them.")
    assert to_csv([panel]).splitlines()[3].split(",")[6] == ""


def test_draws_without_predictions_are_compared_by_their_counts(tmp_path: Path) -> None:
    rights = {name: draws(rate, ord(name)) for name, rate in (("a", 0.9), ("b", 0.6))}
    for name, right in rights.items():
        stored(tmp_path, name, right, keep=name == "a", protocol="cifar10/per-class/1")
    (panel,) = rank(tmp_path)
    expected = stats.ttest_rel(rights["a"].mean(1), rights["b"].mean(1)).pvalue
    assert (panel.test, panel.without) == (DRAWS, 1)
    assert panel.lines[1].p_best == pytest.approx(expected)
    assert "1 of 2 have no stored predictions, so the draws' counts are compared." in panel.remark


def test_nobody_to_compare(tmp_path: Path) -> None:
    three(tmp_path, keep=False)
    (panel,) = rank(tmp_path)
    assert [line.group for line in panel.lines] == ["", "", ""]
    assert panel.test == ""
    assert "3 of 3 have no stored predictions" in to_markdown([panel])


# Which records.


def test_what_is_of_another_test_has_a_panel_of_its_own(tmp_path: Path) -> None:
    three(tmp_path)
    three(tmp_path, seed=1, lists_sha256="ee")
    three(tmp_path, dataset=BASE["dataset"] | {"name": "mine", "test_fingerprint": "cc"})
    three(tmp_path, protocol="svhn/few-labels/1", labels=1_000)
    assert [(panel.protocol, panel.data, panel.seed, len(panel.lines)) for panel in rank(tmp_path)] == [
        ("cifar10/all-labels/1", "CIFAR-10", 0, 3),
        ("cifar10/all-labels/1", "CIFAR-10", 1, 3),
        ("cifar10/all-labels/1", "mine", 0, 3),
        ("svhn/few-labels/1", "CIFAR-10", 0, 3),
    ]


def test_of_a_repeated_measurement_the_newest_counts(tmp_path: Path) -> None:
    three(tmp_path)
    stored(tmp_path, "best", [np.arange(100) < 10], time="later")
    (panel,) = rank(tmp_path)
    assert [line.row.method for line in panel.lines] == ["second", "worst", "best"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"protocol": "all-labels"}, ["cifar10/all-labels/1"]),
        ({"protocol": "svhn/few-labels/1"}, ["svhn/few-labels/1"]),
        ({"protocol": "few-labels/1"}, ["svhn/few-labels/1"]),
        ({"data": "svhn"}, ["svhn/few-labels/1"]),
        ({"data": "svhn-grey"}, ["svhn/few-labels/1"]),
        ({"data": "cifar10", "protocol": "all-labels"}, ["cifar10/all-labels/1"]),
    ],
)
def test_choosing(asked: dict[str, str], found: list[str], tmp_path: Path) -> None:
    three(tmp_path)
    three(tmp_path, protocol="svhn/few-labels/1", dataset=BASE["dataset"] | {"name": "svhn-grey"})
    panels = rank(tmp_path, **asked)
    assert [panel.protocol for panel in panels] == found
    assert panels[0].metric == ("error" if found[0].startswith("svhn") else "accuracy")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    three(tmp_path)
    with pytest.raises(
        ValueError,
        match="no record of data 'mars' and protocol 'x'; there are cifar10/all-labels/1 on",
    ):
        rank(tmp_path, "mars", "x")
    with pytest.raises(ValueError, match="no records; run an evaluation"):
        rank(tmp_path / "nowhere")


# Files.


def test_csv_and_markdown(tmp_path: Path) -> None:
    three(tmp_path, protocol="svhn/few-labels/1", labels=1_000)
    paths = write_ranking(tmp_path, rank(tmp_path))
    assert [path.name for path in paths] == ["rank.csv", "rank.md"]
    with open(paths[0], encoding="utf-8", newline="") as file:
        first, second, _ = csv.DictReader(file)
    assert (first["method"], first["place"], first["group"], first["metric"]) == (
        "best",
        "1",
        "a",
        "error",
    )
    assert (float(first["rate"]), first["p_holm_to_best"], first["behind_best"]) == (0.1, "", "0")
    assert (float(second["behind_best"]), float(second["p_holm_to_best"])) == (0.06, 1 / 32)
    assert second["test"] == MCNEMAR
    lines = paths[1].read_text(encoding="utf-8").splitlines()
    assert lines[0] == "### svhn/few-labels/1: CIFAR-10, 1,000 labels, seed 0, 1 draw"
    assert any(line.startswith("| 2 | b | second | L2-SVM | nothing | 3,072 | 16.00 | ") for line in lines)
    assert any("| 40.00 | &#60; 0.0001 | " in line for line in lines)
