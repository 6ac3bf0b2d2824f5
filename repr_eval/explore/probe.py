"""A linear probe in D's features: whether images have an attribute, a class of labelled real images."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from repr_eval.classifiers.base import TOL
from repr_eval.classifiers.selection import select_C
from repr_eval.explore.models import Models
from repr_eval.images.labelled import LabelledImages, Split
from repr_eval.svm.estimator import L2SVM
from repr_eval.system.random_streams import random_state_for

PER_SIDE = 1000  # images with the attribute, and as many without, to train on and to test on
CS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
HELD_OUT = 5  # of this many training images one chooses C


@dataclass(frozen=True)
class Probe:
    """An L2-SVM that tells an attribute; what it was trained on and how good it is on real test images."""

    svm: L2SVM
    attribute: str
    description: dict[str, Any]

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Decision values float [N] of D's features [N, D]: above 0 the probe says that they have it."""
        return np.asarray(self.svm.decision_function(features)).reshape(len(features))


def fit_probe(models: Models, data: LabelledImages, attribute: str, seed: int) -> Probe:
    """A probe of the class called `attribute` in `data`: as many images of it as of all other classes.

    At most 1,000 of each from the training images, drawn by seed; a fifth of them chooses C. Its
    accuracy is that on test images drawn likewise, where guessing has 1/2. ValueError where there
    is no such class, where it has fewer than 10 training images or no test images, or where images
    are not as large as D's.
    """
    if attribute not in data.classes:
        names = ", ".join(data.classes)
        raise ValueError(f"`attribute` {attribute!r}: no class of {data.name}, which has {names}")
    size = models.generator.arch.image_size
    if data.train.images.shape[1] != size:
        have = data.train.images.shape[1]
        raise ValueError(f"{data.name}: images of {have}x{have}; these networks take {size}x{size}")
    label = data.classes.index(attribute)
    splits = {"train": data.train, "test": data.test}
    sides = {name: _balanced(split, label, seed, name) for name, split in splits.items()}
    if len(sides["train"][0]) < 20 or len(sides["test"][0]) < 2:
        raise ValueError(
            f"`attribute` {attribute}: {data.name} has {(data.train.labels == label).sum()} training "
            f"and {(data.test.labels == label).sum()} test images of it; a probe needs 10 and 1, and "
            "as many others"
        )
    (X, y), (X_test, y_test) = ((models.features(images), has) for images, has in sides.values())
    held_out = np.arange(len(y)) % HELD_OUT == 0
    chosen = select_C(X, y, [(np.flatnonzero(~held_out), np.flatnonzero(held_out))], CS, TOL)
    svm = L2SVM(C=chosen.C, tol=TOL).fit(X, y)
    return Probe(
        svm,
        attribute,
        {
            "attribute": attribute,
            "data": data.name,
            "train_fingerprint": data.train.fingerprint,
            "train_images": len(y),
            "C": chosen.C,
            "test_images": len(y_test),
            "test_accuracy": float((svm.predict(X_test) == y_test).mean()),
        },
    )


def _balanced(split: Split, label: int, seed: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [2 n, S, S, 3], every other one of the class, and whether they are of it, int64 [2 n]."""
    rng = random_state_for(f"explore/probe/{name}", seed)
    sides = [rng.permutation(np.flatnonzero((split.labels == label) == has)) for has in (True, False)]
    n = min(PER_SIDE, *map(len, sides))
    rows = np.stack([side[:n] for side in sides], 1).ravel()
    return split.images[rows], np.tile([1, 0], n)


def share_as_high(value: float, others: np.ndarray) -> float:
    """(1 + how many of `others` are at least `value`) / (1 + how many there are).

    Small where `value` stands out: the p-value of the hypothesis that it is one of them [North,
    Curtis & Sham 2002, A note on the calculation of empirical p values].
    """
    return float((1 + (others >= value).sum()) / (1 + len(others)))
