"""A measurement in words: what the command prints."""

from typing import Any

from repr_eval.label_free.measurement import Measurement


def in_words(measurement: Measurement) -> str:
    """A line for what was measured, and tables with a column for each layer."""
    layers, dataset = measurement.layers, measurement.dataset
    names = [layer["layers"] for layer in layers]
    taken = f"{measurement.images['n']:,} of {dataset['n_train']:,} training images"
    rows = [
        ["layers", *names],
        ["features", *(f"{layer['n_features']:,}" for layer in layers)],
        ["RankMe", *(_cell(layer["rank_me"], ".1f") for layer in layers)],
        ["effective rank", *(_cell(layer["effective_rank"], ".1f") for layer in layers)],
        ["alpha-ReQ", *(_cell(layer["alpha"], ".2f") for layer in layers)],
        ["its ranks", *(_ranks(layer["alpha_ranks"]) for layer in layers)],
    ]
    lines = [f"{dataset['name']}, {taken}, {measurement.representation['method']}", *_table(rows)]
    if measurement.against is not None:
        lines.append(f"against {measurement.against['method']}, its layers in the columns")
        tables = {"linear CKA": measurement.cka, "debiased": measurement.cka_debiased}
        for title, values in tables.items():
            rows = [[title, *measurement.against["layers"]]]
            for name, row in zip(names, values or [], strict=True):
                rows.append([name, *map(_cell, row)])
            lines += _table(rows)
    return "\n".join(lines)


def remarks(measurement: Measurement) -> list[str]:
    """Why a measure is missing, a line each."""
    return [
        f"layers {layer['layers']}: {why}"
        for layer in measurement.layers
        for why in layer["undefined"]
    ]  # fmt: skip


def _cell(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)


def _ranks(ranks: Any) -> str:
    return "-" if ranks is None else f"{ranks[0]}-{ranks[1]}"


def _table(rows: list[list[str]]) -> list[str]:
    """Lines of cells, the first column aligned to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    return lines
