"""The proxy score of a discriminator: CIFAR-10 *validation* accuracy with 400 labels a class, cheap enough for a study.

10,000 images are held out of the training set, 1,000 of every class. Of the other 40,000, two draws of 400 a class are
labelled. C is the one with which the first draw's L2-SVM does best on the held-out images; the score is the mean of
both draws' accuracy there. It is therefore a little high (C is chosen on the images it is read from), alike for all.
Batch-norm statistics are those of 3,200 of the 40,000. The test split is never touched: it is not even kept.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repr_eval.classifiers.base import TOL
from repr_eval.classifiers.selection import count_correct, fit_draws, select_C
from repr_eval.images.cifar10 import load_cifar10
from repr_eval.images.data_dir import data_root
from repr_eval.protocols.draws import per_class_draws, split_off
from repr_eval.representations.base import Representation
from repr_eval.system.files import replacing
from repr_eval.system.random_streams import random_state_for

LABELS, DRAWS, HELD_OUT, STATISTICS = 400, 2, 1000, 3200
CS = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)


@dataclass(frozen=True)
class ProxyData:
    """Images uint8 [N, 32, 32, 3], labels int64 [N], draws of rows int64 [2, 4000], held-out rows int64 [10000]."""

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
    rest, held_out = split_off(labels, HELD_OUT, random_state_for("recipes/held-out", 0))
    draws = per_class_draws(labels, LABELS, DRAWS, "recipes/draw", 0, pool=rest)
    return ProxyData(images=images, labels=labels, draws=draws, held_out=held_out, statistics=rest[:STATISTICS])


@dataclass(frozen=True)
class Score:
    """Held-out images classified correctly, of `n`, by each draw's classifier with this C."""

    C: float
    correct: list[int]
    n: int
    at_edge: bool  # C is the smallest or largest of the grid


def proxy(representation: Representation, data: ProxyData) -> Score:
    """What was counted on the held-out images."""
    needed = np.union1d(data.draws, data.held_out)
    X = np.empty((len(needed), representation.description.n_features), np.float16)
    representation.fit(data.images[data.statistics]).transform(data.images[needed], out=X)
    draws, held_out = (np.searchsorted(needed, rows) for rows in (data.draws, data.held_out))
    y = data.labels[needed]
    validation = select_C(X, y, [(draws[0], held_out)], CS, TOL)
    others = fit_draws(X, y, list(draws[1:]), validation.C, TOL)
    correct = [*validation.correct[validation.C], *count_correct(others, X, y, held_out)]
    return Score(validation.C, correct, validation.n, validation.at_edge)
