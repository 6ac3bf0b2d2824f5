"""Labelled images from other packages: torchvision's data sets, and the Hugging Face `datasets` library.

torchvision downloads and checks its sets as it does for anyone; which arguments ask for the training and the test split
is told by `SPLITS`. Of `datasets` the splits called train and test are taken (validation, where no test is labelled
as such), and the revision that was read is part of the data set's remark.
"""

import importlib
import inspect
import operator
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from repr_eval.images.data_dir import MissingData
from repr_eval.images.decode import squared
from repr_eval.images.one_size import check_memory, check_size
from repr_eval.images.own_data import Labelled, Source
from repr_eval.system.progress import progress_bar
from repr_eval.system.torchvision_import import torchvision_datasets

# Arguments of torchvision's classes for the training and the test images, where they are not train=True and False, or
# split="train" and "test". None: the set has one part.
SPLITS: dict[str, tuple[dict[str, Any], dict[str, Any]] | None] = {
    "EMNIST": ({"split": "balanced", "train": True}, {"split": "balanced", "train": False}),
    "FGVCAircraft": ({"split": "trainval"}, {"split": "test"}),
    "Imagenette": ({"split": "train"}, {"split": "val"}),
    "ImageNet": ({"split": "train"}, {"split": "val"}),
    "Omniglot": None,
    "OxfordIIITPet": ({"split": "trainval"}, {"split": "test"}),
    "Places365": ({"split": "train-standard", "small": True}, {"split": "val", "small": True}),
    "Caltech101": None,
    "Caltech256": None,
    "EuroSAT": None,
    "SEMEION": None,
    "SUN397": None,
}  # fmt: skip


def read_torchvision(name: str, root: Path, download: bool, image_size: int | None = None) -> Source:
    """torchvision's data set of the class called `name`, below `root`.

    Raises MissingData where it is not there and not to be fetched, or cannot be; ValueError on a name that is no
    classification set.
    """
    kind = getattr(torchvision_datasets(), name, None)
    if name not in torchvision_datasets().__all__ or not inspect.isclass(kind):
        raise ValueError(f"torchvision:{name}: torchvision has no data set of that name")
    parts = {}
    classes: tuple[str, ...] | None = None
    for part, arguments in _splits(name, kind).items():
        made = _made(name, kind, root, download, arguments)
        names = getattr(made, "classes", None)
        pairs = ((made[row][0], made[row][1]) for row in range(len(made)))
        images, labels = _read(pairs, len(made), f"{name} {part}", image_size)
        if names and all(type(label) is int and 0 <= label < len(names) for label in labels):
            classes = tuple(map(str, names))
            classes = classes if len(set(classes)) == len(classes) else tuple(f"{k} {c}" for k, c in enumerate(classes))
            labels = [classes[label] for label in labels]
        parts[part] = Labelled(images, [str(label) for label in labels])
    return Source(name, parts, kind="torchvision", classes=classes, remark=f"as torchvision.datasets.{name} reads it")


def _splits(name: str, kind: Any) -> dict[str, dict[str, Any]]:
    """The arguments for each part."""
    if name in SPLITS:
        arguments = SPLITS[name]
        return {"all": {}} if arguments is None else dict(zip(("train", "test"), arguments, strict=True))
    taken = inspect.signature(kind).parameters
    if "train" in taken:
        return {"train": {"train": True}, "test": {"train": False}}
    if "split" in taken:
        return {"train": {"split": "train"}, "test": {"split": "test"}}
    raise ValueError(f"torchvision:{name}: has no training and test images with labels")


def _made(name: str, kind: Any, root: Path, download: bool, arguments: dict[str, Any]) -> Any:
    """An object of the class; MissingData where there are no files."""
    folder = root / "torchvision" / name
    if "download" in inspect.signature(kind).parameters or name == "EMNIST":
        arguments = arguments | {"download": download}
    if download:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        return kind(str(folder), **arguments)
    except (RuntimeError, OSError, ValueError, ImportError, TypeError) as error:
        how = "could not be fetched" if download else "not found (`download=True` fetches it)"
        line = " ".join(str(error).split())
        raise MissingData(f"torchvision:{name} in {folder}: {how}: {line}") from error


def read_hugging_face(name: str, image_size: int | None = None) -> Source:
    """The data set NAME, or NAME@REVISION, by `datasets.load_dataset`; the columns of images and of class labels.

    ValueError where the library is not installed, or the set has no such columns or no training images.
    """
    datasets = _library()
    name, _, revision = name.partition("@")
    try:
        found = datasets.load_dataset(name, revision=revision or None)
    except Exception as error:  # the library raises nearly anything on what it cannot read or reach
        raise MissingData(f"hf:{name}: cannot be loaded: {' '.join(str(error).split())}") from error
    if "train" not in found:
        raise ValueError(f"hf:{name}: has the parts {', '.join(found)}; needs train")
    test = next((part for part in ("test", "validation") if part in found), None)
    parts: dict[str, Labelled] = {}
    classes: tuple[str, ...] | None = None
    for part, rows in {"train" if test else "all": found["train"], **({"test": found[test]} if test else {})}.items():
        image, label = _columns(name, rows.features)
        names = getattr(rows.features[label], "names", None)
        pairs = ((row[image], row[label]) for row in rows)
        images, labels = _read(pairs, len(rows), f"{name} {part}", image_size)
        if names:
            classes = tuple(names)
            if not all(0 <= number < len(names) for number in labels):
                raise ValueError(f"hf:{name}: {part} has images without a label")
            labels = [names[number] for number in labels]
        parts[part] = Labelled(images, [str(value) for value in labels])
    remark = f"by the datasets library, revision {_revision(found['train'], revision)}"
    if test == "validation":
        remark += "; its validation images are the test images"
    return Source(name.strip("/").rpartition("/")[2], parts, kind="hf", classes=classes, remark=remark)


def _library() -> Any:
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise ValueError(f"hf: needs the package `datasets` ({error}): pip install 'repr-eval[hf]'") from error


def _columns(name: str, features: Any) -> tuple[str, str]:
    """The names of the column of images and of the one of labels."""
    images = [column for column, kind in features.items() if type(kind).__name__ == "Image"]
    labels = [column for column, kind in features.items() if type(kind).__name__ == "ClassLabel"]
    labels = labels or [column for column in ("label", "labels") if column in features]
    if len(images) != 1 or len(labels) != 1:
        raise ValueError(f"hf:{name}: has columns {', '.join(features)}; needs one of images and one of labels")
    return images[0], labels[0]


def _revision(rows: Any, asked: str) -> str:
    """The commit that the files are of, as far as the library tells; else what was asked for."""
    for url in getattr(rows.info, "download_checksums", None) or {}:
        if url.startswith("hf://") and "@" in url:
            return str(url.partition("@")[2].partition("/")[0])
    return asked or "not told"


def _read(pairs: Iterable[tuple[Any, Any]], n: int, what: str, image_size: int | None) -> tuple[np.ndarray, list[Any]]:
    """Images uint8 [n, S, S, 3] and labels; S is `image_size` or, with None, the side that all have."""
    images: np.ndarray | None = None
    first = (0, 0)
    labels: list[Any] = []
    for row, (image, label) in enumerate(progress_bar(pairs, what, n, unit="image")):
        if not isinstance(image, Image.Image):
            raise ValueError(f"{what}: image {row} is {type(image).__name__}; needs images")
        first = image.size if images is None else first
        if image_size is None:
            check_size(image.size, f"{what}: image {row}", first, "image 0")
        if images is None:
            size = image_size or image.size[0]
            check_memory(n, size, what)
            images = np.empty((n, size, size, 3), np.uint8)
        images[row] = squared(image, images.shape[1])
        labels.append(label)
    if images is None:
        raise ValueError(f"{what}: has no images")
    return images, _plain(labels, what)


def _plain(labels: Sequence[Any], what: str) -> list[Any]:
    """Whole numbers as int, text as it is; ValueError on anything else."""
    try:
        return [label if isinstance(label, str) else operator.index(label) for label in labels]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: labels are {labels[0]!r:.40} and the like; needs one class an image") from error
