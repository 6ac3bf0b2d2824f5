"""Every method beside its published figure, from records whose numbers are known by hand."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import record
from matplotlib.figure import Figure
from PIL import Image

from repr_eval import records
from repr_eval.classifiers.base import kind_of
from repr_eval.classifiers.l2svm import L2_SVM
from repr_eval.classifiers.neighbours import NEAREST_NEIGHBOURS
from repr_eval.classifiers.supervised.classifier import supervised_cnn
from repr_eval.images import house_numbers
from repr_eval.protocols import results
from repr_eval.records import L2_SVM_NAME, Record, append_record, facts_of
from repr_eval.reporting import overview
from repr_eval.reporting.figures import methods_figure
from repr_eval.reporting.methods import compared, to_markdown
from repr_eval.reporting.published import counterpart
from repr_eval.reporting.write import write_reports
from repr_eval.representations.methods import COMPARED, METHODS

SHIPPED = {"representation": "discriminator", "weights_sha256": "cc", "bn": "recomputed", "layers": 6}
KMEANS = {"representation": "kmeans", "centroids": 4800}


def measured(correct: list[int], settings: dict[str, Any], **rest: Any) -> Record:
    return record(representation=settings, test_correct=correct, **rest)


def test_measured_rows_stand_beside_the_papers_figure_for_their_method() -> None:
    lines = compared(
        [
            measured([72, 74], SHIPPED, layers="1-6 of 6", trained_on="ImageNet-1k"),
            measured(
                [50, 50],
                SHIPPED | {"weights_sha256": "dd"},
                layers="1-6 of 6",
                trained_on="nothing",
                method="untrained",
            ),
            measured([60, 62], KMEANS, layers="1 of 1", method="K-means"),
            measured([65], {"representation": "own"}, layers="-", method="an own network"),
        ],
        "cifar10",
    )
    found = [(line.method, line.published, line.row and line.row.rate) for line in lines]
    assert found == [
        ("Exemplar CNN", 0.774, None),
        ("DCGAN (width 1)", 0.738, 0.73),
        ("View-invariant K-means", 0.726, None),
        ("3-layer K-means, learned RF", 0.707, None),
        ("an own network", None, 0.65),
        ("K-means", 0.637, 0.61),
        ("untrained", None, 0.5),
    ]
    text = to_markdown(lines, "accuracy")
    assert "### cifar10/per-class/1: CIFAR-10, 4,000 labels" in text
    assert "| Exemplar CNN |  |  |  |  | 77.40 | not measured |  |  |  |  |  |  |  |" in text
    line = next(line for line in text.splitlines() if line.startswith("| K-means |"))
    assert "| L2-SVM |" in line
    assert "| 63.70 | 61.00 | 1.41 | 48.29 to 73.71 | mean of draws | 0.0001 | 34 | 0 |" in line


def test_error_is_sorted_upwards_and_other_classifiers_have_other_counterparts() -> None:
    on_digits: dict[str, Any] = {
        "protocol": "svhn/few-labels/1", "labels": 1000, "layers": "-", "method": "raw pixels",
        "dataset": {"name": "svhn-grey", "verified": False, "train_fingerprint": "a", "test_fingerprint": "b"},
    }  # fmt: skip
    pixels = {"representation": "pixels"}
    lines = compared(
        [measured([30], pixels, **on_digits), measured([25], pixels, classifier="kNN", **on_digits)], "svhn"
    )
    rates = [line.rate for line in lines]
    assert rates == sorted(rates)
    assert [(line.classifier, line.published, line.rate) for line in lines if line.row] == [
        (L2_SVM_NAME, None, 0.7),
        ("kNN", pytest.approx(0.7793), 0.75),
    ]
    assert {line.data for line in lines} == {"svhn-grey"}
    assert "KNN" not in {line.method for line in lines}


def test_one_row_a_method_seed_and_classifier_the_one_with_the_most_draws() -> None:
    records = [
        measured([70] * 10, SHIPPED, lists_sha256="1"),
        measured([60] * 5, SHIPPED, lists_sha256="2"),
        measured([10] * 20, SHIPPED | {"bn": "running"}),
        measured([10] * 20, SHIPPED | {"layer_range": [1, 2]}, layers="1-2 of 6"),
        measured([40] * 3, SHIPPED, seed=1),
        measured([30] * 3, SHIPPED, classifier="kNN"),
    ]
    lines = [line for line in compared(records, "cifar10") if line.row]
    assert [(round(line.rate, 6), line.classifier, line.row.seed if line.row else None) for line in lines] == [
        (0.7, L2_SVM_NAME, 0), (0.4, L2_SVM_NAME, 1), (0.3, "kNN", 0),
    ]  # fmt: skip


def test_representations_of_one_name_are_told_apart() -> None:
    own = {"representation": "encoder"}
    records = [
        measured([60], own | {"pool": ["a"]}, method="build", layers="a"),
        measured([61], own | {"pool": ["b"]}, method="build", layers="b"),
        measured([70], SHIPPED, layers="1-6 of 6"),
        measured([71], SHIPPED | {"weights_sha256": "dd"}, layers="1-6 of 6"),
    ]
    names = {line.method for line in compared(records, "cifar10") if line.row}
    assert {"build, layers a", "build, layers b"} < names
    assert {f"DCGAN (width 1), layers 1-6 of 6, record {one.id}" for one in records[2:]} < names


def test_a_wider_grid_counts_where_the_protocols_ended_too_early() -> None:
    about: dict[str, Any] = {"layers": "-", "method": "own", "validation_n": 100}

    def tried(test: int, C: float, at_edge: bool, validation: dict[float, int], protocol: str = "/own-C") -> Record:
        counts = {repr(value): [count] for value, count in validation.items()}
        one = measured([test], {"representation": "own"}, C_at_edge=at_edge, C=C, validation_correct=counts, **about)
        return replace(one, protocol=f"{one.protocol}{protocol}")

    edge = tried(60, 1e-2, True, {1e-3: 50, 1e-2: 58}, "")
    wider = tried(65, 0.3, False, {1e-2: 58, 0.3: 63, 1.0: 62})
    fixed = tried(90, 1.0, True, {1.0: 62})
    elsewhere = tried(91, 1e-5, False, {1e-6: 20, 1e-5: 70, 1e-4: 20})
    worse = tried(92, 0.5, False, {0.1: 50, 0.5: 57, 2.0: 50})
    inside = replace(edge, representation={"representation": "other"}, method="other", C_at_edge=False)
    others = replace(wider, representation=inside.representation, method="other")
    alone = replace(wider, representation={"representation": "third"}, method="third")

    def found(*records: Record) -> dict[str, float]:
        return {line.method: line.rate for line in compared(list(records), "cifar10") if line.row}

    assert found(edge, wider, inside, others, alone) == {"own": 0.65, "other": 0.6}
    for more in (fixed, elsewhere, worse):
        assert found(edge, more) == {"own": 0.6}
        assert found(edge, wider, more) == {"own": 0.65}
    low = tried(60, 1e-3, True, {1e-3: 58, 1e-2: 50}, "")
    assert found(low, wider) == {"own": 0.6}
    assert found(low, tried(66, 1e-4, False, {1e-5: 50, 1e-4: 59, 1e-3: 58})) == {"own": 0.66}
    (line,) = [line for line in compared([edge, wider], "cifar10") if line.row]
    assert line.row
    assert (line.protocol, line.row.record) == (edge.protocol, wider.id)


def test_of_alike_measurements_the_newest_counts() -> None:
    first, other = measured([60], SHIPPED, lists_sha256="1"), measured([61], SHIPPED, lists_sha256="2")
    again = replace(first, time="2027-01-01T00:00:00+00:00", test_correct=[62])
    (line,) = [line for line in compared([first, other, again], "cifar10") if line.row]
    assert line.rate == 0.62


def test_seconds_hold_the_making_of_features_that_another_measurement_stored() -> None:
    about: dict[str, Any] = {"layers": "-", "method": "K-means"}
    first = measured([60], KMEANS, seconds={"features": 100.0, "selection": 1.0, "test": 2.0}, **about)
    second = replace(first, classifier="kNN", seconds={"features": 0.1, "selection": 10.0, "test": 20.0})
    lines = compared([first, second], "cifar10")
    assert {line.classifier: line.row.seconds for line in lines if line.row} == {L2_SVM_NAME: 103.0, "kNN": 130.0}


def test_the_overview_has_the_first_seed_not_the_best() -> None:
    records = [measured([rate], KMEANS, seed=seed, method="K-means") for seed, rate in ((1, 64), (0, 60), (2, 61))]
    text = overview.to_markdown(compared(records, "cifar10"))
    assert "60.00 (63.70)" in text
    assert "64.00" not in text


def test_an_interval_that_reaches_zero_is_drawn_whole() -> None:
    (axes,) = methods_figure(
        compared([measured([1, 2], {"representation": "own"}, method="own")], "cifar10"), "accuracy"
    ).axes
    ends = [segment[:, 0] for lines in axes.collections for segment in lines.get_segments()]  # type: ignore[attr-defined]
    assert any(min(x) == 0 for x in ends)


def test_figures_of_other_numbers_of_labels_are_not_compared() -> None:
    lines = compared([measured([60], KMEANS, labels=100)], "cifar10")
    assert [(line.method, line.published) for line in lines] == [("DCGAN (width 1)", None)]


def test_published_figures_by_settings() -> None:
    full, n = "cifar10/all-labels/1", 50_000
    assert counterpart(full, n, KMEANS | {"centroids": 1600}, L2_SVM_NAME, True).accuracy == 0.779  # type: ignore[union-attr]
    assert counterpart(full, 40_000, KMEANS | {"centroids": 1600}, L2_SVM_NAME, True) is None
    assert counterpart(full, n, KMEANS | {"centroids": 800}, L2_SVM_NAME, True) is None
    assert counterpart(full, n, KMEANS, "kNN", True) is None
    assert counterpart(full, n, {"representation": "exemplar"}, L2_SVM_NAME, True) is None
    for maps, published in (([256, 1024], 0.82), ([64, 256], 0.775)):
        row = counterpart(full, n, {"representation": "kernel-network", "maps": maps}, L2_SVM_NAME, True)
        assert row is not None
        assert row.accuracy == published
    assert counterpart(full, n, {"representation": "kernel-network", "maps": [64, 128]}, L2_SVM_NAME, True) is None
    patches = {"representation": "patches", "patches": 2048, "cells": 6}
    assert counterpart(full, n, patches, L2_SVM_NAME, True).accuracy == 0.823  # type: ignore[union-attr]
    assert counterpart(full, n, patches | {"cells": 3}, L2_SVM_NAME, True) is None
    pixels = {"representation": "pixels"}
    supervised = counterpart("svhn/few-labels/1", 1000, pixels, "supervised CNN", True)
    assert supervised is not None
    assert supervised.accuracy == pytest.approx(0.7113)
    assert counterpart(full, n, SHIPPED, L2_SVM_NAME, False) is None


def test_bars_have_intervals_and_ticks() -> None:
    lines = compared([measured([72, 74], SHIPPED, trained_on="ImageNet-1k"), measured([60, 62], KMEANS)], "cifar10")
    drawn = methods_figure(lines, "accuracy")
    assert isinstance(drawn, Figure)
    (axes,) = drawn.axes
    bars = {round(bar.get_width(), 6): bar for bar in axes.patches}  # type: ignore[attr-defined]
    assert set(bars) == {73.0, 61.0}
    ticks = {round(float(line.get_xdata()[0]), 6) for line in axes.lines if len(line.get_xdata()) == 2}  # type: ignore[arg-type, index]
    assert {73.8, 63.7, 77.4} <= ticks
    assert axes.get_xlabel() == "test accuracy, %"


def test_reports_hold_the_comparison(tmp_path: Path) -> None:
    append_record(tmp_path, measured([72, 74], SHIPPED))
    written = {path.name for path in write_reports(tmp_path)}
    assert {"cifar10-methods.csv", "cifar10-methods.md", "cifar10-methods.png"} <= written
    with open(tmp_path / "cifar10-methods.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["paper"], row["measured"]) for row in rows if row["record"]] == [
        ("DCGAN (width 1)", "0.738", "0.73")
    ]
    assert np.asarray(Image.open(tmp_path / "cifar10-methods.png")).std() > 10


def test_what_is_compared_can_be_made() -> None:
    names = {weights for weights, _ in COMPARED if weights and not weights.startswith("random:")}
    assert names <= set(METHODS)


def test_no_published_figure_stands_beside_drawn_digits() -> None:
    # Names that records and tables spell out, since they do without torch.
    assert records._GENERATED == house_numbers.NAME
    assert f"/{results.OWN_GRID}" == records._OTHER_GRID
    assert kind_of(NEAREST_NEIGHBOURS) == overview.NEIGHBOURS
    assert kind_of(L2_SVM) == L2_SVM_NAME
    cnn = supervised_cnn(0)
    facts = facts_of(record(classifier=cnn.name))
    assert (facts.classifier, facts.needs) == (kind_of(cnn), cnn.needs)
    drawn = {"name": f"{house_numbers.NAME} (SVHN layout)", "train_fingerprint": "a", "test_fingerprint": "b"}
    about = {"protocol": "svhn/few-labels/1", "labels": 1000, "trained_on": "SVHN", "dataset": drawn}
    (line,) = compared([measured([95], SHIPPED, **about)], "svhn")
    assert line.published is None
    assert line.rate == pytest.approx(0.05)


def test_the_overview_has_a_row_a_method_and_a_column_a_measurement() -> None:
    on_digits: dict[str, Any] = {
        "protocol": "svhn/few-labels/1", "labels": 1000,
        "dataset": {"name": "svhn-grey", "verified": False, "train_fingerprint": "a", "test_fingerprint": "b"},
    }  # fmt: skip
    pixels, own = {"representation": "pixels"}, {"representation": "own"}
    cifar10 = [
        measured([60, 62], KMEANS, method="K-means", layers="-"),
        measured([40], pixels, method="raw pixels", layers="-"),
    ]
    svhn = [
        measured([30], pixels, method="raw pixels", layers="-", classifier="kNN", **on_digits),
        measured([28], pixels, method="raw pixels", layers="-", **on_digits),
        measured([80], pixels, method="raw pixels", layers="-", classifier="supervised CNN (an arch)", **on_digits),
        measured([70], own, method="own", layers="-", **on_digits),
    ]
    drawn = on_digits | {"dataset": on_digits["dataset"] | {"name": house_numbers.NAME, "test_fingerprint": "c"}}
    svhn.append(measured([99], own, method="own", layers="-", **drawn))
    text = overview.to_markdown([line for name in ("svhn", "cifar10") for line in compared(cifar10 + svhn, name)])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert rows[0] == [
        "method", "trained on", "CIFAR-10, 4,000 labels: accuracy %", "svhn-grey, 1,000 labels: error %", "kNN"
    ]  # fmt: skip
    found = {row[0]: row[2:] for row in rows[2:]}
    assert len(found) == len(rows) - 2
    assert found["K-means"] == ["61.00 (63.70)", "", ""]
    assert found["raw pixels"] == ["40.00", "72.00", "70.00 (77.93)"]
    assert found["raw pixels, supervised CNN (an arch)"] == ["", "20.00 (28.87 validation)", ""]
    assert found["own"] == ["", "30.00", ""]
    assert found["Exemplar CNN"] == ["(77.40)", "", ""]
    order = ["Exemplar CNN", "K-means", "raw pixels", "raw pixels, supervised CNN (an arch)", "own", "TSVM"]
    assert [name for name in found if name in order] == order
    assert overview.to_markdown([]) == ""
