"""The table of all measurements: a line for every record and for every figure of the paper, with the CSV's numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from repr_eval.datasets import metric_of
from repr_eval.records import Record, facts_of
from repr_eval.reporting import tables
from repr_eval.reporting.published import paper_rows
from repr_eval.reporting.render import csv_cell, method_words, percent, setting_words
from repr_eval.reporting.rows import Row, identity_key, measured_row, newest, paper_row, table_names


@dataclass(frozen=True)
class Group:
    """A method's place among those of its protocol, data and draws (`repr_eval.comparison.ranking`)."""

    place: int
    of: int  # methods compared
    letters: str  # methods that share one cannot be told apart; "" where nothing can be tested
    remark: str  # how the groups came about


@dataclass(frozen=True)
class Line:
    """A line: a row, its record (None of the paper's figures), and what else is known of it."""

    row: Row
    measure: str  # "accuracy" or "error", which row.rate is
    record: Record | None = None
    group: Group | None = None
    replaced_by: str = ""  # the id of a newer record of the same measurement


@dataclass(frozen=True)
class PageColumn:
    """A column: its heading, what the reader sees, and the CSV's column that holds the same ("" for none)."""

    name: str
    shown: Callable[[Line], object]
    csv: str = ""
    format: str = ""
    right: bool = False
    hidden: bool = False  # until the reader asks for it, where JavaScript runs


@dataclass(frozen=True)
class Cell:
    """A cell: what the reader sees, and the CSV's value where that says more."""

    words: str
    value: str
    right: bool


COLUMNS = (
    PageColumn("method", lambda line: method_words(line.row), "method"),
    PageColumn("data", lambda line: line.row.data, "data"),
    PageColumn("protocol", lambda line: line.row.protocol, "protocol"),
    PageColumn("labels", lambda line: line.row.labels, "labels", ",", right=True),
    PageColumn("classifier", lambda line: line.row.classifier or "published", "classifier"),
    PageColumn("measure", lambda line: line.measure),
    PageColumn("rate %", lambda line: percent(line.row.rate), "rate", ".2f", right=True),
    PageColumn("95% from", lambda line: percent(line.row.ci95_low), "ci95_low", ".2f", right=True),
    PageColumn("to", lambda line: percent(line.row.ci95_high), "ci95_high", ".2f", right=True),
    PageColumn("interval of", lambda line: line.row.ci95_of, "ci95_of", hidden=True),
    PageColumn("group", lambda line: line.group.letters if line.group else ""),
    PageColumn("std of draws", lambda line: percent(line.row.std_of_draws), "std_of_draws", ".2f", True, True),
    PageColumn("draws", lambda line: line.row.draws, "draws", ",", right=True, hidden=True),
    PageColumn("trained on", lambda line: line.row.trained_on, "trained_on", hidden=True),
    PageColumn("layers", lambda line: str(line.row.layers), "layers"),
    PageColumn("features", lambda line: line.row.features, "features", ",", right=True, hidden=True),
    PageColumn("C or k", lambda line: setting_words(line.row), "C", right=True, hidden=True),
    PageColumn("batch norm", lambda line: line.row.bn, "bn", hidden=True),
    PageColumn("seed", lambda line: line.row.seed, "seed", right=True, hidden=True),
    PageColumn("seconds", lambda line: line.row.seconds, "seconds", ",.0f", right=True, hidden=True),
    PageColumn("day", lambda line: line.record.time[:10] if line.record else "", hidden=True),
    PageColumn("record", lambda line: line.row.record, "record"),
)
_CSV = {column.name: column for column in tables.csv_columns("rate")}


def lines_of(records: Sequence[Record], groups: Mapping[str, Group]) -> list[Line]:
    """The lines: by data set, then protocol, data and labels, the best rate first.

    The paper's figures stand with the data sets that have a record.
    """
    current = {identity_key(record): record.id for record in newest(list(records))}
    lines = []
    for record in records:
        measure, newer = metric_of(facts_of(record).dataset), current[identity_key(record)]
        replaced_by = newer if newer != record.id else ""
        lines.append(Line(measured_row(record, measure), measure, record, groups.get(record.id), replaced_by))
    there = {facts_of(record).dataset for record in records}
    names = [name for name in table_names(records) if name in there]
    for name in names:
        lines += [Line(paper_row(row, metric_of(name)), metric_of(name)) for row in paper_rows(name)]
    return sorted(lines, key=_order)


def _order(line: Line) -> tuple[object, ...]:
    rate = line.row.rate if line.measure == "error" else -line.row.rate
    return line.row.protocol, line.row.data, line.row.labels or 0, rate, line.row.record


def cells_of(line: Line) -> list[Cell]:
    """The cells of a line, in the order of `COLUMNS`."""
    return [_cell(column, line) for column in COLUMNS]


def csv_value(name: str, row: Row) -> str:
    """What the CSV holds in its column `name`, to the digit."""
    return str(csv_cell(_CSV[name].value(row)))


def _cell(column: PageColumn, line: Line) -> Cell:
    value = column.shown(line)
    words = "" if value is None else value if isinstance(value, str) else format(value, column.format)
    exact = csv_value(column.csv, line.row) if column.csv and column.right else ""
    return Cell(words, exact, column.right)
