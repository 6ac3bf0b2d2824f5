"""What is measured: features of some of a data set's training images, and whose they are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repr_eval.images.labelled import LabelledImages
from repr_eval.representations.base import Description
from repr_eval.representations.extraction import Extracted
from repr_eval.system.arrays import mapped
from repr_eval.system.files import require_regular, sha256_of_file
from repr_eval.system.random_streams import random_state_for


@dataclass(frozen=True)
class Seen:
    """Features of some training images, and what they are features of."""

    description: Description
    precision: str  # in which they are stored
    device: str  # on which they were made
    X: np.ndarray  # float [images, features]

    @property
    def parts(self) -> list[tuple[str, slice]]:
        """Names and columns of every layer, where there are several, and of all together."""
        description = self.description
        count = len(description.layer_features)
        layers = [
            (str(description.of_layers(k, k).layers), description.columns(k, k))
            for k in range(1, count + 1)
            if count > 1
        ]
        whole = "all" if description.layers == "-" else str(description.layers)
        return [*layers, (whole, slice(None))]

    @property
    def layers(self) -> list[np.ndarray]:
        """The features of every layer, views; all of them as one where there are no layers."""
        parts = self.parts
        return [self.X[:, columns] for _, columns in (parts[:-1] or parts)]

    @property
    def identity(self) -> dict[str, Any]:
        """What tells the representation from others, and what tables call it."""
        return {
            "method": self.description.method,
            "trained_on": self.description.trained_on,
            "n_features": self.description.n_features,
            "settings": self.description.settings | {"stored_as": self.precision},
        }


def chosen_rows(n: int, rows: int, seed: int) -> np.ndarray | None:
    """Which of n training images are measured: int64 [rows], ascending; a function of the three.

    None: all, where there are no more than `rows`. ValueError for fewer than two.
    """
    if rows < 2:
        raise ValueError(f"rows {rows}: needs 2 or more")
    if rows >= n:
        return None
    return np.sort(random_state_for("measures/rows", seed).choice(n, rows, replace=False))


def seen(features: Extracted, rows: np.ndarray | None) -> Seen:
    """The features of those training images; None: of all."""
    X = features.train if rows is None else features.train[rows]
    return Seen(features.description, features.precision, features.device, X)


def seen_in_file(path: Path, data: LabelledImages, rows: np.ndarray | None) -> Seen:
    """Features of the user's in an .npy file: float [N, D], a row for each training image.

    The rows have the order of `data`; those of the test images may follow. The features are known
    by the hash of the file. ValueError on a file that holds no such array.
    """
    n_train, n_test = len(data.train.labels), len(data.test.labels)
    require_regular(path)
    try:
        X = mapped(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not an .npy file of an array ({error})") from error
    if X.ndim != 2 or X.dtype.kind != "f" or len(X) not in (n_train, n_train + n_test):
        needed = f"a row for each of the {n_train:,} training images of {data.name}"
        also = f"or of the {n_train + n_test:,} training and test images"
        raise ValueError(
            f"{path}: holds {X.dtype} {list(X.shape)}; needs float [N, D], {needed}, {also}"
        )  # fmt: skip
    content = sha256_of_file(path)
    description = Description(
        method=path.name,
        trained_on="not said",
        layers="-",
        n_features=X.shape[1],
        max_units=None,
        settings={"representation": "file of features", "file_sha256": content},
    )
    return Seen(description, str(X.dtype), "cpu", X[:n_train] if rows is None else X[rows])
