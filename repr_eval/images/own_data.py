"""A user's labelled images, from whatever holds them, as a data set: classes, splits, name, fingerprints.

A source (`class_folders`, `arrays`, `listed`, `packaged`) gives `Labelled` images for each of its parts: "train" and
"test", or "all" where it has no split of its own. `data_set` makes a `LabelledImages` of them.

The split of "all". Images are put in canonical order (`images.labelled`). Of every class of n images, round(n * share)
become test images, but at least one stays on each side; a class of one image stays in training. Which ones is decided
by a permutation from the random stream "own-data/test-split" with the seed and the number of the class.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from repr_eval.images import cifar10, handwritten, svhn
from repr_eval.images.labelled import LabelledImages, Split, make_split
from repr_eval.system.random_streams import random_state_for

SPLIT_STREAM = "own-data/test-split"
PARTS = ("train", "test")
SLUG_BYTES = 60  # a file's name has room for 255 with what tables add


@dataclass(frozen=True)
class Labelled:
    """Images uint8 [N, S, S, 3] and the label of each, in words."""

    images: np.ndarray
    labels: Sequence[str]


@dataclass(frozen=True)
class Source:
    """What a source holds, and what it is called.

    `parts` has "train" and "test", or "all". `kind` begins the data set's key ("own", "torchvision", "hf"). `classes`
    gives the order of the classes, where the source has one.
    """

    name: str
    parts: Mapping[str, Labelled]
    kind: str = "own"
    classes: tuple[str, ...] | None = None
    remark: str = ""


def data_set(source: Source, test_share: float | None = None, split_seed: int = 0) -> LabelledImages:
    """The data set that `source` holds.

    `test_share`, in (0, 1), is the share of every class that becomes test images, for sources without a split; such a
    source needs one, and any other refuses it. A published set is known by its content and gets its own name; all
    others are named for their source and the first digits of their fingerprint. Raises ValueError on sizes that differ
    between the parts, fewer than two classes, and classes that only test images have.
    """
    classes = source.classes or class_order(label for part in source.parts.values() for label in part.labels)
    for name in classes:
        if not name.strip() or not name.isprintable():  # such as line ends, and bytes that are no UTF-8
            raise ValueError(f"{source.name}: the class {name!r} is not printable text; rename it")
    splits = {name: _split(part, classes) for name, part in source.parts.items()}
    remark = source.remark
    if "all" in splits:
        if test_share is None:
            raise ValueError(
                f"{source.name} has no test images of its own; say which share of every class to test on "
                "(`test_share=0.2`)"
            )
        train, test = stratified(splits["all"], test_share, split_seed)
        own = f"split by repr-eval: {test_share:g} of every class tested on, seed {split_seed}"
        remark = "; ".join(filter(None, (remark, own)))
    else:
        if test_share is not None:
            raise ValueError(f"{source.name} has test images of its own; leave out `test_share={test_share:g}`")
        train, test = splits["train"], splits["test"]
    _check(source.name, train, test, classes)
    return published(train, test) or _named(source, train, test, classes, remark)


def class_order(labels: object) -> tuple[str, ...]:
    """Labels as classes: by number where all are whole numbers, else as text."""
    names = set(labels)  # type: ignore[call-overload]
    if all(re.fullmatch(r"-?\d+", name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def stratified(split: Split, test_share: float, seed: int) -> tuple[Split, Split]:
    """(training, test images): the rule at the top of this module."""
    if not 0 < test_share < 1:
        raise ValueError(f"test_share {test_share:g}: must be between 0 and 1, such as 0.2")
    tested = []
    for label in np.unique(split.labels):
        members = np.flatnonzero(split.labels == label)
        if len(members) > 1:
            n = min(max(round(len(members) * test_share), 1), len(members) - 1)
            tested.append(random_state_for(SPLIT_STREAM, seed, int(label)).permutation(members)[:n])
    if not tested:
        raise ValueError("every class has one image only: there is nothing to test on")
    test = np.zeros(len(split.labels), bool)
    test[np.concatenate(tested)] = True
    return make_split(split.images[~test], split.labels[~test]), make_split(split.images[test], split.labels[test])


def published(train: Split, test: Split) -> LabelledImages | None:
    """The published data set whose every image and label these are, if it is known here."""
    fingerprints = (train.fingerprint, test.fingerprint)
    if fingerprints == tuple(cifar10.FINGERPRINTS[part] for part in PARTS):
        return LabelledImages("CIFAR-10", train, test, cifar10.CLASSES, verified=True, dataset="cifar10")
    if fingerprints == handwritten.FINGERPRINTS:
        return LabelledImages(handwritten.NAME, train, test, handwritten.CLASSES, verified=True, dataset="digits")
    if fingerprints in svhn.KNOWN:
        name = svhn.KNOWN[fingerprints]
        return LabelledImages(name, train, test, svhn.CLASSES, verified=False, remark=svhn.NOT_SVHN, dataset="svhn")
    return None


def slug(name: str) -> str:
    """A name for files and protocols: lower case letters, digits and hyphens; "data" where none is left.

    Of a long name the beginning, and digits of its hash. None ends in "-methods", as a table of another set would.
    """
    made = re.sub(r"[^\w]+|_+", "-", name.lower()).strip("-") or "data"
    if len(made.encode()) > SLUG_BYTES:
        digits = hashlib.sha256(made.encode()).hexdigest()[:8]
        made = f"{made.encode()[:SLUG_BYTES].decode(errors='ignore').strip('-')}-{digits}"
    return f"{made}-data" if made.endswith("-methods") else made


def _split(part: Labelled, classes: tuple[str, ...]) -> Split:
    numbers = {name: number for number, name in enumerate(classes)}
    return make_split(part.images, np.asarray([numbers[label] for label in part.labels], np.int64))


def _check(name: str, train: Split, test: Split, classes: tuple[str, ...]) -> None:
    """Raise a ValueError where nothing can be learned, or not tested."""
    for part, split in (("training", train), ("test", test)):
        if not len(split.labels):
            raise ValueError(f"{name}: has no {part} images")
    if train.images.shape[1:] != test.images.shape[1:]:
        sizes = (f"{split.images.shape[2]}x{split.images.shape[1]}" for split in (train, test))
        raise ValueError(f"{name}: training and test images have different sizes ({', '.join(sizes)})")
    if train.images.shape[1] != train.images.shape[2]:
        size = f"{train.images.shape[2]}x{train.images.shape[1]}"
        raise ValueError(f"{name}: images are {size}; needs square ones, or a size to bring them to (`image_size=64`)")
    learned = np.unique(train.labels)
    if len(learned) < 2:
        raise ValueError(f"{name}: all training images are of class {classes[learned[0]]!r}; two classes are needed")
    unknown = np.setdiff1d(test.labels, learned)
    if len(unknown):
        words = ", ".join(repr(classes[label]) for label in unknown[:3]) + ", ..." * (len(unknown) > 3)
        raise ValueError(f"{name}: no training image is of class {words}, which test images have")


def _named(source: Source, train: Split, test: Split, classes: tuple[str, ...], remark: str) -> LabelledImages:
    digits = train.fingerprint[:4] + test.fingerprint[:4]
    return LabelledImages(
        name=f"{source.name} [{digits}]",
        train=train,
        test=test,
        classes=classes,
        verified=False,
        remark=remark,
        dataset=f"{source.kind}-{slug(source.name)}",
    )
