"""Extracted features in a folder: what lies there, and the folder as a representation."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import repr_eval as rv
from repr_eval.cli import main
from repr_eval.images.handwritten import load_handwritten_digits
from repr_eval.records import read_records
from repr_eval.representations.feature_folder import SIDECAR, FeatureFolder, files_of
from repr_eval.representations.pixels import scaled_pixels

pytestmark = pytest.mark.usefixtures("own_cache")

DIGITS = load_handwritten_digits()
FEW = rv.Digits(per_class=4, draws=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The first layer of an untrained network on the digits."""
    network = rv.representation("random", arch="dcgan32-svhn", width=0.1)
    rv.extract(network, DIGITS, tmp_path / "features", layers=(1, 1))
    return tmp_path / "features"


def test_the_files_are_plain_arrays(tmp_path: Path) -> None:
    features = rv.extract("pixels", "digits", tmp_path / "pixels", precision="float32")
    made = {path.name: path for path in files_of(tmp_path / "pixels")}
    assert sorted(made) == sorted(path.name for path in (tmp_path / "pixels").iterdir())
    for split, part in ((DIGITS.train, "train"), (DIGITS.test, "test")):
        rows = np.load(made[f"{part}_features.npy"])
        assert np.array_equal(rows, scaled_pixels(split.images).numpy())
        assert np.array_equal(rows, getattr(features, part))
        assert np.array_equal(np.load(made[f"{part}_labels.npy"]), split.labels)
    told = json.loads(made[SIDECAR].read_text())
    assert told["data"]["train_fingerprint"] == DIGITS.train.fingerprint
    assert told["data"]["classes"] == list(DIGITS.classes)
    assert told["description"]["settings"]["representation"] == "pixels"
    assert told["arrays"]["test_features"]["shape"] == [797, 3072]


def test_the_folder_is_measured_as_what_made_it(folder: Path) -> None:
    network = rv.representation("random", arch="dcgan32-svhn", width=0.1)
    direct = rv.evaluate(network, FEW, layers=(1, 1)).record
    again = rv.evaluate(folder, FEW).record
    for name in ("test_correct", "C", "representation", "method", "layers", "facts", "n_features", "max_units"):
        assert getattr(again, name) == getattr(direct, name), name


def test_layers_can_be_chosen_from_a_folder(tmp_path: Path) -> None:
    network = rv.representation("random", arch="dcgan32-svhn", width=0.1)
    rv.extract(network, DIGITS, tmp_path / "all")
    direct, again = (rv.evaluate(of, FEW, layers=(2, 3)).record for of in (network, tmp_path / "all"))
    assert (again.test_correct, again.layers, again.representation) == (
        direct.test_correct, direct.layers, direct.representation,
    )  # fmt: skip


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert rv.extract("pixels", DIGITS).train.shape == (1000, 3072)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_a_function_can_be_extracted(tmp_path: Path) -> None:
    def rows(images: np.ndarray) -> np.ndarray:
        return images.mean((2, 3), dtype=np.float32)

    rv.extract(rows, DIGITS, tmp_path / "rows")
    again, direct = (rv.evaluate(of, FEW, data=DIGITS).record for of in (tmp_path / "rows", rows))
    assert (again.test_correct, again.representation) == (direct.test_correct, direct.representation)


def test_features_of_other_images_are_refused(folder: Path) -> None:
    other = rv.load_dataset(str(_set(folder.parent)))
    with pytest.raises(ValueError, match=r"features: holds features of handwritten digits; the data is set \["):
        rv.evaluate(folder, rv.AllLabels(other))
    with pytest.raises(ValueError, match="holds features of handwritten digits, and makes no others"):
        FeatureFolder(folder).transform(DIGITS.test.images)
    with pytest.raises(ValueError, match="these features are made already; average them when they are extracted"):
        rv.evaluate(folder, FEW, views="mirror")
    with pytest.raises(ValueError, match=r"bn running: .* holds features that are made already"):
        rv.representation(str(folder), bn="running")


def test_a_folder_is_not_written_over_itself(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match="the features come from this folder; write them to another"):
        rv.extract(folder, DIGITS, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def _set(folder: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3)).astype(np.uint8)
    labels = np.arange(8) % 2
    np.savez(folder / "set.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    return folder / "set.npz"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: _change(folder / "test_features.npy"),
            "test_features.npy: is not the array that features.json",
        ),
        (lambda folder: (folder / "train_features.npy").unlink(), "train_features.npy: not a whole array"),
        (lambda folder: (folder / "train_features.npy").write_bytes(b"x"), "train_features.npy: not a whole array"),
        (lambda folder: (folder / SIDECAR).write_text("{}"), "features.json: not the sidecar of extracted features"),
        (lambda folder: (folder / SIDECAR).write_text("no"), "features.json: not the sidecar of extracted features"),
        (lambda folder: _other_layers(folder), "features.json: not the sidecar of extracted features"),
        (lambda folder: _other_format(folder), r"features.json: not the sidecar of .* \(format is 'another'\)"),
    ],
)
def test_damage_is_noticed(folder: Path, spoil: object, message: str) -> None:
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(ValueError, match=message):
        rv.evaluate(folder, FEW)


def _change(path: Path) -> None:
    array = np.load(path)
    array[3, 5] += 1
    np.save(path, array)


def _other_layers(folder: Path) -> None:
    content = json.loads((folder / SIDECAR).read_text())
    content["description"]["layers"] = [1, 2]
    (folder / SIDECAR).write_text(json.dumps(content))


def _other_format(folder: Path) -> None:
    content = json.loads((folder / SIDECAR).read_text())
    (folder / SIDECAR).write_text(json.dumps(content | {"format": "another"}))


def test_the_command(tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    out = tmp_path / "features"
    written = run("extract", "--data", _set(tmp_path), "--weights", "pixels", "--out", out)
    assert written.splitlines() == [str(path) for path in files_of(out)]
    run("evaluate", "--data", tmp_path / "set.npz", "--weights", out, "--out", tmp_path / "out")
    run("evaluate", "--data", tmp_path / "set.npz", "--weights", "pixels", "--out", tmp_path / "out")
    first, second = read_records(tmp_path / "out")
    assert (first.test_correct, first.representation) == (second.test_correct, second.representation)
    assert first.representation["resized"]["from"] == 8
