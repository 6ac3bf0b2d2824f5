"""Every table and figure of a folder of records, rebuilt from the records alone."""

from pathlib import Path

from repr_eval.datasets import metric_of
from repr_eval.records import Record, locked_records
from repr_eval.reporting import ablations, methods, overview, tables
from repr_eval.reporting.figures import layers_figure, methods_figure, save_figure
from repr_eval.reporting.rows import table_names, table_rows
from repr_eval.system.files import write_text


def write_reports(folder: str | Path) -> list[Path]:
    """Rebuild NAME.csv and NAME.md of every table and study that has a measured row in `folder`, and the pictures.

    Under the records' lock: of runs that end at once, the last to write has read every record.
    """
    folder = Path(folder)
    with locked_records(folder) as records:
        return _write_tables(folder, records) + _write_comparisons(folder, records) + _write_studies(folder, records)


def _write_tables(folder: Path, records: list[Record]) -> list[Path]:
    written = []
    for table in table_names(records):
        rows, measure = table_rows(records, table), metric_of(table)
        if any(row.source == "measured" for row in rows):
            written += _write_both(folder / table, tables.to_csv(rows, measure), tables.to_markdown(rows, measure))
    return written


def _write_comparisons(folder: Path, records: list[Record]) -> list[Path]:
    written: list[Path] = []
    everything: list[methods.Compared] = []
    for table in table_names(records):
        lines, measure = methods.compared(records, table), metric_of(table)
        if not lines:
            continue
        everything += lines
        stem = folder / f"{table}-methods"
        written += _write_both(stem, methods.to_csv(lines), methods.to_markdown(lines, measure))
        written.append(stem.with_suffix(".png"))
        save_figure(methods_figure(lines, measure), written[-1])
    if text := overview.to_markdown(everything):
        written.append(folder / "overview.md")
        write_text(written[-1], text)
    return written


def _write_studies(folder: Path, records: list[Record]) -> list[Path]:
    written = []
    for name, study in ablations.STUDIES.items():
        rows = study(records)
        if not rows:
            continue
        written += _write_both(folder / name, ablations.to_csv(rows), ablations.to_markdown(rows))
        if name == "layers":
            written.append(folder / "layers.png")
            save_figure(layers_figure(rows), written[-1])
    return written


def _write_both(stem: Path, csv: str, markdown: str) -> list[Path]:
    paths = [stem.with_suffix(".csv"), stem.with_suffix(".md")]
    for path, text in zip(paths, (csv, markdown), strict=True):
        write_text(path, text)
    return paths
