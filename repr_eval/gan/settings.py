"""The settings of a training run: all that, with the images, decides its weights."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from repr_eval.gan.architectures import architecture_named, scaled
from repr_eval.gan.augmentation import Augmentation
from repr_eval.gan.recipes import PAPER, Recipe
from repr_eval.system.field_types import check_types
from repr_eval.system.files import require_regular
from repr_eval.system.json_text import read_object

SETTINGS = "settings.json"  # in the folder of a run
# What may differ when a run goes on: how long it lasts.
EXTENDABLE = ("epochs", "max_steps")


@dataclass(frozen=True)
class TrainingSettings:
    """The recipe, and what it is applied to. The default recipe is the paper's (section 4).

    `epochs` of 30 is the epoch of the released ImageNet weights. `z_dim` and `z` None mean the architecture's own.
    """

    data: str  # what it is trained on, in words
    data_sha256: str
    n_images: int
    arch: str = "dcgan32"
    width: float = 1.0
    epochs: int = 30
    max_steps: int | None = None
    z_dim: int | None = None
    z: str | None = None
    seed: int = 0
    precision: str = "fp32"
    ranks: int = 1  # processes that share each batch, batch norm seeing a share at a time
    started_from: dict[str, Any] | None = None  # of `repr_eval.gan.start`: what its first weights were, if not random
    decay_steps: int | None = None  # at the end, over which the rates fall to 0; None for the recipe's share
    recipe: Recipe = PAPER

    def resolved(self) -> "TrainingSettings":
        """These settings with the architecture's defaults filled in, checked."""
        arch = architecture_named(self.arch)
        settings = replace(
            self,
            z_dim=arch.z_dim if self.z_dim is None else self.z_dim,
            z=arch.z if self.z is None else self.z,
        )
        settings._check()
        return settings

    def _check(self) -> None:
        scaled(1, self.width)
        self.recipe.check()
        for name in ("epochs", "z_dim", "ranks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is less than 1")
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"max_steps {self.max_steps} is less than 1")
        if self.decay_steps is not None and not 0 <= self.decay_steps <= self.total_steps:
            raise ValueError(f"decay_steps {self.decay_steps} is not in 0 to {self.total_steps}, the run's steps")
        if self.seed < 0:
            raise ValueError(f"seed {self.seed} is negative")
        if self.z not in ("uniform", "normal"):
            raise ValueError(f"unknown noise {self.z!r}; choose uniform or normal")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"unknown precision {self.precision!r}; choose fp32 or bf16")
        if self.n_images < self.batch_size:
            raise ValueError(f"{self.data}: {self.n_images} images are fewer than one batch of {self.batch_size}")

    @property
    def batch_size(self) -> int:
        """Real images in a step."""
        return self.recipe.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch; what is left over is not used in that epoch."""
        return self.n_images // self.batch_size

    @property
    def total_steps(self) -> int:
        steps = self.epochs * self.steps_per_epoch
        return steps if self.max_steps is None else min(steps, self.max_steps)

    @property
    def decay_from(self) -> int:
        """The step before which the rates are constant, but for their warm-up; the last step where they never fall."""
        share = round(self.recipe.decay * self.total_steps)
        return self.total_steps - (share if self.decay_steps is None else self.decay_steps)

    def rate_factor(self, step: int) -> float:
        """What both rates are multiplied by in `step`, from 0: up to 1 over the warm-up, down to 0 over the decay."""
        rising = min(1.0, (step + 1) / (self.recipe.warmup or 1))
        if step < self.decay_from or self.decay_from == self.total_steps:
            return rising
        return rising * max(0.0, (self.total_steps - step) / (self.total_steps - self.decay_from))

    @property
    def images_before(self) -> int:
        """Images that D had seen before the run's first step."""
        return int(self.started_from["discriminator"]["images_seen"]) if self.started_from else 0

    def to_json(self) -> dict[str, Any]:
        """One flat dictionary: the settings, the recipe's choices among them, its name as "recipe"."""
        choices = asdict(self.recipe) | {"projection": list(self.recipe.projection)}
        return asdict(self) | {"recipe": choices.pop("name")} | choices

    @property
    def run(self) -> str:
        """The SHA-256 of all that does not change when a run goes on: what its checkpoints are known by.

        Choices that are the paper's are left out, so that the hash stays what it is when a later version adds one.
        """
        told = {name: _plain(value) for name, value in self.to_json().items() if name not in EXTENDABLE}
        usual = {name: _plain(value) for name, value in TrainingSettings("", "", 0).to_json().items()}
        always = ("data", "data_sha256", "n_images", "recipe")
        chosen = {name: value for name, value in told.items() if name in always or value != usual[name]}
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


_UNCHANGED = asdict(Augmentation())


def _plain(value: Any) -> Any:
    """A setting's value with numbers that are equal written alike, and of views what they change."""
    if isinstance(value, dict) and set(value) <= set(_UNCHANGED):
        return {name: _plain(choice) for name, choice in value.items() if choice != _UNCHANGED[name]}
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, bool | float) and value == value // 1 else value


def settings_from_json(stored: dict[str, Any]) -> TrainingSettings:
    """Undo `to_json`. A choice that is not named is the paper's: runs older than that choice are.

    ValueError or TypeError where a value is of another type, or none of the settings'.
    """
    stored = dict(stored)
    choices = {f.name: stored.pop(f.name) for f in fields(Recipe) if f.name in stored}
    for name in ("augmentation", "views", "small_views"):
        if choices.get(name):
            choices[name] = Augmentation(**choices[name])
            check_types(choices[name])
    if "projection" in choices:
        choices["projection"] = tuple(choices["projection"])
    recipe = replace(PAPER, **choices, name=stored.pop("recipe", PAPER.name))
    settings = TrainingSettings(**stored, recipe=recipe)
    check_types(recipe)
    check_types(settings)
    start = settings.started_from
    if start is not None and type(start["discriminator"]["images_seen"]) is not int:
        raise ValueError(f"started_from is {start!r:.60}")
    return settings


def read_settings(path: Path) -> TrainingSettings:
    """The settings stored at `path` (a run's settings.json)."""
    require_regular(path)
    try:
        return settings_from_json(read_object(path)["settings"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not the settings of a training run ({error})") from error


def read_history(path: Path) -> list[dict[str, Any]]:
    """The stretches (`gan.run_history`) of the run whose settings are stored at `path`.

    ValueError where there is something else in their place.
    """
    try:
        history = read_object(path).get("history", [])
        wrong = [stage for stage in history if not _is_stretch(stage)]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: has no history of a training run ({error})") from error
    if wrong:
        raise ValueError(f"{path}: has no history of a training run ({wrong[0]!r:.60})")
    return list(history)


def _is_stretch(stage: Any) -> bool:
    """Whether `stage` has what a run that goes on compares itself with (`gan.run_history.changes`)."""
    return (
        isinstance(stage, dict)
        and all(type(stage.get(name)) is int for name in ("from_step", "threads"))
        and isinstance(stage.get("device"), str)
        and isinstance(stage.get("versions"), dict)
        and isinstance(stage["versions"].get("torch"), str)
    )


def refuse_changes(old: TrainingSettings, new: TrainingSettings, where: Path) -> None:
    """Raise a ValueError that names every setting in which `new` differs from the run stored at `where`."""
    before, after = old.to_json(), new.to_json()
    changed = [
        f"{name} {before[name]} -> {after[name]}"
        for name in after
        if name not in EXTENDABLE and before[name] != after[name]
    ]
    if changed:
        raise ValueError(
            f"{where}: holds a run with other settings ({'; '.join(changed)}); "
            "resume it with its own or choose another `out`"
        )
