"""Weights that packages load from torch's cache: the file's hash is checked, and nothing but tensors is unpickled.

torch checks a hash only when it fetches a file, and packages ask for whole pickles. torch, torchvision and timm call
`torch.load` by that name: it is another function while one of their networks is built.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from repr_eval.system.files import sha256_of_file

# As torch.hub's file names end, the SHA-256 begins. Eight digits that are a day of this century are none.
_HASHED = re.compile(r"-(?!20\d\d[01]\d[0-3]\d\.)([0-9a-f]{8,64})\.[^.]*$")


@contextmanager
def tensors_alone() -> Iterator[None]:
    """Within the block, `torch.load` gives tensors and plain values only, of files whose hash is that of their name.

    It raises ValueError in one line on another file, before anything of it is unpickled.
    """
    load = torch.load

    def checked(f: Any, *args: Any, **kwargs: Any) -> Any:
        name = os.fspath(f) if isinstance(f, str | os.PathLike) else ""
        if name:
            check_hash(Path(os.fsdecode(name)))
        try:
            return load(f, *args[:1], **kwargs | {"weights_only": True})
        except UnpicklingError as error:
            what = name or "what it loads"
            raise ValueError(f"{what}: holds more than tensors, or is damaged; pickles are never opened") from error

    torch.load = checked
    try:
        yield
    finally:
        torch.load = load


def check_hash(path: Path) -> None:
    """ValueError where the file's name ends in the first digits of a SHA-256 that is not the file's."""
    if not (hashed := _HASHED.search(path.name)):
        return
    digest = sha256_of_file(path)
    if not digest.startswith(hashed[1]):
        raise ValueError(f"{path}: its SHA-256 is {digest[:8]}..., not {hashed[1]} as its name says; remove it")
