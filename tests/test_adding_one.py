"""Adding a data set, a protocol, a classifier, a method: here in ten lines each, and none in the package."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import repr_eval as rv
from repr_eval.classifiers import base
from repr_eval.classifiers.base import Features, Fold, Validation
from repr_eval.cli import COMMANDS
from repr_eval.datasets import DATASETS, Dataset, load_dataset
from repr_eval.gan.architectures import ARCHITECTURES
from repr_eval.images.data_dir import MissingData
from repr_eval.images.labelled import LabelledImages, make_split
from repr_eval.protocols.base import AllLabels, PerClass
from repr_eval.protocols.cifar10 import low_labels
from repr_eval.protocols.results import Outcome
from repr_eval.records import read_records
from repr_eval.representations.methods import METHODS
from repr_eval.representations.pixels import Pixels

pytestmark = pytest.mark.usefixtures("own_cache")


# A data set: a loader and a row.


def load_stripes(*_: object) -> LabelledImages:
    """Horizontal and vertical stripes."""
    rng, splits = np.random.default_rng(0), []
    for n in (60, 40):
        labels = np.arange(n) % 2
        line = 120 * (np.arange(32) // 4 % 2)
        images = np.where(labels[:, None, None] == 0, line[:, None], line[None, :])[..., None] + np.zeros(3, int)
        splits.append(make_split((images + rng.integers(0, 99, images.shape)).astype(np.uint8), labels))
    train, test = splits
    return LabelledImages("stripes", train, test, ("h", "v"), verified=True, dataset="stripes")


STRIPES = Dataset("stripes", load_stripes, metric="error", arch="dcgan32-svhn", has_files=False)


def test_a_data_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(DATASETS, "stripes", STRIPES)
    result = rv.evaluate("pixels", AllLabels(dataset="stripes"), out=tmp_path)
    assert result.record.protocol == "stripes/all-labels/2"
    assert result.metric == "error"
    assert result.error < 0.1
    assert "stripes, 60 labels, raw pixels, 3,072 features: test error" in str(result)
    assert read_records(tmp_path) == [result.record]
    rv.report(tmp_path)
    assert "error %" in (tmp_path / "stripes.md").read_text()


# A protocol: a frozen dataclass.


@dataclass(frozen=True, kw_only=True)
class FirstDraws(PerClass):
    """As few labels a class as can be, of the digits."""

    kind: ClassVar[str] = "first-draws/1"
    dataset: str = field(default="digits", init=False)
    per_class: int = field(default=2, kw_only=False)

    def run(self, train: Features, test: Features) -> Outcome:
        return low_labels(train, test, self.per_class, 1, self.seed, self.values, self.classifier)


def test_a_protocol(tmp_path: Path) -> None:
    record = rv.evaluate("pixels", FirstDraws(), out=tmp_path).record
    assert record.protocol == "digits/first-draws/1"
    assert record.labels == 20


# A classifier: an object with a name, a setting, `select` and `test`.


class NearestMean:
    """The class whose mean is nearest; shrinks the means by a factor that is chosen."""

    name, setting, needs = "nearest mean", "factor", "features"
    grid: tuple[float, ...] | None = (0.5, 1.0)
    settings: ClassVar[dict[str, Any]] = {}

    def right(self, train: Features, rows: np.ndarray, factor: float, test: Features, asked: np.ndarray) -> int:
        X, y = np.asarray(train.X[rows], float), train.y[rows]
        means = factor * np.stack([X[y == label].mean(0) for label in np.unique(y)])
        distances = ((np.asarray(test.X[asked], float)[:, None] - means) ** 2).sum(2)
        return int((np.unique(y)[distances.argmin(1)] == test.y[asked]).sum())

    def select(self, train: Features, folds: Sequence[Fold], grid: Sequence[float]) -> Validation:
        correct = {v: [self.right(train, rows, v, train, held) for rows, held in folds] for v in grid}
        return Validation(max(correct, key=lambda v: sum(correct[v])), len(folds[0][1]), correct, at_edge=False)

    def test(self, train: Features, draws: Sequence[np.ndarray | None], value: float, test: Features) -> base.Tested:
        every = np.arange(len(train.y))
        asked = np.arange(len(test.y))
        return base.Tested([self.right(train, every if rows is None else rows, value, test, asked) for rows in draws])


def test_a_classifier(tmp_path: Path) -> None:
    result = rv.evaluate("pixels", rv.Digits(draws=2), classifier=NearestMean(), out=tmp_path)
    assert result.record.classifier == "nearest mean"
    assert result.accuracy > 0.6
    rv.report(tmp_path)
    assert "nearest mean" in (tmp_path / "digits.md").read_text()


# A method: a representation and a row.


class Halved(Pixels):
    """Pixels, twice as dark."""

    def __init__(self) -> None:
        super().__init__()
        settings = {"representation": "halved pixels", "version": 1}
        self.description = type(self.description)("halved pixels", "nothing", "-", 3072, None, settings)


def test_a_method(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(METHODS, "halved", lambda seed, device: Halved())
    result = rv.evaluate("halved", rv.Digits(draws=1), out=tmp_path)
    assert result.record.method == "halved pixels"
    assert result.record.representation["representation"] == "halved pixels"


# A method without a row: anything with fit and transform.


class RowMeans:
    method_name = "means of rows, centred"

    def fit(self, images: np.ndarray) -> "RowMeans":
        self.mean = images.mean((0, 2, 3))
        return self

    def transform(self, images: np.ndarray) -> np.ndarray:
        return (images.mean((2, 3)) - self.mean) / 50


def test_objects_need_no_row(tmp_path: Path) -> None:
    protocol = PerClass(5, 2, dataset="stripes", classifier=NearestMean())
    result = rv.evaluate(RowMeans(), protocol, data=load_stripes(), out=tmp_path)
    assert read_records(tmp_path) == [result.record]
    assert result.record.protocol == "stripes/per-class/1"
    assert str(result).startswith("stripes, 10 labels, means of rows, centred, 32 features, nearest mean: test acc")


@pytest.mark.parametrize("key", DATASETS)
def test_a_row_tells_the_truth(key: str, tmp_path: Path) -> None:
    row = DATASETS[key]
    assert row.key == key
    assert row.metric in ("accuracy", "error")
    assert row.arch in ARCHITECTURES
    own = {"cifar10": rv.CIFAR10PerClass(), "digits": rv.Digits()}.get(key)
    assert row.per_class == (own and own.per_class)
    if row.has_files:
        assert row.find is not None
        assert row.find(tmp_path) is None
        assert row.command in COMMANDS
        assert row.title
        assert row.layout
        with pytest.raises(MissingData):
            load_dataset(key, tmp_path, download=False)
    else:
        assert load_dataset(key, tmp_path).dataset == key
