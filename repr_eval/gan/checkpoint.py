"""Checkpoints of a run: safetensors files named by their step, the last two kept, each complete or absent.

A file holds the SHA-256 of its tensors, its step and its run (the hash of the run's settings), so that one that a disk
has damaged, that has another's name or is another run's is not gone on with. Older files hold that of the tensors.
"""

import errno
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from repr_eval.system.files import replacing

KEEP = 2
# The one key of a file's metadata (several would be written in any order): JSON with "step", "run" and "sha256".
_KEY, _OLDER_KEY = "checkpoint", "sha256"  # the latter's value is the SHA-256 of the tensors
_NAME = re.compile(r"checkpoint-(\d{9})\.safetensors")

logger = logging.getLogger(__name__)


class _Misplaced(ValueError):
    """A whole checkpoint, but not the one that its name and its folder say."""


def _stored(folder: Path) -> list[tuple[int, Path]]:
    """(step, file) of every checkpoint in `folder`, oldest first."""
    matches = [(_NAME.fullmatch(path.name), path) for path in folder.glob("checkpoint-*.safetensors")]
    return sorted((int(match[1]), path) for match, path in matches if match)


def latest_step(folder: Path) -> int:
    """The step of the newest checkpoint in `folder`; 0 where there is none."""
    stored = _stored(folder)
    return stored[-1][0] if stored else 0


def save_checkpoint(folder: Path, step: int, tensors: dict[str, Tensor], run: str = "") -> None:
    """Store the state of `run` (a hash of its settings) after `step` steps; then remove all but the last `KEEP`.

    Raises ValueError, and stores nothing, if a tensor is not finite; OSError if the disk is full.
    """
    tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"step {step}: {name} holds NaN or infinity; nothing was stored over the last checkpoint")
    path = folder / f"checkpoint-{step:09d}.safetensors"
    with replacing(path) as partial:
        try:
            save_file(tensors, partial, _metadata(step, run, tensors))
        except SafetensorError as error:  # how safetensors reports a full disk
            raise OSError(f"{path}: could not be written ({error}); the last checkpoint is kept") from error
    for _, old in _stored(folder)[:-KEEP]:
        old.unlink()


def load_checkpoint(folder: Path, device: torch.device, run: str = "") -> tuple[int, dict[str, Tensor]] | None:
    """The newest checkpoint of `folder` that is whole, as (step, tensors), or None where there is none.

    One of another step than its name's, or of another run, and a damaged one (a failing disk: an interrupted write
    leaves none) fall back to the one before it and are put aside, so that they are not counted among the last `KEEP`;
    if none can be gone on with, ValueError names the newest.
    """
    stored = _stored(folder)
    refused: list[tuple[Path, str]] = []
    for step, path in reversed(stored):
        try:
            tensors = _read(path, step, run)
        except _Misplaced as error:
            refused.append((path, str(error)))
            continue
        except (SafetensorError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EIO:
                raise
            refused.append((path, "damaged"))
            continue
        for bad, why in refused:
            bad.rename(bad.with_name(f"damaged-{bad.name}"))
            logger.warning("%s: %s; put aside as damaged-%s, going on from step %d", bad, why, bad.name, step)
        return step, {name: tensor.to(device) for name, tensor in tensors.items()}
    if stored:
        path, why = refused[0]
        older = ", and no older checkpoint beside it can be gone on with" if len(refused) > 1 else ""
        if all(why == "damaged" for _, why in refused):
            older = ", and so is every older checkpoint beside it"
        raise ValueError(f"{path}: {why}{older}; start anew in another `out`")
    return None


def _read(path: Path, step: int, run: str) -> dict[str, Tensor]:
    """The tensors of the file; _Misplaced where it is not of that step and that run."""
    if not path.is_file():
        raise SafetensorError(f"{path}: not a file")  # a FIFO would be waited for, a device read for ever
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    if metadata == {_OLDER_KEY: _sha256(tensors)}:
        return tensors
    try:
        told = json.loads(metadata[_KEY])
        its_step, its_run = told["step"], told["run"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SafetensorError(f"{path}: does not say what it is of") from error
    if metadata != _metadata(its_step, its_run, tensors):
        raise SafetensorError(f"{path}: its tensors are not those that were stored")
    if its_step != step:
        raise _Misplaced(f"is of step {its_step}, not of the step that it is named for")
    if its_run != run:
        raise _Misplaced("is of a run with other settings")
    return tensors


def _metadata(step: int, run: str, tensors: dict[str, Tensor]) -> dict[str, str]:
    """What the file of a checkpoint says of it."""
    digest = hashlib.sha256(f"{step} {run} {_sha256(tensors)}".encode()).hexdigest()
    return {_KEY: json.dumps({"step": step, "run": run, "sha256": digest}, sort_keys=True)}


def _sha256(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of tensors on the CPU."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def check_checkpoints(folder: Path, run: str = "") -> Iterator[tuple[Path, Callable[[], None]]]:
    """Every checkpoint of `folder`, and what raises a ValueError unless it is whole, of its step and of `run`."""
    for step, path in _stored(folder):
        yield path, partial(_check, path, step, run)


def _check(path: Path, step: int, run: str) -> None:
    try:
        _read(path, step, run)
    except (SafetensorError, _Misplaced) as error:
        raise ValueError(f"{path}: {'' if isinstance(error, _Misplaced) else 'damaged: '}{error}") from error
