"""Walks through Z [paper, section 6.1 and figure 4]: between random points, a film, how smooth it is.

A generator that has memorised images stays with one of them and then jumps to another; one that has
learned what images are made of goes in many small steps. The length of a step is the Euclidean
distance in D's features. Beside the walk stand two controls: jumps between images that have nothing
to do with each other, and a walk that shows, in place of each image, the nearest of those.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import pairwise_distances_argmin
from torch import Tensor

from repr_eval.explore.models import BLOCK, Models
from repr_eval.explore.output import save_film, save_numbers
from repr_eval.explore.pictures import enlarged
from repr_eval.gan.samples import save_grid
from repr_eval.system.random_streams import random_state_for

STEPS = 9  # images a row [paper, figure 4]
FRAMES = 24  # of the film, from one point to the next
FILM_SIDE = 128
UNRELATED = 1000  # images of the controls
EPSILON = 1e-4  # of the perceptual path length [StyleGAN, section 4.1]
PARALLEL = 1e-6  # sine of the angle below which there is no great circle between two vectors
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Control:
    """D's features float32 [N, D] of images that have nothing to do with each other; which they are."""

    features: np.ndarray
    description: str


def between(a: Tensor, b: Tensor, t: Tensor, z: str) -> Tensor:
    """Noise [N, T, d] on the way from a to b [N, d], at shares t [T] or [N, T] of it.

    Straight for uniform noise. For normal noise along the great circle (White 2016, arXiv
    1609.04468), since the straight way leads through lengths that noise does not have:

        sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b,  w the angle between a and b;

    straight where w is 0 or pi, which no such circle tells.
    """
    t = t.expand(len(a), -1)[:, :, None].double()
    first, last = a[:, None].double(), b[:, None].double()
    straight = (1 - t) * first + t * last
    if z == "uniform":
        return straight.float()
    cosine = torch.nn.functional.cosine_similarity(first, last, dim=2)[:, :, None].clamp(-1, 1)
    angle = cosine.arccos()
    sine = angle.sin()
    round_ = (((1 - t) * angle).sin() * first + (t * angle).sin() * last) / sine
    return torch.where(sine < PARALLEL, straight, round_).float()


def legs(models: Models, n: int, steps: int, seed: int) -> Tensor:
    """Noise [n, steps, d] of the walk through samples 0 to n - 1 of the seed, and back to 0.

    A leg has both its ends, so that each but the last begins the next one. ValueError where n < 2.
    """
    if n < 2:
        raise ValueError(f"`legs` {n}: a walk needs two points or more")
    points = models.noise(n, seed)
    return between(points, points.roll(-1, 0), torch.linspace(0, 1, steps), models.z)


def film(models: Models, n: int, seed: int) -> np.ndarray:
    """The frames uint8 [n * 24, S, S, 3] of that walk; after the last comes the first."""
    return models.images(legs(models, n, FRAMES + 1, seed)[:, :-1].flatten(0, 1))


def step_lengths(features: np.ndarray) -> np.ndarray:
    """Distances float64 [N, T - 1] between neighbours, of features [N, T, D] along N rows."""
    lengths: np.ndarray = np.linalg.norm(np.diff(features.astype(np.float64), axis=1), axis=2)
    return lengths


def distribution(lengths: np.ndarray) -> dict[str, Any]:
    """What there is to say of the steps [N, T] of N rows.

    `largest_over_mean`: of each row, from 1 (equal steps) to T (one jump); rows that stay where
    they are have none and are counted.
    """
    means = lengths.mean(1)
    ratios = lengths.max(1)[means > 0] / means[means > 0]
    return {
        "mean": float(lengths.mean()),
        "largest": float(lengths.max()),
        "quantiles": {
            f"{q:g}": float(value) for q, value in zip(QUANTILES, np.quantile(lengths, QUANTILES), strict=True)
        },
        "largest_over_mean": {
            "mean": float(ratios.mean()) if len(ratios) else None,
            "largest": float(ratios.max()) if len(ratios) else None,
            "rows": len(ratios),
            "rows_that_stay": int((means == 0).sum()),
            "one_jump": lengths.shape[1],
        },
    }


def control(models: Models, seed: int, images: np.ndarray | None = None, description: str = "") -> Control:
    """D's features of 1,000 of the real `images` uint8 [N, S, S, 3], or of independent samples.

    The seed draws them; all of `images`, where there are no more. ValueError where there are fewer
    than a row has.
    """
    if images is None:
        features = models.features_of_noise(models.noise(UNRELATED, seed, 1))
        return Control(features, f"{UNRELATED:,} independent samples")
    if len(images) < STEPS:
        raise ValueError(f"`data`: {len(images)} images; the control needs {STEPS} or more")
    order = random_state_for("explore/walk/control", seed).permutation(len(images))[:UNRELATED]
    chosen = np.stack([images[i] for i in order])
    return Control(models.features(chosen), f"{len(chosen):,} real images of {description}")


def smoothness(models: Models, walk: Tensor, unrelated: Control) -> dict[str, Any]:
    """The steps of the walk, noise [N, T, d], and of its controls: `walk`, `jumps`, `nearest`.

    `jumps`: from one unrelated image to another. `nearest`: in place of each image of the walk the
    nearest of the unrelated ones, as if there were no others.
    `largest_step_over_mean_jump`: near 1, a step of the walk leads to something that has nothing to
    do with what was before.
    """
    n, steps = walk.shape[:2]
    seen = models.features_of_noise(walk.flatten(0, 1))
    nearest = unrelated.features[pairwise_distances_argmin(seen, unrelated.features)]
    whole = len(unrelated.features) // steps * steps
    rows = {
        "walk": seen.reshape(n, steps, -1),
        "jumps": unrelated.features[:whole].reshape(-1, steps, seen.shape[1]),
        "nearest": nearest.reshape(n, steps, -1),
    }
    told = {name: distribution(step_lengths(features)) for name, features in rows.items()}
    return told | {
        "largest_step_over_mean_jump": told["walk"]["largest"] / told["jumps"]["mean"],
        "control": unrelated.description,
    }


def path_length(models: Models, pairs: int, seed: int) -> dict[str, Any]:
    """Perceptual path length in Z, in D's features, and what it is of the ends' distance.

    Mean of |f(G(z(t + e))) - f(G(z(t)))|^2 / e^2 over pairs of noise vectors and t uniform in
    [0, 1], e = 1e-4, z(t) as `between` [Karras, Laine & Aila 2019, arXiv 1812.04948, section 4.1].
    `trimmed`: without the lowest and the highest 1%, as their code does it.
    `ratio`: that mean by the mean of |f(G(z(1))) - f(G(z(0)))|^2. It has no unit and is 1 or more,
    up to sampling, by the Cauchy-Schwarz inequality: 1 for straight ways at constant speed.
    Differs from StyleGAN: f is D's features, which are neither normalised nor calibrated by people
    as LPIPS is, so that it compares neither with published figures nor between discriminators.
    They take 100,000 pairs.
    """
    a, b = (models.noise(pairs, seed, index) for index in (2, 3))
    start = torch.from_numpy(random_state_for("explore/walk/path-length", seed).random_sample((pairs, 1)))
    near = between(a, b, torch.cat([start, start + EPSILON], 1), models.z)
    squares = _squared_distances(models, near) / EPSILON**2
    ends = _squared_distances(models, torch.stack([a, b], 1))
    low, high = (
        np.quantile(squares, 0.01, method="lower"),
        np.quantile(squares, 0.99, method="higher"),
    )
    mean, apart = float(squares.mean()), float(ends.mean())
    return {
        "mean": mean,
        "trimmed": float(squares[(squares >= low) & (squares <= high)].mean()),
        "ends_squared_distance": apart,
        "ratio": mean / apart if apart else None,
        "pairs": pairs,
        "epsilon": EPSILON,
        "distance": "squared Euclidean, D's features; not comparable with published path lengths",
    }


def _squared_distances(models: Models, pairs: Tensor) -> np.ndarray:
    """Squared distances float64 [N] of the images of noise [N, 2, d], of some pairs at a time."""
    apart = []
    for some in pairs.split(BLOCK // 2):
        seen = models.features_of_noise(some.flatten(0, 1)).reshape(len(some), 2, -1)
        apart.append(step_lengths(seen)[:, 0])
    squares: np.ndarray = np.concatenate(apart) ** 2
    return squares


def run(
    models: Models, out: Path, seed: int, command: str, n: int = 10, pairs: int = 500,
    images: np.ndarray | None = None, description: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Write walk.png (n rows of nine), walk.webp and walk.json to `out`; the numbers.

    `images` uint8 [N, S, S, 3] are real ones for the controls, `description` says which.
    """
    walk = legs(models, n, STEPS, seed)
    unrelated = control(models, seed, images, description)
    numbers = smoothness(models, walk, unrelated) | {"path_length": path_length(models, pairs, seed)}
    save_grid(out / "walk.png", enlarged(models.images(walk.flatten(0, 1))), STEPS)
    save_film(out / "walk.webp", list(enlarged(film(models, n, seed), FILM_SIDE)))
    save_numbers(
        out / "walk.json",
        "walk",
        models,
        seed,
        command,
        numbers | {"steps": STEPS, "noise": models.z},
    )
    return numbers


def in_words(numbers: dict[str, Any]) -> list[str]:
    """The numbers of a walk in lines."""

    def row(name: str, words: str) -> str:
        part = numbers[name]
        ratio = part["largest_over_mean"]["mean"]
        return (
            f"{words}: mean step {part['mean']:.4g}, largest {part['largest']:.4g}, "
            f"largest over mean of a row {'-' if ratio is None else f'{ratio:.2f}'}"
        )

    path = numbers["path_length"]
    times = "-" if path["ratio"] is None else f"{path['ratio']:.1f}"
    one_jump = numbers["walk"]["largest_over_mean"]["one_jump"]
    return [
        row("walk", "the walk"),
        row("jumps", f"jumps between {numbers['control']}"),
        row("nearest", "a walk from each to the nearest of those"),
        f"the walk's largest step is {numbers['largest_step_over_mean_jump']:.2f} of a mean jump; "
        f"one jump a row would have a largest over mean of {one_jump}",
        f"path length in D's features {path['mean']:.4g} over {path['pairs']:,} pairs, "
        f"{times} times the squared distance of the ends "
        "(not comparable with published path lengths)",
    ]
