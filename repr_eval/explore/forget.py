"""What G forgets to draw without the maps that draw it [paper, section 6.3.1 and figure 6].

Boxes are drawn around an object in samples. On the maps of G's second highest convolution, a logistic regression tells
the places inside the boxes from those outside on the same samples. All maps with a weight above zero are set to zero
everywhere, and the convolutions after them draw the rest.

Which convolution that is: the highest one that has maps is the one before the image is made. The second highest of
dcgan64 thus has 256 maps of 16x16; the paper dropped 200, more than the 128 of the highest.

Differs from the paper: all places outside the boxes are negatives, weighted to count as much as those inside, where
the paper takes random ones; maps are divided by their standard deviations, so that the penalty means the same for each.

The detector of the object that gives the numbers is another logistic regression, in D's maps of the images. It sees
what was drawn; the maps that were set to zero would prove nothing but that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor

from repr_eval.explore.boxes.drawn import Boxes, check_fit, outlined
from repr_eval.explore.models import BLOCK, Models
from repr_eval.explore.output import save_numbers
from repr_eval.explore.pictures import Row, picture
from repr_eval.explore.probe import share_as_high
from repr_eval.gan.samples import save_picture
from repr_eval.images.scale import to_levels
from repr_eval.representations.batched import to_network
from repr_eval.representations.discriminator import pooled
from repr_eval.system.progress import progress_bar
from repr_eval.system.random_streams import random_state_for

FOLDS = 5  # parts of the boxed samples; each is judged by what the others taught
RANDOM = 40  # choices of as many random maps
NEW = 64  # samples on no sheet
SHOWN = 8  # samples in a row of the picture
COLOUR = (255, 45, 85)  # of boxes


@dataclass(frozen=True)
class Detector:
    """The probability that a place with maps m, float [M], is inside: 1 / (1 + exp(-(weights m + intercept)))."""

    weights: np.ndarray  # float64 [M]; 0 for maps that never change
    intercept: float

    def probability(self, maps: np.ndarray) -> np.ndarray:
        """Float64 [N, s, s] for maps [N, M, s, s]."""
        scores = np.einsum("nmij,m->nij", maps.astype(np.float64), self.weights) + self.intercept
        return 1 / (1 + np.exp(-scores))

    @property
    def positive(self) -> np.ndarray:
        """The numbers of the maps with a weight above zero, int64."""
        return np.flatnonzero(self.weights > 0)


def fit_detector(maps: np.ndarray, inside: np.ndarray) -> Detector:
    """scikit-learn's logistic regression (C = 1) of maps [N, M, s, s] and places inside, bool [N, s, s].

    Both sides count alike, however many places they have. ValueError where one side has none.
    """
    if inside.all() or not inside.any():
        raise ValueError("the boxes hold every place of their samples; there is nothing outside to tell them from")
    X = maps.transpose(0, 2, 3, 1).reshape(-1, maps.shape[1]).astype(np.float64)
    changing = np.ptp(X, axis=0) > 0
    weights = np.zeros(maps.shape[1])
    if not changing.any():
        return Detector(weights, 0.0)
    std = X[:, changing].std(0)
    fitted = LogisticRegression(class_weight="balanced", max_iter=10_000).fit(X[:, changing] / std, inside.ravel())
    weights[changing] = fitted.coef_[0] / std
    return Detector(weights, float(fitted.intercept_[0]))


def second_highest(models: Models) -> int:
    """The number of the second highest convolution of G that has maps, counted from 1; the last makes the image."""
    return max(1, len(models.generator.convs) - 2)


def check_layer(models: Models, layer: int) -> None:
    """ValueError unless `layer` is the number of a convolution of G that has maps."""
    last = len(models.generator.convs) - 1
    if not 1 <= layer <= last:
        raise ValueError(f"`layer` {layer}: G's convolutions 1 to {last} have maps, {last + 1} makes the image")


@torch.no_grad()
def maps_of(models: Models, z: Tensor, layer: int) -> Tensor:
    """The maps float32 [N, M, s, s] of convolution number `layer` of G for noise [N, z_dim], after its ReLU."""
    blocks = (z[start : start + BLOCK].to(models.device) for start in range(0, len(z), BLOCK))
    return torch.cat([next(islice(models.generator.activations(block), layer, None)).cpu() for block in blocks])


@torch.no_grad()
def drawn_without(models: Models, maps: Tensor, layer: int, dropped: Sequence[int] | np.ndarray) -> np.ndarray:
    """The images uint8 [N, S, S, 3] that G draws from maps [N, M, s, s] with the maps of these numbers set to 0."""
    maps = maps.clone()
    maps[:, torch.as_tensor(np.asarray(dropped, np.int64))] = 0
    images = []
    for start in range(0, len(maps), BLOCK):
        *_, x = models.generator.onwards(maps[start : start + BLOCK].to(models.device), layer)
        images.append(to_levels(x.float()).byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(images)


@dataclass(frozen=True)
class Seen:
    """What D sees in images: the maps of one layer, float32 [N, M, s, s], and its features, float32 [N, D]."""

    maps: np.ndarray
    features: np.ndarray


@torch.no_grad()
def seen(models: Models, images: np.ndarray, side: int) -> Seen:
    """D's features of images uint8 [N, S, S, 3], and the maps of its last layer that has at least `side` places."""
    assert models.discriminator is not None
    maps, features = [], []
    for start in range(0, len(images), BLOCK):
        layers = list(models.discriminator.activations(to_network(images[start : start + BLOCK], models.device)))
        fine = [h for h in layers if h.shape[2] >= side] or layers[:1]
        maps.append(fine[-1].cpu().numpy())
        features.append(torch.cat([pooled(h) for h in layers], 1).cpu().numpy())
    return Seen(np.concatenate(maps), np.concatenate(features))


def random_maps(candidates: np.ndarray, k: int, choice: int, seed: int) -> np.ndarray:
    """k random numbers of `candidates` for choice number `choice`; of one choice, fewer are among more."""
    return random_state_for("explore/forget/random", seed, choice).permutation(candidates)[:k]


def variants(dropped: np.ndarray, candidates: np.ndarray, seed: int) -> list[np.ndarray]:
    """The maps to drop: none, those that are to be forgotten, and RANDOM times as many random ones."""
    return [dropped[:0], dropped] + [random_maps(candidates, len(dropped), r, seed) for r in range(RANDOM)]


def changing_maps(maps: Tensor) -> np.ndarray:
    """The numbers of the maps [N, M, s, s] that are not the same everywhere: those that random choices take."""
    return np.flatnonzero(np.ptp(maps.numpy(), axis=(0, 2, 3)) > 0)


@dataclass(frozen=True)
class Judged:
    """Images of n samples in V variants, the first with all maps: what changed, and what D's detector says.

    `change` float32 [V, n, S, S]: mean over colours of the absolute change, in levels of 0 to 255.
    `probability` float [V, n, s, s] of being inside, and `distance` float [V, n] in D's features from
    the first variant; None without a discriminator.
    """

    change: np.ndarray
    probability: np.ndarray | None
    distance: np.ndarray | None


def judge(models: Models, maps: Tensor, layer: int, choices: Sequence[np.ndarray], detector: Detector | None) -> Judged:
    """The samples with maps [n, M, s, s], drawn without the maps of each of `choices`, of which the first is none."""
    change, probability, distance = [], [], []
    first = drawn_without(models, maps, layer, choices[0])
    reference = seen(models, first, maps.shape[2]) if detector else None
    for dropped in choices:
        images = drawn_without(models, maps, layer, dropped)
        change.append(np.abs(images.astype(np.float32) - first).mean(3))
        if detector and reference:
            sight = seen(models, images, maps.shape[2])
            probability.append(detector.probability(sight.maps))
            distance.append(np.linalg.norm((sight.features - reference.features).astype(np.float64), axis=1))
    if detector is None:
        return Judged(np.array(change), None, None)
    return Judged(np.array(change), np.array(probability), np.array(distance))


def detector_in_d(models: Models, maps: Tensor, layer: int, boxes: Boxes, rows: np.ndarray) -> Detector | None:
    """The detector in D's maps of the images of the boxed samples number `rows`; None without a discriminator."""
    if models.discriminator is None:
        return None
    sight = seen(models, drawn_without(models, maps[rows], layer, []), maps.shape[2])
    return fit_detector(sight.maps, boxes.inside(sight.maps.shape[2])[rows])


def told(values: np.ndarray, falls: bool = False) -> dict[str, float]:
    """Values float [V] of the variants in JSON: with all maps, without the forgotten ones, and of random choices.

    `share_of_random_as_large`: of random choices that fall (or rise) by as much as the forgotten
    maps or more, the latter among them.
    """
    sign = -1 if falls else 1
    return {
        "with": float(values[0]),
        "without": float(values[1]),
        "random_mean": float(values[2:].mean()),
        "std_of_random": float(values[2:].std(ddof=1)),
        "share_of_random_as_large": share_as_high(sign * values[1], sign * values[2:]),
    }


def on_boxed(models: Models, maps: Tensor, layer: int, boxes: Boxes, seed: int) -> dict[str, Any]:
    """Held-out boxes: for each fifth of the boxed samples, maps and detector are those that the others give.

    `maps` [n, M, s, s]. Probabilities and changes are means over the places or pixels inside, or outside,
    the boxes of all samples; `auc` is that of the probabilities inside against outside.
    """
    n = len(maps)
    if n < 2:
        raise ValueError("boxes on one sample only; needs two or more, for what is learned on one is tried on others")
    inside, pixels = boxes.inside(maps.shape[2]), boxes.inside(boxes.sheet.image_size)
    places, candidates = maps.numpy(), changing_maps(maps)
    own, parts, numbers = np.empty(inside.shape), [], []
    folds = [np.arange(n)[i::FOLDS] for i in range(min(FOLDS, n))]
    for rows in progress_bar(folds, "held-out boxes", unit="fold"):
        others = np.setdiff1d(np.arange(n), rows)
        detector = fit_detector(places[others], inside[others])
        own[rows] = detector.probability(places[rows])
        choices = variants(detector.positive, candidates, seed)
        numbers.append(len(detector.positive))
        in_d = detector_in_d(models, maps, layer, boxes, others)
        parts.append(judge(models, maps[rows], layer, choices, in_d))
    order = np.concatenate(folds)
    change = np.concatenate([part.change for part in parts], 1)
    made: dict[str, Any] = {
        "folds": len(folds),
        "maps_dropped": numbers,
        "auc_of_maps_in_g": float(roc_auc_score(inside.ravel(), own.ravel())),
        "change_inside": told(change[:, pixels[order]].mean(1, dtype=np.float64)),
        "change_outside": told(change[:, ~pixels[order]].mean(1, dtype=np.float64)),
        "detector": None,
    }
    if (probability := _joined([part.probability for part in parts])) is not None:
        truth = boxes.inside(probability.shape[2])[order]
        made["detector"] = {
            "inside": told(probability[:, truth].mean(1), falls=True),
            "outside": told(probability[:, ~truth].mean(1), falls=True),
            "auc": told(np.array([roc_auc_score(truth.ravel(), p.ravel()) for p in probability]), falls=True),
        }
    return made


def _joined(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    arrays = [part for part in parts if part is not None]
    return np.concatenate(arrays, 1) if arrays else None


def on_new(
    models: Models, maps: Tensor, layer: int, choices: Sequence[np.ndarray], detector: Detector | None
) -> dict[str, Any]:
    """New samples with maps [n, M, s, s]: `detected`, the share of places that the detector calls inside; changes.

    `distance` is that in D's features from the sample with all maps, over the mean distance of two samples.
    """
    judged = judge(models, maps, layer, choices, detector)
    made: dict[str, Any] = {
        "samples": len(maps),
        "change": told(judged.change.mean((1, 2, 3), dtype=np.float64)),
        "detected": None,
        "distance": None,
    }
    if judged.probability is None or judged.distance is None:
        return made
    features = models.features(drawn_without(models, maps, layer, [])).astype(np.float64)
    unrelated = np.linalg.norm(features - np.roll(features, 1, axis=0), axis=1).mean()
    return made | {
        "detected": told((judged.probability > 0.5).mean((1, 2, 3)), falls=True),
        "distance": told(judged.distance.mean(1) / unrelated),
    }


def drawn(
    models: Models, boxes: Boxes, maps: Tensor, new: Tensor, layer: int, choices: Sequence[np.ndarray]
) -> np.ndarray:
    """The picture uint8 [H, W, 3]: boxed samples, then new ones, with all maps and without, and without random ones."""
    words = f" {boxes.object}" if boxes.object else ""
    without, random = choices[1], choices[2]
    rows = []
    for start in range(0, min(len(maps), 2 * SHOWN), SHOWN):
        part, numbers = maps[start : start + SHOWN], boxes.samples[start : start + SHOWN]
        images = drawn_without(models, part, layer, [])
        title = f"boxed samples, with their boxes:{words}" if start == 0 else ""
        rows.append(Row(title, outlined(images, numbers, boxes, COLOUR), [str(number) for number in numbers]))
        title = f"without the {len(without)} maps" if start == 0 else ""
        rows.append(Row(title, drawn_without(models, part, layer, without)))
    for start in range(0, 2 * SHOWN, SHOWN):
        part = new[start : start + SHOWN]
        names = ("new samples", f"without the {len(without)} maps", f"without {len(random)} random maps")
        for name, dropped in zip(names, choices, strict=False):
            rows.append(Row(name if start == 0 else "", drawn_without(models, part, layer, dropped)))
    return picture(rows)


def run(
    models: Models, out: Path, seed: int, command: str, boxes: Boxes, source: Path, layer: int | None = None
) -> dict[str, Any]:
    """Write forget.png and forget.json to `out`; the numbers. `layer`: of G's convolutions, from 1.

    `source` is the boxes' file, which errors name. ValueError where boxes do not fit the models or
    the seed, are on one sample only, or hold all of it.
    """
    check_fit(boxes, models, seed, source)
    layer = second_highest(models) if layer is None else layer
    check_layer(models, layer)
    noise = models.noise(boxes.samples[-1] + 1, seed)[list(boxes.samples)]
    maps, new = maps_of(models, noise, layer), maps_of(models, models.noise(NEW, seed, 7), layer)
    inside = boxes.inside(maps.shape[2])
    try:
        held_out = on_boxed(models, maps, layer, boxes, seed)
        detector = fit_detector(maps.numpy(), inside)
        in_d = detector_in_d(models, maps, layer, boxes, np.arange(len(maps)))
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    choices = variants(detector.positive, changing_maps(maps), seed)
    numbers: dict[str, Any] = {
        "object": boxes.object,
        "boxes": len(boxes.boxes),
        "samples": list(boxes.samples),
        "layer": {
            "convolution": layer,
            "of": len(models.generator.convs),
            "maps": maps.shape[1],
            "side": maps.shape[2],
        },
        "places_inside": int(inside.sum()),
        "places_outside": int((~inside).sum()),
        "maps_dropped": detector.positive.tolist(),
        "random_choices": RANDOM,
        "held_out": held_out,
        "new": on_new(models, new, layer, choices, in_d),
    }
    save_picture(out / "forget.png", drawn(models, boxes, maps, new, layer, choices))
    save_numbers(out / "forget.json", "forget", models, seed, command, numbers)
    return numbers


def in_words(numbers: dict[str, Any]) -> list[str]:
    """The numbers of a forgetting in lines."""
    layer, held_out, new = numbers["layer"], numbers["held_out"], numbers["new"]
    lines = [
        f"{numbers['boxes']} boxes on {len(numbers['samples'])} samples; {len(numbers['maps_dropped'])} of "
        f"{layer['maps']} maps of G's convolution {layer['convolution']} ({layer['side']}x{layer['side']}) dropped, "
        f"which tell inside from outside on held-out samples with an AUC of {held_out['auc_of_maps_in_g']:.3f}"
    ]
    if held_out["detector"] is None:
        lines.append("no numbers of what D's detector sees: `weights` names a discriminator too")
    detector = held_out["detector"] or dict.fromkeys(("inside", "outside", "auc"))
    rows = [
        ("detector's probability inside held-out boxes", detector["inside"]),
        ("detector's probability outside", detector["outside"]),
        ("its AUC, inside against outside", detector["auc"]),
        (f"share of places of {new['samples']} new samples that it calls inside", new["detected"]),
        ("change in levels inside held-out boxes", held_out["change_inside"]),
        ("change in levels outside", held_out["change_outside"]),
        ("change of new samples in D's features, over the distance of two samples", new["distance"]),
    ]
    for words, one in rows:
        if one is None:
            continue
        before = f"{one['with']:.3f} with all maps, " if one["with"] else ""
        lines.append(
            f"{words}: {before}{one['without']:.3f} without those maps, {one['random_mean']:.3f} without random "
            f"ones (std of choices {one['std_of_random']:.3f}); share of choices that do as much "
            f"{one['share_of_random_as_large']:.3f}"
        )
    return lines
