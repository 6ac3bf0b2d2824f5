"""Predictions: what is stored, by hand, and that nothing damaged is read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from comparison_records import predictions_of, stored

import repr_eval as rv
from repr_eval.classifiers.base import Classifier
from repr_eval.classifiers.l2svm import LinearSVM
from repr_eval.predictions import Predictions, read_predictions
from repr_eval.records import read_records

LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
PREDICTED = np.array([[0, 1, 2, 1, 1, 2, 0, 0, 2], [0, 1, 1, 0, 1, 2, 2, 1, 2]])


def test_bits_by_hand() -> None:
    predictions = Predictions.of(PREDICTED, LABELS)
    # 1110 1110 1 and 1101 1101 1: the first image's bit is the highest, the last byte is filled up with 0.
    assert predictions.right.tolist() == [[0b11101110, 0b10000000], [0b11011101, 0b10000000]]
    assert predictions.right.dtype == np.uint8
    assert predictions.correct == [7, 7]
    assert predictions.n == 9
    assert predictions.draws_right.tolist() == [2, 2, 1, 1, 2, 2, 1, 1, 2]


def test_confusion_by_hand() -> None:
    classes, counts = Predictions.of(PREDICTED[:1] + 5, LABELS + 5).confusion()
    assert classes.tolist() == [5, 6, 7]
    assert counts.tolist() == [[2, 1, 0], [1, 2, 0], [0, 0, 3]]  # rows: the image's own class
    assert Predictions.of(PREDICTED, LABELS).confusion()[1].sum() == 18


@pytest.mark.parametrize(("classes", "kind"), [(10, "uint8"), (256, "uint8"), (257, "uint16"), (70_000, "uint32")])
def test_classes_are_in_the_smallest_type(classes: int, kind: str) -> None:
    predictions = Predictions.of(np.array([[0, classes - 1]]), np.array([0, 1]))
    assert predictions.predicted.dtype == predictions.labels.dtype == kind
    assert predictions.predicted.tolist() == [[0, classes - 1]]


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"predictions are \[9\], labels \[9\]; needed: \[draws, N\] and \[N\]"):
        Predictions.of(PREDICTED[0], LABELS)
    with pytest.raises(ValueError, match=r"predictions are \[2, 9\], labels \[8\]"):
        Predictions.of(PREDICTED, LABELS[1:])


def test_they_come_back_as_they_went(tmp_path: Path) -> None:
    right = np.random.default_rng(0).random((3, 21)) < 0.7
    record = stored(tmp_path, "a", right)
    (again,) = read_records(tmp_path)
    assert again == record
    predictions = read_predictions(tmp_path, again)
    assert predictions is not None
    np.testing.assert_array_equal(np.unpackbits(predictions.right, axis=1, count=21), right)
    np.testing.assert_array_equal(predictions.predicted, np.where(right, 3, 5))
    assert predictions.correct == record.test_correct == right.sum(1).tolist()


def test_a_record_without_them_is_as_it_was(tmp_path: Path) -> None:
    record = stored(tmp_path, "a", [[1, 0, 1]], keep=False)
    assert "predictions" not in record.to_line()
    assert read_predictions(tmp_path, record) is None
    other = replace(record, predictions_sha256="0" * 64)
    assert other.id != record.id


@pytest.mark.parametrize("value", [5, "abc", "g" * 64, "0" * 65])
def test_a_hash_that_is_none_is_named(value: object, tmp_path: Path) -> None:
    stored(tmp_path, "a", [[1, 0, 1]], keep=False, predictions_sha256=value)
    with pytest.raises(ValueError, match=f"line 1: cannot be read .predictions_sha256 is {value!r:.40}"):
        read_records(tmp_path)


def test_damage_is_named(tmp_path: Path) -> None:
    record = stored(tmp_path, "a", [[1, 0, 1]])
    other = stored(tmp_path, "b", [[1, 1, 1]])
    files = {one.id: tmp_path / "draws" / f"{one.predictions_sha256}"[:16] for one in (record, other)}
    paths = {key: path.with_suffix(".npz") for key, path in files.items()}
    good = paths[record.id].read_bytes()
    paths[record.id].write_bytes(paths[other.id].read_bytes())
    with pytest.raises(ValueError, match=rf"\.npz: its content is no longer the predictions of record {record.id}"):
        read_predictions(tmp_path, record)
    paths[record.id].write_bytes(good[:100])
    with pytest.raises(ValueError, match=r"\.npz: cannot be read"):
        read_predictions(tmp_path, record)
    paths[record.id].unlink()
    with pytest.raises(ValueError, match=rf"\.npz: not found; it holds the predictions of record {record.id}"):
        read_predictions(tmp_path, record)


def test_counts_that_the_bits_deny_are_named(tmp_path: Path) -> None:
    record = stored(tmp_path, "a", [[1, 0, 1]])
    for changes in ({"test_correct": [3]}, {"test_n": 4}, {"test_correct": [2, 2]}):
        with pytest.raises(ValueError, match=r"\[2\] of 3 images are right; record"):
            read_predictions(tmp_path, replace(record, **changes))


def test_bits_that_the_classes_deny_are_named(tmp_path: Path) -> None:
    from repr_eval.system.arrays import save_lists

    arrays = predictions_of(np.array([True, False, True])).arrays
    arrays["predicted"] = arrays["predicted"][:, ::-1] * 0  # as many bits, but no class is right
    digest = save_lists(tmp_path / "draws", arrays)
    record = stored(tmp_path, "a", [[1, 0, 1]], predictions_sha256=digest)
    with pytest.raises(ValueError, match="images are right; record"):
        read_predictions(tmp_path, record)


# An evaluation stores them.


def mine(images: np.ndarray) -> np.ndarray:
    """Means of 8x8 squares: uint8 [N, 32, 32, 3] -> float [N, 48]."""
    return images.reshape(-1, 4, 8, 4, 8, 3).mean((2, 4)).reshape(len(images), -1)


def brightness(images: np.ndarray) -> np.ndarray:
    """As `mine`, in [0, 1]: scaled as logistic regression needs it to converge."""
    return mine(images) / 255


KINDS = [
    None,
    rv.NearestNeighbours(),
    rv.WeightedNearestNeighbours(),
    rv.Ridge(),
    rv.LogisticRegression(),
]


@pytest.mark.parametrize("classifier", KINDS, ids=lambda one: one.name if one else "protocol's")
def test_an_evaluation_stores_them(classifier: Classifier | None, tmp_path: Path) -> None:
    result = rv.evaluate(brightness, rv.Digits(10, draws=3), classifier=classifier, out=tmp_path)
    (record,) = read_records(tmp_path)
    predictions = read_predictions(tmp_path, record)
    assert predictions is not None
    assert result.predictions is not None
    data = rv.load_dataset("digits")
    np.testing.assert_array_equal(predictions.labels, data.test.labels)
    np.testing.assert_array_equal(predictions.predicted, result.predictions.predicted)
    assert (predictions.predicted == data.test.labels).sum(1).tolist() == record.test_correct
    again = rv.evaluate(brightness, rv.Digits(10, draws=3), classifier=classifier)  # writes nothing, says the same
    assert again.record.predictions_sha256 == record.predictions_sha256


def test_what_is_predicted_is_what_a_draws_svm_says(tmp_path: Path) -> None:
    result = rv.evaluate(mine, rv.Digits(10, draws=2), out=tmp_path)
    data, record = rv.load_dataset("digits"), result.record
    with np.load(tmp_path / "draws" / f"{record.lists_sha256[:16]}.npz") as lists:
        rows = lists["draws"][1]
    X, Z = (mine(split.images).astype(np.float16).astype(np.float32) for split in (data.train, data.test))
    svm = rv.L2SVM(C=record.C, tol=1e-3).fit(X[rows], data.train.labels[rows])
    assert result.predictions is not None
    agree = (svm.predict(Z) == result.predictions.predicted[1]).mean()
    assert agree > 0.99  # fits of the same tolerance


class Miscounts(LinearSVM):
    """Says that one image more is right than its predictions say."""

    name = "miscounts"

    def test(self, *arguments: object, **settings: object) -> object:  # type: ignore[override]
        tested = super().test(*arguments, **settings)  # type: ignore[arg-type]
        return replace(tested, correct=[count + 1 for count in tested.correct])


def test_a_classifier_that_counts_otherwise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"miscounts: counts \[\d+\] as right; of its predictions \[\d+\] are"):
        rv.evaluate(mine, rv.Digits(10, draws=1), classifier=Miscounts(), out=tmp_path)  # type: ignore[arg-type]
    assert not (tmp_path / "records.jsonl").exists()
