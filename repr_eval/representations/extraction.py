"""The features of a data set by a representation: from the store, or fitted, made and stored.

The one place that knows what features are stored under: the settings of the representation's description, the
fingerprints of both splits, and the precision. A data set has one entry, with the rows of the training images before
those of the test images: a representation that is trained anew, on more threads say, is not the same to the last bit,
so features of two trainings must not be mixed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from repr_eval.gan.networks import Discriminator
from repr_eval.images.labelled import LabelledImages
from repr_eval.representations.base import Description, Representation
from repr_eval.representations.batched import Batched
from repr_eval.representations.store import Entry, check_space, read, write
from repr_eval.system.ranks import ALONE, Ranks

PRECISIONS = ("float16", "float32")


@dataclass(frozen=True)
class Extracted:
    """A data set seen through a representation."""

    data: LabelledImages
    description: Description  # with the fingerprint of the training images, where the features depend on them
    train: np.ndarray  # features float [N, D] of the training images, read-only, in a memory map
    test: np.ndarray  # and of the test images
    precision: str  # in which they are stored
    device: str  # on which the representation makes them
    seconds: float  # taken to make them, or to find them
    network: Discriminator | None = None  # for a classifier that needs it: `train` and `test` are then images
    sha256: str | None = None  # of the stored rows of all layers, as `store.RowHashes.id`; None of what is not stored

    def of_layers(self, first: int, last: int) -> "Extracted":
        """The features of layers `first` to `last` alone: views of the same arrays."""
        description, columns = self.description.of_layers(first, last), self.description.columns(first, last)
        return replace(self, description=description, train=self.train[:, columns], test=self.test[:, columns])


def extract(
    representation: Representation, data: LabelledImages, store: Path, precision: str = "float16", ranks: Ranks = ALONE
) -> Extracted:
    """Look up the features of both splits in the folder `store`; if missing, fit, transform and store them.

    `representation` is fitted to the training images before any file is opened, and only if features are missing.
    Several ranks share the work if the representation can be shared; each gets the result. Raises ValueError on a
    representation that they cannot share, on images that it does not take and on features that are not finite, and
    OSError where the disk has no room. Nothing is stored then.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r}; choose from {', '.join(PRECISIONS)}")
    started = time.perf_counter()
    description = representation.description.fitted_to(data.train.fingerprint)
    settings = {
        "representation": description.settings, "train": data.train.fingerprint, "test": data.test.fingerprint,
        "precision": precision,
    }  # fmt: skip
    n_train = len(data.train.labels)
    shape = (n_train + len(data.test.labels), description.n_features)
    entry = read(store, settings, shape)
    if not ranks.broadcast(entry is not None):
        entry = _made(representation, data, store, settings, shape, ranks)
    if entry is None:
        raise OSError(f"{store}: the first rank has found the features of {data.name} and rank {ranks.number} has not")
    return Extracted(
        data=data,
        description=description,
        train=entry.rows[:n_train],
        test=entry.rows[n_train:],
        precision=precision,
        device=str(representation.device),
        seconds=time.perf_counter() - started,
        sha256=entry.hashes.id,
    )


def _made(
    representation: Representation, data: LabelledImages, store: Path, settings: dict[str, Any],
    shape: tuple[int, int], ranks: Ranks,
) -> Entry:  # fmt: skip
    """Fit, transform and store; the stored features of both splits, one after the other."""
    fit: Callable[..., object] = representation.fit
    transform: Callable[..., np.ndarray] = representation.transform
    if ranks.count > 1:
        if not isinstance(representation, Batched):
            raise ValueError(f"{representation.description.method} runs in one process: run it without torchrun")
        fit, transform = partial(fit, ranks=ranks), partial(transform, ranks=ranks)
    n_train = len(data.train.labels)

    def fill(array: np.ndarray) -> None:
        for images, part in ((data.train.images, array[:n_train]), (data.test.images, array[n_train:])):
            if transform(images, out=part) is not part:
                method = representation.description.method
                raise ValueError(f"{method}: transform(images, out) must write to out and return it")

    if ranks.first:
        check_space(store, settings, shape)  # before a training of hours
    fit(data.train.images)
    return write(store, settings, shape, fill, partial(_check_finite, n_train=n_train), ranks)


def _check_finite(X: np.ndarray, n_train: int, rows: int = 1024) -> None:
    """ValueError naming the first image, if any, whose features in X [n_train + n_test, D] are not all finite."""
    for start in range(0, len(X), rows):
        finite = np.isfinite(X[start : start + rows]).all(1)
        if not finite.all():
            row = start + int(finite.argmin())
            image = f"training image {row}" if row < n_train else f"test image {row - n_train}"
            raise ValueError(
                f"the features of {image} hold NaN or infinity as {X.dtype} "
                "(float16 reaches 65,504; store them as float32, which goes further)"
            )
