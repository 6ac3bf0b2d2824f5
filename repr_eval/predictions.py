"""What a measurement's classifiers said of every test image: stored beside the draws' lists, read
back and checked.

The file holds three arrays: `right`, the packed bits of which images were classified correctly,
1,250 bytes a draw of 10,000 images; `predicted`, the class each was given; and `labels`, the class
each is of. The latter two are in the smallest type that holds the classes, and compressed, image by
image: draws agree on most images. From them a confusion matrix and the accuracy of each class
follow without the data set.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from repr_eval.records import DRAWS, Record
from repr_eval.system.arrays import digest_of, unpacked


@dataclass(frozen=True, eq=False)
class Predictions:
    """Of N test images, in the split's canonical order (`repr_eval.images.labelled`).

    `right` uint8 [draws, ceil(N / 8)]: a bit an image, 1 where it was classified correctly, the
    first image's the highest bit (`numpy.packbits`), the rest 0. `predicted` int [draws, N] and
    `labels` int [N]: classes.
    """

    right: np.ndarray
    predicted: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, predicted: np.ndarray, labels: np.ndarray) -> Self:
        """Predictions int [draws, N] of images of classes `labels` int [N]; else ValueError."""
        if predicted.ndim != 2 or labels.shape != predicted.shape[1:] or not predicted.size:
            shapes = f"predictions are {list(predicted.shape)}, labels {list(labels.shape)}"
            raise ValueError(f"{shapes}; needed: [draws, N] and [N]")
        ends = (predicted.min(), predicted.max(), labels.min(), labels.max())
        kind = np.result_type(*(np.min_scalar_type(int(end)) for end in ends))
        # Stored column by column: an image's draws lie side by side, which halves the file.
        stored = np.asfortranarray(predicted.astype(kind))
        return cls(np.packbits(predicted == labels, axis=1), stored, labels.astype(kind))

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """By the names that the file gives them."""
        return {"right": self.right, "predicted": self.predicted, "labels": self.labels}

    @property
    def n(self) -> int:
        """Test images."""
        return len(self.labels)

    @property
    def correct(self) -> list[int]:
        """Images classified correctly, one number a draw."""
        return [int(count) for count in np.bitwise_count(self.right).sum(1)]

    @property
    def draws_right(self) -> np.ndarray:
        """In how many draws each image was classified correctly, int64 [N]."""
        return np.unpackbits(self.right, axis=1, count=self.n).sum(0, dtype=np.int64)

    def by_class(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The test images' classes int [K], ascending; how many images each has, int64 [K]; and how
        many of them each draw's classifier got right, int64 [draws, K].
        """
        classes, numbers, counts = np.unique(self.labels, return_inverse=True, return_counts=True)
        right = np.unpackbits(self.right, axis=1, count=self.n)
        correct = [np.bincount(numbers, weights=draw, minlength=len(classes)) for draw in right]
        return classes, counts, np.stack(correct).astype(np.int64)

    @property
    def balanced_accuracy(self) -> list[float]:
        """The mean over the classes of the share of their images classified correctly, in [0, 1],
        one number a draw.
        """
        _, counts, correct = self.by_class()
        return [float(draw.mean()) for draw in correct / counts]

    def confusion(self) -> tuple[np.ndarray, np.ndarray]:
        """The classes int [K], ascending, and how often an image of class i was given class j:
        int64 [K, K].

        Counts add up over the draws.
        """
        classes = np.union1d(self.labels, self.predicted)
        rows, columns = (
            np.searchsorted(classes, self.labels),
            np.searchsorted(classes, self.predicted),
        )
        pairs = np.bincount((rows * len(classes) + columns).ravel(), minlength=len(classes) ** 2)
        return classes, pairs.reshape(len(classes), len(classes))


def read_predictions(folder: Path, record: Record) -> Predictions | None:
    """The predictions of a record of `folder`; None of a record that stored none.

    ValueError that names the file where it is missing or damaged, or does not agree with the
    record's counts.
    """
    if record.predictions_sha256 is None:
        return None
    path = Path(folder) / DRAWS / f"{record.predictions_sha256[:16]}.npz"
    what = f"the predictions of record {record.id}"
    if not path.is_file():
        raise ValueError(f"{path}: not found; it holds {what}")
    try:
        arrays = unpacked(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); it holds {what}") from error
    numbers = all(array.dtype.kind in "iu" for array in arrays.values())
    if not numbers or digest_of(arrays) != record.predictions_sha256:
        raise ValueError(f"{path}: its content is no longer {what}")
    try:
        predictions = Predictions(**arrays)
    except TypeError as error:
        names = ", ".join(arrays)
        raise ValueError(f"{path}: holds {names}; needed: right, predicted, labels") from error
    return _checked(predictions, record, path)


def _checked(predictions: Predictions, record: Record, path: Path) -> Predictions:
    """The predictions, if they say what the record does."""
    again = Predictions.of(predictions.predicted, predictions.labels)
    agree = np.array_equal(again.right, predictions.right)
    if not agree or (predictions.n, predictions.correct) != (record.test_n, record.test_correct):
        raise ValueError(
            f"{path}: {predictions.correct!r:.60} of {predictions.n:,} images are right; "
            f"record {record.id} counts {record.test_correct!r:.60} of {record.test_n:,}",
        )
    return predictions
