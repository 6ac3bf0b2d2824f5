"""Two folders of records side by side: which numbers agree within their intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from repr_eval.datasets import metric_of
from repr_eval.records import Record, facts_of
from repr_eval.reporting.page.table import csv_value
from repr_eval.reporting.render import interval_words, method_words
from repr_eval.reporting.rows import Row, identity_key, measured_row, newest

IDENTICAL, AGREE, DIFFER = "identical", "agree", "differ"


@dataclass(frozen=True)
class Pair:
    """A measurement here and there; rates as the CSV has them, and in percent."""

    method: str
    protocol: str
    data: str
    here: str
    here_percent: str
    here_interval: str
    there: str
    there_percent: str
    there_interval: str
    kind: str
    verdict: str
    records: str


@dataclass(frozen=True)
class Agreement:
    """What the page says of two folders."""

    other: str
    words: str
    pairs: tuple[Pair, ...]


def agreement(here: Sequence[Record], there: Sequence[Record], other: str) -> Agreement:
    """The newest record of every measurement here beside its counterpart there.

    Counterparts have the same settings; or else, where either is the only one, the same names: protocol, data,
    labels, seed, draws, method, classifier and layers, of other features (weights trained anew, say).
    """
    mine, theirs = newest(list(here)), newest(list(there))
    same = {identity_key(record): record for record in theirs}
    pairs = [(record, same[identity_key(record)], "") for record in mine if identity_key(record) in same]
    paired = {record.id for a, b, _ in pairs for record in (a, b)}
    alike = _alone([record for record in theirs if record.id not in paired], _names)
    rest = _alone([record for record in mine if record.id not in paired], _names)
    pairs += [(record, alike[key], "; other features") for key, record in rest.items() if key in alike]
    lines = [_pair(a, b, remark) for a, b, remark in pairs]
    kinds = [line.kind for line in lines]
    words = (
        f"Of {len(mine):,} measurements here and {len(theirs):,} there, {len(lines):,} are in both: "
        f"{kinds.count(IDENTICAL):,} with identical counts, {kinds.count(AGREE):,} that agree, "
        f"{kinds.count(DIFFER):,} that differ. Two rates agree where each lies within the other's 95% interval."
    )
    order = {DIFFER: 0, AGREE: 1, IDENTICAL: 2}
    return Agreement(other, words, tuple(sorted(lines, key=lambda line: order[line.kind])))


def _names(record: Record) -> tuple[object, ...]:
    return (
        record.protocol, record.dataset["name"], record.labels, record.seed, len(record.test_correct), record.method,
        record.classifier, record.layers, record.representation.get("bn"), record.representation.get("views"),
    )  # fmt: skip


def _alone(records: Sequence[Record], key: Callable[[Record], tuple[object, ...]]) -> dict[tuple[object, ...], Record]:
    """The records by their key, those left out that share it with another."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(map(repr, key(record))), []).append(record)
    return {name: group[0] for name, group in groups.items() if len(group) == 1}


def _pair(a: Record, b: Record, remark: str) -> Pair:
    measure = metric_of(facts_of(a).dataset)
    here, there = measured_row(a, measure), measured_row(b, measure)
    counts = (a.test_correct, a.test_n) == (b.test_correct, b.test_n)
    kind = IDENTICAL if counts else AGREE if _within(here, there) and _within(there, here) else DIFFER
    return Pair(
        method_words(here), here.protocol, here.data,
        csv_value("rate", here), f"{100 * here.rate:.2f}", interval_words(here),
        csv_value("rate", there), f"{100 * there.rate:.2f}", interval_words(there),
        kind, kind + remark, f"{a.id} {b.id}",
    )  # fmt: skip


def _within(one: Row, other: Row) -> bool:
    """Whether the rate of `one` lies in the interval of `other`, to the last digit of a float."""
    low, high = other.ci95_low, other.ci95_high
    return low is not None and high is not None and low - 1e-12 <= one.rate <= high + 1e-12
