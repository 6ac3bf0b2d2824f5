"""The L2-SVM's benchmark: what it stores and how tables follow from that."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from svm_problems import primal, problem, weights_of

from benchmarks import svm, svm_report
from benchmarks.svm import RESULTS, results, tasks
from benchmarks.svm_classes import cut_classes, parted
from benchmarks.svm_contenders import CONTENDERS, OF_MANY_CLASSES, Task, loaded, measure, merged, objective
from repr_eval.images.cifar10 import CLASSES
from repr_eval.images.labelled import LabelledImages, make_split
from repr_eval.representations.discriminator import untrained


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    X, y = problem(60, 12, 4)
    for name in ("train", "test"):
        np.save(tmp_path / f"{name}-X.npy", X.astype(np.float16))
        np.save(tmp_path / f"{name}-y.npy", y)
    return tmp_path


def test_readme_and_csv_are_what_the_stored_measurements_give(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    written = svm_report.write_report(results(), tmp_path / "results")
    assert written[0].read_text() == (RESULTS.parent.parent / "README.md").read_text()
    assert written[1].read_text() == (RESULTS.parent / "svm.csv").read_text()
    assert (RESULTS.parent / "svm-scaling.png").is_file()


@pytest.mark.parametrize("contender", ["repr-eval", "LinearSVC dual", "LinearSVC primal"])
def test_a_measurement_says_what_the_fit_reached(contender: str, folder: Path) -> None:
    result = measure(Task("versus", contender, 50, 12, 4, (0.1,)), folder)
    X, y = loaded(folder / "train-X.npy", 50, 12), np.load(folder / "train-y.npy")[:50]
    best = LinearSVC(C=0.1, dual=False, tol=1e-10).fit(X.astype(np.float64), y)
    minimum = primal(X, y, 0.1, weights_of(best))
    np.testing.assert_allclose(objective(X, y, 0.1, weights_of(best)), minimum, rtol=1e-12)
    assert 0 <= sum(result["objective"]) / minimum.sum() - 1 < 0.02
    truth = np.load(folder / "test-y.npy")
    assert abs(result["test_correct"] - (best.predict(np.load(folder / "test-X.npy")) == truth).sum()) <= 2
    assert result["seconds"] > 0
    assert result["peak_gb"] > 0.05
    json.dumps(result)


def test_classes_are_cut_into_equal_parts_along_what_varies_most(tmp_path: Path) -> None:
    """Two classes, each on a line of its own: its parts are the quarters of the line."""
    rng = np.random.default_rng(0)
    t, labels = rng.permutation(40) / 40, np.arange(40) % 2
    lines = np.array([[0.6, 0.8, 0], [0, 0, -1]])
    X = np.stack([0.01 * rng.normal(size=3) + at * lines[label] for at, label in zip(t, labels, strict=True)])
    for split, rows in (("train", slice(None)), ("test", slice(10))):
        np.save(tmp_path / f"{split}-X.npy", X[rows].astype(np.float32))
        np.save(tmp_path / f"{split}-y.npy", labels[rows])
    cut_classes(tmp_path, (2, 8))
    assert parted(tmp_path, 2).tolist() == labels.tolist()
    y = parted(tmp_path, 8)
    assert np.bincount(y).tolist() == [5] * 8
    assert (y // 4).tolist() == labels.tolist()
    for label in (0, 1):
        means = [t[y == 4 * label + part].mean() for part in range(4)]
        assert means == sorted(means) or means == sorted(means, reverse=True)
    assert parted(tmp_path, 8, "test").tolist() == y[:10].tolist()
    np.save(tmp_path / "train-X.npy", X[:3])
    cut_classes(tmp_path, (2, 8))  # they are there


@pytest.mark.parametrize("contender", OF_MANY_CLASSES)
def test_more_classes_than_the_data_have_are_measured_on(contender: str, folder: Path) -> None:
    cut_classes(folder, (8,))
    result = json.loads(json.dumps(measure(Task("classes", contender, 50, 12, 8, (0.1,)), folder)))
    X, y = loaded(folder / "train-X.npy", 50, 12).astype(np.float64), parted(folder, 8)[:50]
    model = LogisticRegression(C=0.1, tol=1e-8) if contender == "LogisticRegression" else LinearSVC(C=0.1, tol=1e-8)
    found = model.fit(X, y).predict(np.load(folder / "test-X.npy"))
    assert abs(result["test_correct"] - (found == parted(folder, 8, "test")).sum()) <= 3
    if contender == "LogisticRegression":
        assert "objective" not in result
    else:
        minimum = primal(X, y, 0.1, weights_of(LinearSVC(C=0.1, dual=False, tol=1e-10).fit(X, y)))
        assert 0 <= sum(result["objective"]) / minimum.sum() - 1 < 0.02


@pytest.mark.slow
def test_features_are_made_once_and_measured_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (150, 32, 32, 3), dtype=np.uint8)
    train, test = (make_split(part, np.arange(len(part)) % 10) for part in (images[:100], images[100:]))
    data = LabelledImages(name="few", train=train, test=test, classes=CLASSES, verified=False)
    monkeypatch.setattr(svm, "load_cifar10", lambda root: data)
    monkeypatch.setattr(svm, "untrained", lambda arch, width, seed: untrained(arch, 0.05, seed))
    monkeypatch.setattr(svm, "RESULTS", tmp_path / "svm.jsonl")
    folder = svm._features(tmp_path, tmp_path / "store")
    network = untrained("dcgan32", 0.05, 0).fit(data.train.images)
    for name, split in (("train", data.train), ("test", data.test)):
        X = np.load(folder / f"{name}-X.npy")
        np.testing.assert_array_equal(X, network.transform(split.images).astype(np.float16))
        np.testing.assert_array_equal(np.load(folder / f"{name}-y.npy"), split.labels)
    monkeypatch.setattr(svm, "load_cifar10", None)
    assert svm._features(tmp_path, tmp_path / "store") == folder  # they are there
    held = np.ones(10**8)  # 0.8 GB here, which the measurement does not count as its own
    svm._measure(Task("versus", "repr-eval", 80, X.shape[1], 10, (1e-4,)), folder)
    del held
    (line,) = results(tmp_path / "svm.jsonl")
    assert line["n_test"] == 50
    assert len(line["objective"]) == 10
    assert 0.05 < line["peak_gb"] < 1


def test_rows_and_columns_are_read_as_they_lie(folder: Path) -> None:
    X = np.load(folder / "train-X.npy")
    np.testing.assert_array_equal(loaded(folder / "train-X.npy", 33, 7), X[:33, :7])


def test_classes_are_merged_into_the_last() -> None:
    assert merged(np.array([0, 3, 1, 2]), 3).tolist() == [0, 2, 1, 2]


def test_tasks_know_their_stored_measurements() -> None:
    (first, *others) = [task for part in ("versus", "full", "scaling") for task in tasks(part)]
    stored = json.loads(json.dumps(first.as_dict()))
    assert first.is_of(stored)
    assert not any(task.is_of(stored) for task in others)
    assert len(list(tasks("classes"))) == 4 * 3 + 3 + 3 + 2


def _result(seconds: float, **changes: Any) -> dict[str, Any]:
    return {"part": "scaling", "contender": "repr-eval", "n": 10, "d": 5, "k": 3, "Cs": [1.0], "seconds": seconds,
            "peak_gb": 1.0, "objective": [1.0], "tol": 1e-3, "test_correct": 1, "n_test": 2,
            "commit": "abc", **changes}  # fmt: skip


def test_medians_and_exponents_known_by_hand() -> None:
    many = [_result(s, n=n) for n, times in ((10, (1, 2, 9)), (20, (8, 7, 8)), (40, (32, 1, 90))) for s in times]
    assert svm_report.scaling(many)["n"] == [(10, 2, 1.0), (20, 8, 1.0), (40, 32, 1.0)]
    assert svm_report.exponent((10, 20, 40), (2, 8, 32)) == pytest.approx(2.0)
    rows = svm_report.exponent_rows(many)
    assert [row["time grows with the power"] for row in rows] == ["2.00"]


def test_many_classes_are_compared_and_their_growth_is_known_by_hand() -> None:
    many = [_result(s, part="classes", k=k) for k, s in ((10, 2), (20, 4), (40, 8))]
    dual = _result(16, part="classes", k=40, contender="LinearSVC dual", objective=[1.01])
    logistic = _result(4, part="classes", k=40, contender="LogisticRegression")
    del logistic["objective"]
    rows = [row for row in svm_report.classes_rows([*many, dual, logistic]) if row["classes"] == "40"]
    assert [(row["solver"], row["times repr-eval's"], row["objective, relative excess"]) for row in rows] == [
        ("repr-eval", "1.0", "0e+00"), ("LinearSVC dual", "2.0", "1e-02"), ("LogisticRegression", "0.5", "another"),
    ]  # fmt: skip
    (growth,) = svm_report.growth_in_classes([*many, dual, logistic])
    assert (growth["classes"], growth["time grows with the power"]) == ("10, 20, 40", "1.00")


def test_contenders_are_compared_with_ours_at_the_same_size() -> None:
    slow = _result(60, part="versus", contender="LinearSVC dual", objective=[1.001])
    found = svm_report.versus_rows([_result(3, part="versus"), slow, {**slow, "n": 99}])
    absent = [(row["rows"], row["solver"]) for row in found if row["seconds"] == "not measured"]
    assert ("99", "repr-eval") in absent
    assert len(absent) == 2 * len(CONTENDERS) - 3
    rows = [row for row in found if row["seconds"] != "not measured"]
    assert [row["times repr-eval's"] for row in rows] == ["1.0", "20.0", ""]
    assert [row["objective, relative excess"] for row in rows] == ["0e+00", "1e-03", "0e+00"]


def test_limits_known_by_hand() -> None:
    limits = _result(0, contender="limits", part="full", n=10**6, d=1000, k=10, read_gb_per_s=20.0, float32_gflops=80.0,
                     bfloat16_gflops=800.0, step_s=1.0, rough_step_s=0.2)  # fmt: skip
    rows = svm_report.limit_rows([limits])  # 2 GB to read: 0.1 s; 40 GFLOP: 0.5 s or 0.05 s
    assert [row["limit / step"] for row in rows] == ["50%", "50%"]
