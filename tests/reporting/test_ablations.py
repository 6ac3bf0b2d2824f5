"""The studies' tables and plot, from records whose numbers are known by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from factories import record
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from PIL import Image

from repr_eval.records import Record, append_record
from repr_eval.reporting.ablations import batch_norm_study, layer_study, to_markdown
from repr_eval.reporting.figures import layers_figure
from repr_eval.reporting.render import method_words
from repr_eval.reporting.rows import measured_row, table_rows
from repr_eval.reporting.write import write_reports

WHOLE = 4
CIFAR10 = [f"cifar10{ending}" for ending in (".csv", ".md", "-methods.csv", "-methods.md", "-methods.png")]


def of_layers(first: int, last: int, correct: list[int], settings: dict[str, Any] | None = None, **rest: Any) -> Record:
    about = {"representation": "discriminator", "weights_sha256": "cc", "bn": "recomputed", "layers": WHOLE}
    if (first, last) != (1, WHOLE):
        about["layer_range"] = [first, last]
    layers = f"{first}-{last} of 6" if first < last else f"{first} of 6"
    content = {"layers": layers, "test_correct": correct, "n_features": 1000 * last}
    return record(representation=about | (settings or {}), **content | rest)


def with_bn(bn: str, correct: list[int], settings: dict[str, Any] | None = None, **rest: Any) -> Record:
    images = {"bn_images": "aa"} if bn == "recomputed" else {}
    about = {"representation": "discriminator", "weights_sha256": "cc", "bn": bn, "layers": 6} | images
    return record(representation=about | (settings or {}), test_correct=correct, **rest)


def test_layers_together_and_alone() -> None:
    others: list[dict[str, Any]] = [
        {"weights_sha256": "another"},
        {"bn": "at-hand"},
        {"layers": 6},
        {"representation": "own"},
    ]
    records = [
        of_layers(2, 2, [30, 34]), of_layers(1, 3, [50, 54]), of_layers(1, 1, [20, 24]), of_layers(2, 3, [40, 44]),
        *(of_layers(1, 1, [0, 0], settings) for settings in others),  # each measured once, or not a network of ours
        of_layers(1, 1, [0, 0], labels=5), of_layers(1, 1, [0, 0], seed=5), record(),
    ]  # fmt: skip
    study = layer_study(records)
    assert [str(one.row.layers) for one in study] == ["1 of 6", "1-3 of 6", "2 of 6", "2-3 of 6"]
    assert [(one.first_layer, one.last_layer) for one in study] == [(1, 1), (1, 3), (2, 2), (2, 3)]
    assert [one.row.rate for one in study] == pytest.approx([0.22, 0.52, 0.32, 0.42])
    assert [one.row.std_of_draws for one in study] == pytest.approx([0.02 * 2**0.5] * 4)
    line = "| 2 of 6 | 2,000 | recomputed | 0 | 32.00 | 2.83 | 6.59 to 57.41 | mean of draws | 0.0001 |"
    assert line in to_markdown(study)


def test_what_is_wrong_with_a_fit_shows_in_the_study() -> None:
    text = to_markdown(layer_study([of_layers(1, 1, [20], C_at_edge=True), of_layers(2, 2, [20], largest_gap=0.5)]))
    assert "| 0.0001 (edge) |" in text
    assert "| 0.0001 (NOT CONVERGED: gap 0.5) |" in text


def test_of_the_same_layers_the_newest_counts() -> None:
    records = [of_layers(1, 1, [20]), of_layers(1, 2, [30]), replace(of_layers(1, 1, [25]), time="later")]
    assert [one.row.rate for one in layer_study(records)] == [0.25, 0.3]


def test_parts_of_networks_stay_out_of_the_main_table_and_first_layers_say_so() -> None:
    records = [of_layers(1, 4, [60, 62]), of_layers(1, 3, [50, 54]), of_layers(2, 2, [30, 34])]
    rows = [row for row in table_rows(records, "cifar10") if row.source == "measured"]
    assert [method_words(row) for row in rows] == ["DCGAN (width 1), layers 1-4 (4,000 features)"]
    for complete in ("1-6 of 6", "-", "1 of 1"):
        assert method_words(measured_row(record(layers=complete), "accuracy")) == "DCGAN (width 1)"


def test_batch_norm_statistics_side_by_side() -> None:
    records = [with_bn("running", [60, 62]), with_bn("recomputed", [70, 72]), with_bn("at-hand", [75, 73])]
    others = [with_bn("running", [1, 1], seed=5), with_bn("running", [1, 1], {"weights_sha256": "other"}),
              with_bn("running", [1, 1], {"layer_range": [1, 2]}), with_bn("batch", [1, 1])]  # fmt: skip
    study = batch_norm_study(records + others)
    assert [one.row.bn for one in study] == ["recomputed", "at-hand", "running"]
    assert [one.difference for one in study] == pytest.approx([0.0, 0.03, -0.1])
    text = to_markdown(study)
    assert "| difference, points |" in text
    assert "| running | 0 | 61.00 | -10.00 | 1.41 |" in text


def test_without_the_recomputed_one_there_is_no_difference() -> None:
    study = batch_norm_study([with_bn("running", [60]), with_bn("at-hand", [75])])
    assert [one.difference for one in study] == [None, None]
    assert "difference" not in to_markdown(study)


def test_records_of_other_protocols_and_kinds_are_left_alone() -> None:
    records = [of_layers(1, 1, [20], protocol="own/1"), of_layers(1, 2, [20], protocol="own/1")]
    records += [record(representation={"layers": "all", "bn": bn}) for bn in ("batch", "running")]
    assert layer_study(records) == batch_norm_study(records) == []


# The plot.


def lines(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """Label -> points of every line with error bars."""
    found = {}
    for container in axes.containers:
        assert isinstance(container, ErrorbarContainer)
        line = container.lines[0]
        assert line is not None
        points = np.stack([np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)], 1)
        found[str(container.get_label())] = [(x, round(y, 6)) for x, y in points.tolist()]
    return found


def test_the_plot_has_a_line_together_and_one_alone_for_every_network() -> None:
    other = {"weights_sha256": "dd"}
    records = [
        of_layers(1, 1, [20, 24]), of_layers(1, 2, [50, 54]), of_layers(2, 2, [30, 34]), of_layers(2, 3, [1, 1]),
        of_layers(1, 1, [10, 10], other, trained_on="SVHN"), of_layers(1, 2, [40, 40], other, trained_on="SVHN"),
    ]  # fmt: skip
    axes = layers_figure(layer_study(records)).axes[0]
    assert axes.get_title() == "cifar10/per-class/1: CIFAR-10, 4,000 labels"
    assert axes.get_ylabel() == "test accuracy, %"
    first = f"DCGAN (width 1), trained on {record().trained_on}"
    assert lines(axes) == {
        f"{first}: layers 1 to x together": [(1, 22), (2, 52)],
        f"{first}: layer x alone": [(1, 22), (2, 32)],
        "DCGAN (width 1), trained on SVHN: layers 1 to x together": [(1, 10), (2, 40)],
        "DCGAN (width 1), trained on SVHN: layer x alone": [(1, 10)],
    }
    container = axes.containers[0]
    assert isinstance(container, ErrorbarContainer)
    bars = container.lines[2][0].get_segments()
    row = layer_study(records)[0].row
    assert [point[1] for point in bars[0]] == pytest.approx([100 * (row.ci95_low or 0), 100 * (row.ci95_high or 0)])


def test_every_protocol_data_set_and_number_of_labels_has_a_panel() -> None:
    records = []
    others: list[dict[str, Any]] = [
        {"labels": 50},
        {"dataset": record().dataset | {"name": "CIFAR-10 copy", "test_fingerprint": "cc"}},
        {"seed": 3},
    ]
    for changes in ({}, *others):
        records += [of_layers(1, 1, [20], **changes), of_layers(1, 2, [30], **changes)]
    titles = [axes.get_title() for axes in layers_figure(layer_study(records)).axes]
    assert titles == [
        "cifar10/per-class/1: CIFAR-10 copy, 4,000 labels", "cifar10/per-class/1: CIFAR-10, 4,000 labels",
        "cifar10/per-class/1: CIFAR-10, 50 labels",
    ]  # fmt: skip
    assert len(lines(layers_figure(layer_study(records)).axes[1])) == 4  # two seeds, told apart


def test_reports_hold_the_studies_and_a_plot(tmp_path: Path) -> None:
    for one in (of_layers(1, 1, [20, 24]), with_bn("recomputed", [70, 72]), with_bn("at-hand", [75, 73])):
        append_record(tmp_path, one)
    names = [path.name for path in write_reports(tmp_path)]
    assert names == [*CIFAR10, "overview.md", "batch_norm.csv", "batch_norm.md"]
    append_record(tmp_path, of_layers(1, 2, [50, 54]))
    assert [path.name for path in write_reports(tmp_path)][6:9] == ["layers.csv", "layers.md", "layers.png"]
    table = pd.read_csv(tmp_path / "layers.csv")
    assert table[["first_layer", "last_layer", "rate"]].to_numpy().tolist() == [[1, 1, 0.22], [1, 2, 0.52]]
    assert pd.read_csv(tmp_path / "batch_norm.csv")["difference"].tolist() == pytest.approx([0, 0.03])
    with Image.open(tmp_path / "layers.png") as picture:
        assert picture.size[0] > 500
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 10
