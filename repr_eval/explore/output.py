"""What a study writes to its folder: pictures (PNG), films (animated WebP) and its numbers (JSON)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from repr_eval.explore.models import Models
from repr_eval.system.files import replacing, write_text
from repr_eval.system.provenance import commit, versions

FRAME_MS = 80


def save_film(path: Path, frames: Sequence[np.ndarray], milliseconds: int = FRAME_MS) -> None:
    """Pictures uint8 [H, W, 3] of one size as an animated WebP, lossless, that goes on for ever."""
    first, *others = [Image.fromarray(frame) for frame in frames]
    with replacing(path) as partial:
        first.save(
            partial, format="WEBP", save_all=True, append_images=others, duration=milliseconds, loop=0, lossless=True
        )


def save_numbers(
    path: Path, study: str, models: Models | None, seed: int, command: str, numbers: dict[str, Any]
) -> None:
    """The numbers of a study with all that made them, as JSON. Rates are fractions, arrays lists."""
    content = {
        "study": study,
        "models": models.description if models else None,
        "seed": seed,
        "command": command,
        "commit": commit(),
        "versions": versions(),
        "numbers": numbers,
    }
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")
