"""Measurements as records: one frozen dataclass, one line of JSON in records.jsonl, appended whole or not at all.

A record holds counts and settings; `reporting` computes rates and intervals from it. The file is
only ever appended to, under a lock, so that any number of runs may write to one folder.

A record's `Facts` are what tables select and compare by, as values. Older records have none in
their line: `facts_of` derives them, and is the one place that takes names apart.
"""

import fcntl
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from repr_eval.representations.layers import Layers
from repr_eval.system.files import append_line

FORMAT = 1
FILE = "records.jsonl"
DRAWS = "draws"  # the folder beside it: index lists, and predictions
L2_SVM_NAME = "L2-SVM"  # the classifier of records that name none: they are older than the others
OPTIONAL = (
    "classifier",
    "classifier_settings",
    "facts",
    "features_sha256",
    "predictions_sha256",
    "more",
)  # left out of a line where they say nothing


@dataclass(frozen=True)
class Facts:
    """What a measurement is, as values."""

    dataset: str  # key of the data set that the protocol is for, e.g. "cifar10"
    protocol: str  # name of the protocol whatever the grid, e.g. "cifar10/per-class/1"
    other_grid: bool  # the setting was chosen from another grid than the protocol's
    classifier: str  # kind of classifier, without its size: "L2-SVM", "kNN", "supervised CNN"
    needs: str  # what the classifier is trained on: "features", or "images" themselves
    layers: Layers | None  # whose features were used; None where layers have no numbers
    untrained: bool  # the network has random weights: a control
    generated: bool  # a program has drawn the images


@dataclass(frozen=True)
class Record:
    """One measurement: a representation under a protocol on a data set."""

    time: str  # UTC, ISO 8601
    protocol: str  # e.g. "cifar10/all-labels/1"
    dataset: dict[str, Any]  # name, verified, remark, fingerprints, counts
    method: str
    trained_on: str
    layers: str
    n_features: int
    max_units: int | None
    representation: dict[str, Any]  # everything that decides the features: weights' hash, batch-norm mode, ...
    labels: int  # labelled images a classifier is trained on
    seed: int
    lists_sha256: str  # of the index lists: held-out images and draws
    C: float  # the classifier's setting: C of the L2-SVM, k of nearest neighbours, ...
    C_at_edge: bool
    validation_n: int  # held-out images a fold
    validation_correct: dict[str, list[int]]  # C -> correct, one number a fold
    test_n: int
    test_correct: list[int]  # one number a draw
    largest_gap: float | None  # relative duality gap of the tested classifiers, where they have one
    seconds: dict[str, float]  # features, selection, test
    versions: dict[str, str]
    machine: str
    commit: str
    command: str
    classifier: str = L2_SVM_NAME
    classifier_settings: dict[str, Any] = field(default_factory=dict)  # beside the chosen one, if there are any
    facts: Facts | None = None  # None in older records; `facts_of` has those of every record
    predictions_sha256: str | None = None  # of what `repr_eval.predictions` stores; None in older records
    features_sha256: str | None = None  # of the stored rows (`representations.store`); None in older records
    # What else was counted, one number a draw: "balanced_accuracy", in [0, 1]; "top5_correct", of `test_n` images.
    more: dict[str, list[float]] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def id(self) -> str:
        """The first 12 digits of the SHA-256 of the record's line."""
        return hashlib.sha256(self.to_line().encode()).hexdigest()[:12]

    @property
    def grid(self) -> tuple[float, ...]:
        """The values of the classifier's setting that were tried, ascending."""
        return tuple(sorted(float(value) for value in self.validation_correct))

    @property
    def validation_accuracy(self) -> float:
        """The accuracy on held-out training images with the chosen C, over all folds, in [0, 1]."""
        counts = self.validation_correct[repr(float(self.C))]
        return sum(counts) / self.validation_n / len(counts)

    def to_line(self) -> str:
        """The record as one line of JSON, without a line end.

        Optional fields that say nothing are left out, so that older lines keep their bytes and ids.
        """
        content = asdict(self)
        if self.classifier == L2_SVM_NAME:
            del content["classifier"]
        if not self.classifier_settings:
            del content["classifier_settings"]
        if self.facts is None:
            del content["facts"]
        for name in ("predictions_sha256", "features_sha256"):
            if content[name] is None:
                del content[name]
        if not self.more:
            del content["more"]
        return json.dumps(content, sort_keys=True)


def facts_of(record: Record) -> Facts:
    """The record's facts: those that it holds or, for a record older than these, read out of its names."""
    return record.facts or _facts_in_names(record)


_OTHER_GRID = "/own-C"  # ends the protocol's name where another grid than its own was searched
_GENERATED = "house-numbers-generated"  # begins the name of digits that `make-digits` draws
_LAYERS = re.compile(r"(\d+)(?:-(\d+))? of (\d+)")
_SHA256 = re.compile("[0-9a-f]{64}")


def _facts_in_names(record: Record) -> Facts:
    classifier = record.classifier.partition(" (")[0]  # its size follows in brackets
    layers = _LAYERS.fullmatch(record.layers)
    is_network = record.representation.get("representation") == "discriminator"
    return Facts(
        dataset=record.protocol.partition("/")[0],
        protocol=record.protocol.removesuffix(_OTHER_GRID),
        other_grid=record.protocol.endswith(_OTHER_GRID),
        classifier=classifier,
        needs="images" if classifier == "supervised CNN" else "features",
        layers=Layers(int(layers[1]), int(layers[2] or layers[1]), int(layers[3])) if layers else None,
        untrained=is_network and record.trained_on == "nothing",
        generated=record.dataset["name"].startswith(_GENERATED),
    )


def append_record(folder: Path, record: Record) -> Path:
    """Add the record to `folder`/records.jsonl. If the disk is full, leave the file as it was and raise OSError.

    A last line without its end (the machine stopped while it was written) stays a line of its own.
    """
    path = folder / FILE
    append_line(path, record.to_line(), "record")
    return path


def read_records(folder: Path) -> list[Record]:
    """All records of `folder`, oldest first. Raises ValueError that names a line which is not a record."""
    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{path}: no records; run an evaluation with `out={str(folder)!r}` first")
    required = {f.name for f in fields(Record)} - set(OPTIONAL)
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            content = json.loads(line)
            if content.get("format") != FORMAT or set(content) - set(OPTIONAL) != required:
                raise ValueError(f"not a record of format {FORMAT}")
            if "facts" in content:
                content["facts"] = _facts_from(content["facts"])
            records.append(_checked(Record(**content)))
        except (ValueError, AttributeError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: cannot be read ({error}); remove or mend that line") from error
    return records


def known_records(folder: Path) -> list[Record]:
    """The records of `folder`; an empty list if nothing was measured there yet."""
    return read_records(folder) if (folder / FILE).exists() else []


def _facts_from(content: Any) -> Facts:
    """Facts from what JSON holds of them. ValueError where a value is missing, unknown or of another type."""
    wrong = ValueError(f"facts is {content!r:.60}")
    if not isinstance(content, dict) or set(content) != {f.name for f in fields(Facts)}:
        raise wrong
    layers = content["layers"]
    numbered = isinstance(layers, list) and len(layers) == 3 and all(type(number) is int for number in layers)
    facts = Facts(**content | {"layers": Layers(*layers) if numbered else layers})
    words = (facts.dataset, facts.protocol, facts.classifier, facts.needs)
    flags = (facts.other_grid, facts.untrained, facts.generated)
    if (
        not all(isinstance(word, str) for word in words)
        or not all(isinstance(flag, bool) for flag in flags)
        or not (numbered or layers is None)
    ):
        raise wrong
    return facts


def _agree(facts: Facts, protocol: object) -> bool:
    """Whether the facts are of a measurement by `protocol`."""
    return (
        facts.protocol.startswith(f"{facts.dataset}/") and protocol == facts.protocol + _OTHER_GRID * facts.other_grid
    )


def _fine(more: object, draws: int, n: object) -> bool:
    """Whether `more` holds numbers for as many draws, within their limits."""
    limits = {"balanced_accuracy": 1, "top5_correct": n}
    return isinstance(more, dict) and all(
        name in limits
        and isinstance(values, list)
        and len(values) == draws
        and all(isinstance(value, int | float) and 0 <= value <= limits[name] for value in values)  # type: ignore[operator]
        for name, values in more.items()
    )


def _is_sha256_or_none(value: object) -> bool:
    return value is None or (isinstance(value, str) and _SHA256.fullmatch(value) is not None)


def _checked(record: Record) -> Record:
    """The record, if its values have the types that tables are made from; else a ValueError."""
    numbers = (int, float)
    counts = record.test_correct
    for name, fine in {
        "protocol": isinstance(record.protocol, str),
        "dataset": isinstance(record.dataset, dict)
        and all(isinstance(record.dataset.get(k), str) for k in ("name", "train_fingerprint", "test_fingerprint")),
        "representation": isinstance(record.representation, dict),
        "validation_correct": isinstance(record.validation_correct, dict),
        "seconds": isinstance(record.seconds, dict) and all(isinstance(v, numbers) for v in record.seconds.values()),
        "facts": record.facts is None or _agree(record.facts, record.protocol),
        "labels": isinstance(record.labels, int),
        "n_features": isinstance(record.n_features, int),
        "C": isinstance(record.C, numbers),
        "classifier": isinstance(record.classifier, str),
        "classifier_settings": isinstance(record.classifier_settings, dict),
        "predictions_sha256": _is_sha256_or_none(record.predictions_sha256),
        "features_sha256": _is_sha256_or_none(record.features_sha256),
        "more": _fine(record.more, len(counts) if isinstance(counts, list) else 0, record.test_n),
        "largest_gap": record.largest_gap is None or isinstance(record.largest_gap, numbers),
        "test_n": isinstance(record.test_n, int) and record.test_n > 0,
        "test_correct": isinstance(counts, list)
        and len(counts) > 0
        and all(isinstance(count, int) and 0 <= count <= record.test_n for count in counts),
    }.items():
        if not fine:
            raise ValueError(f"{name} is {getattr(record, name)!r:.60}")
    return record


@contextmanager
def locked_records(folder: Path) -> Iterator[list[Record]]:
    """All records of `folder`, under a lock: no other process adds one meanwhile."""
    path = folder / FILE
    with open(path, "rb") if path.is_file() else nullcontext() as file:
        if file:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield read_records(folder)
