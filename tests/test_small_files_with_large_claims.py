"""Files of a few kilobytes that claim to be large: refused by their headers, before the memory is filled."""

import io
import json
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from repr_eval.gan.weights import load_network
from repr_eval.images import arrays, cifar10
from repr_eval.images.decode import UnreadableImage, decode
from repr_eval.representations.own_network.files import from_file


def png(width: int, height: int) -> bytes:
    """A grey PNG of zeros, row by row, without ever holding its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packed = zlib.compressobj(9)
    rows = b"".join(packed.compress(bytes(width + 1)) for _ in range(height)) + packed.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def large_png(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.png"
    path.write_bytes(png(10_000, 10_000))
    return path


def test_a_large_image_in_a_cifar_folder_is_refused_by_its_header(
    large_png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda image: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="is 10000x10000 pixels; CIFAR-10's images are 32x32"):
        cifar10._read_image(large_png)


def test_a_large_image_is_refused_by_its_header_whatever_pillows_limit(
    large_png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda image: pytest.fail("decoded"))
    with pytest.raises(UnreadableImage, match="10,000x10,000 pixels; at most 89,478,485 are decoded"):
        decode(large_png, 32)


def test_formats_that_nobody_needs_are_not_tried(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n")
    with pytest.raises(ValueError, match=r"x\.png: cannot be read as an image \(cannot identify"):
        cifar10._read_image(tmp_path / "x.png")


@pytest.mark.parametrize(
    "claim",
    [
        {"network": "discriminator", "arch": "dcgan64", "width": 16.0},
        {"network": "generator", "arch": "dcgan64", "width": 16.0},
        {"network": "generator", "arch": "dcgan64", "width": 1.0, "z_dim": 10**6},
        {"network": "generator", "arch": "dcgan64", "width": 1.0, "z_dim": 10**18},
    ],
)
def test_weights_that_say_they_are_wide_are_compared_before_a_network_is_built(
    claim: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"convs.0.weight": torch.zeros(2)}, path, {"repr_eval": json.dumps(claim)})
    devices: list[str] = []
    register = nn.Module.register_parameter

    def registered(module: nn.Module, name: str, value: Any) -> None:
        devices.extend([] if value is None else [value.device.type])
        register(module, name, value)

    monkeypatch.setattr(nn.Module, "register_parameter", registered)
    with pytest.raises(ValueError, match=rf"{path}: (has no tensor|tensor|describes no network)"):
        load_network(path)
    assert set(devices) <= {"meta"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "net.pt2"
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU()).eval()
    torch.export.save(torch.export.export(network, (torch.zeros(2, 3, 32, 32),)), path)
    return path


def rewritten(source: Path, path: Path, changes: dict[str, bytes], added: dict[str, bytes]) -> Path:
    """A copy of an archive with records that end in `changes`' names replaced, and others added."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            ending = next((end for end in changes if name.endswith(end)), None)
            new.writestr(name, old.read(name) if ending is None else changes[ending])
        folder = old.namelist()[0].partition("/")[0]
        for name, content in added.items():
            new.writestr(f"{folder}/{name}", content, zipfile.ZIP_DEFLATED)
    return path


def test_an_exported_tensor_is_as_large_as_what_is_stored_of_it(exported: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(exported) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("model_weights_config.json")]
        config = json.loads(archive.read(name))
    first = next(iter(config["config"].values()))
    first["tensor_meta"]["sizes"] = [{"as_int": 1_600_000_000}]
    first["tensor_meta"]["strides"] = [{"as_int": 0}]
    changes = {"model_weights_config.json": json.dumps(config).encode()}
    for weights in ({}, {first["path_name"]: b""}):  # values repeated; and, of an empty record, zeros
        path = rewritten(exported, tmp_path / "x.pt2", changes | weights, {})
        with pytest.raises(ValueError, match=r"x\.pt2: .*weight_0 is to be \[1600000000\] and holds \d+ bytes"):
            from_file(path, torch.device("cpu"))


def test_an_exported_file_unpacks_to_no_more_than_torch_writes(exported: Path, tmp_path: Path) -> None:
    path = rewritten(exported, tmp_path / "x.pt2", {}, {"data/extra": bytes(80_000_000)})
    assert path.stat().st_size < 1_000_000
    with pytest.raises(ValueError, match=r"x\.pt2: its records take 80 MB unpacked, more than torch's do"):
        from_file(path, torch.device("cpu"))
    assert from_file(exported, torch.device("cpu")).kind == "torch.export"


def test_arrays_of_an_archive_are_counted_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "x.npz", images=np.zeros((2_000, 32, 32, 3), np.uint8), labels=np.arange(2_000))
    monkeypatch.setattr("repr_eval.system.arrays.memory_bytes", lambda: 12_000_000)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"x\.npz: .*its arrays take 0\.0 GB, this machine has 0\.0"):
        arrays.read_npz(tmp_path / "x.npz")
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def header(shape: str, descr: str = "'|u1'") -> bytes:
    """The header of a .npy file."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (63 - (10 + len(text)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        header("(-2, 32, 32, 3)"), header("(-2, -32, 32, 3)"), header("(1" + "0" * 30 + ", 32, 32, 3)"),
        header("(1,)", "'|O'"), header("(" * 3_000), header("(True, 32, 32, 3)"), header("(2, 32, 32, 3)", "'|u9'"),
        b"", b"\x93NUMPY", b"\x93NUMPY\x07\x00" + bytes(100), b"PK\x03\x04" + bytes(100),
    ],
)  # fmt: skip
def test_headers_of_arrays_are_one_line(content: bytes, tmp_path: Path) -> None:
    from repr_eval.gan.unlabelled import read_packed
    from repr_eval.system.arrays import mapped, unpacked

    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.npy: "):
        read_packed(path)
    for read in (mapped, unpacked):
        with pytest.raises(ValueError, match=r"."):
            read(path)
    with pytest.raises(ValueError, match=r"x\.npy: not a \.npz archive"):
        arrays.read_npz(path)


def test_a_nested_archive_counts_as_well(exported: Path, tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data/0", bytes(80_000_000))
    path = rewritten(exported, tmp_path / "x.pt2", {"sample_inputs/model.pt": inner.getvalue()}, {})
    with pytest.raises(ValueError, match="a record: its records take 80 MB unpacked"):
        from_file(path, torch.device("cpu"))
