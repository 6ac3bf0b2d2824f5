"""Labelled images from a NumPy archive: images and labels, with or without a split."""

from pathlib import Path

import numpy as np

from repr_eval.images.own_data import Labelled, Source
from repr_eval.system.arrays import unpacked

# Names of the arrays, in pairs of images and labels: a whole set, or a training and a test split.
WHOLE = (("images", "labels"), ("x", "y"), ("X", "y"))
SPLITS = (
    (("train_images", "train_labels"), ("test_images", "test_labels")),
    (("x_train", "y_train"), ("x_test", "y_test")),
    (("X_train", "y_train"), ("X_test", "y_test")),
)
WANTED = "train_images, train_labels, test_images and test_labels (or x_train, ...), or images and labels"


def read_npz(path: Path) -> Source:
    """The arrays in a .npz file: images uint8 [N, S, S], [N, S, S, 1] or [N, S, S, 3]; labels, numbers or text, [N].

    Raises ValueError on a file that is broken, holds other arrays or objects.
    """
    try:
        arrays = unpacked(path)
    except ValueError as error:
        raise ValueError(f"{path}: not a .npz archive of plain arrays ({error})") from error
    for pairs in SPLITS:
        if all(name in arrays for pair in pairs for name in pair):
            train, test = (_labelled(path, arrays, *pair) for pair in pairs)
            return Source(path.stem, {"train": train, "test": test})
    for pair in WHOLE:
        if all(name in arrays for name in pair):
            return Source(path.stem, {"all": _labelled(path, arrays, *pair)})
    raise ValueError(f"{path}: holds {', '.join(arrays) or 'nothing'}; needs {WANTED}")


def _labelled(path: Path, arrays: dict[str, np.ndarray], images: str, labels: str) -> Labelled:
    made = Labelled(coloured(arrays[images], f"{path}: {images}"), texts(arrays[labels], f"{path}: {labels}"))
    if len(made.images) != len(made.labels):
        raise ValueError(f"{path}: {len(made.images):,} {images} and {len(made.labels):,} {labels}; needs as many")
    return made


def coloured(images: np.ndarray, what: str) -> np.ndarray:
    """Images uint8 [N, H, W, 3], of grey ones [N, H, W] or [N, H, W, 1] too. ValueError on anything else."""
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size:
        shape = f"{images.dtype} {list(images.shape)}"
        raise ValueError(f"{what} is {shape}; needs uint8 [N, S, S, 3], or [N, S, S] of grey")
    return np.repeat(images, 3, 3) if images.shape[3] == 1 else images


def texts(labels: np.ndarray, what: str) -> list[str]:
    """Labels [N] or [N, 1], whole numbers or text, as text."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iuUSb":
        raise ValueError(f"{what} is {labels.dtype} {list(labels.shape)}; needs whole numbers or text [N]")
    if labels.dtype.kind == "b":
        labels = labels.astype(int)
    try:
        return [label.decode() if isinstance(label, bytes) else str(label) for label in labels.tolist()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{what}: a label is not text in UTF-8 ({error})") from error
