"""One evaluation: a representation under a protocol, on its data set, becomes a result and a stored record."""

import json
import shlex
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from repr_eval.classifiers.base import Classifier, Features, kind_of
from repr_eval.classifiers.named import setting_of
from repr_eval.datasets import METRICS, load_dataset
from repr_eval.images.data_dir import cache_folder
from repr_eval.images.labelled import LabelledImages
from repr_eval.protocols.base import Protocol
from repr_eval.protocols.draws import digest_of, save_lists
from repr_eval.protocols.results import Outcome
from repr_eval.records import L2_SVM_NAME, Facts, Record, append_record, facts_of, known_records
from repr_eval.reporting.render import Column, method_words, to_html
from repr_eval.reporting.rows import Row, measured_row
from repr_eval.representations.base import Description, Representation
from repr_eval.representations.extraction import Extracted, extract
from repr_eval.representations.layers import Layers
from repr_eval.representations.named import representation_named
from repr_eval.representations.own_network.network import FunctionFeatures, Network
from repr_eval.system.devices import chosen_device
from repr_eval.system.provenance import commit, machine, versions
from repr_eval.system.ranks import ALONE, Ranks

Images = np.ndarray  # uint8 [N, S, S, 3]


@dataclass(frozen=True)
class Result:
    """What came of an evaluation; `print` shows it in one line, a notebook as a table."""

    record: Record

    @property
    def row(self) -> Row:
        """The line that tables show, with the metric of the data set's tables."""
        return measured_row(self.record, self.metric)

    @property
    def metric(self) -> str:
        """What the data set's tables speak of: "accuracy" or "error"."""
        return METRICS.get(facts_of(self.record).dataset, "accuracy")

    @property
    def accuracy(self) -> float:
        """Share of the test images classified correctly, in [0, 1], mean over the draws."""
        return float(np.mean(self.record.test_correct)) / self.record.test_n

    @property
    def error(self) -> float:
        """1 - accuracy."""
        return 1 - self.accuracy

    @property
    def ci95(self) -> tuple[float | None, float | None]:
        """A 95% interval of the metric, in [0, 1]: of the mean of the draws, or of one classifier's test images."""
        return self.row.ci95_low, self.row.ci95_high

    def __str__(self) -> str:
        record, row = self.record, self.row
        low, high = 100 * (row.ci95_low or 0), 100 * (row.ci95_high or 0)
        edge = ", at the edge of its grid" if record.C_at_edge else ""
        layers = "" if row.layers == "-" else f"layers {row.layers}, "
        by = "" if record.classifier == L2_SVM_NAME else f", {record.classifier}"
        return (
            f"{row.data}, {row.labels:,} labels, {record.method}, {layers}{row.features:,} features{by}: test "
            f"{self.metric} {100 * row.rate:.2f}% ({row.draws} draws, 95% interval of the {row.ci95_of} {low:.2f} to "
            f"{high:.2f}; {setting_of(record.classifier)} {row.C:g}{edge}; record {row.record})"
        )

    def _repr_html_(self) -> str:
        """A table of two columns, escaped."""
        row = self.row
        low, high = 100 * (row.ci95_low or 0), 100 * (row.ci95_high or 0)
        lines = {
            "method": method_words(row),
            "data": f"{row.data}, {row.labels:,} labels",
            "protocol": row.protocol,
            "classifier": row.classifier,
            f"test {self.metric}": f"{100 * row.rate:.2f}%",
            f"95% interval of the {row.ci95_of}": f"{low:.2f}% to {high:.2f}%",
            "draws": row.draws,
            setting_of(self.record.classifier): f"{row.C:g}" + (" (edge)" if row.C_at_edge else ""),
            "record": row.record,
        }
        return to_html((Column("", lambda line: line[0]), Column("", lambda line: line[1])), lines.items())


def evaluate(
    representation: Representation | Callable[[Images], np.ndarray] | str | Path,
    protocol: Protocol,
    *,
    classifier: Classifier | None = None,
    data: LabelledImages | None = None,
    out: str | Path | None = None,
    store: str | Path | None = None,
    precision: str = "float16",
    layers: tuple[int, int] | None = None,
    data_dir: str | Path | None = None,
    device: str = "auto",
    command: str | None = None,
) -> Result:
    """Measure `representation` by `protocol`.

    `representation`: a function of images uint8 [N, S, S, 3] to features float [N, D]; an `nn.Module`, whose output
    counts (`repr_eval.Network` takes layers and says how images are normalised); an object of the suite's
    (`repr_eval.KMeans`, ...); a weights file; or a name ("imagenet-contrastive-w0.5", "random",
    "pixels", "kmeans-1600", ...). `classifier` takes the place of the protocol's. `data` must be of the protocol's data
    set; by default it is loaded, from `data_dir` or the usual places. `out` is the folder that the record is added to;
    None writes none. `store` is the folder of stored features (default: in the cache folder), `precision` the type in
    which they are stored and read, float16 or float32; features of a plain function are not kept, since nothing tells
    for sure what it computes. `layers` (first, last): the features of these layers alone. `device` is that of names;
    objects have their own.

    Raises ValueError on data of another data set, features that are not finite, classes without images, ...
    """
    if classifier is not None:
        protocol = protocol.with_classifier(classifier)
    checked = as_representation(representation, protocol.seed, device)
    if layers:
        checked.description.of_layers(*layers)  # before the hours, not after them
    if data is None:
        data = load_dataset(protocol.dataset, data_dir)
    with tempfile.TemporaryDirectory() as temporary:
        is_function = callable(representation) and not isinstance(representation, nn.Module)
        lasting = temporary if is_function else store
        folder = Path(lasting) if lasting is not None else cache_folder() / "features"
        features = seen_through(data, checked, protocol, folder, precision)
        if layers:
            features = features.of_layers(*layers)
        return measure(features, protocol, Path(out) if out is not None else None, command)


def as_representation(
    representation: Representation | Callable[[Images], np.ndarray] | str | Path, seed: int, device: str = "auto"
) -> Representation:
    """The representation that a name, a weights file, a function or an object stands for."""
    if isinstance(representation, str | Path):
        return representation_named(str(representation), seed=seed, device=chosen_device(device))
    if hasattr(representation, "description"):
        return representation  # type: ignore[return-value]
    if isinstance(representation, nn.Module):
        return Network(representation, device=chosen_device(device))
    if callable(representation) and not isinstance(representation, type):
        return FunctionFeatures(representation)
    raise ValueError(
        f"representation is {type(representation).__name__}; needs a function of images, a repr_eval representation "
        "an nn.Module, a weights file or a name"
    )


def check_data(data: LabelledImages, protocol: Protocol) -> None:
    """Raise a ValueError unless `data` is of the protocol's data set."""
    if data.dataset != protocol.dataset:
        raise ValueError(
            f"{protocol.name} is for {protocol.dataset}; the data is {data.name} ({data.dataset or 'of no data set'}): "
            "give data of that set, or a protocol of this one"
        )


def seen_through(
    data: LabelledImages, representation: Representation, protocol: Protocol, store: Path, precision: str,
    ranks: Ranks = ALONE,
) -> Extracted:  # fmt: skip
    """What the protocol's classifier gets: features of both splits or, where it needs images, the images."""
    check_data(data, protocol)
    check_classes(data)
    if protocol.classifier.needs == "features":
        return extract(representation, data, store, precision, ranks)
    description = representation.description
    if description.settings.get("representation") != "pixels":
        raise ValueError(f"{protocol.classifier.name} is trained on the images themselves: give it pixels")
    return Extracted(
        data=data,
        description=description,
        train=data.train.images,
        test=data.test.images,
        precision=precision,
        device=str(getattr(protocol.classifier, "device", None) or "cpu"),
        seconds=0.0,
    )


def check_classes(data: LabelledImages) -> None:
    """Raise a ValueError where there is nothing to tell apart."""
    classes = np.unique(data.train.labels)
    if len(classes) < 2:
        n = len(data.train.labels)
        raise ValueError(f"{data.name}: all {n:,} training images are of class {classes[0]}; two classes are needed")


def recorded(
    data: LabelledImages, representation: Representation, protocol: Protocol, out: Path, precision: str = "float16"
) -> Record | None:
    """The newest record in `out` of this very measurement, if there is one; nothing is computed."""
    description = representation.description.fitted_to(data.train.fingerprint)
    labels = protocol.labels_of(len(data.train.labels), len(np.unique(data.train.labels)))
    wanted = (
        protocol.name, protocol.classifier.name, json.loads(json.dumps(protocol.classifier.settings)), labels,
        protocol.n_draws, protocol.seed, _stored(description, protocol, precision),
        data.train.fingerprint, data.test.fingerprint,
    )  # fmt: skip
    newest = None
    for record in known_records(out):
        settings = {**record.representation}
        if protocol.classifier.needs == "images":
            settings.pop("stored_as", None)  # of older records, whose pixels were stored as features
        its = (
            record.protocol, record.classifier, record.classifier_settings, record.labels, len(record.test_correct),
            record.seed, settings, record.dataset["train_fingerprint"], record.dataset["test_fingerprint"],
        )  # fmt: skip
        newest = record if its == wanted else newest
    return newest


def _stored(description: Description, protocol: Protocol, precision: str) -> dict[str, Any]:
    """What a record says of the representation: its settings, and the type of stored features."""
    return description.settings | ({"stored_as": precision} if protocol.classifier.needs == "features" else {})


def measure(features: Extracted, protocol: Protocol, out: Path | None, command: str | None = None) -> Result:
    """Run the protocol on what `seen_through` gives; the record is added to the folder `out`, if there is one."""
    data = features.data
    outcome = protocol.run(Features(features.train, data.train.labels), Features(features.test, data.test.labels))
    record = _record(features, protocol, outcome)
    lists = save_lists(out / "draws", outcome.lists) if out is not None else digest_of(outcome.lists)
    record = replace(record, lists_sha256=lists, command=command or shlex.join(sys.argv))
    if out is not None:
        append_record(out, record)
    return Result(record)


def _record(features: Extracted, protocol: Protocol, outcome: Outcome) -> Record:
    description, validation = features.description, outcome.validation
    return Record(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        protocol=protocol.name,
        dataset=_described(features.data),
        method=description.method,
        trained_on=description.trained_on,
        layers=str(description.layers),
        n_features=description.n_features,
        max_units=description.max_units,
        representation=_stored(description, protocol, features.precision),
        labels=outcome.labels,
        seed=protocol.seed,
        lists_sha256="",
        classifier=protocol.classifier.name,
        classifier_settings=protocol.classifier.settings,
        C=validation.C,
        C_at_edge=validation.at_edge,
        validation_n=validation.n,
        validation_correct={repr(float(C)): counts for C, counts in validation.correct.items()},
        test_n=outcome.n_test,
        test_correct=outcome.test_correct,
        largest_gap=outcome.largest_gap,
        seconds={
            "features": round(features.seconds, 1),
            "selection": round(outcome.selection_seconds, 1),
            "test": round(outcome.test_seconds, 1),
        },
        versions=versions(),
        machine=machine(features.device),
        commit=commit(),
        command="",
        facts=_facts(features, protocol),
    )


def _facts(features: Extracted, protocol: Protocol) -> Facts:
    layers = features.description.layers
    return Facts(
        dataset=protocol.dataset,
        protocol=protocol.fixed_name,
        other_grid=protocol.name != protocol.fixed_name,
        classifier=kind_of(protocol.classifier),
        needs=protocol.classifier.needs,
        layers=layers if isinstance(layers, Layers) else None,
        untrained=features.description.untrained,
        generated=features.data.generated,
    )


def _described(data: LabelledImages) -> dict[str, object]:
    return {
        "name": data.name,
        "verified": data.verified,
        "remark": data.remark,
        "train_fingerprint": data.train.fingerprint,
        "test_fingerprint": data.test.fingerprint,
        "n_train": len(data.train.labels),
        "n_test": len(data.test.labels),
    }
