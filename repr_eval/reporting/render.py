"""Tables as CSV, Markdown and HTML, from a list of columns; and the words that several tables share.

A table is a list of `Column`s and any rows that they take their values from. CSV holds the values themselves, Markdown
and HTML show them by the columns' formats. Each text is escaped for where it stands: a method may be called
"<script>" or "a|b" by whoever named it.
"""

import csv
import html
import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from repr_eval.records import L2_SVM_NAME
from repr_eval.reporting.rows import Row
from repr_eval.representations.layers import Layers

CONVERGED = 1e-3  # relative duality gap that the protocols ask of every fit


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, what it takes from a row, and how that is shown.

    `value` gives a number, a text or None (an empty cell, as is NaN). `format` is a format specification of Python's
    ("" for str()); texts are shown as they are, whatever it says. `right`: numbers, aligned to the right.
    """

    name: str
    value: Callable[[Any], object]
    format: str = ""
    right: bool = False

    def shown(self, row: Any) -> str:
        """The cell as a reader sees it, not yet escaped."""
        value = self.value(row)
        if _is_empty(value):
            return ""
        return value if isinstance(value, str) else format(value, self.format)


def to_csv(columns: Sequence[Column], rows: Iterable[Any]) -> str:
    """The values as CSV with a header; floats to six digits, empty cells for None and NaN."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([one_line(column.name) for column in columns])
    writer.writerows([[csv_cell(column.value(row)) for column in columns] for row in rows])
    return text.getvalue()


def to_markdown(columns: Sequence[Column], rows: Iterable[Any]) -> str:
    """A Markdown table, one line a row."""
    lines = [
        markdown_line(column.name for column in columns),
        f"|{'|'.join('---:' if column.right else '---' for column in columns)}|",
        *(markdown_line(column.shown(row) for column in columns) for row in rows),
    ]
    return "\n".join(lines) + "\n"


def to_html(columns: Sequence[Column], rows: Iterable[Any]) -> str:
    """An HTML table, for a page or a notebook; without a heading where no column has a name."""
    lines = ["<table>"]
    if any(column.name for column in columns):
        lines.append(f"<thead>{_html_line('th', columns, [column.name for column in columns])}</thead>")
    lines.append("<tbody>")
    lines += [_html_line("td", columns, [column.shown(row) for column in columns]) for row in rows]
    return "\n".join([*lines, "</tbody>", "</table>"]) + "\n"


def markdown_sections(tables: Iterable[tuple[str, str]]) -> str:
    """(title, table in Markdown) as sections with headings."""
    return "\n".join(f"### {markdown_text(title)}\n\n{table}" for title, table in tables)


def one_line(text: str) -> str:
    """`text` without control characters and line ends, and single spaces between words."""
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in text).split())


# What Markdown would take for its own: backslashes, pipes, tags, references to characters, code, emphasis, links.
# An underscore within a word, a bracket that no link follows and an ampersand before a space are text as they are.
_MARKDOWN = re.compile(r"[\\|<`*~]|&(?=#?\w+;)|(?<!\w)_|_(?!\w)|(?<=\])\(")


def markdown_text(text: str) -> str:
    """`text` in one line, for a cell or a heading of Markdown to show letter for letter."""
    return _MARKDOWN.sub(lambda match: "\\|" if match[0] == "|" else f"&#{ord(match[0])};", one_line(text))


def html_text(text: str) -> str:
    """`text` in one line, for an element or an attribute of HTML."""
    return html.escape(one_line(text))


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def csv_cell(value: object) -> object:
    """What CSV holds of a value: floats to six digits, "" for None and NaN, texts in one line."""
    if _is_empty(value):
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return one_line(value) if isinstance(value, str) else str(value)


def markdown_line(cells: Iterable[str]) -> str:
    """A line of a Markdown table, its cells escaped."""
    return f"| {' | '.join(map(markdown_text, cells))} |"


def _html_line(element: str, columns: Sequence[Column], cells: Sequence[str]) -> str:
    aligned = ' style="text-align: right"'
    texts = (
        f"<{element}{aligned * column.right}>{html_text(cell)}</{element}>"
        for column, cell in zip(columns, cells, strict=True)
    )
    return f"<tr>{''.join(texts)}</tr>"


# Words that several tables share.


def percent(fraction: float | None) -> float | None:
    """A fraction as percent, for a column with the format ".2f"."""
    return None if fraction is None else 100 * fraction


def interval_words(row: Row) -> str:
    """The 95% interval in percent."""
    if row.ci95_low is None or row.ci95_high is None:
        return ""
    return f"{100 * row.ci95_low:.2f} to {100 * row.ci95_high:.2f}"


def setting_words(row: Row) -> str:
    """The chosen setting of the classifier, and what is wrong with the choice or the fit."""
    if row.C is None:
        return ""
    gap = row.largest_gap or 0
    wrong = " (edge)" * bool(row.C_at_edge) + (f" (NOT CONVERGED: gap {gap:.2g})" if gap > CONVERGED else "")
    return f"{row.C:g}{wrong}"


def method_words(row: Row) -> str:
    """The method, with layers and number of features where these are not all the layers of the network."""
    if not isinstance(row.layers, Layers) or row.layers.complete:
        return row.method
    layers = str(row.layers).partition(" of ")[0]
    return f"{row.method}, layers {layers} ({row.features:,} features)"


def with_classifier(method: str, classifier: str, separator: str) -> str:
    """The method, and the classifier where that is another than the L2-SVM."""
    return method if classifier in ("", L2_SVM_NAME) else f"{method}{separator}{classifier}"


def spread_words(row: Row) -> str:
    """The standard deviation of the draws in percent, or what the paper prints after its plus-minus sign."""
    if row.paper_spread is not None:
        return f"printed: {100 * row.paper_spread:.1f}"
    return "" if row.std_of_draws is None else f"{100 * row.std_of_draws:.2f}"


def panel_words(protocol: str, data: str, labels: int | None) -> str:
    """What the rows of a section or a panel have in common."""
    return f"{protocol}: {data}, {labels:,} labels"
