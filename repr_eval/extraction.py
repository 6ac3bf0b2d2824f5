"""Features of a data set: both splits seen through a representation, from the store or made and stored."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repr_eval.classifiers.base import Features
from repr_eval.images.labelled import LabelledImages, Split
from repr_eval.representations.base import Description, Representation
from repr_eval.representations.fitted import LEARNED
from repr_eval.representations.store import has, remove, stored_features
from repr_eval.system.ranks import Done, current, leave


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
