"""What can be evaluated, by name: a discriminator's weights, an untrained discriminator, raw pixels.

The seam: a `Representation` turns images uint8 [N, S, S, 3] into features float [N, D], and says of itself, in plain
values, all that decides those numbers. One that adapts to a data set without its labels (batch-norm statistics)
does so in `adapted`, given the training images alone.
"""

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from repr_eval.features.discriminator import extract, n_features, recompute_statistics
from repr_eval.gan.networks import Discriminator, architecture_named, initialise
from repr_eval.gan.randomness import generator_for
from repr_eval.gan.weights import load_discriminator, weights_hash

BN_MODES = ("recomputed", "running")


@dataclass(frozen=True)
class Description:
    """What records and tables say of a representation."""

    method: str
    trained_on: str
    layers: str  # e.g. "1-6 of 6", "-" for none
    n_features: int
    max_units: int | None  # of the widest layer
    settings: dict[str, Any] = field(default_factory=dict)  # JSON-able; the whole key of its features but the data


class Representation(Protocol):
    """Images uint8 [N, S, S, 3] -> features float [N, D], whatever the number of images in a call."""

    description: Description

    def adapted(self, train_images: np.ndarray, fingerprint: str) -> "Representation":
        """The representation with what it takes from the unlabelled training images; itself if that is nothing."""

    def fill(self, images: np.ndarray, out: np.ndarray) -> None:
        """Write the features of `images` into `out` [N, D]."""


class Pixels:
    """Raw pixels in [-1, 1], flattened."""

    def __init__(self, image_size: int = 32):
        self.image_size = image_size
        d = image_size * image_size * 3
        settings = {"representation": "pixels", "scale": "x / 127.5 - 1"}
        self.description = Description("raw pixels", "nothing", "-", d, None, settings)

    def adapted(self, train_images: np.ndarray, fingerprint: str) -> "Pixels":
        return self

    def fill(self, images: np.ndarray, out: np.ndarray) -> None:
        _check_size(images, self.image_size, "this representation")
        for start in range(0, len(images), 4096):
            block = images[start : start + 4096].astype(np.float32) / 127.5 - 1
            out[start : start + len(block)] = block.reshape(len(block), -1)


class DiscriminatorFeatures:
    """Max-pooled features of all layers of a discriminator (features.discriminator).

    `bn` recomputed: batch-norm statistics of the target's training images, part of the representation [released
    code]. `bn` running: the statistics that came with the weights.
    """

    def __init__(
        self, network: Discriminator, method: str, trained_on: str, bn: str = "recomputed",
        device: torch.device | None = None, progress: bool = True,
    ):  # fmt: skip
        if bn not in BN_MODES:
            raise ValueError(f"batch-norm mode {bn!r}; choose from {', '.join(BN_MODES)}")
        self.network, self.bn, self.device, self.progress = network, bn, device or torch.device("cpu"), progress
        self._train_images: np.ndarray | None = None  # to take statistics from, before the first features are made
        arch = network.arch
        settings = {
            "representation": "discriminator", "arch": arch.name, "width": network.width, "layers": network.layers,
            "pooling": "max 4x4", "weights_sha256": weights_hash(network), "bn": bn, "bn_eps": network.eps,
        }  # fmt: skip
        self.description = Description(
            method, trained_on, f"1-{network.layers} of {len(arch.discriminator)}", n_features(network),
            max(arch.maps(network.width)[: network.layers]), settings,
        )  # fmt: skip

    def adapted(self, train_images: np.ndarray, fingerprint: str) -> "DiscriminatorFeatures":
        if self.bn == "running":
            return self
        _check_size(train_images, self.network.arch.image_size, self.network.arch.name)
        adapted = copy.copy(self)
        adapted._train_images = train_images
        settings = self.description.settings | {"bn_images": fingerprint}
        adapted.description = replace(self.description, settings=settings)
        return adapted

    def fill(self, images: np.ndarray, out: np.ndarray) -> None:
        if self.bn == "recomputed" and "bn_images" not in self.description.settings:
            raise ValueError("batch-norm statistics are to be recomputed: call adapted(train_images, ...) first")
        _check_size(images, self.network.arch.image_size, self.network.arch.name)
        if self._train_images is not None:
            self.network = recompute_statistics(self.network, self._train_images, self.device, self.progress)
            self._train_images = None
        extract(self.network, images, self.device, out, self.progress)


def _check_size(images: np.ndarray, size: int, taker: str) -> None:
    if images.shape[1:] != (size, size, 3):
        raise ValueError(f"images are {list(images.shape[1:])}; {taker} takes {size}x{size}x3")


def untrained(arch: str, width: float, seed: int, **options: Any) -> DiscriminatorFeatures:
    """A discriminator with the initial weights that a training run with this seed would start from."""
    network = Discriminator(architecture_named(arch), width)
    initialise(network, generator_for(seed, "init-d"))
    method = f"untrained discriminator ({arch}, width {width:g}, seed {seed})"
    return DiscriminatorFeatures(network.eval(), method, "nothing", **options)


def from_weights(path: Path, method: str | None = None, **options: Any) -> DiscriminatorFeatures:
    """The discriminator in a safetensors file. Its running statistics may be asked for only if it has been trained."""
    network, info = load_discriminator(path)
    name = method or f"DCGAN ({info.arch}, width {info.width:g}, {info.images_seen:,} images seen)"
    return DiscriminatorFeatures(network, name, info.trained_on, **options)
