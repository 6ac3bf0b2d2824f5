"""A labelled data set as plain arrays, in an order that its content alone decides, with a fingerprint.

The same images traded in two layouts (pickles, class folders, .mat files) come out as the same arrays: rows are sorted
by the SHA-256 of pixels and label. An index into a split therefore means the same image on every machine, and batches
of consecutive rows are a fixed random mix of the classes, whatever order the files had.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Split:
    """One split: images uint8 [N, S, S, 3], labels int64 [N], both in canonical order.

    `fingerprint` is the SHA-256 over the sorted digests of (pixels, label), `pixel_fingerprint` over those of the
    pixels alone; both are independent of the order in which the images came. `pixel_digests` are the latter's, of each
    image, where `make_split` made them.
    """

    images: np.ndarray
    labels: np.ndarray
    fingerprint: str
    pixel_fingerprint: str
    pixel_digests: tuple[bytes, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True)
class LabelledImages:
    """A training and a test split, named for what they are.

    `name` is what records and tables call it; `verified` says that every split is, image for image and label for
    label, the published set of that name; `remark` says in words what was found otherwise. `dataset` is the key of the
    data set (a row of `repr_eval.datasets`) whose protocols it is for. `generated` images were drawn by a program:
    results on them say nothing about the data set that they stand in for.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    verified: bool
    remark: str = ""
    dataset: str = ""
    generated: bool = False

    @cached_property
    def leaked(self) -> int:
        """How many test images are, pixel for pixel, among the training images too."""
        learned, tested = (part.pixel_digests or _digests(part.images) for part in (self.train, self.test))
        known = set(learned)
        return sum(digest in known for digest in tested)


def make_split(images: np.ndarray, labels: np.ndarray) -> Split:
    """Sort images uint8 [N, H, W, 3] with labels int [N] into canonical order and fingerprint them.

    Raises ValueError on arrays of other shapes or types.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(f"images are {images.dtype} {list(images.shape)}; needed: uint8 [N, H, W, 3]")
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are {labels.dtype} {list(labels.shape)}; needed: int [{len(images)}]")
    labels = labels.astype(np.int64)
    pixels = _digests(images)
    both = [
        hashlib.sha256(digest + int(label).to_bytes(8, "little")).digest()
        for digest, label in zip(pixels, labels, strict=True)
    ]
    order = sorted(range(len(both)), key=both.__getitem__)
    return Split(
        images=np.ascontiguousarray(images[order]),
        labels=labels[order],
        fingerprint=_digest([both[i] for i in order]),
        pixel_fingerprint=_digest(sorted(pixels)),
        pixel_digests=tuple(pixels[i] for i in order),
    )


def _digests(images: np.ndarray) -> list[bytes]:
    """The SHA-256 of each image's pixels."""
    return [hashlib.sha256(image.tobytes()).digest() for image in images]


def _digest(digests: list[bytes]) -> str:
    return hashlib.sha256(b"".join(digests)).hexdigest()
