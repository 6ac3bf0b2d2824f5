"""One table of everything: a row a method, a column a measurement, the published figure beside the measured one.

Built from the lines of `methods`, which say what stands behind each number. A measurement is a protocol, data set and
number of labels; it has a second column where k nearest neighbours were tried instead of the L2-SVM.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from repr_eval.datasets import metric_of
from repr_eval.reporting import render
from repr_eval.reporting.methods import Compared
from repr_eval.reporting.render import Column
from repr_eval.reporting.rows import table_order

NEIGHBOURS = "kNN"  # that kind of classifier


class Measurement(NamedTuple):
    """What the numbers of a column have in common."""

    table: str
    panel: tuple[str, str, int]  # protocol, data set and number of labels
    by_neighbours: bool

    @property
    def order(self) -> tuple[object, ...]:
        """Sorts by table, in their order, then by panel; nearest neighbours after the L2-SVM."""
        return table_order(self.table), self.panel, self.by_neighbours

    @property
    def heading(self) -> str:
        _, data, labels = self.panel
        return NEIGHBOURS if self.by_neighbours else f"{data}, {labels:,} labels: {metric_of(self.table)} %"


@dataclass
class Method:
    """The results of one method; a supervised one has its classifier's name."""

    name: str
    trained_on: str
    cells: dict[Measurement, Compared] = field(default_factory=dict)

    def order(self, measurements: list[Measurement]) -> tuple[int, float]:
        """Sorts by the leftmost measurement that a method has, the best first; methods that have it come first."""
        leftmost = next(number for number, measurement in enumerate(measurements) if measurement in self.cells)
        line = self.cells[measurements[leftmost]]
        return leftmost, line.rate if metric_of(line.table) == "error" else -line.rate


def methods_of(lines: Iterable[Compared]) -> tuple[list[Measurement], list[Method]]:
    """The measurements and the methods, in the order of the table's columns and rows.

    Digits that this package draws are left out: they say nothing about a method.
    """
    by_name: dict[tuple[str, str], Method] = {}
    measurements = set()
    # Of several seeds of one method the first counts, whatever its result.
    for line in sorted(lines, key=lambda line: line.seed or 0):
        if line.generated:
            continue
        measurement = Measurement(line.table, line.panel, line.kind == NEIGHBOURS)
        name = line.method if measurement.by_neighbours else line.name
        method = by_name.setdefault((name, line.trained_on), Method(name, line.trained_on))
        method.cells.setdefault(measurement, line)
        measurements.add(measurement)
    order = sorted(measurements, key=lambda measurement: measurement.order)
    return order, sorted(by_name.values(), key=lambda method: method.order(order))


def columns(measurements: list[Measurement]) -> list[Column]:
    """The columns: the method, what it was trained on, and one for every measurement."""
    return [
        Column("method", lambda method: method.name),
        Column("trained on", lambda method: method.trained_on),
        *(_column(measurement) for measurement in measurements),
    ]


def _column(measurement: Measurement) -> Column:
    return Column(measurement.heading, lambda method: _cell(method.cells.get(measurement)), right=True)


def to_markdown(lines: Iterable[Compared]) -> str:
    """The table as Markdown, rates in percent, published ones in brackets; "" where there are no lines."""
    measurements, methods = methods_of(lines)
    return render.to_markdown(columns(measurements), methods) if methods else ""


def _cell(line: Compared | None) -> str:
    if line is None:
        return ""
    measured = [f"{100 * line.row.rate:.2f}"] if line.row else []
    published = [f"({' '.join(line.published_words)})"] if line.published_words else []
    return " ".join(measured + published)
