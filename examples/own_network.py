"""Measure layers of a network: their maps, max-pooled to a 4x4 grid, side by side.

python examples/own_network.py

The network here is untrained; load weights of your own into it. `method_name` and `trained_on` are what the
tables say of it.
"""

import torch
from torch import nn

import repr_eval as rv


def build() -> nn.Module:
    """A network of images float [N, 3, 32, 32]; its layers are named "0" to "3", as in `named_modules()`."""
    network = nn.Sequential(
        nn.Conv2d(3, 32, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(32, 64, 5, stride=2, padding=2),
        nn.ReLU(),
    )
    network.method_name, network.trained_on = "small CNN", "nothing"
    return network


if __name__ == "__main__":
    torch.manual_seed(0)
    network = rv.Network(build(), pool=["1", "3"], mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    print(rv.evaluate(network, rv.Digits(10, draws=10), out="results"))
    print(rv.evaluate(network, rv.Digits(10, draws=10), classifier=rv.NearestNeighbours(), out="results"))
