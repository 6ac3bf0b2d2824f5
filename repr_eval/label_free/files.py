"""The files of measurements: measures.jsonl, which is appended to, and what is made from it."""

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from repr_eval.label_free.measurement import FORMAT, Measurement
from repr_eval.reporting.figures import save_figure, similarity_figure
from repr_eval.reporting.render import Column, to_csv
from repr_eval.system.files import append_line, write_text
from repr_eval.system.json_text import from_json

FILE = "measures.jsonl"
Row = tuple[Measurement, dict[str, Any]]  # of a table


def read(folder: Path) -> list[Measurement]:
    """The measurements of `folder`, oldest first; none where there is no file.

    ValueError names a line that is not a measurement.
    """
    path = folder / FILE
    names = {field.name for field in fields(Measurement)}
    lines = path.read_bytes().splitlines() if path.is_file() else []
    measurements = []
    for number, line in enumerate(lines, 1):
        try:
            content = from_json(line)
            known = isinstance(content, dict) and set(content) == names
            if not known or content["format"] != FORMAT:
                raise ValueError(f"not a measurement of format {FORMAT}")
        except ValueError as error:
            where = f"{path}, line {number}"
            raise ValueError(f"{where}: cannot be read ({error}); remove or mend it") from error
        measurements.append(Measurement(**content))
    return measurements


def save(folder: Path, measurement: Measurement) -> list[Path]:
    """Add the measurement to `folder`, write the tables anew, and its heat map; the files' paths.

    measures.jsonl keeps all; measures.csv and cka.csv show the newest of those of the same thing.
    """
    read(folder)  # a line that cannot be read is told before another is added
    append_line(folder / FILE, measurement.to_line(), "measurement")
    newest = {one.identity: one for one in read(folder)}.values()
    tables = {"measures.csv": to_csv(MEASURES, _rows(newest))}
    if pairs := _pairs(newest):
        tables["cka.csv"] = to_csv(CKA, pairs)
    for name, text in tables.items():
        write_text(folder / name, text)
    written = [folder / FILE, *(folder / name for name in tables)]
    if measurement.against is not None:
        written.append(folder / f"cka-{measurement.id}.png")
        save_figure(_heat_map(measurement, measurement.against), written[-1])
    return written


def _rows(measurements: Iterable[Measurement]) -> list[Row]:
    """A row for every part of every representation."""
    return [(one, layer) for one in measurements for layer in one.layers]


def _pairs(measurements: Iterable[Measurement]) -> list[Row]:
    """A row for every two parts of two representations."""
    return [
        (one, {"layers": layer["layers"], "other": other, "cka": cka, "debiased": debiased})
        for one in measurements
        if one.against is not None
        for layer, *tables in zip(one.layers, one.cka or (), one.cka_debiased or (), strict=True)
        for other, cka, debiased in zip(one.against["layers"], *tables, strict=True)
    ]


def _of_part(name: str, key: str) -> Column:
    return Column(name, lambda row: row[1][key])


SHARED = [
    Column("data", lambda row: row[0].dataset["name"]),
    Column("images", lambda row: row[0].images["n"]),
    Column("seed", lambda row: row[0].images["seed"]),
    Column("method", lambda row: row[0].representation["method"]),
    Column("trained_on", lambda row: row[0].representation["trained_on"]),
    _of_part("layers", "layers"),
]
ID = Column("measurement", lambda row: row[0].id)
MEASURES = [
    *SHARED,
    _of_part("features", "n_features"),
    _of_part("rank_me", "rank_me"),
    _of_part("effective_rank", "effective_rank"),
    _of_part("alpha", "alpha"),
    Column("alpha_first", lambda row: (row[1]["alpha_ranks"] or [None])[0]),
    Column("alpha_last", lambda row: (row[1]["alpha_ranks"] or [None])[-1]),
    _of_part("alpha_r2", "alpha_r2"),
    ID,
]
CKA = [
    *SHARED,
    Column("against", lambda row: row[0].against["method"]),
    Column("against_trained_on", lambda row: row[0].against["trained_on"]),
    _of_part("against_layers", "other"),
    _of_part("cka", "cka"),
    _of_part("cka_debiased", "debiased"),
    ID,
]


def _heat_map(measurement: Measurement, against: dict[str, Any]) -> Any:
    return similarity_figure(
        {"linear CKA": measurement.cka or [], "debiased": measurement.cka_debiased or []},
        ([layer["layers"] for layer in measurement.layers], against["layers"]),
        (measurement.representation["method"], against["method"]),
        f"{measurement.images['n']:,} training images of {measurement.dataset['name']}",
    )
