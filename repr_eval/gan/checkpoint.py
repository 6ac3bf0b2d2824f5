"""Checkpoints of a run: safetensors files named by their step, the last two kept, each complete or absent.

A file holds the SHA-256 of its tensors, so that one that a disk has damaged is not gone on with.
"""

import errno
import hashlib
import logging
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from repr_eval.system.files import replacing

KEEP = 2
_NAME = re.compile(r"checkpoint-(\d{9})\.safetensors")

logger = logging.getLogger(__name__)


def _stored(folder: Path) -> list[tuple[int, Path]]:
    """(step, file) of every checkpoint in `folder`, oldest first."""
    matches = [(_NAME.fullmatch(path.name), path) for path in folder.glob("checkpoint-*.safetensors")]
    return sorted((int(match[1]), path) for match, path in matches if match)


def latest_step(folder: Path) -> int:
    """The step of the newest checkpoint in `folder`; 0 where there is none."""
    stored = _stored(folder)
    return stored[-1][0] if stored else 0


def save_checkpoint(folder: Path, step: int, tensors: dict[str, Tensor]) -> None:
    """Store the state after `step` steps; only then remove what is older than the last `KEEP`.

    Raises ValueError, and stores nothing, if a tensor is not finite; OSError if the disk is full.
    """
    tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"step {step}: {name} holds NaN or infinity; nothing was stored over the last checkpoint")
    path = folder / f"checkpoint-{step:09d}.safetensors"
    with replacing(path) as partial:
        try:
            save_file(tensors, partial, {"sha256": _sha256(tensors)})
        except SafetensorError as error:  # how safetensors reports a full disk
            raise OSError(f"{path}: could not be written ({error}); the last checkpoint is kept") from error
    for _, old in _stored(folder)[:-KEEP]:
        old.unlink()


def load_checkpoint(folder: Path, device: torch.device) -> tuple[int, dict[str, Tensor]] | None:
    """The newest checkpoint of `folder` that is whole, as (step, tensors), or None where there is none.

    A damaged newest file (a failing disk: an interrupted write leaves none) falls back to the one before it and is put
    aside, so that it is not counted among the last `KEEP`; if no file can be read, ValueError names the newest.
    """
    stored = _stored(folder)
    damaged: list[Path] = []
    for step, path in reversed(stored):
        try:
            tensors = _read(path)
        except (SafetensorError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EIO:
                raise
            damaged.append(path)
            continue
        for bad in damaged:
            bad.rename(bad.with_name(f"damaged-{bad.name}"))
            logger.warning("%s: damaged; put aside as damaged-%s, going on from step %d", bad, bad.name, step)
        return step, {name: tensor.to(device) for name, tensor in tensors.items()}
    if stored:
        raise ValueError(
            f"{stored[-1][1]}: damaged, and so is every older checkpoint beside it; start anew in another `out`"
        )
    return None


def _read(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        recorded = (file.metadata() or {}).get("sha256")
    if recorded != _sha256(tensors):
        raise SafetensorError(f"{path}: its tensors are not those that were stored")
    return tensors


def _sha256(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of tensors on the CPU."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
