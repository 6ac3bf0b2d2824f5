"""One network trained on labels: a discriminator's convolutions with a dense layer to the classes, from scratch.

Cross-entropy; Adam or SGD; a cosine schedule without restarts [Loshchilov & Hutter 2017] after a short linear warm-up.
The weights after the last step are the network's: none are chosen on the way. Batch norm's statistics are then those of
the training images themselves (`settle`), for a running average forgets its start too slowly for short trainings.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repr_eval.classifiers.supervised.search import Configuration
from repr_eval.gan.architectures import Architecture
from repr_eval.gan.augmentation import Augmentation
from repr_eval.gan.networks import GRID, Discriminator, initialise, settle_statistics
from repr_eval.gan.views import augmented
from repr_eval.images.scale import to_unit
from repr_eval.system.random_streams import dropped

PADDING = 4  # pixels on each side of an image, of which crops of its own size are taken [He et al. 2016, section 4.2]
MOMENTUM = 0.9  # Nesterov's, of SGD
WARM_UP = 0.05  # share of the steps
TOGETHER = 128  # images at a time, where nothing is trained


class SupervisedNetwork(Discriminator):
    """Images float [N, 3, S, S] in [-1, 1] -> scores float [N, classes]."""

    def __init__(self, arch: Architecture, width: float, classes: int):
        super().__init__(arch, width)
        self.dense = None  # the one logit
        self.classes = nn.Linear(arch.maps(width)[-1] * GRID * GRID, classes, bias=False)

    def forward(self, x: Tensor, dropout: float = 0.0, generator: torch.Generator | None = None) -> Tensor:
        for h in self.activations(x):
            x = h
        h = x.flatten(1)
        return self.classes(h if generator is None else dropped(h, dropout, generator))


def trained(
    images: Tensor, labels: Tensor, classes: int, arch: Architecture, width: float, configuration: Configuration,
    n_seen: int, seed: int, precision: str = "fp32",
) -> SupervisedNetwork:  # fmt: skip
    """A network trained on images uint8 [N, 3, S, S] with labels int64 [N] below `classes`, on the images' device.

    It sees `n_seen` images, counting repeats, in whole batches (`whole_batches`). Initial weights (N(0, 0.02), as a
    discriminator's), order, views and dropout follow from `seed`. A loss that becomes NaN is no error: such a network
    gives every image the same label.
    """
    device = images.device
    generator, on_device = torch.Generator().manual_seed(seed), torch.Generator(device).manual_seed(seed + 1)
    network = SupervisedNetwork(arch, width, classes)
    initialise(network, generator)
    network = network.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimiser, views = _optimiser(network, configuration), views_of(configuration, arch.image_size)
    size = min(configuration.batch_size, len(images))
    steps = max(1, n_seen // size)
    descend(
        lambda x: network(x, configuration.dropout, on_device), optimiser, images, labels,
        whole_batches(len(images), size, steps, generator), steps, views, on_device, precision, configuration.smoothing,
    )  # fmt: skip
    settle(network, images, generator)
    return network


def descend(
    scores: Callable[[Tensor], Tensor],
    optimiser: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    batches: Iterator[Tensor],
    steps: int,
    views: Augmentation,
    generator: torch.Generator,
    precision: str = "fp32",
    smoothing: float = 0.0,
) -> None:
    """Lower the cross-entropy of `scores`, one step of `optimiser` for each of `batches`, of which there are `steps`.

    `batches` are rows of images uint8 [N, 3, S, S] with labels int64 [N]; `scores` gives float [n, classes] for a batch
    of views float [n, 3, S, S] in [-1, 1]. The optimiser's own rates are the highest of the schedule. `generator`, on
    the images' device, draws the views.
    """
    device, rates = images.device, [group["lr"] for group in optimiser.param_groups]
    for step, rows in enumerate(batches):
        rows = rows.to(device)
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * schedule(step, steps)
        x = augmented(to_input(images[rows]), views, generator)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            given = scores(x)
        loss = F.cross_entropy(given.float(), labels[rows], label_smoothing=smoothing)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def views_of(configuration: Configuration, side: int) -> Augmentation:
    """What every image goes through before the network sees it; edge pixels are repeated where a crop lies outside."""
    return Augmentation(flip=configuration.mirror, translate=PADDING / side if configuration.crop else 0.0)


def to_input(images: Tensor) -> Tensor:
    """Images uint8 [N, 3, S, S] as float32 in [-1, 1], channels-last."""
    return to_unit(images).contiguous(memory_format=torch.channels_last)


def whole_batches(n: int, size: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Rows int64 [size] for every step: whole batches of random orders of n rows; what an order leaves over is lost."""
    per_order = n // size
    for step in range(steps):
        if step % per_order == 0:
            order = torch.randperm(n, generator=generator)
        yield order[step % per_order * size :][:size]


def schedule(step: int, steps: int) -> float:
    """The step's share, in (0, 1], of the highest learning rate; steps count from 0."""
    warm = min(1.0, (step + 1) / (WARM_UP * steps))
    return warm * 0.5 * (1 + math.cos(math.pi * step / steps))


def _optimiser(network: SupervisedNetwork, configuration: Configuration) -> torch.optim.Optimizer:
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim == 1]  # batch norm's
    groups = [{"params": weights, "weight_decay": configuration.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if configuration.optimiser == "adam":
        return torch.optim.AdamW(groups, configuration.lr)
    return torch.optim.SGD(groups, configuration.lr, momentum=MOMENTUM, nesterov=True)


def settle(network: nn.Module, images: Tensor, generator: torch.Generator) -> None:
    """Give batch norm the statistics of these images, and leave the network in evaluation mode.

    They are the mean over batches of up to 128, of a random order and nearly equal sizes, of each batch's mean and
    variance, each batch normalised by its own.
    """
    settle_statistics(network, blocks_of(images, generator))


def blocks_of(images: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """All of `images` once, as the network's input: up to 128 at a time, of a random order and nearly equal sizes."""
    order = torch.randperm(len(images), generator=generator).to(images.device)
    for rows in order.tensor_split(-(-len(images) // TOGETHER)):
        yield to_input(images[rows])


@torch.no_grad()
def predicted(network: nn.Module, images: Tensor) -> Tensor:
    """The label int64 [N] of images uint8 [N, 3, S, S], each one's by itself."""
    return torch.cat([network(to_input(block)).argmax(1) for block in images.split(TOGETHER)])
