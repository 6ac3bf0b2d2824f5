"""Rows as CSV and Markdown, and the cells that all tables share."""

from collections.abc import Iterable
from dataclasses import asdict

import pandas as pd

from repr_eval.records import L2_SVM_NAME
from repr_eval.reporting.rows import Row

CONVERGED = 1e-3  # relative duality gap that the protocols ask of every fit


def C_cell(row: Row) -> str:
    """C as a table shows it, with what is wrong with it."""
    if row.C is None:
        return ""
    gap = row.largest_gap or 0
    return (
        f"{row.C:g}" + " (edge)" * bool(row.C_at_edge) + (f" (NOT CONVERGED: gap {gap:.2g})" if gap > CONVERGED else "")
    )


def markdown_line(cells: Iterable[object]) -> str:
    """A line of a Markdown table; None is an empty cell."""
    texts = ("" if cell is None else " ".join(str(cell).replace("|", "\\|").split()) for cell in cells)
    return "| " + " | ".join(texts) + " |"


def frame(rows: list[Row], measure: str) -> pd.DataFrame:
    """Rows as a data frame with nullable columns; the rate's column is called `measure`."""
    table = pd.DataFrame([asdict(row) for row in rows], columns=list(Row.__dataclass_fields__))
    return table.convert_dtypes().rename(columns={"rate": measure})


def to_csv(rows: list[Row], measure: str) -> str:
    """`frame` as CSV, numbers to six digits."""
    return frame(rows, measure).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def to_markdown(rows: list[Row], measure: str) -> str:
    """Rows as Markdown, a section a protocol; rates in percent."""
    sections = []
    for protocol in dict.fromkeys(row.protocol for row in rows):
        lines = [
            f"### {protocol}",
            "",
            f"| method | source | data | trained on | layers | features | labels | draws | {measure} % | std of draws "
            "| 95% interval | of | C | bn | seed | record |",
            "|---|---|---|---|---|---:|---:|---:|---:|---:|---|---|---:|---|---:|---|",
        ]
        lines += [_markdown_line(row) for row in rows if row.protocol == protocol]
        sections.append("\n".join(lines))
    return "\n\n".join(sections) + "\n"


def _markdown_line(row: Row) -> str:
    spread = "" if row.std_of_draws is None else f"{100 * row.std_of_draws:.2f}"
    if row.paper_spread is not None:
        spread = f"printed: {100 * row.paper_spread:.1f}"
    method = row.method if row.classifier in ("", L2_SVM_NAME) else f"{row.method}; {row.classifier}"
    return markdown_line((
        method, row.source, row.data, row.trained_on, row.layers, row.features and f"{row.features:,}",
        row.labels and f"{row.labels:,}", row.draws, f"{100 * row.rate:.2f}", spread, interval_cell(row), row.ci95_of,
        C_cell(row), row.bn, row.seed, row.record,
    ))  # fmt: skip


def interval_cell(row: Row) -> str:
    """The 95% interval in percent."""
    if row.ci95_low is None or row.ci95_high is None:
        return ""
    return f"{100 * row.ci95_low:.2f} to {100 * row.ci95_high:.2f}"
