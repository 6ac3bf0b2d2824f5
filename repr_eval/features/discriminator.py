"""A discriminator's features: every layer's activations, max-pooled to a 4x4 grid, concatenated [paper, section 5.1].

No scaling and no normalisation [released code]. The 32x32 ImageNet model gives (128+128+256+256+512+512) * 16 = 28,672.
"""

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from repr_eval.features.blocks import fill_in_blocks, on_device
from repr_eval.gan.networks import GRID, LEAK, Discriminator
from repr_eval.images.scale import to_unit
from repr_eval.system.ranks import here

BN_BATCH = 128  # batch over which statistics are recomputed [released code, svhn_semisup_analysis.py]


def to_network(images: np.ndarray, device: torch.device) -> Tensor:
    """Images uint8 [N, S, S, 3] -> float32 [N, 3, S, S] in [-1, 1], channels-last, on `device`."""
    return to_unit(on_device(images, device).permute(0, 3, 1, 2))


def n_features(network: Discriminator) -> int:
    """Length of a feature vector."""
    return sum(network.arch.maps(network.width)[: network.layers]) * GRID * GRID


def pooled(h: Tensor) -> Tensor:
    """Maps [N, C, S, S] -> [N, C * 16]: the maximum over each cell of a 4x4 grid, channel by channel."""
    return F.max_pool2d(h, h.shape[-1] // GRID).flatten(1)


@torch.no_grad()
def recompute_statistics(
    network: Discriminator, images: np.ndarray, device: torch.device, progress: bool = True
) -> Discriminator:
    """A copy of `network` whose batch-norm statistics are those of `images` uint8 [N, S, S, 3].

    As the released code does it: every batch of 128, in the given order and a shorter last one included, runs through
    the network normalised by its own statistics; the mean over batches of each layer's per-batch mean and of its
    per-batch (biased) variance are the statistics from then on. Of several ranks each takes a share of the batches.
    """
    network = copy.deepcopy(network).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    norms = [norm for norm in network.norms if isinstance(norm, nn.BatchNorm2d)]
    starts, ranks = range(0, len(images), BN_BATCH), here()
    found = [torch.zeros(len(starts), 2, norm.num_features, dtype=torch.float64) for norm in norms]
    mine = starts[ranks.number :: ranks.count]
    for start in tqdm(mine, desc="batch-norm statistics", unit="batch", disable=not progress, delay=2, leave=False):
        x = to_network(images[start : start + BN_BATCH], device)
        for layer, conv in enumerate(network.convs):
            x = conv(x)
            if layer > 0:
                norm = norms[layer - 1]
                variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
                found[layer - 1][start // BN_BATCH] = torch.stack([mean, variance])
                x = F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
            x = F.leaky_relu_(x, LEAK)
    for norm, statistics in zip(norms, found, strict=True):
        mean, variance = sum(ranks.sum(statistics), torch.zeros(())) / len(starts)
        norm.load_state_dict({"running_mean": mean, "running_var": variance}, strict=False)
    return network.eval()


@torch.no_grad()
def extract(
    network: Discriminator, images: np.ndarray, device: torch.device, out: np.ndarray, progress: bool = True
) -> None:
    """Fill `out` [N, n_features] (any float type, a memory map too) with the features of images uint8 [N, S, S, 3].

    Each image's features depend on no other image: batch norm uses the network's stored statistics. Of several ranks
    each fills the rows of its share of the batches.
    """
    network = network.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def features(block: np.ndarray) -> Tensor:
        return torch.cat([pooled(h) for h in network.activations(to_network(block, device))], 1)

    fill_in_blocks(images, out, BN_BATCH, features, progress)
