"""Label-free measures of a data set's features: through the command, in files, in words."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from repr_eval.cli import main
from repr_eval.datasets import load_dataset
from repr_eval.label_free import files
from repr_eval.label_free.measurement import Measurement, measure
from repr_eval.label_free.seen import Seen, chosen_rows, seen_in_file
from repr_eval.label_free.words import in_words, remarks
from repr_eval.measures import alpha_req, effective_rank, linear_cka, rank_me
from repr_eval.representations.base import Description
from repr_eval.representations.discriminator import untrained
from repr_eval.representations.pixels import Pixels

pytestmark = pytest.mark.usefixtures("own_cache")

NETWORK = ("--weights", "random", "--arch", "dcgan32-svhn", "--width", "0.05")
FEATURES = {"1 of 3": 48, "2 of 3": 96, "3 of 3": 208, "1-3 of 3": 352}  # 3, 6 and 13 maps


def run(folder: Path, *options: object) -> Result:
    words = ["measures", "--data", "digits", "--device", "cpu", "--out", folder, *options]
    return CliRunner().invoke(main, [str(word) for word in words])


def succeed(folder: Path, *options: object) -> Result:
    result = run(folder, *options)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def digits_through_the_network() -> np.ndarray:
    """Features float16 [1000, 352] of digits' training images by the untrained network of `NETWORK`."""
    images = load_dataset("digits").train.images
    network = untrained("dcgan32-svhn", 0.05, seed=0)
    return network.fit(images).transform(images).astype(np.float16)


def made(X: np.ndarray, method: str = "mine") -> Seen:
    return Seen(Description(method, "nothing", "-", X.shape[1], None), "float32", "cpu", X)


# The command.


def test_the_measures_of_every_layer_are_those_of_the_features(tmp_path: Path) -> None:
    result = succeed(tmp_path, *NETWORK)
    X, start = digits_through_the_network(), 0
    rows = rows_of(tmp_path / "measures.csv")
    assert {row["layers"]: int(row["features"]) for row in rows} == FEATURES
    for row in rows:
        n = int(row["features"])
        Z = X if n == 352 else X[:, start : start + n]
        start += n
        law = alpha_req(Z)
        assert float(row["rank_me"]) == pytest.approx(rank_me(Z), rel=1e-5)
        assert float(row["effective_rank"]) == pytest.approx(effective_rank(Z), rel=1e-5)
        assert float(row["alpha"]) == pytest.approx(law.alpha, rel=1e-5)
        assert (int(row["alpha_first"]), int(row["alpha_last"])) == (law.first, law.last)
        assert (row["data"], row["images"], row["seed"]) == ("handwritten digits", "1000", "")
    lines = result.stdout.splitlines()
    method = "untrained discriminator (dcgan32-svhn, width 0.05, seed 0)"
    assert lines[0] == f"handwritten digits, 1,000 of 1,000 training images, {method}"
    assert [line[:14].strip() for line in lines[1:]] == [
        "layers", "features", "RankMe", "effective rank", "alpha-ReQ", "its ranks",
    ]  # fmt: skip
    assert f"{float(rows[0]['rank_me']):.1f}" in lines[3]
    assert not (tmp_path / "cka.csv").exists()


def test_the_line_says_everything_that_identifies_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["repr-eval", "measures", "--data", "digits"])  # as if it were started so
    succeed(tmp_path, *NETWORK, "--rows", 300, "--seed", 5, "--store-as", "float32")
    (line,) = (tmp_path / "measures.jsonl").read_text().splitlines()
    content = json.loads(line)
    train = load_dataset("digits").train
    assert content["dataset"]["train_fingerprint"] == train.fingerprint
    assert content["dataset"]["n_train"] == 1000
    assert content["images"] == {"split": "train", "n": 300, "seed": 5}
    settings = content["representation"]["settings"]
    network = untrained("dcgan32-svhn", 0.05, seed=5).description.fitted_to(train.fingerprint)
    assert settings == network.settings | {"stored_as": "float32"}
    assert {"numpy", "torch", "python"} <= content["versions"].keys()
    assert content["commit"]
    assert content["machine"].endswith("cpu")
    assert content["command"] == "repr-eval measures --data digits"
    (one,) = files.read(tmp_path)
    assert one.to_line() == line
    assert rows_of(tmp_path / "measures.csv")[0]["measurement"] == one.id


def test_similarity_to_another_is_a_table_a_csv_and_a_picture(tmp_path: Path) -> None:
    result = succeed(tmp_path, *NETWORK, "--against", "pixels")
    X, images = digits_through_the_network(), load_dataset("digits").train.images
    Y = Pixels().transform(images).astype(np.float16)
    rows = rows_of(tmp_path / "cka.csv")
    assert [row["layers"] for row in rows] == list(FEATURES)
    assert {(row["against"], row["against_layers"]) for row in rows} == {("raw pixels", "all")}
    assert float(rows[1]["cka"]) == pytest.approx(linear_cka(X[:, 48:144], Y), rel=1e-5)
    assert float(rows[3]["cka"]) == pytest.approx(linear_cka(X, Y), rel=1e-5)
    assert float(rows[3]["cka_debiased"]) == pytest.approx(linear_cka(X, Y, debiased=True), rel=1e-5)
    with Image.open(tmp_path / f"cka-{rows[0]['measurement']}.png") as picture:
        assert min(picture.size) > 200
    assert "against raw pixels, its layers in the columns\nlinear CKA    all\n" in result.stdout


def test_a_network_against_itself_has_ones_on_the_diagonal(tmp_path: Path) -> None:
    succeed(tmp_path, *NETWORK, "--against", "random:0", "--rows", 200)
    (one,) = files.read(tmp_path)
    assert one.against is not None
    for table in (one.cka, one.cka_debiased):
        np.testing.assert_allclose(np.diagonal(np.array(table)), 1, rtol=1e-10)
        np.testing.assert_allclose(np.array(table), np.array(table).T, rtol=1e-10)
    assert len(list((tmp_path / "cache" / "repr-eval" / "features").glob("*.npy"))) == 1


@pytest.mark.parametrize("n_test", [0, 797])
def test_features_in_a_file_are_taken_row_for_row(n_test: int, tmp_path: Path) -> None:
    X = digits_through_the_network().astype(np.float32)
    np.save(tmp_path / "mine.npy", np.vstack([2 * X + 1, np.ones((n_test, 352), np.float32)]))
    for rows in (1000, 150):
        against = ("--against", tmp_path / "mine.npy", "--rows", rows)
        succeed(tmp_path, *NETWORK, *against, "--store-as", "float32")
        one = files.read(tmp_path)[-1]
        assert one.cka is not None
        assert one.cka[-1] == [pytest.approx(1, abs=1e-5)]
        assert one.against is not None
        assert one.against["method"] == "mine.npy"
        assert len(one.against["settings"]["file_sha256"]) == 64


def test_repetitions_are_kept_and_shown_once(tmp_path: Path) -> None:
    for rows in (100, 100, 50):
        succeed(tmp_path, "--weights", "pixels", "--rows", rows)
    first, second, third = files.read(tmp_path)
    assert first.layers == second.layers != third.layers
    shown = [row["measurement"] for row in rows_of(tmp_path / "measures.csv")]
    assert shown == [second.id, third.id]


def test_a_measure_that_is_not_defined_is_an_empty_cell_and_said(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def mean(images):\n    return images.mean((1, 2)) / 255\n")
    result = succeed(tmp_path, "--encoder", f"{tmp_path / 'mine.py'}:mean")
    (row,) = rows_of(tmp_path / "measures.csv")
    assert row["alpha"] == row["alpha_first"] == row["alpha_r2"] == ""
    assert float(row["rank_me"]) >= 1
    assert "note: layers all: eigenvalues above 0: 1; a power law" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--against", "missing.npy"], "--against missing.npy: no such file"),
        (["--against", "brilliant"], "no weights called 'brilliant'"),
        (["--width", "0.5", "--against", "pixels"], "--arch and --width apply only"),
        (["--bn", "running", "--against", "random"], "--bn running: untrained weights"),
    ],
)
def test_what_is_wrong_with_the_options_is_one_line(options: list[str], message: str, tmp_path: Path) -> None:
    result = run(tmp_path / "out", *options)
    assert result.exit_code == 1
    assert result.stderr.startswith("repr-eval measures: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_shape_of_the_control_is_that_of_either_side(tmp_path: Path) -> None:
    succeed(tmp_path, "--weights", "pixels", "--against", *NETWORK[1:], "--rows", 60)
    (one,) = files.read(tmp_path)
    assert one.against is not None
    assert one.against["n_features"] == 352


def test_views_are_of_both_sides(tmp_path: Path) -> None:
    succeed(tmp_path, *NETWORK, "--against", "pixels", "--views", "mirror", "--rows", 60)
    (one,) = files.read(tmp_path)
    assert one.against is not None
    assert one.representation["settings"]["views"] == one.against["settings"]["views"]


# Rows, files and words.


def test_rows_are_drawn_by_the_seed_once_each_and_in_order() -> None:
    rows, again, others = (chosen_rows(1000, 300, seed) for seed in (0, 0, 1))
    assert rows is not None
    assert again is not None
    assert others is not None
    assert len(set(rows)) == 300
    assert (np.diff(rows) > 0).all()
    assert (rows == again).all()
    assert (rows != others).any()
    assert chosen_rows(300, 300, seed=0) is None
    with pytest.raises(ValueError, match="rows 1: needs 2 or more"):
        chosen_rows(300, 1, seed=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((999, 3)), r"holds float64 \[999, 3\]; needs float \[N, D\], a row for each of the 1,000"),
        (np.zeros((1000, 3), int), r"holds int64 \[1000, 3\]"),
        (np.zeros(1000), r"holds float64 \[1000\]"),
        (None, "not an .npy file of an array"),
    ],
)
def test_a_file_without_such_features_is_refused(content: np.ndarray | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.npy"
    if content is None:
        path.write_text("not an array")
    else:
        np.save(path, content)
    with pytest.raises(ValueError, match=rf"mine.npy: {message}"):
        seen_in_file(path, load_dataset("digits"), None)


@pytest.fixture(scope="module")
def measured() -> Measurement:
    """A representation of four features, of which one layer of another is constant."""
    X = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    return measure(load_dataset("digits"), made(X), made(np.ones((40, 2), np.float32), "ones"), seed=3)


def test_a_similarity_that_is_not_defined_is_none_and_a_dash(measured: Measurement, tmp_path: Path) -> None:
    assert measured.cka == measured.cka_debiased == [[None]]
    assert in_words(measured).splitlines()[-1].split() == ["all", "-"]
    assert "40 of 1,000 training images, mine" in in_words(measured)
    assert remarks(measured) == ["layers all: eigenvalues above 0: 4; a power law from rank 6 on needs 8"]
    written = files.save(tmp_path, measured)
    assert [path.name for path in written] == [
        "measures.jsonl", "measures.csv", "cka.csv", f"cka-{measured.id}.png",
    ]  # fmt: skip
    assert rows_of(tmp_path / "cka.csv")[0]["cka"] == ""


@pytest.mark.parametrize("wrong", ["{}", "[1]", "nonsense", ""])
def test_a_line_that_is_not_a_measurement_is_named_before_anything_is_added(
    wrong: str, measured: Measurement, tmp_path: Path
) -> None:
    path = tmp_path / files.FILE
    before = f"{measured.to_line()}\n{wrong}\n"
    path.write_text(before)
    with pytest.raises(ValueError, match=r"measures.jsonl, line 2: cannot be read"):
        files.save(tmp_path, replace(measured, command="another"))
    assert path.read_text() == before
    assert "line 2: cannot be read" in run(tmp_path, "--weights", "pixels").stderr
