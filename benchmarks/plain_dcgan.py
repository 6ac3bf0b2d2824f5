"""The networks of repr_eval trained plainly, in the manner of PyTorch's own DCGAN example: the baseline of the speed.

One process, float32, NCHW, a DataLoader of uint8 images that are scaled one by one, BCE on a sigmoid, D's two batches
back to back, a backward pass through an unfrozen D for G, an ordinary Adam, both losses printed (so: read) every step.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from repr_eval.gan.architectures import Architecture, architecture_named, scaled
from repr_eval.gan.networks import BN_EPS, GRID, LEAK, initialise

WORKERS = 2  # the example's default


class Images(Dataset[Tensor]):
    """Float [3, S, S] in [-1, 1] out of uint8 [N, S, S, 3]."""

    def __init__(self, images: np.ndarray):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(self.images[index]).permute(2, 0, 1).float() / 127.5 - 1


def plain_discriminator(arch: Architecture, width: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 3
    for maps, (_, stride) in zip(arch.maps(width), arch.discriminator, strict=True):
        layers.append(nn.Conv2d(before, maps, arch.kernel, stride, arch.kernel // 2, bias=False))
        layers += [nn.BatchNorm2d(maps, BN_EPS)] if before != 3 else []
        layers.append(nn.LeakyReLU(LEAK, inplace=True))
        before = maps
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * GRID * GRID, 1, bias=False), nn.Sigmoid())


def plain_generator(arch: Architecture, width: float) -> nn.Sequential:
    before = scaled(arch.generator_base, width)
    start = before * GRID * GRID
    layers: list[nn.Module] = [nn.Linear(arch.z_dim, start, bias=False), nn.BatchNorm1d(start, BN_EPS), nn.ReLU(True)]
    layers.append(nn.Unflatten(1, (before, GRID, GRID)))
    for maps, stride in arch.generator:
        after = maps if maps == 3 else scaled(maps, width)
        layers.append(nn.ConvTranspose2d(before, after, arch.kernel, stride, arch.kernel // 2, stride - 1, bias=False))
        layers += [nn.Tanh()] if maps == 3 else [nn.BatchNorm2d(after, BN_EPS), nn.ReLU(True)]
        before = after
    return nn.Sequential(*layers)


class PlainGan:
    """`step()` plays one step, the batch's loading included."""

    def __init__(self, images: np.ndarray, arch: str, width: float, batch_size: int, device: torch.device):
        self.arch, self.device = architecture_named(arch), device
        self.D = plain_discriminator(self.arch, width).to(device)
        self.G = plain_generator(self.arch, width).to(device)
        for network in (self.D, self.G):
            initialise(network, torch.Generator(device).manual_seed(0))
        self.adams = [torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999)) for net in (self.D, self.G)]
        self.loader = DataLoader(Images(images), batch_size, shuffle=True, num_workers=WORKERS, drop_last=True)
        self.batches: Iterator[Tensor] = iter(self.loader)

    def step(self) -> tuple[float, float]:
        """D's and G's losses."""
        real = next(self.batches, None)
        if real is None:
            self.batches = iter(self.loader)
            real = next(self.batches)
        real = real.to(self.device)
        ones, zeros = (torch.full((len(real),), label, device=self.device) for label in (1.0, 0.0))
        bce = nn.BCELoss()
        self.D.zero_grad()
        on_real = bce(self.D(real).view(-1), ones)
        on_real.backward()
        fake = self.G(torch.rand(len(real), self.arch.z_dim, device=self.device) * 2 - 1)
        on_fake = bce(self.D(fake.detach()).view(-1), zeros)
        on_fake.backward()
        self.adams[0].step()
        self.G.zero_grad()
        g_loss = bce(self.D(fake).view(-1), ones)
        g_loss.backward()
        self.adams[1].step()
        return on_real.item() + on_fake.item(), g_loss.item()
