"""Commands that make weights or use a generator's: train-gan, export-weights, import-weights, samples.

What needs torch is imported once a command runs and its options are checked.
"""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from repr_eval.cli import options
from repr_eval.cli.headings import HeadedCommand
from repr_eval.cli.training_options import CHECKPOINT_EVERY, HEADINGS, LOG, RESUME, TRAINING
from repr_eval.gan.architectures import ARCHITECTURES, architecture_named
from repr_eval.gan.recipes import recipe_named
from repr_eval.gan.settings import SETTINGS, TrainingSettings, read_settings
from repr_eval.gan.watched import writer_for
from repr_eval.system.ranks import current

if TYPE_CHECKING:
    import numpy as np
    import torch

    from repr_eval.gan.start import Start
    from repr_eval.gan.unlabelled import UnlabelledImages


class _Signals:
    """Remembers the first Ctrl-C or SIGTERM, so that the step at hand can end."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.received = number


@contextmanager
def _graceful_stop() -> Iterator[_Signals]:
    signals = _Signals()
    before = {number: signal.signal(number, signals) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.command("train-gan", cls=HeadedCommand, headings=HEADINGS)
@options.given(*TRAINING)
@options.shared_by_ranks
def train_gan(
    data: str, data_name: str | None, device: str, out: Path, checkpoint_every: int, resume: bool, dry_run: bool,
    data_dir: Path | None, arch: str, width: float, epochs: int, max_steps: int | None, recipe: str,
    batch_size: int | None, lr: float | None, beta1: float | None, z_dim: int | None, z: str | None, seed: int,
    precision: str, sources: tuple[str, ...], widen: bool, log: str | None,
) -> None:  # fmt: skip
    """Train a DCGAN without labels. Defaults are the paper's; --recipe names another way.

    Writes weights (safetensors), settings.json, losses (losses.csv; as JSON lines: log.jsonl), a sample grid an epoch
    and checkpoints to --out. Ctrl-C and SIGTERM end it after the current step with a checkpoint; after any end, a
    kill -9 too, --resume goes on with the same result as if it had never stopped. --from starts a new run from
    published weights: what they do not hold (heads of other tasks, Adam's moments) begins anew; --arch and --width are
    then the file's, or with --widen twice its width: every map stands twice, and the function stays nearly the same.

    \b
    Examples:
      repr-eval train-gan --data imagenet32.npy --out runs/imagenet --resume
      repr-eval train-gan --data mine.npy --from imagenet-contrastive-w0.5 --recipe contrastive --out runs/mine
    """
    if widen and not sources:
        raise ValueError("--widen: name the weights that are to be widened, with --from")
    if checkpoint_every < 1:
        raise ValueError(f"--checkpoint-every {checkpoint_every} is less than 1")
    start = _start(sources, seed if widen else None) if sources else None
    if start:
        info = start.infos["discriminator"]
        arch = arch if options.is_given("arch") else info.arch
        width = width if options.is_given("width") else info.width
    asked = {"batch_size": batch_size, "lr": lr, "beta1": beta1}
    chosen: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    asked_for = TrainingSettings(
        data=data, data_sha256="", n_images=sys.maxsize, arch=arch, width=width, epochs=epochs, max_steps=max_steps,
        z_dim=z_dim, z=z, seed=seed, ranks=current().count,
        recipe=replace(recipe_named(recipe), **chosen), started_from=_started_from(start, out, resume),
    ).resolved()  # fmt: skip
    if start:
        start.check(asked_for)
    # All that can be wrong without the images is said before they are read, which takes a while.
    from repr_eval.gan.unlabelled import check_source

    check_source(data)
    from repr_eval.gan.run_folder import check_folder
    from repr_eval.system.devices import chosen_device

    on = chosen_device(device)
    writer_for(log)
    if not dry_run:
        check_folder(out, resume)
    unlabelled = _images(data, architecture_named(arch).image_size, data_dir, out)
    settings = replace(
        asked_for,
        data=data_name or unlabelled.description,
        data_sha256=unlabelled.sha256,
        n_images=len(unlabelled.images),
        precision=_precision(precision, on, out, resume),
    ).resolved()
    if dry_run:
        if current().first:
            click.echo(json.dumps(settings.to_json() | {"total_steps": settings.total_steps}, indent=2))
        return
    _train(
        unlabelled.images, settings, out, device=on, resume=resume, checkpoint_every=checkpoint_every, start=start,
        log=log,
    )  # fmt: skip


def _start(sources: tuple[str, ...], widened_by: int | None) -> "Start":
    """The networks that --from names; widened with that seed, if there is one."""
    from repr_eval.gan.start import read_start

    start = read_start(sources)
    return start if widened_by is None else start.widened(widened_by)


def _started_from(start: "Start | None", out: Path, resume: bool) -> dict[str, Any] | None:
    """What the run's first weights were: said by --from, or by a run that goes on."""
    if start:
        return start.description
    return read_settings(out / SETTINGS).started_from if resume and (out / SETTINGS).exists() else None


def _precision(asked: str, device: "torch.device", out: Path, resume: bool) -> str:
    """The type to compute in; auto is the run's own where a run goes on. Says so where the choice is slow here."""
    from repr_eval.system.devices import computes_bfloat16

    if asked == "auto" and resume and (out / SETTINGS).exists():
        asked = read_settings(out / SETTINGS).precision
    if asked == "auto":
        return "bf16" if computes_bfloat16(device) else "fp32"
    if asked == "bf16" and not computes_bfloat16(device):
        click.echo(f"{device} has no units for bfloat16: 10 to 50 times slower than --precision fp32", err=True)
    return asked


def _train(images: "np.ndarray", settings: TrainingSettings, out: Path, **how: Any) -> None:
    """Train until the run or somebody ends it; exits with 128 and the signal's number in the second case."""
    from repr_eval.gan.training import train

    with _graceful_stop() as signals:
        result = train(images, settings, out, stop=lambda: signals.received is not None, **how)
    if current().first:
        click.echo(f"{out}: {result.steps:,} of {settings.total_steps:,} steps, {result.images_seen:,} images seen")
    if not result.finished:
        if current().first:
            click.echo(f"stopped; go on with the same command and --resume (settings in {out / SETTINGS})", err=True)
        raise SystemExit(128 + (signals.received or signal.SIGINT))


@click.command("finish-gan")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", required=True, help="The images that the run is trained on.")
@click.option("--steps", type=click.IntRange(1), help="Steps of decay. Default: a fifth of all, or the recipe's share.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the finished run.")
@CHECKPOINT_EVERY
@LOG
@RESUME
@options.device
@options.data_dir
@options.shared_by_ranks
def finish_gan(
    run: Path, data: str, steps: int | None, out: Path, checkpoint_every: int, log: str | None, resume: bool,
    device: str, data_dir: Path | None,
) -> None:  # fmt: skip
    """End the training run in the folder RUN by its decay: learning rates fall to 0, from its last checkpoint on.

    The finished run goes to --out; RUN stays as it is, and can be trained on and finished again.

    \b
    Example:
      repr-eval finish-gan runs/imagenet --data imagenet32.npy --out runs/imagenet-finished --resume
    """
    if not (run / SETTINGS).is_file():
        raise ValueError(f"{run}: not the folder of a training run (it has no {SETTINGS})")
    settings = read_settings(run / SETTINGS)
    from repr_eval.gan.unlabelled import check_source

    check_source(data)
    from repr_eval.gan.finish import begin_decay
    from repr_eval.gan.run_folder import check_folder
    from repr_eval.system.devices import chosen_device

    on = chosen_device(device)
    writer_for(log)
    check_folder(out, resume)
    unlabelled = _images(data, architecture_named(settings.arch).image_size, data_dir, out)
    if unlabelled.sha256 != settings.data_sha256:
        raise ValueError(f"--data {data}: not the images that {run} is trained on ({settings.data})")
    if current().first:
        settings = begin_decay(run, out, steps)
    current().wait()
    _train(
        unlabelled.images, read_settings(out / SETTINGS), out, device=on, resume=True,
        checkpoint_every=checkpoint_every, log=log,
    )  # fmt: skip


def _images(data: str, size: int, data_dir: Path | None, out: Path) -> "UnlabelledImages":
    """The images to train on; of several ranks the first packs a folder, before the others read what it packed."""
    from repr_eval.gan.unlabelled import unlabelled_images

    ranks = current()
    if not ranks.first:
        ranks.wait()
    images = unlabelled_images(data, size, data_dir, cache=out)
    if ranks.first:
        ranks.wait()
    return images


@click.command("export-weights")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--half/--full", default=True, show_default=True, help="float16 (batch norm stays float32) or float32.")
def export_weights(source: Path, destination: Path, half: bool) -> None:
    """Copy a network's weights to another file, in float16 by default.

    \b
    Example:
      repr-eval export-weights runs/gan/discriminator.safetensors my-discriminator.safetensors
    """
    from repr_eval.gan.weights import export

    export(source, destination, half)
    click.echo(f"{destination}: {destination.stat().st_size / 1e6:.1f} MB")


@click.command("import-weights")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--arch", type=click.Choice(list(ARCHITECTURES)), required=True, help="Architecture of the network.")
@click.option("--width", default=1.0, show_default=True, help="Factor on every layer's maps.")
@click.option("--layers", help="Layers that there are files of, where a discriminator's later ones are missing: 1-4.")
def import_weights(source: Path, destination: Path, arch: str, width: float, layers: str | None) -> None:
    """Turn weights written by the DCGAN authors' code into a weights file of this package.

    SOURCE is NAME.jl; the arrays NAME.jl_01.npy, ... beside it are read, the .jl itself (a pickle) is not. Kernels are
    flipped, since Theano convolves where PyTorch correlates. Running batch-norm statistics were never stored.

    \b
    Examples:
      repr-eval import-weights svhn/200_discrim_params.jl svhn-d.safetensors --arch dcgan32-svhn
      repr-eval import-weights imagenet/30_discrim_params.jl imagenet-d.safetensors --arch dcgan32 --layers 1-4
    """
    first, last = options.layer_range(layers) if layers is not None else (1, None)
    if first != 1:
        raise ValueError(f"--layers {layers}: a network starts at its first layer; give 1-{last}")
    if destination.suffix != ".safetensors":
        raise ValueError(f"{destination}: weights files end in .safetensors")
    from repr_eval.gan.authors_weights import import_authors_weights
    from repr_eval.gan.weights import save_weights

    network, info = import_authors_weights(source, arch, width, last)
    save_weights(destination, network, info)
    part = f", layers 1-{last}" if last else ""
    click.echo(f"{destination}: {info.name} ({info.network}, {arch}{part}), trained on: {info.trained_on}")
