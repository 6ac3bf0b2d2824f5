"""Any labelled images: class folders, arrays, lists, other packages' sets; what they become, and what is refused."""

import hashlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repr_eval.datasets import DATASETS, has_table, load_dataset
from repr_eval.images import cifar10, class_folders, own_data, packaged
from repr_eval.images.class_folders import read_folder
from repr_eval.images.handwritten import load_handwritten_digits
from repr_eval.images.labelled import LabelledImages, make_split
from repr_eval.images.own_data import Labelled, Source, class_order, data_set, slug, stratified
from repr_eval.system.torchvision_import import torchvision_datasets


def picture(seed: int, size: int = 8, grey: bool = False) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size) if grey else (size, size, 3)).astype(np.uint8)


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """Six training and four test images of two classes, one with a name that is no ASCII."""
    folder = tmp_path / "My Flowers"
    for number in range(6):
        write(folder / "train" / ("rose" if number % 2 else "Gänseblümchen") / f"{number}.png", picture(number))
    for number in range(6, 10):
        write(folder / "test" / ("rose" if number % 2 else "Gänseblümchen") / f"{number}.png", picture(number))
    return folder


def of(images: LabelledImages) -> set[tuple[bytes, str]]:
    """(pixels, class) of every image of both splits."""
    return {
        (image.tobytes(), images.classes[label])
        for split in (images.train, images.test)
        for image, label in zip(split.images, split.labels, strict=True)
    }


# Class folders.


def test_class_folders_are_read_as_they_are(flowers: Path) -> None:
    data = load_dataset(str(flowers))
    assert data.classes == ("Gänseblümchen", "rose")
    assert (len(data.train.labels), len(data.test.labels), data.leaked, data.verified) == (6, 4, 0, False)
    names = {True: "rose", False: "Gänseblümchen"}
    assert of(data) == {(picture(number).tobytes(), names[bool(number % 2)]) for number in range(10)}
    assert data.dataset == "own-my-flowers"
    assert data.name == f"My Flowers [{data.train.fingerprint[:4]}{data.test.fingerprint[:4]}]"


def test_the_name_follows_from_the_content(flowers: Path) -> None:
    before = load_dataset(str(flowers)).name
    write(flowers / "test" / "rose" / "7.png", picture(99))
    after = load_dataset(str(flowers)).name
    assert before != after
    assert before[:15] == after[:15]


def test_images_in_folders_below_a_class_are_of_that_class(flowers: Path) -> None:
    (flowers / "train" / "rose" / "red").mkdir()
    (flowers / "train" / "rose" / "1.png").rename(flowers / "train" / "rose" / "red" / "1.png")
    assert (picture(1).tobytes(), "rose") in of(load_dataset(str(flowers)))


def test_one_folder_is_split_as_stated(tmp_path: Path) -> None:
    for number in range(30):
        write(tmp_path / "set" / ("a" if number < 20 else "b") / f"{number}.png", picture(number))
    with pytest.raises(ValueError, match=r"set has no test images of its own; .* \(`test_share=0.2`\)"):
        load_dataset(str(tmp_path / "set"))
    data = load_dataset(str(tmp_path / "set"), test_share=0.2)
    assert np.bincount(data.train.labels).tolist() == [16, 8]
    assert np.bincount(data.test.labels).tolist() == [4, 2]
    assert data.remark == "split by repr-eval: 0.2 of every class tested on, seed 0"
    again, other = (load_dataset(str(tmp_path / "set"), test_share=0.2, split_seed=seed) for seed in (0, 1))
    assert again.test.fingerprint == data.test.fingerprint != other.test.fingerprint
    assert of(again) == of(other)


def test_images_of_several_sizes_need_a_size(flowers: Path) -> None:
    write(flowers / "train" / "rose" / "wide.jpg", np.full((30, 40, 3), 77, np.uint8))
    with pytest.raises(ValueError, match=r"(wide.jpg is 40x30|is 8x8).* say a size .*`image_size=64`"):
        load_dataset(str(flowers))
    data = load_dataset(str(flowers), image_size=16)
    assert data.train.images.shape == (7, 16, 16, 3)
    assert any((abs(image.astype(int) - 77) < 3).all() for image in data.train.images)


def test_grey_images_are_of_three_equal_colours(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for number in range(4):
            write(
                tmp_path / part / "ab"[number % 2] / f"{number}.png", picture(number + 9 * (part == "test"), 28, True)
            )
    images = load_dataset(str(tmp_path)).train.images
    assert images.shape == (4, 28, 28, 3)
    assert (images == images[..., :1]).all()


def test_test_images_that_are_trained_on_are_counted(flowers: Path) -> None:
    write(flowers / "test" / "rose" / "again.png", picture(1))
    write(flowers / "test" / "Gänseblümchen" / "again.png", picture(1))
    assert load_dataset(str(flowers)).leaked == 2


def test_several_processes_read_the_same(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_folders, "BLOCK", 2)
    alone, together = (data_set(read_folder(flowers, workers=workers)) for workers in (1, 2))
    assert alone.train.fingerprint == together.train.fingerprint
    assert of(alone) == of(together)


@pytest.mark.parametrize("called", [("train",), ("test",), ("train", "test"), ("train", "val")])
def test_a_class_may_be_called_train(tmp_path: Path, called: tuple[str, ...]) -> None:
    for number, name in enumerate((*called, "bus", "ship")):
        for image in range(4):
            write(tmp_path / "traffic" / name / f"{image}.png", picture(10 * number + image))
    data = load_dataset(str(tmp_path / "traffic"), test_share=0.25)
    assert data.classes == tuple(sorted((*called, "bus", "ship")))
    assert len(data.test.labels) == len(data.classes)


def test_unlabelled_images_in_train_and_test_are_no_two_classes(tmp_path: Path) -> None:
    for name in ("train", "test", "val"):
        write(tmp_path / "bare" / name / "1.png", picture(1))
    with pytest.raises(ValueError, match="train: has no class folders; needs train/CLASS"):
        load_dataset(str(tmp_path / "bare"), test_share=0.25)


def spoil(name: str) -> Callable[[Path], None]:
    """Something that is wrong with the flowers."""

    def empty_class(folder: Path) -> None:
        (folder / "train" / "tulip").mkdir()

    def no_test(folder: Path) -> None:
        (folder / "test").rename(folder / "exam")

    def text(folder: Path) -> None:
        (folder / "train" / "rose" / "broken.png").write_text("no image")

    def cut(folder: Path) -> None:
        path = folder / "train" / "rose" / "1.png"
        path.write_bytes(path.read_bytes()[:60])

    def untrained_class(folder: Path) -> None:
        write(folder / "test" / "tulip" / "1.png", picture(50))

    def loose(folder: Path) -> None:
        write(folder / "train" / "loose.png", picture(51))

    def same_class(folder: Path) -> None:
        (folder / "train" / "rosa").symlink_to(folder / "train" / "rose")

    def surrogate(folder: Path) -> None:
        (folder / "train" / "rose").rename(folder / "train" / "ro\udcffse")

    def newline(folder: Path) -> None:
        (folder / "train" / "rose").rename(folder / "train" / "ro\nse")

    def one_class(folder: Path) -> None:
        for part in ("train", "test"):
            (folder / part / "rose").rename(folder / f"{part}-roses")

    damages = (
        empty_class, no_test, text, cut, untrained_class, loose, one_class, same_class, surrogate, newline,
    )  # fmt: skip
    return {damage.__name__: damage for damage in damages}[name]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("empty_class", r"train/tulip: has no images"),
        ("no_test", r"has a folder train/ and no test/; needs both"),
        ("text", r"broken.png: cannot be read as an image"),
        ("cut", r"1.png: cannot be read as an image"),
        ("untrained_class", r"no training image is of class 'tulip', which test images have"),
        ("same_class", r"train/rose is the same folder as .*train/rosa; a class has one folder"),
        ("surrogate", r"the class 'ro\\udcffse' is not printable text; rename it"),
        ("newline", r"the class 'ro\\nse' is not printable text; rename it"),
        ("loose", r"loose.png: an image beside the class folders"),
        ("one_class", r"all training images are of class 'Gänseblümchen'; two classes are needed"),
    ],
)
def test_wrong_folders_are_one_line(flowers: Path, wrong: str, message: str) -> None:
    spoil(wrong)(flowers)
    with pytest.raises(ValueError, match=message):
        load_dataset(str(flowers))


def test_sets_too_large_for_memory_are_refused(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 100, "SC_PHYS_PAGES": 10}[name])
    with pytest.raises(ValueError, match=r"10 images of 8x8 take 0.0 GB .* choose a smaller image_size"):
        load_dataset(str(flowers))


def test_other_packages_sets_too_large_for_memory_are_refused(
    library: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    library |= {"train": Rows(range(6)), "test": Rows(range(6, 10))}
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 100, "SC_PHYS_PAGES": 10}[name])
    with pytest.raises(ValueError, match=r"flags train: 6 images of 8x8 take 0.0 GB .* choose a smaller image_size"):
        load_dataset("hf:some/flags")


def test_other_packages_images_of_several_sizes_need_a_size(library: dict[str, Any]) -> None:
    library |= {"train": Rows(range(6)), "test": Rows(range(6, 10))}
    library["train"][2]["img"] = Image.fromarray(picture(0, 12))
    with pytest.raises(ValueError, match=r"flags train: image 2 is 12x12, image 0 8x8: say a size .*`image_size=64`"):
        load_dataset("hf:some/flags")
    assert load_dataset("hf:some/flags", image_size=16).train.images.shape == (6, 16, 16, 3)


def test_leaks_are_counted_without_hashing_the_images_again(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(flowers / "test" / "rose" / "again.png", picture(1))
    data = load_dataset(str(flowers))
    assert [hashlib.sha256(image.tobytes()).digest() for image in data.train.images] == list(data.train.pixel_digests)
    monkeypatch.setattr(hashlib, "sha256", None)
    assert data.leaked == 1


def test_links_that_lead_round_are_not_followed(flowers: Path) -> None:
    before = load_dataset(str(flowers)).train.fingerprint
    rose, daisy = flowers / "train" / "rose", flowers / "train" / "Gänseblümchen"
    (rose / "up").symlink_to("..")
    (rose / "here").symlink_to(".")
    assert load_dataset(str(flowers)).train.fingerprint == before
    (rose / "other").symlink_to(daisy)
    (daisy / "other").symlink_to(rose)
    assert len(load_dataset(str(flowers)).train.labels) == 12  # each class twice, and no more


def test_a_validation_part_is_not_used_and_that_is_told(flowers: Path) -> None:
    write(flowers / "val" / "rose" / "1.png", picture(60))
    data = load_dataset(str(flowers))
    assert (len(data.train.labels), data.remark) == (6, "val/ is not used")


# Arrays and lists.


def test_arrays_with_a_split(tmp_path: Path) -> None:
    images, labels = np.stack([picture(n) for n in range(10)]), np.arange(10) % 2
    np.savez(tmp_path / "a.npz", x_train=images[:6], y_train=labels[:6], x_test=images[6:], y_test=labels[6:, None])
    data = load_dataset(str(tmp_path / "a.npz"))
    assert of(data) == {(picture(n).tobytes(), str(n % 2)) for n in range(10)}
    assert data.dataset == "own-a"


def test_arrays_without_a_split_and_labels_in_words(tmp_path: Path) -> None:
    images = np.stack([picture(n, grey=True) for n in range(10)])
    np.savez(tmp_path / "grey.npz", images=images, labels=np.array(["no", "yes"] * 5))
    data = load_dataset(str(tmp_path / "grey.npz"), test_share=0.4)
    assert data.classes == ("no", "yes")
    assert (len(data.train.labels), len(data.test.labels)) == (6, 4)
    assert (data.train.images[..., 0] == data.train.images[..., 2]).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((4, 8, 8, 3))}, "holds images; needs train_images"),
        ({"images": np.zeros((4, 8, 8, 3)), "labels": np.arange(4)}, r"images is float64 \[4, 8, 8, 3\]; needs uint8"),
        ({"images": np.zeros((4, 8, 8, 4), np.uint8), "labels": np.arange(4)}, r"uint8 \[4, 8, 8, 4\]; needs uint8"),
        ({"images": np.zeros((4, 8, 8), np.uint8), "labels": np.ones(4)}, r"labels is float64 \[4\]; needs whole"),
        (
            {"images": np.zeros((4, 8, 8), np.uint8), "labels": np.arange(3)},
            "4 images and 3 labels; needs as many",
        ),
        ({"images": np.zeros((4, 0, 0, 3), np.uint8), "labels": np.arange(4)}, r"uint8 \[4, 0, 0, 3\]; needs uint8"),
        ({"images": np.zeros((4, 8, 8), np.uint8), "labels": np.array([b"\xff"] * 4)}, "a label is not text in UTF-8"),
        ({"images": np.zeros((4, 8, 8), np.uint8), "labels": np.array(["", "a"] * 2)}, "the class '' is not printable"),
        ({"images": np.zeros((4, 8, 9), np.uint8), "labels": np.arange(4) % 2}, "images are 9x8; needs square ones"),
        ({"images": np.zeros((4, 8, 8), np.uint8), "labels": np.array([None] * 4)}, "not a .npz archive of plain"),
    ],
)
def test_other_arrays_are_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_dataset(str(tmp_path / "a.npz"), test_share=0.5)


def test_a_list(flowers: Path) -> None:
    lines = ["path,label,split"]
    lines += [
        f"{path.relative_to(flowers.parent)},{n},train" for n, path in enumerate(sorted(flowers.rglob("train/*/*")))
    ]
    lines += [
        f"{path.relative_to(flowers.parent)},{n},test" for n, path in enumerate(sorted(flowers.rglob("test/*/*")))
    ]
    listed = flowers.parent / "list.csv"
    listed.write_text("\n".join(lines), encoding="utf-8")
    data = load_dataset(str(listed))
    assert data.classes == ("0", "1", "2", "3", "4", "5")
    assert (len(data.train.labels), len(data.test.labels)) == (6, 4)


def test_spaces_around_the_values_of_a_list_and_other_columns_do_not_count(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path / f"{number}.png", picture(number))
    lines = ("path, label ,note", "0.png, cat,1", " 1.png ,cat ,", '2.png, "dog, big",x', '3.png,"dog, big"', "")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    assert load_dataset(str(tmp_path / "list.csv"), test_share=0.5).classes == ("cat", "dog, big")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,label\na.png,1,2\n", "has two columns called label; needs one"),
        ("path,label\na.png,big, cat\n", "line 2: has 3 values for 2 columns; quote commas"),
        ("file,label\na.png,1\n", "has columns file, label; needs path and label"),
        ("path,label\n", "lists no images"),
        ("", "has columns none; needs path and label"),
        ("path,label\nno.png,1\n", "line 2: no.png: no such file"),
        ("path,label\na.png,\n", "line 2: has no label"),
        ("path,label,split\na.png,1,train\na.png,1,validation\n", "line 3: split is 'validation'; needs train or test"),
        ("path,label,split\na.png,1,train\n", "lists no image with split test"),
        ("path,label\n\udcff\n", "not a CSV file in UTF-8"),
    ],
)
def test_wrong_lists_are_one_line(text: str, message: str, tmp_path: Path) -> None:
    write(tmp_path / "a.png", picture(0))
    (tmp_path / "list.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=message):
        load_dataset(str(tmp_path / "list.csv"))


@pytest.mark.parametrize(
    ("spec", "more", "message"),
    [
        ("nowhere", {}, "nowhere: no such data set, folder or file; needs cifar10, svhn, digits, a folder"),
        ("digits", {"image_size": 16}, "digits has its own size and test images; leave out image_size"),
        ("digits", {"test_share": 0.5}, "digits has its own size and test images"),
        ("", {}, "spec is ''; needs a name, a folder or a file"),
        (3, {}, "spec is 3; needs a name"),
        ("x", {"image_size": 0}, "`image_size` is 0; needs a whole number of pixels, 1 or more"),
        ("x", {"image_size": "64"}, "`image_size` is '64'"),
        ("x", {"test_share": "0.2"}, r"`test_share` is '0.2'; needs a number between 0 and 1"),
        ("x", {"split_seed": -1}, "`split_seed` is -1; needs a whole number, 0 or more"),
        ("torchvision:Nothing", {}, "torchvision:Nothing: torchvision has no data set of that name"),
        ("torchvision:CocoDetection", {}, "torchvision:CocoDetection: has no training and test images"),
    ],
)
def test_wrong_specs_are_one_line(spec: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_dataset(spec, **more)


def test_a_split_of_its_own_takes_no_share(flowers: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has test images of its own; leave out `test_share=0.3`"):
        load_dataset(str(flowers), test_share=0.3)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match=r"a.txt: needs a folder of class folders, a .npz"):
        load_dataset(str(tmp_path / "a.txt"))


# Other packages.


class Pairs:
    """A data set as torchvision's: (image, label) by row, and names of classes."""

    classes = ("zebra", "ant")

    def __init__(self, root: str, train: bool = True, download: bool = False):
        self.rows = range(6) if train else range(6, 10)
        if not download:
            raise RuntimeError("Dataset not found. You can use download=True\nto download it")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> tuple[Image.Image, int]:
        return Image.fromarray(picture(self.rows[row])), self.rows[row] % 2


def test_a_set_of_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = torchvision_datasets()
    monkeypatch.setattr(module, "Pairs", Pairs, raising=False)
    monkeypatch.setattr(module, "__all__", (*module.__all__, "Pairs"))
    with pytest.raises(ValueError, match=r"torchvision:Pairs in .*: not found \(`download=True` fetches it\): Dataset"):
        load_dataset("torchvision:Pairs", tmp_path, download=False)
    data = load_dataset("torchvision:Pairs", tmp_path, download=True)
    assert data.classes == ("zebra", "ant")
    assert of(data) == {(picture(n).tobytes(), Pairs.classes[n % 2]) for n in range(10)}
    assert (data.dataset, data.remark) == ("torchvision-pairs", "as torchvision.datasets.Pairs reads it")


def test_the_parts_of_torchvisions_sets_can_be_asked_for() -> None:
    for name, parts in packaged.SPLITS.items():
        kind = getattr(torchvision_datasets(), name)
        taken = inspect.signature(kind).parameters
        open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
        for arguments in parts or ():
            assert open_ended or set(arguments) <= set(taken), name
    assert packaged._splits("STL10", torchvision_datasets().STL10) == {
        "train": {"split": "train"}, "test": {"split": "test"},
    }  # fmt: skip
    assert list(packaged._splits("EuroSAT", torchvision_datasets().EuroSAT)) == ["all"]


class Rows(list[dict[str, Any]]):
    """A part of a set as the `datasets` library gives it."""

    class Image:
        pass

    class ClassLabel:
        names = ("no", "yes")

    info = SimpleNamespace(download_checksums={"hf://datasets/some/flags@0123abcd/train.parquet": {}})

    def __init__(self, numbers: range, names: bool = True):
        super().__init__({"img": Image.fromarray(picture(n)), "label": n % 2} for n in numbers)
        self.features = {"img": Rows.Image(), "label": Rows.ClassLabel() if names else object()}


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The `datasets` library, of which a test says what it has loaded."""
    parts: dict[str, Any] = {}
    module = ModuleType("datasets")
    module.load_dataset = lambda name, revision: dict(parts)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return parts


def test_a_set_of_the_hub(library: dict[str, Any]) -> None:
    library |= {"train": Rows(range(6)), "test": Rows(range(6, 10))}
    data = load_dataset("hf:some/flags")
    assert data.classes == ("no", "yes")
    assert of(data) == {(picture(n).tobytes(), Rows.ClassLabel.names[n % 2]) for n in range(10)}
    assert data.remark == "by the datasets library, revision 0123abcd"
    assert data.dataset == "hf-flags"


def test_validation_images_stand_in_for_test_images(library: dict[str, Any]) -> None:
    library |= {"train": Rows(range(6), names=False), "validation": Rows(range(6, 10), names=False)}
    data = load_dataset("hf:some/flags@v1")
    assert data.remark.endswith("; its validation images are the test images")
    assert data.classes == ("0", "1")


def test_what_the_hub_has_otherwise_is_refused(library: dict[str, Any]) -> None:
    library["test"] = Rows(range(4))
    with pytest.raises(ValueError, match="hf:x: has the parts test; needs train"):
        load_dataset("hf:x")
    library["train"] = Rows(range(4))
    library["train"].features = {"text": object()}
    with pytest.raises(ValueError, match="hf:x: has columns text; needs one of images and one of labels"):
        load_dataset("hf:x")
    floats = Rows(range(4), names=False)
    floats[2]["label"] = 0.5
    library["train"] = floats
    with pytest.raises(ValueError, match="labels are 0 and the like; needs one class an image"):
        load_dataset("hf:x")
    unlabelled = Rows(range(4))
    unlabelled[2]["label"] = -1
    library["train"] = unlabelled
    with pytest.raises(ValueError, match="hf:x: train has images without a label"):
        load_dataset("hf:x")


def test_without_the_library_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"hf: needs the package `datasets` .*: pip install 'repr-eval\[hf\]'"):
        load_dataset("hf:mnist")


# Splits, orders, names.


def test_a_stratified_split_is_known_by_hand() -> None:
    """Ten, three, two and one images of a class; a quarter is tested on, but one image stays on each side."""
    labels = np.repeat(np.arange(4), (10, 3, 2, 1))
    split = make_split(np.stack([picture(n, 2) for n in range(16)]), labels)
    train, test = stratified(split, 0.25, seed=0)
    assert np.bincount(train.labels).tolist() == [8, 2, 1, 1]
    assert np.bincount(test.labels, minlength=4).tolist() == [2, 1, 1, 0]
    most, least = (stratified(split, share, seed=0)[1] for share in (0.999, 0.001))
    assert np.bincount(most.labels, minlength=4).tolist() == [9, 2, 1, 0]
    assert np.bincount(least.labels, minlength=4).tolist() == [1, 1, 1, 0]
    with pytest.raises(ValueError, match="test_share 1: must be between 0 and 1"):
        stratified(split, 1, 0)
    with pytest.raises(ValueError, match="every class has one image only"):
        stratified(make_split(split.images[:4], np.arange(4)), 0.5, 0)


def test_classes_are_in_the_order_of_their_numbers_or_names() -> None:
    assert class_order(["10", "9", "-1", "9"]) == ("-1", "9", "10")
    assert class_order(["10", "9", "x"]) == ("10", "9", "x")


def test_names_make_keys() -> None:
    assert [slug(name) for name in ("My Flowers", "a_b--c/d", "Blüten 7", "///", "<script>")] == [
        "my-flowers", "a-b-c-d", "blüten-7", "data", "script",
    ]  # fmt: skip
    assert slug("zed-methods") == "zed-methods-data"  # own-zed-methods.md is a table of zed
    long = [slug(letter * 250) for letter in "Lé猫"]
    assert all(len(name.encode()) < 75 and has_table(f"own-{name}") for name in long)
    assert slug("L" * 250) != slug("L" * 251)
    assert not any(f"own-{slug(key)}" in DATASETS for key in DATASETS)
    assert all(has_table(f"own-{slug(name)}") for name in ("My Flowers", "Blüten 7", "///", "../..", "a\nb"))
    assert not any(map(has_table, ("overview", "own-a/b", "own-", "own-..", "own-a\n")))


def test_a_thousand_classes() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2000, 2, 2, 3)).astype(np.uint8)
    data = data_set(Source("many", {"all": Labelled(images, [f"n{n % 1000:04}" for n in range(2000)])}), 0.5)
    assert len(data.classes) == 1000
    assert np.bincount(data.test.labels).tolist() == [1] * 1000


def test_a_published_set_is_known_by_its_content(monkeypatch: pytest.MonkeyPatch, flowers: Path) -> None:
    """The flowers, as if they were CIFAR-10."""
    data = load_dataset(str(flowers))
    fingerprints = {"train": data.train.fingerprint, "test": data.test.fingerprint}
    monkeypatch.setattr(cifar10, "FINGERPRINTS", fingerprints)
    known = load_dataset(str(flowers))
    assert (known.name, known.dataset, known.verified) == ("CIFAR-10", "cifar10", True)
    monkeypatch.setitem(fingerprints, "test", "other")
    assert load_dataset(str(flowers)).dataset == "own-my-flowers"


def test_the_handwritten_digits_are_known_by_their_content(tmp_path: Path) -> None:
    digits = load_handwritten_digits()
    assert own_data.published(digits.train, digits.test) is not None
    splits = {
        f"{part}_{name}": getattr(split, name)
        for part, split in (("train", digits.train), ("test", digits.test))
        for name in ("images", "labels")
    }
    np.savez(tmp_path / "d.npz", **splits)
    data = load_dataset(str(tmp_path / "d.npz"))
    assert (data.name, data.dataset) == (digits.name, "digits")
