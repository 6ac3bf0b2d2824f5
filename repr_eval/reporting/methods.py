"""Every method beside the figure that is published for it: what `--all` measures, and the table and chart of it.

The table has one row for every representation, classifier and seed: the record with the most
draws, then the newest, with batch-norm statistics as the protocols have them. If the best C was at
the end of a protocol's grid, a record with a wider grid replaces that one. Rows of the paper that
nothing here measures are listed too. No published figure stands beside results on digits that this
package draws: they say nothing about a method.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from repr_eval.datasets import metric_of
from repr_eval.records import Record, facts_of
from repr_eval.reporting import render
from repr_eval.reporting.published import PaperRow, counterpart, paper_rows
from repr_eval.reporting.render import (
    Column,
    interval_words,
    method_words,
    panel_words,
    percent,
    setting_words,
    with_classifier,
)
from repr_eval.reporting.rows import Row, measured_row, newest, whole

BN = ("", "recomputed")  # batch-norm statistics of the rows that are compared


@dataclass(frozen=True)
class Compared:
    """One line: a published figure, a measured row, or one beside the other; rates are fractions.

    A published figure stands beside what was measured on `data`, which may be another data set than the paper's.
    """

    table: str
    protocol: str
    data: str
    labels: int
    method: str
    classifier: str
    paper: PaperRow | None
    published: float | None  # the rate that `paper` gives
    row: Row | None = None

    @property
    def name(self) -> str:
        """The method, and the classifier where that is another than the L2-SVM."""
        return with_classifier(self.method, self.classifier, ", ")

    @property
    def published_words(self) -> tuple[str, ...]:
        """The published rate in percent, and what it is of if not the test set; empty where nothing is published."""
        if self.published is None or self.paper is None:
            return ()
        return (f"{100 * self.published:.2f}", *([self.paper.of] if self.paper.of else []))

    @property
    def published_cell(self) -> str:
        """`published_words` in one cell, "" where there are none."""
        return " ".join(word if number == 0 else f"({word})" for number, word in enumerate(self.published_words))

    @property
    def panel(self) -> tuple[str, str, int]:
        """Protocol, data set and number of labels: lines that have these in common are compared with each other."""
        return self.protocol, self.data, self.labels

    @property
    def kind(self) -> str:
        """The kind of classifier; "" where nothing was measured."""
        return self.row.kind if self.row else ""

    @property
    def generated(self) -> bool:
        """Whether a program has drawn the images."""
        return self.row is not None and self.row.generated

    @property
    def trained_on(self) -> str:
        return self.row.trained_on if self.row else ""

    @property
    def seed(self) -> int | None:
        return self.row.seed if self.row else None

    @property
    def rate(self) -> float:
        """The measured rate, else the published one."""
        return self.row.rate if self.row else self.published or 0.0


def compared(records: list[Record], table: str) -> list[Compared]:
    """The lines of `table` ("cifar10", ...), the best first within a protocol, data set and number of labels."""
    measure, sign = metric_of(table), 1 if metric_of(table) == "error" else -1
    making = _seconds_of_making(records)
    best = one_a_method(record for record in newest(records) if facts_of(record).dataset == table and whole(record))
    lines = _told_apart([_measured(record, measure, making[_made_by(record)]) for record in best])
    lines += _not_measured(lines, table, measure)
    return sorted(lines, key=lambda line: (line.panel, sign * line.rate))


def one_a_method(records: Iterable[Record]) -> list[Record]:
    """One record for every protocol, data, number of labels, classifier, seed and representation."""
    best: dict[tuple[object, ...], Record] = {}
    others: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        facts = facts_of(record)
        if record.representation.get("bn", "") not in BN:
            continue
        # Without the draws' lists, of which one record may have more than another.
        key = (
            facts.protocol, record.dataset["name"], record.labels, record.classifier, record.seed, _made_by(record),
        )  # fmt: skip
        if facts.other_grid:
            others.setdefault(key, []).append(record)
        elif key not in best or len(record.test_correct) >= len(best[key].test_correct):
            best[key] = record
    for both in best.keys() & others.keys():
        wider = [record for record in others[both] if _widens(record, best[both])]
        # A wider grid where accuracies are equal.
        best[both] = max([*wider, best[both]], key=lambda record: record.validation_accuracy)
    return list(best.values())


def _not_measured(lines: list[Compared], table: str, measure: str) -> list[Compared]:
    """The paper's rows that belong in the panels of `lines` and stand beside none of them."""
    paired = {(line.panel, line.paper) for line in lines}
    generated = {line.panel: line.generated for line in lines}
    return [
        Compared(
            table=table,
            protocol=panel[0],
            data=panel[1],
            labels=panel[2],
            method=paper.method,
            classifier="",
            paper=paper,
            published=_rate(paper, measure),
        )
        for panel in dict.fromkeys(line.panel for line in lines)
        for paper in paper_rows(table)
        if (paper.protocol, paper.labels) == (panel[0], panel[2])
        and (panel, paper) not in paired
        and not generated[panel]
    ]


def _made_by(record: Record) -> str:
    """Everything that decides a record's features, images included."""
    settings = {name: value for name, value in record.representation.items() if name != "stored_as"}
    return json.dumps(
        [settings, record.dataset["train_fingerprint"], record.dataset["test_fingerprint"]], sort_keys=True
    )


def _widens(record: Record, edge: Record) -> bool:
    """Whether the grid of `record` reaches further where `edge` chose the end of its own, and did not end too early."""
    if not edge.C_at_edge or record.C_at_edge:
        return False
    return record.grid[-1] > edge.C if edge.grid[-1] == edge.C else record.grid[0] < edge.C


def _seconds_of_making(records: list[Record]) -> dict[str, float]:
    """Seconds that features took, by `_made_by`; records that found them in the store say 0."""
    longest: dict[str, float] = {}
    for record in records:
        key = _made_by(record)
        longest[key] = max(longest.get(key, 0.0), record.seconds.get("features", 0.0))
    return longest


def _told_apart(lines: list[Compared]) -> list[Compared]:
    """The lines; methods that would read alike get their layers added and, where these are the same, their records."""

    def read(line: Compared) -> tuple[object, ...]:
        return line.panel, line.name, line.trained_on, line.seed

    for column in ("layers", "record"):
        alike = Counter(map(read, lines))
        lines = [
            line
            if alike[read(line)] == 1
            else replace(line, method=f"{line.method}, {column} {getattr(line.row, column)}")
            for line in lines
        ]
    return lines


def _measured(record: Record, measure: str, making: float) -> Compared:
    row, facts, paper = measured_row(record, measure), facts_of(record), _counterpart(record)
    row = replace(row, seconds=(row.seconds or 0.0) - record.seconds.get("features", 0.0) + making)
    rate = None if paper is None else _rate(paper, measure)
    return Compared(
        table=facts.dataset,
        protocol=facts.protocol,
        data=row.data,
        labels=record.labels,
        method=method_words(row),
        classifier=record.classifier,
        paper=paper,
        published=rate,
        row=row,
    )


def _counterpart(record: Record) -> PaperRow | None:
    facts = facts_of(record)
    if facts.generated:
        return None
    return counterpart(facts.protocol, record.labels, record.representation, facts.classifier, not facts.untrained)


def _rate(paper: PaperRow, measure: str) -> float:
    return round(paper.accuracy if measure == "accuracy" else 1 - paper.accuracy, 6)


def csv_columns() -> list[Column]:
    """The columns of the CSV: rates are fractions in [0, 1]; most are empty where nothing was measured."""
    return [
        Column("protocol", lambda line: line.protocol),
        Column("data", lambda line: line.data),
        Column("labels", lambda line: line.labels),
        Column("method", lambda line: line.method),
        Column("classifier", lambda line: line.classifier),
        Column("trained_on", lambda line: line.row and line.row.trained_on),
        Column("units", lambda line: line.row and line.row.max_units),
        Column("features", lambda line: line.row and line.row.features),
        Column("paper", lambda line: line.published),
        Column("measured", lambda line: line.row and line.row.rate),
        Column("std_of_draws", lambda line: line.row and line.row.std_of_draws),
        Column("ci95_low", lambda line: line.row and line.row.ci95_low),
        Column("ci95_high", lambda line: line.row and line.row.ci95_high),
        Column("ci95_of", lambda line: line.row and line.row.ci95_of),
        Column("setting", lambda line: line.row and line.row.C),
        Column("at_edge", lambda line: line.row and line.row.C_at_edge),
        Column("seconds", lambda line: line.row and line.row.seconds),
        Column("seed", lambda line: line.row and line.row.seed),
        Column("record", lambda line: line.row and line.row.record),
    ]


def columns(measure: str) -> list[Column]:
    """The columns for readers: rates in percent."""
    return [
        Column("method", lambda line: line.method),
        Column("classifier", lambda line: line.classifier),
        Column("trained on", lambda line: line.trained_on),
        Column("units", lambda line: line.row and line.row.max_units, ",", right=True),
        Column("features", lambda line: line.row and line.row.features, ",", right=True),
        Column(f"paper {measure} %", lambda line: line.published_cell, right=True),
        Column(f"measured {measure} %", _measured_cell, ".2f", right=True),
        Column("std of draws", lambda line: line.row and percent(line.row.std_of_draws), ".2f", right=True),
        Column("95% interval", lambda line: line.row and interval_words(line.row)),
        Column("of", lambda line: line.row and line.row.ci95_of),
        Column("C or k", lambda line: line.row and setting_words(line.row), right=True),
        Column("seconds", lambda line: line.row and line.row.seconds, ",.0f", right=True),
        Column("seed", lambda line: line.seed, right=True),
        Column("record", lambda line: line.row and line.row.record),
    ]


def _measured_cell(line: Compared) -> float | str | None:
    return percent(line.row.rate) if line.row else "not measured"


def to_csv(lines: list[Compared]) -> str:
    """The lines as CSV: rates as fractions to six digits."""
    return render.to_csv(csv_columns(), lines)


def to_markdown(lines: list[Compared], measure: str) -> str:
    """The lines as Markdown, a section for every protocol, data set and number of labels; rates in percent."""
    return render.markdown_sections(
        (title, render.to_markdown(columns(measure), panel)) for title, panel in panels_of_lines(lines)
    )


def panels_of_lines(lines: list[Compared]) -> Iterator[tuple[str, list[Compared]]]:
    """(title, lines) of every protocol, data set and number of labels."""
    for key, panel in groupby(lines, lambda line: line.panel):
        yield panel_words(*key), list(panel)
