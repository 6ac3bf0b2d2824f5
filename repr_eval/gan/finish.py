"""Ends a run by its decay: a second run folder that begins at the first one's last checkpoint, its rates falling to 0.

The first stays as it is and can go on at constant rates, to be ended again later (warm-up, stable, decay [Hu et al.
2024, MiniCPM, section 4]; the rates fall in a straight line).
"""

import json
from dataclasses import replace
from pathlib import Path

import torch

from repr_eval.gan.checkpoint import load_checkpoint, save_checkpoint
from repr_eval.gan.run_folder import LOG
from repr_eval.gan.settings import SETTINGS, TrainingSettings, read_history, read_settings
from repr_eval.system.files import write_text

SHARE = 0.2  # of all steps, over which the rates fall, where the recipe does not say


def begin_decay(run: Path, out: Path, steps: int | None = None) -> TrainingSettings:
    """Make `out` the folder of a run that goes on from the last checkpoint of `run` for `steps` steps of decay.

    Returns its settings; where `out` holds such a run already, those that it has. Default: the recipe's share of all
    steps, or `SHARE`. Raises ValueError where there is no checkpoint, or the rates have begun to fall.
    """
    if (out / SETTINGS).exists():
        return read_settings(out / SETTINGS)
    if not (run / SETTINGS).is_file():
        raise ValueError(f"{run}: not the folder of a training run (it has no {SETTINGS})")
    settings, history = read_settings(run / SETTINGS), read_history(run / SETTINGS)
    stored = load_checkpoint(run, torch.device("cpu"), settings.run)
    if stored is None:
        raise ValueError(f"{run}: has no checkpoint to go on from; train it first")
    step, tensors = stored
    if step > settings.decay_from:
        raise ValueError(
            f"{run}: its rates fall since step {settings.decay_from}; train it to its end with `resume=True`"
        )
    share = settings.recipe.decay or SHARE
    steps = max(1, round(step * share / (1 - share))) if steps is None else steps
    total = step + steps
    settings = replace(
        settings,
        max_steps=total,
        epochs=max(settings.epochs, -(-total // settings.steps_per_epoch)),
        decay_steps=steps,
    ).resolved()
    out.mkdir(parents=True, exist_ok=True)
    # The settings come last: a folder that has them has all that they speak of.
    save_checkpoint(out, step, tensors, settings.run)
    if (run / LOG).exists():
        write_text(out / LOG, (run / LOG).read_text())
    write_text(
        out / SETTINGS, json.dumps({"format": 1, "settings": settings.to_json(), "history": history}, indent=2) + "\n"
    )
    return settings
