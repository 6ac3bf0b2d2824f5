"""What several modules of tests make: small data, representations, records, runs of the command line."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

from repr_eval.cli import main
from repr_eval.records import Record
from repr_eval.representations.discriminator import DiscriminatorFeatures, untrained


def run(*arguments: object) -> Result:
    """The command line with these words."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def random_images(n: int, size: int = 32, seed: int = 0) -> np.ndarray:
    """Images uint8 [n, size, size, 3] of white noise."""
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def mine(images: np.ndarray) -> np.ndarray:
    """A user's function, means of 8x8 squares: uint8 [N, 32, 32, 3] -> float [N, 48]."""
    return images.reshape(-1, 4, 8, 4, 8, 3).mean((2, 4)).reshape(len(images), -1)


def small_discriminator(bn: str = "running", arch: str = "dcgan32", width: float = 0.05) -> DiscriminatorFeatures:
    """Features of an untrained narrow network."""
    return untrained(arch, width, seed=0, bn=bn)


def record(**changes: Any) -> Record:
    """A record of CIFAR-10 with 400 labels a class, but for `changes`."""
    content: dict[str, Any] = {
        "time": "2025-01-02T03:04:05+00:00",
        "protocol": "cifar10/per-class/1",
        "dataset": {"name": "CIFAR-10", "verified": True, "train_fingerprint": "aa", "test_fingerprint": "bb"},
        "method": "DCGAN (width 1)",
        "trained_on": "ImageNet, 32x32 – “min-resized”",
        "layers": "1-6 of 6",
        "n_features": 28_672,
        "max_units": 512,
        "representation": {"weights_sha256": "cc", "bn": "recomputed"},
        "labels": 4_000,
        "seed": 0,
        "lists_sha256": "dd",
        "C": 1e-4,
        "C_at_edge": False,
        "validation_n": 800,
        "validation_correct": {"0.0001": [560, 570, 580], "0.001": [550, 560, 570]},
        "test_n": 100,
        "test_correct": [70, 74, 72],
        "largest_gap": 0.00098,
        "seconds": {"features": 10.5, "selection": 20.25, "test": 3.0},
        "versions": {"torch": "2.9"},
        "machine": "a processor, 2 cores, cpu",
        "commit": "none",
        "command": "repr-eval cifar10-svm --labels-per-class 400",
    }
    return Record(**(content | changes))


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """As on a disk that is about to be full: writes beyond `size` bytes of a file raise OSError."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
