"""The proxy score of a discriminator: CIFAR-10 *validation* accuracy with 400 labels a class, cheap enough for a study.

10,000 images are held out of the training set, 1,000 of every class. Of the other 40,000, three draws of 400 a class
are labelled; an L2-SVM is fitted to each for every C of the grid; the score is the mean accuracy on the held-out images
with the C that is best there. It is therefore a little high (C is chosen on the images it is read from), alike for all.
Batch-norm statistics are those of 6,400 of the 40,000. The test split is never touched: it is not even kept.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repr_eval.atomic import replacing
from repr_eval.features.representations import Representation
from repr_eval.images.cifar10 import load_cifar10
from repr_eval.images.locate import data_root
from repr_eval.protocols.draws import per_class_draws, split_off, stream
from repr_eval.protocols.outcome import TOL
from repr_eval.protocols.selection import Validation, select_C

LABELS, DRAWS, HELD_OUT, STATISTICS = 400, 3, 1000, 6400
CS = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)


@dataclass(frozen=True)
class ProxyData:
    """Images uint8 [N, 32, 32, 3], labels int64 [N], draws of rows int64 [3, 4000], held-out rows int64 [10000]."""

    images: np.ndarray
    labels: np.ndarray
    draws: np.ndarray
    held_out: np.ndarray
    statistics: np.ndarray


def proxy_data(cache: Path) -> ProxyData:
    """CIFAR-10's training split with the study's fixed lists; read once, then from the file `cache`."""
    if not cache.is_file():
        split = load_cifar10(data_root(None)).train
        with replacing(cache) as partial, open(partial, "wb") as file:
            np.savez(file, images=split.images, labels=split.labels)
    with np.load(cache) as stored:
        images, labels = stored["images"], stored["labels"]
    rest, held_out = split_off(labels, HELD_OUT, stream("recipes/held-out", 0))
    draws = per_class_draws(labels, LABELS, DRAWS, "recipes/draw", 0, pool=rest)
    return ProxyData(images, labels, draws, held_out, rest[:STATISTICS])


def proxy(representation: Representation, data: ProxyData) -> Validation:
    """What was counted on the held-out images for every draw and C, and the best C."""
    adapted = representation.adapted(data.images[data.statistics], "proxy")
    needed = np.union1d(data.draws, data.held_out)
    X = np.empty((len(needed), representation.description.n_features), np.float16)
    adapted.fill(data.images[needed], X)
    draws, held_out = (np.searchsorted(needed, rows) for rows in (data.draws, data.held_out))
    return select_C(X, data.labels[needed], [(draw, held_out) for draw in draws], CS, TOL, progress=False)
