"""What the last convolution of D responds to: guided backpropagation from its strongest units [paper, figure 5].

A feature is a map of the last convolution, a unit one of its 4x4 places. For a feature and an image
the strongest unit is taken, after LeakyReLU; of a feature, the images whose strongest units are the
strongest. Guided backpropagation [Springenberg et al. 2014, arXiv 1412.6806] goes back from there:
at every LeakyReLU the gradient of its output is set to 0 where it is negative, and then multiplied
by the slope, 1 or 0.2. With a slope of 0, a ReLU, that is the published rule. Batch norms keep
their statistics.

The control is an untrained D of the same shape, on the same images, its batch norms settled on them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor

from repr_eval.explore.models import BLOCK, Models
from repr_eval.explore.output import save_numbers
from repr_eval.gan.networks import Discriminator, initialise, settle_statistics
from repr_eval.gan.unlabelled import UnlabelledImages
from repr_eval.representations.batched import to_network
from repr_eval.system.progress import progress_bar
from repr_eval.system.random_streams import generator_for, random_state_for

FIRST = (0, 1, 2, 3, 4, 5)  # the features of the picture: the first six, as in the paper
IMAGES = 8  # of a feature, on which it is strongest
MEASURED = 256  # features, the first of the layer, behind the numbers
TOP = 0.05  # share of pixels whose part of the energy is told


@dataclass(frozen=True)
class Strongest:
    """Of each feature the images on which it is strongest: all [F, k], the strongest first.

    `images` int64: rows; `places` int64: row * side + column on the layer's maps; `values` float32.
    """

    images: np.ndarray
    places: np.ndarray
    values: np.ndarray


def untrained(network: Discriminator, images: np.ndarray, seed: int) -> Discriminator:
    """Initial weights in the shape of `network`, batch norms settled on images uint8 [N, S, S, 3]."""
    device = next(network.parameters()).device
    other = Discriminator(network.arch, network.width, network.layers, network.eps)
    initialise(other, generator_for(seed, "init-d"))
    other.to(device)
    starts = range(0, max(1, len(images) - len(images) % BLOCK), BLOCK)  # whole blocks, if there is one
    settle_statistics(other, (to_network(images[start : start + BLOCK], device) for start in starts))
    return other


@torch.no_grad()
def strongest(network: Discriminator, images: np.ndarray, k: int = IMAGES) -> Strongest:
    """The k images (all, of fewer) of uint8 [N, S, S, 3] on which each feature is strongest, and where."""
    device = next(network.parameters()).device
    values, places = [], []
    for start in progress_bar(range(0, len(images), BLOCK), "responses", unit="block"):
        *_, last = network.activations(to_network(images[start : start + BLOCK], device))
        value, place = last.flatten(2).max(2)
        values.append(value.cpu().numpy())
        places.append(place.cpu().numpy())
    of_features, at = np.concatenate(values).T, np.concatenate(places).T  # [F, N]
    rows = np.argsort(-of_features, axis=1, kind="stable")[:, :k]
    return Strongest(rows, np.take_along_axis(at, rows, 1), np.take_along_axis(of_features, rows, 1))


def guided(network: Discriminator, x: Tensor, features: Tensor, places: Tensor) -> Tensor:
    """The guided gradient [N, 3, S, S] of one unit of the last convolution for each image x [N, 3, S, S].

    `features` and `places` int64 [N] name the units; a place is row * side + column. The rule stands at the top.
    """
    x = x.detach().requires_grad_()
    for h in network.activations(x):
        h.register_hook(lambda gradient: gradient.clamp(min=0))
    units = h.flatten(2)[torch.arange(len(x), device=x.device), features, places]
    return torch.autograd.grad(units.sum(), x)[0]


def gradients(network: Discriminator, images: np.ndarray, feature: int, found: Strongest) -> np.ndarray:
    """The guided gradients float32 [k, S, S, 3] of a feature on the images where it is strongest."""
    device = next(network.parameters()).device
    x = to_network(images[found.images[feature]], device)
    places = torch.from_numpy(found.places[feature]).to(device)
    made = guided(network, x, torch.full_like(places, feature), places)
    return made.permute(0, 2, 3, 1).cpu().numpy()


def seen(network: Discriminator, place: int) -> tuple[slice, slice]:
    """The rows and the columns of pixels that a unit at this place of the last convolution sees."""
    layers = network.arch.discriminator[: network.layers]
    pad, size = network.arch.kernel // 2, network.arch.image_size
    side = size
    for _, stride in layers:
        side = (side + stride - 1) // stride
    spans = []
    for position in divmod(place, side):
        low = high = position
        for _, stride in reversed(layers):
            low, high = low * stride - pad, high * stride - pad + network.arch.kernel - 1
        spans.append(slice(max(low, 0), min(high, size - 1) + 1))
    return spans[0], spans[1]


def concentration(gradient: np.ndarray) -> tuple[float, float]:
    """(top share, participation ratio) of a gradient [H, W, 3] over the pixels that a unit sees.

    A pixel's energy e is the sum of squares over its colours. The top share is the part of all
    energy in the 5% of pixels (rounded up) with the most: 0.05 if evenly spread, 1 at most. The
    participation ratio is (sum e)^2 / (n sum e^2): 1 if evenly spread, 1/n if all is in one pixel.
    NaN for a gradient of zeros.
    """
    energy = (gradient.astype(np.float64) ** 2).sum(2).ravel()
    total = energy.sum()
    if total == 0:
        return float("nan"), float("nan")
    top = np.sort(energy)[::-1][: int(np.ceil(TOP * len(energy)))].sum() / total
    share = energy / total  # before squaring: squares of tiny energies vanish
    return float(top), float(1 / (len(share) * (share**2).sum()))


def concentrations(network: Discriminator, images: np.ndarray, found: Strongest) -> np.ndarray:
    """(top share, participation ratio) of the first features, float64 [F, 2]: means over their strongest images.

    NaN for features whose guided gradients are all 0.
    """
    rows = []
    for feature in progress_bar(range(min(MEASURED, len(found.images))), "gradients", unit="feature"):
        made = gradients(network, images, feature, found)
        parts = [
            concentration(one[seen(network, int(place))])
            for one, place in zip(made, found.places[feature], strict=True)
        ]
        some = [part for part in parts if part[0] == part[0]]
        rows.append(np.mean(some, axis=0) if some else np.full(2, np.nan))
    return np.array(rows)


def compared(learned: np.ndarray, control: np.ndarray) -> dict[str, Any]:
    """Concentrations [F, 2] of learned features against those of untrained ones.

    `probability` is that a random learned feature has the larger value, equal ones halved; `p` is
    the two-sided Mann-Whitney test's, a feature being one observation.
    """
    numbers: dict[str, Any] = {}
    for column, name in enumerate(("top_share", "participation_ratio")):
        a, b = (values[np.isfinite(values[:, column]), column] for values in (learned, control))
        if not len(a) or not len(b):
            raise ValueError("the guided gradients of all features are 0; give a trained discriminator")
        test = mannwhitneyu(a, b)
        numbers[name] = {
            "learned": quartiles(a),
            "untrained": quartiles(b),
            "probability": float(test.statistic / (len(a) * len(b))),
            "p": float(test.pvalue),
        }
    silent = {name: int(np.isnan(v[:, 0]).sum()) for name, v in (("learned", learned), ("untrained", control))}
    return numbers | {"features": len(learned), "features_without_gradient": silent}


def quartiles(values: np.ndarray) -> dict[str, float]:
    """The median and the quartiles of values [n]."""
    names = {"percentile_25": 25, "median": 50, "percentile_75": 75}
    return {name: float(np.percentile(values, q)) for name, q in names.items()}


def shown(gradient: np.ndarray) -> np.ndarray:
    """A gradient [S, S, 3] as colours in [0, 1]: grey is 0, the largest value is black or white."""
    largest = np.abs(gradient).max()
    return 0.5 + gradient / (2 * largest) if largest > 0 else np.full(gradient.shape, 0.5)


def strip(images: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Images uint8 [k, S, S, 3] above their gradients [k, S, S, 3]: one picture [2S + 6, k(S + 2) + 2, 3] in [0, 1]."""
    k, side = images.shape[:2]
    picture = np.ones((2 * (side + 2) + 2, k * (side + 2) + 2, 3))
    for i, (image, gradient) in enumerate(zip(images, made, strict=True)):
        left = 2 + i * (side + 2)
        picture[2 : 2 + side, left : left + side] = image / 255
        picture[4 + side : 4 + 2 * side, left : left + side] = shown(gradient)
    return picture


def save_picture(
    path: Path, images: np.ndarray, sides: dict[str, tuple[Discriminator, Strongest]], features: tuple[int, ...]
) -> None:
    """Each feature's strongest images and its guided gradients there, one column for each of `sides`, as a PNG."""
    from matplotlib.figure import Figure

    from repr_eval.reporting.figures import save_figure

    figure = Figure(figsize=(7.5 * len(sides), 1.9 * len(features) + 0.4), layout="constrained")
    cells = figure.subplots(len(features), len(sides), squeeze=False)
    for column, (name, (network, found)) in enumerate(sides.items()):
        for line, feature in enumerate(features):
            axes = cells[line, column]
            made = gradients(network, images, feature, found)
            axes.imshow(strip(images[found.images[feature]], made), interpolation="nearest")
            axes.set_title(f"{name} D, feature {feature}", fontsize="small", loc="left")
            axes.axis("off")
    save_figure(figure, path)


def check_features(features: tuple[int, ...], network: Discriminator) -> None:
    """ValueError unless `features` are maps of the last convolution, each once."""
    maps = network.arch.maps(network.width)[network.layers - 1]
    if not features or len(set(features)) < len(features):
        raise ValueError(f"features {','.join(map(str, features))}: name one or more, each once")
    for feature in features:
        if not 0 <= feature < maps:
            raise ValueError(f"feature {feature}: the last convolution has features 0 to {maps - 1}")


def run(
    models: Models, data: UnlabelledImages, n: int, seed: int, command: str, out: Path,
    features: tuple[int, ...] | None = None,
) -> tuple[dict[str, Any], list[Path]]:  # fmt: skip
    """The study on n random images (all, of fewer), written to `out`: the numbers, and the paths of PNG and JSON.

    The picture shows `features`, the first six by default. Raises ValueError without a discriminator.
    """
    learned = models.discriminator
    if learned is None:
        raise ValueError(f"{models.name}: a discriminator is looked at; give its weights too")
    maps = learned.arch.maps(learned.width)[learned.layers - 1]
    features = FIRST[:maps] if features is None else features
    check_features(features, learned)
    chosen = random_state_for("explore/respond", seed).permutation(len(data.images))[:n]
    images = np.ascontiguousarray(data.images[np.sort(chosen)])
    networks = {"learned": learned, "untrained": untrained(learned, images, seed)}
    sides = {name: (network, strongest(network, images)) for name, network in networks.items()}
    measured = [concentrations(network, images, found) for network, found in sides.values()]
    numbers = compared(measured[0], measured[1]) | {
        "images": len(images),
        "images_of_a_feature": sides["learned"][1].images.shape[1],
        "features_shown": list(features),
        "data": data.description,
        "data_sha256": data.sha256,
    }
    written = [out / "respond.png", out / "respond.json"]
    save_picture(written[0], images, sides, features)
    save_numbers(written[1], "respond", models, seed, command, numbers)
    return numbers, written


def in_words(numbers: dict[str, Any]) -> str:
    """The numbers of a study in two lines."""
    names = {
        "top_share": f"share of the energy in {100 * TOP:g}% of the pixels",
        "participation_ratio": "participation ratio",
    }
    return "\n".join(
        f"{words}: median of {numbers['features']} features {numbers[key]['learned']['median']:.3f} learned, "
        f"{numbers[key]['untrained']['median']:.3f} untrained; a learned feature's is larger with probability "
        f"{numbers[key]['probability']:.3f} (p = {numbers[key]['p']:.2g})"
        for key, words in names.items()
    )
