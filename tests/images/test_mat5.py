"""The reader of .mat files: what scipy writes, bytes put together by hand, and what no file can make it do."""

import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from repr_eval.images.mat5 import read_mat5
from repr_eval.images.svhn import read_mat

TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
MUTATIONS = 200


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_that_scipy_writes(tmp_path: Path, compressed: bool) -> None:
    rng = np.random.default_rng(0)
    arrays = {f"a_{kind}": rng.integers(0, 100, (3, 4, 5)).astype(kind) for kind in TYPES}
    arrays |= {"b": np.arange(2, dtype=np.uint8)[:, None], "none": np.zeros((0, 3)), "large": rng.random((200, 90))}
    savemat(tmp_path / "x.mat", arrays | {"text": "abc", "struct": {"a": 1}}, do_compression=compressed)
    found = read_mat5(tmp_path / "x.mat", arrays)
    assert found.keys() == arrays.keys()
    for name, array in loadmat(tmp_path / "x.mat", variable_names=list(arrays)).items():
        if name in arrays:
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype == arrays[name].dtype


def put_together(order: str) -> bytes:
    """A file with y, double [3, 1] = 1, 2, 10, its values stored as three bytes in the small format."""
    header = b"MATLAB 5.0".ljust(124) + struct.pack(f"{order}H", 0x0100) + (b"IM" if order == "<" else b"MI")
    flags = struct.pack(f"{order}IIII", 6, 8, 6, 0)
    shape = struct.pack(f"{order}IIii", 5, 8, 3, 1)
    small = (1 << 16) | 1, (3 << 16) | 2  # a byte of int8, three bytes of uint8
    name = struct.pack(f"{order}I", small[0]) + b"y\0\0\0"
    values = struct.pack(f"{order}I", small[1]) + bytes([1, 2, 10, 0])
    return header + struct.pack(f"{order}II", 14, 16 + 16 + 8 + 8) + flags + shape + name + values


@pytest.mark.parametrize("order", ["<", ">"])
def test_bytes_put_together_by_hand(tmp_path: Path, order: str) -> None:
    (tmp_path / "y.mat").write_bytes(put_together(order))
    y = read_mat5(tmp_path / "y.mat", ["X", "y"])["y"]
    assert y.tolist() == [[1.0], [2.0], [10.0]]
    assert y.dtype == np.float64


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (124, b"\0\2", "its header is not that of a MATLAB v5 file"),
        (132, struct.pack("<I", 49), "an element of 49 bytes is cut short after 48"),
        (140, struct.pack("<I", 2**32 - 1), "an element of 4,294,967,295 bytes is cut short"),
        (144, b"\x02", "y is a struct; needed: an array of real numbers"),
        (145, b"\x08", "y is complex; needed: an array of real numbers"),
        (160, struct.pack("<i", 2**31 - 1), r"y is \[2147483647, 1\] of uint8 and has 3 bytes"),
        (160, struct.pack("<i", -3), r"an array of the shape \[-3, 1\]"),
        (156, struct.pack("<I", 4), "an array with dimensions of 4 bytes"),
        (176, struct.pack("<I", 99 | 3 << 16), "y has values of the unknown type 99"),
        (176, struct.pack("<I", 2 | 5 << 16), "a small element of 5 bytes"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, where: int, value: bytes, message: str) -> None:
    content = bytearray(put_together("<"))
    content[where : where + len(value)] = value
    (tmp_path / "y.mat").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_mat5(tmp_path / "y.mat", ["y"])


def test_a_type_of_values_that_ends_scipy_in_a_signal(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"X": np.zeros((32, 32, 3, 4), np.uint8)})
    content = bytearray((tmp_path / "x.mat").read_bytes())
    content[185] = 127
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(ValueError, match="X has values of the unknown type 32514"):
        read_mat5(tmp_path / "x.mat", ["X"])


def test_a_compressed_array_must_be_as_long_as_it_says_and_its_sum_right(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"X": np.zeros((1000, 1000))}, do_compression=True)
    content = (tmp_path / "x.mat").read_bytes()
    (tmp_path / "x.mat").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # of zlib's sum of the content
    with pytest.raises(ValueError, match=r"a compressed array cannot be read: .*incorrect data check"):
        read_mat5(tmp_path / "x.mat", ["X"])
    assert read_mat5(tmp_path / "x.mat", ["y"]) == {}  # what nobody asks for is not inflated


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The file with some bytes changed or missing, most of them where headers and tags are, or cut short."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        where = int(rng.integers(len(changed) if rng.random() < 0.3 else min(220, len(changed))))
        value = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(256))]))
        changed[where : where + int(rng.choice([1, 1, 2, 4]))] = bytes([value])
    return bytes(changed[: rng.integers(len(changed))] if rng.random() < 0.1 else changed)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_changed_file_is_read_or_refused_in_one_line(tmp_path: Path, compressed: bool) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path / "x.mat"
    X = rng.integers(0, 256, (32, 32, 3, 4)).astype(np.uint8)
    savemat(path, {"X": X, "y": np.array([[1], [2], [10], [4]], np.uint8)}, do_compression=compressed)
    good = path.read_bytes()
    refused = []
    for _ in range(MUTATIONS // 2):
        path.write_bytes(mutated(good, rng))
        try:
            read_mat(path)
        except ValueError as error:
            refused.append(str(error))
    assert [text for text in refused if not text.startswith(f"{path}: ") or "\n" in text] == []
    assert MUTATIONS / 4 < len(refused) < MUTATIONS / 2  # some changes are of the text in the header, or of pixels
