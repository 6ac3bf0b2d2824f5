"""What records say in values: what older ones say in names, read in one place, and what new ones carry."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import mine, record
from torch import nn

import repr_eval as rv
from repr_eval.images.data_dir import DataRoot
from repr_eval.images.house_numbers import write_svhn_layout
from repr_eval.images.svhn import load_svhn
from repr_eval.records import FILE, Facts, append_record, facts_of, read_records
from repr_eval.representations.layers import Layers

pytestmark = pytest.mark.usefixtures("own_cache")

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
N_FROZEN = 167  # records that were stored before there were facts
FROZEN = "592a01e0ccecb92c95756a537546a50b3d881da4b8fb11a7332338790c77ae2d"
PLAIN = Facts(
    dataset="cifar10",
    protocol="cifar10/per-class/1",
    other_grid=False,
    classifier="L2-SVM",
    needs="features",
    layers=Layers(1, 6, 6),
    untrained=False,
    generated=False,
)


def test_ids_of_stored_records_are_what_they_were() -> None:
    records = read_records(RESULTS)[:N_FROZEN]
    assert hashlib.sha256("".join(one.id for one in records).encode()).hexdigest() == FROZEN
    lines = (RESULTS / FILE).read_text(encoding="utf-8").splitlines()[:N_FROZEN]
    assert [one.to_line() for one in records] == lines
    assert all(one.facts is None for one in records)


# Read off the stored lines by a person.
BY_HAND = {
    "bf1d7920e1df": replace(PLAIN, protocol="cifar10/all-labels/1", untrained=True),
    "d4af2d00efe8": replace(PLAIN, protocol="cifar10/all-labels/1"),
    "e0abc5b6a8fe": replace(PLAIN, protocol="cifar10/all-labels/1", layers=None),
    "9fc699ea75e2": replace(PLAIN, dataset="svhn", protocol="svhn/few-labels/1", generated=True),
    "1dd86078b90a": replace(PLAIN, dataset="svhn", protocol="svhn/few-labels/1", layers=Layers(1, 4, 6)),
    "12d9443f3673": replace(PLAIN, layers=Layers(2, 2, 6)),
    "2c1490527f05": replace(PLAIN, layers=Layers(2, 2, 6), untrained=True),
    "caa8188d6fc0": replace(PLAIN, protocol="cifar10/all-labels/1", classifier="kNN", layers=Layers(1, 3, 3)),
    "6023e0c52974": replace(
        PLAIN, dataset="svhn", protocol="svhn/few-labels/1", other_grid=True, layers=Layers(1, 3, 3)
    ),
    "365c4759f685": replace(PLAIN, protocol="cifar10/all-labels/1", classifier="kNN", other_grid=True, layers=None),
    "1e01af15049e": replace(
        PLAIN, dataset="svhn", protocol="svhn/few-labels/1", classifier="supervised CNN", needs="images", layers=None
    ),
}


def test_facts_of_stored_records_by_hand() -> None:
    by_id = {one.id: one for one in read_records(RESULTS)}
    assert {number: facts_of(by_id[number]) for number in BY_HAND} == BY_HAND


def test_every_stored_record_has_facts_that_give_its_names_back() -> None:
    for one in read_records(RESULTS):
        facts = facts_of(one)
        assert one.protocol == facts.protocol + "/own-C" * facts.other_grid
        assert facts.protocol.startswith(f"{facts.dataset}/")
        assert one.layers == (str(facts.layers) if facts.layers else "-")
        assert one.classifier.startswith(facts.classifier)
        assert (facts.needs == "images") == ("CNN (" in one.classifier)
        assert facts.untrained == one.method.startswith("untrained")
        assert one.C in one.grid
        assert list(one.grid) == sorted(map(float, one.validation_correct))


def test_facts_are_stored_and_come_back(tmp_path: Path) -> None:
    one = record(facts=replace(PLAIN, layers=Layers(1, 4, 6), generated=True))
    append_record(tmp_path, one)
    append_record(tmp_path, record(facts=replace(PLAIN, layers=None)))
    assert read_records(tmp_path)[0] == one
    assert isinstance(facts_of(read_records(tmp_path)[0]).layers, Layers)
    assert facts_of(read_records(tmp_path)[1]).layers is None
    assert json.loads(one.to_line())["facts"]["layers"] == [1, 4, 6]
    assert facts_of(replace(one, layers="nonsense", protocol="nonsense")) == one.facts
    assert one.id != record().id


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": "1-6 of 6"}, {"layers": [1, 6]}, {"layers": [1, 6, "6"]}, {"untrained": 1}, {"protocol": None},
        {"classifier": 3}, {"unknown": 1}, None,
        {"protocol": "cifar10/all-labels/1"}, {"other_grid": True}, {"dataset": "svhn"},
    ],
)  # fmt: skip
def test_facts_of_wrong_values_are_named(changes: dict[str, Any] | None, tmp_path: Path) -> None:
    line = json.loads(record(facts=PLAIN).to_line())
    line["facts"] = None if changes is None else line["facts"] | changes
    (tmp_path / FILE).write_text(json.dumps(line) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 1: cannot be read \(facts is "):
        read_records(tmp_path)


def test_a_missing_fact_is_named(tmp_path: Path) -> None:
    for name in asdict(PLAIN):
        line = json.loads(record(facts=PLAIN).to_line())
        del line["facts"][name]
        (tmp_path / FILE).write_text(json.dumps(line) + "\n", encoding="utf-8")
        with pytest.raises(ValueError, match="facts is "):
            read_records(tmp_path)


@pytest.mark.parametrize(
    ("layers", "words", "complete"),
    [
        ((1, 4, 6), "1-4 of 6", False),
        ((2, 2, 6), "2 of 6", False),
        ((1, 1, 1), "1 of 1", True),
        ((1, 6, 6), "1-6 of 6", True),
    ],
)
def test_layers_in_words(layers: tuple[int, int, int], words: str, complete: bool) -> None:
    assert (str(Layers(*layers)), Layers(*layers).complete) == (words, complete)
    assert facts_of(record(layers=words)).layers == layers


# New records: what they carry is what their names say.


def between_0_and_1(images: np.ndarray) -> np.ndarray:
    return mine(images) / 255


DIGITS = replace(PLAIN, dataset="digits", protocol="digits/per-class/1", layers=None)


@pytest.mark.parametrize(
    ("representation", "options", "expected"),
    [
        (mine, {}, DIGITS),
        ("pixels", {"classifier": rv.NearestNeighbours()}, replace(DIGITS, classifier="kNN")),
        (mine, {"classifier": rv.WeightedNearestNeighbours(0.1)}, replace(DIGITS, classifier="weighted kNN")),
        (between_0_and_1, {"classifier": rv.LogisticRegression()}, replace(DIGITS, classifier="logistic regression")),
        (mine, {"classifier": rv.Ridge()}, replace(DIGITS, classifier="ridge")),
        (nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.ReLU()), {}, DIGITS),
        ("random", {}, replace(DIGITS, layers=Layers(1, 3, 3), untrained=True)),
        ("random", {"layers": (2, 3)}, replace(DIGITS, layers=Layers(2, 3, 3), untrained=True)),
    ],
)
def test_a_new_record_carries_what_its_names_say(
    representation: Any, options: dict[str, Any], expected: Facts, tmp_path: Path
) -> None:
    if representation == "random":
        representation = rv.representation("random", arch="dcgan32-svhn", width=0.125)
    one = rv.evaluate(representation, rv.Digits(draws=1), out=tmp_path, **options).record
    assert one.facts == expected
    assert facts_of(replace(one, facts=None)) == expected
    assert read_records(tmp_path) == [one]


def test_a_grid_of_ones_own_shows() -> None:
    one = rv.evaluate(mine, rv.Digits(draws=1, grid=(1e-1, 1e-3))).record
    assert one.facts == replace(DIGITS, other_grid=True)
    assert facts_of(replace(one, facts=None)) == one.facts
    assert one.grid == (1e-3, 1e-1)


@pytest.mark.slow
def test_digits_that_were_drawn_show(tmp_path: Path) -> None:
    write_svhn_layout(tmp_path / "drawn", 120, 40, seed=0)
    data = load_svhn(DataRoot(tmp_path / "drawn", own=False, why="given"))
    assert data.generated
    one = rv.evaluate(mine, rv.SVHN(labels=10, draws=1), data=data).record
    assert one.facts is not None
    assert one.facts.generated
    assert facts_of(replace(one, facts=None)) == one.facts
    (tmp_path / "drawn" / "about.json").write_text('{"name": "photographed"}', encoding="utf-8")
    assert not load_svhn(DataRoot(tmp_path / "drawn", own=False, why="given")).generated
