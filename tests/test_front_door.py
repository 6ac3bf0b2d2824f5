"""`import repr_eval as rv`: what it lists, what it costs, and that what is said beside the thing cannot be said."""

import inspect
import json
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import mine
from torch import nn

import repr_eval as rv
from repr_eval.datasets import DATASETS
from repr_eval.images.handwritten import load_handwritten_digits
from repr_eval.images.labelled import LabelledImages, make_split
from repr_eval.protocols.base import AllLabels, EqualClasses, PerClass
from repr_eval.records import read_records
from repr_eval.system import progress

pytestmark = pytest.mark.usefixtures("own_cache")


def few(n: int = 240, seed: int = 0, dataset: str = "cifar10") -> LabelledImages:
    """Ten classes of noise, each with its own brightness: a small stand-in for a data set."""
    rng = np.random.default_rng(seed)
    splits = []
    for size in (n, n // 2):
        labels = np.arange(size) % 10
        images = rng.integers(0, 30, (size, 32, 32, 3)) + (labels * 20)[:, None, None, None]
        splits.append(make_split(images.astype(np.uint8), labels))
    train, test = splits
    return LabelledImages("noise", train, test, tuple("0123456789"), verified=False, dataset=dataset)


@pytest.fixture
def small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small data in the place of the two that are files."""
    for key in ("cifar10", "svhn"):
        row = replace(DATASETS[key], load=partial(small, key), has_files=False)
        monkeypatch.setitem(DATASETS, key, row)


def small(key: str, root: object, download: bool) -> LabelledImages:
    return few(dataset=key)


# What it lists and costs.


def test_the_table_of_contents() -> None:
    assert len(rv.__all__) == 23
    assert set(rv._CONTENTS) == set(rv.__all__)
    assert set(dir(rv)) == {*rv.__all__, "__version__"}
    for name in rv.__all__:
        assert getattr(rv, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        rv.evaluat  # noqa: B018


def test_importing_it_imports_nothing_else() -> None:
    code = "import sys, repr_eval; print([m for m in sys.modules if m.startswith(('repr_eval.', 'torch', 'numpy'))])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_module_imported_first_does_not_hide_a_name() -> None:
    code = (
        "import repr_eval.evaluation, repr_eval.reporting, repr_eval as rv; assert callable(rv.evaluate), rv.evaluate"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# What can be evaluated.


def test_the_ten_lines(small_sets: None, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, 2, 1))
    out = tmp_path / "results"
    print(rv.evaluate(mine, rv.CIFAR10PerClass(10, draws=2, seed=0), out=out))
    rv.evaluate(
        rv.Network(net, pool=["0", "2"], mean=(0.4,) * 3, std=(0.2,) * 3), rv.SVHN(labels=100, draws=2), out=out
    )
    rv.evaluate(rv.Pixels(), rv.CIFAR10(), classifier=rv.NearestNeighbours(), out=out)
    rv.evaluate("random", rv.CIFAR10PerClass(5, draws=1), out=out)
    rv.report(out)
    protocols = [record.protocol for record in read_records(out)]
    assert protocols == ["cifar10/per-class/1", "svhn/few-labels/1", "cifar10/all-labels/1", "cifar10/per-class/1"]
    assert {"cifar10.md", "svhn.md"} <= {path.name for path in out.iterdir()}


def test_a_function_on_digits() -> None:
    result = rv.evaluate(mine, rv.Digits(per_class=10, draws=3))
    assert 0.6 < result.accuracy < 1
    assert result.error == 1 - result.accuracy
    low, high = result.ci95
    assert low is not None
    assert high is not None
    assert low < result.accuracy < high
    assert re.fullmatch(
        r"handwritten digits, 100 labels, mine, 48 features: test accuracy \d\d\.\d\d% \(3 draws, 95% interval of the "
        r"mean of draws .*; C [\d.e-]+.*; record [0-9a-f]{12}\)",
        str(result),
    )
    with pytest.raises(FrozenInstanceError):
        result.record = None  # type: ignore[misc, assignment]


def test_nothing_is_written_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rv.evaluate(mine, rv.Digits(draws=1))
    assert [path.name for path in tmp_path.iterdir()] in ([], ["cache"])
    assert not list(tmp_path.rglob("*.npy"))  # of a plain function no features are kept


@pytest.mark.slow
def test_progress_is_shown_unless_it_is_not_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)  # every step of all that is long elsewhere
    shown = rv.evaluate(rv.KMeans(4, n_patches=200), rv.Digits(draws=2))
    text = capsys.readouterr().err
    assert all(f"{what}: " in text for what in ("K-means", "features", "choosing C", "draws"))
    quiet = rv.evaluate(rv.KMeans(4, n_patches=200), rv.Digits(draws=2), store=tmp_path / "other", progress=False)
    assert capsys.readouterr() == ("", "")
    assert quiet.record.test_correct == shown.record.test_correct


def test_functions_are_known_by_their_features_alone() -> None:
    """Name, source and what they answer on the whole are alike; the order of the features differs."""

    def settings(step: int) -> dict[str, object]:
        def features(images: np.ndarray) -> np.ndarray:
            return mine(images)[:, ::step]

        return rv.evaluate(features, rv.Digits(draws=1)).record.representation

    assert settings(1) == settings(1)
    assert settings(1) != settings(-1)


class Centred:
    """What scikit-learn's users would write: no description, no names."""

    def fit(self, images: np.ndarray) -> "Centred":
        self.mean = mine(images).mean(0)
        return self

    def transform(self, images: np.ndarray) -> np.ndarray:
        return mine(images) - self.mean


def test_an_object_with_fit_and_transform(tmp_path: Path) -> None:
    result = rv.evaluate(Centred(), rv.Digits(draws=2), out=tmp_path)
    assert (result.record.method, result.record.trained_on) == ("Centred", "the training images")
    assert 0.6 < result.accuracy < 1
    assert not list(tmp_path.rglob("*.npy"))


def test_a_table_for_notebooks_is_escaped() -> None:
    def named(images: np.ndarray) -> np.ndarray:
        return mine(images)

    named.method_name = "<script>alert(1)</script>"  # type: ignore[attr-defined]
    text = rv.evaluate(named, rv.Digits(draws=1))._repr_html_()
    assert "&lt;script&gt;" in text
    assert "<script>" not in text
    assert "test accuracy" in text


@pytest.mark.parametrize(
    ("representation", "message"),
    [
        (3, "representation is int; needs a function of images"),
        (rv.Pixels, r"Pixels is a class; give an object of it, Pixels\(\.\.\.\)"),
        (lambda images: mine(images) / len(images), "other features in another batch"),
        (lambda images: 1e3 * mine(images), "the features of image 0 hold NaN or infinity as float16"),
        (nn.Linear(2, 2), "Linear fails on 4 images of 32x32"),
        ("nonsense", "no weights called 'nonsense'"),
        (lambda images: images[:, 0, 0, 0], r"gives uint8 \[\d+\]"),
        (lambda images: np.full((len(images), 2), np.nan), "NaN or infinity"),
    ],
)
def test_what_cannot_be_evaluated(representation: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rv.evaluate(representation, rv.Digits(draws=1))


# Nothing can be said beside the thing.


def test_the_call_that_made_a_false_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="positional"):
        rv.evaluate("svhn", load_handwritten_digits(), mine, rv.Digits(), tmp_path)  # type: ignore
    assert not {"family", "seed", "dataset", "draws"} & set(inspect.signature(rv.evaluate).parameters)


def test_data_of_another_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"svhn/few-labels/1 is for svhn; the data is handwritten digits \(digits\)"):
        rv.evaluate(mine, rv.SVHN(), data=load_handwritten_digits(), out=tmp_path)
    with pytest.raises(ValueError, match=r"the data is noise \(of no data set\)"):
        rv.evaluate(mine, rv.CIFAR10(), data=few(dataset=""), out=tmp_path)
    assert not list(tmp_path.iterdir()) or not (tmp_path / "records.jsonl").exists()


def test_the_seed_of_the_record_is_the_one_that_drew() -> None:
    results = {seed: rv.evaluate(mine, rv.Digits(draws=2, seed=seed)).record for seed in (0, 3)}
    assert {record.seed for record in results.values()} == {0, 3}
    assert results[0].lists_sha256 != results[3].lists_sha256


def test_the_name_of_the_record_is_the_protocols() -> None:
    assert rv.evaluate(mine, rv.Digits(draws=1)).record.protocol == "digits/per-class/1"
    assert rv.evaluate(mine, rv.Digits(draws=1, grid=(1e-3, 1e-1))).record.protocol == "digits/per-class/1/own-C"
    with pytest.raises(TypeError, match="dataset"):
        rv.SVHN(dataset="digits")  # type: ignore[call-arg]
    assert EqualClasses(dataset="cifar10").name == rv.CIFAR10().name  # it is the same protocol
    with pytest.raises(FrozenInstanceError):
        rv.CIFAR10().seed = 3  # type: ignore[misc]
    with pytest.raises(TypeError, match="Mine has its own run: it needs its own kind"):
        type("Mine", (AllLabels,), {"run": lambda self, train, test: None})
    with pytest.raises(TypeError, match=r"the kind 'per-class/1' is that of .*\.PerClass; choose another"):
        type("Mine", (AllLabels,), {"kind": "per-class/1"})


def test_the_device_of_the_record_is_the_one_used() -> None:
    elsewhere = rv.Pixels()
    elsewhere.device = torch.device("meta")
    assert rv.evaluate("pixels", rv.Digits(draws=1)).record.machine.endswith("cpu")
    assert rv.evaluate(mine, rv.Digits(draws=1)).record.machine.endswith("device not said")  # a function runs anywhere
    assert rv.evaluate(elsewhere, rv.Digits(draws=1)).record.machine.endswith("meta")
    assert "device" in inspect.signature(rv.evaluate).parameters  # of names alone:
    assert rv.evaluate(rv.Pixels(), rv.Digits(draws=1), device="nonsense").record.machine.endswith("cpu")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rv.CIFAR10(seed=-1), "seed -1 is negative"),
        (lambda: rv.CIFAR10(seed=0.5), "seed 0.5: must be a whole number"),  # type: ignore[arg-type]
        (lambda: rv.evaluate(mine, rv.Digits(), layers=(1, 2)), "layers 1-2: mine has no layers to choose from"),
        (lambda: rv.Digits(grid=()), "grid: holds no value"),
        (lambda: rv.evaluate(mine, rv.CIFAR10), "protocol is the class CIFAR10; needs an object"),  # type: ignore[arg-type]
        (lambda: rv.evaluate(mine, "digits"), "protocol is 'digits'; needs an object"),  # type: ignore[arg-type]
        (lambda: rv.evaluate(mine, rv.Digits(), classifier="knn"), "classifier is 'knn'; needs"),  # type: ignore[arg-type]
        (lambda: rv.evaluate(mine, rv.Digits(), classifier=rv.L2SVM()), "classifier is L2SVM"),
        (lambda: rv.evaluate(mine, rv.Digits(), data="digits"), "data is str; needs labelled"),  # type: ignore[arg-type]
        (lambda: rv.evaluate(mine, rv.Digits(), layers="1-3"), "layers is '1-3'; needs"),  # type: ignore[arg-type]
        (lambda: rv.evaluate("", rv.Digits()), "representation is ''; needs a name"),
        (lambda: rv.evaluate(mine, rv.Digits(), out=__file__), "not a folder, and none can be made there"),
        (lambda: rv.Digits("3"), "per_class is '3'; needs a whole number"),  # type: ignore[arg-type]
        (lambda: rv.Digits(grid=1e-4), "grid is 0.0001; needs a tuple"),  # type: ignore[arg-type]
        (lambda: rv.extract(mine, None), "data is NoneType; needs labelled images"),  # type: ignore[arg-type]
        (lambda: rv.evaluate(mine, rv.Digits(per_class=1)), "1 label a class"),
        (lambda: rv.evaluate(mine, rv.Digits(draws=0)), "0 draws: needs at least 1"),
        (
            lambda: rv.evaluate(mine, PerClass(5, dataset="nowhere")),
            "nowhere: no such data set, folder or file; needs cifar10",
        ),
        (lambda: rv.evaluate("pixels", rv.Digits(), layers=(1, 2)), "raw pixels has no layers"),
    ],
)
def test_impossible_protocols(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_a_stored_record_is_the_results(tmp_path: Path) -> None:
    result = rv.evaluate(mine, rv.Digits(draws=2), out=tmp_path)
    assert read_records(tmp_path) == [result.record]
    assert json.loads((tmp_path / "records.jsonl").read_text())["labels"] == 100
