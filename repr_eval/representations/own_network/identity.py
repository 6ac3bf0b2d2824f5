"""What the content of a network is known by: hashes of its weights and of its source files."""

import hashlib
import inspect
import linecache
import re
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repr_eval.representations.own_network.base import Function


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 over the structure as printed, and names, types, shapes and bytes of all parameters and buffers."""
    printed = re.sub(r" at 0x[0-9a-f]+", "", str(network))  # an address differs from run to run
    digest = hashlib.sha256(printed.encode())
    state = network.state_dict() | dict(network.named_buffers(remove_duplicate=False))  # also those not saved
    for name, value in sorted(state.items()):
        if not isinstance(value, Tensor):
            digest.update(f"\n{name} {value!r}".encode())
            continue
        digest.update(f"\n{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def sources_sha256(made: nn.Module | Function, things: tuple[object, ...]) -> str | None:
    """SHA-256 over the source files of `things`, `made` and the classes a network consists of; None if there are none.

    Python's and torch's own classes are left out. Not covered: what those files import or read. The source file of what
    a notebook defines is its cell.
    """
    parts: Iterable[object] = made.modules() if isinstance(made, nn.Module) else (made,)
    classes = {c for part in parts for c in type(part).__mro__}
    own = [c for c in classes if c.__module__.partition(".")[0] not in {"torch", *sys.stdlib_module_names}]
    files = {_source(thing) for thing in (*things, made, *own)}
    contents = sorted(hashlib.sha256(_content(file)).digest() for file in files if file)
    return hashlib.sha256(b"".join(contents)).hexdigest() if contents else None


def _content(file: str) -> bytes:
    path = Path(file)
    return path.read_bytes() if path.is_file() else "".join(linecache.getlines(file)).encode()


def _source(thing: Any) -> str | None:
    while isinstance(thing, partial):
        thing = thing.func
    try:
        return inspect.getsourcefile(inspect.unwrap(thing))
    except (TypeError, OSError):
        return None
