"""More classes than a data set has, of the same images: every class is cut into equal parts, along what varies most."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def parted(folder: Path, k: int, split: str = "train") -> np.ndarray:
    """Labels of k classes, a multiple of the data's: each of these cut into equal parts (`cut_classes`)."""
    labels: np.ndarray = np.load(folder / f"{split}-y{k}.npy")
    return labels


def cut_classes(folder: Path, ks: Sequence[int]) -> None:
    """Make the labels of `parted`, where they are missing: every class sorted along a direction and cut.

    The direction is about the first principal component of the class's training features, by a few power iterations
    from the same start. The m training images of a class, sorted, make k / K parts of m K / k images, give or take
    one; test images are cut where these are.
    """
    y, y_test = (np.load(folder / f"{split}-y.npy") for split in ("train", "test"))
    X, X_test = (np.load(folder / f"{split}-X.npy", mmap_mode="r") for split in ("train", "test"))
    classes, missing = np.unique(y), [k for k in ks if not (folder / f"test-y{k}.npy").exists()]
    made = {k: (np.zeros_like(y), np.zeros_like(y_test)) for k in missing}
    for number, label in enumerate(classes if missing else ()):
        rows, tested = np.flatnonzero(y == label), np.flatnonzero(y_test == label)
        along, along_test = _first_component(X[rows].astype(np.float32), X_test[tested].astype(np.float32))
        for k, (train, test) in made.items():
            parts = k // len(classes)
            edges = np.sort(along)[[round(len(rows) * part / parts) for part in range(1, parts)]]
            train[rows] = parts * number + np.searchsorted(edges, along, side="right")
            test[tested] = parts * number + np.searchsorted(edges, along_test, side="right")
    for k, (train, test) in made.items():
        np.save(folder / f"train-y{k}.npy", train)
        np.save(folder / f"test-y{k}.npy", test)


def _first_component(X: np.ndarray, Z: np.ndarray, rounds: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Where the rows of X [n, d] and of Z [m, d] lie along about the first principal component of X: float [n], [m]."""
    mean: np.ndarray = X.mean(0)
    direction = np.random.default_rng(0).normal(size=(X.shape[1],)).astype(np.float32)
    for _ in range(rounds):
        s = X @ direction - mean @ direction
        longer = s @ X - s.sum() * mean
        direction = longer / np.linalg.norm(longer)
    return X @ direction, Z @ direction
