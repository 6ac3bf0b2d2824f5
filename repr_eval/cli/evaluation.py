"""Commands that evaluate: cifar10-svm, svhn, digits, layers."""

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from repr_eval.cli import options
from repr_eval.evaluation import Place, Protocol, evaluate, extracted, measure
from repr_eval.features.kmeans import KMeansFeatures
from repr_eval.features.representations import BN_MODES, Pixels, Representation, from_weights, untrained
from repr_eval.gan.networks import ARCHITECTURES
from repr_eval.gan.pretrained import best, find_weights
from repr_eval.images.cifar10 import load_cifar10
from repr_eval.images.digits import load_handwritten_digits
from repr_eval.images.labelled import LabelledImages
from repr_eval.images.locate import cache_folder, data_root
from repr_eval.images.svhn import load_svhn
from repr_eval.protocols import cifar10, svhn
from repr_eval.records import Record
from repr_eval.reports import write_reports
from repr_eval.tables import TABLES, measured_row

KMEANS = 1600  # centroids, of the paper's first figure

_SHARED = (
    click.option("--weights", help="A .safetensors file, a name from pretrained/, or the controls random and pixels, "
                 "or kmeans. Default: the best shipped model."),
    click.option("--arch", type=click.Choice(list(ARCHITECTURES)), default="dcgan32", show_default=True,
                 help="Of --weights random."),
    click.option("--width", default=1.0, show_default=True, help="Of --weights random."),
    click.option("--centroids", type=click.IntRange(2), default=KMEANS, show_default=True, help="Of --weights kmeans."),
    click.option("--bn", type=click.Choice(BN_MODES), default="recomputed", show_default=True,
                 help="Batch-norm statistics: recomputed over the training images; of each split's own images "
                 "(at-hand), which sees the test images together; or those stored with the weights (running)."),
    click.option("--C", "grid", help="Values of C to choose from, by commas. Default: the protocol's grid."),
    options.seed,
    options.device,
    click.option("--store", type=click.Path(path_type=Path), help="Folder of stored features. Default: in the cache."),
    click.option("--store-as", type=click.Choice(["float16", "float32"]), default="float16", show_default=True,
                 help="Type in which features are stored and read."),
    options.out,
)  # fmt: skip


_LAYERS = click.option("--layers", help="Only the features of these layers: 1-4, or 3. Default: all.")
_DATA = (
    options.data_dir,
    click.option("--download", is_flag=True, help="Fetch a missing data set (into the cache folder: always)."),
)


def _with(*given: Callable[..., Any]) -> Callable[..., Any]:
    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(given):
            command = option(command)
        return command

    return decorate


def _representation(
    weights: str | None, arch: str, width: float, centroids: int, bn: str, seed: int, device: str
) -> tuple[Representation, str]:
    chosen = options.chosen_device(device)
    if weights != "random" and (arch != "dcgan32" or width != 1.0):
        raise ValueError("--arch and --width describe --weights random; other weights say themselves what they are")
    if weights != "kmeans" and centroids != KMEANS:
        raise ValueError("--centroids describes --weights kmeans")
    if weights in ("pixels", "kmeans"):
        if bn != "recomputed":
            raise ValueError(f"--bn {bn}: {weights} has no batch norm; leave it out")
        return (Pixels() if weights == "pixels" else KMeansFeatures(centroids, seed, device=chosen)), str(chosen)
    if weights == "random":
        if bn == "running":
            raise ValueError("--bn running: untrained weights have no statistics of their own; use --bn recomputed")
        return untrained(arch, width, seed, bn=bn, device=chosen), str(chosen)
    return from_weights(find_weights(weights or best()), bn=bn, device=chosen), str(chosen)


def _grid(text: str | None, default: tuple[float, ...]) -> tuple[float, ...]:
    if text is None:
        return default
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"--C {text!r}: needs numbers with commas between, such as 1e-4,1e-3") from error
    if not all(0 < value < float("inf") for value in values):
        raise ValueError(f"--C {text!r}: every value must be above 0 and finite")
    return values


@dataclass(frozen=True)
class _Job:
    """What every evaluation needs beside data and protocol, from a command's options."""

    representation: Representation
    place: Place
    seed: int
    device: str
    command: str


def _job(data: LabelledImages, settings: dict[str, Any]) -> _Job:
    if data.remark:
        click.echo(f"note: the data is {data.name}: {data.remark}", err=True)
    representation, device = _representation(
        *(settings[name] for name in ("weights", "arch", "width", "centroids", "bn", "seed", "device"))
    )
    options.make_folder(settings["out"], "--out")
    store = settings["store"] or cache_folder() / "features"
    place = Place(settings["out"], store, settings["store_as"])
    return _Job(representation, place, settings["seed"], device, shlex.join(["repr-eval", *sys.argv[1:]]))


def _run(family: str, data: LabelledImages, protocol: Protocol, settings: dict[str, Any]) -> None:
    layers = options.layer_range(settings["layers"]) if settings["layers"] is not None else None
    job = _job(data, settings)
    record = evaluate(
        family, data, job.representation, protocol, job.place,
        seed=job.seed, command=job.command, device=job.device, layers=layers,
    )  # fmt: skip
    click.echo(_summary(record, TABLES[family]))
    _write_reports(settings["out"])


def _write_reports(out: Path) -> None:
    for path in write_reports(out):
        click.echo(f"wrote {path}", err=True)


def _summary(record: Record, measure: str) -> str:
    row = measured_row(record, measure)
    interval = f"95% interval of the {row.ci95_of} {100 * (row.ci95_low or 0):.2f} to {100 * (row.ci95_high or 0):.2f}"
    edge = ", at the edge of its grid" if record.C_at_edge else ""
    layers = "" if row.layers == "-" else f"layers {row.layers}, "
    return (
        f"{row.data}, {row.labels:,} labels, {record.method}, {layers}{row.features:,} features: test {measure} "
        f"{100 * row.rate:.2f}% ({row.draws} draws, {interval}; C {row.C:g}{edge}; record {row.record})"
    )


@click.command("cifar10-svm")
@click.option(
    "--labels-per-class", type=click.IntRange(2), help="Use so few labels, drawn several times. Default: all."
)
@click.option("--draws", type=click.IntRange(1), help="Draws with few labels. Default: 10.")
@_with(*_DATA, _LAYERS, *_SHARED)
@options.shared_by_ranks
def cifar10_svm(labels_per_class: int | None, draws: int | None, **settings: Any) -> None:
    """L2-SVM on features of CIFAR-10: accuracy with all labels, or with a few a class.

    C is chosen on images held out of the training set; the test set is used once.

    \b
    Examples:
      repr-eval cifar10-svm
      repr-eval cifar10-svm --weights random --labels-per-class 400 --draws 10
    """
    if labels_per_class is None and draws is not None:
        raise ValueError("--draws needs --labels-per-class: with all labels there is nothing to draw")
    data = _load(load_cifar10, settings)
    Cs, seed = _grid(settings["grid"], cifar10.CS), settings["seed"]
    if labels_per_class is None:
        protocol: Protocol = partial(cifar10.all_labels, seed=seed, Cs=Cs)
    else:
        protocol = partial(cifar10.low_labels, per_class=labels_per_class, draws=draws or 10, seed=seed, Cs=Cs)
    _run("cifar10", data, protocol, settings)


@click.command("svhn")
@click.option("--labels", default=1000, show_default=True, help="Labelled training images, as many of each class.")
@click.option("--draws", type=click.IntRange(1), default=100, show_default=True, help="Draws of them that are tested.")
@_with(*_DATA, _LAYERS, *_SHARED)
@options.shared_by_ranks
def svhn_few_labels(labels: int, draws: int, **settings: Any) -> None:
    """L2-SVM on features of SVHN's cropped digits with few labels: test error.

    Any files in SVHN's layout will do; they are named for what they are.

    \b
    Example:
      repr-eval svhn --labels 1000 --weights random
    """
    if labels < 10 or labels % 10:
        raise ValueError(f"--labels {labels}: ten classes share them equally, so it must be a multiple of 10")
    data = _load(load_svhn, settings)
    protocol = partial(
        svhn.few_labels, labels=labels, draws=draws, seed=settings["seed"], Cs=_grid(settings["grid"], svhn.CS)
    )
    _run("svhn", data, protocol, settings)


@click.command("digits")
@click.option("--labels-per-class", type=click.IntRange(2), default=10, show_default=True)
@click.option("--draws", type=click.IntRange(1), default=10, show_default=True)
@_with(_LAYERS, *_SHARED)
@options.shared_by_ranks
def digits(labels_per_class: int, draws: int, **settings: Any) -> None:
    """The low-label protocol on scikit-learn's bundled handwritten digits: needs no data set.

    \b
    Example:
      repr-eval digits --weights pixels
    """
    protocol = partial(
        cifar10.low_labels, per_class=labels_per_class, draws=draws, seed=settings["seed"],
        Cs=_grid(settings["grid"], cifar10.CS),
    )  # fmt: skip
    _run("digits", load_handwritten_digits(), protocol, settings)


@click.command("layers")
@click.option("--data", type=click.Choice(["cifar10", "digits"]), default="cifar10", show_default=True)
@click.option("--labels-per-class", type=click.IntRange(2), help="Default: 400; 10 of digits.")
@click.option("--draws", type=click.IntRange(1), default=10, show_default=True)
@_with(*_DATA, *_SHARED)
@options.shared_by_ranks
def layers(data: str, labels_per_class: int | None, draws: int, **settings: Any) -> None:
    """Which layers matter: few labels a class on each layer's features alone and on the first so many layers'.

    One record each, and of all of them a table and a plot (layers.csv, layers.md, layers.png in --out). Every layer
    comes from the one set of stored features that the whole network has.

    \b
    Example:
      repr-eval layers --weights random --labels-per-class 400
    """
    images = _load(load_cifar10, settings) if data == "cifar10" else load_handwritten_digits()
    job = _job(images, settings)
    count = len(job.representation.description.layer_features)
    if not count:
        raise ValueError(f"--weights {settings['weights']}: {job.representation.description.method} have no layers")
    protocol = partial(
        cifar10.low_labels, per_class=labels_per_class or (400 if data == "cifar10" else 10), draws=draws,
        seed=job.seed, Cs=_grid(settings["grid"], cifar10.CS),
    )  # fmt: skip
    found = extracted(images, job.representation, job.place)
    for first, last in [(1, last) for last in range(1, count + 1)] + [(one, one) for one in range(2, count + 1)]:
        part = found.of_layers(first, last)
        record = measure(data, part, protocol, job.place, seed=job.seed, command=job.command, device=job.device)
        click.echo(_summary(record, TABLES[data]))
        found = replace(found, seconds=0.0)  # the features are there now
    _write_reports(settings["out"])


def _load(load: Callable[..., LabelledImages], settings: dict[str, Any]) -> LabelledImages:
    root = data_root(settings["data_dir"])
    return load(root, download=settings["download"] or root.own)
