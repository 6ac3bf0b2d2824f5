"""The DCGAN networks of Radford, Metz & Chintala 2015 (arXiv 1511.06434v2, section 3) and of their released code.

`Discriminator` and `Generator` are built from an architecture (`repr_eval.gan.architectures`) and a width factor.
Strided convolutions instead of pooling, batch norm everywhere but on D's input layer and G's output, no hidden dense
layers, ReLU in G with tanh at its output, LeakyReLU 0.2 in D, convolutions without bias.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repr_eval.gan.architectures import Architecture, scaled

LEAK = 0.2  # slope of LeakyReLU [paper, section 3]
INIT_STD = 0.02  # weights N(0, 0.02); batch-norm gains N(1, 0.02) [paper, section 4; released code]
BN_EPS = 1e-8  # released code; PyTorch's own default is 1e-5
GRID = 4  # every generator starts from, and every discriminator ends at, a 4x4 map


class Discriminator(nn.Module):
    """Images float [N, 3, S, S] in [-1, 1] -> logits float [N].

    `layers` builds only the first so many convolutions; such a network has features but no logit.
    """

    def __init__(self, arch: Architecture, width: float = 1.0, layers: int | None = None, eps: float = BN_EPS):
        super().__init__()
        self.arch = arch
        self.width = width
        self.eps = eps
        self.layers = len(arch.discriminator) if layers is None else layers
        if not 1 <= self.layers <= len(arch.discriminator):
            raise ValueError(f"layers={layers}: {arch.name} has layers 1 to {len(arch.discriminator)}")
        maps = arch.maps(width)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, arch.kernel, stride, arch.kernel // 2, bias=False)
            for before, after, (_, stride) in zip(
                (3, *maps), maps[: self.layers], arch.discriminator[: self.layers], strict=False
            )
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(after, eps) for after in maps[1 : self.layers])
        complete = self.layers == len(arch.discriminator)
        self.dense = nn.Linear(maps[-1] * GRID * GRID, 1, bias=False) if complete else None

    def activations(self, x: Tensor) -> Iterator[Tensor]:
        """Each layer's maps after LeakyReLU, first layer first."""
        for layer, conv in enumerate(self.convs):
            x = conv(x)
            if layer > 0:
                x = self.norms[layer - 1](x)
            x = F.leaky_relu(x, LEAK)
            yield x

    def logits(self, last: Tensor) -> Tensor:
        """Float [N], from the last layer's activations [N, maps, 4, 4]."""
        if self.dense is None:
            raise ValueError(f"a discriminator of {self.layers} layers has no output unit, only features")
        return self.dense(last.flatten(1)).squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        for h in self.activations(x):
            x = h
        return self.logits(x)


@torch.no_grad()
def settle_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Make the mean over `batches` of each batch's statistics those of the batch norms; ends in evaluation mode.

    The network gives its layers' maps by `activations(x)`; each batch is normalised by its own statistics.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain mean
    network.train()
    for x in batches:
        for _ in network.activations(x):  # type: ignore[operator]
            pass
    network.eval()


class Generator(nn.Module):
    """Noise float [N, z_dim] -> images float [N, 3, S, S] in [-1, 1]."""

    def __init__(self, arch: Architecture, width: float = 1.0, z_dim: int | None = None, eps: float = BN_EPS):
        super().__init__()
        self.arch = arch
        self.width = width
        self.eps = eps
        self.z_dim = arch.z_dim if z_dim is None else z_dim
        if self.z_dim < 1:
            raise ValueError(f"z_dim={z_dim}: needs at least 1")
        self.base = scaled(arch.generator_base, width)
        hidden = [scaled(maps, width) for maps, _ in arch.generator[:-1]]
        maps = [self.base, *hidden, 3]
        self.dense = nn.Linear(self.z_dim, self.base * GRID * GRID, bias=False)
        self.dense_norm = nn.BatchNorm1d(self.base * GRID * GRID, eps)
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(before, after, arch.kernel, stride, arch.kernel // 2, stride - 1, bias=False)
            for before, after, (_, stride) in zip(maps, maps[1:], arch.generator, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(after, eps) for after in hidden)

    def activations(self, z: Tensor) -> Iterator[Tensor]:
        """Each hidden layer's maps after ReLU, first layer first, then the images."""
        h = F.relu(self.dense_norm(self.dense(z))).unflatten(1, (self.base, GRID, GRID))
        h = h.contiguous(memory_format=torch.channels_last)
        yield h
        yield from self.onwards(h, 0)

    def onwards(self, h: Tensor, layer: int) -> Iterator[Tensor]:
        """What follows on the maps h of hidden layer number `layer`, from 0: the layers after it, then the images."""
        for conv, norm in zip(self.convs[layer:], self.norms[layer:], strict=False):
            h = F.relu(norm(conv(h)))
            yield h
        yield torch.tanh(self.convs[-1](h))

    def forward(self, z: Tensor) -> Tensor:
        for h in self.activations(z):
            x = h
        return x


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the published initial weights: N(0, 0.02), batch-norm gains N(1, 0.02) and biases 0."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, INIT_STD, generator)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, INIT_STD, generator)
