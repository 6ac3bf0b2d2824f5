"""The page as a whole: what stands in it, how large it may be, and the file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from repr_eval.datasets import metric_of
from repr_eval.predictions import read_predictions
from repr_eval.records import Record, read_records
from repr_eval.reporting import methods
from repr_eval.reporting.methods import panels_of_lines
from repr_eval.reporting.page import table
from repr_eval.reporting.page.agreement import agreement
from repr_eval.reporting.page.charts import highest, methods_chart
from repr_eval.reporting.page.evidence import Confusion, confusion_of, evidence_of
from repr_eval.reporting.page.explored import studies_of
from repr_eval.reporting.page.hardest import hard_sets
from repr_eval.reporting.page.studies import sections
from repr_eval.reporting.page.table import Group, Line
from repr_eval.reporting.page.training import Run, read_run
from repr_eval.reporting.render import one_line
from repr_eval.reporting.rows import table_names
from repr_eval.system.files import write_text
from repr_eval.system.html_page import templates

if TYPE_CHECKING:
    from jinja2 import Environment

NAME = "report.html"
LIMIT = 9_500_000  # bytes of a page
PICTURES = 2_000_000  # of them, of training runs and studies
WHOLE = 1_000  # records with all their evidence: a browser takes long to read more
SHORT = 420  # about the bytes of a line's evidence where that is left out, and of its tags
BARS, MORE_BARS = 14, 100  # of a chart of methods, and of the one below it


@dataclass(frozen=True)
class Extras:
    """What the page shows beside the records, made by those who know of it (`repr_eval.cli.report`)."""

    groups: Mapping[str, Group] = field(default_factory=dict)  # by record
    groups_words: str = ""  # how they came about, or why there are none
    class_names: Callable[[Record], Sequence[str]] = lambda record: ()
    test_images: Callable[[Record], np.ndarray | None] = lambda record: None  # uint8 [N, S, S, 3]


def write_page(
    folder: str | Path, *, runs: Sequence[str | Path] = (), compare: str | Path | None = None,
    extras: Extras | None = None, limit: int = LIMIT,
) -> Path:  # fmt: skip
    """Write report.html to `folder` from its records; the file's path.

    `runs`: folders of `train-gan`, whose losses and samples are shown. Studies of `explore` are shown where they lie
    in `folder`, in a run's, or in explored/ in one of these. `compare`: another folder of records. The
    page has at most about `limit` bytes, and says what it left out for that. ValueError where there are no
    records, or a folder is no run.
    """
    folder = Path(folder)
    other = None if compare is None else (str(compare), read_records(Path(compare)))
    path = folder / NAME
    text = to_html(read_records(folder), folder, runs=list(map(Path, runs)), other=other, extras=extras, limit=limit)
    write_text(path, text)
    return path


def to_html(
    records: Sequence[Record], folder: Path, *, runs: Sequence[Path] = (),
    other: tuple[str, Sequence[Record]] | None = None, extras: Extras | None = None, limit: int = LIMIT,
) -> str:  # fmt: skip
    """The page as HTML. `folder`: where predictions are read from."""
    if not records:
        raise ValueError(f"{folder}: holds no record; measure something first")
    extras = extras or Extras()
    budget = min(PICTURES, limit // 3)
    explored = studies_of([folder, *runs], budget // 2 if runs else budget)
    shown = _runs(runs, budget - sum(study.size for study in explored))
    hard = hard_sets(records, folder, extras.class_names, extras.test_images)
    headline = _headline(records)
    studies = sections(records)
    lines = table.lines_of(records, extras.groups)
    fixed = sum(one.size for one in shown) + sum(one.size for one in explored) + sum(one.size for one in hard)
    fixed += sum(len(best) + len(others) for _, best, others, _ in headline)
    fixed += sum(len(chart.svg) for section in studies for chart in section.charts)
    told, left_out = _with_evidence(lines, folder, extras, limit - fixed - 40_000)
    compared = agreement(records, other[1], other[0]) if other else None
    names = {"headline": "Methods", "measurements": "Measurements"}
    names = names if headline else {"measurements": "Measurements"}
    names |= {section.id: section.name for section in studies}
    names |= {"hardest": "Hardest images"} if hard else {}
    names |= {"training": "Training"} if shown else {}
    names |= {"explored": "Explored"} if explored else {}
    names |= {"agreement": "Comparison"} if compared else {}
    return _environment().get_template("report.html.j2").render(
        title="repr-eval: " + ", ".join(dict.fromkeys(r.dataset["name"] for r in records)),
        lead=_lead(records), top=_top(records), sections=names.items(), left_out=left_out,
        headline=headline, groups_words=extras.groups_words, filters=_filters(lines), columns=table.COLUMNS,
        lines=told, studies=studies, runs=shown, explored=explored, hardest=hard,
        agreement=compared, source=f"{len(records):,} records",
        css=Markup(_file("report.css")), js=Markup(_file("report.js")),
    )  # fmt: skip


def _runs(folders: Sequence[Path], budget: int) -> list[Run]:
    return [read_run(folder, budget // len(folders)) for folder in folders]


def _lead(records: Sequence[Record]) -> str:
    n = len({record.method for record in records})
    days = _ends([record.time[:10] for record in records])
    return f"{len(records):,} measurements of {n:,} representations, {days}."


def _ends(words: Sequence[str]) -> str:
    low, high = min(words), max(words)
    return low if low == high else f"{low} to {high}"


def _top(records: Sequence[Record]) -> list[tuple[str, str]]:
    """What was measured, where and when."""
    data = {}
    for record in records:
        remark = record.dataset.get("remark") or ""
        words = f"{record.dataset['name']} ({record.test_n:,} test images{', ' * bool(remark)}{remark})"
        data[words] = True
    versions = dict.fromkeys(
        f"{name} {record.versions[name]}"
        for record in records
        for name in ("repr-eval", "torch", "scikit-learn", "numpy")
        if record.versions.get(name, "not installed")[:3] != "not"
    )
    return [
        ("data", "; ".join(data)),
        ("protocols", ", ".join(dict.fromkeys(sorted(record.protocol for record in records)))),
        ("classifiers", ", ".join(dict.fromkeys(record.classifier for record in records))),
        ("measured", f"{_ends([record.time[:16].replace('T', ' ') for record in records])} UTC"),
        ("machines", "; ".join(dict.fromkeys(record.machine for record in records))),
        ("versions", ", ".join(versions)),
    ]


def _headline(records: Sequence[Record]) -> list[tuple[str, Markup, Markup, int]]:
    """(title, chart of the best, chart of the others, their number), of every protocol, data and number of labels."""
    charts = []
    for name in table_names(records):
        lines, measure = methods.compared(list(records), name), metric_of(name)
        for title, panel in panels_of_lines(lines):
            top = highest(panel)
            best, others = (
                Markup(methods_chart(title, measure, part, top) if part else "")
                for part in (panel[:BARS], panel[BARS : BARS + MORE_BARS])
            )
            charts.append((f"{title}: {measure}, %", best, others, max(0, min(len(panel) - BARS, MORE_BARS))))
    return charts


def _filters(lines: Sequence[Line]) -> list[tuple[str, str, list[str]]]:
    """(column, heading, values) of the lists to choose from."""
    rows = [line.row for line in lines]
    return [
        ("data", "data set", _values(row.data for row in rows)),
        ("protocol", "protocol", _values(row.protocol for row in rows)),
        ("classifier", "classifier", _values(row.classifier or "published" for row in rows)),
    ]


def _values(words: Any) -> list[str]:
    return sorted(dict.fromkeys(words))


def _with_evidence(
    lines: Sequence[Line], folder: Path, extras: Extras, budget: int
) -> tuple[list[tuple[Line, list[table.Cell], Markup]], list[str]]:
    """Every line with its cells and its evidence as HTML; the newest records' evidence first, while there is room."""
    environment = _environment()
    whole, short = environment.get_template("evidence.html.j2"), environment.get_template("short.html.j2")
    cells = [table.cells_of(line) for line in lines]
    room = budget - sum(SHORT + sum(20 + len(one.words) + len(one.value) for one in row) for row in cells)
    told: dict[str, Markup] = {}
    width, damaged = len(table.COLUMNS), []
    measured = [line for line in lines if line.record]
    cut = 0
    for line in sorted(measured, key=lambda one: one.record.time if one.record else "", reverse=True):
        record = line.record
        assert record is not None
        text = ""
        if room > 0 and len(told) < WHOLE:
            try:
                confusion = _confusion(folder, record, extras)
            except ValueError as error:
                confusion = None
                damaged.append(f"No confusion matrix of record {record.id}: {error}")
            text = whole.render(e=evidence_of(line, confusion), width=width)
        if not text or len(text) > room:
            room, cut = 0, cut + 1
            text = short.render(e=record, width=width)
        else:
            room -= len(text)
        told[record.id] = Markup(text)
    left_out = damaged
    if cut:
        words = f"For the size of this page, {cut:,} of {len(measured):,} records, the oldest, have no evidence "
        left_out.append(words + "here but their command; records.jsonl holds it.")
    evidence = [told.get(line.row.record, Markup()) for line in lines]
    return list(zip(lines, cells, evidence, strict=True)), left_out


def _confusion(folder: Path, record: Record, extras: Extras) -> Confusion | None:
    predictions = read_predictions(folder, record)
    return None if predictions is None else confusion_of(predictions, extras.class_names(record))


@cache
def _environment() -> "Environment":
    """Templates that escape every text, and write it in one line."""
    return templates(Path(__file__).parent, finalize=_shown)


def _shown(value: Any) -> Any:
    """`value` for the page: texts without control characters and half characters (a JSON text may have both)."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return one_line(value).encode("utf-8", "replace").decode("utf-8")
    return value


def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
