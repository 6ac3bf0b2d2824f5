"""From the options of a command that evaluates to records: one, or one for every method of the comparison."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch

from repr_eval.classifiers.base import Classifier
from repr_eval.classifiers.named import CLASSIFIERS, SUPERVISED_CNNS
from repr_eval.cli import one_line, options
from repr_eval.cli.checks import check, grid_of, three_of
from repr_eval.cli.evaluation_options import SUPERVISED_DRAWS
from repr_eval.cli.wording import as_options
from repr_eval.datasets import DATASETS, load_dataset
from repr_eval.evaluation import Result, check_layers, extract_features, measure, recorded, seen_through
from repr_eval.gan.pretrained import best, find_weights, is_untrained
from repr_eval.images.data_dir import cache_folder
from repr_eval.images.labelled import LabelledImages
from repr_eval.protocols.base import Protocol
from repr_eval.records import known_records, passing_over
from repr_eval.reporting.write import write_reports
from repr_eval.representations.averaged_views import SINGLE, seen_in_views
from repr_eval.representations.base import Representation
from repr_eval.representations.discriminator import from_weights
from repr_eval.representations.extraction import Extracted
from repr_eval.representations.feature_folder import files_of
from repr_eval.representations.methods import COMPARED
from repr_eval.representations.named import representation_named
from repr_eval.representations.own_network.network import encoder
from repr_eval.system.devices import chosen_device
from repr_eval.system.ranks import current, leave

OF_PROTOCOLS = {"per_class": "--labels-per-class", "labels": "--labels", "draws": "--draws"}  # options, by settings


@dataclass(frozen=True)
class Job:
    """What an evaluation needs beside its data, from a command's options."""

    representation: Representation
    protocol: Protocol
    out: Path
    store: Path
    precision: str
    layers: tuple[int, int] | None
    command: str


def job_of(protocol: Protocol, settings: dict[str, Any], command: Sequence[str] | None = None) -> Job:
    """The job that a command's options ask for.

    ValueError where they do not fit together, or a line of records.jsonl is no record.
    """
    check(settings)
    representation = representation_of(settings)
    options.make_folder(settings["out"], "--out")
    known_records(settings["out"])  # what is wrong with them is said before anything is measured
    store = store_of(settings)
    layers = options.layer_range(settings["layers"]) if settings.get("layers") is not None else None
    return Job(
        representation=representation,
        protocol=_as_asked(protocol, settings),
        out=settings["out"],
        store=store,
        precision=settings["store_as"],
        layers=layers,
        command=shlex.join(["repr-eval", *(command or sys.argv[1:])]),
    )


def _as_asked(protocol: Protocol, settings: dict[str, Any]) -> Protocol:
    """The protocol with the seed, grid and classifier that the options ask for."""
    classifier = _classifier(protocol.dataset, settings)
    return replace(protocol, seed=settings["seed"], grid=grid_of(settings), classifier=classifier)


def checked_job(protocol: Protocol, settings: dict[str, Any]) -> Job:
    """The job, its layers checked as well: all that can be wrong before there are data."""
    job = job_of(protocol, settings)
    check_layers(job.representation, job.layers)
    return job


def run(
    protocol: Protocol, settings: dict[str, Any], data: LabelledImages | None = None, job: Job | None = None
) -> None:
    """Evaluate, record, print, and write the tables anew; `data` is loaded, if it is not there yet.

    `job` is one of the same settings that was made before the data were there.
    """
    job = checked_job(protocol, settings) if job is None else replace(job, protocol=_as_asked(protocol, settings))
    if features := extracted(job, data or loaded(protocol.dataset, settings)):
        result = measure(features, job.protocol, job.out, job.command)
        click.echo(result)
        if protocol.dataset not in DATASETS and result.more:
            click.echo(", ".join(f"{name} {100 * value:.2f}%" for name, value in result.more.items()))
        reports_in_the_end(job.out)


def run_all(protocols: Sequence[Protocol], settings: dict[str, Any]) -> None:
    """`protocols` with every method of the comparison and every classifier, but for what is recorded."""
    job_of(protocols[0], _compared(*COMPARED[0], settings))  # what is wrong is said before data is loaded, or fetched
    data = loaded(protocols[0].dataset, settings)
    with passing_over() as lines:  # that came meanwhile
        failed = _measured(protocols, data, settings)
    if failed:
        raise ValueError(f"{len(failed)} measurements failed, the others are recorded: {'; '.join(failed)}")
    options.tell(lines)


def _measured(protocols: Sequence[Protocol], data: LabelledImages, settings: dict[str, Any]) -> list[str]:
    """Measure what is not recorded; what failed, in words."""
    failed: list[str] = []
    for weights, classifier in COMPARED:
        for protocol in protocols:
            try:
                job = _compared_job(protocol, weights, classifier, settings)
                if record := recorded(data, job.representation, job.protocol, job.out, job.precision):
                    click.echo(f"recorded: {Result(record)}")
                    continue
                features = extracted(job, data)
                if features is None:
                    return failed  # the ranks have shared this extraction and left; the first goes on alone
                click.echo(measure(features, job.protocol, job.out, job.command))
            except BrokenPipeError:
                raise
            except (ValueError, OSError, MemoryError, RuntimeError) as error:  # torch's of memory is the last
                failed.append(f"{weights or 'the shipped model'} with {classifier}: {one_line(error)}")
                click.echo(f"failed: {failed[-1]}", err=True)
                continue
            reports(settings["out"])
    return failed


def _in_comparison(protocol: Protocol, classifier: str) -> Protocol:
    """The protocol as `--all` runs it with a classifier of that name."""
    if classifier not in SUPERVISED_CNNS or protocol.n_draws <= SUPERVISED_DRAWS:
        return protocol
    return replace(protocol, draws=SUPERVISED_DRAWS)  # type: ignore[call-arg]


def _compared_job(protocol: Protocol, weights: str | None, classifier: str, settings: dict[str, Any]) -> Job:
    """The job of one method of the comparison."""
    protocol = _in_comparison(protocol, classifier)
    method_settings = _compared(weights, classifier, settings)
    added = ["--weights", method_settings["weights"]] if weights else []
    if is_untrained(weights):
        added += ["--arch", method_settings["arch"], "--width", f"{method_settings['width']:g}"]
    if method_settings["views"] != settings["views"]:
        added += ["--views", method_settings["views"]]
    words = [*_given(), *_words_of(protocol), *added, "--classifier", classifier]
    return job_of(protocol, method_settings, words)


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
    if classifier in SUPERVISED_CNNS:
        method_settings["views"] = SINGLE  # it is trained on the images themselves
    if is_untrained(weights):
        shape = from_weights(find_weights(best())).network
        method_settings |= {"arch": shape.arch.name, "width": shape.width}
    return method_settings


def extracted(job: Job, data: LabelledImages) -> Extracted | None:
    """What the job's classifier gets of `data`; None on all ranks but the first, which only share the extraction."""
    ranks = current()
    features = seen_through(data, job.representation, job.protocol, job.store, job.precision, job.layers, ranks)
    ranks.wait()
    leave()
    return features if ranks.first else None


def loaded(dataset: str, settings: dict[str, Any]) -> LabelledImages:
    """The data set called `dataset`, from where `settings` say; it may be a download."""
    data = load_dataset(dataset, settings.get("data_dir"), settings.get("download") or None)
    if data.remark:
        click.echo(f"note: the data is {data.name}: {data.remark}", err=True)
    return data


def loaded_any(settings: dict[str, Any]) -> LabelledImages:
    """What --data names; it may be a download."""
    try:
        data = load_dataset(
            settings["data"], settings["data_dir"], settings["download"] or None, image_size=settings["data_size"],
            test_share=settings["test_share"], split_seed=settings["split_seed"],
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(as_options(str(error), image_size="--data-size")) from error  # --image-size: a network's
    if data.dataset not in DATASETS or data.remark:
        counts = f"{len(data.train.labels):,} training and {len(data.test.labels):,} test images"
        remark = f"; {data.remark}" * bool(data.remark)
        click.echo(f"note: the data is {data.name}: {counts} of {len(data.classes)} classes{remark}", err=True)
    if data.leaked:
        click.echo(f"note: {data.leaked:,} test images are among the training images, pixel for pixel", err=True)
    return data


def extract_to(out: Path, settings: dict[str, Any]) -> list[Path]:
    """Write the features of --data to the folder `out`; the paths written."""
    representation = representation_of(settings)
    layers = options.layer_range(settings["layers"]) if settings["layers"] is not None else None
    check_layers(representation, layers)
    options.make_folder(out, "--out")
    extract_features(
        representation, loaded_any(settings), out, store=settings["store"], precision=settings["store_as"],
        layers=layers, command=shlex.join(["repr-eval", *sys.argv[1:]]),
    )  # fmt: skip
    return files_of(out)


def reports(out: Path) -> None:
    """Write every table and picture of the folder `out` anew."""
    for path in write_reports(out):
        click.echo(f"wrote {path}", err=True)


def reports_in_the_end(out: Path) -> None:
    """As `reports`, of the records that can be read; then it tells of lines damaged meanwhile."""
    with passing_over() as lines:
        reports(out)
    options.tell(lines)


def store_of(settings: dict[str, Any]) -> Path:
    """The folder of stored features, made where it is missing; ValueError where it cannot be used."""
    store = Path(settings["store"] or cache_folder() / "features")
    options.make_folder(store, "--store")
    return store


def _encoder(settings: dict[str, Any], device: torch.device) -> Representation:
    mean, std = (three_of(name, settings) for name in ("mean", "std"))
    layers = tuple(name.strip() for name in settings["pool"].split(",")) if settings["pool"] else ()
    return encoder(settings["encoder"], layers, settings["image_size"], mean, std, device=device, seed=settings["seed"])


def representation_of(settings: dict[str, Any]) -> Representation:
    """What --weights or --encoder stands for, in --views; ValueError where that is nothing."""
    return seen_in_views(_representation(settings), settings["views"])


def _representation(settings: dict[str, Any]) -> Representation:
    weights, arch, width, bn = (settings[name] for name in ("weights", "arch", "width", "bn"))
    device = chosen_device(settings["device"])
    if settings["encoder"] is not None:
        return _encoder(settings, device)
    return representation_named(weights, seed=settings["seed"], device=device, bn=bn, arch=arch, width=width)


def _classifier(dataset: str, settings: dict[str, Any]) -> Classifier:
    arch = DATASETS[dataset].arch if dataset in DATASETS else "dcgan32"
    return CLASSIFIERS[settings["classifier"]](settings["seed"], arch, chosen_device(settings["device"]))
