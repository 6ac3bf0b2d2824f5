import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from repr_eval.images.house_numbers import draw, write_svhn_layout
from repr_eval.system.files import exclusive
from repr_eval.system.torchvision_import import torchvision_datasets


def _drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return draw(n, np.random.default_rng(seed))


def _ridge_error(images: np.ndarray, labels: np.ndarray, n_train: int, n_test: int = 1000) -> float:
    """Error in [0, 1] on the last `n_test` of a linear ridge classifier of the first `n_train`'s grey pixels."""
    X = images.mean(axis=3).reshape(len(images), -1)
    X -= X.mean(axis=1, keepdims=True)
    X /= X.std(axis=1, keepdims=True)
    train, test = X[:n_train], X[-n_test:]
    targets = np.eye(10)[labels[:n_train]] - 0.1
    w = np.linalg.solve(train.T @ train + 300 * np.eye(X.shape[1]), train.T @ targets)
    return float(np.mean((test @ w).argmax(axis=1) != labels[-n_test:]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house-numbers") / "svhn"
    write_svhn_layout(folder, n_train=600, n_test=300, seed=3, n_extra=20)
    return folder


@pytest.mark.parametrize(("split", "n"), [("train", 600), ("test", 300), ("extra", 20)])
def test_files_have_the_layout_of_svhn(folder: Path, split: str, n: int) -> None:
    content = loadmat(folder / f"{split}_32x32.mat")
    assert content["X"].shape == (32, 32, 3, n)
    assert content["y"].shape == (n, 1)
    assert content["X"].dtype == content["y"].dtype == np.uint8
    assert (folder / f"{split}_32x32.mat").read_bytes().startswith(b"MATLAB 5.0")


def test_files_hold_the_drawn_pictures_with_10_for_the_digit_0(folder: Path) -> None:
    content = loadmat(folder / "train_32x32.mat")
    stream = np.random.SeedSequence(3).spawn(3)[0]
    images, labels = draw(600, np.random.default_rng(stream))
    np.testing.assert_array_equal(content["X"].transpose(3, 0, 1, 2), images)
    np.testing.assert_array_equal(content["y"][:, 0], np.where(labels == 0, 10, labels))
    assert set(content["y"].ravel()) == set(range(1, 11))


def test_about_says_what_the_files_are(folder: Path) -> None:
    about = json.loads((folder / "about.json").read_text())
    assert about.pop("generator").startswith("house-numbers")
    assert about == {
        "name": "house-numbers-generated",
        "seed": 3,
        "n_train": 600,
        "n_test": 300,
        "n_extra": 20,
    }


def test_no_extra_unless_asked_and_no_leftovers(tmp_path: Path) -> None:
    write_svhn_layout(tmp_path, n_train=3, n_test=2, seed=0)
    assert {path.name for path in tmp_path.iterdir()} == {"train_32x32.mat", "test_32x32.mat", "about.json"}


def test_torchvision_reads_the_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = torchvision_datasets()
    monkeypatch.setattr(datasets.SVHN, "_check_integrity", lambda self: True)  # These are not the originals.
    svhn = datasets.SVHN(str(folder), split="test")
    stream = np.random.SeedSequence(3).spawn(3)[1]
    images, labels = draw(300, np.random.default_rng(stream))
    np.testing.assert_array_equal(svhn.data.transpose(0, 2, 3, 1), images)
    np.testing.assert_array_equal(svhn.labels, labels)


def test_same_seed_same_pixels_and_another_seed_others() -> None:
    images, labels = _drawn(300, seed=1)
    again, again_labels = _drawn(300, seed=1)
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(labels, again_labels)
    other, _ = _drawn(300, seed=2)
    assert not (images == other).all(axis=(1, 2, 3)).any()


@pytest.mark.parametrize("n", [1, 255, 256, 257])
def test_fewer_pictures_are_the_first_of_more(n: int) -> None:
    images, labels = _drawn(600, seed=1)
    fewer, fewer_labels = _drawn(n, seed=1)
    np.testing.assert_array_equal(fewer, images[:n])
    np.testing.assert_array_equal(fewer_labels, labels[:n])


def test_a_split_does_not_depend_on_the_sizes_of_the_others(folder: Path, tmp_path: Path) -> None:
    write_svhn_layout(tmp_path, n_train=5, n_test=300, seed=3)
    one, two = (loadmat(place / "test_32x32.mat") for place in (folder, tmp_path))
    np.testing.assert_array_equal(one["X"], two["X"])
    np.testing.assert_array_equal(one["y"], two["y"])


def test_no_picture_appears_twice_within_or_across_splits(folder: Path) -> None:
    pictures = [
        picture.tobytes()
        for split in ("train", "test", "extra")
        for picture in loadmat(folder / f"{split}_32x32.mat")["X"].transpose(3, 0, 1, 2)
    ]
    assert len(set(pictures)) == len(pictures) == 920


def test_digits_are_about_equally_frequent() -> None:
    images, labels = _drawn(2560, seed=5)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    # 256 expected of each with a standard deviation of 15.2; five of them.
    assert np.abs(np.bincount(labels, minlength=10) - 256).max() < 76


def test_every_digit_can_be_seen() -> None:
    """Over noise (2 x 2 means) and away from the unlit border, grey levels spread by the ink's contrast."""
    images, _ = _drawn(1024, seed=6)
    coarse = images.mean(axis=3).reshape(-1, 16, 2, 16, 2).mean(axis=(2, 4))
    middle = coarse[:, 3:13, 4:12].reshape(1024, -1)
    spread = np.ptp(np.percentile(middle, [5, 95], axis=1), axis=0)
    assert spread.min() > 15
    assert np.percentile(spread, 1) > 24


def test_raw_pixels_are_poor_with_few_labels_better_with_many_and_never_hopeless() -> None:
    images, labels = _drawn(5000, seed=0)
    few, some, many = (_ridge_error(images, labels, n_train) for n_train in (300, 1000, 4000))
    assert 0.55 < some < 0.75  # Chance is 0.9.
    assert 0.4 < many < few - 0.05


@pytest.mark.parametrize("n", [0, -1])
def test_draw_refuses_to_draw_nothing(n: int) -> None:
    with pytest.raises(ValueError, match=f"n must be at least 1, not {n}"):
        _drawn(n, seed=0)


@pytest.mark.parametrize(("name", "value"), [("n_train", 0), ("n_test", -5), ("n_extra", -1), ("seed", -1)])
def test_writing_refuses_impossible_numbers_and_writes_nothing(tmp_path: Path, name: str, value: int) -> None:
    numbers = {"n_train": 2, "n_test": 2, "n_extra": 0, "seed": 0} | {name: value}
    with pytest.raises(ValueError, match=rf"{name} must be at least [01], not {value}"):
        write_svhn_layout(tmp_path / "new", **numbers)
    assert not (tmp_path / "new").exists()


def test_writing_refuses_a_folder_that_holds_mat_files(tmp_path: Path) -> None:
    original = tmp_path / "extra_32x32.mat"
    original.write_bytes(b"not to be lost")
    with pytest.raises(FileExistsError, match=r"already holds extra_32x32\.mat"):
        write_svhn_layout(tmp_path, n_train=2, n_test=2, seed=0)
    assert list(tmp_path.iterdir()) == [original]
    assert original.read_bytes() == b"not to be lost"


def test_nobody_else_draws_into_the_folder_meanwhile(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path, "drawing digits"),
        pytest.raises(ValueError, match=f"{tmp_path}: another process is drawing digits in this folder"),
    ):
        write_svhn_layout(tmp_path, 1, 1, 0)
    assert not list(tmp_path.iterdir())
