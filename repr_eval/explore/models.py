"""The networks that the studies look at: a generator that draws each image for itself, and D's features.

In training, G's batch norms take the statistics of the batch at hand, so that an image depends on which others are
drawn with it. Here they are fixed: the mean over 32 batches of 64 noise vectors, always the same ones. The same noise
vector is then the same image, alone or among others.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repr_eval.gan.networks import Discriminator, Generator, settle_statistics
from repr_eval.gan.pretrained import find_both
from repr_eval.gan.weights import WeightsInfo, load_network, weights_hash
from repr_eval.images.scale import to_levels
from repr_eval.representations.batched import to_network
from repr_eval.representations.discriminator import pooled
from repr_eval.system.random_streams import draw_noise, generator_for

BATCHES, BATCH = 32, 64  # of noise, whose statistics G's batch norms keep
BLOCK = 64  # images at a time


@dataclass(frozen=True)
class Models:
    """A generator in evaluation mode, a discriminator or None, and what the files say of them."""

    generator: Generator
    discriminator: Discriminator | None
    infos: dict[str, WeightsInfo]  # by network
    z: str  # distribution of the noise: "uniform" or "normal"
    device: torch.device

    @property
    def name(self) -> str:
        """What pictures and numbers call them."""
        info = self.infos["generator"]
        return info.name or f"{info.arch}, width {info.width:g}, {info.images_seen:,} images seen"

    @property
    def description(self) -> dict[str, Any]:
        """What the JSON beside a picture says of them, in JSON's types."""
        networks = {"generator": self.generator, "discriminator": self.discriminator}
        return {
            name: {
                "weights_sha256": weights_hash(network),
                "arch": self.infos[name].arch,
                "width": self.infos[name].width,
                "images_seen": self.infos[name].images_seen,
                "trained_on": self.infos[name].trained_on,
            }
            for name, network in networks.items()
            if network is not None
        } | {"z": self.z, "generator_statistics": f"mean over {BATCHES} batches of {BATCH} noise vectors"}

    def noise(self, n: int, seed: int, index: int = 0) -> Tensor:
        """The first n noise vectors float32 [n, z_dim] of a seed: however many are asked for, they begin alike.

        The first 64 are those of `repr-eval samples`.
        """
        draws = generator_for(seed, "samples", index)
        return torch.cat([draw_noise(BATCH, self.generator.z_dim, self.z, draws) for _ in range(-(-n // BATCH))])[:n]

    @torch.no_grad()
    def images(self, z: Tensor) -> np.ndarray:
        """The images uint8 [N, S, S, 3] of noise float [N, z_dim]; each depends on its own vector only."""
        made = [self.generator(z[start : start + BLOCK].to(self.device)) for start in range(0, len(z), BLOCK)]
        return np.concatenate([to_levels(x.float()).byte().permute(0, 2, 3, 1).cpu().numpy() for x in made])

    @torch.no_grad()
    def features(self, images: np.ndarray) -> np.ndarray:
        """D's features float32 [N, D] of images uint8 [N, S, S, 3]: every layer's maps max-pooled to 4x4."""
        starts = range(0, len(images), BLOCK)
        return np.concatenate([self._features(to_network(images[s : s + BLOCK], self.device)) for s in starts])

    @torch.no_grad()
    def features_of_noise(self, z: Tensor) -> np.ndarray:
        """D's features float32 [N, D] of the images of noise float [N, z_dim], before they become whole levels.

        Nearby vectors of noise differ in them where their rounded images are the same.
        """
        starts = range(0, len(z), BLOCK)
        return np.concatenate([self._features(self.generator(z[s : s + BLOCK].to(self.device))) for s in starts])

    def _features(self, x: Tensor) -> np.ndarray:
        if self.discriminator is None:
            raise ValueError(f"{self.name}: D's features are needed; give a discriminator's weights too")
        return torch.cat([pooled(h) for h in self.discriminator.activations(x)], 1).cpu().numpy()


def settled(generator: Generator, z: str, seed: int = 0) -> Generator:
    """A copy in evaluation mode with the fixed statistics that are told at the top of this module."""
    generator = copy.deepcopy(generator)
    draws = generator_for(seed, "statistics")
    device = next(generator.parameters()).device
    batches = (draw_noise(BATCH, generator.z_dim, z, draws).to(device) for _ in range(BATCHES))
    settle_statistics(generator, batches)
    return generator.eval()


def read_models(sources: Sequence[str], device: torch.device | None = None, z: str | None = None) -> Models:
    """The networks that `sources` name: weights files, or names of shipped weights, which stand for D and G.

    `z` is the distribution of the noise; None: the one that the weights say. D keeps the statistics of its file.
    Raises ValueError where they are not one generator and at most one discriminator.
    """
    device = device or torch.device("cpu")
    networks: dict[str, Any] = {}
    infos: dict[str, WeightsInfo] = {}
    for source in sources:
        for file in find_both(source):
            network, info = load_network(file)
            if info.network == "discriminator" and not info.statistics:
                raise ValueError(
                    f"{file}: has no batch-norm statistics, which D's features need; give another's weights"
                )
            if info.network in networks:
                raise ValueError(f"{source}: a second {info.network}; give one of each")
            networks[info.network], infos[info.network] = network.to(device), info
    if "generator" not in networks:
        raise ValueError(f"{', '.join(sources)}: a discriminator alone; give a generator's weights")
    generator, discriminator = networks["generator"], networks.get("discriminator")
    if discriminator is not None and discriminator.arch.image_size != generator.arch.image_size:
        raise ValueError(
            f"{', '.join(sources)}: G draws {generator.arch.image_size}x{generator.arch.image_size} images, D takes "
            f"{discriminator.arch.image_size}x{discriminator.arch.image_size}; give networks of one run"
        )
    noise = z or infos["generator"].z or generator.arch.z
    return Models(
        generator=settled(generator, noise),
        discriminator=discriminator.eval() if discriminator is not None else None,
        infos=infos,
        z=noise,
        device=device,
    )
