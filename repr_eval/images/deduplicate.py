"""Near duplicates by semantic hashing: images with the same code collapse to the first of them.

A ReLU autoencoder of 3072-128-3072 units is trained to restore noisy images, with dropout on its
code. Which of the 128 units are active for an image is its code, 128 bits; images with equal codes
are found in linear time [paper, section 4.1.1].

The paper gives no more than that. Here: the images at 32x32 (larger ones downsampled), scaled to
[-1, 1]; Gaussian noise of standard deviation 0.25; dropout of one half; the squared error; Adam
with a rate of 1e-3; batches of 128. A unit counts as active above `threshold`.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from repr_eval.images.scale import to_unit
from repr_eval.system.progress import progress_bar
from repr_eval.system.random_streams import dropped, random_state_for

SIDE, UNITS = 32, 128  # 3072-128-3072 [paper, section 4.1.1]
NOISE, DROPOUT = 0.25, 0.5
RATE, BATCH = 1e-3, 128
STEPS = 2000
THRESHOLD = 0.0
BLOCK = 1024  # images at a time
QUALITY = 75  # of JPEG, in planted duplicates
LEVELS = 8  # by which planted duplicates are brighter
SLACK = 1.1  # of the distance of near duplicates
PLANTS = 1000  # images of which planted duplicates are made


class Autoencoder(nn.Module):
    """Images float [N, 3072] in [-1, 1] -> float [N, 3072], through a code of 128 ReLU units."""

    def __init__(self, rng: torch.Generator) -> None:
        super().__init__()
        self.encoder = nn.Linear(3 * SIDE**2, UNITS)
        self.decoder = nn.Linear(UNITS, 3 * SIDE**2)
        for layer in (self.encoder, self.decoder):
            bound = layer.in_features**-0.5  # torch's own start, from numbers of a seed
            nn.init.uniform_(layer.weight, -bound, bound, rng)
            nn.init.zeros_(layer.bias)

    def code(self, x: Tensor) -> Tensor:
        """The code's activations float [N, 128], 0 or more."""
        return F.relu(self.encoder(x))

    def loss(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """The mean squared error of x restored from a noisy copy, through a code with dropout."""
        noisy = x + NOISE * torch.randn(x.shape, generator=rng)
        return F.mse_loss(self.decoder(dropped(self.code(noisy), DROPOUT, rng)), x)


@dataclass(frozen=True)
class Collapsed:
    """Which rows of an array stay, and which are removed for which.

    `kept` int64, ascending; `removed` int64, ascending; `originals` int64: for each of `removed`
    the row that stays in its place; `distances` float64: how far the two are apart, in levels;
    `near` bool: whether they are near duplicates by their pixels. Those that are not are false.
    """

    kept: np.ndarray
    removed: np.ndarray
    originals: np.ndarray
    distances: np.ndarray
    near: np.ndarray


def to_input(images: np.ndarray) -> Tensor:
    """Images uint8 [N, S, S, 3] -> float32 [N, 3072] in [-1, 1]; larger than 32x32, downsampled.

    ValueError on anything else, and on images of less than 32x32.
    """
    check_images(images)
    x = to_unit(torch.from_numpy(np.array(images)).permute(0, 3, 1, 2))
    if images.shape[1] != SIDE:
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    return x.flatten(1)


def check_images(images: np.ndarray) -> None:
    """ValueError unless images are uint8 [N, S, S, 3] with S of 32 or more, and not empty."""
    square = images.ndim == 4 and images.shape[1] == images.shape[2] and images.shape[3] == 3
    if images.dtype != np.uint8 or not square or images.shape[1] < SIDE or not len(images):
        raise ValueError(
            f"images are {images.dtype} {list(images.shape)}; needed: uint8 [N, S, S, 3] with at "
            f"least one image and S of at least {SIDE}"
        )


def train(images: np.ndarray, seed: int = 0, steps: int = STEPS) -> Autoencoder:
    """An autoencoder trained on images uint8 [N, S, S, 3] for so many batches of 128.

    Batches are drawn with replacement. The same seed gives the same one on the same machine.
    """
    check_images(images)
    if steps < 1:
        raise ValueError(f"steps={steps}: needs at least 1")
    numbers = random_state_for("deduplicate", seed)
    rng = torch.Generator().manual_seed(int(numbers.randint(2**31)))
    network = Autoencoder(rng)
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    for _ in progress_bar(range(steps), "autoencoder", unit="step"):
        rows = np.sort(numbers.randint(len(images), size=BATCH))
        loss = network.loss(to_input(images[rows]), rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


@torch.no_grad()
def codes(network: Autoencoder, images: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    """The codes uint8 [N, 16] of images uint8 [N, S, S, 3]: a bit for each unit above `threshold`."""
    if not 0 <= threshold < float("inf"):
        raise ValueError(f"threshold={threshold:g}: must be a number of 0 or more")
    blocks = (images[start : start + BLOCK] for start in range(0, len(images), BLOCK))
    active = [(network.code(to_input(block)) > threshold).numpy() for block in blocks]
    return np.packbits(np.concatenate(active), axis=1)


def collapse(images: np.ndarray, hashed: np.ndarray, confirm: bool = False) -> Collapsed:
    """Which of the images uint8 [N, S, S, 3] with codes uint8 [N, 16] stay: the first of each code.

    With `confirm` an image is removed only if it is a near duplicate by its pixels too.
    Differs from the paper: there every image of an equal code is removed.
    """
    if len(hashed) != len(images):
        raise ValueError(f"{len(hashed):,} codes for {len(images):,} images: needs one for each")
    _, first, code = np.unique(hashed, axis=0, return_index=True, return_inverse=True)
    originals = first[code.ravel()].astype(np.int64)
    removed = np.flatnonzero(originals != np.arange(len(images)))
    apart, allowed = distances(images, removed, originals[removed])
    near = apart <= allowed
    if confirm:
        removed, apart, near = removed[near], apart[near], near[near]
    kept = np.setdiff1d(np.arange(len(images)), removed)
    return Collapsed(kept, removed, originals[removed], apart, near)


def distances(images: np.ndarray, rows: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far images are from others, pair by pair, and how far near duplicates may be.

    Both float64 [len(rows)], root mean squares over pixels and colours in levels of 0 to 255. Near
    duplicates are no further apart than each of the two is from the furthest of the copies that
    `PLANTED` makes of it, and a tenth of that: a copy's own copies can be a little nearer to it.
    """
    apart, allowed = [np.empty(0)], [np.empty(0)]
    for start in range(0, len(rows), BLOCK):
        ones, originals = (images[some[start : start + BLOCK]] for some in (rows, others))
        apart.append(root_mean_square(ones, originals))
        allowed.append(np.minimum(_furthest_copy(ones), _furthest_copy(originals)))
    return np.concatenate(apart), np.concatenate(allowed)


def _furthest_copy(images: np.ndarray) -> np.ndarray:
    copies = [root_mean_square(make(images), images) for make in PLANTED.values()]
    return np.asarray(SLACK * np.max(copies, axis=0))


def root_mean_square(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The distance float64 [N] in levels of images uint8 [N, S, S, 3] and others, pair by pair."""
    difference = images.astype(np.float64) - others
    return np.sqrt((difference**2).mean((1, 2, 3)))


def shifted(images: np.ndarray) -> np.ndarray:
    """Images [N, S, S, 3] moved right by one pixel; the first column stays as it was."""
    return np.concatenate([images[:, :, :1], images[:, :, :-1]], 2)


def brightened(images: np.ndarray) -> np.ndarray:
    """Images uint8 brighter by 8 levels of 255."""
    return np.minimum(images.astype(np.int64) + LEVELS, 255).astype(np.uint8)


def recompressed(images: np.ndarray) -> np.ndarray:
    """Images uint8 [N, S, S, 3] as they come back from a JPEG file of quality 75."""
    made = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="JPEG", quality=QUALITY)
        made.append(np.asarray(Image.open(file)))
    return np.stack(made)


PLANTED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identical": np.copy,
    "shifted": shifted,
    "brightened": brightened,
    "recompressed": recompressed,
}


def recall_on_planted(
    network: Autoencoder, images: np.ndarray, threshold: float = THRESHOLD, seed: int = 0
) -> dict[str, tuple[int, int]]:
    """(found, made) of each kind of duplicate, of 1000 random images (all, of fewer).

    A duplicate is found if its code is its original's.
    """
    chosen = random_state_for("deduplicate/planted", seed).permutation(len(images))[:PLANTS]
    originals = images[np.sort(chosen)]
    hashed = codes(network, originals, threshold)
    recall = {}
    for kind, make in PLANTED.items():
        found = (codes(network, make(originals), threshold) == hashed).all(1)
        recall[kind] = (int(found.sum()), len(found))
    return recall
