"""Two measurements on the same draws and test images: the difference, its intervals, and a test."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from repr_eval.comparison.statistics import (
    Differences,
    Interval,
    holm,
    mcnemar_exact,
    newcombe_interval,
    over_draws_and_images,
    over_images,
    paired_t,
)
from repr_eval.predictions import Predictions, read_predictions
from repr_eval.records import FILE, Record, facts_of, known_records, read_records
from repr_eval.reporting.render import Column, method_words, panel_words, to_html, with_classifier
from repr_eval.reporting.rows import measured_row, newest

MCNEMAR = "McNemar's exact test"
BOTH = "t test over draws and test images"
DRAWS = "paired t test over draws, of these test images alone"


class Measured(Protocol):
    """A result of `repr_eval.evaluate`: a record, and the predictions that belong to it."""

    @property
    def record(self) -> Record: ...

    @property
    def predictions(self) -> Predictions | None: ...


@dataclass(frozen=True)
class Measurement:
    """A record with its predictions, as `Measured` has them."""

    record: Record
    predictions: Predictions | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """What is known of A against B; differences are of accuracies, A's less B's, in [-1, 1].

    Intervals are of 95%; None where they cannot be had. `over_draws`: other draws, these test
    images. `over_images`: these classifiers, other test images. `over_both`: other draws and other
    test images. `over_seeds`: other seeds, of which `seeds` were measured. `p` is the p-value of
    `test`; `p_holm` is it adjusted for the other comparisons made with it. `only_a`, `only_b`:
    indices of the test images that one gets right (in more than half of the draws) and the other
    does not.
    """

    a: Record
    b: Record
    difference: float
    over_draws: Interval | None = None
    over_images: Interval | None = None
    over_both: Interval | None = None
    over_seeds: Interval | None = None
    seeds: tuple[int, ...] = ()
    test: str = ""
    p: float | None = None
    p_holm: float | None = None
    only_a: np.ndarray | None = None
    only_b: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    predictions: tuple[Predictions, Predictions] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return "\n".join([self.title, *(f"  {name}: {words}" for name, words in self._lines())])

    def _repr_html_(self) -> str:
        """A table of two columns, escaped."""
        columns = (Column("", lambda line: line[0]), Column("", lambda line: line[1]))
        return to_html(columns, [("test", self.title), *self._lines()])

    @property
    def title(self) -> str:
        """What both were measured by."""
        draws, facts = len(self.a.test_correct), facts_of(self.a)
        about = panel_words(facts.protocol, self.a.dataset["name"], self.a.labels)
        return f"{about}, {draws} draw{'s' * (draws > 1)}, {self.a.test_n:,} test images"

    def _lines(self) -> list[tuple[str, str]]:
        lines = [("A", _words(self.a)), ("B", _words(self.b))]
        points = f"{100 * self.difference:+.2f} percentage points"
        lines.append(("accuracy of A minus that of B", points))
        for name, interval in (
            ("95% interval over draws and test images", self.over_both),
            ("95% interval over draws", self.over_draws),
            ("95% interval over test images", self.over_images),
            (f"95% interval over {len(self.seeds)} seeds", self.over_seeds),
        ):
            if interval is not None:
                lines.append((name, f"{100 * interval[0]:+.2f} to {100 * interval[1]:+.2f}"))
        if self.only_a is not None and self.only_b is not None:
            how = " in most draws" * (len(self.a.test_correct) > 1)
            lines.append(
                (
                    f"test images right{how}",
                    f"only A {len(self.only_a):,}, only B {len(self.only_b):,}",
                )
            )
        if self.p is not None:
            lines.append((self.test, p_words(self.p)))
        if self.p_holm is not None:
            lines.append(("after Holm's correction", p_words(self.p_holm)))
        return lines + [("note", note) for note in self.notes]


def p_words(p: float) -> str:
    """A p-value for readers."""
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.4f}"


def name_of(record: Record) -> str:
    """The method, with the classifier where that is not the L2-SVM."""
    return with_classifier(method_words(measured_row(record, "accuracy")), record.classifier, ", ")


def _words(record: Record) -> str:
    rate = measured_row(record, "accuracy").rate
    return f"{name_of(record)}: {100 * rate:.2f}% (record {record.id})"


def compare(
    a: Measured | Record | str,
    b: Measured | Record | str,
    *,
    out: str | Path | None = None,
) -> Comparison:
    """Whether A is better than B, measured by one protocol on the same draws and test images.

    `a`, `b`: results of `evaluate`, records, or the ids (or their beginnings) of records in the
    folder `out`. The predictions are those of the results or, of records, those stored in `out`;
    records without any are compared by their counts. `out` also has the records of other seeds, if
    there are any. Which test decides, and what it assumes: docs/comparing.md.

    ValueError where there is no such record, the two are not of the same test, or predictions are
    missing or damaged.
    """
    return compare_with_first([a, b], out=out)[0]


def compare_with_first(
    measurements: Sequence[Measured | Record | str], *, out: str | Path | None = None
) -> list[Comparison]:
    """The first against each of the others, as `compare` does.

    Of several pairs `p_holm` has Holm's correction.
    """
    if len(measurements) < 2:
        raise ValueError(f"{len(measurements)} measurement: a comparison needs two")
    folder = None if out is None else Path(out)
    records = [] if folder is None else _records_of(folder, measurements)
    first, *others = (_measurement(one, folder, records) for one in measurements)
    for other in others:
        check_same_test(first.record, other.record)
    return with_holm([_compared(first, other, records) for other in others])


def with_holm(comparisons: list[Comparison]) -> list[Comparison]:
    """The comparisons, with adjusted p-values where there are several with a p-value."""
    family = [one.p for one in comparisons if one.p is not None]
    if len(family) < 2:
        return comparisons
    adjusted = iter(holm(family))
    return [one if one.p is None else replace(one, p_holm=next(adjusted)) for one in comparisons]


def _records_of(folder: Path, measurements: Sequence[object]) -> list[Record]:
    named = any(isinstance(one, str) for one in measurements)
    return read_records(folder) if named else known_records(folder)


def _measurement(
    one: Measured | Record | str,
    folder: Path | None,
    records: list[Record],
) -> Measurement:
    if isinstance(one, str):
        if folder is None:
            raise ValueError(f"{one!r}: give the folder of records as well, as out")
        one = record_named(one, records, folder)
    if isinstance(one, Record):
        # Without a folder only the counts are known.
        return Measurement(one, read_predictions(folder, one) if folder is not None else None)
    if not hasattr(one, "record") or not hasattr(one, "predictions"):
        raise ValueError(f"{one!r:.60}: needs a result of evaluate, a record, or a record's id")
    return Measurement(one.record, one.predictions)


def record_named(beginning: str, records: list[Record], folder: Path) -> Record:
    """The record whose id begins so; ValueError unless there is exactly one.

    The same line twice is one record.
    """
    start = beginning.lower()
    found = {record.id: record for record in records if start and record.id.startswith(start)}
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        where = folder / FILE
        raise ValueError(f"no record's id begins with {beginning!r} in {where}; tables show ids")
    first = ", ".join(list(found)[:4]) + ", ..." * (len(found) > 4)
    raise ValueError(f"{beginning!r} begins the ids of {len(found)} records ({first}); give more")


def check_same_test(a: Record, b: Record) -> None:
    """ValueError that says what differs, unless both are of one protocol, draws and test images."""
    if a.id == b.id:
        raise ValueError(f"record {a.id} is compared with itself; name two records")
    facts_a, facts_b = facts_of(a), facts_of(b)
    differences = [
        f"{what} {x} and {y}"
        for what, x, y in (
            ("protocol", facts_a.protocol, facts_b.protocol),
            ("data", a.dataset["name"], b.dataset["name"]),
            ("test images' fingerprint", *_fingerprints(a, b, "test_fingerprint")),
            ("training images' fingerprint", *_fingerprints(a, b, "train_fingerprint")),
            ("test images", f"{a.test_n:,}", f"{b.test_n:,}"),
            ("labels", f"{a.labels:,}", f"{b.labels:,}"),
            ("draws", len(a.test_correct), len(b.test_correct)),
            ("seed", a.seed, b.seed),
        )
        if x != y
    ]
    if not differences and a.lists_sha256 != b.lists_sha256:
        differences = [f"draws' lists {a.lists_sha256[:12]} and {b.lists_sha256[:12]}"]
    if differences:
        what = "; ".join(differences)
        raise ValueError(f"records {a.id} and {b.id} are not of the same test: {what}")


def _fingerprints(a: Record, b: Record, name: str) -> tuple[str, str]:
    return a.dataset[name][:12], b.dataset[name][:12]


def _compared(a: Measurement, b: Measurement, records: list[Record]) -> Comparison:
    counts = np.array(a.record.test_correct) - np.array(b.record.test_correct)
    n = a.record.test_n
    result = Comparison(a.record, b.record, difference=float(counts.mean()) / n)
    if len(counts) > 1:
        interval, p = paired_t(counts / n)
        result = replace(result, over_draws=interval, test=DRAWS, p=p)
    if a.predictions is not None and b.predictions is not None:
        result = _by_image(result, a.predictions, b.predictions)
    else:
        result = replace(result, notes=(_without_predictions(a, b),))
    differences, seeds = differences_by_seed(a.record, b.record, records)
    if len(seeds) > 1:
        result = replace(result, over_seeds=paired_t(differences)[0], seeds=seeds)
    return result


def _without_predictions(a: Measurement, b: Measurement) -> str:
    names = " and ".join(one.record.id for one in (a, b) if one.predictions is None)
    return f"no predictions of {names}: nothing is said image by image; measure again to store them"


def differences_of(a: Predictions, b: Predictions) -> Differences:
    """A's right answers less B's, over draws and test images."""
    return Differences(
        by_draw=np.array(a.correct) - np.array(b.correct),
        by_image=a.draws_right - b.draws_right,
        unequal=int(np.bitwise_count(a.right ^ b.right).sum()),
    )


def _by_image(result: Comparison, a: Predictions, b: Predictions) -> Comparison:
    draws, right_a, right_b = len(a.right), a.draws_right, b.draws_right
    mostly_a, mostly_b = 2 * right_a > draws, 2 * right_b > draws
    only_a, only_b = np.flatnonzero(mostly_a & ~mostly_b), np.flatnonzero(mostly_b & ~mostly_a)
    result = replace(result, only_a=only_a, only_b=only_b, predictions=(a, b))
    if draws == 1:
        both = int((mostly_a & mostly_b).sum())
        neither = a.n - both - len(only_a) - len(only_b)
        interval = newcombe_interval(both, len(only_a), len(only_b), neither)
        p = mcnemar_exact(len(only_a), len(only_b))
        return replace(result, over_images=interval, test=MCNEMAR, p=p)
    if a.n < 2:
        return result
    table = differences_of(a, b)
    interval, p = over_draws_and_images(table)
    return replace(result, over_images=over_images(table), over_both=interval, test=BOTH, p=p)


# Seeds.

_SEED = re.compile(r"\bseed \d+")  # in the names of methods
_OF_SEED = (
    "seed",
    "weights_sha256",
    "features_sha256",
)  # settings of a representation that follow from its seed


def differences_by_seed(
    a: Record,
    b: Record,
    records: Iterable[Record],
) -> tuple[np.ndarray, tuple[int, ...]]:
    """The differences of accuracy, float [S], of all seeds that both were measured with, and these
    seeds, ascending.

    A seed counts where both have one record of it, on the same draws, besides that the two are A
    and B again: of the same method, layers, settings, classifier, data and protocol.
    """
    known = newest(list(records))
    of_a, of_b = _by_seed(a, known), _by_seed(b, known)
    both = sorted(of_a.keys() & of_b.keys())
    seeds = tuple(seed for seed in both if of_a[seed].lists_sha256 == of_b[seed].lists_sha256)
    differences = [_accuracy(of_a[seed]) - _accuracy(of_b[seed]) for seed in seeds]
    return np.array(differences), seeds


def _accuracy(record: Record) -> float:
    return float(np.mean(record.test_correct)) / record.test_n


def _by_seed(record: Record, records: list[Record]) -> dict[int, Record]:
    """The records of `record`'s method by seed; itself of its own, none of a seed with several."""
    found: dict[int, list[Record]] = {}
    for one in records:
        if one.seed != record.seed and _without_seed(one) == _without_seed(record):
            found.setdefault(one.seed, []).append(one)
    others = {seed: those[0] for seed, those in found.items() if len(those) == 1}
    return {record.seed: record} | others


def _without_seed(record: Record) -> str:
    """What tells a measurement from those that are not the same with another seed."""
    settings = {k: v for k, v in record.representation.items() if k not in _OF_SEED}
    classifier = {k: v for k, v in record.classifier_settings.items() if k not in ("seed", "tried")}
    what = [
        record.protocol,
        *(record.dataset[split] for split in ("test_fingerprint", "train_fingerprint")),
        record.labels,
        len(record.test_correct),
        _SEED.sub("seed", record.method),
        record.trained_on,
        record.layers,
        record.n_features,
        record.classifier,
        settings,
        classifier,
    ]
    return json.dumps(what, sort_keys=True)
