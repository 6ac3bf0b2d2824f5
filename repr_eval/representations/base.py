"""What is evaluated: representations.

The seam is scikit-learn's: a `Representation` is `fit` to unlabelled training images and then `transform`s images
uint8 [N, S, S, 3] to features float [N, D]. It describes itself in plain values, before it is fitted: its
`description` holds everything that decides the features except the images.
"""

import json
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np
import torch

from repr_eval.gan.networks import GRID
from repr_eval.representations.layers import Layers

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Description:
    """What records and tables say of a representation."""

    method: str
    trained_on: str
    layers: Layers | str  # numbered layers; or the names of others, "-" for none
    n_features: int
    max_units: int | None  # of the widest layer
    settings: dict[str, Any] = field(default_factory=dict)  # everything that decides the features but the images
    untrained: bool = False  # random weights: a control
    # For a network whose layers can be told apart, and for all its layers together:
    layer_features: tuple[int, ...] = ()  # how many features each layer has, in the order of the columns
    layers_in_all: int | None = None  # of the architecture, of which some may be absent
    # The setting in which a record keeps the fingerprint of the images fitted to; None where `fit` changes nothing.
    fitted_on: str | None = None

    def __post_init__(self) -> None:
        # By way of JSON, so that they are what a record of them reads back as: lists, not tuples.
        object.__setattr__(self, "settings", json.loads(json.dumps(self.settings)))

    @property
    def depends_on_data(self) -> bool:
        """Whether `fit` changes the features."""
        return self.fitted_on is not None

    def fitted_to(self, fingerprint: str) -> "Description":
        """The description with the fingerprint of the images that the representation is fitted to, if it matters."""
        if self.fitted_on is None:
            return self
        return replace(self, settings=self.settings | {self.fitted_on: fingerprint})

    def of_layers(self, first: int, last: int) -> "Description":
        """The description of the features of layers `first` to `last` (from 1) alone; `columns` says where they are.

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
    """Turns images uint8 [N, S, S, 3] into features float [N, D].

    A class that inherits from this one needs a `description` and `transform`; `fit` then changes nothing, and the
    features are said to be made on the CPU.
    """

    description: Description
    device: torch.device = CPU  # the one that features are made on

    def fit(self, images: np.ndarray) -> Self:
        """Learn from training images uint8 [N, S, S, 3], without their labels; returns the representation itself."""
        return self

    def transform(self, images: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The features of `images`, written to `out` (float [N, D] of any precision, a memory map too) if given.

        Else they are a new array, float32. ValueError before `fit`, where features depend on it.
        """
        ...
