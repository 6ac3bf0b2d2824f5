"""What the estimator is given, checked in scikit-learn's words, and never copied where it can be used as it is."""

import mmap
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, validate_data
from torch import Tensor

Matrix = np.ndarray | Tensor
STORED = (
    "float16",
    "float32",
    "float64",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "bool",
)  # as torch holds them too


def checked_features(estimator: BaseEstimator, X: Any, reset: bool) -> Matrix:
    """X as a 2-D array or tensor of numbers, itself where it already is one; sets or compares `n_features_in_`.

    Whether its values are finite is not looked at here: that would be a reading of its own.
    """
    if isinstance(X, Tensor):
        if X.ndim != 2:
            raise ValueError(f"Expected 2D array, got {X.ndim}D array instead: a tensor of shape {list(X.shape)}.")
        if X.is_complex():
            raise ValueError(f"Complex data not supported: a tensor of {X.dtype}")
        if X.layout is not torch.strided:
            raise TypeError(f"Sparse data was passed, but dense data is required: a tensor of layout {X.layout}")
        if X.shape[0] == 0 or X.shape[1] == 0:
            what = "sample" if X.shape[0] == 0 else "feature"
            raise ValueError(
                f"Found array with 0 {what}(s) (shape={tuple(X.shape)}) while a minimum of 1 is required by L2SVM."
            )
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        return X.detach()
    _check_not_truncated(X)
    array: np.ndarray = validate_data(estimator, X, reset=reset, dtype="numeric", ensure_all_finite=False)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array if array.dtype.name in STORED else array.astype(np.float64)


def checked_labels(estimator: BaseEstimator, y: Any) -> np.ndarray:
    """y as an array [n] of discrete labels."""
    if isinstance(y, Tensor):
        y = y.detach().cpu().numpy()
    labels: np.ndarray = validate_data(estimator, y=y)
    check_classification_targets(labels)
    return labels


def checked_sample_weight(sample_weight: Any, labels: np.ndarray) -> np.ndarray:
    """Weights float64 [n], none negative and not all zero."""
    return np.asarray(_check_sample_weight(sample_weight, labels, dtype=np.float64, ensure_non_negative=True))


def one_against_rest(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes, sorted, and targets [n, K] of +1 and -1: K = 1 for two classes, +1 for the second."""
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(
            "This solver needs samples of at least 2 classes in the data, but the data contains only one class: "
            f"{classes[0]!r}"
        )
    positive = classes if len(classes) > 2 else classes[1:]
    return classes, np.where(labels[:, None] == positive, 1.0, -1.0)


def costs(labels: np.ndarray, Y: np.ndarray, class_weight: Any, sample_weight: Any) -> np.ndarray | None:
    """What the loss of a row counts in every problem, float64 [n, K], as multiples of C; None where that is 1.

    LinearSVC's meaning: a row's weight multiplies its loss in all problems. Of two classes, the weight of each
    multiplies the losses of its rows. Of more, a class's weight counts in its own problem against the rest only, and
    there for its own rows only: the rest weighs 1.
    """
    if class_weight is None and sample_weight is None:
        return None
    classes = np.unique(labels)
    weights = compute_class_weight(class_weight, classes=classes, y=labels, sample_weight=sample_weight)
    rest = weights[0] if Y.shape[1] == 1 else 1.0
    own = weights[1:] if Y.shape[1] == 1 else weights
    U = np.where(Y > 0, own, rest)
    return U if sample_weight is None else U * sample_weight[:, None]


def not_finite(X: Matrix, index: np.ndarray | None = None) -> ValueError | None:
    """The error for the first row of X (of those in `index`) that holds NaN or infinity; None if there is none."""
    order = np.arange(len(X)) if index is None else index
    for start in range(0, len(order), 1024):
        rows_of_block = order[start : start + 1024]
        block = X[torch.from_numpy(rows_of_block).to(X.device)].double() if isinstance(X, Tensor) else X[rows_of_block]
        values = block.cpu().numpy() if isinstance(block, Tensor) else block
        bad = ~np.isfinite(values)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            kind = (
                "NaN"
                if np.isnan(values[row, column])
                else f"infinity or a value too large for dtype('{str(X.dtype).removeprefix('torch.')}')"
            )
            return ValueError(f"Input X contains {kind}. The first is in row {rows_of_block[row]}, column {column}.")
    return None


def _check_not_truncated(X: Any) -> None:
    """ValueError where the file behind a memory map is shorter than the map: reading it would end the process."""
    while isinstance(X, np.ndarray) and not isinstance(X, np.memmap):
        X = X.base
    mapped = getattr(X, "_mmap", None)
    if not isinstance(X, np.memmap) or mapped is None:
        return
    end = X.offset - X.offset % mmap.ALLOCATIONGRANULARITY + len(mapped)
    if mapped.size() < end:
        raise ValueError(
            f"the memory map X of {X.filename} needs {end:,} bytes of the file, which has only {mapped.size():,}: "
            "it was truncated"
        )
