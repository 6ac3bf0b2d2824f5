"""One evaluation, from a data set and a representation to a stored record."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from repr_eval.classifiers.base import Classifier, Features
from repr_eval.images.labelled import LabelledImages, Split
from repr_eval.protocols.draws import save_lists
from repr_eval.protocols.results import Outcome
from repr_eval.records import Record, append_record, known_records
from repr_eval.representations.base import Description, Representation
from repr_eval.representations.fitted import LEARNED
from repr_eval.representations.store import has, remove, stored_features
from repr_eval.system.provenance import commit, machine, versions
from repr_eval.system.ranks import Done, current, leave

Protocol = Callable[[Features, Features], Outcome]  # (training split, test split), all settings bound


@dataclass(frozen=True)
class Folders:
    """Where an evaluation reads and writes."""

    out: Path  # records and index lists
    store: Path  # features
    precision: str = "float16"  # of stored features


@dataclass(frozen=True)
class Extracted:
    """A data set seen through a representation."""

    data: LabelledImages
    description: Description
    train: Features
    test: Features
    seconds: float

    def of_layers(self, first: int, last: int) -> "Extracted":
        """The features of layers `first` to `last` alone: views of the same arrays."""
        description, columns = self.description.of_layers(first, last), self.description.columns(first, last)
        train, test = (Features(split.X[:, columns], split.y) for split in (self.train, self.test))
        return Extracted(data=self.data, description=description, train=train, test=test, seconds=self.seconds)


def evaluate(
    family: str, data: LabelledImages, representation: Representation, protocol: Protocol, folders: Folders, *,
    seed: int, command: str, device: str, layers: tuple[int, int] | None = None,
) -> Record:  # fmt: skip
    """Extract (or find stored) features of both splits, run the protocol, append the record to `place.out`.

    `family` is the table it belongs to: cifar10, svhn or digits. `layers` (first, last): only their features.
    """
    if layers:
        representation.description.of_layers(*layers)  # before the hours, not after them
    extraction = extracted(data, representation, folders)
    if layers:
        extraction = extraction.of_layers(*layers)
    return measure(family, extraction, protocol, folders, seed=seed, command=command, device=device)


def recorded(
    family: str, data: LabelledImages, representation: Representation, folders: Folders, protocol: str,
    classifier: Classifier, labels: int, draws: int, seed: int,
) -> Record | None:  # fmt: skip
    """The newest record in `place.out` of this very measurement, if there is one; nothing is computed."""
    description = representation.adapted(data.train.images, data.train.fingerprint).description
    settings = description.settings | {"stored_as": folders.precision}
    wanted = (
        f"{family}/{protocol}", classifier.name, json.loads(json.dumps(classifier.settings)), labels, draws, seed,
        settings,
        data.train.fingerprint, data.test.fingerprint,
    )  # fmt: skip
    newest = None
    for record in known_records(folders.out):
        is_of = (
            record.protocol, record.classifier, record.classifier_settings, record.labels, len(record.test_correct),
            record.seed, record.representation, record.dataset["train_fingerprint"], record.dataset["test_fingerprint"],
        )  # fmt: skip
        newest = record if is_of == wanted else newest
    return newest


def extracted(data: LabelledImages, representation: Representation, folders: Folders) -> Extracted:
    """Both splits' features, from the store or made and stored. ValueError where there is nothing to tell apart."""
    classes = np.unique(data.train.labels)
    if len(classes) < 2:
        n = len(data.train.labels)
        raise ValueError(f"{data.name}: all {n:,} training images are of class {classes[0]}; two classes are needed")
    started = time.perf_counter()
    adapted = representation.adapted(data.train.images, data.train.fingerprint)
    if LEARNED in adapted.description.settings:
        _forget_halves(data, adapted.description, folders)
    train, test = (features_of(split, adapted, folders) for split in (data.train, data.test))
    ranks = current()
    ranks.wait()
    if not ranks.first:
        raise Done  # several ranks share the extraction alone
    leave()
    return Extracted(
        data=data, description=adapted.description, train=train, test=test, seconds=time.perf_counter() - started
    )


def measure(
    family: str, extraction: Extracted, protocol: Protocol, folders: Folders, *, seed: int, command: str, device: str
) -> Record:
    """Run the protocol on extracted features and append the record to `place.out`."""
    outcome = protocol(extraction.train, extraction.test)
    description = extraction.description
    record = Record(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        protocol=f"{family}/{outcome.protocol}",
        dataset=_describe(extraction.data),
        method=description.method,
        trained_on=description.trained_on,
        layers=description.layers,
        n_features=description.n_features,
        max_units=description.max_units,
        representation=description.settings | {"stored_as": folders.precision},
        labels=outcome.labels,
        seed=seed,
        lists_sha256=save_lists(folders.out / "draws", outcome.lists),
        classifier=outcome.classifier,
        classifier_settings=outcome.classifier_settings,
        C=outcome.validation.C,
        C_at_edge=outcome.validation.at_edge,
        validation_n=outcome.validation.n,
        validation_correct={repr(float(C)): counts for C, counts in outcome.validation.correct.items()},
        test_n=outcome.n_test,
        test_correct=outcome.test_correct,
        largest_gap=outcome.largest_gap,
        seconds={
            "features": round(extraction.seconds, 1),
            "selection": round(outcome.selection_seconds, 1),
            "test": round(outcome.test_seconds, 1),
        },
        versions=versions(),
        machine=machine(device),
        commit=commit(),
        command=command,
    )
    append_record(folders.out, record)
    return record


def _forget_halves(data: LabelledImages, description: Description, folders: Folders) -> None:
    """Of what is learned anew before features are made, both splits' are stored, or none.

    A network that is trained again, on more threads say, is not the same to the last bit.
    """
    keys = [_key(split, description, folders) for split in (data.train, data.test)]
    there = [has(folders.store, key) for key in keys]
    if any(there) and not all(there) and current().first:
        remove(folders.store, keys[there.index(True)])
    current().wait()


def _key(split: Split, description: Description, folders: Folders) -> dict[str, Any]:
    """What a split's features are stored under."""
    images = {"images": split.pixel_fingerprint, "order": split.fingerprint}
    return {**description.settings, **images, "precision": folders.precision}


def features_of(split: Split, representation: Representation, folders: Folders) -> Features:
    """The split's features, from the store or made and stored."""
    description = representation.description

    def fill(out: np.ndarray) -> None:
        representation.fill(split.images, out)

    shape = (len(split.labels), description.n_features)
    X = stored_features(folders.store, _key(split, description, folders), shape, fill)
    return Features(X, split.labels)


def _describe(data: LabelledImages) -> dict[str, object]:
    return {
        "name": data.name,
        "verified": data.verified,
        "remark": data.remark,
        "train_fingerprint": data.train.fingerprint,
        "test_fingerprint": data.test.fingerprint,
        "n_train": len(data.train.labels),
        "n_test": len(data.test.labels),
    }
