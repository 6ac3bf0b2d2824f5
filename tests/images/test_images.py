"""Labelled sets and training images: one order whatever the layout, names for what they are, and every wrong file."""

import hashlib
import importlib
import io
import json
import os
import pickle
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import random_images
from PIL import Image
from scipy.io import loadmat, savemat

from repr_eval.datasets import DATASETS
from repr_eval.gan.unlabelled import unlabelled_images
from repr_eval.images import cifar10, svhn
from repr_eval.images.cifar10 import CLASSES, load_cifar10
from repr_eval.images.data_dir import DataRoot, MissingData, data_root
from repr_eval.images.handwritten import load_handwritten_digits
from repr_eval.images.house_numbers import write_svhn_layout
from repr_eval.images.labelled import LabelledImages, make_split
from repr_eval.images.svhn import load_svhn, read_mat
from repr_eval.system import torchvision_import
from repr_eval.system.torchvision_import import torchvision_datasets

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]  # split -> images, labels


def same_split(one: Any, other: Any) -> bool:
    return bool(
        np.array_equal(one.images, other.images)
        and np.array_equal(one.labels, other.labels)
        and one.fingerprint == other.fingerprint
        and one.pixel_fingerprint == other.pixel_fingerprint
    )


# Order and fingerprint.


def test_a_split_is_sorted_by_content_whatever_order_it_came_in() -> None:
    images, labels = random_images(50), np.arange(50) % 10
    split = make_split(images, labels)
    shuffled = np.random.default_rng(1).permutation(50)
    assert same_split(split, make_split(images[shuffled], labels[shuffled].astype(np.uint8)))
    assert split.labels.dtype == np.int64
    # The same pairs of image and label, in another order than the given one.
    pairs = {(image.tobytes(), label) for image, label in zip(images, labels, strict=True)}
    assert {(image.tobytes(), label) for image, label in zip(split.images, split.labels, strict=True)} == pairs
    assert not np.array_equal(split.labels, labels)


def test_fingerprints_are_what_they_are_said_to_be() -> None:
    images, labels = random_images(3), np.array([7, 0, 9])
    pixels = [hashlib.sha256(image.tobytes()).digest() for image in images]
    both = [
        hashlib.sha256(digest + bytes([label, 0, 0, 0, 0, 0, 0, 0])).digest()
        for digest, label in zip(pixels, labels.tolist(), strict=True)
    ]
    split = make_split(images, labels)
    assert split.fingerprint == hashlib.sha256(b"".join(sorted(both))).hexdigest()
    assert split.pixel_fingerprint == hashlib.sha256(b"".join(sorted(pixels))).hexdigest()


def test_a_changed_pixel_label_or_number_changes_the_fingerprint() -> None:
    images, labels = random_images(20), np.arange(20) % 10
    split = make_split(images, labels)
    other = images.copy()
    other[3, 4, 5, 1] ^= 1
    assert make_split(other, labels).pixel_fingerprint != split.pixel_fingerprint
    mislabelled = make_split(images, np.roll(labels, 1))
    assert mislabelled.fingerprint != split.fingerprint
    assert mislabelled.pixel_fingerprint == split.pixel_fingerprint
    assert make_split(images[1:], labels[1:]).fingerprint != split.fingerprint
    twice = make_split(np.concatenate([images, images[:1]]), np.append(labels, labels[0]))
    assert twice.fingerprint != split.fingerprint


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (random_images(2).astype(np.float32), np.zeros(2, int), r"images are float32 \[2, 32, 32, 3\]"),
        (random_images(2)[..., 0], np.zeros(2, int), r"\[2, 32, 32\]"),
        (random_images(2), np.zeros(3, int), r"labels are int64 \[3\]; needed: int \[2\]"),
        (random_images(2), np.zeros(2), "labels are float64"),
    ],
)
def test_arrays_of_another_form_are_refused(images: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_split(images, labels)


# CIFAR-10: a set of 20 + 10 images that stands for the complete one.


def small_cifar() -> Arrays:
    return {
        "train": (random_images(20, seed=1), np.arange(20) % 10),
        "test": (random_images(10, seed=2), np.arange(10)),
    }


@pytest.fixture
def arrays(monkeypatch: pytest.MonkeyPatch) -> Arrays:
    """A small set, and a package that takes it for the whole of CIFAR-10."""
    arrays = small_cifar()
    for split, (images, labels) in arrays.items():
        whole = make_split(images, labels)
        monkeypatch.setitem(cifar10.COUNTS, split, len(labels))
        monkeypatch.setitem(cifar10.FINGERPRINTS, split, whole.fingerprint)
        monkeypatch.setitem(cifar10.PIXEL_FINGERPRINTS, split, whole.pixel_fingerprint)
    return arrays


def write_folders(root: Path, arrays: Arrays, suffix: str = ".png") -> None:
    for split, (images, labels) in arrays.items():
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = root / split / CLASSES[label] / f"{97 * number % 100:02}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)


def write_pickles(root: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The original layout; torchvision is told that these are the original files."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def write(name: str, content: dict[str, Any]) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    def batch(images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        return {"data": images.transpose(0, 3, 1, 2).reshape(len(images), -1), "labels": labels.tolist()}

    images, labels = arrays["train"]
    fifths = np.split(np.arange(len(labels)), 5)
    published = torchvision_datasets().CIFAR10
    train = [write(f"data_batch_{i}", batch(images[rows], labels[rows])) for i, rows in enumerate(fifths, 1)]
    meta = write("batches.meta", {"label_names": list(CLASSES)})
    monkeypatch.setattr(published, "train_list", train)
    monkeypatch.setattr(published, "test_list", [write("test_batch", batch(*arrays["test"]))])
    monkeypatch.setattr(published, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
    return folder


def root_at(path: Path) -> DataRoot:
    return DataRoot(path, own=False, why="`data_dir`")


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.mark.parametrize("below", [".", "cifar10"])
def test_both_layouts_are_recognised_as_the_same_whole_set(
    tmp_path: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    write_folders(tmp_path / "folders" / below, arrays)
    write_pickles(tmp_path / "pickles" / below, arrays, monkeypatch)
    folders, pickles = (load_cifar10(root_at(tmp_path / name)) for name in ("folders", "pickles"))
    for found in (folders, pickles):
        assert (found.name, found.verified, found.remark, found.classes) == ("CIFAR-10", True, "", CLASSES)
    for split, (images, labels) in arrays.items():
        expected = make_split(images, labels)
        assert same_split(getattr(folders, split), expected)
        assert same_split(getattr(pickles, split), expected)
    assert cifar10.found_in(tmp_path / "folders") == tmp_path / "folders" / below


def test_the_class_is_the_folders_and_the_order_the_published_one(tmp_path: Path, arrays: Arrays) -> None:
    write_folders(tmp_path, arrays)
    assert CLASSES[0] == "airplane"
    assert CLASSES[9] == "truck"
    found = load_cifar10(root_at(tmp_path))
    with Image.open(next((tmp_path / "test" / "truck").iterdir())) as image:
        (row,) = np.flatnonzero((found.test.images == np.asarray(image)).all(axis=(1, 2, 3)))
    assert found.test.labels[row] == 9


def test_a_short_copy_is_reported(tmp_path: Path, arrays: Arrays) -> None:
    write_folders(tmp_path, arrays)
    next((tmp_path / "train" / "cat").iterdir()).unlink()
    found = load_cifar10(root_at(tmp_path))
    assert (found.name, found.verified) == ("CIFAR-10 (altered copy)", False)
    assert found.remark == "train: 19 images instead of 20"


def test_a_recompressed_copy_is_reported(tmp_path: Path, arrays: Arrays) -> None:
    write_folders(tmp_path, arrays, ".jpg")
    found = load_cifar10(root_at(tmp_path))
    assert (found.name, found.verified) == ("CIFAR-10 (altered copy)", False)
    assert found.remark == "; ".join(
        f"{split}: other pixels (re-compressed, resized, or some images exchanged)" for split in ("train", "test")
    )


def test_a_mislabelled_copy_is_reported(tmp_path: Path, arrays: Arrays) -> None:
    write_folders(tmp_path, arrays)
    here, there = tmp_path / "test" / "cat", tmp_path / "test" / "dog"
    here.rename(tmp_path / "aside")
    there.rename(here)
    (tmp_path / "aside").rename(there)
    found = load_cifar10(root_at(tmp_path))
    assert (found.name, found.verified) == ("CIFAR-10 (altered copy)", False)
    assert found.remark == "test: the right images with other labels"


def test_pickles_that_are_not_the_originals_are_never_opened(
    tmp_path: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_pickles(tmp_path, arrays, monkeypatch)

    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "sprung"),)

    for name in ("test_batch", "batches.meta"):
        good = (folder / name).read_bytes()
        (folder / name).write_bytes(pickle.dumps(Trap()))
        with pytest.raises(ValueError, match=rf"{folder}: not the original files .*its MD5.*download=True"):
            load_cifar10(root_at(tmp_path))
        assert not (tmp_path / "sprung").exists()
        (folder / name).write_bytes(good)
    (folder / "data_batch_3").unlink()
    with pytest.raises(ValueError, match=f"{folder}: not the original files"):
        load_cifar10(root_at(tmp_path))


def test_a_missing_set_says_where_it_looked_and_what_would_provide_it(tmp_path: Path) -> None:
    with pytest.raises(MissingData) as caught:
        load_cifar10(root_at(tmp_path))
    text = str(caught.value)
    assert text.startswith(f"CIFAR-10 not found in {tmp_path} (`data_dir`): looked for cifar-10-batches-py/ and")
    assert "{train,test}/<class>/*.png, there and in cifar10/" in text
    assert text.endswith('With a network, `load_dataset("cifar10", download=True)` fetches it')


@pytest.mark.parametrize("below", [".", "cifar10"])
def test_an_archive_that_is_not_unpacked_is_named(tmp_path: Path, below: str) -> None:
    archive = tmp_path / below / "cifar-10-python.tar.gz"
    archive.parent.mkdir(exist_ok=True)
    archive.write_bytes(b"half of it")
    with pytest.raises(
        MissingData, match=rf"{archive}: an archive .* only half downloaded; `load_dataset.*download=True.* checks"
    ):
        load_cifar10(root_at(tmp_path))


def archive_of(folder: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack the batches into the archive that torchvision would download."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(torchvision_datasets().CIFAR10, "tgz_md5", md5)


@pytest.mark.parametrize("below", [".", "cifar10"])
@pytest.mark.parametrize("unpacked", ["not at all", "by half"])
def test_download_unpacks_a_whole_archive_that_is_there_without_a_network(
    tmp_path: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch, below: str, unpacked: str
) -> None:
    no_network(monkeypatch)
    made = write_pickles(tmp_path / "made", arrays, monkeypatch)
    place = tmp_path / "data" / below
    archive_of(made, place / "cifar-10-python.tar.gz", monkeypatch)
    if unpacked == "by half":  # interrupted
        (place / made.name).mkdir()
        shutil.copy(made / "data_batch_1", place / made.name)
        (place / made.name / "data_batch_2").write_bytes((made / "data_batch_2").read_bytes()[:100])
    assert load_cifar10(root_at(tmp_path / "data"), download=True).verified


def test_a_download_that_fails_says_what_else_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)
    with pytest.raises(MissingData, match=rf"could not be downloaded into {tmp_path}/cifar10 \(.*put cifar-10-python"):
        load_cifar10(root_at(tmp_path), download=True)
    with pytest.raises(MissingData, match=rf"could not be downloaded into {tmp_path}/svhn \(.*put train_32x32\.mat"):
        load_svhn(root_at(tmp_path), download=True)


def test_folders_are_never_replaced_by_a_download(
    tmp_path: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_network(monkeypatch)
    write_folders(tmp_path, arrays)
    assert load_cifar10(root_at(tmp_path), download=True).verified


def png(size: tuple[int, int]) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.png", png((32, 32))[:-20], "cannot be read as an image"),
        ("x.png", b"", "cannot be read as an image"),
        ("x.ppm", b"P6\n32 32\n255\n", "cannot be read as an image"),
        ("x.ppm", b"P6\nxx 32\n255\n" + bytes(3072), "cannot be read as an image"),
        ("x.png", png((64, 32)), "is 64x32 pixels; CIFAR-10's images are 32x32"),
    ],
)
def test_a_bad_image_is_named(tmp_path: Path, arrays: Arrays, name: str, content: bytes, message: str) -> None:
    write_folders(tmp_path, arrays)
    bad = tmp_path / "test" / "frog" / name
    bad.write_bytes(content)
    with pytest.raises(ValueError, match=f"{bad}: {message}"):
        load_cifar10(root_at(tmp_path))


def test_a_class_without_images_is_named_and_other_files_are_passed_over(tmp_path: Path, arrays: Arrays) -> None:
    write_folders(tmp_path, arrays)
    (tmp_path / "test" / "frog" / "notes.txt").write_text("not an image")
    assert load_cifar10(root_at(tmp_path)).verified
    next((tmp_path / "test" / "frog").glob("*.png")).unlink()
    with pytest.raises(ValueError, match=f"{tmp_path}/test/frog: holds no images; CIFAR-10 has ten class folders"):
        load_cifar10(root_at(tmp_path))


# SVHN's layout.


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "svhn"
    write_svhn_layout(folder, n_train=40, n_test=20, seed=0)
    return folder


@pytest.fixture
def mats(drawn: Path, tmp_path: Path) -> Path:
    """A copy to spoil, in a folder called svhn."""
    return Path(shutil.copytree(drawn, tmp_path / "svhn"))


@pytest.mark.parametrize("below", [".", ".."])
def test_the_digits_are_those_of_the_files_with_10_read_as_0(mats: Path, below: str) -> None:
    found = load_svhn(root_at(mats / below))
    assert found.classes == tuple("0123456789")
    for split, n in (("train", 40), ("test", 20)):
        content = loadmat(mats / f"{split}_32x32.mat")
        pictures, digits = content["X"].transpose(3, 0, 1, 2), content["y"][:, 0]
        assert len(digits) == n
        assert 10 in digits
        assert 0 not in digits
        assert same_split(getattr(found, split), make_split(pictures, np.where(digits == 10, 0, digits)))


def named(folder: Path) -> tuple[str, bool, str]:
    found = load_svhn(root_at(folder))
    return found.name, found.verified, found.remark


def test_other_files_are_named_by_their_about_json(mats: Path) -> None:
    remark = "in SVHN's layout, not SVHN"
    assert named(mats) == ("house-numbers-generated (SVHN layout)", False, remark)
    (mats / "about.json").write_text('{"name": "doors"}')
    assert named(mats) == ("doors (SVHN layout)", False, remark)


def test_without_about_json_they_are_named_by_their_folder(mats: Path) -> None:
    (mats / "about.json").unlink()
    assert named(mats.rename(mats.with_name("my doors")))[0] == "my doors (SVHN layout)"


@pytest.mark.parametrize("name", ["SVHN", "svhn", " Svhn "])
@pytest.mark.parametrize("where", ["about.json", "folder"])
def test_other_files_are_never_called_svhn(mats: Path, name: str, where: str) -> None:
    if where == "folder":
        (mats / "about.json").unlink()
        mats = mats.rename(mats.with_name(name))
    else:
        (mats / "about.json").write_text(json.dumps({"name": name}))
    found, verified, remark = named(mats)
    assert found == f"{name} folder (SVHN layout)"
    assert not verified
    assert "not SVHN" in remark


@pytest.mark.parametrize("content", [b"{", b'["doors"]', b'{"title": "doors"}', b"\xff"])
def test_an_about_json_without_a_name_is_named(mats: Path, content: bytes) -> None:
    (mats / "about.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"{mats}/about\.json: needs a JSON object with a name"):
        load_svhn(root_at(mats))


def test_a_set_known_by_its_content_keeps_its_name_anywhere(mats: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = [read_mat(mats / f"{split}_32x32.mat").fingerprint for split in ("train", "test")]
    monkeypatch.setitem(svhn.KNOWN, (splits[0], splits[1]), "svhn-grey")
    assert named(mats) == ("svhn-grey", False, "in SVHN's layout, not SVHN")


def test_only_files_with_the_published_md5s_are_svhn(mats: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def publish(**digests: str) -> None:
        lists = {split: ["", f"{split}_32x32.mat", md5] for split, md5 in digests.items()}
        monkeypatch.setattr(torchvision_datasets().SVHN, "split_list", lists)

    train, test = (hashlib.md5((mats / f"{split}_32x32.mat").read_bytes()).hexdigest() for split in ("train", "test"))
    publish(train=train, test=test)
    assert named(mats) == ("SVHN", True, "")
    publish(train=train, test="0" * 32)
    assert named(mats)[:2] == ("house-numbers-generated (SVHN layout)", False)


def test_missing_files_are_looked_for_by_name(mats: Path) -> None:
    (mats / "test_32x32.mat").unlink()
    with pytest.raises(MissingData) as caught:
        load_svhn(root_at(mats))
    text = str(caught.value)
    assert text.startswith(f"SVHN not found in {mats} (`data_dir`): looked for train_32x32.mat and test_32x32.mat")
    assert text.endswith('With a network, `load_dataset("svhn", download=True)` fetches them')
    assert svhn.found_in(mats.parent) is None


def write_mat(**content: Any) -> Callable[[Path], None]:
    return lambda path: savemat(path, content)


def cut(keep: float, compressed: bool) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        savemat(path, {"X": X, "y": y}, do_compression=compressed)
        path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])

    return write


def not_zlib(path: Path) -> None:
    savemat(path, {"X": X, "y": y}, do_compression=True)
    content = path.read_bytes()
    path.write_bytes(content[:136] + b"\0\0" + content[138:])  # after the file's header and the first element's


X, y = random_images(5).transpose(1, 2, 3, 0), np.array([[1], [2], [10], [4], [5]], np.uint8)


def test_the_good_file_beside_the_bad_ones_below_is_good(tmp_path: Path) -> None:
    write_mat(X=X, y=y)(tmp_path / "good.mat")
    assert sorted(read_mat(tmp_path / "good.mat").labels) == [0, 1, 2, 4, 5]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        *((cut(keep, compressed=True), "remove it and fetch it again") for keep in (0, 0.01, 0.5, 0.99)),
        *((cut(keep, compressed=False), "remove it and fetch it again") for keep in (0, 0.01, 0.5, 0.99)),
        (not_zlib, "a compressed array cannot be read: .*; remove it and fetch it again"),
        (lambda path: path.write_bytes(b"<html>404 Not Found</html>" * 20), "remove it and fetch it again"),
        (write_mat(images=X, labels=y), "a .mat file without X and y"),
        (write_mat(X=X), "a .mat file without X and y"),
        (write_mat(X=X.astype(float), y=y), r"X is float64 \[32, 32, 3, 5\] with 5 labels; needed: uint8"),
        (write_mat(X=X[:16], y=y), r"X is uint8 \[16, 32, 3, 5\]"),
        (write_mat(X=X[:, :, 0], y=y), r"X is uint8 \[32, 32, 5\]"),
        (write_mat(X=X.transpose(3, 0, 1, 2), y=y), r"X is uint8 \[5, 32, 32, 3\]"),
        (write_mat(X=X, y=y[:4]), r"with 4 labels; needed"),
        (write_mat(X=X, y=y - 1), r"labels are not in 1\.\.10"),
        (write_mat(X=X, y=y + 6), r"labels are not in 1\.\.10"),
        (write_mat(X=X, y=y + 0.5), r"labels are not in 1\.\.10"),
        (write_mat(X=X, y=np.array([["one"]] * 5, object)), r"y is a cell array; needed: an array of real"),
        (write_mat(X={"a": 1}, y=y), "X is a struct; needed: an array of real numbers"),
    ],
)  # fmt: skip
def test_a_wrong_mat_file_is_named(tmp_path: Path, write: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "train_32x32.mat"
    write(path)
    with pytest.raises(ValueError, match=message) as caught:
        read_mat(path)
    assert str(caught.value).startswith(f"{path}: ")


# Handwritten digits.


def test_the_bundled_digits_are_1797() -> None:
    found = load_handwritten_digits()
    assert (len(found.train.labels), len(found.test.labels)) == (1000, 797)
    assert (found.name, found.verified, found.classes) == ("handwritten digits", True, tuple("0123456789"))
    both = np.concatenate([found.train.labels, found.test.labels])
    # Counts as the UCI page has them for optdigits.tes.
    assert np.bincount(both).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_the_digits_are_grey_and_enlarged_over_the_whole_range() -> None:
    images = load_handwritten_digits().train.images
    assert images.shape == (1000, 32, 32, 3)
    assert images.dtype == np.uint8
    assert (images == images[..., :1]).all()
    assert (images.min(), images.max()) == (0, 255)
    # Ink in the middle, none at the left and right border.
    assert images[:, 8:24, 8:24].mean() > 5 * images[:, :, [0, 31]].mean()


# Where data is looked for.


def test_data_dir_comes_before_the_variable_and_that_before_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("option", "variable", "cache"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("REPR_EVAL_DATA", str(tmp_path / "variable"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_root(tmp_path / "option") == DataRoot(tmp_path / "option", False, "`data_dir`")
    assert data_root(None) == DataRoot(tmp_path / "variable", False, "$REPR_EVAL_DATA")
    for value in ("", None):
        monkeypatch.setenv("REPR_EVAL_DATA", value) if value is not None else monkeypatch.delenv("REPR_EVAL_DATA")
        assert data_root(None) == DataRoot(tmp_path / "cache" / "repr-eval" / "data", True, "the cache folder")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_root(None).path == tmp_path / ".cache" / "repr-eval" / "data"


def test_a_named_folder_that_is_not_there_says_who_named_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=rf"{tmp_path}/no \(`data_dir`\): no such folder"):
        data_root(tmp_path / "no")
    monkeypatch.setenv("REPR_EVAL_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=rf"{tmp_path}/nowhere \(\$REPR_EVAL_DATA\): no such folder"):
        data_root(None)


# Images to train on.


def test_a_packed_array_is_mapped_and_hashed(tmp_path: Path) -> None:
    images = random_images(9000, size=2)
    np.save(tmp_path / "set.npy", images)
    found = unlabelled_images(str(tmp_path / "set.npy"), 2)
    assert isinstance(found.images, np.memmap)
    np.testing.assert_array_equal(found.images, images)
    assert found.description == "set.npy (9,000 images)"
    assert found.sha256 == hashlib.sha256(images.tobytes()).hexdigest()


def test_a_folder_is_packed_once_into_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(3)
    (tmp_path / "pictures").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "pictures" / f"{number}.png")
    cache = tmp_path / "cache"
    found = unlabelled_images(str(tmp_path / "pictures"), 32, cache=cache)
    np.testing.assert_array_equal(found.images, images)
    assert found.description == "pictures-32.npy (3 images)"
    sidecar = json.loads((cache / "pictures-32.json").read_text())
    assert sidecar["sha256"] == found.sha256 == hashlib.sha256(images.tobytes()).hexdigest()

    written = (cache / "pictures-32.npy").stat().st_mtime_ns
    again = unlabelled_images(str(tmp_path / "pictures"), 32, cache=cache)
    assert again.sha256 == found.sha256
    assert (cache / "pictures-32.npy").stat().st_mtime_ns == written


def test_named_sets_give_their_training_images_only(mats: Path, tmp_path: Path, arrays: Arrays) -> None:
    write_folders(tmp_path / "cifar10", arrays)
    expected: dict[str, LabelledImages] = {
        "digits": load_handwritten_digits(),
        "svhn": load_svhn(root_at(mats)),
        "cifar10": load_cifar10(root_at(tmp_path)),
    }
    assert set(expected) == set(DATASETS)
    for name, found in expected.items():
        given = unlabelled_images(name, 32, tmp_path)
        np.testing.assert_array_equal(given.images, found.train.images)
        assert given.description == f"{found.name}, training images"
        assert given.sha256 == hashlib.sha256(found.train.images.tobytes()).hexdigest()
    with pytest.raises(ValueError, match="digits has 32x32 images; this architecture needs 64x64"):
        unlabelled_images("digits", 64)
    with pytest.raises(MissingData, match="CIFAR-10 not found in"):
        unlabelled_images("cifar10", 32, mats)


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def npz(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez(content, array)
    return content.getvalue()


GOOD = npy(random_images(4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD[:-1], "not a whole .npy array"),
        (GOOD[:50], "not a whole .npy array"),
        (GOOD[:100].replace(b"}", b" "), "not a whole .npy array"),
        (GOOD.replace(b"}", b"(", 1), "not a whole .npy array"),
        (b"", "not a whole .npy array"),
        (pickle.dumps([1, 2]), "not a whole .npy array"),
        (npy(np.array([{}], object)), "not a whole .npy array"),
        (npz(random_images(4)), "is an archive of arrays"),
        (npy(random_images(4, size=64)), r"holds uint8 \[4, 64, 64, 3\]; needed: uint8 \[N, 32, 32, 3\].*`size=32`"),
        (npy(random_images(4).transpose(0, 3, 1, 2)), r"holds uint8 \[4, 3, 32, 32\]"),
        (npy(random_images(4)[0]), r"holds uint8 \[32, 32, 3\]"),
        (npy(random_images(4).astype(np.float32)), r"holds float32 \[4, 32, 32, 3\]"),
    ],
)
def test_a_wrong_array_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "set.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        unlabelled_images(str(path), 32)
    assert str(caught.value).startswith(f"{path}: ")


def test_an_array_that_is_not_its_sidecars_is_refused(tmp_path: Path) -> None:
    images = random_images(4)
    np.save(tmp_path / "set.npy", images)
    (tmp_path / "set.json").write_text(json.dumps({"sha256": hashlib.sha256(images.tobytes()).hexdigest()}))
    unlabelled_images(str(tmp_path / "set.npy"), 32)
    images[2, 3, 4, 0] ^= 1
    np.save(tmp_path / "set.npy", images)
    with pytest.raises(ValueError, match=rf"{tmp_path}/set\.npy: its content is not what set\.json records"):
        unlabelled_images(str(tmp_path / "set.npy"), 32)


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b"\xff"])
def test_a_sidecar_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    np.save(tmp_path / "set.npy", random_images(4))
    (tmp_path / "set.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"{tmp_path}/set\.json: not the sidecar of a packed array"):
        unlabelled_images(str(tmp_path / "set.npy"), 32)


def test_a_path_that_is_nothing_is_answered_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"{tmp_path}/no: no such file or folder, nor one of cifar10, svhn, digits"):
        unlabelled_images(str(tmp_path / "no"), 32)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=rf"{tmp_path}/empty: has no images"):
        unlabelled_images(str(tmp_path / "empty"), 32)
    assert list(tmp_path.iterdir()) == [tmp_path / "empty"]


# torchvision beside a CPU-only torch.


def test_torchvision_is_imported_once_the_operators_are_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = torchvision_datasets()
    tries: list[str] = []

    def import_module(name: str) -> Any:
        tries.append(name)
        if not torchvision_import._libraries:
            raise RuntimeError("operator torchvision::nms does not exist")
        return datasets

    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.setattr(torchvision_import, "_libraries", [])
    monkeypatch.setattr(torchvision_import, "_SCHEMAS", ("nothing_of_the_kind(Tensor a) -> Tensor",))
    assert torchvision_import.torchvision_datasets() is datasets
    assert tries == ["torchvision.datasets"] * 2


def test_another_failure_of_torchvision_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="something else"):
        torchvision_import.torchvision_datasets()
