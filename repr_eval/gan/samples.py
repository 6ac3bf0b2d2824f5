"""Images drawn by a generator, and grids of them as PNGs."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from repr_eval.gan.game import batch_statistics
from repr_eval.gan.networks import Generator
from repr_eval.images.scale import to_levels
from repr_eval.system.files import replacing


@torch.no_grad()
def generate(generator: Generator, z: Tensor) -> np.ndarray:
    """Noise float [N, z_dim] -> images uint8 [N, S, S, 3], normalised by the batch's own statistics.

    That is how the paper's code draws its samples: all N of them are one batch.
    """
    with batch_statistics(generator):
        x = generator(z).float()
    return to_levels(x).byte().permute(0, 2, 3, 1).cpu().numpy()


def grid(images: np.ndarray, columns: int | None = None, border: int = 2) -> np.ndarray:
    """Images uint8 [N, S, S, 3] -> one picture uint8 [H, W, 3], row by row, near square, white borders."""
    n, side = len(images), images.shape[1]
    columns = columns or int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    step = side + border
    picture = np.full((rows * step + border, columns * step + border, 3), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = border + i // columns * step, border + i % columns * step
        picture[top : top + side, left : left + side] = image
    return picture


def save_grid(path: Path, images: np.ndarray, columns: int | None = None) -> None:
    """Write `grid(images)` to `path` as a PNG, whole or not at all."""
    save_picture(path, grid(images, columns))


def save_picture(path: Path, pixels: np.ndarray) -> None:
    """Write a picture uint8 [H, W, 3] to `path` as a PNG, whole or not at all."""
    with replacing(Path(path)) as partial:
        Image.fromarray(pixels).save(partial, format="PNG")
