"""What the autoencoders have in common: the training, and the features made of the encoder's maps.

An autoencoder is a network that is to give back the images it is given; each kind has a loss of its own. None sees a
label.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from repr_eval.gan.networks import GRID
from repr_eval.representations.base import Description
from repr_eval.representations.discriminator import pooled
from repr_eval.representations.fitted import TRAINED_ON, Fitted
from repr_eval.representations.layers import Layers
from repr_eval.system.progress import progress_bar
from repr_eval.system.random_streams import epoch_order, generator_for

WATCHED = 50  # steps from one look at the loss to the next


@dataclass(frozen=True)
class Training:
    """How long and by what steps: Adam with its published averaging (0.9 and 0.999) [Kingma & Ba 2015, algorithm 1]."""

    images_seen: int  # however many there are: with 50,000 images, 50,000 is one epoch
    batch: int
    learning_rate: float
    precision: str = "fp32"  # or "bf16": autocast in training; features are always float32

    def __post_init__(self) -> None:
        for name in ("images_seen", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is less than 1")
        if not self.learning_rate > 0:
            raise ValueError(f"learning rate {self.learning_rate} is not positive")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"unknown precision {self.precision!r}; choose fp32 or bf16")


@dataclass(frozen=True)
class AutoencoderSettings:
    """All but the seed that decides an autoencoder's weights; each kind adds its own."""

    training: Training


class Autoencoder(nn.Module, ABC):
    """Encoder and decoder."""

    @abstractmethod
    def activations(self, x: Tensor) -> Iterator[Tensor]:
        """Each encoder layer's maps [N, C, S, S] of images float [N, 3, S, S], first layer first."""

    @abstractmethod
    def loss(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """What training brings down, a scalar; what is random in it comes from `generator`, of x's device."""


def initialise_autoencoder(network: nn.Module, generator: torch.Generator) -> None:
    """Weights N(0, 2/n), n the number of terms in a sum [He, Zhang, Ren & Sun 2015, section 2.2]; biases 0.

    Of the terms of a transposed convolution with stride s, one in s^2 is not an inserted zero.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            terms = float(module.in_channels * module.kernel_size[0] * module.kernel_size[1])
            if isinstance(module, nn.ConvTranspose2d):
                terms /= module.stride[0] * module.stride[1]
            nn.init.normal_(module.weight, 0.0, (2 / terms) ** 0.5, generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def visiting_order(n: int, images_seen: int, seed: int) -> Tensor:
    """Indices int64 [images_seen] of `n` images: one shuffled epoch after another, the last one cut short."""
    if n < 1:
        raise ValueError("an autoencoder cannot learn from 0 images")
    epochs = -(-images_seen // n)
    return torch.cat([epoch_order(n, seed, epoch) for epoch in range(epochs)])[:images_seen]


def train_autoencoder(
    network: Autoencoder, images: np.ndarray, to_input: Callable[[np.ndarray], Tensor], training: Training, seed: int,
    device: torch.device,
) -> list[float]:  # fmt: skip
    """Train `network`, on `device`, with images uint8 [N, S, S, 3]; mean losses of every `WATCHED` steps in turn.

    `to_input` makes float [B, 3, S, S] on `device` of a batch. ValueError once such a mean is not finite.
    """
    network.train()
    optimiser = torch.optim.Adam(network.parameters(), training.learning_rate, fused=True)
    generator = generator_for(seed, "noise", device=device)
    order = visiting_order(len(images), training.images_seen, seed).numpy()
    watched: list[float] = []
    recent: list[Tensor] = []
    starts = range(0, len(order), training.batch)
    bar = progress_bar(starts, "autoencoder")
    for start in bar:
        x = to_input(images[order[start : start + training.batch]])
        with torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bf16"):
            loss = network.loss(x, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        recent.append(loss.detach())
        if len(recent) == WATCHED or start == starts[-1]:
            watched.append(_finite_mean(recent, start + training.batch, training))
            recent.clear()
            bar.set_postfix(loss=watched[-1])
    return watched


def _finite_mean(losses: list[Tensor], seen: int, training: Training) -> float:
    mean = float(torch.stack(losses).mean())
    if not np.isfinite(mean):
        raise ValueError(
            f"the autoencoder's loss is {mean} after {min(seen, training.images_seen):,} images: training has diverged "
            f"at a learning rate of {training.learning_rate:g} in {training.precision}; choose a lower rate"
        )
    return mean


class AutoencoderFeatures(Fitted):
    """A representation: the maps of every layer of a trained encoder, max-pooled to a 4x4 grid and concatenated.

    `maps` are the layers' widths; the encoder halves the side of an image `halvings` times. After `fit`, `losses` are
    what `train_autoencoder` returns.
    """

    network: Autoencoder
    losses: list[float]

    def __init__(
        self, kind: str, method: str, settings: AutoencoderSettings, maps: tuple[int, ...], halvings: int,
        seed: int, image_size: int, device: torch.device | None,
    ):  # fmt: skip
        multiple = GRID * 2**halvings
        if image_size < multiple or image_size % multiple:
            raise ValueError(f"image size {image_size} is not a multiple of {multiple}, as {method} needs")
        if seed < 0:
            raise ValueError(f"seed {seed} is negative")
        self.seed, self.training = seed, settings.training
        described = {"representation": kind, **asdict(settings), "pooling": "max 4x4", "seed": seed}
        counts = tuple(count * GRID**2 for count in maps)
        description = Description(
            method=method,
            trained_on=TRAINED_ON,
            layers=Layers(1, len(maps), len(maps)),
            n_features=sum(counts),
            max_units=max(maps),
            settings=described,
            layer_features=counts,
            layers_in_all=len(maps),
        )
        super().__init__(description, image_size, device)

    @abstractmethod
    def new_network(self) -> Autoencoder:
        """A network whose weights are yet to be drawn."""

    @abstractmethod
    def to_input(self, images: np.ndarray) -> Tensor:
        """Images uint8 [N, S, S, 3] as the network takes them, float32 [N, 3, S, S] on the device."""

    def train(self, images: np.ndarray) -> None:
        network = self.new_network()
        initialise_autoencoder(network, torch.Generator().manual_seed(self.seed))
        network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.losses = train_autoencoder(network, images, self.to_input, self.training, self.seed, self.device)
        self.network = network.eval()

    @torch.no_grad()
    def features(self, images: np.ndarray) -> Tensor:
        return torch.cat([pooled(h) for h in self.network.activations(self.to_input(images))], 1)
