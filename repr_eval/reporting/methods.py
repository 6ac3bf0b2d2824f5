"""Every method beside the figure that is published for it: what `--all` measures, and the table and chart of it.

The table has one row for every representation, classifier and seed: of several records the one with the most draws,
then the newest, with batch-norm statistics as the protocols have them. Where the best C was at the end of a protocol's
grid, a record with a wider grid takes the place of that. Of the paper's rows those that nothing here measures stand
there as well. Digits that are drawn by this package are no measure of a method: no published figure stands beside them.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import pandas as pd

from repr_eval.datasets import METRICS
from repr_eval.records import L2_SVM_NAME, Record
from repr_eval.reporting.published import PaperRow, counterpart, paper_rows
from repr_eval.reporting.render import C_cell, interval_cell, markdown_line
from repr_eval.reporting.rows import (
    Row,
    family,
    measured_row,
    newest,
    whole,
)

GENERATED = "house-numbers-generated"  # images.house_numbers.NAME, which would bring what it draws with along
# Columns of the CSV that only a measured line fills, and the field of its row that does.
MEASURED = {
    "trained_on": "trained_on", "units": "max_units", "features": "features", "measured": "rate",
    "std_of_draws": "std_of_draws", "ci95_low": "ci95_low", "ci95_high": "ci95_high", "ci95_of": "ci95_of",
    "setting": "C", "at_edge": "C_at_edge", "seconds": "seconds", "seed": "seed", "record": "record",
}  # fmt: skip
CSV_COLUMNS = ["protocol", "data", "labels", "method", "classifier", "trained_on", "units", "features", "paper"]
CSV_COLUMNS += [name for name in MEASURED if name not in CSV_COLUMNS]
BN = ("", "recomputed")  # batch-norm statistics of the rows that are compared
OWN_GRID_SUFFIX = "/own-C"  # ends the name of a protocol of which another grid than its own was searched


@dataclass(frozen=True)
class Compared:
    """One line: a published figure, a measured row, or one beside the other; rates are fractions.

    A published figure stands beside what was measured on `data`, which may be another data set than the paper's.
    """

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
        return self.method if self.classifier in ("", L2_SVM_NAME) else f"{self.method}, {self.classifier}"

    @property
    def published_words(self) -> tuple[str, ...]:
        """The published rate in percent, and of what it is where that is not the test set; nothing if there is none."""
        if self.published is None or self.paper is None:
            return ()
        return (f"{100 * self.published:.2f}", *([self.paper.of] if self.paper.of else []))

    @property
    def published_cell(self) -> str:
        """`published_words` for a column of its own, "" where there are none."""
        return " ".join(word if number == 0 else f"({word})" for number, word in enumerate(self.published_words))

    @property
    def panel(self) -> tuple[str, str, int]:
        """What is compared with each other: lines of one protocol, data set and number of labels."""
        return self.protocol, self.data, self.labels

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
    measure = METRICS[table]
    best: dict[tuple[object, ...], Record] = {}
    own: dict[tuple[object, ...], list[Record]] = {}
    for record in newest(records):
        if family(record.protocol) != table or not whole(record) or record.representation.get("bn", "") not in BN:
            continue
        # Without the draws' lists, of which one record may have more than another.
        key = (
            _protocol(record), record.dataset["name"], record.labels, record.classifier, record.seed, _made_by(record),
        )  # fmt: skip
        if record.protocol.endswith(OWN_GRID_SUFFIX):
            own.setdefault(key, []).append(record)
        elif key not in best or len(record.test_correct) >= len(best[key].test_correct):
            best[key] = record
    for measured in best.keys() & own.keys():
        wider = [record for record in own[measured] if _widens(record, best[measured])]
        # Of equal ones a wider grid.
        best[measured] = max([*wider, best[measured]], key=lambda record: record.validation_accuracy)
    making = _seconds_of_making(records)
    lines = _told_apart([_measured(record, measure, making[_made_by(record)]) for record in best.values()])
    paired = {(line.panel, line.paper) for line in lines}
    for protocol, data, labels in dict.fromkeys(line.panel for line in lines):
        for paper in () if data.startswith(GENERATED) else paper_rows(table):
            if (paper.protocol, paper.labels) == (protocol, labels) and ((protocol, data, labels), paper) not in paired:
                lines.append(
                    Compared(
                        protocol=protocol,
                        data=data,
                        labels=labels,
                        method=paper.method,
                        classifier="",
                        paper=paper,
                        published=_rate(paper, measure),
                    )
                )
    sign = 1 if measure == "error" else -1
    return sorted(lines, key=lambda line: (line.panel, sign * line.rate))


def _protocol(record: Record) -> str:
    """The name of its protocol, whatever the grid."""
    return record.protocol.removesuffix(OWN_GRID_SUFFIX)


def _made_by(record: Record) -> str:
    """What decides a record's features, the images included."""
    settings = {name: value for name, value in record.representation.items() if name != "stored_as"}
    return json.dumps(
        [settings, record.dataset["train_fingerprint"], record.dataset["test_fingerprint"]], sort_keys=True
    )


def _widens(record: Record, edge: Record) -> bool:
    """Whether the grid of `record` goes on where `edge` chose the last value of its own, and did not end too early."""
    if not edge.C_at_edge or record.C_at_edge:
        return False
    tried, wider = ([float(value) for value in of.validation_correct] for of in (edge, record))
    return max(wider) > edge.C if max(tried) == edge.C else min(wider) < edge.C


def _seconds_of_making(records: list[Record]) -> dict[str, float]:
    """How long features took to make; a record of features that were in the store already says 0."""
    longest: dict[str, float] = {}
    for record in records:
        key = _made_by(record)
        longest[key] = max(longest.get(key, 0.0), record.seconds.get("features", 0.0))
    return longest


def _told_apart(lines: list[Compared]) -> list[Compared]:
    """Lines that would read alike get the layers, and where these are the same their records, added to the method."""

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
    row, paper = measured_row(record, measure), _counterpart(record)
    row = replace(row, seconds=(row.seconds or 0.0) - record.seconds.get("features", 0.0) + making)
    rate = None if paper is None else _rate(paper, measure)
    return Compared(
        protocol=_protocol(record),
        data=row.data,
        labels=record.labels,
        method=row.method,
        classifier=record.classifier,
        paper=paper,
        published=rate,
        row=row,
    )


def _counterpart(record: Record) -> PaperRow | None:
    if record.dataset["name"].startswith(GENERATED):
        return None
    untrained = record.representation.get("representation") == "discriminator" and record.trained_on == "nothing"
    return counterpart(_protocol(record), record.labels, record.representation, record.classifier, not untrained)


def _rate(paper: PaperRow, measure: str) -> float:
    return round(paper.accuracy if measure == "accuracy" else 1 - paper.accuracy, 6)


def to_csv(lines: list[Compared]) -> str:
    """The lines as CSV: rates as fractions to six digits."""
    table = [
        {
            "protocol": line.protocol, "data": line.data, "labels": line.labels, "method": line.method,
            "classifier": line.classifier, "paper": line.published,
            **{name: getattr(line.row, field, None) for name, field in MEASURED.items()},
        }
        for line in lines
    ]  # fmt: skip
    return (
        pd.DataFrame(table, columns=CSV_COLUMNS)
        .convert_dtypes()
        .to_csv(index=False, float_format="%.6g", lineterminator="\n")
    )


def to_markdown(lines: list[Compared], measure: str) -> str:
    """The lines as Markdown, a section a protocol and number of labels; rates in percent."""
    sections = []
    for title, panel in panels_of_lines(lines):
        text = [
            f"### {title}", "",
            f"| method | classifier | trained on | units | features | paper {measure} % | measured {measure} % "
            "| std of draws | 95% interval | of | C or k | seconds | seed | record |",
            "|---|---|---|---:|---:|---:|---:|---:|---|---|---:|---:|---:|---|",
        ]  # fmt: skip
        sections.append("\n".join(text + [_markdown_line(line) for line in panel]))
    return "\n\n".join(sections) + "\n"


def _markdown_line(line: Compared) -> str:
    row = line.row
    if row is None:
        return markdown_line((line.method, "", "", "", "", line.published_cell, "not measured", *[""] * 7))
    spread = None if row.std_of_draws is None else f"{100 * row.std_of_draws:.2f}"
    return markdown_line((
        line.method, line.classifier, row.trained_on, row.max_units and f"{row.max_units:,}",
        row.features and f"{row.features:,}", line.published_cell, f"{100 * row.rate:.2f}", spread, interval_cell(row),
        row.ci95_of, C_cell(row), f"{row.seconds:,.0f}", row.seed, row.record,
    ))  # fmt: skip


def panels_of_lines(lines: list[Compared]) -> Iterator[tuple[str, list[Compared]]]:
    for key, panel in groupby(lines, lambda line: line.panel):
        protocol, data, labels = key
        yield f"{protocol}: {data}, {labels:,} labels", list(panel)
