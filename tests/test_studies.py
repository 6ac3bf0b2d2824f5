"""The studies' tables, from records whose numbers are known by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_records_tables import record

from repr_eval.records import Record, append_record
from repr_eval.reports import write_reports
from repr_eval.studies import batch_norm_study, layer_study, to_markdown
from repr_eval.tables import full_method, table_rows


def of_layers(first: int, last: int, correct: list[int], present: int = 4, **settings: Any) -> Record:
    layers = f"{first}-{last} of 6" if first < last else f"{first} of 6"
    about = {"weights_sha256": "cc", "bn": "recomputed", "layers_present": present, "layers": [first, last]} | settings
    return record(layers=layers, representation=about, test_correct=correct, n_features=1000 * last)


def with_bn(bn: str, correct: list[int], **changes: Any) -> Record:
    images = {"bn_images": "aa"} if bn == "recomputed" else {}
    return record(representation={"weights_sha256": "cc", "bn": bn} | images, test_correct=correct, **changes)


def test_layers_together_and_alone() -> None:
    records = [
        of_layers(2, 2, [30, 34]), of_layers(1, 3, [50, 54]), of_layers(1, 1, [20, 24]), of_layers(2, 3, [40, 44]),
        of_layers(1, 1, [0, 0], weights_sha256="another network, measured once"), record(),
    ]  # fmt: skip
    study = layer_study(records)
    assert study["layers"].tolist() == ["1 of 6", "1-3 of 6", "2 of 6", "2-3 of 6"]
    assert study["kind"].tolist() == ["together", "together", "alone", "range"]
    assert study["last_layer"].tolist() == [1, 3, 2, 3]
    assert study["rate"].tolist() == pytest.approx([0.22, 0.52, 0.32, 0.42])
    assert study["std_of_draws"].tolist() == pytest.approx([0.02 * np.sqrt(2)] * 4)
    assert "| DCGAN (width 1) | 2 of 6 | 2,000 | recomputed | 32.00 | 2.83 | 6.59 to 57.41 |" in to_markdown(study)


def test_of_the_same_layers_the_newest_counts() -> None:
    records = [of_layers(1, 1, [20]), of_layers(1, 2, [30]), replace(of_layers(1, 1, [25]), time="later")]
    assert layer_study(records)["rate"].tolist() == [0.25, 0.3]


def test_parts_of_networks_stay_out_of_the_main_table_and_first_layers_say_so() -> None:
    records = [of_layers(1, 4, [60, 62]), of_layers(1, 3, [50, 54]), of_layers(2, 2, [30, 34])]
    rows = [row for row in table_rows(records, "cifar10") if row.source == "measured"]
    assert [row.method for row in rows] == ["DCGAN (width 1), layers 1-4 (4,000 features)"]
    assert full_method(record()) == "DCGAN (width 1)"
    assert full_method(record(layers="-")) == "DCGAN (width 1)"


def test_batch_norm_statistics_side_by_side() -> None:
    records = [with_bn("running", [60, 62]), with_bn("recomputed", [70, 72]), with_bn("at-hand", [75, 73])]
    study = batch_norm_study([*records, with_bn("running", [1, 1], seed=5)])
    assert study["bn"].tolist() == ["recomputed", "at-hand", "running"]
    assert study["difference"].tolist() == pytest.approx([0.0, 0.03, -0.1])
    text = to_markdown(study)
    assert "| difference, points |" in text
    assert "| running | 61.00 | -10.00 | 1.41 |" in text


def test_without_the_recomputed_one_there_is_no_difference() -> None:
    study = batch_norm_study([with_bn("running", [60]), with_bn("at-hand", [75])])
    assert study["difference"].isna().tolist() == [True, True]
    assert "| 75.00 |  |  |" in to_markdown(study)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_reports_hold_the_studies_and_a_plot_that_shows_them(tmp_path: Path) -> None:
    for one in (of_layers(1, 1, [20, 24]), with_bn("recomputed", [70, 72]), with_bn("at-hand", [75, 73])):
        append_record(tmp_path, one)
    names = [path.name for path in write_reports(tmp_path)]
    assert names == ["cifar10.csv", "cifar10.md", "batch_norm.csv", "batch_norm.md"]
    append_record(tmp_path, of_layers(1, 2, [50, 54]))
    assert [path.name for path in write_reports(tmp_path)][2:5] == ["layers.csv", "layers.md", "layers.png"]
    first = pixels(tmp_path / "layers.png")
    blue = (first == (31, 119, 180)).all(2)  # the first method's line
    assert blue.sum() > 100
    append_record(tmp_path, replace(of_layers(1, 2, [90, 94]), time="later"))
    write_reports(tmp_path)
    assert not np.array_equal(first, pixels(tmp_path / "layers.png"))
