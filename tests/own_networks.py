"""What the tests of own networks share."""

from pathlib import Path
from typing import Any

import numpy as np

from repr_eval.representations.base import Representation


def grey(value: int, n: int = 2, size: int = 32) -> np.ndarray:
    """Images uint8 [n, size, size, 3] of one value."""
    return np.full((n, size, size, 3), value, np.uint8)


def features(representation: Representation, images: np.ndarray) -> np.ndarray:
    return representation.fit(images).transform(images)


def settings_of(representation: Representation) -> dict[str, Any]:
    return representation.description.settings


class Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)
