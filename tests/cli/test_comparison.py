"""`compare` and `rank` on the digits, from images to tables, and one line for what goes wrong."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from comparison_records import one_draw, stored
from scipy import stats
from test_startup import imported_by

import repr_eval as rv
from repr_eval.cli import main
from repr_eval.datasets import load_dataset
from repr_eval.predictions import read_predictions
from repr_eval.records import Record, read_records


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pixels by the L2-SVM and by nearest neighbours, 3 draws each; and the L2-SVM with one draw."""
    folder = tmp_path_factory.mktemp("out")
    for arguments in (
        ["--draws", 3],
        ["--draws", 3, "--classifier", "knn"],
        ["--draws", 1, "--C", 1e-3],
    ):
        result = run(
            "digits",
            "--weights",
            "pixels",
            "--store",
            folder / "store",
            "--out",
            folder,
            *arguments,
        )
        assert result.exit_code == 0, result.output
    return folder


def right(folder: Path, record: Record) -> np.ndarray:
    """What was right, bool [draws, N], from the classes."""
    predictions, labels = read_predictions(folder, record), load_dataset("digits").test.labels
    assert predictions is not None
    answers: np.ndarray = predictions.predicted == labels
    return answers


def test_compare(out: Path) -> None:
    svm, knn, _ = read_records(out)
    result = run("compare", svm.id[:8], knn.id, "--out", out)
    assert result.exit_code == 0, result.output
    difference = right(out, svm).mean() - right(out, knn).mean()
    assert f"accuracy of A minus that of B: {100 * difference:+.2f} percentage points" in result.stdout
    low, high = stats.ttest_rel(right(out, svm).mean(1), right(out, knn).mean(1)).confidence_interval()
    assert f"95% interval over draws: {100 * low:+.2f} to {100 * high:+.2f}" in result.stdout
    assert "t test over draws and test images: p " in result.stdout
    picture = out / f"compare-{svm.id}-{knn.id}.png"
    assert picture.is_file()
    assert f"wrote {picture}" in result.stderr


def test_rank(out: Path) -> None:
    result = run("rank", "--data", "digits", "--out", out)
    assert result.exit_code == 0, result.output
    text = (out / "rank.md").read_text(encoding="utf-8")
    assert text in result.stdout
    assert "### digits/per-class/1: handwritten digits, 100 labels, seed 0, 3 draws" in text
    assert "| 1 | a | raw pixels |" in text
    assert (out / "rank.csv").read_text(encoding="utf-8").count("\n") >= 3


def test_of_several_pairs_each_is_told(out: Path, tmp_path: Path) -> None:
    a, b = one_draw(70, 5, 15, 10)
    ids = [stored(tmp_path, name, right).id for name, right in (("a", a), ("b", b), ("c", ~a))]
    result = run("compare", *ids, "--out", tmp_path, "--no-picture")
    assert result.stdout.count("after Holm's correction: p") == 2
    assert result.stderr == ""
    assert not list(tmp_path.glob("*.png"))


def test_without_the_images_the_numbers_come(tmp_path: Path) -> None:
    a, b = one_draw(70, 5, 15, 10)
    ids = [stored(tmp_path, name, right).id for name, right in (("a", a), ("b", b))]
    result = run("compare", *ids, "--out", tmp_path, "--data-dir", tmp_path)
    assert result.exit_code == 0
    assert "McNemar's exact test: p = 0.0414" in result.stdout
    assert result.stderr.startswith(f"no picture: CIFAR-10 not found in {tmp_path}")
    assert result.stderr.count("\n") == 1


def test_without_predictions_a_line_says_so(tmp_path: Path) -> None:
    a, b = one_draw(70, 5, 15, 10)
    ids = [stored(tmp_path, name, right, keep=False).id for name, right in (("a", a), ("b", b))]
    result = run("compare", *ids, "--out", tmp_path)
    assert "note: no predictions of" in result.stdout
    assert result.stderr == "no picture: there are no predictions to choose images by\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("compare", "repr-eval compare: named: no record; a comparison needs two ids"),
        (
            "compare abc",
            "repr-eval compare: named: abc; a comparison needs two ids, as tables show them",
        ),
        ("compare zz y", "repr-eval compare: no record's id begins with 'zz' in"),
        (
            "rank --protocol x",
            "no record of protocol 'x'; there are digits/per-class/1 on handwritten digits",
        ),
    ],
)
def test_what_is_wrong_is_one_line(command: str, message: str, out: Path) -> None:
    result = run(*command.split(), "--out", out)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_another_number_of_draws_is_said(out: Path) -> None:
    svm, _, single = read_records(out)
    result = run("compare", svm.id, single.id, "--out", out)
    assert (result.exit_code, result.stderr) == (
        1, f"repr-eval compare: records {svm.id} and {single.id} are not of the same test: draws 3 and 1\n"
    )  # fmt: skip


def test_neither_needs_torch(out: Path) -> None:
    svm, knn, _ = read_records(out)
    status, text, names = imported_by("compare", svm.id, knn.id, "--out", str(out), "--no-picture")
    assert (status, names) == (0, {"scipy"})
    assert "percentage points" in text
    status, _, names = imported_by("rank", "--out", str(out))
    assert (status, names) == (0, {"scipy"})
    status, text, names = imported_by("compare", svm.id, knn.id, "--out", str(out))
    assert status == 0
    assert "wrote " in text
    assert "torch" not in names


def test_images_of_a_set_of_ones_own_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = (rng.integers(0, 90, (60, 32, 32, 3)) + 40 * labels[:, None, None, None]).astype(np.uint8)
    np.savez(tmp_path / "own.npz", x_train=images[:40], y_train=labels[:40], x_test=images[40:], y_test=labels[40:])
    data = rv.load_dataset(str(tmp_path / "own.npz"))

    def noise(images: np.ndarray) -> np.ndarray:
        return images[:, :1, :1, 0].reshape(len(images), -1).astype(float) / 99

    protocol = rv.AllLabels(data)
    ids = [rv.evaluate(what, protocol, out=tmp_path).record.id for what in (noise, "pixels")]
    result = run("compare", *ids, "--out", tmp_path)
    assert "McNemar's exact test: p" in result.stdout
    assert result.stderr.startswith("no picture: ")
    assert result.stderr.count("\n") == 1
    result = run("compare", *ids, "--out", tmp_path, "--data", tmp_path / "own.npz")
    assert f"wrote {tmp_path / f'compare-{ids[0]}-{ids[1]}.png'}" in result.stderr
