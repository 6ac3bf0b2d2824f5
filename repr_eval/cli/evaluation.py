"""Commands that evaluate: cifar10-svm, svhn, digits, evaluate, extract, layers.

What needs torch is imported once a command runs and its options are checked.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from repr_eval.cli import options
from repr_eval.cli.checks import check, check_any_data, check_data, check_extraction
from repr_eval.cli.evaluation_options import (
    ALL,
    ANY_DATA,
    DATA,
    EVALUATION,
    HEADINGS,
    HEADINGS_OF_ANY_DATA,
    HEADINGS_OF_EXTRACT,
    LAYERS,
    OWN_NETWORK,
    PROTOCOLS,
    REPRESENTATION,
    STORING,
)
from repr_eval.cli.headings import HeadedCommand
from repr_eval.datasets import DATASETS


@click.command("cifar10-svm", cls=HeadedCommand, headings=HEADINGS)
@click.option(
    "--labels-per-class",
    type=click.IntRange(2),
    help="Train on this many labelled images a class, drawn several times. Default: on all.",
)
@click.option("--draws", type=click.IntRange(1), help="Draws of --labels-per-class images. Default: 10.")
@options.given(ALL, *DATA, LAYERS, *EVALUATION)
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
    check(settings, everything)
    check_data("cifar10", settings)
    from repr_eval.cli import jobs
    from repr_eval.protocols.base import CIFAR10, CIFAR10PerClass

    few = CIFAR10PerClass(labels_per_class or CIFAR10PerClass.per_class, draws or CIFAR10PerClass.draws)
    if everything:
        jobs.run_all([few] if labels_per_class else [CIFAR10(), few], settings)
    else:
        jobs.run(few if labels_per_class else CIFAR10(), settings)


@click.command("svhn", cls=HeadedCommand, headings=HEADINGS)
@click.option("--labels", default=1000, show_default=True, help="Labelled training images, equally many of each class.")
@click.option(
    "--draws",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Draws of --labels images, each trained and tested on.",
)
@options.given(ALL, *DATA, LAYERS, *EVALUATION)
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
    check(settings, everything)
    check_data("svhn", settings)
    from repr_eval.cli import jobs
    from repr_eval.protocols.base import SVHN

    few = SVHN(labels, draws)
    if everything:
        jobs.run_all([few], settings)
    else:
        jobs.run(few, settings)


@click.command("digits", cls=HeadedCommand, headings=HEADINGS)
@click.option(
    "--labels-per-class", type=click.IntRange(2), default=10, show_default=True, help="Labelled images of each class."
)
@click.option("--draws", type=click.IntRange(1), default=10, show_default=True, help="Draws of these images.")
@options.given(LAYERS, *EVALUATION)
@options.shared_by_ranks
def digits(labels_per_class: int, draws: int, **settings: Any) -> None:
    """The low-label protocol on scikit-learn's bundled handwritten digits: needs no data set.

    \b
    Example:
      repr-eval digits --weights pixels
    """
    check(settings)
    from repr_eval.cli import jobs
    from repr_eval.protocols.base import Digits

    jobs.run(Digits(labels_per_class, draws), settings)


@click.command("evaluate", cls=HeadedCommand, headings=HEADINGS_OF_ANY_DATA)
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    default=PROTOCOLS[0],
    show_default=True,
    help="All labels; a few a class (--labels-per-class), several draws; or a few in all (--labels), many draws.",
)
@click.option("--labels-per-class", type=click.IntRange(2), help="Labelled images of each class (per-class).")
@click.option("--labels", type=click.IntRange(2), help="Labelled images in all (few-labels). Default: 1000.")
@click.option("--draws", type=click.IntRange(1), help="Draws of them. Default: 10 (per-class), 100 (few-labels).")
@options.given(*ANY_DATA, LAYERS, *EVALUATION)
@options.shared_by_ranks
def evaluate_any(
    protocol: str, labels_per_class: int | None, labels: int | None, draws: int | None, **settings: Any
) -> None:
    """Any labelled images by one of the three protocols.

    Images of another size than the representation takes are resized; the record says how.

    \b
    Examples:
      repr-eval evaluate --data flowers/ --test-share 0.2 --data-size 64
      repr-eval evaluate --data torchvision:CIFAR100 --protocol per-class --labels-per-class 40
    """
    _check_protocol(protocol, labels_per_class, labels, draws)
    check(settings)
    check_any_data(settings)
    from repr_eval.cli import jobs
    from repr_eval.protocols.base import CIFAR10, AllLabels, FewLabels, PerClass

    job = jobs.checked_job(CIFAR10(), settings)  # what is wrong is said before data are read, or fetched
    data = jobs.loaded_any(settings)
    if protocol == "few-labels":
        jobs.run(FewLabels(labels or FewLabels.labels, draws or FewLabels.draws, data=data), settings, data, job)
    elif protocol == "per-class":
        row = DATASETS.get(data.dataset)
        per_class = labels_per_class or (row.per_class if row else None)
        if per_class is None:
            raise ValueError("--protocol per-class: say how many labels a class, such as --labels-per-class 10")
        jobs.run(PerClass(per_class, draws or PerClass.draws, data=data), settings, data, job)
    else:
        jobs.run(AllLabels(data), settings, data, job)


@click.command("extract", cls=HeadedCommand, headings=HEADINGS_OF_EXTRACT)
@options.given(*ANY_DATA, LAYERS, *REPRESENTATION, *OWN_NETWORK, options.seed, *STORING, options.device)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for the features and labels of both splits (.npy) and features.json, which describes them.",
)
def extract(out: Path, **settings: Any) -> None:
    """Features and labels of any labelled images, as plain arrays.

    The folder serves as --weights of the commands that evaluate, on the same images.

    \b
    Example:
      repr-eval extract --data digits --weights pixels --out digits-pixels
    """
    check_extraction(settings)
    check_any_data(settings)
    from repr_eval.cli import jobs

    for path in jobs.extract_to(out, settings):
        click.echo(path)


def _check_protocol(protocol: str, labels_per_class: int | None, labels: int | None, draws: int | None) -> None:
    """Raise a ValueError for a number that another protocol has."""
    for option, value, of in (
        ("--labels-per-class", labels_per_class, ("per-class",)),
        ("--labels", labels, ("few-labels",)),
        ("--draws", draws, ("per-class", "few-labels")),
    ):
        if value is not None and protocol not in of:
            raise ValueError(f"{option} is for --protocol {' or '.join(of)}; leave it out with {protocol}")


@click.command("layers", cls=HeadedCommand, headings=HEADINGS)
@click.option(
    "--data",
    type=click.Choice([row.key for row in DATASETS.values() if row.per_class]),
    default="cifar10",
    show_default=True,
    help="The data set.",
)
@click.option(
    "--labels-per-class", type=click.IntRange(2), help="Labelled images of each class. Default: 400; with digits 10."
)
@click.option("--draws", type=click.IntRange(1), default=10, show_default=True, help="Draws of these images.")
@options.given(*DATA, *EVALUATION)
@options.shared_by_ranks
def layers(data: str, labels_per_class: int | None, draws: int, **settings: Any) -> None:
    """Which layers matter: few labels a class on each layer's features alone and on the first so many layers'.

    One record each, and of all of them a table and a plot (layers.csv, layers.md, layers.png in --out). Every layer
    comes from the one set of stored features that the whole network has.

    \b
    Example:
      repr-eval layers --weights random --labels-per-class 400
    """
    check(settings)
    from repr_eval.cli import jobs
    from repr_eval.evaluation import measure
    from repr_eval.protocols.base import PerClass

    per_class = labels_per_class or DATASETS[data].per_class
    assert per_class is not None  # of every choice of --data
    job = jobs.job_of(PerClass(per_class, draws, dataset=data), settings)
    count = len(job.representation.description.layer_features)
    if not count:
        option = "encoder" if settings["encoder"] else "weights"
        raise ValueError(f"--{option} {settings[option]}: {job.representation.description.method} have no layers")
    if job.protocol.classifier.needs != "features":
        raise ValueError(f"--classifier {settings['classifier']}: has no layers of features to choose from")
    features = jobs.extracted(job, jobs.loaded(data, settings))
    if features is None:
        return  # the first rank goes on alone
    for first, last in [(1, last) for last in range(1, count + 1)] + [(one, one) for one in range(2, count + 1)]:
        part = features.of_layers(first, last)
        click.echo(measure(part, job.protocol, job.out, job.command))
        features = replace(features, seconds=0.0)  # the features are there now
    jobs.reports_in_the_end(settings["out"])
