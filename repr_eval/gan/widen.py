"""Twice as wide a network that computes the same function [Chen, Goodfellow & Shlens 2016, Net2Net, section 3.2].

Every map of every hidden layer stands twice, and the weights that read it are halved, so that the output stays what it
was. A little noise on the weights lets the two copies of a map part ways in training.
"""

import torch
from torch import Tensor

from repr_eval.gan.networks import GRID, Discriminator, Generator

NOISE = 0.05  # standard deviation, as a share of that of the layer's weights


def widened(
    network: Discriminator | Generator, generator: torch.Generator, noise: float = NOISE
) -> Discriminator | Generator:
    """A network of twice the width of `network`, the same function but for `noise` (drawn from `generator`).

    ValueError where maps are rounded so that twice the width has not twice as many.
    """
    wide: Discriminator | Generator
    if isinstance(network, Discriminator):
        wide = Discriminator(network.arch, 2 * network.width, network.layers, network.eps)
    else:
        wide = Generator(network.arch, 2 * network.width, network.z_dim, network.eps)
    wanted = wide.state_dict()
    for name, value in network.state_dict().items():
        if value.ndim:
            value = _repeated(name, value, wanted[name].shape, isinstance(network, Generator))
        if value.shape != wanted[name].shape:
            raise ValueError(
                f"{network.arch.name} of width {network.width:g} cannot be widened: at twice the width, {name} is "
                f"{list(wanted[name].shape)}, which is not twice {list(network.state_dict()[name].shape)}"
            )
        if value.ndim > 1:
            value = value + noise * value.std() * torch.randn(value.shape, generator=generator)
        wanted[name] = value
    wide.load_state_dict(wanted)
    return wide.eval()


def _repeated(name: str, value: Tensor, shape: torch.Size, of_generator: bool) -> Tensor:
    """The tensor `name` of the wider network: each map twice, what reads a map halved."""
    if of_generator and name.startswith(("dense.", "dense_norm.")):
        # Rows are the maps of the 4x4 start, each with its 16 places.
        return value.unflatten(0, (-1, GRID * GRID)).repeat(2, *([1] * value.ndim)).flatten(0, 1)
    reads = 0 if of_generator and name.startswith("convs.") else 1  # transposed convolutions have their inputs first
    for dimension, wanted in enumerate(shape):
        if value.shape[dimension] == wanted:
            continue
        sizes = [1] * value.ndim
        sizes[dimension] = 2
        value = value.repeat(*sizes)
        if dimension == reads and value.ndim > 1:
            value = value / 2
    return value
