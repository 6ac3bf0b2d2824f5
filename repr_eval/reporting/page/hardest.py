"""The test images that the fewest measurements get right, where predictions are stored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repr_eval.predictions import Predictions, read_predictions
from repr_eval.records import Record
from repr_eval.reporting.page.pictures import Sample, small
from repr_eval.reporting.rows import newest

MOST = 24  # images of a set
SIDE = 64  # pixels, at most, of a picture


@dataclass(frozen=True)
class Hard:
    """An image: its number in the test split, its class, how often it is right, what else it is taken for."""

    number: int
    name: str
    right_percent: str
    mistaken_for: str
    picture: Sample | None


@dataclass(frozen=True)
class HardSet:
    """The hardest images of one test split, the hardest first."""

    data: str
    measurements: int
    images: tuple[Hard, ...]

    @property
    def size(self) -> int:
        """Characters of its pictures."""
        return sum(len(one.picture.uri) for one in self.images if one.picture)


def hardest(predictions: Sequence[Predictions], most: int = MOST) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers int [k] of the images that are right least often, those shares [k] in [0, 1], and the
    classes int [k] that each is given most often in place of its own.

    A share is the mean over measurements of the share of draws that are right; each measurement weighs as much. Of
    equals the first come first; an image that is always right is none of them. k is at most `most`.
    """
    share = np.mean([one.draws_right / len(one.predicted) for one in predictions], axis=0)
    chosen = np.argsort(share, kind="stable")[:most]
    chosen = chosen[share[chosen] < 1]
    mistaken = [_mistaken(predictions, int(number)) for number in chosen]
    return chosen, share[chosen], np.array(mistaken, np.int64)


def _mistaken(predictions: Sequence[Predictions], number: int) -> int:
    """The class other than its own that an image is given most often, the lowest of equals."""
    weights: dict[int, float] = {}
    for one in predictions:
        given, truth = one.predicted[:, number], int(one.labels[number])
        for label, count in zip(*np.unique(given[given != truth], return_counts=True), strict=True):
            weights[int(label)] = weights.get(int(label), 0.0) + float(count) / len(given)
    return min(weights, key=lambda label: (-weights[label], label))


def hard_sets(
    records: Sequence[Record], folder: Path, class_names: Callable[[Record], Sequence[str]],
    test_images: Callable[[Record], np.ndarray | None],
) -> list[HardSet]:  # fmt: skip
    """The hardest images of every test split of which `folder` has predictions.

    `test_images` gives the images uint8 [N, S, S, 3] of a record's test split, or None. Only the newest record of each
    measurement counts. Predictions that are damaged are passed over: the evidence names them.
    """
    groups: dict[str, list[tuple[Record, Predictions]]] = {}
    for record in newest(list(records)):
        try:
            predictions = read_predictions(folder, record)
        except ValueError:
            continue
        if predictions is not None:
            key = f"{record.dataset['test_fingerprint']} {predictions.n}"
            groups.setdefault(key, []).append((record, predictions))
    found = [_set(group, class_names(group[0][0]), test_images(group[0][0])) for group in groups.values()]
    return [one for one in found if one.images]


def _set(group: list[tuple[Record, Predictions]], names: Sequence[str], images: np.ndarray | None) -> HardSet:
    record, first = group[0]
    if images is not None and len(images) != first.n:
        images = None
    found = []
    for number, share, mistaken in zip(*hardest([one for _, one in group]), strict=True):
        own, other = (_named(int(label), names) for label in (first.labels[number], mistaken))
        picture = None if images is None else small(images[number], f"{own}, number {number}", SIDE)
        found.append(Hard(int(number), own, f"{100 * share:.1f}", other, picture))
    return HardSet(record.dataset["name"], len(group), tuple(found))


def _named(label: int, names: Sequence[str]) -> str:
    return names[label] if 0 <= label < len(names) else str(label)
