"""One evaluation: a representation under a protocol, on its data set, becomes a result and a stored record."""

import copy
import json
import shlex
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from repr_eval.classifiers.base import Classifier, Features, kind_of
from repr_eval.classifiers.named import setting_of
from repr_eval.datasets import DATASETS, load_dataset, metric_of
from repr_eval.images.data_dir import cache_folder
from repr_eval.images.labelled import LabelledImages
from repr_eval.predictions import Predictions
from repr_eval.protocols.base import Protocol
from repr_eval.protocols.results import Outcome
from repr_eval.records import DRAWS, L2_SVM_NAME, Facts, Record, append_record, facts_of, known_records
from repr_eval.reporting.render import Column, method_words, to_html
from repr_eval.reporting.rows import Row, measured_row
from repr_eval.representations.averaged_views import SINGLE, AveragedViews, seen_in_views
from repr_eval.representations.base import Representation
from repr_eval.representations.discriminator import DiscriminatorFeatures
from repr_eval.representations.extraction import Extracted, extract
from repr_eval.representations.feature_folder import FeatureFolder, write_features
from repr_eval.representations.given import Given
from repr_eval.representations.layers import Layers
from repr_eval.representations.named import representation_named
from repr_eval.representations.own_network.network import Network
from repr_eval.representations.resized import Resized, resized, taking
from repr_eval.system.arrays import digest_of, save_lists
from repr_eval.system.devices import chosen_device
from repr_eval.system.progress import silent
from repr_eval.system.provenance import commit, machine, versions
from repr_eval.system.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Result:
    """What came of an evaluation; `print` shows it in one line, a notebook as a table."""

    record: Record
    predictions: Predictions | None = field(default=None, compare=False, repr=False)

    @property
    def row(self) -> Row:
        """The line that tables show, with the metric of the data set's tables."""
        return measured_row(self.record, self.metric)

    @property
    def metric(self) -> str:
        """What the data set's tables speak of: "accuracy" or "error"."""
        return metric_of(facts_of(self.record).dataset)

    @property
    def accuracy(self) -> float:
        """Share of the test images classified correctly, in [0, 1], mean over the draws."""
        return float(np.mean(self.record.test_correct)) / self.record.test_n

    @property
    def error(self) -> float:
        """1 - accuracy."""
        return 1 - self.accuracy

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean over classes of the accuracy on their test images, and over draws, in [0, 1]; None if unknown."""
        return self.row.balanced_accuracy

    @property
    def top5_accuracy(self) -> float | None:
        """Share of the test images whose class is among the five ranked highest; None of ten classes or fewer."""
        return self.row.top5_accuracy

    @property
    def ci95(self) -> tuple[float | None, float | None]:
        """A 95% interval of the metric, in [0, 1]: of the mean of the draws, or of one classifier's test images."""
        return self.row.ci95_low, self.row.ci95_high

    @property
    def more(self) -> dict[str, float]:
        """Balanced and top-5 accuracy, in [0, 1], by these names, where they are known."""
        known = {"balanced accuracy": self.balanced_accuracy, "top-5 accuracy": self.top5_accuracy}
        return {name: value for name, value in known.items() if value is not None}

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
            **{name: f"{100 * value:.2f}%" for name, value in self.more.items()},
            "draws": row.draws,
            setting_of(self.record.classifier): f"{row.C:g}" + (" (edge)" if row.C_at_edge else ""),
            "record": row.record,
        }
        return to_html((Column("", lambda line: line[0]), Column("", lambda line: line[1])), lines.items())


def evaluate(
    representation: object,
    protocol: Protocol,
    *,
    classifier: Classifier | None = None,
    data: LabelledImages | None = None,
    out: str | Path | None = None,
    store: str | Path | None = None,
    precision: str = "float16",
    layers: tuple[int, int] | None = None,
    views: str = SINGLE,
    data_dir: str | Path | None = None,
    device: str = "auto",
    command: str | None = None,
    progress: bool = True,
) -> Result:
    """Measure `representation` by `protocol`.

    `representation`: a function of images uint8 [N, S, S, 3] to features float [N, D]; an object with `fit` and
    `transform`; an `nn.Module`, whose output counts (`repr_eval.Network` takes layers and says how images are
    normalised); an object of the suite's (`repr_eval.KMeans`, ...); a weights file; or a name
    ("imagenet-contrastive-w0.5", "random", "pixels", "kmeans-1600", ...). `classifier` takes the place of the
    protocol's. `data` must be of the protocol's data set; by default it is the protocol's own (`AllLabels(data)`), or
    is loaded, from `data_dir` or the usual places.
    `out` is the folder that the record is added to; None writes none. `store` is the folder of stored features
    (default: in the cache folder), `precision` the type in which they are stored and read, float16 or float32; features
    of what does not describe itself are not kept (`repr_eval.given`). `layers` (first, last): the features of these
    layers alone. `views`: each feature is its mean over the image and its mirror image ("mirror"), the image and four
    shifts of it ("shifts"), or both ("mirror-shifts"); the paper's protocol looks once ("single"). `device` is that of
    names; objects have their own. With `progress` False, nothing is shown on stderr.

    Raises ValueError on data of another data set, features that are not finite, classes without images, ...
    """
    _check_arguments(protocol, classifier, data, layers)
    if classifier is not None:
        protocol = protocol.with_classifier(classifier)
    if out is not None:
        _make_folder(Path(out))  # before the hours, not after them; so is a line that is no record
        known_records(Path(out))
    checked = as_representation(representation, protocol.seed, device, views)
    check_layers(checked, layers)  # before the hours, not after them
    folder = Path(store) if store is not None else cache_folder() / "features"
    with silent(not progress):
        if data is None:
            data = protocol.data or load_dataset(protocol.dataset, data_dir)
        features = seen_through(data, checked, protocol, folder, precision, layers)
        return measure(features, protocol, Path(out) if out is not None else None, command)


def _check_arguments(protocol: object, classifier: object, data: object, layers: object) -> None:
    """Raise a ValueError for an argument of another kind than is needed; None is fine for all but a protocol's own."""
    if protocol is not None and not isinstance(protocol, Protocol):
        what = f"the class {protocol.__name__}" if isinstance(protocol, type) else repr(protocol)
        raise ValueError(f"protocol is {what:.60}; needs an object such as CIFAR10() or AllLabels(data)")
    methods = all(hasattr(classifier, name) for name in ("select", "test", "needs"))
    if classifier is not None and (isinstance(classifier, type) or not methods):
        what = f"the class {classifier.__name__}" if isinstance(classifier, type) else repr(classifier)
        raise ValueError(f"classifier is {what:.60}; needs an object such as NearestNeighbours()")
    if data is not None and not isinstance(data, LabelledImages):
        raise ValueError(f"data is {type(data).__name__}; needs labelled images, as load_dataset gives them")
    if layers is not None and not (
        isinstance(layers, tuple) and len(layers) == 2 and all(type(layer) is int for layer in layers)
    ):
        raise ValueError(f"layers is {layers!r:.60}; needs (first, last), such as (1, 4)")


def _make_folder(folder: Path) -> None:
    """Make a folder for results; ValueError where there is something else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"`out` {folder}: not a folder, and none can be made there ({error.strerror})") from error


def as_representation(
    representation: object, seed: int, device: str = "auto", views: str = SINGLE
) -> Representation | Given:
    """The representation that a name, a weights file, a function or an object stands for, averaged over `views`."""
    if representation is None or (isinstance(representation, str | Path) and not str(representation).strip()):
        raise ValueError(f"representation is {representation!r}; needs a name, a file, a function or an object")
    if isinstance(representation, str | Path):
        named = representation_named(str(representation), seed=seed, device=chosen_device(device))
        return seen_in_views(named, views)
    if isinstance(representation, type):
        raise ValueError(f"{representation.__name__} is a class; give an object of it, {representation.__name__}(...)")
    if hasattr(representation, "description"):
        return seen_in_views(representation, views)  # type: ignore[arg-type]
    if isinstance(representation, nn.Module):
        return seen_in_views(Network(representation, device=chosen_device(device)), views)
    if callable(representation) or (hasattr(representation, "fit") and hasattr(representation, "transform")):
        return Given(representation, views=views)
    raise ValueError(
        f"representation is {type(representation).__name__}; needs a function of images, an object with fit and "
        "transform, an nn.Module, a repr_eval representation, a weights file or a name"
    )


def check_layers(representation: Representation | Given, layers: tuple[int, int] | None) -> None:
    """ValueError where the representation has no such layers."""
    if layers and isinstance(representation, Given):
        raise ValueError(f"layers {layers[0]}-{layers[1]}: {representation.name} has no layers to choose from")
    if layers and not isinstance(representation, Given):
        representation.description.of_layers(*layers)


def check_data(data: LabelledImages, protocol: Protocol) -> None:
    """Raise a ValueError unless `data` is of the protocol's data set."""
    if data.dataset != protocol.dataset:
        raise ValueError(
            f"{protocol.name} is for {protocol.dataset}; the data is {data.name} ({data.dataset or 'of no data set'}): "
            "give data of that set, or a protocol of this one"
        )


def seen_through(
    data: LabelledImages, representation: Representation | Given, protocol: Protocol, store: Path,
    precision: str = "float16", layers: tuple[int, int] | None = None, ranks: Ranks = ALONE,
) -> Extracted:  # fmt: skip
    """What the protocol's classifier gets of `data`: features of both splits, or the images, if it needs these.

    Several ranks share the extraction; each gets the result.
    """
    check_data(data, protocol)
    check_classes(data)
    if protocol.classifier.needs == "images":
        return _images(data, _taking(representation, data), protocol.classifier, precision)
    if protocol.classifier.needs == "network":
        return _network(data, _taking(representation, data), protocol.classifier, precision, layers)
    return features_of(data, representation, store, precision, layers, ranks)


def features_of(
    data: LabelledImages, representation: Representation | Given, store: Path,
    precision: str, layers: tuple[int, int] | None = None, ranks: Ranks = ALONE,
) -> Extracted:  # fmt: skip
    """The features of both splits: made, found in the store, or those of a folder. Several ranks share the work.

    Images of another size than the representation takes are resized first.
    """
    if isinstance(representation, Given):
        return representation.extracted(data, precision)
    if isinstance(representation, FeatureFolder):
        features = representation.extracted(data)
        if precision not in ("float16", features.precision):  # float16 is what nobody may have asked for
            raise ValueError(f"precision {precision!r}: {representation.folder} holds features in {features.precision}")
    else:
        features = extract(taking(representation, data.train.images.shape[1]), data, store, precision, ranks)
    return features.of_layers(*layers) if layers else features


def _taking(representation: Representation | Given, data: LabelledImages) -> Representation | Given:
    """The representation for images of this size."""
    return representation if isinstance(representation, Given) else taking(representation, data.train.images.shape[1])


def extract_features(
    representation: object,
    data: LabelledImages | str | Path,
    out: str | Path | None = None,
    *,
    store: str | Path | None = None,
    precision: str = "float16",
    layers: tuple[int, int] | None = None,
    views: str = SINGLE,
    seed: int = 0,
    device: str = "auto",
    command: str | None = None,
) -> Extracted:
    """The features of both splits of `data`, labelled images or what `load_dataset` finds under that name.

    The result's `train` and `test` are float [N, D], the rows those of `data.train.images` and `data.test.images`. With
    `out` they are also written to that folder, with labels and a description (`repr_eval.representations.
    feature_folder`); such a folder is itself a representation of those images. `seed` is that of names whose features
    depend on one; the other arguments are those of `evaluate`.
    """
    _check_arguments(None, None, None, layers)
    checked = as_representation(representation, seed, device, views)
    check_layers(checked, layers)
    labelled = load_dataset(data) if isinstance(data, str | Path) else data
    if not isinstance(labelled, LabelledImages):
        raise ValueError(f"data is {type(data).__name__}; needs labelled images, or what load_dataset takes")
    folder = Path(store) if store is not None else cache_folder() / "features"
    features = features_of(labelled, checked, folder, precision, layers)
    if out is not None:
        write_features(Path(out), features, command or shlex.join(sys.argv))
    return features


def _images(
    data: LabelledImages, representation: Representation | Given, classifier: Classifier, precision: str
) -> Extracted:
    """The images themselves, described as the pixels that they are."""
    if isinstance(representation, Given) or representation.description.settings.get("representation") != "pixels":
        raise ValueError(f"{classifier.name} is trained on the images themselves: give it pixels")
    if "views" in representation.description.settings:
        raise ValueError(f"{classifier.name} is trained on the images themselves: views must be {SINGLE}")
    return _as_images(data, representation, precision, _device_of(classifier))


def _network(
    data: LabelledImages, representation: Representation | Given, classifier: Classifier, precision: str,
    layers: tuple[int, int] | None,
) -> Extracted:  # fmt: skip
    """The images, and the network that the representation has features of, before it is fitted to any."""
    inner = representation.representation if isinstance(representation, Resized) else representation
    if isinstance(inner, AveragedViews):
        raise ValueError(f"{classifier.name}: trains the network on images as they are: views must be {SINGLE}")
    if not isinstance(inner, DiscriminatorFeatures):
        name = inner.name if isinstance(inner, Given) else inner.description.method
        raise ValueError(
            f"{classifier.name}: trains a discriminator, and {name} is none; give a weights file, a shipped name or "
            "random"
        )
    if inner.bn != "recomputed":
        raise ValueError(
            f"bn {inner.bn}: {classifier.name} takes batch-norm statistics from the labelled images; leave it out"
        )
    if layers:
        raise ValueError(f"layers {layers[0]}-{layers[1]}: {classifier.name} trains the whole network; leave them out")
    network = copy.deepcopy(inner.network).to(inner.device)
    return replace(_as_images(data, representation, precision, str(inner.device)), network=network)


def _as_images(data: LabelledImages, representation: Representation | Given, precision: str, device: str) -> Extracted:
    """The images of both splits, of the size that the representation takes."""
    assert not isinstance(representation, Given)
    images = [split.images for split in (data.train, data.test)]
    if isinstance(representation, Resized):
        images = [resized(split, representation.size) for split in images]
    return Extracted(
        data=data,
        description=representation.description,
        train=images[0],
        test=images[1],
        precision=precision,
        device=device,
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
    description = taking(representation, data.train.images.shape[1]).description
    if protocol.classifier.needs == "features":
        description = description.fitted_to(data.train.fingerprint)
    labels = protocol.labels_of(len(data.train.labels), len(np.unique(data.train.labels)))
    wanted = (
        protocol.name, protocol.classifier.name, json.loads(json.dumps(protocol.classifier.settings)), labels,
        protocol.n_draws, protocol.seed, _stored(description.settings, precision),
        data.train.fingerprint, data.test.fingerprint,
    )  # fmt: skip
    newest = None
    for record in known_records(out):
        its = (
            record.protocol, record.classifier, record.classifier_settings, record.labels, len(record.test_correct),
            record.seed, record.representation, record.dataset["train_fingerprint"], record.dataset["test_fingerprint"],
        )  # fmt: skip
        newest = record if its == wanted else newest
    return newest


def _stored(settings: dict[str, Any], precision: str) -> dict[str, Any]:
    """What a record says of the representation: its settings, and the type of stored features.

    The type belongs to a measurement's identity (`reporting.rows.identity`), and stays in it where the classifier gets
    images, of which it changes nothing: older records gave that classifier stored pixels, which say the images exactly.
    """
    return settings | {"stored_as": precision}


def measure(features: Extracted, protocol: Protocol, out: Path | None, command: str | None = None) -> Result:
    """Run the protocol on extracted features; the record is added to the folder `out`, if there is one."""
    data = features.data
    check_data(data, protocol)
    train = Features(features.train, data.train.labels, features.network)
    test = Features(features.test, data.test.labels)
    outcome = protocol.run(train, test)
    record = _record(features, protocol, outcome)
    predictions = _predictions(outcome, data.test.labels)
    record = replace(
        record,
        lists_sha256=_kept(outcome.lists, out),
        predictions_sha256=_kept(predictions.arrays, out) if predictions else None,
        more=_more(outcome, predictions),
        command=command or shlex.join(sys.argv),
    )
    if out is not None:
        append_record(out, record)
    return Result(record, predictions)


def _more(outcome: Outcome, predictions: Predictions | None) -> dict[str, list[float]]:
    """What a record counts beside the images classified correctly."""
    more: dict[str, list[float]] = {}
    if predictions:
        more["balanced_accuracy"] = predictions.balanced_accuracy
    if outcome.top5_correct is not None:
        more["top5_correct"] = list(outcome.top5_correct)
    return more


def _kept(arrays: dict[str, np.ndarray], out: Path | None) -> str:
    """The digest of arrays, which are written to the folder `out`, if there is one."""
    return digest_of(arrays) if out is None else save_lists(out / DRAWS, arrays)


def _predictions(outcome: Outcome, labels: np.ndarray) -> Predictions | None:
    """What was predicted for the test images, if the classifier says it. ValueError where it counts otherwise."""
    if outcome.predicted is None:
        return None
    predictions = Predictions.of(outcome.predicted, labels)
    if predictions.correct != outcome.test_correct:
        raise ValueError(
            f"{outcome.classifier}: counts {outcome.test_correct!r:.60} as right; of its predictions "
            f"{predictions.correct!r:.60} are"
        )
    return predictions


def devices_used(features: Extracted, classifier: Classifier) -> str:
    """Where features are made and classifiers trained: "cpu" unless one of the two is elsewhere."""
    both = (features.device, _device_of(classifier))
    return " and ".join(dict.fromkeys(device for device in both if device != "cpu")) or "cpu"


def _device_of(classifier: Classifier) -> str:
    return str(getattr(classifier, "device", None) or "cpu")


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
        representation=_stored(description.settings, features.precision),
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
        machine=machine(devices_used(features, protocol.classifier)),
        commit=commit(),
        command="",
        facts=_facts(features, protocol),
        features_sha256=features.sha256,
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
    own = {} if data.dataset in DATASETS else {"classes": list(data.classes), "side": data.train.images.shape[1]}
    return own | {
        "name": data.name,
        "test_images_in_training": data.leaked,
        "verified": data.verified,
        "remark": data.remark,
        "train_fingerprint": data.train.fingerprint,
        "test_fingerprint": data.test.fingerprint,
        "n_train": len(data.train.labels),
        "n_test": len(data.test.labels),
    }
