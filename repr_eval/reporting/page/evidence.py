"""What stands behind a number: the protocol in words, counts, the choice, warnings, hashes, versions, the command."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from repr_eval.predictions import Predictions
from repr_eval.records import Record
from repr_eval.reporting.page.charts import validation_chart
from repr_eval.reporting.page.table import Group, Line, csv_value
from repr_eval.reporting.page.words import protocol_words, setting_name
from repr_eval.reporting.render import CONVERGED

CLASSES = 30  # at most, of a confusion matrix that the page shows
_CSV_NUMBERS = ("std_of_draws", "ci95_low", "ci95_high", "balanced_accuracy", "top5_accuracy")


@dataclass(frozen=True)
class Confusion:
    """How often an image of a row's class was given a column's: counts over all draws, and shares of the row."""

    names: tuple[str, ...]
    rows: tuple[tuple[tuple[int, float], ...], ...]


@dataclass(frozen=True)
class Evidence:
    """The evidence of one record, for the template."""

    id: str
    protocol: str
    warnings: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    chart: Markup  # "" where one setting alone was tried
    command: str
    confusion: Confusion | None = None


def evidence_of(line: Line, confusion: Confusion | None = None) -> Evidence:
    """The evidence of a line that has a record."""
    record = line.record
    assert record is not None
    facts = [
        *_numbers(line, record), *_choice(record), *_group(line.group), *_provenance(record),
    ]  # fmt: skip
    chart = Markup(validation_chart(record, setting_name(record)))
    return Evidence(
        record.id,
        protocol_words(record),
        tuple(_warnings(line, record)),
        tuple(facts),
        chart,
        record.command,
        confusion,
    )


def confusion_of(predictions: Predictions, names: Sequence[str]) -> Confusion | None:
    """The confusion matrix; None of more than `CLASSES` classes. `names` are those of all classes."""
    classes, counts = predictions.confusion()
    if len(classes) > CLASSES:
        return None
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    labels = tuple(names[label] if 0 <= label < len(names) else str(label) for label in classes)
    rows = (tuple(zip(a, b, strict=True)) for a, b in zip(counts.tolist(), shares.tolist(), strict=True))
    return Confusion(labels, tuple(rows))


def _warnings(line: Line, record: Record) -> list[str]:
    words, name = [], setting_name(record)
    if record.C_at_edge:
        words.append(f"The chosen {name} ({record.C:g}) is an end of the grid: a better one may lie beyond it.")
    if (record.largest_gap or 0) > CONVERGED:
        words.append(f"Not converged: the largest duality gap is {record.largest_gap:.2g}, above {CONVERGED:g}.")
    if not record.dataset.get("verified", True):
        words.append("The data are not those of the published data set, by their fingerprints.")
    if line.row.generated:
        words.append("A program has drawn the images.")
    if line.replaced_by:
        words.append(f"Measured again later: record {line.replaced_by}.")
    return words


def _numbers(line: Line, record: Record) -> list[tuple[str, str]]:
    exact = [(name, csv_value(name, line.row)) for name in _CSV_NUMBERS]
    values = [(line.measure, csv_value("rate", line.row)), *exact]
    found = ", ".join(f"{name} {value}" for name, value in values if value)
    return [
        ("as in the CSV", found),
        ("right answers", f"{_counts(record.test_correct)} of {record.test_n:,} test images"),
    ]


def _counts(counts: Sequence[int]) -> str:
    return ", ".join(map(str, counts))


def _choice(record: Record) -> list[tuple[str, str]]:
    name = setting_name(record)
    tried = ", ".join(f"{value:g}" for value in record.grid)
    facts = [("classifier", record.classifier), (name, f"{record.C:g}, chosen from {tried}")]
    if record.classifier_settings:
        facts.append(("classifier's settings", _json(record.classifier_settings)))
    if record.largest_gap is not None:
        facts.append(("largest duality gap", f"{record.largest_gap:.3g} (relative; at most {CONVERGED:g} is asked)"))
    return facts


def _group(group: Group | None) -> list[tuple[str, str]]:
    if group is None:
        return []
    letters = f", group {group.letters}. {group.remark}" if group.letters else f". {group.remark}"
    return [("place", f"{group.place} of {group.of}{letters}")]


def _provenance(record: Record) -> list[tuple[str, str]]:
    data, settings = record.dataset, dict(record.representation)
    weights = settings.pop("weights_sha256", None)
    seconds = ", ".join(f"{name} {value:,.1f}" for name, value in record.seconds.items())
    facts = [
        ("data", f"{data['name']}{'; ' * bool(data.get('remark'))}{data.get('remark') or ''}"),
        ("training images", data["train_fingerprint"]),
        ("test images", data["test_fingerprint"]),
        ("trained on", record.trained_on),
        ("weights, SHA-256", str(weights) if weights else ""),
        ("features", f"{record.n_features:,}: {_json(settings)}"),
        ("lists of draws, SHA-256", record.lists_sha256),
        ("predictions, SHA-256", record.predictions_sha256 or "not stored"),
        ("seconds", seconds),
        ("measured", f"{record.time} on {record.machine}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in record.versions.items())),
        ("commit", record.commit),
    ]
    return [(name, words) for name, words in facts if words]


def _json(settings: object) -> str:
    return json.dumps(settings, sort_keys=True).replace('"', "").strip("{}")
