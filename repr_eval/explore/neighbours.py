"""Memorisation: whether samples lie nearer to training images than images never trained on do.

For samples and for held-out real images, the nearest training image: by pixels, and by D's features.

Two tests, each in both spaces. *Nearer*: a one-sided Mann-Whitney test that samples are nearer to
the training images than held-out images are [Meehan, Chaudhuri & Dasgupta 2020, A non-parametric
test to detect data-copying in generative models]. Smooth samples are near to every image, so that
it finds blur too. *Owned*: of training and held-out images together, whether the one nearest to a
sample is a training image more often than their share of all says. Blur is as near to the one as
to the other; a copy is not. Its p-value is that of a permutation of which images are held out,
which allows for single images that are nearest to many samples.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu
from sklearn.neighbors import NearestNeighbors

from repr_eval.explore.models import Models
from repr_eval.explore.output import save_numbers
from repr_eval.explore.pictures import Row, picture
from repr_eval.gan.samples import save_picture as save_png
from repr_eval.gan.unlabelled import UnlabelledImages
from repr_eval.system.progress import progress_bar
from repr_eval.system.random_streams import random_state_for

BLOCK = 1024  # real images at a time
SHOWN = 5  # neighbours in the picture
COLOURS = {"pixels": "black", "features": "blue"}  # of their distances
PERMUTATIONS = 1999
PERCENTILE = 1.0  # of held-out distances; that share of them is nearer

Space = Callable[[np.ndarray], np.ndarray]  # images uint8 [N, S, S, 3] -> float32 [N, D]


@dataclass(frozen=True)
class Nearest:
    """The nearest images of each of n queries: distances float64 [n, k], ascending, and rows int64 [n, k]."""

    distances: np.ndarray
    rows: np.ndarray


def pixels(images: np.ndarray) -> np.ndarray:
    """Images uint8 [N, S, S, 3] as float32 [N, D], so scaled that a distance is a root mean square in levels."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    return flat / np.float32(np.sqrt(flat.shape[1]))


def spaces(models: Models) -> dict[str, Space]:
    """What images are compared by: pixels, and D's features."""
    return {"pixels": pixels, "features": models.features}


def nearest(
    queries: dict[str, list[np.ndarray]], images: np.ndarray, by: dict[str, Space], k: int
) -> dict[str, list[Nearest]]:
    """Of each space's sets of queries float [n, D], the k nearest of images uint8 [N, S, S, 3].

    Euclidean distances. Real images are read, and their features made, 1024 at a time; of equally
    near ones the first comes first. If N is below k, N of them.
    """
    found: dict[str, list[Nearest]] = {
        name: [Nearest(np.empty((len(q), 0)), np.empty((len(q), 0), np.int64)) for q in sets]
        for name, sets in queries.items()
    }
    for start in progress_bar(range(0, len(images), BLOCK), "neighbours", unit="block"):
        block = images[start : start + BLOCK]
        for name, sets in queries.items():
            index = NearestNeighbors(n_neighbors=min(k, len(block)), algorithm="brute")
            index.fit(by[name](block))
            for number, some in enumerate(sets):
                distances, rows = index.kneighbors(some)
                found[name][number] = _merged(found[name][number], distances, rows + start, k)
    return found


def _merged(before: Nearest, distances: np.ndarray, rows: np.ndarray, k: int) -> Nearest:
    """The k nearest of both; `rows` come after all of `before`."""
    distances = np.concatenate([before.distances, distances.astype(np.float64)], 1)
    rows = np.concatenate([before.rows, rows.astype(np.int64)], 1)
    order = np.lexsort((rows, distances), axis=1)[:, :k]
    return Nearest(np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1))


def nearer(samples: np.ndarray, held_out: np.ndarray) -> dict[str, Any]:
    """Whether samples are nearer to training images than held-out images are: distances [n] and [m].

    `probability` is that a random sample is nearer than a random held-out image, equal ones halved:
    0.5 if nothing is memorised. `p` is the Mann-Whitney test's, one-sided.
    """
    test = mannwhitneyu(samples, held_out, alternative="less")
    limit = float(np.percentile(held_out, PERCENTILE))
    return {
        "probability": float(1 - test.statistic / (len(samples) * len(held_out))),
        "p": float(test.pvalue),
        "held_out_percentile_1": limit,
        "samples_below_it": int((samples < limit).sum()),
        "expected_below_it": len(samples) * PERCENTILE / 100,
    }


def owned(training: Nearest, held_out: Nearest, n_training: int, n_held_out: int, seed: int) -> dict[str, Any]:
    """How many samples have a training image as the nearest of all, of n_training and n_held_out images.

    An equal distance counts for the held-out image. `p` is one-sided, of 1999 permutations.
    """
    own = training.distances[:, 0] < held_out.distances[:, 0]
    owners = np.where(own, training.rows[:, 0], n_training + held_out.rows[:, 0])
    _, wins = np.unique(owners, return_counts=True)  # samples of each image that is nearest to any
    numbers, n = random_state_for("explore/neighbours", seed), n_training + n_held_out
    held = np.empty(PERMUTATIONS, np.int64)
    for number in range(PERMUTATIONS):
        held[number] = wins[numbers.permutation(n)[: len(wins)] < n_held_out].sum()
    return {
        "nearest_is_a_training_image": int(own.sum()),
        "expected": len(own) * n_training / n,
        "p": float((1 + (held <= (~own).sum()).sum()) / (1 + PERMUTATIONS)),
    }


@dataclass(frozen=True)
class Study:
    """What `study` found: images uint8 [n, S, S, 3], and for each of the two the nearest training images by space."""

    samples: np.ndarray
    held_out: np.ndarray
    of_samples: dict[str, Nearest]
    of_held_out: dict[str, Nearest]
    numbers: dict[str, Any]


def study(models: Models, training: np.ndarray, held_out: np.ndarray, n: int, seed: int) -> Study:
    """n samples, and as many random held-out images (all, of fewer), against all training images.

    Images uint8 [N, S, S, 3], S that of the networks. Raises ValueError where they differ in size,
    are fewer than two, or D's features are missing.
    """
    if n < 2:
        raise ValueError(f"n={n}: a test needs 2 samples or more")
    for what, images in (("training", training), ("held-out", held_out)):
        if len(images) < 2:
            raise ValueError(f"{len(images)} {what} images: a test needs 2 or more")
    by = spaces(models)
    samples = models.images(models.noise(n, seed))
    chosen = random_state_for("explore/held-out", seed).permutation(len(held_out))[:n]
    others = held_out[np.sort(chosen)]
    queries = {name: [embed(samples), embed(others)] for name, embed in by.items()}
    to_training = nearest(queries, training, by, SHOWN)
    only_samples = {name: sets[:1] for name, sets in queries.items()}
    to_held_out = nearest(only_samples, held_out, by, 1)
    numbers = {
        name: {
            "samples": quantiles(of_samples.distances[:, 0]),
            "held_out": quantiles(of_held_out.distances[:, 0]),
            "nearer": nearer(of_samples.distances[:, 0], of_held_out.distances[:, 0]),
            "owned": owned(of_samples, to_held_out[name][0], len(training), len(held_out), seed),
        }
        for name, (of_samples, of_held_out) in to_training.items()
    }
    counts = {
        "samples": len(samples), "held_out_compared": len(others),
        "training_images": len(training), "held_out_images": len(held_out),
    }  # fmt: skip
    of_samples, of_held_out = ({name: sets[i] for name, sets in to_training.items()} for i in (0, 1))
    return Study(samples, others, of_samples, of_held_out, counts | numbers)


def quantiles(distances: np.ndarray) -> dict[str, float]:
    """The smallest distance of [n], the 1st, 25th, 50th and 75th percentile, and the largest."""
    names = {"smallest": 0, "percentile_1": 1, "percentile_25": 25, "median": 50, "percentile_75": 75, "largest": 100}
    return {name: float(np.percentile(distances, q)) for name, q in names.items()}


def _lines(found: Study) -> list[tuple[str, np.ndarray, dict[str, Nearest], int]]:
    """The picture's lines: label, images, their neighbours, and the row of the image; none twice."""
    lines = []
    for what, images, near, count in (
        ("sample", found.samples, found.of_samples, 3),
        ("held out", found.held_out, found.of_held_out, 2),
    ):
        shown: list[int] = []
        for name, ones in near.items():
            order = np.argsort(ones.distances[:, 0], kind="stable")
            first = [int(i) for i in order if i not in shown][:count]
            lines += [(f"{what}, near by {name}", images, near, i) for i in first]
            shown += first
        if what == "sample":
            others = [i for i in range(len(images)) if i not in shown][:3]
            lines += [("sample, not chosen", images, near, i) for i in others]
    return lines


def save_picture(path: Path, found: Study, training: np.ndarray) -> None:
    """Samples and held-out images with their nearest training images by pixels and by features, as a PNG.

    Of samples the three nearest by each space, and the first three of the others; of held-out
    images the two nearest by each.
    """
    rows: list[Row] = []
    titles: set[str] = set()
    for what, images, near, i in _lines(found):
        shown, captions, colours = [images[i]], [what.partition(",")[0]], ["black"]
        for name, ones in near.items():
            shown += [training[row] for row in ones.rows[i]]
            captions += [f"{distance:.1f}" for distance in ones.distances[i]]
            colours += [COLOURS[name]] * len(ones.rows[i])
        title = "" if what in titles else what
        if not titles:
            title += "; to its right the nearest training images by pixels (black) and by D's features (blue)"
        titles.add(what)
        rows.append(Row(title, np.stack(shown), captions, colours))
    save_png(path, picture(rows))


def run(
    models: Models, training: UnlabelledImages, held_out: UnlabelledImages, n: int, seed: int,
    command: str, out: Path,
) -> tuple[dict[str, Any], list[Path]]:  # fmt: skip
    """The study, written to the folder `out`: the numbers, and the paths of picture and JSON."""
    found = study(models, training.images, held_out.images, n, seed)
    sources = {
        name: {"data": source.description, "sha256": source.sha256}
        for name, source in (("training", training), ("held_out", held_out))
    }
    numbers = found.numbers | {"sources": sources}
    written = [out / "neighbours.png", out / "neighbours.json"]
    save_picture(written[0], found, training.images)
    save_numbers(written[1], "neighbours", models, seed, command, numbers)
    return numbers, written


def in_words(numbers: dict[str, Any]) -> str:
    """The numbers of a study in two lines, one for each space."""
    lines = []
    for name in ("pixels", "features"):
        one, nearer_, owned_ = numbers[name], numbers[name]["nearer"], numbers[name]["owned"]
        lines.append(
            f"{name}: median distance to the nearest training image {one['samples']['median']:.2f} of samples, "
            f"{one['held_out']['median']:.2f} of held-out images; a sample is nearer with probability "
            f"{nearer_['probability']:.3f} (p = {nearer_['p']:.2g}); nearer than the held-out images' 1st percentile: "
            f"{nearer_['samples_below_it']} of {numbers['samples']} (expected {nearer_['expected_below_it']:.1f}); "
            f"nearest real image is a training image: {owned_['nearest_is_a_training_image']} (expected "
            f"{owned_['expected']:.1f}, p = {owned_['p']:.2g})"
        )
    return "\n".join(lines)
