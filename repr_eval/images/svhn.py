"""SVHN's cropped digits (Netzer et al. 2011), and any other files in the same layout, named for what they are."""

import hashlib
import re
from pathlib import Path

import numpy as np

from repr_eval.images.data_dir import DataRoot, MissingData
from repr_eval.images.labelled import LabelledImages, Split, make_split
from repr_eval.images.mat5 import read_mat5
from repr_eval.system.json_text import read_object
from repr_eval.system.torchvision_import import torchvision_datasets

CLASSES = tuple("0123456789")
NOT_SVHN = "in SVHN's layout, not SVHN"
_FETCH = '`load_dataset("svhn", download=True)`'

# Sets in SVHN's layout that are known by content: (train, test) fingerprints -> name.
KNOWN = {
    # Real digits of SVHN's test houses: grey, cut close, slightly lossy; even-numbered houses train, odd test.
    (
        "157964ec39b23e5f4dbcea11c72c1b431c0241db0646b12dbe058d94541fcf4f",
        "d66f319842648cdc059329ce25f8d5bf28d899f6e7ac961757dae4d90b87a126",
    ): "svhn-grey",
}


def load_svhn(root: DataRoot, download: bool = False) -> LabelledImages:
    """The digits in `{train,test}_32x32.mat` of `root` or of `svhn/` below it, in canonical order, 10 read as 0.

    The name is SVHN only if both files have the MD5 that torchvision holds for the originals. Other files are named by
    their content where it is known, else by the about.json beside them, else by their folder. Raises MissingData
    where there are none, ValueError on damaged or foreign files.
    """
    if download and not found_in(root.path):
        _download(root.path / "svhn")
    folder = found_in(root.path)
    if folder is None:
        raise MissingData(
            f"SVHN not found in {root.path} ({root.why}): looked for train_32x32.mat and test_32x32.mat, there and in "
            f"svhn/. With a network, {_FETCH} fetches them"
        )
    paths = {split: folder / f"{split}_32x32.mat" for split in ("train", "test")}
    splits = {split: read_mat(path) for split, path in paths.items()}
    verified = all(_md5(path) == _published_md5(split) for split, path in paths.items())
    name, generated = ("SVHN", False) if verified else _name_of(folder, splits["train"], splits["test"])
    return LabelledImages(
        name=name,
        train=splits["train"],
        test=splits["test"],
        classes=CLASSES,
        verified=verified,
        remark="" if verified else NOT_SVHN,
        dataset="svhn",
        generated=generated,
    )


def found_in(root: Path) -> Path | None:
    """The folder at or below `root` that holds both .mat files."""
    for folder in (root, root / "svhn"):
        if all((folder / f"{split}_32x32.mat").is_file() for split in ("train", "test")):
            return folder
    return None


def _download(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for split in ("train", "test"):
            torchvision_datasets().SVHN(str(folder), split=split, download=True)
    except (OSError, RuntimeError) as error:
        raise MissingData(
            f"SVHN could not be downloaded into {folder} ({error}); put train_32x32.mat and test_32x32.mat there, or "
            "name a folder that has them with `data_dir`"
        ) from error


def read_mat(path: Path) -> Split:
    """One .mat file in SVHN's layout (X uint8 [32, 32, 3, N], y uint8 [N, 1] in 1..10) as a split."""
    try:
        content = read_mat5(path, ("X", "y"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a whole MATLAB v5 file ({error}); remove it and fetch it again") from error
    if "X" not in content or "y" not in content:
        raise ValueError(
            f"{path}: a .mat file without X and y; SVHN's cropped digits hold X [32, 32, 3, N] and y [N, 1]"
        )
    X, y = content["X"], content["y"].reshape(-1)
    if X.dtype != np.uint8 or X.ndim != 4 or X.shape[:3] != (32, 32, 3) or X.shape[3] != len(y):
        raise ValueError(
            f"{path}: X is {X.dtype} {list(X.shape)} with {len(y)} labels; needed: uint8 [32, 32, 3, N] with N labels"
        )
    if len(y) == 0 or not np.isin(y, np.arange(1, 11)).all():
        raise ValueError(f"{path}: labels are not in 1..10 (10 stands for the digit 0)")
    return make_split(np.ascontiguousarray(X.transpose(3, 0, 1, 2)), y.astype(np.int64) % 10)


def _published_md5(split: str) -> str:
    return str(torchvision_datasets().SVHN.split_list[split][2])


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _name_of(folder: Path, train: Split, test: Split) -> tuple[str, bool]:
    """The name, and whether a program has drawn the images, as `make-digits` says in about.json."""
    known = KNOWN.get((train.fingerprint, test.fingerprint))
    if known:
        return known, False
    about, generated = folder / "about.json", False
    if about.is_file():
        try:
            content = read_object(about)
            name, generated = str(content["name"]), "generator" in content
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{about}: needs a JSON object with a name ({error!r})") from error
    else:
        name = folder.resolve().name
    if re.fullmatch(r"svhn", name.strip(), re.IGNORECASE):
        name = f"{name} folder"
    return f"{name} (SVHN layout)", generated
