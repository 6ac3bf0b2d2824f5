"""A discriminator's features: every layer's activations, max-pooled to a 4x4 grid, concatenated [paper, section 5.1].

No scaling and no normalisation [released code]. The 32x32 ImageNet model gives (128+128+256+256+512+512) * 16 = 28,672.
"""

from pathlib import Path
from typing import Any, Self

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
from repr_eval.representations.batched import Batched, check_size, to_network
from repr_eval.representations.layers import Layers
from repr_eval.system.random_streams import generator_for
from repr_eval.system.ranks import ALONE, Ranks


def n_features(network: Discriminator) -> int:
    """Length of a feature vector."""
    return sum(network.arch.maps(network.width)[: network.layers]) * GRID * GRID


def pooled(h: Tensor) -> Tensor:
    """Maps [N, C, S, S] -> [N, C * 16]: the maximum over each cell of a 4x4 grid, channel by channel."""
    return F.max_pool2d(h, h.shape[-1] // GRID).flatten(1)


class DiscriminatorFeatures(Batched):
    """Max-pooled features of all layers of a discriminator.

    `bn` recomputed: batch-norm statistics of the images that it is fitted to, the target's training images [released
    code]. `bn` at-hand: those of the very images that `transform` is given, the test images' own for the test images;
    the features then depend on which images come together. `bn` running: the statistics that came with the weights.
    """

    block = BN_BATCH

    def __init__(
        self, network: Discriminator, method: str, trained_on: str, bn: str = "recomputed",
        device: torch.device | None = None,
    ):  # fmt: skip
        if bn not in BN_MODES:
            raise ValueError(f"batch-norm mode {bn!r}; choose from {', '.join(BN_MODES)}")
        super().__init__(device)
        self.network, self.bn = network, bn
        self.input_size = network.arch.image_size
        # The network that makes the features: of the given weights, with the statistics that `bn` asks for.
        self.ready: Discriminator | None = None
        if bn == "running":
            self.ready = network.to(self.device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
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
            fitted_on="bn_images" if bn == "recomputed" else None,
            untrained=trained_on == UNTRAINED,
        )

    def fit(self, images: np.ndarray, ranks: Ranks = ALONE) -> Self:
        if self.bn == "recomputed":
            self._take_statistics(images, ranks)
        return self

    def transform(self, images: np.ndarray, out: np.ndarray | None = None, ranks: Ranks = ALONE) -> np.ndarray:
        if self.bn == "at-hand":
            self._take_statistics(images, ranks)
        return super().transform(images, out, ranks)

    def check_fitted(self) -> None:
        if self.ready is None:
            raise ValueError("batch-norm statistics must be recomputed first: call fit(train_images)")

    def features(self, images: np.ndarray) -> Tensor:
        assert self.ready is not None
        return torch.cat([pooled(h) for h in self.ready.activations(to_network(images, self.device))], 1)

    def _take_statistics(self, images: np.ndarray, ranks: Ranks) -> None:
        check_size(images, self.input_size, self.network.arch.name)
        self.ready = recompute_statistics(self.network, images, self.device, ranks)


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
        raise ValueError(f"{path}: has no running batch-norm statistics; choose bn recomputed")
    return DiscriminatorFeatures(network, method or _name(info), info.trained_on, **options)


def _name(info: WeightsInfo) -> str:
    """What tables call a discriminator; a recipe that is not the paper's is told."""
    recipe = info.settings.get("recipe", PAPER.name)
    kind = "DCGAN" if recipe == PAPER.name else f"DCGAN, {recipe}"
    return info.name or f"{kind} ({info.arch}, width {info.width:g}, {info.images_seen:,} images seen)"
