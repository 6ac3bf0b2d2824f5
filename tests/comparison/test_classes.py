"""Accuracies by class, balanced and top-5 accuracy, confusion matrices: known by hand."""

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from comparison_records import BASE, stored
from PIL import Image

import repr_eval as rv
from repr_eval.classifiers.base import Features
from repr_eval.classifiers.l2svm import L2_SVM
from repr_eval.classifiers.selection import count_in_top
from repr_eval.cli import main
from repr_eval.comparison.classes import by_class, class_names, write_classes
from repr_eval.images.own_data import Labelled, Source, data_set
from repr_eval.predictions import Predictions
from repr_eval.records import DRAWS, Record, append_record, read_records
from repr_eval.system.arrays import save_lists

# Six images of three classes, by two draws.
LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([[0, 0, 1, 1, 1, 2], [0, 2, 1, 0, 1, 2]])


def test_accuracies_by_class_are_known_by_hand() -> None:
    predictions = Predictions.of(PREDICTED, LABELS)
    classes, counts, correct = predictions.by_class()
    assert (classes.tolist(), counts.tolist()) == ([0, 1, 2], [3, 2, 1])
    assert correct.tolist() == [[2, 2, 1], [1, 1, 1]]
    assert predictions.balanced_accuracy == pytest.approx([(2 / 3 + 1 + 1) / 3, (1 / 3 + 1 / 2 + 1) / 3])
    rows = by_class(predictions, ["ant", "bee", "cat"])
    assert [(row.name, row.images, row.mistaken_for) for row in rows] == [
        ("ant", 3, "bee"), ("bee", 2, "ant"), ("cat", 1, ""),
    ]  # fmt: skip
    assert [row.accuracy for row in rows] == pytest.approx([1 / 2, 3 / 4, 1])
    assert [row.mistaken for row in rows] == pytest.approx([2 / 6, 1 / 4, 0])


def test_balanced_accuracy_is_scikit_learns() -> None:
    from sklearn.metrics import balanced_accuracy_score

    rng = np.random.default_rng(0)
    labels = rng.choice(5, 200, p=[0.6, 0.2, 0.1, 0.05, 0.05])
    predicted = np.where(rng.random(200) < 0.7, labels, rng.integers(0, 5, 200))
    ours = Predictions.of(predicted[None], labels).balanced_accuracy
    assert ours == pytest.approx([balanced_accuracy_score(labels, predicted)])


# The five ranked highest.


def test_the_top_is_known_by_hand() -> None:
    classes = np.array([2, 5, 7])
    scores = np.array([[3.0, 2, 1], [1, 2, 3], [1, 1, 1], [1, 1, 1], [9, 8, 7]])
    y = np.array([2, 2, 5, 7, 6])  # the last class is none that has scores
    assert [count_in_top(scores, classes, y, k) for k in (1, 2, 3)] == [1, 2, 4]


def test_the_top_is_scikit_learns() -> None:
    from sklearn.metrics import top_k_accuracy_score

    rng = np.random.default_rng(0)
    scores, y = rng.normal(size=(300, 20)), rng.integers(0, 20, 300)
    scores[np.arange(300), y] += 1
    expected = top_k_accuracy_score(y, scores, k=5, normalize=False, labels=np.arange(20))
    assert count_in_top(scores, np.arange(20), y, 5) == expected


@pytest.mark.parametrize(("classes", "counted"), [(10, False), (11, True)])
def test_the_top_is_counted_of_more_than_ten_classes(classes: int, counted: bool) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(classes).repeat(6)
    X = (np.eye(classes)[y] + rng.normal(0, 0.9, (len(y), classes))).astype(np.float32)
    train, test = Features(X[::2], y[::2]), Features(X[1::2], y[1::2])
    tested = L2_SVM.test(train, [None], 0.01, test)
    if not counted:
        assert tested.top5_correct is None
        return
    assert tested.top5_correct is not None
    assert tested.correct[0] < tested.top5_correct[0] <= len(test.y)


# Records and tables.


def unequal() -> rv.Result:
    """Twelve classes, the first with most of the images."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 256, (12, 8, 8, 3))
    counts = [40, *[4] * 11]

    def part() -> Labelled:
        labels = np.arange(12).repeat(counts)
        noise = rng.normal(0, 120, (len(labels), 8, 8, 3))
        return Labelled((patterns[labels] + noise).clip(0, 255).astype(np.uint8), [f"c{n:02}" for n in labels])

    data = data_set(Source("unequal", {"train": part(), "test": part()}))
    return rv.evaluate("pixels", rv.AllLabels(data))


def test_a_result_tells_balanced_and_top5_accuracy(tmp_path: Path) -> None:
    result = unequal()
    assert result.predictions is not None
    assert result.balanced_accuracy == pytest.approx(result.predictions.balanced_accuracy[0])
    assert result.top5_accuracy is not None
    assert result.balanced_accuracy is not None
    assert result.accuracy <= result.top5_accuracy <= 1
    assert set(result.more) == {"balanced accuracy", "top-5 accuracy"}
    assert "balanced accuracy" in result._repr_html_()
    append_record(tmp_path, result.record)
    assert read_records(tmp_path) == [result.record]
    rv.report(tmp_path)
    table = (tmp_path / "own-unequal.md").read_text()
    assert "| balanced accuracy % | top-5 accuracy % |" in table
    assert f"| {100 * result.balanced_accuracy:.2f} | {100 * result.top5_accuracy:.2f} |" in table


def test_tables_of_older_records_have_no_such_columns(tmp_path: Path) -> None:
    stored(tmp_path, "raw pixels", [True, False, True], keep=False)
    rv.report(tmp_path)
    assert "balanced" not in (tmp_path / "cifar10.md").read_text() + (tmp_path / "cifar10.csv").read_text()


@pytest.mark.parametrize(
    "more",
    [{"top5_correct": [4]}, {"top5_correct": [1, 1]}, {"balanced_accuracy": [1.5]}, {"f1": [0.5]}, {"top5_correct": 1}],
)
def test_impossible_numbers_are_no_record(tmp_path: Path, more: dict[str, object]) -> None:
    stored(tmp_path, "raw pixels", [True, False, True], keep=False, more=more)
    with pytest.raises(ValueError, match=r"line 1: cannot be read \(more is"):
        read_records(tmp_path)


# The command.


def record_in(folder: Path, classes: list[str] | None = None) -> Record:
    predictions = Predictions.of(PREDICTED, LABELS)
    dataset = BASE["dataset"] | ({} if classes is None else {"classes": classes})
    record = Record(
        **BASE
        | {"test_n": predictions.n, "test_correct": predictions.correct, "dataset": dataset}
        | {"predictions_sha256": save_lists(folder / DRAWS, predictions.arrays)}
    )
    append_record(folder, record)
    return record


def test_the_command_writes_tables_and_a_picture(tmp_path: Path) -> None:
    record = record_in(tmp_path, ["a|b", "<script>", "$c$"])
    result = CliRunner().invoke(main, ["classes", record.id[:6], "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "balanced accuracy 75.00%" in result.stdout
    assert "| a\\|b | 3 | 50.00 | <script> | 33.33 |" in result.stdout
    assert "| &#60;script> |" in (tmp_path / f"classes-{record.id}.md").read_text()
    with open(tmp_path / f"confusion-{record.id}.csv", newline="") as file:
        lines = list(csv.reader(file))
    assert lines == [
        ["class", "a|b", "<script>", "$c$"],
        ["a|b", "3", "2", "1"],
        ["<script>", "1", "3", "0"],
        ["$c$", "0", "0", "2"],
    ]
    with Image.open(tmp_path / f"confusion-{record.id}.png") as picture:
        assert min(picture.size) > 200


def test_classes_of_the_suites_own_sets_have_their_names(tmp_path: Path) -> None:
    assert class_names(record_in(tmp_path))[:2] == ["airplane", "automobile"]


def test_records_without_predictions_are_told(tmp_path: Path) -> None:
    record = stored(tmp_path, "raw pixels", [True, False], keep=False)
    with pytest.raises(ValueError, match=f"record {record.id} is older than stored predictions: measure it again"):
        write_classes(tmp_path, record.id)
    with pytest.raises(ValueError, match="no record's id begins with 'zz'"):
        write_classes(tmp_path, "zz")
