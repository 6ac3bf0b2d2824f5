"""Features of many images, some at a time, by one process or several."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from repr_eval.images.scale import to_unit
from repr_eval.system.ranks import current


def fill_in_blocks(
    images: np.ndarray, out: np.ndarray, block: int, features: Callable[[np.ndarray], Tensor], progress: bool
) -> None:
    """Write `features` [b, D] of images uint8 [N, S, S, 3] into `out` [N, D], `block` images at a time.

    Of several ranks each fills the rows of its share of the blocks.
    """
    ranks = current()
    starts = range(0, len(images), block)[ranks.number :: ranks.count]
    for start in tqdm(starts, desc="features", unit="block", disable=not progress, delay=2, leave=False):
        made = features(images[start : start + block])
        with np.errstate(over="ignore"):  # infinity in a narrower type is told of where features are stored
            out[start : start + len(made)] = made.cpu().numpy()


def on_device(images: np.ndarray, device: torch.device) -> Tensor:
    """Images [N, S, S, 3] as a tensor of their type on `device`; on the CPU it shares their memory where it can."""
    # torch warns of arrays that may not be written to.
    return torch.from_numpy(np.require(images, requirements=("C", "W"))).to(device)


def to_network(images: np.ndarray, device: torch.device) -> Tensor:
    """Images uint8 [N, S, S, 3] -> float32 [N, 3, S, S] in [-1, 1], channels-last, on `device`."""
    return to_unit(on_device(images, device).permute(0, 3, 1, 2))


def check_size(images: np.ndarray, size: int, taker: str) -> None:
    """ValueError unless images are [N, size, size, 3]."""
    if images.shape[1:] != (size, size, 3):
        raise ValueError(f"images are {list(images.shape[1:])}; {taker} takes {size}x{size}x3")
