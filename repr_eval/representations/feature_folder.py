"""Features in a folder of plain files, for other programs, and to be read back as a representation.

    train_features.npy, test_features.npy    float16 or float32 [N, D]
    train_labels.npy, test_labels.npy        int64 [N]
    features.json                            everything about them, and the SHA-256 of each array

Rows are in canonical order (`images.labelled`), so that they are the rows of the same images wherever a set comes from.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from repr_eval.images.labelled import LabelledImages
from repr_eval.representations.base import Description
from repr_eval.representations.extraction import Extracted
from repr_eval.representations.layers import Layers
from repr_eval.system.arrays import mapped
from repr_eval.system.field_types import check_types
from repr_eval.system.files import replacing, require_regular, write_text
from repr_eval.system.json_text import read_object
from repr_eval.system.provenance import commit, machine, versions

SIDECAR = "features.json"
FORMAT = "repr-eval features 1"
KINDS = ("features", "labels")
ROWS = 1024  # hashed at a time


def is_feature_folder(path: str | Path) -> bool:
    """Whether `path` is a folder with features in it, by its names alone."""
    return (Path(path) / SIDECAR).is_file()


def files_of(folder: Path) -> list[Path]:
    """The paths of the files in a folder of features."""
    return [*(folder / f"{part}_{what}.npy" for part in ("train", "test") for what in KINDS), folder / SIDECAR]


def write_features(folder: Path, features: Extracted, command: str) -> None:
    """Write features and labels of both splits to `folder`.

    The sidecar comes last, and an old one goes first, so that a folder with one is whole.
    """
    data = features.data
    maps = [array.filename for array in (features.train, features.test) if isinstance(array, np.memmap)]
    if any(Path(str(name)).resolve().parent == folder.resolve() for name in maps):
        raise ValueError(f"{folder}: the features come from this folder; write them to another")
    (folder / SIDECAR).unlink(missing_ok=True)
    arrays = {
        "train_features": features.train,
        "train_labels": data.train.labels,
        "test_features": features.test,
        "test_labels": data.test.labels,
    }
    described = {}
    for name, array in arrays.items():
        with replacing(folder / f"{name}.npy") as partial, open(partial, "wb") as file:
            np.lib.format.write_array(file, array)
        described[name] = {"shape": list(array.shape), "type": str(array.dtype), "sha256": _sha256(array)}
    content = {
        "format": FORMAT,
        "arrays": described,
        "data": {
            "name": data.name,
            "dataset": data.dataset,
            "classes": list(data.classes),
            "remark": data.remark,
            "train_fingerprint": data.train.fingerprint,
            "test_fingerprint": data.test.fingerprint,
        },
        "description": asdict(features.description) | {"layers": _layers_to_json(features.description.layers)},
        "precision": features.precision,
        "device": features.device,
        "seconds": round(features.seconds, 1),
        "versions": versions(),
        "machine": machine(features.device),
        "commit": commit(),
        "command": command,
    }
    write_text(folder / SIDECAR, json.dumps(content, indent=2, sort_keys=True) + "\n")


class FeatureFolder:
    """The features in a folder as a representation: of the images that they were made from, and no others.

    Records of it are those of the representation that made them. ValueError where the folder is not whole.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.content = _read_sidecar(self.folder / SIDECAR)
        try:
            self.description = _description_from(self.content["description"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.folder / SIDECAR}: not the sidecar of extracted features ({error})") from error
        self.device = torch.device("cpu")

    def fit(self, images: np.ndarray) -> Self:
        """Nothing is learned: the features are there."""
        return self

    def transform(self, images: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """ValueError: features that were stored are those of their own images."""
        raise ValueError(f"{self.folder}: holds features of {self.content['data']['name']}, and makes no others")

    def extracted(self, data: LabelledImages) -> Extracted:
        """The features of `data`, read-only memory maps. ValueError where they are of other data, or were altered."""
        own = self.content["data"]
        if (own["train_fingerprint"], own["test_fingerprint"]) != (data.train.fingerprint, data.test.fingerprint):
            raise ValueError(f"{self.folder}: holds features of {own['name']}; the data is {data.name}")
        return Extracted(
            data=data,
            description=self.description,
            train=self._array("train_features", len(data.train.labels)),
            test=self._array("test_features", len(data.test.labels)),
            precision=self.content["precision"],
            device=str(self.content["device"]),
            seconds=float(self.content["seconds"]),
        )

    def _array(self, name: str, n: int) -> np.ndarray:
        path, wanted = self.folder / f"{name}.npy", self.content["arrays"][name]
        require_regular(path)
        try:
            array = mapped(path)
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: not a whole array ({error}); extract the features again") from error
        if (
            list(array.shape) != [n, self.description.n_features]
            or str(array.dtype) != self.content["precision"]
            or _sha256(array) != wanted["sha256"]
        ):
            raise ValueError(f"{path}: is not the array that {SIDECAR} describes; extract the features again")
        return array


def _sha256(array: np.ndarray) -> str:
    """The SHA-256 of the rows' bytes."""
    digest = hashlib.sha256()
    for start in range(0, len(array), ROWS):
        digest.update(np.ascontiguousarray(array[start : start + ROWS]).data)
    return digest.hexdigest()


def _read_sidecar(path: Path) -> dict[str, Any]:
    checks: dict[str, Callable[[Any], bool]] = {
        "format": lambda value: value == FORMAT,
        "arrays": lambda value: all(
            isinstance(value[f"{part}_{what}"]["sha256"], str) for part in ("train", "test") for what in KINDS
        ),
        "data": lambda value: all(
            isinstance(value[name], str) for name in ("name", "train_fingerprint", "test_fingerprint")
        ),
        "description": lambda value: set(value) == {f.name for f in fields(Description)},
        "precision": lambda value: value in ("float16", "float32"),
        "device": lambda value: isinstance(value, str),
        "seconds": lambda value: isinstance(value, float | int),
    }
    try:
        content = read_object(path)
        wrong = [name for name, check in checks.items() if not check(content[name])]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not the sidecar of extracted features ({error!r})") from error
    if wrong:
        raise ValueError(f"{path}: not the sidecar of extracted features ({wrong[0]} is {content[wrong[0]]!r:.40})")
    return dict(content)


def _layers_to_json(layers: Layers | str) -> list[int] | str:
    return layers if isinstance(layers, str) else list(layers)


def _description_from(content: dict[str, Any]) -> Description:
    layers = content["layers"]
    description = Description(
        **content
        | {
            "layers": Layers(*layers) if isinstance(layers, list) else layers,
            "layer_features": tuple(content["layer_features"]),
        }
    )
    check_types(description)
    if isinstance(description.layers, Layers) and not all(type(layer) is int for layer in description.layers):
        raise ValueError(f"layers is {layers!r:.60}")
    return description
