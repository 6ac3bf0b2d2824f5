"""A small training run that is killed (SIGKILL) at chosen moments, again and again; test_resume.py runs this file.

Every life is a forked child that goes on with the run in FOLDER until its fault: the n-th time that something happens.
After each, one line of JSON: the steps of the checkpoints that can be read.

    python dying_training.py FOLDER '[["fsync", 3], ["replace", 1]]'
"""

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from repr_eval.gan import checkpoint, run_folder
from repr_eval.gan.game import DCGAN
from repr_eval.gan.recipes import PAPER
from repr_eval.gan.settings import TrainingSettings
from repr_eval.gan.training import TrainingResult, train

N_IMAGES = 43  # five batches of 8 an epoch, three images left over
SMALL_BATCHES = replace(PAPER, batch_size=8)
SETTINGS = TrainingSettings(
    "noise", "0", N_IMAGES, arch="dcgan32-svhn", width=0.03, epochs=3, z_dim=5, seed=1, recipe=SMALL_BATCHES
)
STEPS = 15
CHECKPOINT_EVERY = 2  # and at the end of every epoch: 2, 4, 5, 6, 8, 10, 12, 14, 15


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (N_IMAGES, 32, 32, 3), dtype=np.uint8)


def go_on(folder: Path, settings: TrainingSettings = SETTINGS, **options: Any) -> TrainingResult:
    """Start the run in `folder`, or go on with it."""
    everything: dict[str, Any] = {"device": torch.device("cpu"), "resume": True}
    everything |= {"checkpoint_every": CHECKPOINT_EVERY} | options
    return train(images(), settings, folder, **everything)


def after(steps: int) -> Callable[[], bool]:
    """A `stop` that says so once it has been asked `steps` times."""
    asked = iter(range(1, STEPS + 1))
    return lambda: next(asked) == steps


def readable_checkpoints(folder: Path) -> list[int]:
    steps = []
    for path in sorted(folder.glob("checkpoint-*.safetensors")):
        try:
            load_file(path)
        except SafetensorError:
            continue
        steps.append(int(path.stem.removeprefix("checkpoint-")))
    return steps


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def nth_time(n: int, call: Callable[..., Any], fatal: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, but `fatal` and then death the n-th time."""
    times = 0

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal times
        times += 1
        if times == n:
            fatal(*args, **options)
            die()
        return call(*args, **options)

    return counted


def half_a_checkpoint(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    content = save(tensors, metadata)
    path.write_bytes(content[: len(content) // 2])


def start_of_an_entry(file: FileIO, content: bytes) -> None:
    file.write(b"1")  # of "15,120,...": taken for a whole line, it would be of an early step


def nothing(*_: Any, **__: Any) -> None: ...


def arm(fault: str, n: int) -> None:
    """Prepare this process to die the n-th time that ..."""
    if fault == "fsync":  # ... a file is complete under its temporary name, or a folder has its new name
        os.fsync = nth_time(n, os.fsync, nothing)
    elif fault == "replace":  # ... a file has just got its name
        os.replace = nth_time(n, os.replace, os.replace)
    elif fault == "save":  # ... half a checkpoint is written
        checkpoint.save_file = nth_time(n, checkpoint.save_file, half_a_checkpoint)  # type: ignore[attr-defined]
    elif fault == "update":  # ... an optimiser would step: the first and every other time D's, else G's
        DCGAN._update = nth_time(n, DCGAN._update, nothing)  # type: ignore[method-assign]
    elif fault == "log":  # ... the start of an entry of the log is written; nothing else is appended to
        run_folder.write_all = nth_time(n, run_folder.write_all, start_of_an_entry)  # type: ignore[attr-defined]
    else:
        raise ValueError(fault)


def main(folder: Path, faults: list[tuple[str, int]]) -> None:
    importlib.import_module("torch._dynamo")  # an optimiser's first step would import it, in every life
    for fault, n in faults:
        child = os.fork()
        if child == 0:
            try:
                arm(fault, n)
                go_on(folder)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            sys.exit(f"{fault} {n}: the run was not killed")
        print(json.dumps(readable_checkpoints(folder)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
