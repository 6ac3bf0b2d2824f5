"""Representations by name: a weights file, shipped weights, the untrained control, or a method of the suite."""

import torch

from repr_eval.gan.pretrained import UNTRAINED, best, find_weights
from repr_eval.representations.base import Representation
from repr_eval.representations.discriminator import from_weights, untrained
from repr_eval.representations.feature_folder import FeatureFolder, is_feature_folder
from repr_eval.representations.methods import METHODS


def representation_named(
    name: str | None, *, seed: int = 0, device: torch.device | None = None, bn: str = "recomputed",
    arch: str = "dcgan32", width: float = 1.0,
) -> Representation:  # fmt: skip
    """What `name` stands for; None is the best shipped discriminator.

    A folder of extracted features, a .safetensors file, a name from pretrained/, a row of `METHODS`, or "random"
    ("random:1" with another seed than `seed`) for an untrained discriminator of `arch` and `width`. `bn` says where
    batch-norm statistics come from. Raises ValueError on a name that stands for nothing, or choices that do not go
    together.
    """
    device = device or torch.device("cpu")
    if name in METHODS:
        if bn != "recomputed":
            raise ValueError(f"`bn={bn!r}`: {name} has no batch norm; leave it out")
        return METHODS[name](seed, device)
    if control := UNTRAINED.fullmatch(name or ""):
        if bn == "running":
            raise ValueError('`bn="running"`: untrained weights have no statistics of their own; use `bn="recomputed"`')
        return untrained(arch, width, seed if control[1] is None else int(control[1]), bn=bn, device=device)
    if name is not None and is_feature_folder(name):
        if bn != "recomputed":
            raise ValueError(f"bn {bn}: {name} holds features that are made already; leave it out")
        return FeatureFolder(name)
    return from_weights(find_weights(name or best()), bn=bn, device=device)
