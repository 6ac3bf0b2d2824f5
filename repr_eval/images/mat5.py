"""Numeric arrays of a MATLAB level 5 file (.mat), read with every size checked before it is believed.

The format: "MAT-File Format", MathWorks (R2019a), "Level 5 MAT-File Format". A file is a header of 128 bytes and then
data elements: a tag (type and number of bytes) and the data, padded to 8 bytes. An element is an array (miMATRIX) or a
zlib stream with one in it (miCOMPRESSED). An array's data are elements in turn: its flags, dimensions, name and values.
"""

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

# Types of data, as in NumPy; and classes of arrays, which may store their values as a smaller type.
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_OTHERS = {1: "a cell array", 2: "a struct", 3: "an object", 4: "text", 5: "a sparse array"}
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_HEADER, _TAG = 128, 8
_COMPLEX = 0x800  # among an array's flags
_BEGINNING = 4096  # of an array: more than its flags, up to 32 dimensions and a name take

Order = Literal["<", ">"]


def read_mat5(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Those of the arrays `names` that the file has, each of its class's type and in its own shape, read-only or not.

    ValueError that does not name the file where it is no whole level 5 file, or one of these is no array of real
    numbers. OSError where it cannot be read.
    """
    found: dict[str, np.ndarray] = {}
    with open(path, "rb") as file:
        order = _byte_order(file.read(_HEADER))
        content = memoryview(file.read())
    for kind, data in _elements(content, order):
        if kind in (_MATRIX, _COMPRESSED):
            _read_array(kind, data, order, names, found)
    return found


def _byte_order(header: bytes) -> Order:
    mark, version = header[126:128], header[124:126]
    for order, its_mark in (("<", b"IM"), (">", b"MI")):
        if mark == its_mark and struct.unpack(f"{order}H", version)[0] == 0x0100:
            return order  # type: ignore[return-value]
    raise ValueError("its header is not that of a MATLAB v5 file")


def _elements(content: memoryview, order: Order) -> Iterator[tuple[int, memoryview]]:
    """The type and the data of each element after the file's header."""
    at = 0
    while at < len(content):
        kind, size = _tag(content[at : at + _TAG], order)
        at += _TAG
        if size > len(content) - at:
            raise ValueError(f"an element of {size:,} bytes is cut short after {len(content) - at:,}")
        yield kind, content[at : at + size]
        at += size if kind == _COMPRESSED else _padded(size)


def _read_array(
    kind: int, data: memoryview, order: Order, names: Collection[str], found: dict[str, np.ndarray]
) -> None:
    """Add the array to `found`, if its name is among `names`. Of others, no more than the beginning is inflated."""
    beginning = bytes(data[:_BEGINNING])
    if kind == _COMPRESSED:
        beginning = _inflated(data, _TAG + _BEGINNING)
        kind, size = _tag(beginning, order)
        beginning = beginning[_TAG:]
        if kind != _MATRIX:
            return
        array = _array_of(beginning, order)
        if array.name in names:
            whole = _inflated(data, _TAG + size, whole=True)
            found[array.name] = array.values(memoryview(whole)[_TAG:], order)
        return
    array = _array_of(beginning, order)
    if array.name in names:
        found[array.name] = array.values(data, order)


def _inflated(data: memoryview, size: int, whole: bool = False) -> bytes:
    """The first `size` bytes of a zlib stream; `whole`: all of it, which must be so many."""
    stream = zlib.decompressobj()
    try:
        made = stream.decompress(data, size)
        if whole and (len(made) != size or stream.decompress(stream.unconsumed_tail, 1) or not stream.eof):
            raise ValueError(f"a compressed array is not of the {size:,} bytes that it says")
    except zlib.error as error:
        raise ValueError(f"a compressed array cannot be read: {error}") from error
    return made


@dataclass(frozen=True)
class _Array:
    """What the beginning of an array says."""

    name: str
    kind: int  # its class
    complex: bool
    shape: tuple[int, ...]
    values_at: int  # where the element of its values begins

    def values(self, data: memoryview, order: Order) -> np.ndarray:
        """The values, which `data` (the whole array's) has; ValueError unless they are as many as the shape says."""
        if self.kind not in _CLASSES or self.complex:
            what = "complex" if self.kind in _CLASSES else _OTHERS.get(self.kind, f"of class {self.kind}")
            raise ValueError(f"{self.name} is {what}; needed: an array of real numbers")
        kind, values, _ = _sub_element(data, self.values_at, order)
        if kind not in _TYPES:
            raise ValueError(f"{self.name} has values of the unknown type {kind}")
        dtype, count = np.dtype(order + _TYPES[kind]), math.prod(self.shape)
        if len(values) != count * dtype.itemsize:
            raise ValueError(f"{self.name} is {list(self.shape)} of {dtype} and has {len(values):,} bytes")
        stored = np.frombuffer(values, dtype)
        with np.errstate(invalid="ignore", over="ignore"):
            return stored.astype(_CLASSES[self.kind], copy=False).reshape(self.shape, order="F")


def _array_of(beginning: bytes, order: Order) -> _Array:
    """From the first bytes of an array. ValueError where its flags, dimensions or name are not whole."""
    data = memoryview(beginning)
    flags_type, flags, at = _sub_element(data, 0, order)
    shape_type, shape, at = _sub_element(data, at, order)
    name_type, name, at = _sub_element(data, at, order)
    if (flags_type, len(flags)) != (_UINT32, 8) or (shape_type, name_type) != (_INT32, _INT8):
        raise ValueError("an array without flags, dimensions or a name")
    word = struct.unpack(f"{order}I", flags[:4])[0]
    if len(shape) % 4 or not 8 <= len(shape) <= 4 * 32:
        raise ValueError(f"an array with dimensions of {len(shape)} bytes")
    sides = struct.unpack(f"{order}{len(shape) // 4}i", shape)
    if min(sides) < 0:
        raise ValueError(f"an array of the shape {list(sides)}")
    return _Array(bytes(name).decode("latin-1"), word & 0xFF, bool(word & _COMPLEX), sides, at)


def _sub_element(data: memoryview, at: int, order: Order) -> tuple[int, memoryview, int]:
    """The type and data of the element at `at`, and where the next one is."""
    word = _tag(data[at : at + _TAG], order)[0]
    if word >> 16:  # the small format: at most 4 bytes, in the tag itself
        kind, size, start = word & 0xFFFF, word >> 16, at + 4
        if size > 4:
            raise ValueError(f"a small element of {size} bytes")
        after = at + _TAG
    else:
        kind, size = _tag(data[at : at + _TAG], order)
        start = at + _TAG
        after = start + _padded(size)
    if size > len(data) - start:
        raise ValueError(f"an element of {size:,} bytes is cut short after {max(0, len(data) - start):,}")
    return kind, data[start : start + size], after


def _tag(data: bytes | memoryview, order: Order) -> tuple[int, int]:
    if len(data) < _TAG:
        raise ValueError("an element's tag is cut short")
    kind, size = struct.unpack(f"{order}II", data[:_TAG])
    return kind, size


def _padded(size: int) -> int:
    return -(-size // 8) * 8
