"""One discriminator trained on labels: all of it, with a linear head on its features.

The head gets what the L2-SVM gets, every layer's activations max-pooled to a 4x4 grid: a training
begins with the features that are otherwise evaluated. Cross-entropy; AdamW; a cosine schedule
without restarts after a linear warm-up, as the supervised CNN's. Batch norm takes each batch's own
statistics while it is trained, as the discriminator did, and then those of the training images
(`repr_eval.classifiers.supervised.network.settle`).
"""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from repr_eval.classifiers.fine_tuned.search import Configuration, Search
from repr_eval.classifiers.supervised.network import PADDING, blocks_of, descend, settle, whole_batches
from repr_eval.gan.augmentation import Augmentation
from repr_eval.gan.networks import Discriminator
from repr_eval.representations.discriminator import n_features, pooled


class FineTunedNetwork(nn.Module):
    """Images float [N, 3, S, S] in [-1, 1] -> scores float [N, classes].

    It is a copy of `start` with a head of zeros. The head is linear in the features z [N, D]: its
    scores are W (z - centre) / scale + b. Centre and scale are constants that `measure` sets; they
    decide the units of W, and so let one learning rate serve features of any size.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, start: Discriminator, classes: int):
        super().__init__()
        self.trunk = copy.deepcopy(start).requires_grad_()
        self.trunk.dense = None  # the one logit
        self.head = nn.Linear(n_features(start), classes)
        nn.init.zeros_(self.head.weight)  # as in Big Transfer [Kolesnikov et al. 2020]
        nn.init.zeros_(self.head.bias)
        self.register_buffer("centre", torch.zeros(n_features(start)))
        self.register_buffer("scale", torch.ones(()))

    def activations(self, x: Tensor) -> Iterable[Tensor]:
        """Each layer's maps, first layer first."""
        return self.trunk.activations(x)

    def features(self, x: Tensor) -> Tensor:
        """Float32 [N, D]: of every layer, max-pooled to a 4x4 grid."""
        return torch.cat([pooled(h) for h in self.activations(x)], 1).float()

    def forward(self, x: Tensor) -> Tensor:
        z = (self.features(x) - self.centre) / self.scale
        with torch.autocast(x.device.type, enabled=False):
            scores: Tensor = self.head(z)
        return scores

    @torch.no_grad()
    def measure(self, batches: Iterable[Tensor]) -> None:
        """Centre: the mean of the features of `batches`. Scale: their root mean square distance.

        Where that is 0 the scale is 1. In training mode each batch is normalised by its own
        statistics.
        """
        n, total, square = 0, torch.zeros(len(self.centre), dtype=torch.float64), 0.0
        for x in batches:
            z = self.features(x).cpu().double()
            n, total, square = n + len(z), total + z.sum(0), square + float(z.square().sum())
        mean = total / n
        variance = square / n - float(mean.square().sum())
        self.centre.copy_(mean)
        self.scale.fill_(variance**0.5 if variance > 1e-12 * square / n else 1.0)


def fine_tuned(
    start: Discriminator, images: Tensor, labels: Tensor, classes: int, configuration: Configuration, search: Search,
    n_seen: int, mirror: bool, seed: int, precision: str = "fp32",
) -> FineTunedNetwork:  # fmt: skip
    """A copy of `start` trained on images uint8 [N, 3, S, S], on their device.

    Labels are int64 [N], below `classes`. It sees `n_seen` images, counting repeats, in whole
    batches, each as a random crop of the image padded by 4 pixels and, with `mirror`, mirrored half
    of the times. Order and views follow from `seed`; nothing else is random. A loss that becomes
    NaN is no error: such a network gives every image the same label.
    """
    device = images.device
    generator, on_device = torch.Generator().manual_seed(seed), torch.Generator(device).manual_seed(seed + 1)
    network = FineTunedNetwork(start, classes).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.train()
    network.measure(blocks_of(images, generator))
    size = min(search.batch_size, len(images))
    steps = max(1, n_seen // size)
    descend(
        network, _optimiser(network, configuration), images, labels, whole_batches(len(images), size, steps, generator),
        steps, views_of(start.arch.image_size, mirror), on_device, precision,
    )  # fmt: skip
    settle(network, images, generator)
    return network


def views_of(side: int, mirror: bool) -> Augmentation:
    """A crop of the image padded by its edge pixels; with `mirror`, half of them mirrored."""
    return Augmentation(flip=mirror, translate=PADDING / side)


def _optimiser(network: FineTunedNetwork, configuration: Configuration) -> torch.optim.Optimizer:
    groups = []
    for part, rate in ((network.trunk, configuration.lr * configuration.trunk), (network.head, configuration.lr)):
        for decay, several in ((configuration.weight_decay, True), (0.0, False)):
            parameters = [parameter for parameter in part.parameters() if (parameter.ndim > 1) == several]
            groups.append({"params": parameters, "lr": rate, "weight_decay": decay})
    return torch.optim.AdamW([group for group in groups if group["params"]], configuration.lr)
