"""What is evaluated: representations; and a discriminator, with its weights or untrained, as one.

The seam: a `Representation` turns images uint8 [N, S, S, 3] into features float [N, D], and says of itself, in plain
values, all that decides those numbers. One that adapts to a data set without its labels (batch-norm statistics)
does so in `adapted`, given the training images alone.
"""

import copy
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from repr_eval.features.blocks import check_size
from repr_eval.features.discriminator import extract, n_features, recompute_statistics
from repr_eval.gan.networks import GRID, Discriminator, architecture_named, initialise
from repr_eval.gan.recipes import PAPER
from repr_eval.gan.weights import WeightsInfo, load_discriminator, weights_hash
from repr_eval.system.random_streams import generator_for

BN_MODES = ("recomputed", "at-hand", "running")


@dataclass(frozen=True)
class Description:
    """What records and tables say of a representation."""

    method: str
    trained_on: str
    layers: str  # e.g. "1-6 of 6", "-" for none
    n_features: int
    max_units: int | None  # of the widest layer
    settings: dict[str, Any] = field(default_factory=dict)  # the whole key of its features but the data
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
            self, layers=named_layers(first, last, self.layers_in_all or present), n_features=sum(counts),
            max_units=max(counts) // GRID**2, settings=self.settings | {"layer_range": [first, last]},
            layer_features=(),
        )  # fmt: skip

    def columns(self, first: int, last: int) -> slice:
        """The columns of layers `first` to `last` among the features of all layers."""
        return slice(sum(self.layer_features[: first - 1]), sum(self.layer_features[:last]))


def named_layers(first: int, last: int, in_all: int) -> str:
    """What `Description.layers` says of layers `first` to `last` (from 1) of `in_all`."""
    return f"{first}-{last} of {in_all}" if first < last else f"{first} of {in_all}"


class Representation(Protocol):
    """Images uint8 [N, S, S, 3] -> features float [N, D], whatever the number of images in a call."""

    description: Description

    def adapted(self, train_images: np.ndarray, fingerprint: str) -> "Representation":
        """The representation with what it takes from the unlabelled training images; itself if that is nothing."""

    def fill(self, images: np.ndarray, out: np.ndarray) -> None:
        """Write the features of `images` into `out` [N, D]."""


class DiscriminatorFeatures:
    """Max-pooled features of all layers of a discriminator (features.discriminator).

    `bn` recomputed: batch-norm statistics of the target's training images, part of the representation [released
    code]. `bn` at-hand: those of the very images that `fill` is given, the test images' own for the test images; the
    features then depend on which images come together. `bn` running: the statistics that came with the weights.
    """

    def __init__(
        self, network: Discriminator, method: str, trained_on: str, bn: str = "recomputed",
        device: torch.device | None = None, progress: bool = True,
    ):  # fmt: skip
        if bn not in BN_MODES:
            raise ValueError(f"batch-norm mode {bn!r}; choose from {', '.join(BN_MODES)}")
        self.network, self.bn, self.device, self.progress = network, bn, device or torch.device("cpu"), progress
        self._train_images: np.ndarray | None = None  # to take statistics from, before the first features are made
        maps, in_all = network.arch.maps(network.width)[: network.layers], len(network.arch.discriminator)
        settings = {
            "representation": "discriminator", "arch": network.arch.name, "width": network.width,
            "layers": network.layers, "pooling": "max 4x4", "weights_sha256": weights_hash(network),
            "bn": bn, "bn_eps": network.eps,
        }  # fmt: skip
        self.description = Description(
            method, trained_on, named_layers(1, network.layers, in_all), n_features(network), max(maps), settings,
            tuple(count * GRID**2 for count in maps), in_all,
        )  # fmt: skip

    def adapted(self, train_images: np.ndarray, fingerprint: str) -> "DiscriminatorFeatures":
        if self.bn != "recomputed":
            return self
        check_size(train_images, self.network.arch.image_size, self.network.arch.name)
        adapted = copy.copy(self)
        adapted._train_images = train_images
        settings = self.description.settings | {"bn_images": fingerprint}
        adapted.description = replace(self.description, settings=settings)
        return adapted

    def fill(self, images: np.ndarray, out: np.ndarray) -> None:
        if self.bn == "recomputed" and "bn_images" not in self.description.settings:
            raise ValueError("batch-norm statistics are to be recomputed: call adapted(train_images, ...) first")
        check_size(images, self.network.arch.image_size, self.network.arch.name)
        if self._train_images is not None:
            self.network = recompute_statistics(self.network, self._train_images, self.device, self.progress)
            self._train_images = None
        at_hand = self.bn == "at-hand"
        network = recompute_statistics(self.network, images, self.device, self.progress) if at_hand else self.network
        extract(network, images, self.device, out, self.progress)


def untrained(arch: str, width: float, seed: int, **options: Any) -> DiscriminatorFeatures:
    """A discriminator with the initial weights that a training run with this seed would start from."""
    network = Discriminator(architecture_named(arch), width)
    initialise(network, generator_for(seed, "init-d"))
    method = f"untrained discriminator ({arch}, width {width:g}, seed {seed})"
    return DiscriminatorFeatures(network.eval(), method, "nothing", **options)


def from_weights(path: Path, method: str | None = None, **options: Any) -> DiscriminatorFeatures:
    """The discriminator in a safetensors file. Its running statistics may be asked for only if it has been trained."""
    network, info = load_discriminator(path)
    if options.get("bn") == "running" and not info.statistics:
        raise ValueError(f"{path}: has no running batch-norm statistics; use --bn recomputed")
    return DiscriminatorFeatures(network, method or _name(info), info.trained_on, **options)


def _name(info: WeightsInfo) -> str:
    """What tables call a discriminator; a recipe that is not the paper's is told."""
    recipe = info.settings.get("recipe", PAPER.name)
    kind = "DCGAN" if recipe == PAPER.name else f"DCGAN, {recipe}"
    return info.name or f"{kind} ({info.arch}, width {info.width:g}, {info.images_seen:,} images seen)"
