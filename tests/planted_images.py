"""Images of planted classes, for classifiers that train a network."""

import numpy as np

from repr_eval.classifiers.base import Features


def planted_images(n: int, seed: int, brighter: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a red, green or blue stripe: images uint8 [n, 32, 32, 3] of classes 3 to 5."""
    rng = np.random.default_rng(seed)
    images, kinds = rng.integers(0, 160, (n, 32, 32, 3), dtype=np.uint8), rng.permutation(np.arange(n) % 3)
    for image, kind, top in zip(images, kinds, rng.integers(0, 26, n), strict=True):
        image[top : top + 6, :, kind] += brighter
    return images, kinds + 3


def planted(n: int, seed: int, brighter: int = 60) -> Features:
    images, y = planted_images(n, seed, brighter)
    return Features(images, y)


def alike_or_not(n: int, seed: int) -> Features:
    """Noise with a red or green patch on either side: class 3 where the two differ, 4 if not.

    Neither patch says anything of the class alone.
    """
    rng = np.random.default_rng(seed)
    images, left, right = rng.integers(0, 160, (n, 32, 32, 3), dtype=np.uint8), np.arange(n) % 2, np.arange(n) // 2 % 2
    for image, one, other in zip(images, left, right, strict=True):
        for kind, first in ((one, 0), (other, 16)):
            top, column = rng.integers(4, 22), first + rng.integers(3, 7)
            image[top : top + 6, column : column + 6, kind] += 90
    return Features(images, (left == right).astype(int) + 3)
