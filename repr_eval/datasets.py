"""The labelled data sets: one row each. Adding one is a loader (a module of `repr_eval.images`) and a row here.

Protocols, tables, training, `doctor` and the choices on the command line read what they need to know from the row.

A loader is imported when its row is used, so that tables and help texts do without it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repr_eval.images.data_dir import DataRoot
    from repr_eval.images.labelled import LabelledImages


@dataclass(frozen=True)
class Dataset:
    """A labelled data set as the suite knows it."""

    key: str  # in protocols' names, e.g. "cifar10" in "cifar10/all-labels/1"
    load: Callable[["DataRoot", bool], "LabelledImages"]  # (where to look, whether to download what is missing)
    metric: str  # that heads its tables: "accuracy" or "error"
    arch: str  # of the supervised control, a row of gan.networks.ARCHITECTURES
    has_files: bool = True  # whether it is looked for in a data folder; else it comes with a package
    per_class: int | None = None  # labels a class in its protocol by class, unless others are asked for; None: has none
    # What `doctor` reports of a set with files: what it is called, the folder at or below another that holds it (by
    # its names alone), these names in words, and the command that evaluates on so many training and test images.
    title: str = ""
    find: Callable[[Path], Path | None] | None = None
    layout: str = ""
    command: str = ""
    n_images: tuple[int, int] = (0, 0)


def _cifar10(root: "DataRoot", download: bool) -> "LabelledImages":
    from repr_eval.images.cifar10 import load_cifar10

    return load_cifar10(root, download=download)


def _find_cifar10(folder: Path) -> Path | None:
    from repr_eval.images.cifar10 import found_in

    return found_in(folder)


def _svhn(root: "DataRoot", download: bool) -> "LabelledImages":
    from repr_eval.images.svhn import load_svhn

    return load_svhn(root, download=download)


def _find_svhn(folder: Path) -> Path | None:
    from repr_eval.images.svhn import found_in

    return found_in(folder)


def _digits(root: "DataRoot", download: bool) -> "LabelledImages":
    from repr_eval.images.handwritten import load_handwritten_digits

    return load_handwritten_digits()


DATASETS = {
    dataset.key: dataset
    for dataset in (
        Dataset(
            "cifar10",
            _cifar10,
            metric="accuracy",
            arch="dcgan32",
            per_class=400,
            title="CIFAR-10",
            find=_find_cifar10,
            layout="cifar-10-batches-py/ or {train,test}/<class>/*.png",
            command="cifar10-svm",
            n_images=(50_000, 10_000),
        ),
        Dataset(
            "svhn",
            _svhn,
            metric="error",
            arch="dcgan32-svhn",
            title="SVHN layout",
            find=_find_svhn,
            layout="train_32x32.mat and test_32x32.mat",
            command="svhn",
            n_images=(73_257, 26_032),
        ),
        Dataset("digits", _digits, metric="accuracy", arch="dcgan32-svhn", has_files=False, per_class=10),
    )
}


def dataset_named(key: str) -> Dataset:
    """The row of `DATASETS` called `key`, or a ValueError that lists the names."""
    if key not in DATASETS:
        raise ValueError(f"unknown data set {key!r}; choose from {', '.join(DATASETS)}")
    return DATASETS[key]


def load_dataset(
    spec: str | Path, data_dir: str | Path | None = None, download: bool | None = None, *,
    image_size: int | None = None, test_share: float | None = None, split_seed: int = 0,
) -> "LabelledImages":  # fmt: skip
    """The labelled images that `spec` names: a data set of the suite's, or any other images.

    A key of `DATASETS` is looked for in `data_dir`, $REPR_EVAL_DATA or the cache folder, and torchvision's sets below
    that; `download` fetches a missing one (None: only into the cache folder). For everything else that a spec may be,
    and for `image_size`, `test_share` and `split_seed`, see `repr_eval.images.specs`. Raises ValueError where it is not
    found, or is broken.
    """
    from repr_eval.images.data_dir import DataRoot, data_root

    if not isinstance(spec, str | Path) or not str(spec).strip():
        raise ValueError(f"spec is {spec!r:.60}; needs a name, a folder or a file")
    spec = str(spec)
    if image_size is not None and (type(image_size) is not int or image_size < 1):
        raise ValueError(f"`image_size` is {image_size!r:.40}; needs a whole number of pixels, 1 or more")
    if test_share is not None and not isinstance(test_share, float | int):
        raise ValueError(f"`test_share` is {test_share!r:.40}; needs a number between 0 and 1")
    if type(split_seed) is not int or split_seed < 0:
        raise ValueError(f"`split_seed` is {split_seed!r:.40}; needs a whole number, 0 or more")
    row = DATASETS.get(spec)
    if row and (image_size is not None or test_share is not None):
        raise ValueError(f"{spec} has its own size and test images; leave out image_size and test_share")
    if row and not row.has_files:
        return row.load(DataRoot(Path(), own=False, why="comes with a package"), False)
    root = data_root(Path(data_dir) if data_dir is not None else None)
    fetch = root.own if download is None else download
    if row:
        return row.load(root, fetch)
    from repr_eval.images.specs import load_spec

    return load_spec(spec, root, fetch, image_size, test_share, split_seed)


OWN = re.compile(r"(own|torchvision|hf)-[\w-]+")  # keys of users' own sets (`repr_eval.images.own_data`)


def has_table(key: str) -> bool:
    """Whether records on the data set of this key have a table: it is a row of `DATASETS`, or a user's own."""
    return key in DATASETS or OWN.fullmatch(key) is not None


def metric_of(key: str) -> str:
    """The metric that heads a data set's tables, "accuracy" or "error"; accuracy for a user's own set."""
    return DATASETS[key].metric if key in DATASETS else "accuracy"
