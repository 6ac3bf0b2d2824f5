"""Any labelled images under the protocols: from Python and from the command line."""

import json
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import repr_eval as rv
from repr_eval.classifiers.base import Features
from repr_eval.cli import main
from repr_eval.images.handwritten import load_handwritten_digits
from repr_eval.images.labelled import LabelledImages
from repr_eval.images.own_data import Labelled, Source, data_set
from repr_eval.protocols.base import EqualClasses
from repr_eval.protocols.cifar10 import all_labels, all_labels_by_class
from repr_eval.protocols.draws import split_off_share
from repr_eval.records import read_records
from repr_eval.representations.pixels import Pixels
from repr_eval.representations.resized import Resized, resized, taking

pytestmark = pytest.mark.usefixtures("own_cache")


def shades(counts: dict[str, int], tested: int = 5, size: int = 32, name: str = "shades") -> LabelledImages:
    """A class a pattern of 16 squares, with noise: so many training images of each, and `tested` test images."""
    rng = np.random.default_rng(0)
    squares = rng.integers(20, 236, (len(counts), 4, 4, 3))
    patterns = squares.repeat(size // 4, 1).repeat(size // 4, 2)

    def part(numbers: dict[str, int]) -> Labelled:
        labels = [label for label, n in numbers.items() for _ in range(n)]
        noise = rng.integers(-19, 20, (len(labels), size, size, 3))
        return Labelled((patterns[[list(counts).index(label) for label in labels]] + noise).astype(np.uint8), labels)

    return data_set(Source(name, {"train": part(counts), "test": part(dict.fromkeys(counts, tested))}))


def write_folders(data: LabelledImages, folder: Path) -> Path:
    for part, split in (("train", data.train), ("test", data.test)):
        for number, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            path = folder / part / data.classes[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return folder


def run(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.output


# Protocols.


def test_a_fifth_of_every_class_is_held_out() -> None:
    labels = np.repeat(np.arange(4), (20, 7, 2, 1))
    rest, held_out = split_off_share(labels, 5, np.random.RandomState(0))
    assert np.bincount(labels[held_out], minlength=4).tolist() == [4, 1, 1, 0]
    assert sorted([*rest, *held_out]) == list(range(30))
    with pytest.raises(ValueError, match="every class has one image: none can be held out"):
        split_off_share(np.arange(3), 5, np.random.RandomState(0))


def test_the_two_protocols_of_all_labels_are_one_where_classes_are_equal() -> None:
    data = shades(dict.fromkeys("abc", 20))
    X, Z = (split.images.reshape(len(split.images), -1) / np.float32(255) for split in (data.train, data.test))
    train, test = Features(X, data.train.labels), Features(Z, data.test.labels)
    one, two = (protocol(train, test, seed=3) for protocol in (all_labels, all_labels_by_class))
    assert (one.protocol, two.protocol) == ("all-labels/1", "all-labels/2")
    assert one.lists["held_out"].tolist() == two.lists["held_out"].tolist()
    assert (one.validation, one.test_correct, one.largest_gap) == (two.validation, two.test_correct, two.largest_gap)


def test_data_make_a_protocol() -> None:
    data = shades({"a": 12, "b": 30})
    protocol = rv.AllLabels(data)
    assert (protocol.dataset, protocol.name) == ("own-shades", "own-shades/all-labels/2")
    assert rv.PerClass(3, data=data).name == "own-shades/per-class/1"
    assert rv.FewLabels(4, data=data).name == "own-shades/few-labels/1"
    assert rv.CIFAR10().name == "cifar10/all-labels/1"
    with pytest.raises(ValueError, match=r"AllLabels: needs data, as repr_eval.load_dataset gives them"):
        rv.AllLabels()
    with pytest.raises(ValueError, match="data is str; needs labelled images"):
        rv.AllLabels("digits")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"CIFAR10 is for cifar10; data is shades \["):
        rv.CIFAR10(data=data)


def test_cifar10_has_one_name_whichever_door_it_comes_through() -> None:
    data = replace(shades(dict.fromkeys("abcde", 10)), dataset="cifar10")
    for protocol in (rv.AllLabels(data), rv.AllLabels(dataset="cifar10"), rv.CIFAR10(data=data)):
        assert (protocol.name, protocol.fixed_name) == ("cifar10/all-labels/1", "cifar10/all-labels/1")
    assert rv.AllLabels(data, grid=(1.0,)).name == "cifar10/all-labels/1/own-C"
    assert rv.AllLabels(dataset="svhn").name == "svhn/all-labels/2"
    record, expected = (rv.evaluate("pixels", one(data=data)).record for one in (rv.AllLabels, rv.CIFAR10))
    assert (record.protocol, record.facts, record.test_correct, record.lists_sha256) == (
        expected.protocol, expected.facts, expected.test_correct, expected.lists_sha256,
    )  # fmt: skip


def test_unequal_classes_and_a_class_with_one_image(tmp_path: Path) -> None:
    data = shades({"many": 40, "some": 9, "one": 1})
    result = rv.evaluate("pixels", rv.AllLabels(data), out=tmp_path)
    record = result.record
    assert record.protocol == "own-shades/all-labels/2"
    assert (record.labels, record.test_n, record.test_correct) == (50, 15, [15])
    assert record.validation_n == 8 + 1
    assert record.dataset["classes"] == ["many", "one", "some"]
    assert (record.dataset["side"], record.dataset["test_images_in_training"]) == (32, 0)
    with pytest.raises(ValueError, match="class 1 has 1 images, too few for a draw of 2 a class"):
        rv.evaluate("pixels", rv.PerClass(2, data=data))


def test_two_classes_under_every_protocol() -> None:
    data = shades({"a": 30, "b": 30}, tested=10)
    for protocol in (rv.AllLabels(data), rv.PerClass(5, 2, data=data), rv.FewLabels(10, 3, data=data)):
        for classifier in (None, rv.NearestNeighbours()):
            result = rv.evaluate("pixels", protocol, classifier=classifier)
            assert result.accuracy == 1, protocol
            assert result.metric == "accuracy"


def test_many_classes() -> None:
    data = shades({f"n{number:03}": 2 for number in range(200)}, tested=1)
    record = rv.evaluate("pixels", rv.AllLabels(data)).record
    assert (record.labels, record.test_n, record.validation_n) == (400, 200, 200)
    assert record.test_correct[0] > 190  # by chance: 1


# Sizes.


def test_images_are_resized_by_the_filter_of_image_files() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3)).astype(np.uint8)
    expected = [np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)) for image in images]
    assert np.array_equal(resized(images, 32), np.stack(expected))
    assert np.array_equal(resized(images, 40), images)


def test_a_representation_of_one_size_takes_another_and_says_so() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3)).astype(np.uint8)
    pixels = Pixels()
    assert taking(pixels, 32) is pixels
    wrapped = taking(pixels, 40)
    assert isinstance(wrapped, Resized)
    assert np.array_equal(wrapped.fit(images).transform(images), pixels.transform(resized(images, 32)))
    assert wrapped.description.settings == pixels.description.settings | {
        "resized": {"from": 40, "to": 32, "filter": "bicubic, antialiased (Pillow)"}
    }


@pytest.mark.parametrize("size", [28, 96])
def test_other_sizes(size: int) -> None:
    data = shades({"a": 10, "b": 10}, size=size)
    record = rv.evaluate("pixels", rv.AllLabels(data)).record
    assert record.representation["resized"]["from"] == size
    assert (record.n_features, record.test_correct) == (3072, [10])
    seen: list[tuple[int, ...]] = []

    def mine(images: np.ndarray) -> np.ndarray:
        seen.append(images.shape[1:])
        return images.reshape(len(images), -1).astype(np.float32)

    rv.evaluate(mine, rv.AllLabels(data))
    assert set(seen) == {(size, size, 3)}  # a function gets the images as they are


def test_a_learned_representation_is_fitted_to_the_resized_images() -> None:
    data = shades({"a": 60, "b": 60}, size=48)
    record = rv.evaluate(rv.KMeans(8, n_patches=500, seed=0), rv.AllLabels(data)).record
    assert record.representation["resized"]["from"] == 48
    assert record.representation["learned_from"] == data.train.fingerprint


# The command.


def test_a_folder_from_the_command_line(tmp_path: Path) -> None:
    folder = write_folders(shades({"a": 20, "b": 8}, size=40), tmp_path / "Shades")
    arguments = ["--weights", "pixels", "--data", str(folder), "--out", str(tmp_path / "out")]
    output = run("evaluate", *arguments)
    assert "note: the data is Shades [" in output
    assert "28 training and 10 test images of 2 classes" in output
    assert "28 labels, raw pixels, 3,072 features: test accuracy 100.00%" in output
    (record,) = read_records(tmp_path / "out")
    assert record.protocol == "own-shades/all-labels/2"
    table = (tmp_path / "out" / "own-shades.md").read_text()
    assert "own-shades/all-labels/2" in table
    assert "own-shades/all-labels/2" in (tmp_path / "out" / "own-shades-methods.md").read_text()
    assert "Shades [" in (tmp_path / "out" / "overview.md").read_text()


def test_few_labels_from_the_command_line(tmp_path: Path) -> None:
    folder = str(write_folders(shades({"a": 40, "b": 40}), tmp_path / "set"))
    common = ["evaluate", "--weights", "pixels", "--data", folder, "--out", str(tmp_path / "out")]
    run(*common, "--protocol", "per-class", "--labels-per-class", "4", "--draws", "2")
    run(*common, "--protocol", "few-labels", "--labels", "8", "--draws", "3", "--classifier", "knn")
    per_class, few = read_records(tmp_path / "out")
    assert (per_class.protocol, per_class.labels, len(per_class.test_correct)) == ("own-set/per-class/1", 8, 2)
    assert (few.protocol, few.labels, len(few.test_correct)) == ("own-set/few-labels/1", 8, 3)


@pytest.mark.slow
def test_a_published_set_has_its_own_protocols(tmp_path: Path) -> None:
    digits = load_handwritten_digits()
    arrays = {f"{p}_{n}": getattr(getattr(digits, p), n) for p in ("train", "test") for n in ("images", "labels")}
    np.savez(tmp_path / "d.npz", **arrays)
    common = ["--weights", "pixels", "--out", str(tmp_path / "out")]
    run("evaluate", *common, "--data", str(tmp_path / "d.npz"), "--protocol", "per-class")
    run("evaluate", *common, "--data", "digits", "--protocol", "per-class")
    run("digits", *common)
    of_file, by_name, by_command = read_records(tmp_path / "out")
    assert of_file.protocol == "digits/per-class/1"
    for record in (of_file, by_name):
        assert record.test_correct == by_command.test_correct
        assert record.lists_sha256 == by_command.lists_sha256
        assert json.dumps(record.dataset) == json.dumps(by_command.dataset)


def test_equal_classes_have_the_same_counts_under_either_name() -> None:
    data = shades(dict.fromkeys("abcde", 10), tested=20)
    new = rv.evaluate("pixels", rv.AllLabels(data)).record
    old = rv.evaluate("pixels", EqualClasses(data=data)).record
    assert (new.test_correct, new.validation_correct, new.lists_sha256) == (
        old.test_correct, old.validation_correct, old.lists_sha256,
    )  # fmt: skip


def test_names_in_letters_that_the_fonts_lack_leave_stderr_alone(tmp_path: Path) -> None:
    names = ("猫", "кот", "😀", "$x$")
    folder = str(write_folders(shades(dict.fromkeys(names, 6)), tmp_path / "猫と😀"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run("evaluate", "--weights", "pixels", "--data", folder, "--out", str(tmp_path / "out"))
        (record,) = read_records(tmp_path / "out")
        run("classes", record.id, "--out", str(tmp_path / "out"))
    assert record.dataset["classes"] == sorted(names)


def test_features_that_are_made_take_no_other_type_or_seed(tmp_path: Path) -> None:
    folder, out = str(tmp_path / "made"), str(tmp_path / "out")
    run("extract", "--data", "digits", "--weights", "pixels", "--store-as", "float32", "--out", folder)
    common = ["--data", "digits", "--protocol", "per-class", "--weights", folder, "--out", out]
    for words, message in (
        (["evaluate", *common, "--store-as", "float16"], f"--store-as float16: {folder} holds features in float32"),
        (["extract", *common[:2], *common[4:], "--seed", "1"], f"--seed 1: {folder} holds features that are made"),
    ):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 1
        assert message in result.stderr
    run("evaluate", *common)
    run("evaluate", *common, "--seed", "1", "--store-as", "float32")
    first, second = read_records(tmp_path / "out")
    assert [record.representation["stored_as"] for record in (first, second)] == ["float32"] * 2
    assert first.lists_sha256 != second.lists_sha256  # the seed is that of the draws
    data = load_handwritten_digits()
    rv.extract("pixels", data, tmp_path / "short")
    with pytest.raises(ValueError, match=r"precision 'float32': .*short holds features in float16"):
        rv.evaluate(str(tmp_path / "short"), rv.Digits(5, 2), data=data, precision="float32")


def test_leaks_are_told(tmp_path: Path) -> None:
    data = shades({"a": 6, "b": 6})
    folder = write_folders(data, tmp_path / "leaky")
    for number in range(3):
        Image.fromarray(data.train.images[number]).save(folder / "test" / "a" / f"again{number}.png")
    output = run("evaluate", "--weights", "pixels", "--data", str(folder), "--out", str(tmp_path / "out"))
    assert "note: 3 test images are among the training images, pixel for pixel" in output
    assert read_records(tmp_path / "out")[0].dataset["test_images_in_training"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--data {}/nowhere", "--data {}/nowhere: no such data set, folder or file"),
        ("--data {}/whole", "whole has no test images of its own; .* \\(--test-share 0.2\\)"),
        ("--data {}/uneven", "say a size to bring all images to \\(--data-size 64"),
        ("--data {}/whole --test-share 0.2 --protocol per-class", "say how many labels a class"),
        ("--data digits --test-share 0.2", "--data digits: has its own size and test images"),
        ("--data digits --labels 100", "--labels is for --protocol few-labels; leave it out with all-labels"),
        ("--data digits --draws 2", "--draws is for --protocol per-class or few-labels"),
        (
            "--data torchvision:CIFAR100 --data-dir {}",
            "CIFAR100 in .*: not found \\(--download fetches",
        ),
        ("--data svhn --data-dir {}", "SVHN not found in"),
        ("--data digits --C ten", "--C 'ten': needs numbers"),
    ],
)
def test_wrong_input_is_one_line(tmp_path: Path, arguments: str, message: str) -> None:
    for number in range(6):
        for folder, size in (("whole", 8), ("uneven", 8 + number)):
            path = tmp_path / folder / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((size, size, 3), 9 * number, np.uint8)).save(path)
    words = [word.replace("{}", str(tmp_path)) for word in arguments.split()]
    result = CliRunner().invoke(main, ["evaluate", "--weights", "pixels", "--out", str(tmp_path / "out"), *words])
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
    assert line.startswith("repr-eval evaluate: ")
    assert re.search(message.replace("{}", str(tmp_path)), line), line
