"""Every table and figure of a folder of records, rebuilt from the records alone."""

from pathlib import Path
from typing import TYPE_CHECKING

from repr_eval import comparison, overview, studies
from repr_eval.records import Record, locked_records
from repr_eval.system.files import replacing, write_text
from repr_eval.tables import TABLES, table_rows, to_csv, to_markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_reports(folder: Path) -> list[Path]:
    """Rebuild in `folder` NAME.csv and NAME.md of every table and study that has a measured row, and the pictures.

    Under the records' lock: of runs that end at once, the last to write has read every record.
    """
    with locked_records(folder) as records:
        return _write_tables(folder, records) + _write_comparisons(folder, records) + _write_studies(folder, records)


def _write_tables(folder: Path, records: list[Record]) -> list[Path]:
    written = []
    for table, measure in TABLES.items():
        rows = table_rows(records, table)
        if any(row.source == "measured" for row in rows):
            written += _write_both(folder / table, to_csv(rows, measure), to_markdown(rows, measure))
    return written


def _write_comparisons(folder: Path, records: list[Record]) -> list[Path]:
    written: list[Path] = []
    everything: list[comparison.Compared] = []
    for table, measure in TABLES.items():
        lines = comparison.compared(records, table)
        if not lines:
            continue
        everything += lines
        stem = folder / f"{table}-methods"
        written += _write_both(stem, comparison.to_csv(lines), comparison.to_markdown(lines, measure))
        written.append(stem.with_suffix(".png"))
        save_figure(comparison.figure(lines, measure), written[-1])
    if table := overview.to_markdown(everything):
        written.append(folder / "overview.md")
        write_text(written[-1], table)
    return written


def _write_studies(folder: Path, records: list[Record]) -> list[Path]:
    written = []
    for name, study in studies.STUDIES.items():
        rows = study(records)
        if not rows:
            continue
        written += _write_both(folder / name, studies.to_csv(rows), studies.to_markdown(rows))
        if name == "layers":
            written.append(folder / "layers.png")
            save_figure(studies.layers_figure(rows), written[-1])
    return written


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure to `path` as a PNG, whole or not at all."""
    with replacing(path) as partial:
        figure.savefig(partial, dpi=110)


def _write_both(stem: Path, csv: str, markdown: str) -> list[Path]:
    paths = [stem.with_suffix(".csv"), stem.with_suffix(".md")]
    for path, text in zip(paths, (csv, markdown), strict=True):
        write_text(path, text)
    return paths
