"""Which images are labelled, held out, drawn: index lists that are the same on every machine.

Indices refer to a split's canonical order (images.labelled), so they mean the same images whatever layout the data
came in. Random numbers come from `system.random_streams`.
"""

import numpy as np

from repr_eval.system.random_streams import random_state_for


def per_class_draw(labels: np.ndarray, per_class: int, rng: np.random.RandomState) -> np.ndarray:
    """Indices int64 [classes * per_class], sorted, of `per_class` images of every class in `labels` [N].

    ValueError where a class has fewer.
    """
    if per_class < 1:
        raise ValueError(f"{per_class} labels a class: needs at least 1")
    drawn = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < per_class:
            raise ValueError(f"class {label} has {len(members)} images, too few for a draw of {per_class} a class")
        drawn.append(rng.permutation(members)[:per_class])
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def per_class_draws(
    labels: np.ndarray, per_class: int, draws: int, purpose: str, seed: int, pool: np.ndarray | None = None
) -> np.ndarray:
    """`draws` independent draws, int64 [draws, classes * per_class], from the images `pool` [M] (all, if None)."""
    if draws < 1:
        raise ValueError(f"{draws} draws: needs at least 1")
    pool = np.arange(len(labels)) if pool is None else pool
    return np.stack(
        [pool[per_class_draw(labels[pool], per_class, random_state_for(purpose, seed, draw))] for draw in range(draws)]
    )


def split_off(labels: np.ndarray, per_class: int, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """(rest, held out): indices into `labels`, `per_class` images of every class held out."""
    held_out = per_class_draw(labels, per_class, rng)
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def split_off_share(labels: np.ndarray, parts: int, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """(rest, held out): indices into `labels`; of every class of n images n // `parts` are held out.

    At least one of a class of two and more, none of a class of one. ValueError where every class has one image.
    """
    held_out = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) > 1:
            held_out.append(rng.permutation(members)[: max(1, len(members) // parts)])
    if not held_out:
        raise ValueError("every class has one image: none can be held out to choose C")
    rows = np.sort(np.concatenate(held_out)).astype(np.int64)
    return np.setdiff1d(np.arange(len(labels)), rows), rows
