"""From the options of a command that evaluates to records: one, or one for every method of the comparison."""

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch

from repr_eval.classifiers.base import Classifier, whole_numbers
from repr_eval.classifiers.named import CLASSIFIERS, SUPERVISED_CNNS
from repr_eval.cli import one_line, options
from repr_eval.datasets import dataset_named, load_dataset
from repr_eval.evaluation import Result, evaluate, recorded
from repr_eval.extraction import Folders
from repr_eval.gan.architectures import ARCHITECTURES
from repr_eval.gan.pretrained import best, find_weights
from repr_eval.images.data_dir import cache_folder
from repr_eval.images.labelled import LabelledImages
from repr_eval.protocols.base import Protocol
from repr_eval.records import known_records
from repr_eval.reporting.write import write_reports
from repr_eval.representations.base import Representation
from repr_eval.representations.batch_norm import BN_MODES
from repr_eval.representations.discriminator import from_weights
from repr_eval.representations.methods import COMPARED, METHODS
from repr_eval.representations.named import is_untrained, representation_named
from repr_eval.representations.own_network.network import HALF, RGB, encoder
from repr_eval.system.devices import chosen_device

SUPERVISED_DRAWS = 10  # at most, with --all: each is a training, and a protocol may have 100
OF_PROTOCOLS = {"per_class": "--labels-per-class", "labels": "--labels", "draws": "--draws"}  # options, by settings

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
    """What an evaluation needs beside its data, from a command's options."""

    representation: Representation
    protocol: Protocol
    folders: Folders
    layers: tuple[int, int] | None
    command: str


def job_of(protocol: Protocol, settings: dict[str, Any], command: Sequence[str] | None = None) -> Job:
    """The job that a command's options ask for; ValueError where they do not fit together."""
    representation = _representation(settings)
    options.make_folder(settings["out"], "--out")
    store = settings["store"] or cache_folder() / "features"
    options.make_folder(store, "--store")
    layers = options.layer_range(settings["layers"]) if settings.get("layers") is not None else None
    return Job(
        representation=representation,
        protocol=replace(
            protocol, seed=settings["seed"], grid=_grid(settings), classifier=_classifier(protocol.dataset, settings)
        ),
        folders=Folders(settings["out"], store, settings["store_as"]),
        layers=layers,
        command=shlex.join(["repr-eval", *(command or sys.argv[1:])]),
    )


def run(protocol: Protocol, settings: dict[str, Any]) -> None:
    """Evaluate, record, print, and write the tables anew."""
    job = job_of(protocol, settings)
    _measure(job, loaded(protocol.dataset, settings))
    reports(settings["out"])


def run_all(protocols: Sequence[Protocol], settings: dict[str, Any]) -> None:
    """`protocols` with every method of the comparison and every classifier, but for what is recorded."""
    for name in ("weights", "encoder", "layers", "grid"):
        if settings[name] is not None:
            raise ValueError(f"--all compares everything; leave out --{'C' if name == 'grid' else name}")
    if settings["classifier"] != "svm":
        raise ValueError("--all compares every classifier; leave out --classifier")
    job_of(protocols[0], _compared(*COMPARED[0], settings))  # what is wrong is said before data is loaded, or fetched
    known_records(settings["out"])  # ... and with the records, before anything is measured
    data = loaded(protocols[0].dataset, settings)
    failed = []
    for weights, classifier in COMPARED:
        for protocol in protocols:
            try:
                new = _measure_once(_in_comparison(protocol, classifier), data, weights, classifier, settings)
            except BrokenPipeError:
                raise
            except (ValueError, OSError, MemoryError, RuntimeError) as error:  # torch's of memory is the last
                failed.append(f"{weights or 'the shipped model'} with {classifier}: {one_line(error)}")
                click.echo(f"failed: {failed[-1]}", err=True)
                continue
            if new:
                reports(settings["out"])
    if failed:
        raise ValueError(f"{len(failed)} measurements failed, the others are recorded: {'; '.join(failed)}")


def _in_comparison(protocol: Protocol, classifier: str) -> Protocol:
    """The protocol as `--all` runs it with a classifier of that name."""
    if classifier not in SUPERVISED_CNNS or protocol.n_draws <= SUPERVISED_DRAWS:
        return protocol
    return replace(protocol, draws=SUPERVISED_DRAWS)  # type: ignore[call-arg]


def _measure_once(
    protocol: Protocol, data: LabelledImages, weights: str | None, classifier: str, settings: dict[str, Any]
) -> bool:
    """Measure one method of the comparison, unless it is recorded: then False."""
    method_settings = _compared(weights, classifier, settings)
    added = ["--weights", method_settings["weights"]] if weights else []
    if is_untrained(weights):
        added += ["--arch", method_settings["arch"], "--width", f"{method_settings['width']:g}"]
    words = [*_given(), *_words_of(protocol), *added, "--classifier", classifier]
    job = job_of(protocol, method_settings, words)
    record = recorded(data, job.representation, job.protocol, job.folders.out, job.folders.precision)
    if record:
        click.echo(f"recorded: {Result(record)}")
        return False
    _measure(job, data)
    return True


def _words_of(protocol: Protocol) -> list[str]:
    """What asks for the protocol on the command line."""
    fields = {name: getattr(protocol, name, None) for name in OF_PROTOCOLS}
    return [word for name, value in fields.items() if value for word in (OF_PROTOCOLS[name], str(value))]


def _given() -> list[str]:
    """The words of the command at hand but for --all and what a protocol has in its own words."""
    words, own = [], False
    for word in sys.argv[1:]:
        named = word.partition("=")[0] in OF_PROTOCOLS.values()
        if not own and not named and word != "--all":
            words.append(word)
        own = named and "=" not in word  # its value comes next
    return words


def _compared(weights: str | None, classifier: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of one method; an untrained network is of the best model's shape."""
    method_settings = settings | {"weights": weights, "classifier": classifier}
    if is_untrained(weights):
        shape = from_weights(find_weights(best())).network
        method_settings |= {"arch": shape.arch.name, "width": shape.width}
    return method_settings


def _measure(job: Job, data: LabelledImages) -> None:
    result = evaluate(
        job.representation, job.protocol, data=data, out=job.folders.out, store=job.folders.store,
        precision=job.folders.precision, layers=job.layers, command=job.command,
    )  # fmt: skip
    click.echo(result)


def loaded(dataset: str, settings: dict[str, Any]) -> LabelledImages:
    """The data set called `dataset`, from where `settings` say; it may be a download."""
    data = load_dataset(dataset, settings.get("data_dir"), settings.get("download", False))
    if data.remark:
        click.echo(f"note: the data is {data.name}: {data.remark}", err=True)
    return data


def reports(out: Path) -> None:
    """Write every table and picture of the folder `out` anew."""
    for path in write_reports(out):
        click.echo(f"wrote {path}", err=True)


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


def _representation(settings: dict[str, Any]) -> Representation:
    weights, arch, width, bn = (settings[name] for name in ("weights", "arch", "width", "bn"))
    device = chosen_device(settings["device"])
    if not is_untrained(weights) and (arch != "dcgan32" or width != 1.0):
        raise ValueError("--arch and --width apply only to --weights random; other weights fix their own architecture")
    if settings["encoder"] is not None:
        return _encoder(settings, device)
    for name in ("pool", "image_size", "mean", "std"):
        if settings[name] is not None:
            raise ValueError(f"--{name.replace('_', '-')} describes the network of --encoder, and none is given")
    try:
        return representation_named(weights, seed=settings["seed"], device=device, bn=bn, arch=arch, width=width)
    except ValueError as error:
        raise ValueError(re.sub(r"\bbn (?=running|at-hand|recomputed)", "--bn ", str(error))) from error


def _classifier(dataset: str, settings: dict[str, Any]) -> Classifier:
    name = settings["classifier"]
    if name in SUPERVISED_CNNS and settings["weights"] != "pixels":
        raise ValueError(f"--classifier {name} is trained on the images themselves: give it --weights pixels")
    arch = dataset_named(dataset).arch
    return CLASSIFIERS[name](settings["seed"], arch, chosen_device(settings["device"]))


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
