"""Networks that files hold: `torch.export` and TorchScript. Pickles are refused unread, on their own or inside.

Both are programs of torch's operators, and run with the user's rights. What torch would evaluate as Python is refused
in `torch.export` files (`exported`). TorchScript is compiled by torch and reaches all of its operators: such a program
can read and write files (`torch.from_file`), fill the memory and run for ever.
"""

import hashlib
import io
import logging
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export.passes import move_to_device_pass

from repr_eval.representations.own_network.base import NamedNetwork, telling
from repr_eval.representations.own_network.exported import check_program
from repr_eval.system.json_text import from_json

# What a file's records may take, over what torch writes: it compresses code alone, and text not twentyfold.
MOST_TIMES, MOST_BYTES = 20, 64 << 20
FILES = (".pt2", ".pt", ".pth", ".ts")


def from_file(path: Path, device: torch.device) -> NamedNetwork:
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    kind = _kind_of(path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        with telling(f"{path}: not a {kind} file that this torch can load"), _quietly():
            made: nn.Module
            if kind == "torchscript":
                made = torch.jit.load(path, map_location=device)
            else:
                file.seek(0)
                made = move_to_device_pass(torch.export.load(file), device).module()
    return NamedNetwork(kind=kind, name=path.stem, made=made, trained_on="not said", file_sha256=digest)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without torch.export's log, where it shows the traceback of an error that it raises as well."""
    logger = logging.getLogger("torch.export")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def _kind_of(path: Path) -> str:
    """Which kind of program the file is; ValueError if it is none, or holds what would be unpickled."""
    pickle = "is a pickle (torch.save), which repr-eval never opens"
    instead = "save the network with torch.export.save, or name code that builds it (file.py:name)"
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            pickled = file.read(1) == b"\x80"
        what = pickle if pickled else "no file of torch's, or cut short"
        raise ValueError(f"{path}: {what}; {instead}")
    with telling(f"{path}: cannot be read"):
        opened = zipfile.ZipFile(path)
    with opened as archive:
        _check_size(archive, path, path.stat().st_size)
        records = {name.partition("/")[2] for name in archive.namelist()}
        with telling(f"{path}: cannot be read"):
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"{path}: is damaged ({damaged} is not what was stored); {instead}")
        if "constants.pkl" in records:
            return "torchscript"  # read in C++, as data of TorchScript's own types
        if "archive_format" not in records:
            what = pickle if "data.pkl" in records else "holds no network"
            raise ValueError(f"{path}: {what}; {instead}")
        with telling(f"{path}: its records cannot be read"):
            unsafe = _unpickled_record(archive)
        with telling(f"{path}: no program that repr-eval reads"):
            for name in archive.namelist():
                if "/models/" in name:
                    check_program(archive.read(name))
    if unsafe:
        raise ValueError(f"{path}: {unsafe} in it is a pickle or compiled code, which repr-eval never opens")
    return "torch.export"


def _check_size(archive: zipfile.ZipFile, what: object, size: int) -> None:
    """ValueError where the records, unpacked, take more than any that torch puts into `size` bytes."""
    needed = sum(record.file_size for record in archive.infolist())
    if needed > size * MOST_TIMES + MOST_BYTES:
        raise ValueError(f"{what}: its records take {needed / 1e6:,.0f} MB unpacked, more than torch's do")


def _check_tensor(payload: dict[str, Any], stored: int) -> None:
    """ValueError where a tensor has more values than its record has bytes: torch would make them up."""
    sizes = [size.get("as_int") for size in payload["tensor_meta"]["sizes"]]
    if not all(type(size) is int and size >= 0 for size in sizes) or math.prod(sizes) > stored:
        raise ValueError(f"{payload['path_name']:.60} is to be {sizes!r:.60} and holds {stored:,} bytes")


def _unpickled_record(archive: zipfile.ZipFile) -> str | None:
    """A record of a torch.export file for which `torch.export.load` unpickles objects of any kind; None if none.

    It does so for weights and constants that say `use_pickle` or are objects, for `.pt` records that hold more than
    tensors and plain values, and for all of the format before torch 2.8, whose records lie in no folder.
    """
    for name in archive.namelist():
        _, _, record = name.partition("/")
        if not record or record.startswith("data/aotinductor/"):
            return name
        if record.endswith("_config.json"):
            folder = name.rpartition("/")[0]
            for payload in from_json(archive.read(name))["config"].values():
                if payload["use_pickle"] or not payload["path_name"].startswith(("weight_", "tensor_")):
                    return str(payload["path_name"])
                _check_tensor(payload, archive.getinfo(f"{folder}/{payload['path_name']}").file_size)
        elif record.endswith(".pt") and archive.getinfo(name).file_size and not _is_plain(archive.read(name)):
            return name
    return None


def _is_plain(pickled: bytes) -> bool:
    if zipfile.is_zipfile(io.BytesIO(pickled)):
        with zipfile.ZipFile(io.BytesIO(pickled)) as archive:
            _check_size(archive, "a record", len(pickled))
    try:
        torch.load(io.BytesIO(pickled), weights_only=True, map_location="cpu")
    except Exception:  # torch.export.load unpickles everything after an error of whatever kind
        return False
    return True
