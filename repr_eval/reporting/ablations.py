"""Tables that set one choice against its alternatives, all else equal: layers, batch-norm statistics.

Computed from records alone, like `rows`: a group of records that differ in the choice alone becomes rows.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

from repr_eval.datasets import has_table, metric_of
from repr_eval.records import Record, facts_of
from repr_eval.reporting import render, tables
from repr_eval.reporting.render import Column, interval_words, panel_words, percent, setting_words
from repr_eval.reporting.rows import Row, identity, measured_row, newest

BN_ORDER = ("recomputed", "at-hand", "running")


@dataclass(frozen=True)
class StudyRow:
    """A measured row and its place in a study; rows of one `group` differ in the studied choice alone.

    Layers: `first_layer` to `last_layer` gave the features. Batch norm: `difference` is the rate minus the rate with
    statistics recomputed over the training images.
    """

    row: Row
    measure: str  # "accuracy" or "error", which row.rate is
    group: int
    first_layer: int | None = None
    last_layer: int | None = None
    difference: float | None = None


def layer_study(records: list[Record]) -> list[StudyRow]:
    """One row for every range of layers, of networks measured with several ranges.

    Ranges that start with the first layer come first.
    """
    rows = []
    for number, group in enumerate(_groups(records, ("layer_range",), lambda r: facts_of(r).layers is not None)):
        measured = [(layers, record) for record in group if (layers := facts_of(record).layers)]
        for layers, record in sorted(measured, key=lambda pair: (pair[0].first > 1, pair[0][:2])):
            rows.append(_study_row(record, number, first_layer=layers.first, last_layer=layers.last))
    return rows


def batch_norm_study(records: list[Record]) -> list[StudyRow]:
    """One row for every kind of batch-norm statistics, of networks measured with several kinds."""
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


def _groups(records: list[Record], choice: tuple[str, ...], fits: Callable[[Record], bool]) -> Iterator[list[Record]]:
    """Groups of two or more records for which `fits` is true and that are alike but for the settings `choice`."""
    groups: dict[str, list[Record]] = {}
    for record in newest(records):
        if fits(record) and has_table(facts_of(record).dataset):
            groups.setdefault(json.dumps(identity(record, without=choice), sort_keys=True), []).append(record)
    return (group for group in groups.values() if len(group) > 1)


def _study_row(record: Record, group: int, **options: int) -> StudyRow:
    measure = metric_of(facts_of(record).dataset)
    return StudyRow(measured_row(record, measure), measure, group, **options)


def csv_columns(study: list[StudyRow]) -> list[Column]:
    """The columns of the CSV: those of a measured row and the study's own, without those that are empty throughout."""
    mine = [column for column in tables.csv_columns("rate") if column.name not in ("source", "paper_spread", "method")]
    columns = [
        *(replace(column, value=partial(_of_row, column.value)) for column in mine),
        Column("measure", lambda line: line.measure),
        Column("group", lambda line: line.group),
        Column("first_layer", lambda line: line.first_layer),
        Column("last_layer", lambda line: line.last_layer),
        Column("difference", lambda line: line.difference),
    ]
    columns.insert(2, Column("method", lambda line: line.row.method))
    return [column for column in columns if any(column.value(line) is not None for line in study)]


def _of_row(value: Callable[[Row], object], line: StudyRow) -> object:
    return value(line.row)


def columns(measure: str, differ: bool) -> list[Column]:
    """The columns for readers: rates in percent; `differ`: with differences, in percentage points."""
    columns = [
        Column("method", lambda line: line.row.method),
        Column("trained on", lambda line: line.row.trained_on),
        Column("layers", lambda line: str(line.row.layers)),
        Column("features", lambda line: line.row.features, ",", right=True),
        Column("bn", lambda line: line.row.bn),
        Column("seed", lambda line: line.row.seed, right=True),
        Column(f"{measure} %", lambda line: percent(line.row.rate), ".2f", right=True),
        Column("difference, points", lambda line: percent(line.difference), "+.2f", right=True),
        Column("std of draws", lambda line: percent(line.row.std_of_draws), ".2f", right=True),
        Column("95% interval", lambda line: interval_words(line.row)),
        Column("of", lambda line: line.row.ci95_of),
        Column("C", lambda line: setting_words(line.row), right=True),
        Column("record", lambda line: line.row.record),
    ]
    return [column for column in columns if differ or column.name != "difference, points"]


def to_csv(study: list[StudyRow]) -> str:
    """A study as CSV: rates as fractions to six digits."""
    return render.to_csv(csv_columns(study), study)


def panels_of_study(study: list[StudyRow]) -> list[tuple[str, list[StudyRow]]]:
    """(title, rows) of every protocol, data set and number of labels."""

    def words(line: StudyRow) -> str:
        return panel_words(line.row.protocol, line.row.data, line.row.labels)

    return [(title, list(rows)) for title, rows in groupby(sorted(study, key=words), words)]


def named_groups(rows: list[StudyRow]) -> list[tuple[str, list[StudyRow]]]:
    """Each group with what to call it: its method, and what else tells it from others of that method."""
    groups = [[line for line in rows if line.group == number] for number in dict.fromkeys(line.group for line in rows)]
    names = [group[0].row.method.lstrip("_") for group in groups]
    for column, words in (("trained_on", "trained on "), ("bn", "bn "), ("seed", "seed "), ("record", "record ")):
        values = [getattr(group[0].row, column) for group in groups]
        names = [
            f"{name}, {words}{value}" if len({v for n, v in zip(names, values, strict=True) if n == name}) > 1 else name
            for name, value in zip(names, values, strict=True)
        ]
    return list(zip(names, groups, strict=True))


def to_markdown(study: list[StudyRow]) -> str:
    """A study as Markdown, a section for every protocol, data set and number of labels; rates in percent."""
    differ = any(line.difference is not None for line in study)
    return render.markdown_sections(
        (title, render.to_markdown(columns(rows[0].measure, differ), rows)) for title, rows in panels_of_study(study)
    )


STUDIES: dict[str, Callable[[list[Record]], list[StudyRow]]] = {"layers": layer_study, "batch_norm": batch_norm_study}
