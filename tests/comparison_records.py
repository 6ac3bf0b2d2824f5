"""Records with predictions whose right answers are given: for the tests of what compares them."""

from pathlib import Path
from typing import Any

import numpy as np

from repr_eval.predictions import Predictions
from repr_eval.records import DRAWS, Record, append_record
from repr_eval.system.arrays import save_lists

BASE: dict[str, Any] = {
    "time": "2026-01-02T03:04:05+00:00",
    "protocol": "cifar10/all-labels/1",
    "dataset": {"name": "CIFAR-10", "train_fingerprint": "aa", "test_fingerprint": "bb"},
    "method": "raw pixels",
    "trained_on": "nothing",
    "layers": "-",
    "n_features": 3072,
    "max_units": None,
    "representation": {"representation": "pixels"},
    "labels": 50_000,
    "seed": 0,
    "lists_sha256": "dd",
    "C": 1e-4,
    "C_at_edge": False,
    "validation_n": 100,
    "validation_correct": {"0.0001": [50]},
    "largest_gap": 1e-4,
    "seconds": {"test": 3.0},
    "versions": {},
    "machine": "a processor",
    "commit": "none",
    "command": "repr-eval cifar10-svm",
}


def predictions_of(right: np.ndarray) -> Predictions:
    """Predictions of images of class 3 that are right where `right` bool [draws, N] says; else 5."""
    right = np.atleast_2d(right)
    return Predictions.of(np.where(right, 3, 5), np.full(right.shape[1], 3))


def stored(folder: Path, name: str, right: Any, keep: bool = True, **changes: Any) -> Record:
    """A record of the method `name`, right where `right` [draws, N] says, added to `folder`.

    Its predictions are stored if `keep` says so.
    """
    predictions = predictions_of(np.array(right, dtype=bool))
    content = BASE | {"method": name, "representation": {"representation": name}}
    content |= {"test_n": predictions.n, "test_correct": predictions.correct}
    if keep:
        content["predictions_sha256"] = save_lists(folder / DRAWS, predictions.arrays)
    record = Record(**(content | changes))
    append_record(folder, record)
    return record


def one_draw(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Right answers bool [1, N] of A and of B."""
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return a[None], b[None]
