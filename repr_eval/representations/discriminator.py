"""A discriminator's features: every layer's activations, max-pooled to a 4x4 grid, concatenated [paper, section 5.1].

No scaling and no normalisation [released code]. The 32x32 ImageNet model gives (128+128+256+256+512+512) * 16 = 28,672.
"""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from repr_eval.gan.architectures import architecture_named
from repr_eval.gan.networks import GRID, Discriminator, initialise
from repr_eval.gan.recipes import PAPER
from repr_eval.gan.weights import UNTRAINED, WeightsInfo, load_discriminator, weights_hash
from repr_eval.representations.base import Description
from repr_eval.representations.batch_norm import BN_BATCH, BN_MODES, recompute_statistics
from repr_eval.representations.batched import check_size, fill_in_blocks, to_network
from repr_eval.representations.layers import Layers
from repr_eval.system.random_streams import generator_for


def n_features(network: Discriminator) -> int:
    """Length of a feature vector."""
    return sum(network.arch.maps(network.width)[: network.layers]) * GRID * GRID


def pooled(h: Tensor) -> Tensor:
    """Maps [N, C, S, S] -> [N, C * 16]: the maximum over each cell of a 4x4 grid, channel by channel."""
    return F.max_pool2d(h, h.shape[-1] // GRID).flatten(1)


@torch.no_grad()
def extract(
    network: Discriminator, images: np.ndarray, device: torch.device, out: np.ndarray, progress: bool = True
) -> None:
    """Fill `out` [N, n_features] (any float type, a memory map too) with the features of images uint8 [N, S, S, 3].

    Each image's features depend on no other image: batch norm uses the network's stored statistics. Of several ranks
    each fills the rows of its share of the batches.
    """
    network = network.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def features(block: np.ndarray) -> Tensor:
        return torch.cat([pooled(h) for h in network.activations(to_network(block, device))], 1)

    fill_in_blocks(images, out, BN_BATCH, features, progress)


class DiscriminatorFeatures:
    """Max-pooled features of all layers of a discriminator (representations.discriminator).

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
        self.network = network
        self.bn = bn
        self.device = device or torch.device("cpu")
        self.progress = progress
        self._train_images: np.ndarray | None = None  # to take statistics from, before the first features are made
        maps, in_all = network.arch.maps(network.width)[: network.layers], len(network.arch.discriminator)
        settings = {
            "representation": "discriminator", "arch": network.arch.name, "width": network.width,
            "layers": network.layers, "pooling": "max 4x4", "weights_sha256": weights_hash(network),
            "bn": bn, "bn_eps": network.eps,
        }  # fmt: skip
        self.description = Description(
            method=method,
            trained_on=trained_on,
            layers=Layers(1, network.layers, in_all),
            n_features=n_features(network),
            max_units=max(maps),
            settings=settings,
            layer_features=tuple(count * GRID**2 for count in maps),
            layers_in_all=in_all,
            untrained=trained_on == UNTRAINED,
        )

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
    return DiscriminatorFeatures(network.eval(), method, UNTRAINED, **options)


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
