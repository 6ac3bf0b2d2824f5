"""Measurements as records: one frozen dataclass, one line of JSON in records.jsonl, appended whole or not at all.

A record holds counts and settings; `reporting` computes rates and intervals from it. The file is
only ever appended to, under a lock, so that any number of runs may write to one folder. A line
ends with the SHA-256 of the record, so that one that a disk or an editor has changed is no record;
lines older than that have none.

A record's `Facts` are what tables select and compare by, as values. Older records have none in
their line: `facts_of` derives them, and is the one place that takes names apart.
"""

import fcntl
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from sys import float_info
from typing import Any

from repr_eval.representations.layers import Layers
from repr_eval.system.files import append_line
from repr_eval.system.json_text import from_json

FORMAT = 1
FILE = "records.jsonl"
HASH = "sha256"  # in a record's line, of the line without it
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
        """The first 12 digits of `sha256`."""
        return self.sha256[:12]

    @property
    def sha256(self) -> str:
        """The SHA-256 of the record's line without its hash, in hexadecimal digits."""
        return hashlib.sha256(self.to_line().encode()).hexdigest()

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
        """The record as one line of JSON, without a line end and without its hash.

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
    line = record.to_line()
    append_line(path, f'{line[:-1]}, "{HASH}": "{record.sha256}"}}', "record")
    return path


_passed_over: ContextVar[dict[str, None] | None] = ContextVar("passed_over", default=None)


@contextmanager
def passing_over() -> Iterator[Mapping[str, None]]:
    """Within the block, `read_records` passes over lines that are no records instead of raising.

    It yields what there is to say of them, each once: a mapping whose keys are messages.
    """
    lines: dict[str, None] = {}
    token = _passed_over.set(lines)
    try:
        yield lines
    finally:
        _passed_over.reset(token)


@dataclass(frozen=True)
class Line:
    """A line of a file of records."""

    record: Record | None
    hashed: bool  # it holds the record's hash, which fits
    wrong: str = ""  # why it is no record, in words that name file and line


def read_lines(path: Path) -> Iterator[Line]:
    """Every line of the file `path`, in order."""
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            yield Line(*_record_in(line))
        except (ValueError, AttributeError, TypeError) as error:
            yield Line(None, False, f"{path}, line {number}: cannot be read ({error}); remove or mend that line")


def read_records(folder: Path) -> list[Record]:
    """All records of `folder`, oldest first.

    Raises ValueError that names a line which is not a record, or not the one that was stored; in a
    block of `passing_over` such lines are left out.
    """
    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{path}: no records; run an evaluation with `out={str(folder)!r}` first")
    passed_over, records = _passed_over.get(), []
    for line in read_lines(path):
        if line.record is not None:
            records.append(line.record)
        elif passed_over is None:
            raise ValueError(line.wrong)
        else:
            passed_over[line.wrong] = None
    return records


def _record_in(line: bytes) -> tuple[Record, bool]:
    """The record in a line, and whether its hash is in it.

    ValueError, AttributeError or TypeError if there is none.
    """
    required = {f.name for f in fields(Record)} - set(OPTIONAL)
    content = from_json(line)
    sha256 = content.pop(HASH, None)
    if content.get("format") != FORMAT or set(content) - set(OPTIONAL) != required:
        raise ValueError(f"not a record of format {FORMAT}")
    if "facts" in content:
        content["facts"] = _facts_from(content["facts"])
    record = _checked(Record(**content))
    if sha256 not in (None, record.sha256):
        raise ValueError("it was changed: its SHA-256 is another")
    return record, sha256 is not None


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


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) <= float_info.max  # type: ignore[arg-type]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_data(value: object) -> bool:
    """Whether `value` describes a data set: names in words, and the right types in known fields."""
    if not isinstance(value, dict):
        return False
    words = {"name", "train_fingerprint", "test_fingerprint"}
    kinds = {"remark": str, "verified": bool, "classes": list, "n_train": int, "n_test": int, "side": int}
    classes = value.get("classes", [])
    return (
        all(_is_text(value.get(name)) for name in words)
        and all(isinstance(value[name], kind) for name, kind in kinds.items() if name in value)
        and all(_is_text(name) for name in classes)
    )


def _is_representation(value: object) -> bool:
    return isinstance(value, dict) and all(_is_text(value.get(name, "")) for name in ("representation", "bn"))


def _are_seconds(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _are_versions(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


_KINDS: dict[str, Callable[[object], bool]] = {
    "time": _is_text, "protocol": _is_text, "dataset": _is_data, "method": _is_text, "trained_on": _is_text,
    "layers": _is_text, "n_features": _is_count, "max_units": lambda value: value is None or _is_count(value),
    "representation": _is_representation, "labels": _is_count, "seed": _is_count, "lists_sha256": _is_text,
    "C": _is_number, "C_at_edge": lambda value: isinstance(value, bool), "validation_n": _is_count,
    "largest_gap": lambda value: value is None or _is_number(value), "seconds": _are_seconds,
    "versions": _are_versions, "machine": _is_text, "commit": _is_text, "command": _is_text,
    "classifier": _is_text, "classifier_settings": lambda value: isinstance(value, dict),
    "predictions_sha256": _is_sha256_or_none, "features_sha256": _is_sha256_or_none,
    "test_n": lambda value: _is_count(value) and value != 0,
}  # fmt: skip


def _fine_choice(record: Record) -> bool:
    """Whether right answers on held-out images are counted by setting, the chosen one among them."""
    counted = record.validation_correct
    return (
        isinstance(counted, dict)
        and all(re.fullmatch(_NUMBER, value) for value in counted)
        and all(_are_counts(counts, record.validation_n) for counts in counted.values())
        and (not counted or repr(float(record.C)) in counted)
    )


_NUMBER = r"\d+(\.\d+)?(e[+-]?\d{1,3})?"


def _are_counts(counts: object, most: int) -> bool:
    """Whether `counts` is a list, not empty, of whole numbers from 0 to `most`."""
    return isinstance(counts, list) and bool(counts) and all(_is_count(one) and one <= most for one in counts)


def _checked(record: Record) -> Record:
    """The record, if its values have the types that tables are made from; else a ValueError."""
    fine = {name: check(getattr(record, name)) for name, check in _KINDS.items()}
    if all(fine.values()):
        fine |= {
            "validation_correct": _fine_choice(record),
            "test_correct": _are_counts(record.test_correct, record.test_n),
            "facts": record.facts is None or _agree(record.facts, record.protocol),
        }
    if all(fine.values()):
        fine["more"] = _fine(record.more, len(record.test_correct), record.test_n)
    for name, is_fine in fine.items():
        if not is_fine:
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
