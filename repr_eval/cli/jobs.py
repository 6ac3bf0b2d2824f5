"""From the options of a command that evaluates to records: one, or one for every method of the comparison."""

import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch

from repr_eval.classifiers.base import Classifier, whole_numbers
from repr_eval.classifiers.l2svm import L2_SVM
from repr_eval.classifiers.neighbours import NEAREST_NEIGHBOURS
from repr_eval.classifiers.supervised.classifier import supervised_cnn
from repr_eval.cli import one_line, options
from repr_eval.evaluation import Folders, Protocol, evaluate, recorded
from repr_eval.gan.networks import ARCHITECTURES
from repr_eval.gan.pretrained import best, find_weights
from repr_eval.images.data_dir import cache_folder
from repr_eval.images.labelled import LabelledImages
from repr_eval.protocols.results import Outcome
from repr_eval.records import Record, known_records
from repr_eval.reporting.rows import TABLES, measured_row
from repr_eval.reporting.write import write_reports
from repr_eval.representations.base import Representation
from repr_eval.representations.batch_norm import BN_MODES
from repr_eval.representations.discriminator import from_weights, untrained
from repr_eval.representations.methods import COMPARED, METHODS
from repr_eval.representations.own_network.network import HALF, RGB, encoder
from repr_eval.system.ranks import current

# (seed, architecture, device) -> the classifier
CLASSIFIERS: dict[str, Callable[[int, str, torch.device], Classifier]] = {
    "svm": lambda seed, arch, device: L2_SVM,
    "knn": lambda seed, arch, device: NEAREST_NEIGHBOURS,
    "cnn": lambda seed, arch, device: supervised_cnn(seed, arch, "published", device),
    "cnn-small": lambda seed, arch, device: supervised_cnn(seed, arch, "small", device),
}
SUPERVISED_CNNS = ("cnn", "cnn-small")
SUPERVISED_DRAWS = 10  # at most, with --all: each is a training, and a protocol may have 100
OF_RUNS = {"per_class": "--labels-per-class", "labels": "--labels", "draws": "--draws"}  # options, by a Run's settings
ARCHS = {"cifar10": "dcgan32", "svhn": "dcgan32-svhn", "digits": "dcgan32-svhn"}  # of these, by table
SETTING_OF = {classifier.name: classifier.setting for classifier in (L2_SVM, NEAREST_NEIGHBOURS)}

OPTIONS = (
    click.option("--weights", help="A .safetensors file, a name from pretrained/, the control random (random:1 with "
                 f"another seed), or a method that learns from the data set's own images: {', '.join(METHODS)}. "
                 "Default: the best shipped model."),
    click.option("--encoder", help="Any network, instead of --weights: module:callable, file.py:callable, a "
                 "TorchScript or torch.export file, timm:NAME[:pretrained], torchvision:NAME[:pretrained]."),
    click.option("--pool", help="Of --encoder: names of its layers, by commas, whose outputs are the features. "
                 "Default: its own output."),
    click.option("--image-size", type=click.IntRange(1), help="Of --encoder: resize images to it. Default: 32, as is."),
    click.option("--mean", help="Of --encoder: subtracted from pixels in [0, 1], by commas. Default: 0.5,0.5,0.5."),
    click.option("--std", help="Of --encoder: what they are divided by then. Default: 0.5,0.5,0.5."),
    click.option("--arch", type=click.Choice(list(ARCHITECTURES)), default="dcgan32", show_default=True,
                 help="Of --weights random."),
    click.option("--width", default=1.0, show_default=True, help="Of --weights random."),
    click.option("--bn", type=click.Choice(BN_MODES), default="recomputed", show_default=True,
                 help="Batch-norm statistics: recomputed over the training images; of each split's own images "
                 "(at-hand), which sees the test images together; or those stored with the weights (running)."),
    click.option("--classifier", type=click.Choice(list(CLASSIFIERS)), default="svm", show_default=True,
                 help="What is trained on the features; cnn, on --weights pixels, is the supervised control."),
    click.option("--C", "grid", help="Values of C (k of knn, numbers of cnn's configurations) to choose from, "
                 "by commas. Default: the protocol's."),
    options.seed,
    options.device,
    click.option("--store", type=click.Path(path_type=Path), help="Folder of stored features. Default: in the cache."),
    click.option("--store-as", type=click.Choice(["float16", "float32"]), default="float16", show_default=True,
                 help="Type in which features are stored and read."),
    options.out,
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What an evaluation needs beside its data and protocol, from a command's options."""

    representation: Representation
    classifier: Classifier
    grid: tuple[float, ...] | None  # as given
    folders: Folders
    seed: int
    device: str
    layers: tuple[int, int] | None
    command: str


@dataclass(frozen=True)
class Run:
    """A protocol with its own settings, of the table `family`; `labels` are those that a classifier is trained on."""

    family: str
    protocol: Callable[..., Outcome]
    name: str
    Cs: tuple[float, ...]
    settings: dict[str, int]
    labels: int | None  # None for all

    @property
    def words(self) -> tuple[str, ...]:
        """What asks for it on the command line."""
        return tuple(word for name, value in self.settings.items() for word in (OF_RUNS[name], str(value)))

    def in_comparison(self, classifier: str) -> "Run":
        """The same as `--all` runs it with a classifier of that name."""
        if classifier not in SUPERVISED_CNNS or "draws" not in self.settings:
            return self
        return replace(self, settings=self.settings | {"draws": min(self.settings["draws"], SUPERVISED_DRAWS)})

    def bound(self, job: Job) -> Protocol:
        """The protocol with everything that it takes but the features."""
        Cs = job.grid or job.classifier.grid or self.Cs
        return partial(self.protocol, seed=job.seed, Cs=Cs, classifier=job.classifier, **self.settings)


def job_of(family: str, settings: dict[str, Any], command: Sequence[str] | None = None) -> Job:
    """The job that a command's options ask for, of the table `family`; ValueError where they do not fit together."""
    representation, device = _representation(settings)
    options.make_folder(settings["out"], "--out")
    store = settings["store"] or cache_folder() / "features"
    options.make_folder(store, "--store")
    layers = options.layer_range(settings["layers"]) if settings.get("layers") is not None else None
    return Job(
        representation=representation,
        classifier=_classifier(family, settings),
        grid=_grid(settings),
        folders=Folders(settings["out"], store, settings["store_as"]),
        seed=settings["seed"],
        device=device,
        layers=layers,
        command=shlex.join(["repr-eval", *(command or sys.argv[1:])]),
    )


def run(measurement: Run, load: Callable[[], LabelledImages], settings: dict[str, Any]) -> None:
    """Evaluate, record, print, and write the tables anew."""
    job = job_of(measurement.family, settings)
    if _measure(measurement, load(), job):
        reports(settings["out"])


def run_all(runs: Sequence[Run], load: Callable[[], LabelledImages], settings: dict[str, Any]) -> None:
    """`runs` of every method of the comparison with every classifier, but for those that are recorded."""
    for name in ("weights", "encoder", "layers", "grid"):
        if settings[name] is not None:
            raise ValueError(f"--all compares everything; leave out --{'C' if name == 'grid' else name}")
    if settings["classifier"] != "svm":
        raise ValueError("--all compares every classifier; leave out --classifier")
    first = _compared(*COMPARED[0], settings)
    job_of(runs[0].family, first)  # what is wrong with the options is said before data is loaded, or fetched
    known_records(settings["out"])  # ... and with the records, before anything is measured
    data, ranks = load(), current()
    failed = []
    for weights, classifier in COMPARED:
        for measurement in runs:
            try:
                new = _measure_once(measurement.in_comparison(classifier), data, weights, classifier, settings)
            except BrokenPipeError:
                raise
            except (ValueError, OSError, MemoryError, RuntimeError) as error:  # torch's of memory is the last
                failed.append(f"{weights or 'the shipped model'} with {classifier}: {one_line(error)}")
                click.echo(f"failed: {failed[-1]}", err=True)
                continue
            if new and not ranks.first:
                return  # the ranks have shared this extraction and left; the first goes on alone
            if new:
                reports(settings["out"])
    if failed:
        raise ValueError(f"{len(failed)} measurements failed, the others are recorded: {'; '.join(failed)}")


def _measure_once(
    measurement: Run, data: LabelledImages, weights: str | None, classifier: str, settings: dict[str, Any]
) -> bool:
    """Measure one method of the comparison, unless it is recorded: then False."""
    method_settings = _compared(weights, classifier, settings)
    added = ["--weights", method_settings["weights"]] if weights else []
    if weights and weights.startswith("random"):
        added += ["--arch", method_settings["arch"], "--width", f"{method_settings['width']:g}"]
    job = job_of(
        measurement.family, method_settings, [*_given(), *measurement.words, *added, "--classifier", classifier]
    )
    record = recorded(
        measurement.family, data, job.representation, job.folders, measurement.name, job.classifier,
        measurement.labels or len(data.train.labels), measurement.settings.get("draws", 1), job.seed,
    )  # fmt: skip
    if record:
        click.echo(f"recorded: {summary(record, TABLES[measurement.family])}")
        return False
    _measure(measurement, data, job)
    return True


def _given() -> list[str]:
    """The words of the command at hand but for --all and what a `Run` has in its own words."""
    words, own = [], False
    for word in sys.argv[1:]:
        named = word.partition("=")[0] in OF_RUNS.values()
        if not own and not named and word != "--all":
            words.append(word)
        own = named and "=" not in word  # its value comes next
    return words


def _compared(weights: str | None, classifier: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of one method; an untrained network is of the best model's shape."""
    method_settings = settings | {"weights": weights, "classifier": classifier}
    if weights and weights.startswith("random"):
        shape = from_weights(find_weights(best())).network
        method_settings |= {"arch": shape.arch.name, "width": shape.width}
    return method_settings


def _measure(measurement: Run, data: LabelledImages, job: Job) -> bool:
    """Measure, record and print; False on all ranks but the first, which only share the extraction."""
    record = evaluate(
        measurement.family, data, job.representation, measurement.bound(job), job.folders,
        seed=job.seed, command=job.command, device=job.device, layers=job.layers,
    )  # fmt: skip
    if record is None:
        return False
    click.echo(summary(record, TABLES[measurement.family]))
    return True


def reports(out: Path) -> None:
    """Write every table and picture of the folder `out` anew."""
    for path in write_reports(out):
        click.echo(f"wrote {path}", err=True)


def summary(record: Record, measure: str) -> str:
    """A record in one line."""
    row = measured_row(record, measure)
    interval = f"95% interval of the {row.ci95_of} {100 * (row.ci95_low or 0):.2f} to {100 * (row.ci95_high or 0):.2f}"
    edge = ", at the edge of its grid" if record.C_at_edge else ""
    layers = "" if row.layers == "-" else f"layers {row.layers}, "
    by = "" if record.classifier == L2_SVM.name else f", {record.classifier}"
    setting = SETTING_OF.get(record.classifier, "configuration")
    return (
        f"{row.data}, {row.labels:,} labels, {record.method}, {layers}{row.features:,} features{by}: test {measure} "
        f"{100 * row.rate:.2f}% ({row.draws} draws, {interval}; {setting} {row.C:g}{edge}; record {row.record})"
    )


def _encoder(settings: dict[str, Any], device: torch.device) -> Representation:
    if settings["weights"] is not None:
        raise ValueError("--encoder and --weights both name what is evaluated; leave one of them out")
    if settings["bn"] != "recomputed":
        raise ValueError(f"--bn {settings['bn']}: a network of --encoder is taken as it is; leave it out")
    mean, std = (_three(f"--{name}", settings[name]) for name in ("mean", "std"))
    layers = tuple(name.strip() for name in settings["pool"].split(",")) if settings["pool"] else ()
    return encoder(settings["encoder"], layers, settings["image_size"], mean, std, device=device, seed=settings["seed"])


def _three(option: str, text: str | None) -> RGB:
    if text is None:
        return HALF
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"{option} {text!r}: needs three numbers with commas between, for red, green, blue") from error
    return red, green, blue


def _representation(settings: dict[str, Any]) -> tuple[Representation, str]:
    weights, arch, width, bn = (settings[name] for name in ("weights", "arch", "width", "bn"))
    device = options.chosen_device(settings["device"])
    control = re.fullmatch(r"random(?::(\d+))?", weights or "")
    if not control and (arch != "dcgan32" or width != 1.0):
        raise ValueError("--arch and --width describe --weights random; other weights say themselves what they are")
    if settings["encoder"] is not None:
        return _encoder(settings, device), str(device)
    for name in ("pool", "image_size", "mean", "std"):
        if settings[name] is not None:
            raise ValueError(f"--{name.replace('_', '-')} describes the network of --encoder, and none is given")
    if weights in METHODS:
        if bn != "recomputed":
            raise ValueError(f"--bn {bn}: {weights} has no batch norm; leave it out")
        return METHODS[weights](settings["seed"], device), str(device)
    if control:
        if bn == "running":
            raise ValueError("--bn running: untrained weights have no statistics of their own; use --bn recomputed")
        seed = settings["seed"] if control[1] is None else int(control[1])
        return untrained(arch, width, seed, bn=bn, device=device), str(device)
    return from_weights(find_weights(weights or best()), bn=bn, device=device), str(device)


def _classifier(family: str, settings: dict[str, Any]) -> Classifier:
    name = settings["classifier"]
    if name in SUPERVISED_CNNS and settings["weights"] != "pixels":
        raise ValueError(f"--classifier {name} is trained on the images themselves: give it --weights pixels")
    return CLASSIFIERS[name](settings["seed"], ARCHS[family], options.chosen_device(settings["device"]))


def _grid(settings: dict[str, Any]) -> tuple[float, ...] | None:
    text = settings["grid"]
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"--C {text!r}: needs numbers with commas between, such as 1e-4,1e-3") from error
    numbered = settings["classifier"] in SUPERVISED_CNNS  # configurations, from 0
    if not all((value > 0 or (numbered and value == 0)) and value < float("inf") for value in values):
        raise ValueError(f"--C {text!r}: every value must be {'0 or more' if numbered else 'above 0'} and finite")
    if settings["classifier"] == "knn":
        whole_numbers(values, 1, "--C", " of neighbours")
    return values
