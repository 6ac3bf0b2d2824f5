"""Tables that set one choice against its alternatives, all else equal: layers, batch-norm statistics. And their plot.

Made from records alone, like `tables`: a group of records that differ in nothing but the choice becomes rows.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from repr_eval.atomic import replacing
from repr_eval.records import Record
from repr_eval.tables import TABLES, identity, measured_row, newest

SHARED = (
    "protocol", "data", "method", "trained_on", "labels", "draws", "layers", "features", "bn", "measure", "rate",
    "std_of_draws", "ci95_low", "ci95_high", "ci95_of", "C", "C_at_edge", "seed", "record",
)  # fmt: skip
LAYER_COLUMNS = (*SHARED, "kind", "last_layer")
BN_COLUMNS = (*SHARED, "difference")
BN_ORDER = ("recomputed", "at-hand", "running")


def layer_study(records: list[Record]) -> pd.DataFrame:
    """One row for every choice of layers, of networks measured with several: each layer alone, the first so many.

    `kind`: "together" for layers 1 to `last_layer` (layer 1 too), "alone" for layer `last_layer`, else "range".
    """
    rows = []
    for group in _groups(records, ("layers",)):
        for record in sorted(group, key=lambda r: (r.representation["layers"][0] > 1, r.representation["layers"])):
            first, last = record.representation["layers"]
            kind = "together" if first == 1 else "alone" if first == last else "range"
            rows.append(_shared(record) | {"kind": kind, "last_layer": last})
    return pd.DataFrame(rows, columns=list(LAYER_COLUMNS)).convert_dtypes()


def batch_norm_study(records: list[Record]) -> pd.DataFrame:
    """One row for every kind of batch-norm statistics, of networks measured with several.

    `difference`: the rate less that with statistics recomputed over the training images.
    """
    rows = []
    for group in _groups(records, ("bn", "bn_images")):
        base = [_shared(r)["rate"] for r in group if r.representation["bn"] == BN_ORDER[0]]
        for record in sorted(group, key=lambda r: BN_ORDER.index(r.representation["bn"])):
            row = _shared(record)
            rows.append(row | {"difference": row["rate"] - base[0] if base else None})
    return pd.DataFrame(rows, columns=list(BN_COLUMNS)).convert_dtypes()


def _groups(records: list[Record], choice: tuple[str, ...]) -> Iterable[list[Record]]:
    """Records alike but for the representation's settings `choice`, where there are several."""
    groups: dict[str, list[Record]] = {}
    for record in newest(records):
        if choice[0] in record.representation:
            groups.setdefault(json.dumps(identity(record, without=choice)), []).append(record)
    return [group for group in groups.values() if len(group) > 1]


def _shared(record: Record) -> dict[str, Any]:
    measure = TABLES[record.protocol.split("/")[0]]
    row = measured_row(record, measure)
    values = {name: getattr(row, name) for name in SHARED if hasattr(row, name)}
    return values | {"method": record.method, "measure": measure}


def to_markdown(study: pd.DataFrame) -> str:
    """A study as Markdown, a section for every protocol, data set and number of labels; rates in percent."""
    sections = []
    for (protocol, data, labels), part in study.groupby(["protocol", "data", "labels"], sort=False):
        measure = part["measure"].iloc[0]
        extra = "difference" in study.columns
        lines = [
            f"### {protocol}: {data}, {labels:,} labels",
            "",
            f"| method | layers | features | bn | {measure} % | "
            + "difference, points | " * extra
            + "std of draws | 95% interval | of | C | record |",
            "|---|---|---:|---|---:|" + "---:|" * extra + "---:|---|---|---:|---|",
        ]
        lines += [_markdown_line(row, extra) for _, row in part.iterrows()]
        sections.append("\n".join(lines))
    return "\n\n".join(sections) + "\n"


def _markdown_line(row: "pd.Series[Any]", extra: bool) -> str:
    cells = [row["method"], row["layers"], f"{row['features']:,}", row["bn"], f"{100 * row['rate']:.2f}"]
    if extra:
        cells.append("" if pd.isna(row["difference"]) else f"{100 * row['difference']:+.2f}")
    cells += [
        "" if pd.isna(row["std_of_draws"]) else f"{100 * row['std_of_draws']:.2f}",
        f"{100 * row['ci95_low']:.2f} to {100 * row['ci95_high']:.2f}", row["ci95_of"],
        f"{row['C']:g}" + " (edge)" * bool(row["C_at_edge"]), row["record"],
    ]  # fmt: skip
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def plot_layers(study: pd.DataFrame, path: Path) -> None:
    """Rate against layer as a PNG, with 95% intervals; a panel for every protocol, data set and number of labels."""
    panels = list(study.groupby(["protocol", "data", "labels"], sort=False))
    figure = Figure(figsize=(7.0 * len(panels), 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, ((_, data, labels), part) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for number, (method, rows) in enumerate(part.groupby("method", sort=False)):
            _plot_lines(axes, rows, f"C{number}", str(method))
        axes.set(
            title=f"{data}, {labels:,} labels", xlabel="layer", ylabel=f"test {part['measure'].iloc[0]}, %",
            xticks=range(1, int(part["last_layer"].max()) + 1),
        )  # fmt: skip
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    with replacing(path) as partial:
        figure.savefig(partial, dpi=120)


def _plot_lines(axes: Axes, rows: pd.DataFrame, colour: str, method: str) -> None:
    together = rows["kind"] == "together"
    alone = (rows["kind"] == "alone") | (together & (rows["last_layer"] == 1))
    for chosen, style, marker, words in (
        (together, "-", "o", "layers 1 to x together"),
        (alone, "--", "s", "layer x alone"),
    ):
        part = rows[chosen].sort_values("last_layer")
        rate, low, high = (100 * part[name].astype(float) for name in ("rate", "ci95_low", "ci95_high"))
        axes.errorbar(
            part["last_layer"].astype(int), rate, [rate - low, high - rate],
            linestyle=style, marker=marker, markersize=4, capsize=3, color=colour, label=f"{method}: {words}",
        )  # fmt: skip


STUDIES: dict[str, Callable[[list[Record]], pd.DataFrame]] = {"layers": layer_study, "batch_norm": batch_norm_study}
