"""CIFAR-10 (Krizhevsky 2009) from its original pickles or from class folders of images."""

from pathlib import Path

import numpy as np
from PIL import Image

from repr_eval.images.data_dir import DataRoot, MissingData
from repr_eval.images.labelled import LabelledImages, Split, make_split
from repr_eval.system.progress import progress_bar
from repr_eval.system.torchvision_import import torchvision_datasets

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
COUNTS = {"train": 50_000, "test": 10_000}

# Fingerprints (images.labelled) of the complete set: with labels, and of the pixels alone.
FINGERPRINTS = {
    "train": "05f9bda788ef87835944e72ade1cd59fddb15c799226d5f592b43b2f92525dde",
    "test": "15fde49ee2492f97cf89288eccdda619f21e29c9c91710057ff6365325971528",
}
PIXEL_FINGERPRINTS = {
    "train": "6bebf6967ad9d2d12d9cf95f54164bd95a0954d3177f1285fa8dd3673671ca76",
    "test": "eb97bdfceb97fec3832a6abdbbf9f16340a510375c77ce1b32c45de1e6d88318",
}

_BATCHES = "cifar-10-batches-py"
_ARCHIVE = "cifar-10-python.tar.gz"
_FETCH = '`load_dataset("cifar10", download=True)`'
_FORMATS = ("PNG", "BMP", "PPM", "WEBP", "JPEG")
_SUFFIXES = {".png", ".bmp", ".ppm", ".webp", ".jpg", ".jpeg"}


def load_cifar10(root: DataRoot, download: bool = False) -> LabelledImages:
    """CIFAR-10 from `root`, in canonical order, and whether it is the complete published set.

    Looks for `cifar-10-batches-py/` and for `{train,test}/<class>/*.png`, in the root itself and in `cifar10/` below
    it. `download` fetches the original archive with torchvision, which checks its MD5, where there is no set or one of
    pickles that are not the original ones. Raises MissingData (a ValueError) where there is none.
    """
    location = _find(root.path)
    if download and (location is None or location[1] == "pickles"):
        _download(location[0] if location else _download_folder(root.path))
        location = _find(root.path)
    if location is None:
        raise MissingData(_missing_message(root))
    folder, layout = location
    splits = {
        split: make_split(*(_read_pickles if layout == "pickles" else _read_folders)(folder, split))
        for split in ("train", "test")
    }
    remark = "; ".join(filter(None, (compare(split, splits[split]) for split in splits)))
    name = "CIFAR-10" if not remark else "CIFAR-10 (altered copy)"
    return LabelledImages(
        name=name, train=splits["train"], test=splits["test"], classes=CLASSES, verified=not remark, remark=remark,
        dataset="cifar10",
    )  # fmt: skip


def _find(root: Path) -> tuple[Path, str] | None:
    for folder in (root, root / "cifar10"):
        if (folder / _BATCHES).is_dir():
            return folder, "pickles"
        if all((folder / split / CLASSES[0]).is_dir() for split in COUNTS):
            return folder, "folders"
    return None


def found_in(root: Path) -> Path | None:
    """The folder at or below `root` that holds the set, by its names alone."""
    location = _find(root)
    return location[0] if location else None


def _missing_message(root: DataRoot) -> str:
    archive = _download_folder(root.path) / _ARCHIVE
    if archive.exists():
        return (
            f"{archive}: an archive that is not unpacked, or only half downloaded; "
            f"{_FETCH} checks its MD5, completes it and unpacks it"
        )
    return (
        f"CIFAR-10 not found in {root.path} ({root.why}): looked for {_BATCHES}/ and "
        f"for {{train,test}}/<class>/*.png, there and in cifar10/. With a network, {_FETCH} fetches it"
    )


def _download_folder(root: Path) -> Path:
    """Where an archive lies that is not unpacked; else cifar10/ below `root`."""
    return root if (root / _ARCHIVE).exists() else root / "cifar10"


def _download(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    try:
        torchvision_datasets().CIFAR10(str(target), download=True)
    except (OSError, RuntimeError) as error:
        raise MissingData(
            f"CIFAR-10 could not be downloaded into {target} ({error}); put cifar-10-python.tar.gz, unpacked, there, "
            "or name a folder that has it with `data_dir`"
        ) from error


def _read_pickles(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    # torchvision checks each batch file's MD5 before it opens it, so no unknown pickle is ever loaded.
    try:
        dataset = torchvision_datasets().CIFAR10(str(folder), train=split == "train")
    except RuntimeError as error:
        raise ValueError(
            f"{folder / _BATCHES}: not the original files (one is missing, or its MD5 is not the published one); "
            f"fetch them again with {_FETCH}"
        ) from error
    return dataset.data, np.asarray(dataset.targets)


def _read_folders(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    files: list[tuple[Path, int]] = []
    for label, name in enumerate(CLASSES):
        paths = sorted(p for p in (folder / split / name).glob("*") if p.suffix.lower() in _SUFFIXES)
        if not paths:
            raise ValueError(f"{folder / split / name}: holds no images; CIFAR-10 has ten class folders a split")
        files += [(path, label) for path in paths]
    bar = progress_bar(files, f"CIFAR-10 {split}", unit="image")
    return np.stack([_read_image(path) for path, _ in bar]), np.asarray([label for _, label in files])


def _read_image(path: Path) -> np.ndarray:
    try:
        with Image.open(path, formats=_FORMATS) as image:
            size = image.size
            pixels = np.asarray(image.convert("RGB")) if size == (32, 32) else None  # else not decoded
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise nearly anything on broken bytes.
        raise ValueError(f"{path}: cannot be read as an image ({error})") from error
    if pixels is None:
        raise ValueError(f"{path}: is {size[0]}x{size[1]} pixels; CIFAR-10's images are 32x32")
    return pixels


def compare(split: str, data: Split) -> str:
    """In words, how `found` differs from the published split; empty where it is that split."""
    if data.fingerprint == FINGERPRINTS[split]:
        return ""
    n = len(data.labels)
    if n != COUNTS[split]:
        return f"{split}: {n} images instead of {COUNTS[split]}"
    if data.pixel_fingerprint == PIXEL_FINGERPRINTS[split]:
        return f"{split}: the right images with other labels"
    return f"{split}: other pixels (re-compressed, resized, or some images exchanged)"
