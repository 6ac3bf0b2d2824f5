"""Commands that evaluate: cifar10-svm, svhn, digits, layers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from repr_eval.cli import jobs, options
from repr_eval.cli.jobs import Run
from repr_eval.evaluation import extracted, measure
from repr_eval.images.cifar10 import load_cifar10
from repr_eval.images.data_dir import data_root
from repr_eval.images.handwritten import load_handwritten_digits
from repr_eval.images.labelled import LabelledImages
from repr_eval.images.svhn import load_svhn
from repr_eval.protocols import cifar10, svhn
from repr_eval.reporting.rows import TABLES

PER_CLASS, PER_CLASS_DRAWS = 400, 10  # a class, and draws of them [paper, table 1]

_LAYERS = click.option("--layers", help="Only the features of these layers: 1-4, or 3. Default: all.")
_ALL = click.option(
    "--all", "everything", is_flag=True,
    help="Every method of the comparison by L2-SVM and kNN (autoencoders and Exemplar CNN: small), and the small "
    f"supervised CNN on {jobs.SUPERVISED_DRAWS} draws at most; what is recorded in --out already is left out.",
)  # fmt: skip
_DATA = (
    options.data_dir,
    click.option("--download", is_flag=True, help="Fetch a missing data set (into the cache folder: always)."),
)


@click.command("cifar10-svm")
@click.option(
    "--labels-per-class", type=click.IntRange(2), help="Use so few labels, drawn several times. Default: all."
)
@click.option("--draws", type=click.IntRange(1), help="Draws with few labels. Default: 10.")
@options.given(_ALL, *_DATA, _LAYERS, *jobs.OPTIONS)
@options.shared_by_ranks
def cifar10_svm(labels_per_class: int | None, draws: int | None, everything: bool, **settings: Any) -> None:
    """L2-SVM on features of CIFAR-10: accuracy with all labels, or with a few a class.

    C is chosen on images held out of the training set; the test set is used once.

    \b
    Examples:
      repr-eval cifar10-svm
      repr-eval cifar10-svm --weights random --labels-per-class 400 --draws 10
    """
    if labels_per_class is None and draws is not None and not everything:
        raise ValueError("--draws needs --labels-per-class: with all labels there is nothing to draw")
    few = _low_labels("cifar10", labels_per_class or PER_CLASS, draws or PER_CLASS_DRAWS)
    full = Run(
        family="cifar10", protocol=cifar10.all_labels, name=cifar10.ALL_LABELS, Cs=cifar10.CS, settings={}, labels=None
    )
    load = _loading(load_cifar10, settings)
    if everything:
        jobs.run_all([few] if labels_per_class else [full, few], load, settings)
    else:
        jobs.run(few if labels_per_class else full, load, settings)


@click.command("svhn")
@click.option("--labels", default=1000, show_default=True, help="Labelled training images, as many of each class.")
@click.option("--draws", type=click.IntRange(1), default=100, show_default=True, help="Draws of them that are tested.")
@options.given(_ALL, *_DATA, _LAYERS, *jobs.OPTIONS)
@options.shared_by_ranks
def svhn_few_labels(labels: int, draws: int, everything: bool, **settings: Any) -> None:
    """L2-SVM on features of SVHN's cropped digits with few labels: test error.

    Any files in SVHN's layout will do; they are named for what they are.

    \b
    Example:
      repr-eval svhn --labels 1000 --weights random
    """
    if labels < 10 or labels % 10:
        raise ValueError(f"--labels {labels}: ten classes share them equally, so it must be a multiple of 10")
    load = _loading(load_svhn, settings)
    asked = {"labels": labels, "draws": draws}
    few = Run(family="svhn", protocol=svhn.few_labels, name=svhn.FEW_LABELS, Cs=svhn.CS, settings=asked, labels=labels)
    if everything:
        jobs.run_all([few], load, settings)
    else:
        jobs.run(few, load, settings)


@click.command("digits")
@click.option("--labels-per-class", type=click.IntRange(2), default=10, show_default=True)
@click.option("--draws", type=click.IntRange(1), default=10, show_default=True)
@options.given(_LAYERS, *jobs.OPTIONS)
@options.shared_by_ranks
def digits(labels_per_class: int, draws: int, **settings: Any) -> None:
    """The low-label protocol on scikit-learn's bundled handwritten digits: needs no data set.

    \b
    Example:
      repr-eval digits --weights pixels
    """
    few = _low_labels("digits", labels_per_class, draws)
    jobs.run(few, load_handwritten_digits, settings)


@click.command("layers")
@click.option("--data", type=click.Choice(["cifar10", "digits"]), default="cifar10", show_default=True)
@click.option("--labels-per-class", type=click.IntRange(2), help="Default: 400; 10 of digits.")
@click.option("--draws", type=click.IntRange(1), default=10, show_default=True)
@options.given(*_DATA, *jobs.OPTIONS)
@options.shared_by_ranks
def layers(data: str, labels_per_class: int | None, draws: int, **settings: Any) -> None:
    """Which layers matter: few labels a class on each layer's features alone and on the first so many layers'.

    One record each, and of all of them a table and a plot (layers.csv, layers.md, layers.png in --out). Every layer
    comes from the one set of stored features that the whole network has.

    \b
    Example:
      repr-eval layers --weights random --labels-per-class 400
    """
    few = _low_labels(data, labels_per_class or (PER_CLASS if data == "cifar10" else 10), draws)
    job = jobs.job_of(data, settings)
    count = len(job.representation.description.layer_features)
    if not count:
        option = "encoder" if settings["encoder"] else "weights"
        raise ValueError(f"--{option} {settings[option]}: {job.representation.description.method} have no layers")
    protocol = few.bound(job)
    images = _loading(load_cifar10, settings)() if data == "cifar10" else load_handwritten_digits()
    features = extracted(images, job.representation, job.folders)
    if features is None:
        return  # the first rank goes on alone
    for first, last in [(1, last) for last in range(1, count + 1)] + [(alone, alone) for alone in range(2, count + 1)]:
        part = features.of_layers(first, last)
        record = measure(data, part, protocol, job.folders, seed=job.seed, command=job.command, device=job.device)
        click.echo(jobs.summary(record, TABLES[data]))
        features = replace(features, seconds=0.0)  # the features are there now
    jobs.reports(settings["out"])


def _low_labels(family: str, per_class: int, draws: int) -> Run:
    settings = {"per_class": per_class, "draws": draws}
    return Run(
        family=family,
        protocol=cifar10.low_labels,
        name=cifar10.LOW_LABELS,
        Cs=cifar10.CS,
        settings=settings,
        labels=10 * per_class,
    )


def _loading(load: Callable[..., LabelledImages], settings: dict[str, Any]) -> Callable[[], LabelledImages]:
    """What loads the data set from where `settings` say, once they are known to be right: it may be a download."""

    def loaded() -> LabelledImages:
        root = data_root(settings["data_dir"])
        data = load(root, download=settings["download"] or root.own)
        if data.remark:
            click.echo(f"note: the data is {data.name}: {data.remark}", err=True)
        return data

    return loaded
