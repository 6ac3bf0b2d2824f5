"""Tables that set one choice against its alternatives, all else equal: layers, batch-norm statistics. And their plot.

Made from records alone, like `rows`: a group of records that differ in nothing but the choice becomes rows.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import groupby

import pandas as pd

from repr_eval.datasets import METRICS
from repr_eval.records import Record
from repr_eval.reporting.render import C_cell, interval_cell, markdown_line
from repr_eval.reporting.rows import (
    Row,
    family,
    identity,
    measured_row,
    newest,
)

LAYERS = re.compile(r"(\d+)(?:-(\d+))? of \d+$")  # as representations.base.named_layers has it
BN_ORDER = ("recomputed", "at-hand", "running")


@dataclass(frozen=True)
class StudyRow:
    """A measured row and its place in a study; rows of one `group` differ in the studied choice alone.

    Layers: `first_layer` to `last_layer` gave the features. Batch norm: `difference` is the rate less that with
    statistics recomputed over the training images.
    """

    row: Row
    measure: str  # "accuracy" or "error", which row.rate is
    group: int
    first_layer: int | None = None
    last_layer: int | None = None
    difference: float | None = None


def layer_study(records: list[Record]) -> list[StudyRow]:
    """One row for every range of layers, of networks measured with several: the first so many, then others."""
    rows = []
    for number, group in enumerate(_groups(records, ("layer_range",), lambda r: _range(r)[0] > 0)):
        for first, last, record in sorted(
            ((*_range(r), r) for r in group), key=lambda ranged: (ranged[0] > 1, ranged[:2])
        ):
            rows.append(_study_row(record, number, first_layer=first, last_layer=last))
    return rows


def batch_norm_study(records: list[Record]) -> list[StudyRow]:
    """One row for every kind of batch-norm statistics, of networks measured with several."""
    rows = []
    for number, group in enumerate(_groups(records, ("bn", "bn_images"), _has_statistics)):
        modes = {record.representation["bn"]: _study_row(record, number) for record in group}
        base = modes[BN_ORDER[0]].row.rate if BN_ORDER[0] in modes else None
        for mode in BN_ORDER:
            if mode in modes:
                row = modes[mode]
                rows.append(replace(row, difference=None if base is None else row.row.rate - base))
    return rows


def _has_statistics(record: Record) -> bool:
    return record.representation.get("representation") == "discriminator" and "bn" in record.representation


def _range(record: Record) -> tuple[int, int]:
    """The first and the last of the layers that features are of, from 1; (0, 0) where a record names none."""
    match = LAYERS.match(record.layers)
    return (int(match[1]), int(match[2] or match[1])) if match else (0, 0)


def _groups(records: list[Record], choice: tuple[str, ...], fits: Callable[[Record], bool]) -> Iterator[list[Record]]:
    """Those of the records that fit which are alike but for the settings `choice`, where there are several."""
    groups: dict[str, list[Record]] = {}
    for record in newest(records):
        if fits(record) and family(record.protocol) in METRICS:
            groups.setdefault(json.dumps(identity(record, without=choice), sort_keys=True), []).append(record)
    return (group for group in groups.values() if len(group) > 1)


def _study_row(record: Record, group: int, **options: int) -> StudyRow:
    measure = METRICS[family(record.protocol)]
    return StudyRow(replace(measured_row(record, measure), method=record.method), measure, group, **options)


def to_csv(study: list[StudyRow]) -> str:
    """A study as CSV: the columns that a measured row has, and its own."""
    flat = [asdict(row.row) | {k: v for k, v in asdict(row).items() if k != "row"} for row in study]
    frame = pd.DataFrame(flat).drop(columns=["source", "paper_spread"]).dropna(axis=1, how="all").convert_dtypes()
    return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def panels_of_study(study: list[StudyRow]) -> list[tuple[str, list[StudyRow]]]:
    """The rows of every protocol, data set and number of labels, with these in words."""

    def words(line: StudyRow) -> str:
        return f"{line.row.protocol}: {line.row.data}, {line.row.labels:,} labels"

    return [(title, list(rows)) for title, rows in groupby(sorted(study, key=words), words)]


def to_markdown(study: list[StudyRow]) -> str:
    """A study as Markdown, a section for every protocol, data set and number of labels; rates in percent."""
    extra = any(row.difference is not None for row in study)
    sections = []
    for title, rows in panels_of_study(study):
        lines = [
            f"### {title}",
            "",
            f"| method | trained on | layers | features | bn | seed | {rows[0].measure} % | "
            + "difference, points | " * extra
            + "std of draws | 95% interval | of | C | record |",
            "|---|---|---|---:|---|---:|---:|" + "---:|" * extra + "---:|---|---|---:|---|",
        ]
        lines += [_markdown_line(row, extra) for row in rows]
        sections.append("\n".join(lines))
    return "\n\n".join(sections) + "\n"


def _markdown_line(line: StudyRow, extra: bool) -> str:
    row = line.row
    difference = [None if line.difference is None else f"{100 * line.difference:+.2f}"] if extra else []
    spread = None if row.std_of_draws is None else f"{100 * row.std_of_draws:.2f}"
    return markdown_line((
        row.method, row.trained_on, row.layers, f"{row.features:,}", row.bn, row.seed, f"{100 * row.rate:.2f}",
        *difference, spread, interval_cell(row), row.ci95_of, C_cell(row), row.record,
    ))  # fmt: skip


STUDIES: dict[str, Callable[[list[Record]], list[StudyRow]]] = {"layers": layer_study, "batch_norm": batch_norm_study}
