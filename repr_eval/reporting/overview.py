"""One table of everything: a row a method, a column a measurement, the published figure beside the measured one.

Made of the lines of `methods`, which say what stands behind each number. A measurement is a protocol, data set and
number of labels; where k nearest neighbours were tried in the place of the L2-SVM it has a second column for them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from repr_eval.datasets import METRICS
from repr_eval.reporting.methods import GENERATED, Compared
from repr_eval.reporting.render import markdown_line
from repr_eval.reporting.rows import family

NEIGHBOURS = "kNN"  # how that classifier's name begins
Column = tuple[tuple[str, str, int], bool]  # protocol, data set and number of labels; whether by nearest neighbours


@dataclass
class Method:
    """What was found of one method, the supervised ones with their classifier's name."""

    name: str
    trained_on: str
    cells: dict[Column, Compared] = field(default_factory=dict)

    def order(self, columns: list[Column]) -> tuple[int, float]:
        """Sorts the best first by the leftmost column that a method has; those that have it before those without."""
        leftmost = next(number for number, column in enumerate(columns) if column in self.cells)
        line = self.cells[columns[leftmost]]
        return leftmost, line.rate if _measure(line.protocol) == "error" else -line.rate


def to_markdown(lines: Iterable[Compared]) -> str:
    """The table, rates in percent, published ones in brackets; "" where there are no lines.

    Digits that are drawn by this package have no column: they are no measure of a method.
    """
    by_name: dict[tuple[str, str], Method] = {}
    columns: dict[Column, None] = {}
    # Of several seeds of one method the first, whatever it found.
    for line in sorted(lines, key=lambda line: line.seed or 0):
        if line.data.startswith(GENERATED):
            continue
        by_neighbours = line.classifier.startswith(NEIGHBOURS)
        name = line.method if by_neighbours else line.name
        column = (line.panel, by_neighbours)
        method = by_name.setdefault((name, line.trained_on), Method(name, line.trained_on))
        method.cells.setdefault(column, line)
        columns[column] = None
    order = sorted(columns, key=lambda column: (list(METRICS).index(family(column[0][0])), column[0], column[1]))
    methods = sorted(by_name.values(), key=lambda method: method.order(order))
    if not methods:
        return ""
    text = [
        markdown_line(["method", "trained on", *map(_heading, order)]),
        "|---|---|" + "---:|" * len(order),
        *(markdown_line([m.name, m.trained_on, *(_cell(m.cells.get(column)) for column in order)]) for m in methods),
    ]
    return "\n".join(text) + "\n"


def _measure(protocol: str) -> str:
    return METRICS[family(protocol)]


def _heading(column: Column) -> str:
    (protocol, data, labels), by_neighbours = column
    return NEIGHBOURS if by_neighbours else f"{data}, {labels:,} labels: {_measure(protocol)} %"


def _cell(line: Compared | None) -> str:
    if line is None:
        return ""
    measured = [f"{100 * line.row.rate:.2f}"] if line.row else []
    published = [f"({' '.join(line.published_words)})"] if line.published_words else []
    return " ".join(measured + published)
