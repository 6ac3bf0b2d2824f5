"""A discriminator's batch-norm statistics at feature time: recomputed from images, or those that its weights bring."""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from repr_eval.gan.networks import LEAK, Discriminator
from repr_eval.representations.batched import to_network
from repr_eval.system.progress import progress_bar
from repr_eval.system.ranks import ALONE, Ranks

BN_MODES = ("recomputed", "at-hand", "running")
BN_BATCH = 128  # batch over which statistics are recomputed [released code, svhn_semisup_analysis.py]


@torch.no_grad()
def recompute_statistics(
    network: Discriminator, images: np.ndarray, device: torch.device, ranks: Ranks = ALONE
) -> Discriminator:
    """A copy of `network` whose batch-norm statistics are those of `images` uint8 [N, S, S, 3].

    As the released code does it: every batch of 128, in the given order and a shorter last one included, runs through
    the network normalised by its own statistics; the mean over batches of each layer's per-batch mean and of its
    per-batch (biased) variance are the statistics from then on. Several ranks share the batches.
    """
    network = copy.deepcopy(network).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    norms = [norm for norm in network.norms if isinstance(norm, nn.BatchNorm2d)]
    starts = range(0, len(images), BN_BATCH)
    moments = [torch.zeros(len(starts), 2, norm.num_features, dtype=torch.float64) for norm in norms]
    mine = starts[ranks.number :: ranks.count]
    for start in progress_bar(mine, "batch-norm statistics", unit="batch"):
        x = to_network(images[start : start + BN_BATCH], device)
        for layer, conv in enumerate(network.convs):
            x = conv(x)
            if layer > 0:
                norm = norms[layer - 1]
                variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
                moments[layer - 1][start // BN_BATCH] = torch.stack([mean, variance])
                x = F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
            x = F.leaky_relu_(x, LEAK)
    for norm, statistics in zip(norms, moments, strict=True):
        mean, variance = sum(ranks.sum(statistics), torch.zeros(())) / len(starts)
        norm.load_state_dict({"running_mean": mean, "running_var": variance}, strict=False)
    return network.eval()
