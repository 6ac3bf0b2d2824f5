"""Features of a data set: one entry in the store, its key, what an interruption leaves, what is refused."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest
from factories import random_images, small_discriminator

from repr_eval.gan.architectures import architecture_named
from repr_eval.gan.networks import Discriminator
from repr_eval.images.labelled import LabelledImages, make_split
from repr_eval.representations import store
from repr_eval.representations.base import Description, Representation
from repr_eval.representations.discriminator import DiscriminatorFeatures, untrained
from repr_eval.representations.extraction import Extracted, extract
from repr_eval.representations.kmeans import KMeans
from repr_eval.representations.pixels import Pixels
from repr_eval.representations.store import key_of, read, write
from repr_eval.system.ranks import Ranks

SETTINGS = {"weights": "abc", "bn": "recomputed", "layers": 6, "precision": "float32"}


def data_of(train: np.ndarray, test: np.ndarray, labels: int = 2) -> LabelledImages:
    one, other = (make_split(images, np.arange(len(images)) % labels) for images in (train, test))
    return LabelledImages("pictures", one, other, tuple("01"), verified=False)


def names(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


class Mean(Representation):
    """The mean colour minus that of the images fitted to; counts its calls. `fails` is called before each transform."""

    def __init__(self, fails: Callable[[], object] = lambda: None):
        self.description = Description("mean colour", "nothing", "-", 3, None, {"x": 1}, fitted_on="seen")
        self.fails = fails
        self.fits = self.transforms = 0

    def fit(self, images: np.ndarray) -> Self:
        self.fits += 1
        self.mean = images.mean((0, 1, 2))
        return self

    def transform(self, images: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        self.transforms += 1
        self.fails()
        out = np.empty((len(images), 3), np.float32) if out is None else out
        out[:] = images.mean((1, 2)) - self.mean
        return out


# One data set, one entry.


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_both_splits_are_one_entry_that_is_made_once(precision: str, tmp_path: Path) -> None:
    data, representation = data_of(random_images(6), random_images(4, seed=1)), Mean()
    made = extract(representation, data, tmp_path, precision)
    assert (representation.fits, representation.transforms) == (1, 2)
    assert names(tmp_path) == [".json", ".npy"]
    again = Mean()
    found = extract(again, data, tmp_path, precision)
    assert (again.fits, again.transforms) == (0, 0)
    expected = (data.train.images.mean((1, 2)), data.test.images.mean((1, 2)))
    for extracted in (made, found):
        for features, means in zip((extracted.train, extracted.test), expected, strict=True):
            assert isinstance(features, np.memmap)
            assert not features.flags.writeable
            np.testing.assert_array_equal(features, (means - data.train.images.mean((0, 1, 2))).astype(precision))
        assert extracted.description.settings == {"x": 1, "seen": data.train.fingerprint}
        assert (extracted.data, extracted.precision, extracted.device) == (data, precision, "cpu")
        assert extracted.seconds > 0
    (path,) = tmp_path.glob("*.json")
    content = json.loads(path.read_text())
    rows = np.concatenate([made.train, made.test])
    block = hashlib.sha256(rows.tobytes()).hexdigest()
    assert content.pop("rows_sha256") == {"block_rows": (1 << 22) // rows[0].nbytes, "blocks": [block]}
    assert made.sha256 == found.sha256 == hashlib.sha256(block.encode()).hexdigest()
    assert content == {
        "representation": {"x": 1, "seen": data.train.fingerprint}, "train": data.train.fingerprint,
        "test": data.test.fingerprint, "precision": precision, "version": store.VERSION,
    }  # fmt: skip


def test_features_of_layers_are_views_of_the_same_arrays(tmp_path: Path) -> None:
    whole = extract(small_discriminator(), data_of(random_images(4), random_images(3, seed=1)), tmp_path)
    part = whole.of_layers(2, 3)
    columns = whole.description.columns(2, 3)
    for features, of_all in ((part.train, whole.train), (part.test, whole.test)):
        np.testing.assert_array_equal(features, of_all[:, columns])
        assert np.shares_memory(features, of_all)
    assert part.description == whole.description.of_layers(2, 3)
    assert (part.data, part.seconds) == (whole.data, whole.seconds)


def test_one_object_measures_two_data_sets_each_fitted_to_its_own(tmp_path: Path) -> None:
    one, other = (
        data_of(random_images(40), random_images(5, seed=1)),
        data_of(random_images(40, seed=2), random_images(5, seed=1)),
    )

    def recomputed() -> DiscriminatorFeatures:
        return small_discriminator("recomputed")

    def kmeans() -> KMeans:
        return KMeans(4, n_patches=100)

    for make in (recomputed, kmeans):
        both = make()
        extract(both, one, tmp_path / "both", "float32")
        second = extract(both, other, tmp_path / "both", "float32")
        alone = extract(make(), other, tmp_path / "alone", "float32")
        np.testing.assert_array_equal(second.test, alone.test)
        in_memory = make().fit(other.train.images).transform(other.test.images)
        np.testing.assert_array_equal(second.test, in_memory)


def test_every_changed_setting_makes_another_entry(tmp_path: Path) -> None:
    images, test, arch = random_images(6), random_images(2, seed=1), architecture_named("dcgan32")
    weights = small_discriminator().network
    other_eps = Discriminator(arch, 0.05, eps=1e-5)
    other_eps.load_state_dict(weights.state_dict())
    four_layers = Discriminator(arch, 0.05, layers=4)
    four_layers.load_state_dict(weights.state_dict(), strict=False)
    data = data_of(images, test)
    makers: list[tuple[Representation, LabelledImages, str]] = [
        (small_discriminator(), data, "float32"),
        (small_discriminator(), data, "float16"),
        (small_discriminator(), data_of(images, test, labels=1), "float32"),  # another order of the rows
        (small_discriminator(), data_of(255 - images, test), "float32"),
        (small_discriminator(), data_of(images, 255 - test), "float32"),
        (untrained("dcgan32", 0.05, seed=1, bn="running"), data, "float32"),
        (small_discriminator(width=0.06), data, "float32"),
        (small_discriminator(arch="dcgan32-svhn"), data, "float32"),
        (DiscriminatorFeatures(other_eps, "", "", "running"), data, "float32"),
        (DiscriminatorFeatures(four_layers, "", "", "running"), data, "float32"),
        (small_discriminator("recomputed"), data, "float32"),
        (small_discriminator("at-hand"), data, "float32"),
        (Pixels(), data, "float32"),
    ]
    for number, (representation, of, precision) in enumerate(makers, 1):
        extract(representation, of, tmp_path, precision)
        assert len(list(tmp_path.glob("*.npy"))) == number


# What goes wrong.


def interrupted() -> None:
    raise KeyboardInterrupt


def test_an_interrupted_extraction_leaves_nothing_and_the_next_one_fits_once(tmp_path: Path) -> None:
    data, representation = data_of(random_images(6), random_images(4, seed=1)), Mean()
    representation.fails = lambda: interrupted() if representation.transforms == 2 else None  # by the test images
    with pytest.raises(KeyboardInterrupt):
        extract(representation, data, tmp_path)
    assert names(tmp_path) == []
    assert (representation.fits, representation.transforms) == (1, 2)
    representation.fails = lambda: None
    extract(representation, data, tmp_path)
    assert (representation.fits, representation.transforms) == (2, 4)
    assert names(tmp_path) == [".json", ".npy"]


def test_no_file_is_open_while_a_representation_is_fitted(tmp_path: Path) -> None:
    class Watching(Mean):
        def fit(self, images: np.ndarray) -> Self:
            assert names(tmp_path) == []
            return super().fit(images)

    representation = Watching(fails=lambda: seen.append(names(tmp_path)))
    seen: list[list[str]] = []
    extract(representation, data_of(random_images(6), random_images(4, seed=1)), tmp_path)
    assert seen == [[".npy"], [".npy"]]


def test_a_full_disk_is_an_error_before_a_representation_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, needed = data_of(random_images(6), random_images(4, seed=1)), 10 * 3 * 2
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=needed - 1))
    representation = Mean()
    with pytest.raises(OSError, match=r"features need .* GB and the disk has .* GB free; make room, or store them in"):
        extract(representation, data, tmp_path)
    assert (representation.fits, names(tmp_path)) == (0, [])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=needed))
    assert extract(representation, data, tmp_path).train.shape == (6, 3)


@pytest.mark.parametrize(("row", "image"), [(3, "training image 3"), (7, "test image 1")])
def test_features_that_are_not_finite_are_refused_with_the_image_they_belong_to(
    row: int, image: str, tmp_path: Path
) -> None:
    class Overflowing(Mean):
        def transform(self, images: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
            assert out is not None
            out[:] = 0
            here = row if len(images) == 6 else row - 6
            if 0 <= here < len(images):
                out[here, 1] = np.inf
            return out

    with pytest.raises(ValueError, match=f"features of {image} hold NaN or infinity as float16.*store them as float32"):
        extract(Overflowing(), data_of(random_images(6), random_images(4, seed=1)), tmp_path)
    assert names(tmp_path) == []


def test_values_beyond_float16_overflow_without_a_warning_and_are_refused(tmp_path: Path) -> None:
    class Large(Pixels):
        def features(self, images: np.ndarray) -> Any:
            return 1e5 * super().features(images)

    data = data_of(random_images(6), random_images(4, seed=1))
    with pytest.raises(ValueError, match=r"features of training image 0 hold NaN or infinity as float16"):
        extract(Large(), data, tmp_path)
    assert abs(extract(Large(), data, tmp_path, "float32").train).max() > 65504


def test_a_transform_that_ignores_its_array_is_refused(tmp_path: Path) -> None:
    class Ignoring(Mean):
        def transform(self, images: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
            return super().transform(images)

    with pytest.raises(ValueError, match=r"^mean colour: transform\(images, out\) must write to out and return it$"):
        extract(Ignoring(), data_of(random_images(6), random_images(4, seed=1)), tmp_path)
    assert names(tmp_path) == []


def test_unknown_precisions_and_images_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="precision 'float64'; choose from float16, float32"):
        extract(Pixels(), data_of(random_images(6), random_images(4)), tmp_path, "float64")
    with pytest.raises(ValueError, match=r"images are \[28, 28, 3\]; raw pixels takes 32x32x3"):
        extract(Pixels(), data_of(random_images(6, 28), random_images(4, 28)), tmp_path)
    assert names(tmp_path) == []


def test_what_one_process_must_make_is_refused_to_several_and_found_by_them(tmp_path: Path) -> None:
    class Several(Ranks):
        def broadcast(self, value: Any) -> Any:
            return value

    data, ranks = data_of(random_images(6), random_images(4, seed=1)), Several(0, 2)
    with pytest.raises(ValueError, match=r"^mean colour runs in one process: run it without torchrun$"):
        extract(Mean(), data, tmp_path, ranks=ranks)
    kmeans = KMeans(4, n_patches=100)
    with pytest.raises(ValueError, match="4 centroids is trained by one process: run it without torchrun"):
        extract(kmeans, data, tmp_path, ranks=ranks)
    made: list[Extracted] = [extract(r, data, tmp_path) for r in (Mean(), kmeans)]
    for representation, alone in zip((Mean(), kmeans), made, strict=True):
        np.testing.assert_array_equal(extract(representation, data, tmp_path, ranks=ranks).test, alone.test)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(OSError, match="the first rank has found the features of pictures and rank 1 has not"):
        extract(kmeans, data, tmp_path / "elsewhere", ranks=replace(Found(), number=1, count=2))


class Found(Ranks):
    """A rank whose first one has found the features."""

    def broadcast(self, value: Any) -> Any:
        return True if value is False else value


# The store.


class Source:
    """A `fill` that counts its calls."""

    def __init__(self, value: float = 1.0):
        self.value, self.calls = value, 0

    def __call__(self, out: np.ndarray) -> None:
        self.calls += 1
        out[:] = self.value + np.arange(out.size).reshape(out.shape)


def stored(folder: Path, settings: dict[str, Any], shape: tuple[int, int], fill: Callable[..., None]) -> np.ndarray:
    """What `folder` holds, or `fill` makes."""
    found = read(folder, settings, shape)
    return (found or write(folder, settings, shape, fill, lambda array: None)).rows


def test_what_a_live_process_takes_days_for_is_not_taken_for_what_a_killed_one_left(tmp_path: Path) -> None:
    left = tmp_path / ".repr-eval-partial-abcdefgh.npy"
    left.write_bytes(b"")
    os.utime(left, (0, 0))

    def days(out: np.ndarray) -> None:
        for partial in tmp_path.glob(".repr-eval-partial-*"):
            os.utime(partial, (0, 0))
        stored(tmp_path, SETTINGS | {"precision": "float16"}, (5, 3), Source())
        out[:] = 7

    assert (stored(tmp_path, SETTINGS, (5, 3), days) == 7).all()
    assert names(tmp_path) == [".json", ".json", ".npy", ".npy"]


def test_key_is_of_the_content_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_of(SETTINGS)
    assert key == key_of(dict(reversed(SETTINGS.items())))
    changed: list[dict[str, Any]] = [
        SETTINGS | {"weights": "abd"}, SETTINGS | {"bn": "running"}, SETTINGS | {"layers": 5},
        SETTINGS | {"precision": "float16"}, SETTINGS | {"more": None}, {"weights": "abc"},
    ]  # fmt: skip
    assert len({key, *map(key_of, changed)}) == 7
    monkeypatch.setattr(store, "VERSION", store.VERSION + 1)
    assert key_of(SETTINGS) != key


def test_what_is_refused_or_interrupted_leaves_no_entry(tmp_path: Path) -> None:
    def stopped(out: np.ndarray) -> None:
        out[0] = 1
        raise KeyboardInterrupt

    def refused(out: np.ndarray) -> None:
        assert out[0].tolist() == [1, 2, 3]  # complete
        raise ValueError("not these")

    with pytest.raises(KeyboardInterrupt):
        stored(tmp_path, SETTINGS, (5, 3), stopped)
    with pytest.raises(ValueError, match="not these"):
        write(tmp_path, SETTINGS, (5, 3), Source(), refused)
    assert names(tmp_path) == []
    source = Source()
    np.testing.assert_array_equal(stored(tmp_path, SETTINGS, (5, 3), source)[0], [1, 2, 3])
    assert source.calls == 1


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda content: content[:-4],
    "header alone": lambda content: content[:64],
    "empty": lambda content: b"",
    "something else": lambda content: b"PK\x03\x04" + content,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_made_again(damage: str, tmp_path: Path) -> None:
    stored(tmp_path, SETTINGS, (5, 3), Source())
    path = tmp_path / f"{key_of(SETTINGS)}.npy"
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    source = Source(7)
    np.testing.assert_array_equal(stored(tmp_path, SETTINGS, (5, 3), source)[0], [7, 8, 9])
    assert source.calls == 1


def test_rows_that_the_disk_has_changed_are_noticed_and_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store, "BLOCK_BYTES", 100)  # 8 rows of 12 bytes
    stored(tmp_path, SETTINGS, (50, 3), Source())
    path = tmp_path / f"{key_of(SETTINGS)}.npy"
    good = path.read_bytes()
    start = len(good) - 50 * 12
    changes = {
        "a bit": good[:-1] + bytes([good[-1] ^ 1]),
        "a lost page": good[:start] + bytes(96) + good[start + 96 :],
        "exchanged halves": good[:start] + good[start + 300 :] + good[start : start + 300],
        "exchanged rows": good[:start] + good[start + 12 : start + 24] + good[start : start + 12] + good[start + 24 :],
    }  # fmt: skip
    told = {"a bit": "48 to 49 .*1 of", "a lost page": "0 to 7 .*1 of", "exchanged halves": "0 to 7 .*7 of"}
    for change, content in changes.items():
        path.write_bytes(content)
        caplog.clear()
        source = Source()
        np.testing.assert_array_equal(stored(tmp_path, SETTINGS, (50, 3), source).ravel(), 1 + np.arange(150))
        assert source.calls == 1, change
        assert re.search(f"rows {told.get(change, '0 to 7')} .*made again", caplog.text), change
        assert path.read_bytes() == good


def test_a_range_of_rows_can_be_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BLOCK_BYTES", 100)  # 8 rows of 12 bytes
    rows = np.arange(150, dtype=np.float32).reshape(50, 3)
    hashes = store.RowHashes.of(rows)
    assert (hashes.block_rows, len(hashes.blocks)) == (8, 7)
    assert hashes.blocks[6] == hashlib.sha256(rows[48:].tobytes()).hexdigest()
    rows[20] = 0
    assert hashes.changed(rows) == hashes.changed(rows, 20, 21) == hashes.changed(rows, 10, 17) == [range(16, 24)]
    assert hashes.changed(rows, 0, 16) == hashes.changed(rows, 24) == []


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"rows_sha256": {"block_rows": 0, "blocks": []}}'])
def test_an_entry_without_its_hashes_is_made_again(content: str, tmp_path: Path) -> None:
    stored(tmp_path, SETTINGS, (5, 3), Source())
    path = tmp_path / f"{key_of(SETTINGS)}.json"
    good = path.read_bytes()
    path.write_text(content)
    source = Source()
    stored(tmp_path, SETTINGS, (5, 3), source)
    assert (source.calls, path.read_bytes()) == (1, good)
    path.write_bytes(good.replace(b'"block_rows": ', b'"block_rows": -'))
    stored(tmp_path, SETTINGS, (5, 3), source)
    assert (source.calls, path.read_bytes()) == (2, good)


def test_an_entry_of_another_shape_or_type_is_made_again(tmp_path: Path) -> None:
    stored(tmp_path, SETTINGS, (5, 3), Source())
    path = tmp_path / f"{key_of(SETTINGS)}.npy"
    for wrong in (np.zeros((5, 2), np.float32), np.zeros((5, 3), np.float16)):
        np.save(path, wrong)
        source = Source()
        assert stored(tmp_path, SETTINGS, (5, 3), source).shape == (5, 3)
        assert source.calls == 1


def test_a_disk_that_fills_up_meanwhile_is_an_error_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5 * 3 * 4 - 1))
    source = Source()
    with pytest.raises(OSError, match=r"features need .* GB and the disk has .* GB free"):
        stored(tmp_path, SETTINGS, (5, 3), source)
    assert source.calls == 0
    assert names(tmp_path) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5 * 3 * 4))
    assert stored(tmp_path, SETTINGS, (5, 3), source).shape == (5, 3)


def test_two_at_once_on_a_disk_for_one_and_a_half_end_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 128 + 500 * 64 * 4  # of the file: its header and the rows
    disk = SimpleNamespace(free=3 * size // 2)

    def fallocate(file: int, start: int, length: int) -> None:
        if length > disk.free:
            raise OSError(errno.ENOSPC, "No space left on device")
        disk.free -= length

    def other(out: np.ndarray) -> None:  # both have seen the disk when there was room for either
        with pytest.raises(OSError, match=rf"^{tmp_path}: features need .* GB and the disk has not as much free; make"):
            write(tmp_path, SETTINGS | {"bn": "other"}, (500, 64), Source(), lambda array: None)
        out[:] = 7

    monkeypatch.setattr(os, "posix_fallocate", fallocate)
    assert (write(tmp_path, SETTINGS, (500, 64), other, lambda array: None).rows == 7).all()
    assert names(tmp_path) == [".json", ".npy"]
    assert disk.free == size // 2


def test_the_disk_s_space_is_taken_before_features_are_written(tmp_path: Path) -> None:
    def taken(out: np.ndarray) -> None:
        (partial,) = tmp_path.glob(".repr-eval-partial-*")
        assert partial.stat().st_blocks * 512 >= out.nbytes
        out[:] = 7

    write(tmp_path, SETTINGS, (5000, 64), taken, lambda array: None)


def test_no_bit_of_a_header_is_believed_or_an_error(tmp_path: Path) -> None:
    write(tmp_path, SETTINGS, (5, 3), Source(), lambda array: None)
    (path,) = tmp_path.glob("*.npy")
    whole = path.read_bytes()
    for bit in range(8 * 128):  # the header: what comes before 128
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert read(tmp_path, SETTINGS, (5, 3)) is None, bit
    assert (stored(tmp_path, SETTINGS, (5, 3), Source(7)).ravel() == 7 + np.arange(15)).all()


def test_a_fifo_in_the_store_is_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, SETTINGS, (5, 3), Source(), lambda array: None)
    (path,) = tmp_path.glob("*.npy")
    path.unlink()
    os.mkfifo(path)
    assert read(tmp_path, SETTINGS, (5, 3)) is None


def test_what_others_keep_in_the_store_is_not_removed(tmp_path: Path) -> None:
    other = tmp_path / ".partial-imagenet.npy"
    other.write_bytes(b"an unfinished pack")
    os.utime(other, (0, 0))
    write(tmp_path, SETTINGS, (5, 3), Source(), lambda array: None)
    assert other.exists()
