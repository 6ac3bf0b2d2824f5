"""The table of every data set: the paper's rows and the measured ones, as CSV and Markdown."""

from repr_eval.reporting import render
from repr_eval.reporting.render import Column, interval_words, method_words, percent, setting_words, spread_words
from repr_eval.reporting.rows import Row

BALANCED, TOP5 = "balanced accuracy %", "top-5 accuracy %"


def csv_columns(measure: str) -> list[Column]:
    """The columns of the CSV: all values of a row; rates are fractions in [0, 1], in a column called `measure`."""
    return [
        Column("protocol", lambda row: row.protocol),
        Column("data", lambda row: row.data),
        Column("method", method_words),
        Column("classifier", lambda row: row.classifier),
        Column("source", lambda row: row.source),
        Column("trained_on", lambda row: row.trained_on),
        Column("layers", lambda row: str(row.layers)),
        Column("features", lambda row: row.features),
        Column("max_units", lambda row: row.max_units),
        Column("labels", lambda row: row.labels),
        Column("draws", lambda row: row.draws),
        Column(measure, lambda row: row.rate),
        Column("std_of_draws", lambda row: row.std_of_draws),
        Column("ci95_low", lambda row: row.ci95_low),
        Column("ci95_high", lambda row: row.ci95_high),
        Column("ci95_of", lambda row: row.ci95_of),
        Column("paper_spread", lambda row: row.paper_spread),
        Column("C", lambda row: row.C),
        Column("C_at_edge", lambda row: row.C_at_edge),
        Column("bn", lambda row: row.bn),
        Column("seed", lambda row: row.seed),
        Column("largest_gap", lambda row: row.largest_gap),
        Column("seconds", lambda row: row.seconds),
        Column("balanced_accuracy", lambda row: row.balanced_accuracy),
        Column("top5_accuracy", lambda row: row.top5_accuracy),
        Column("record", lambda row: row.record),
    ]


def columns(measure: str) -> list[Column]:
    """The columns for readers: rates in percent."""
    return [
        Column("method", lambda row: render.with_classifier(method_words(row), row.classifier, "; ")),
        Column("source", lambda row: row.source),
        Column("data", lambda row: row.data),
        Column("trained on", lambda row: row.trained_on),
        Column("layers", lambda row: str(row.layers)),
        Column("features", lambda row: row.features, ",", right=True),
        Column("labels", lambda row: row.labels, ",", right=True),
        Column("draws", lambda row: row.draws, right=True),
        Column(f"{measure} %", lambda row: percent(row.rate), ".2f", right=True),
        Column("std of draws", spread_words, right=True),
        Column("95% interval", interval_words),
        Column("of", lambda row: row.ci95_of),
        Column(BALANCED, lambda row: percent(row.balanced_accuracy), ".2f", right=True),
        Column(TOP5, lambda row: percent(row.top5_accuracy), ".2f", right=True),
        Column("C", setting_words, right=True),
        Column("bn", lambda row: row.bn),
        Column("seed", lambda row: row.seed, right=True),
        Column("record", lambda row: row.record),
    ]


def _present(columns: list[Column], rows: list[Row]) -> list[Column]:
    """The columns without balanced and top-5 accuracy where no row has them: older records do not."""
    some = ("balanced_accuracy", "top5_accuracy", BALANCED, TOP5)
    return [
        column for column in columns if column.name not in some or any(column.value(row) is not None for row in rows)
    ]


def to_csv(rows: list[Row], measure: str) -> str:
    """Rows as CSV, numbers to six digits; the rate's column is called `measure`."""
    return render.to_csv(_present(csv_columns(measure), rows), rows)


def to_markdown(rows: list[Row], measure: str) -> str:
    """Rows as Markdown, a section for every protocol; rates in percent."""
    protocols = dict.fromkeys(row.protocol for row in rows)
    shown = _present(columns(measure), rows)
    return render.markdown_sections(
        (protocol, render.to_markdown(shown, [row for row in rows if row.protocol == protocol]))
        for protocol in protocols
    )
