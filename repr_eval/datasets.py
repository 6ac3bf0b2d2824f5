"""The labelled data sets: one row each. Adding one is a loader (a module of `repr_eval.images`) and a row here.

A loader is imported when its row is used, so that tables and help texts do without it.
"""

from collections.abc import Callable, Iterator, Mapping
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


def _cifar10(root: "DataRoot", download: bool) -> "LabelledImages":
    from repr_eval.images.cifar10 import load_cifar10

    return load_cifar10(root, download=download)


def _svhn(root: "DataRoot", download: bool) -> "LabelledImages":
    from repr_eval.images.svhn import load_svhn

    return load_svhn(root, download=download)


def _digits(root: "DataRoot", download: bool) -> "LabelledImages":
    from repr_eval.images.handwritten import load_handwritten_digits

    return load_handwritten_digits()


DATASETS = {
    dataset.key: dataset
    for dataset in (
        Dataset("cifar10", _cifar10, metric="accuracy", arch="dcgan32"),
        Dataset("svhn", _svhn, metric="error", arch="dcgan32-svhn"),
        Dataset("digits", _digits, metric="accuracy", arch="dcgan32-svhn", has_files=False),
    )
}


def dataset_named(key: str) -> Dataset:
    """The row of `DATASETS` called `key`, or a ValueError that lists the names."""
    if key not in DATASETS:
        raise ValueError(f"unknown data set {key!r}; choose from {', '.join(DATASETS)}")
    return DATASETS[key]


def load_dataset(key: str, data_dir: str | Path | None = None, download: bool = False) -> "LabelledImages":
    """The data set called `key`, from `data_dir`, $REPR_EVAL_DATA or the cache folder.

    `download` fetches a missing one; into the cache folder that is done in any case. Raises ValueError where it is not
    found, or is broken.
    """
    from repr_eval.images.data_dir import DataRoot, data_root

    row = dataset_named(key)
    if not row.has_files:
        return row.load(DataRoot(Path(), own=False, why="comes with a package"), download)
    root = data_root(Path(data_dir) if data_dir is not None else None)
    return row.load(root, download or root.own)


class _Metrics(Mapping[str, str]):
    """The metric that heads the tables of every data set, by key: a view of `DATASETS`."""

    def __getitem__(self, key: str) -> str:
        return DATASETS[key].metric

    def __iter__(self) -> Iterator[str]:
        return iter(DATASETS)

    def __len__(self) -> int:
        return len(DATASETS)


METRICS = _Metrics()
