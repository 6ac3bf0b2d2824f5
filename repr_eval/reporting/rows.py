"""Rows of tables as values, computed from records and the paper's rows alone. `render` makes words of them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from repr_eval.datasets import DATASETS, has_table, metric_of
from repr_eval.records import Record, facts_of
from repr_eval.reporting.published import PaperRow, paper_rows
from repr_eval.representations.layers import Layers

NORMAL_975 = 1.959963984540054  # 97.5% quantile of the normal distribution


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
    classifier: str  # its name, with its size; empty for the paper's rows
    kind: str  # of classifier
    source: str  # "paper" or "measured"
    trained_on: str
    layers: Layers | str
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
    generated: bool = False  # a program has drawn the images
    balanced_accuracy: float | None = None  # mean over the classes
    top5_accuracy: float | None = None  # the right class is among the five ranked highest; of more than ten classes


def table_order(table: str) -> tuple[int, str]:
    """Sorts tables: those of the suite's data sets in their order, then those of users' own, by name."""
    return (list(DATASETS).index(table) if table in DATASETS else len(DATASETS)), table


def table_names(records: Iterable[Record]) -> list[str]:
    """The tables there are, in their order: one for each data set, the suite's or of a record."""
    own = {facts_of(record).dataset for record in records}
    return sorted({*DATASETS, *filter(has_table, own)}, key=table_order)


def measured_row(record: Record, measure: str) -> Row:
    """The row of one record, with `measure` "accuracy" or "error"."""
    facts = facts_of(record)
    right = np.asarray(record.test_correct) / record.test_n
    rates = right if measure == "accuracy" else 1 - right
    std, (low, high) = None, wilson_interval(record.test_correct[0], record.test_n)
    if measure == "error":
        low, high = 1 - high, 1 - low
    if len(rates) > 1:
        std, (low, high) = float(rates.std(ddof=1)), t_interval(rates)
    return Row(
        protocol=record.protocol,
        data=record.dataset["name"],
        method=record.method,
        classifier=record.classifier,
        kind=facts.classifier,
        source="measured",
        trained_on="the labelled images" if facts.needs == "images" else record.trained_on,
        layers=facts.layers or record.layers,
        features=record.n_features,
        max_units=record.max_units,
        labels=record.labels,
        draws=len(rates),
        rate=float(rates.mean()),
        std_of_draws=std,
        ci95_low=low,
        ci95_high=high,
        ci95_of="mean of draws" if len(rates) > 1 else "test images",
        paper_spread=None,
        C=record.C,
        C_at_edge=record.C_at_edge,
        bn=str(record.representation.get("bn", "")),
        seed=record.seed,
        largest_gap=record.largest_gap,
        seconds=sum(record.seconds.values()),
        record=record.id,
        generated=facts.generated,
        balanced_accuracy=_mean(record.more.get("balanced_accuracy"), 1),
        top5_accuracy=_mean(record.more.get("top5_correct"), record.test_n),
    )


def _mean(values: list[float] | None, of: int) -> float | None:
    return None if values is None else float(np.mean(values)) / of


def t_interval(rates: np.ndarray) -> tuple[float, float]:
    """Student's 95% interval of the mean of `rates` float [n >= 2], cut at 0 and 1."""
    from scipy.special import stdtrit  # here: the import takes half a second, and that of scipy.stats two

    half = float(stdtrit(len(rates) - 1, 0.975)) * float(rates.std(ddof=1)) / np.sqrt(len(rates))
    mean = float(rates.mean())
    return max(0.0, mean - half), min(1.0, mean + half)


def wilson_interval(k: int, n: int) -> tuple[float, float]:
    """Wilson's 95% interval of the proportion k / n [Newcombe 1998, method 3], exactly 0 or 1 where k is 0 or n."""
    z, p = NORMAL_975, k / n
    denominator = 2 * (n + z**2)
    centre = (2 * n * p + z**2) / denominator
    delta = z / denominator * sqrt(4 * n * p * (1 - p) + z**2)
    return 0.0 if k == 0 else centre - delta, 1.0 if k == n else centre + delta


def paper_row(row: PaperRow, measure: str) -> Row:
    """The row of a figure printed in the paper."""
    rate = row.accuracy if measure == "accuracy" else 1 - row.accuracy
    return Row(
        protocol=row.protocol,
        data=row.dataset,
        method=row.method,
        classifier="",
        kind="",
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


def identity(record: Record, without: tuple[str, ...] = ()) -> list[Any]:
    """What tells a measurement from others, in plain values: all but time, seconds, versions, machine.

    `without`: settings of the representation to leave out, for records that differ in these alone.
    """
    settings = {name: value for name, value in record.representation.items() if name not in without}
    return [
        record.protocol, record.dataset["test_fingerprint"], record.dataset["train_fingerprint"], record.labels,
        record.seed, record.lists_sha256, settings, sorted(record.validation_correct), record.classifier,
    ]  # fmt: skip


def identity_key(record: Record) -> str:
    """`identity` as one text."""
    return json.dumps(identity(record), sort_keys=True)


def newest(records: list[Record]) -> list[Record]:
    """The newest record of every measurement, oldest first."""
    by_identity: dict[str, Record] = {}
    for record in records:
        key = identity_key(record)
        by_identity.pop(key, None)  # so that it stands where the newest does
        by_identity[key] = record
    return list(by_identity.values())


def whole(record: Record) -> bool:
    """Whether the features are of all the layers that the weights have; others belong to the study of layers."""
    return "layer_range" not in record.representation


def table_rows(records: list[Record], table: str) -> list[Row]:
    """The rows of a table: the paper's in its order, then the measured ones; by protocol, data set, labels and rate."""
    measure = metric_of(table)
    mine = [r for r in newest(records) if facts_of(r).dataset == table and whole(r)]
    rows = [paper_row(row, measure) for row in paper_rows(table)]
    rows += sorted(
        (measured_row(r, measure) for r in mine),
        key=lambda row: (row.data, row.labels or 0, row.rate if measure == "error" else -row.rate),
    )
    return sorted(rows, key=lambda row: row.protocol)  # stable: the order above within a protocol
