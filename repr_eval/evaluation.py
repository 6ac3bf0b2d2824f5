"""One evaluation, from a data set and a representation to a stored record."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from repr_eval.classifiers.base import Classifier, Features
from repr_eval.images.labelled import LabelledImages
from repr_eval.protocols.draws import save_lists
from repr_eval.protocols.results import Outcome
from repr_eval.records import Record, append_record, known_records
from repr_eval.representations.base import Representation
from repr_eval.representations.extraction import Extracted, extract
from repr_eval.system.provenance import commit, machine, versions
from repr_eval.system.ranks import current, leave

Protocol = Callable[[Features, Features], Outcome]  # (training split, test split), all settings bound


@dataclass(frozen=True)
class Folders:
    """Where an evaluation reads and writes."""

    out: Path  # records and index lists
    store: Path  # features
    precision: str = "float16"  # of stored features


def evaluate(
    family: str, data: LabelledImages, representation: Representation, protocol: Protocol, folders: Folders, *,
    seed: int, command: str, device: str, layers: tuple[int, int] | None = None,
) -> Record | None:  # fmt: skip
    """Extract (or find stored) features of both splits, run the protocol, append the record to `folders.out`.

    `family` is the table it belongs to: cifar10, svhn or digits. `layers` (first, last): only their features. Several
    ranks share the extraction; all but the first return None after it.
    """
    if layers:
        representation.description.of_layers(*layers)  # before the hours, not after them
    extraction = extracted(data, representation, folders)
    if extraction is None:
        return None
    if layers:
        extraction = extraction.of_layers(*layers)
    return measure(family, extraction, protocol, folders, seed=seed, command=command, device=device)


def recorded(
    family: str, data: LabelledImages, representation: Representation, folders: Folders, protocol: str,
    classifier: Classifier, labels: int, draws: int, seed: int,
) -> Record | None:  # fmt: skip
    """The newest record in `folders.out` of this very measurement, if there is one; nothing is computed."""
    description = representation.description.fitted_to(data.train.fingerprint)
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


def extracted(data: LabelledImages, representation: Representation, folders: Folders) -> Extracted | None:
    """Both splits' features, from the store or made and stored. ValueError where there is nothing to tell apart.

    Several ranks share this work and leave the job: the first goes on alone, the others get None.
    """
    classes = np.unique(data.train.labels)
    if len(classes) < 2:
        n = len(data.train.labels)
        raise ValueError(f"{data.name}: all {n:,} training images are of class {classes[0]}; two classes are needed")
    ranks = current()
    extraction = extract(representation, data, folders.store, folders.precision, ranks)
    ranks.wait()
    leave()
    return extraction if ranks.first else None


def measure(
    family: str, extraction: Extracted, protocol: Protocol, folders: Folders, *, seed: int, command: str, device: str
) -> Record:
    """Run the protocol on extracted features and append the record to `folders.out`."""
    data = extraction.data
    outcome = protocol(Features(extraction.train, data.train.labels), Features(extraction.test, data.test.labels))
    description = extraction.description
    record = Record(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        protocol=f"{family}/{outcome.protocol}",
        dataset=_describe(data),
        method=description.method,
        trained_on=description.trained_on,
        layers=description.layers,
        n_features=description.n_features,
        max_units=description.max_units,
        representation=description.settings | {"stored_as": extraction.precision},
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
