"""Methods that the suite trains itself, by name, on the target's own training images without their labels.

A row's settings are frozen: another choice gets another name. The published size of a method stands beside one that
two CPU cores train in minutes, where there is one.
"""

from collections.abc import Callable

import torch

from repr_eval.representations.base import Representation
from repr_eval.representations.dae import denoising_autoencoder
from repr_eval.representations.exemplar import exemplar_cnn
from repr_eval.representations.kernel_network import kernel_network
from repr_eval.representations.kmeans import KMeans
from repr_eval.representations.kmeans_layers import receptive_fields
from repr_eval.representations.patches import whitened_patches
from repr_eval.representations.pixels import Pixels, WhitenedPixels
from repr_eval.representations.swwae import what_where_autoencoder

# (seed, device) -> the representation
METHODS: dict[str, Callable[[int, torch.device], Representation]] = {
    "pixels": lambda seed, device: Pixels(),
    "pixels-zca": lambda seed, device: WhitenedPixels(device=device),
    "pixels-pca": lambda seed, device: WhitenedPixels(256, device=device),
    "kmeans-1600": lambda seed, device: KMeans(1600, seed, device=device),
    "kmeans-4800": lambda seed, device: KMeans(4800, seed, device=device),
    "kmeans-4800-gain-shape": lambda seed, device: receptive_fields(seed, device, size="one layer"),
    "kmeans-3layer": lambda seed, device: receptive_fields(seed, device),
    "kmeans-3layer-small": lambda seed, device: receptive_fields(seed, device, size="small"),
    "ckn": lambda seed, device: kernel_network(seed, device),
    "ckn-small": lambda seed, device: kernel_network(seed, device, size="small"),
    "patches": lambda seed, device: whitened_patches(seed, device),
    "patches-small": lambda seed, device: whitened_patches(seed, device, size="small"),
    "dae": lambda seed, device: denoising_autoencoder(seed, device),
    "dae-small": lambda seed, device: denoising_autoencoder(seed, device, size="small"),
    "swwae": lambda seed, device: what_where_autoencoder(seed, False, device),
    "swwae-small": lambda seed, device: what_where_autoencoder(seed, False, device, size="small"),
    "swwae-dropout": lambda seed, device: what_where_autoencoder(seed, True, device),
    "swwae-dropout-small": lambda seed, device: what_where_autoencoder(seed, True, device, size="small"),
    "exemplar": lambda seed, device: exemplar_cnn(seed, device),
    "exemplar-small": lambda seed, device: exemplar_cnn(seed, device, size="small"),
}

# What `--all` measures: weights as of --weights (None for the best shipped model), and the classifier.
_ALL = (
    "pixels", "pixels-zca", "pixels-pca", "random:0", "random:1", "random:2", None, "dae-small", "swwae-small",
    "swwae-dropout-small", "exemplar-small", "kmeans-1600", "kmeans-4800", "kmeans-4800-gain-shape", "kmeans-3layer",
    "patches-small", "ckn-small", "ckn",
)  # fmt: skip
COMPARED: tuple[tuple[str | None, str], ...] = (
    *((weights, by) for weights in _ALL for by in ("svm", "knn")),
    ("pixels", "cnn-small"),
)
