"""What is evaluated: representations.

The seam: a `Representation` turns images uint8 [N, S, S, 3] into features float [N, D], and says of itself, in plain
values, all that decides those numbers. One that adapts to a data set without its labels (batch-norm statistics)
does so in `adapted`, given the training images alone.
"""

import json
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from repr_eval.gan.networks import GRID
from repr_eval.representations.layers import Layers


@dataclass(frozen=True)
class Description:
    """What records and tables say of a representation."""

    method: str
    trained_on: str
    layers: Layers | str  # numbered layers; or the names of others, "-" for none
    n_features: int
    max_units: int | None  # of the widest layer
    settings: dict[str, Any] = field(default_factory=dict)  # the whole key of its features but the data
    untrained: bool = False  # random weights: a control
    # Of a network whose layers can be told apart, and of all its layers together:
    layer_features: tuple[int, ...] = ()  # how many features each layer has, in the order of the columns
    layers_in_all: int | None = None  # of the architecture, of which some may be absent

    def __post_init__(self) -> None:
        # By way of JSON, so that they are what a record of them reads back as: lists, not tuples.
        object.__setattr__(self, "settings", json.loads(json.dumps(self.settings)))

    def of_layers(self, first: int, last: int) -> "Description":
        """What is to be said of the features of layers `first` to `last` (from 1) alone; `columns` says where they are.

        ValueError where there are no such layers.
        """
        present = len(self.layer_features)
        if not 1 <= first <= last <= present:
            has = f"has layers 1 to {present}" if present else "has no layers to choose from"
            raise ValueError(f"layers {first}-{last}: {self.method} {has}")
        if (first, last) == (1, present):
            return self
        counts = self.layer_features[first - 1 : last]
        return replace(
            self, layers=Layers(first, last, self.layers_in_all or present), n_features=sum(counts),
            max_units=max(counts) // GRID**2, settings=self.settings | {"layer_range": [first, last]},
            layer_features=(),
        )  # fmt: skip

    def columns(self, first: int, last: int) -> slice:
        """The columns of layers `first` to `last` among the features of all layers."""
        return slice(sum(self.layer_features[: first - 1]), sum(self.layer_features[:last]))


class Representation(Protocol):
    """Images uint8 [N, S, S, 3] -> features float [N, D], whatever the number of images in a call."""

    description: Description

    def adapted(self, train_images: np.ndarray, fingerprint: str) -> "Representation":
        """The representation with what it takes from the unlabelled training images; itself if that is nothing."""

    def fill(self, images: np.ndarray, out: np.ndarray) -> None:
        """Write the features of `images` into `out` [N, D]."""
