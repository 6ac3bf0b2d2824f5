"""The settings of a training run: all that, with the images, decides its weights."""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from repr_eval.gan.networks import architecture_named, scaled

# What may differ when a run goes on: how long it lasts.
EXTENDABLE = ("epochs", "max_steps")


@dataclass(frozen=True)
class TrainingSettings:
    """Defaults are the paper's (section 4): Adam at 2e-4 with beta1 0.5, batches of 128, no augmentation.

    `epochs` of 30 is the epoch of the released ImageNet weights. `z_dim` and `z` None mean the architecture's own.
    """

    data: str  # what it is trained on, in words
    data_sha256: str
    n_images: int
    arch: str = "dcgan32"
    width: float = 1.0
    epochs: int = 30
    max_steps: int | None = None
    batch_size: int = 128
    lr: float = 2e-4
    beta1: float = 0.5
    z_dim: int | None = None
    z: str | None = None
    seed: int = 0
    precision: str = "fp32"

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
        for name in ("epochs", "batch_size", "z_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is less than 1")
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"max_steps {self.max_steps} is less than 1")
        if self.batch_size < 2:
            raise ValueError("batch_size 1: batch norm needs at least 2")
        if not self.lr > 0:
            raise ValueError(f"lr {self.lr} is not above 0")
        if not 0 <= self.beta1 < 1:
            raise ValueError(f"beta1 {self.beta1} is not in [0, 1)")
        if self.seed < 0:
            raise ValueError(f"seed {self.seed} is negative")
        if self.z not in ("uniform", "normal"):
            raise ValueError(f"unknown noise {self.z!r}; choose uniform or normal")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"unknown precision {self.precision!r}; choose fp32 or bf16")
        if self.n_images < self.batch_size:
            raise ValueError(f"{self.data}: {self.n_images} images are fewer than one batch of {self.batch_size}")

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch; what is left over is not used in that epoch."""
        return self.n_images // self.batch_size

    @property
    def total_steps(self) -> int:
        steps = self.epochs * self.steps_per_epoch
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_settings(path: Path) -> TrainingSettings:
    """The settings stored at `path` (a run's settings.json)."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))["settings"]
        return TrainingSettings(**stored)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the settings of a training run ({error})") from error


def refuse_changes(old: TrainingSettings, new: TrainingSettings, where: Path) -> None:
    """Raise a ValueError that names every setting in which `new` differs from the run stored at `where`."""
    changed = [
        f"{f.name} {getattr(old, f.name)} -> {getattr(new, f.name)}"
        for f in fields(TrainingSettings)
        if f.name not in EXTENDABLE and getattr(old, f.name) != getattr(new, f.name)
    ]
    if changed:
        raise ValueError(
            f"{where}: holds a run with other settings ({'; '.join(changed)}); "
            "resume it with its own or choose another --out"
        )
