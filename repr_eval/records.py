"""Measurements as records: one frozen dataclass, one line of JSON in records.jsonl, appended whole or not at all.

A record holds counts and settings; rates and intervals are made from it by `reporting`. The file is only ever appended
to, under a lock, so that any number of runs may write to one folder.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from repr_eval.system.files import naming

FORMAT = 1
FILE = "records.jsonl"
L2_SVM_NAME = "L2-SVM"  # the classifier of records that name none: they are older than the others


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
    format: int = FORMAT

    @property
    def id(self) -> str:
        """The first 12 digits of the SHA-256 of the record's line."""
        return hashlib.sha256(self.to_line().encode()).hexdigest()[:12]

    @property
    def validation_accuracy(self) -> float:
        """The accuracy on held-out training images with the chosen C, over all folds."""
        counts = self.validation_correct[repr(float(self.C))]
        return sum(counts) / self.validation_n / len(counts)

    def to_line(self) -> str:
        content = asdict(self)
        if self.classifier == L2_SVM_NAME:
            del content["classifier"]  # so that a line, and with it the id, is what it was before there were others
        if not self.classifier_settings:
            del content["classifier_settings"]
        return json.dumps(content, sort_keys=True)


def append_record(folder: Path, record: Record) -> Path:
    """Add the record to `folder`/records.jsonl. On a full disk the file is left as it was and OSError raised.

    A last line without its end (the machine stopped in the middle of it) stays a line of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    with open(path, "a+b", buffering=0) as file, naming(path):
        fcntl.flock(file, fcntl.LOCK_EX)
        before = os.fstat(file.fileno()).st_size
        torn = before > 0 and os.pread(file.fileno(), 1, before - 1) != b"\n"
        line = ("\n" * torn + record.to_line() + "\n").encode()
        try:
            if file.write(line) != len(line):
                raise OSError(f"{path}: the disk is full; the record was not written")
            os.fsync(file.fileno())
        except OSError:
            file.truncate(before)
            raise
    return path


def read_records(folder: Path) -> list[Record]:
    """All records of `folder`, oldest first. ValueError names a line that is not a record."""
    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{path}: no records; run an evaluation with --out {folder} first")
    known = {f.name for f in fields(Record)}
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            content = json.loads(line)
            if content.get("format") != FORMAT or set(content) | {"classifier", "classifier_settings"} != known:
                raise ValueError(f"not a record of format {FORMAT}")
            records.append(_checked(Record(**content)))
        except (ValueError, AttributeError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: cannot be read ({error}); remove or mend that line") from error
    return records


def known_records(folder: Path) -> list[Record]:
    """The records of `folder`, none where nothing was measured yet."""
    return read_records(folder) if (folder / FILE).exists() else []


def _checked(record: Record) -> Record:
    """The record, if its values are of the kinds that tables are made from; else a ValueError."""
    numbers = (int, float)
    counts = record.test_correct
    for name, fine in {
        "protocol": isinstance(record.protocol, str),
        "dataset": isinstance(record.dataset, dict)
        and all(isinstance(record.dataset.get(k), str) for k in ("name", "train_fingerprint", "test_fingerprint")),
        "representation": isinstance(record.representation, dict),
        "validation_correct": isinstance(record.validation_correct, dict),
        "seconds": isinstance(record.seconds, dict) and all(isinstance(v, numbers) for v in record.seconds.values()),
        "labels": isinstance(record.labels, int),
        "n_features": isinstance(record.n_features, int),
        "C": isinstance(record.C, numbers),
        "classifier": isinstance(record.classifier, str),
        "classifier_settings": isinstance(record.classifier_settings, dict),
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
    """All records of `folder`, none of which another process adds meanwhile."""
    path = folder / FILE
    with open(path, "rb") if path.is_file() else nullcontext() as file:
        if file:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield read_records(folder)
