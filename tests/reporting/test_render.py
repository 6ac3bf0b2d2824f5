"""One list of columns as CSV, Markdown and HTML: escaped for each, and the same to the digit."""

import csv
import html
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from factories import record
from matplotlib.figure import Figure

from repr_eval.datasets import metric_of
from repr_eval.records import append_record, read_records
from repr_eval.reporting import ablations, methods, overview, tables
from repr_eval.reporting.figures import methods_figure
from repr_eval.reporting.render import Column, markdown_text, to_csv, to_html, to_markdown
from repr_eval.reporting.rows import table_rows
from repr_eval.reporting.write import write_reports

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
NAMES = [
    "<script>alert('x')</script>", "a|b", "a\\|b", "a\nb", "a\r\n\x1b[31mb\x00", "&lt;b&gt;", "Lee & Ng",
    '"quoted", so', "a*b*c", "`code`", "_init_", "my_encoder", "[here](http://x)", "[Coates 2011]", "~~gone~~", "$x$",
    "–", "",
]  # fmt: skip
SHOWN = [re.sub(r"[\x00-\x20]+", " ", name).strip() for name in NAMES]


def cells_of_markdown(line: str) -> list[str]:
    """The cells as they are shown: split at bare pipes, escapes undone."""
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    return [html.unescape(cell.replace("\\|", "|")) for cell in cells]


def lines_of_markdown(text: str) -> list[list[str]]:
    lines = [cells_of_markdown(line) for line in text.splitlines()]
    return [lines[0], *lines[2:]]


class _Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[list[str]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.lines.append([])
        if tag in ("td", "th"):
            self.lines[-1].append("")

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.lines[-1][-1] += data


def lines_of_html(text: str) -> tuple[list[list[str]], set[str]]:
    parser = _Cells()
    parser.feed(text)
    return parser.lines, parser.tags


def named(name: str) -> Column:
    return Column(name, lambda row: row)


def test_a_name_is_shown_letter_for_letter_in_every_format() -> None:
    columns = [named("name"), Column("again", lambda row: row, right=True)]
    expected = [["name", "again"], *([shown, shown] for shown in SHOWN)]
    assert lines_of_markdown(to_markdown(columns, NAMES)) == expected
    lines, tags = lines_of_html(to_html(columns, NAMES))
    assert lines == expected
    assert tags == {"table", "thead", "tbody", "tr", "th", "td"}
    assert list(csv.reader(io.StringIO(to_csv(columns, NAMES)))) == expected


@pytest.mark.parametrize("name", NAMES)
def test_headings_are_escaped_too(name: str) -> None:
    shown = SHOWN[NAMES.index(name)]
    assert lines_of_markdown(to_markdown([named(name)], [])) == [[shown]]
    assert next(csv.reader(io.StringIO(to_csv([named("first"), named(name)], []))))[1] == shown
    if name:
        assert lines_of_html(to_html([named(name)], []))[0] == [[shown]]


def test_what_is_escaped_in_markdown_by_hand() -> None:
    assert markdown_text("a|b") == "a\\|b"
    assert markdown_text("<b>") == "&#60;b>"
    assert markdown_text("a\\|b") == "a&#92;\\|b"
    assert markdown_text("&amp; & Ng_x [2011]") == "&#38;amp; & Ng_x [2011]"
    assert markdown_text("[a](b) _c_ *d* `e`") == "[a]&#40;b) &#95;c&#95; &#42;d&#42; &#96;e&#96;"


def test_no_cell_ends_its_line() -> None:
    columns = [named("name")]
    for text in (to_markdown(columns, NAMES), to_csv(columns, NAMES)):
        assert len(text.splitlines()) == len(NAMES) + text.startswith("|") + 1
        assert not set(map(chr, (*range(10), *range(11, 32), 127))) & set(text)


def test_values_are_formatted_and_empty_cells_stay_empty() -> None:
    columns = [
        Column("count", lambda row: row[0], ",", right=True),
        Column("rate %", lambda row: row[1], ".2f", right=True),
        Column("edge", lambda row: row[2]),
    ]
    rows: list[tuple[Any, ...]] = [(28_672, 1 / 3, True), (None, math.nan, None), (0, "not measured", False)]
    assert to_markdown(columns, rows) == (
        "| count | rate % | edge |\n|---:|---:|---|\n"
        "| 28,672 | 0.33 | True |\n|  |  |  |\n| 0 | not measured | False |\n"
    )
    assert to_csv(columns, rows) == "count,rate %,edge\n28672,0.333333,True\n,,\n0,not measured,False\n"
    assert '<td style="text-align: right">28,672</td><td style="text-align: right">0.33</td><td>True</td>' in to_html(
        columns, rows
    )


def test_without_names_there_is_no_heading() -> None:
    assert to_html([named("")], ["a"]) == "<table>\n<tbody>\n<tr><td>a</td></tr>\n</tbody>\n</table>\n"


def all_tables() -> list[tuple[str, list[Column], list[Any]]]:
    """(name, columns, rows) of every table of the committed records, those of the CSVs too."""
    records = read_records(RESULTS)
    made: list[tuple[str, list[Column], list[Any]]] = []
    everything: list[methods.Compared] = []
    for name in ("cifar10", "svhn"):
        rows, lines, measure = table_rows(records, name), methods.compared(records, name), metric_of(name)
        everything += lines
        made += [
            (name, tables.columns(measure), rows),
            (f"{name} as CSV", tables.csv_columns(measure), rows),
            (f"{name}-methods", methods.columns(measure), lines),
            (f"{name}-methods as CSV", methods.csv_columns(), lines),
        ]
    measurements, of_methods = overview.methods_of(everything)
    made.append(("overview", overview.columns(measurements), of_methods))
    for name, study in ablations.STUDIES.items():
        made.append((name, ablations.columns("accuracy", True), study(records)))
        made.append((f"{name} as CSV", ablations.csv_columns(study(records)), study(records)))
    return made


def test_csv_markdown_and_html_of_a_table_agree_to_the_digit() -> None:
    for name, columns, rows in all_tables():
        assert len(rows) > 3, name
        in_markdown = lines_of_markdown(to_markdown(columns, rows))
        assert in_markdown == lines_of_html(to_html(columns, rows))[0], name
        in_csv = list(csv.reader(io.StringIO(to_csv(columns, rows))))
        assert in_csv[0] == in_markdown[0], name
        for row, exact, shown in zip(rows, in_csv[1:], in_markdown[1:], strict=True):
            for column, number, words in zip(columns, exact, shown, strict=True):
                value = column.value(row)
                if isinstance(value, float):
                    assert float(number) == pytest.approx(value, rel=5e-6), (name, column.name)
                    assert words == format(value, column.format), (name, column.name)
                else:
                    assert words.replace(",", "") == number.replace(",", ""), (name, column.name)


def test_a_rate_is_the_same_in_the_csv_and_in_the_table_for_readers() -> None:
    rows = table_rows(read_records(RESULTS), "svhn")
    (fraction,) = (column for column in tables.csv_columns("error") if column.name == "error")
    (in_percent,) = (column for column in tables.columns("error") if column.name == "error %")
    for row in rows:
        assert in_percent.shown(row) == f"{100 * row.rate:.2f}"
        assert float(to_csv([fraction], [row]).split()[1]) == pytest.approx(row.rate, rel=5e-6)


def test_reports_of_a_method_with_a_hostile_name(tmp_path: Path) -> None:
    name = "<script>|$a$\n| b"
    one = record(method=name, trained_on="*all* of\nit", dataset=record().dataset | {"name": "my\n# <data>"})
    append_record(tmp_path, one)
    append_record(tmp_path, replace(one, representation={"representation": "own"}, layers="a|b, c"))
    for path in write_reports(tmp_path):
        if path.suffix == ".md":
            text = path.read_text(encoding="utf-8")
            assert "<script>" not in text
            assert "<data>" not in text
            assert not any(line.startswith("# ") for line in text.splitlines())
            widths = {len(cells_of_markdown(line)) for line in text.splitlines() if line.startswith("|")}
            assert len(widths) == 1, path
    lines = methods.compared([one], "cifar10")
    drawn: Figure = methods_figure(lines, "accuracy")
    assert r"<script>|\$a\$ | b" in {label.get_text() for label in drawn.axes[0].get_yticklabels()}
