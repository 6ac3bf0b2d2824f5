"""Rows of tables, made from records and the paper's rows alone."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from repr_eval.datasets import METRICS
from repr_eval.records import Record
from repr_eval.reporting.published import PaperRow, paper_rows

SUPERVISED_PREFIX = "supervised"  # how the names of classifiers begin that learn features too, from the labels


@dataclass(frozen=True)
class Row:
    """One line of a table. Rates are fractions in [0, 1]; None is an empty cell.

    `std_of_draws`: standard deviation of the draws' rates (n - 1). `ci95_low`, `ci95_high`: a 95% interval; `ci95_of`
    says of what: "mean of draws" (Student's t) or, for a single classifier, "test images" (Wilson). `paper_spread`:
    what the paper prints after a plus-minus sign, whatever it is.
    """

    protocol: str
    data: str
    method: str
    classifier: str  # empty for the paper's rows
    source: str  # "paper" or "measured"
    trained_on: str
    layers: str
    features: int | None
    max_units: int | None
    labels: int | None
    draws: int | None
    rate: float  # accuracy or error
    std_of_draws: float | None
    ci95_low: float | None
    ci95_high: float | None
    ci95_of: str
    paper_spread: float | None
    C: float | None
    C_at_edge: bool | None
    bn: str  # batch-norm statistics: "recomputed", "at-hand" or "running"
    seed: int | None
    largest_gap: float | None  # relative duality gap of the tested classifiers
    seconds: float | None
    record: str


def measured_row(record: Record, measure: str) -> Row:
    """The row of one record, with `measure` "accuracy" or "error"."""
    right = np.asarray(record.test_correct) / record.test_n
    rates = right if measure == "accuracy" else 1 - right
    mean = float(rates.mean())
    if len(rates) > 1:
        std = float(rates.std(ddof=1))
        half = float(stats.t.ppf(0.975, len(rates) - 1)) * std / np.sqrt(len(rates))
        low, high, of = max(0.0, mean - half), min(1.0, mean + half), "mean of draws"
    else:
        interval = stats.binomtest(record.test_correct[0], record.test_n).proportion_ci(method="wilson")
        low, high = float(interval.low), float(interval.high)
        if measure == "error":
            low, high = 1 - high, 1 - low
        std, of = None, "test images"
    supervised = record.classifier.startswith(SUPERVISED_PREFIX)
    trained_on = "the labelled images" if supervised else record.trained_on
    return Row(
        protocol=record.protocol,
        data=record.dataset["name"],
        method=full_method(record),
        classifier=record.classifier,
        source="measured",
        trained_on=trained_on,
        layers=record.layers,
        features=record.n_features,
        max_units=record.max_units,
        labels=record.labels,
        draws=len(rates),
        rate=mean,
        std_of_draws=std,
        ci95_low=low,
        ci95_high=high,
        ci95_of=of,
        paper_spread=None,
        C=record.C,
        C_at_edge=record.C_at_edge,
        bn=str(record.representation.get("bn", "")),
        seed=record.seed,
        largest_gap=record.largest_gap,
        seconds=sum(record.seconds.values()),
        record=record.id,
    )


def paper_row(row: PaperRow, measure: str) -> Row:
    """The row of a figure printed in the paper."""
    rate = row.accuracy if measure == "accuracy" else 1 - row.accuracy
    return Row(
        protocol=row.protocol,
        data=row.dataset,
        method=row.method,
        classifier="",
        source="paper",
        trained_on=row.trained_on,
        layers="",
        features=None,
        max_units=row.max_units,
        labels=row.labels,
        draws=None,
        rate=round(rate, 6),
        std_of_draws=None,
        ci95_low=None,
        ci95_high=None,
        ci95_of="",
        paper_spread=row.spread,
        C=None,
        C_at_edge=None,
        bn="",
        seed=None,
        largest_gap=None,
        seconds=None,
        record="",
    )


def family(protocol: str) -> str:
    """The table that measurements by a protocol belong to, if there is one of that name."""
    return protocol.split("/")[0]


def identity(record: Record, without: tuple[str, ...] = ()) -> list[Any]:
    """What makes a measurement this one and no other, in plain values: all but time, seconds, versions, machine.

    `without`: settings of the representation to leave out, for records that are to differ in these alone.
    """
    settings = {name: value for name, value in record.representation.items() if name not in without}
    return [
        record.protocol, record.dataset["test_fingerprint"], record.dataset["train_fingerprint"], record.labels,
        record.seed, record.lists_sha256, settings, sorted(record.validation_correct), record.classifier,
    ]  # fmt: skip


def newest(records: list[Record]) -> list[Record]:
    """Of records of the same measurement only the newest, oldest first."""
    by_identity: dict[str, Record] = {}
    for record in records:
        key = json.dumps(identity(record), sort_keys=True)
        by_identity.pop(key, None)  # so that it stands where the newest does
        by_identity[key] = record
    return list(by_identity.values())


def whole(record: Record) -> bool:
    """Whether the record is of all the layers that the weights have: others belong to the study of layers."""
    return "layer_range" not in record.representation


def full_method(record: Record) -> str:
    """The method, with layers and number of features where the network is not complete."""
    layers, _, in_all = record.layers.partition(" of ")
    if not in_all or layers == f"1-{in_all}" or (layers, in_all) == ("1", "1"):
        return record.method
    return f"{record.method}, layers {layers} ({record.n_features:,} features)"


def table_rows(records: list[Record], table: str) -> list[Row]:
    """The rows of a table: the paper's in its order, then the measured ones; by protocol, data set, labels and rate."""
    measure = METRICS[table]
    mine = [r for r in newest(records) if family(r.protocol) == table and whole(r)]
    rows = [paper_row(row, measure) for row in paper_rows(table)]
    rows += sorted(
        (measured_row(r, measure) for r in mine),
        key=lambda row: (row.data, row.labels or 0, row.rate if measure == "error" else -row.rate),
    )
    return sorted(rows, key=lambda row: row.protocol)  # stable: the order above within a protocol
