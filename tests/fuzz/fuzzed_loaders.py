"""Every loader of files with a good file for it: what a changed file must be answered with.

That is ValueError, OSError or MemoryError, or a result. Where a hash is stored with the content
(`checked`), the result is that of the good file.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from factories import random_images, record, small_discriminator
from PIL import Image
from scipy.io import savemat
from torch import nn

from repr_eval.gan.checkpoint import load_checkpoint, save_checkpoint
from repr_eval.gan.recipes import CONTRASTIVE_FAST
from repr_eval.gan.run_folder import LOG_HEADER, cut_log
from repr_eval.gan.settings import TrainingSettings, read_history, read_settings
from repr_eval.gan.unlabelled import read_packed
from repr_eval.gan.weights import WeightsInfo, load_network, save_weights, weights_hash
from repr_eval.images import cifar10
from repr_eval.images.arrays import read_npz
from repr_eval.images.decode import decode
from repr_eval.images.listed import read_csv
from repr_eval.images.mat5 import read_mat5
from repr_eval.images.pack import pack
from repr_eval.label_free import files as measures
from repr_eval.label_free.measurement import Measurement
from repr_eval.predictions import Predictions, read_predictions
from repr_eval.records import DRAWS, FILE, append_record, known_records, passing_over
from repr_eval.reporting import ablations, methods, overview, tables
from repr_eval.reporting.page.write import to_html
from repr_eval.reporting.rows import table_names, table_rows
from repr_eval.representations import store
from repr_eval.representations.feature_folder import FeatureFolder
from repr_eval.representations.own_network.files import from_file
from repr_eval.system.arrays import save_lists
from repr_eval.verification.verify import verify

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Loader:
    """`make` writes a good file, and what belongs to it, to an empty folder; `load` reads the file."""

    make: Callable[[Path], Path]
    load: Callable[[Path], Any]
    text: bool = False
    checked: bool = False
    slow: bool = False  # 200 take more than five seconds


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


# Records.


def _records(hashed: bool) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for seed in (0, 1):
            append_record(folder, record(seed=seed, largest_gap=None))
        if not hashed:
            lines = [one.to_line() for one in known_records(folder)]
            (folder / FILE).write_text("\n".join(lines) + "\n")
        return folder / FILE

    return make


def _records_found(path: Path) -> bool:
    """Whether a record is found that was not stored."""
    stored = [record(seed=seed, largest_gap=None) for seed in (0, 1)]
    with passing_over():
        return any(one not in stored for one in known_records(path.parent))


def _tables(path: Path) -> None:
    with passing_over():
        records = known_records(path.parent)
    everything = []
    for table in table_names(records):
        rows = table_rows(records, table)
        tables.to_csv(rows, "accuracy")
        tables.to_markdown(rows, "accuracy")
        everything += methods.compared(records, table)
    overview.to_markdown(everything)
    for study in ablations.STUDIES.values():
        study(records)
    if records:
        to_html(records, path.parent)


def _predictions(folder: Path) -> Path:
    predictions = Predictions.of(np.arange(60).reshape(2, 30) % 10, np.arange(30) % 10)
    digest = save_lists(folder / DRAWS, predictions.arrays)
    append_record(folder, record(test_n=30, test_correct=predictions.correct, predictions_sha256=digest))
    return folder / DRAWS / f"{digest[:16]}.npz"


def _predicted(path: Path) -> str:
    predictions = read_predictions(path.parents[1], known_records(path.parents[1])[0])
    assert predictions is not None
    return _sha256(predictions.predicted) + _sha256(predictions.labels)


def _measures(folder: Path) -> Path:
    names = fields(Measurement)
    content = {field.name: None for field in names} | {"format": 1, "layers": [], "dataset": {"name": "x"}}
    (folder / measures.FILE).write_text(json.dumps(content) + "\n")
    return folder / measures.FILE


# Networks and runs.


def _weights(folder: Path) -> Path:
    network = small_discriminator(arch="dcgan32-svhn").network
    save_weights(folder / "w.safetensors", network, WeightsInfo("discriminator", "dcgan32-svhn", 0.05))
    return folder / "w.safetensors"


def _exported(folder: Path) -> Path:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU()).eval()
    torch.export.save(torch.export.export(network, (torch.zeros(2, 3, 32, 32),)), folder / "net.pt2")
    return folder / "net.pt2"


def _checkpoint(folder: Path) -> Path:
    save_checkpoint(folder, 7, {"w": torch.arange(40.0).reshape(4, 10), "step": torch.tensor(7)})
    return folder / "checkpoint-000000007.safetensors"


def _checkpointed(path: Path) -> str:
    loaded = load_checkpoint(path.parent, CPU)
    assert loaded is not None
    return json.dumps([loaded[0], *sorted((name, _sha256(value.numpy())) for name, value in loaded[1].items())])


def _settings(folder: Path) -> Path:
    settings = TrainingSettings("noise", "0" * 64, 512, recipe=CONTRASTIVE_FAST).to_json()
    stretch = {"from_step": 0, "device": "cpu", "threads": 1, "versions": {"torch": "2.9"}}
    path = folder / "settings.json"
    path.write_text(json.dumps({"format": 1, "settings": settings, "history": [stretch]}, indent=2))
    _losses(folder)
    return path


def _read_run(path: Path) -> None:
    read_settings(path).to_json()
    read_history(path)


def _losses(folder: Path) -> Path:
    path = folder / "losses.csv"
    path.write_text(LOG_HEADER + "".join(f"{step},{128 * step},0.5,0.7\n" for step in range(1, 20)))
    return path


# Features.


def _entry(ending: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        def fill(rows: np.ndarray) -> None:
            rows[:] = np.arange(rows.size).reshape(rows.shape)

        store.write(folder, SETTINGS, (30, 20), fill, lambda rows: None)
        return folder / f"{store.key_of(SETTINGS)}{ending}"

    return make


SETTINGS = {"precision": "float32", "representation": "counted"}


def _stored(path: Path) -> str | None:
    entry = store.read(path.parent, SETTINGS, (30, 20))
    if entry is None:
        raise ValueError("made again")
    return _sha256(entry.rows)


def _features(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        described = {}
        for part in ("train", "test"):
            for what, array in (("features", np.eye(4, 3, dtype=np.float32)), ("labels", np.arange(4))):
                np.save(folder / f"{part}_{what}.npy", array)
                described[f"{part}_{what}"] = {
                    "shape": list(array.shape), "type": str(array.dtype), "sha256": _sha256(array),
                }  # fmt: skip
        description = {
            "method": "m", "trained_on": "t", "layers": [1, 2, 2], "n_features": 3, "max_units": None, "settings": {},
            "untrained": False, "layer_features": [1, 2], "layers_in_all": 2, "fitted_on": None,
        }  # fmt: skip
        data = {"name": "d", "train_fingerprint": "a", "test_fingerprint": "b"}
        content = {
            "format": "repr-eval features 1", "arrays": described, "data": data, "description": description,
            "precision": "float32", "device": "cpu", "seconds": 1.5,
        }  # fmt: skip
        (folder / "features.json").write_text(json.dumps(content, indent=1))
        return folder / name

    return make


def _read_features(path: Path) -> str:
    folder = FeatureFolder(path.parent)
    str(folder.description.layers)
    return _sha256(folder._array("train_features", 4))


# Images.


def _image(name: str, **options: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        Image.fromarray(random_images(1, 32)[0]).save(folder / name, **options)
        return folder / name

    return make


def _packed(ending: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "images").mkdir()
        for number in range(3):
            Image.fromarray(random_images(1, 12, number)[0]).save(folder / "images" / f"{number}.png")
        pack(folder / "images", folder / "packed.npy", 8, workers=1)
        return folder / f"packed{ending}"

    return make


def _packed_again(path: Path) -> str:
    read = _sha256(np.array(read_packed(path.with_suffix(".npy"), 8).images))
    pack(path.parent / "images", path.with_suffix(".npy"), 8, workers=1)
    return read


def _npz(folder: Path) -> Path:
    np.savez(folder / "x.npz", images=random_images(6, 8), labels=np.array(list("aabbcc")))
    return folder / "x.npz"


def _csv(folder: Path) -> Path:
    lines = ["path,label,split"]
    for number in range(4):
        Image.fromarray(random_images(1, 8, number)[0]).save(folder / f"{number}.png")
        lines.append(f'{number}.png,"class, {number % 2}",{("train", "test")[number // 2]}')
    (folder / "x.csv").write_text("\n".join(lines) + "\n")
    return folder / "x.csv"


def _mat(compressed: bool) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        arrays = {"X": random_images(3, 8).transpose(1, 2, 3, 0), "y": np.array([[1], [2], [10]], np.uint8)}
        savemat(folder / "x.mat", arrays, do_compression=compressed)
        return folder / "x.mat"

    return make


# All of a folder.


def _verified(make: Callable[[Path], Path]) -> Loader:
    return Loader(make, lambda path: verify([path.parent]) and None, text=True)


LOADERS = {
    "records": Loader(_records(True), _records_found, text=True, checked=True),
    "records-without-hashes": Loader(_records(False), _tables, text=True, slow=True),
    "predictions": Loader(_predictions, _predicted, checked=True),
    "measures": Loader(_measures, lambda path: measures.read(path.parent), text=True),
    "weights": Loader(_weights, lambda path: weights_hash(load_network(path)[0])),
    "exported-network": Loader(_exported, lambda path: from_file(path, CPU) and None, slow=True),
    "checkpoint": Loader(_checkpoint, _checkpointed, checked=True),
    "settings": Loader(_settings, _read_run, text=True),
    "losses": Loader(_losses, lambda path: cut_log(path, 10) and None, text=True),
    "stored-features": Loader(_entry(".npy"), _stored, checked=True),
    "stored-features-sidecar": Loader(_entry(".json"), _stored, text=True, checked=True),
    "feature-folder": Loader(_features("train_features.npy"), _read_features, checked=True),
    "feature-folder-sidecar": Loader(_features("features.json"), _read_features, text=True, checked=True),
    "png": Loader(_image("x.png"), lambda path: decode(path, 16) is None),
    "jpeg": Loader(_image("x.jpg"), lambda path: decode(path, 8) is None),
    "bmp": Loader(_image("x.bmp"), lambda path: decode(path, 16) is None),
    "gif": Loader(_image("x.gif"), lambda path: decode(path, 16) is None),
    "webp": Loader(_image("x.webp"), lambda path: decode(path, 16) is None),
    "tiff": Loader(_image("x.tiff", compression="tiff_lzw"), lambda path: decode(path, 16) is None),
    "ppm": Loader(_image("x.ppm"), lambda path: decode(path, 16) is None),
    "cifar-png": Loader(_image("x.png"), lambda path: cifar10._read_image(path) is None),
    "packed": Loader(_packed(".npy"), _packed_again, checked=True),
    "packed-sidecar": Loader(_packed(".json"), _packed_again, text=True, checked=True),
    "npz": Loader(_npz, lambda path: read_npz(path).name),
    "csv": Loader(_csv, lambda path: read_csv(path).name, text=True),
    "mat": Loader(_mat(False), lambda path: sorted(read_mat5(path, ("X", "y")))),
    "mat-compressed": Loader(_mat(True), lambda path: sorted(read_mat5(path, ("X", "y")))),
    "verify-records": _verified(_records(True)),
    "verify-settings": _verified(_settings),
    "verify-features": _verified(_entry(".json")),
}
