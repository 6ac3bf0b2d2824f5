"""Every random number as a function of (seed, stream, index): nothing to store or restore."""

import hashlib

import numpy as np
import torch
from torch import Tensor

# One stream for each use, so that no two uses share numbers.
_STREAMS = {
    "init-d": 0, "init-g": 1, "order": 2, "noise": 3, "samples": 4, "init-heads": 5, "views": 6, "widen": 7,
    "statistics": 8,
}  # fmt: skip


def generator_for(seed: int, stream: str, index: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for the `index`-th use of `stream`."""
    state = np.random.SeedSequence([seed, _STREAMS[stream], index]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]) >> 1)


def random_state_for(purpose: str, seed: int, draw: int = 0) -> np.random.RandomState:
    """The random numbers of one use: of draw number `draw` for `purpose` under `seed`.

    `numpy.random.RandomState`, whose streams are frozen for good, seeded by a SHA-256 of what they are for.
    """
    digest = hashlib.sha256(f"{purpose}/{seed}/{draw}".encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, np.uint32))


def epoch_order(n: int, seed: int, epoch: int) -> Tensor:
    """The permutation int64 [n] in which `epoch` visits the images."""
    return torch.randperm(n, generator=generator_for(seed, "order", epoch))


def dropped(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """x with each value independently 0 with probability `share`, else 1 / (1 - share) times itself."""
    if share == 0:
        return x
    kept = torch.rand(x.shape, generator=generator, device=generator.device) >= share
    return x * kept.to(x.device) / (1 - share)


def draw_noise(n: int, z_dim: int, z: str, generator: torch.Generator) -> Tensor:
    """Noise float32 [n, z_dim] on the generator's device: uniform on (-1, 1), or standard normal."""
    device = generator.device
    if z == "uniform":
        return torch.rand(n, z_dim, generator=generator, device=device) * 2 - 1
    if z == "normal":
        return torch.randn(n, z_dim, generator=generator, device=device)
    raise ValueError(f"unknown noise {z!r}; choose uniform or normal")
