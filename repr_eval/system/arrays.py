"""Arrays in files: reading any, and those of whole numbers that are named by their hash (index lists of
draws, predictions); and .npy files whose type and shape are known beforehand, so that no damaged header
is believed or parsed.
"""

import hashlib
import io
import logging
import os
import zipfile
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from repr_eval.system.files import open_regular, replacing, require_regular
from repr_eval.system.memory import memory_bytes

logger = logging.getLogger(__name__)


def digest_of(lists: dict[str, np.ndarray]) -> str:
    """SHA-256 over the names and values of index lists."""
    digest = hashlib.sha256()
    for name, indices in sorted(lists.items()):
        digest.update(f"{name}{list(indices.shape)}".encode())
        digest.update(np.ascontiguousarray(indices, dtype="<i8").tobytes())
    return digest.hexdigest()


def save_lists(folder: Path, lists: dict[str, np.ndarray]) -> str:
    """Write the lists to `folder`/DIGEST.npz, unless they are there, and return their digest.

    A file of that name with another content (a failing disk) is written anew, with a warning.
    """
    digest = digest_of(lists)
    path = folder / f"{digest[:16]}.npz"
    there = os.path.lexists(path)
    if there and not (whole := _holds(path, digest)):
        logger.warning("%s: damaged; written anew", path)
    if not there or not whole:
        with replacing(path) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, **lists)  # type: ignore[arg-type]
    return digest


def _holds(path: Path, digest: str) -> bool:
    """Whether `path` is an archive of arrays with that digest."""
    try:
        arrays = unpacked(path)
    except (OSError, ValueError):
        return False
    return all(array.dtype.kind in "iub" for array in arrays.values()) and digest_of(arrays) == digest


def npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """What a .npy file of such an array, in C order, begins with."""
    file = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)
    return file.getvalue()


def mapped_npy(file: FileIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.memmap[Any, Any] | None:
    """The array in an open .npy file, memory-mapped as the file is opened; None unless it is of that type and shape.

    The header is compared, not parsed, and so is the file's length.
    """
    header, size = npy_header(dtype, shape), int(np.prod(shape)) * dtype.itemsize
    if os.fstat(file.fileno()).st_size != len(header) + size or os.pread(file.fileno(), len(header), 0) != header:
        return None
    if not size:
        return None  # nothing can be mapped
    return np.memmap(file, dtype, "r+" if file.writable() else "r", len(header), shape)


def mapped(path: Path) -> np.memmap:
    """The array in the .npy file `path`, memory-mapped read-only.

    ValueError on anything but a whole array of numbers or text.
    """
    require_regular(path)
    try:
        array = np.lib.format.open_memmap(path, "r")
    except (OSError, MemoryError):
        raise
    except Exception as error:  # numpy's readers raise nearly anything on broken headers
        raise ValueError(_said(error)) from error
    if array.dtype.hasobject or min(array.shape, default=0) < 0:
        raise ValueError(f"is {array.dtype} {list(array.shape)}")
    return array


def unpacked(path: Path) -> dict[str, np.ndarray]:
    """The arrays in the .npz file `path`.

    ValueError on anything else, and on what would fill the memory: what they take is in the
    archive's list, which is looked at before anything is decoded.
    """
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                needed = sum(member.file_size for member in archive.infolist())
            if needed > memory_bytes() / 2:
                raise ValueError(f"its arrays take {needed / 1e9:.1f} GB, this machine has {memory_bytes() / 1e9:.1f}")
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            for name, array in arrays.items():
                if not isinstance(array, np.ndarray):  # bytes, of a member that does not begin as a .npy file does
                    raise ValueError(f"{name} is no array")
            return arrays
        except (OSError, MemoryError):
            raise
        except Exception as error:  # zipfile, zlib and numpy raise nearly anything on broken bytes
            raise ValueError(_said(error)) from error


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
