"""A problem for classifiers that several tests share."""

import numpy as np

from repr_eval.classifiers.base import Features


def noisy_clusters(n: int, d: int, classes: int, seed: int = 0) -> Features:
    """Features float32 [n, d] far from 0, labels from -3 on; all seeds have the same clusters."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % classes)
    means = np.random.default_rng(9).normal(size=(classes, d))
    return Features((means[y] + 2 * rng.normal(size=(n, d)) + 5).astype(np.float32), y - 3)
