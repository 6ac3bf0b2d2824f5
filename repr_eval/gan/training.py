"""Trains a DCGAN in a run folder that can be killed at any moment and goes on bit for bit where it was.

Several processes may share a run (`system.ranks`): torchrun starts them, and the folder is the first one's to write.

Everything the next step depends on is either in a checkpoint (parameters, buffers, Adam's moments, the step) or a
function of the seed and the step (data order, noise: `random_streams`), so a run interrupted and resumed passes through
the same states as one that was not.

A run folder holds settings.json, losses.csv and log.jsonl, samples/epoch-NNN.png, two checkpoints, and after every
epoch and at the end discriminator.safetensors and generator.safetensors.
"""

import gc
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from repr_eval.gan.architectures import architecture_named
from repr_eval.gan.batches import Batches
from repr_eval.gan.checkpoint import load_checkpoint, save_checkpoint
from repr_eval.gan.game import DCGAN
from repr_eval.gan.run_folder import LOG, SAMPLES, Log, TrainingFailed, cut_log, prepare_folder
from repr_eval.gan.samples import generate, save_grid
from repr_eval.gan.settings import TrainingSettings
from repr_eval.gan.start import Start
from repr_eval.gan.watched import EventFiles, writer_for
from repr_eval.gan.weights import WeightsInfo, save_weights
from repr_eval.system.files import exclusive
from repr_eval.system.progress import progress_count
from repr_eval.system.random_streams import draw_noise, generator_for
from repr_eval.system.ranks import Ranks, current

GRID = 64  # images in a sample grid
LOOK_EVERY = 50  # steps between two looks at the losses; a look waits for the device
ASK_EVERY = 10  # steps after which several ranks ask each other whether one is to stop
TRIED_STEPS = 2  # of a smaller batch after memory ran out: Adam's moments are there from the first on


@dataclass(frozen=True)
class TrainingResult:
    steps: int
    images_seen: int
    finished: bool  # False when `stop` ended it early


class _Run:
    """One training run: the game, the images, the folder."""

    def __init__(
        self,
        images: np.ndarray,
        settings: TrainingSettings,
        out: Path,
        device: torch.device,
        ranks: Ranks,
        start: Start | None,
        events: EventFiles | None = None,
    ):
        self.settings = settings
        self.out = out
        self.device = device
        self.ranks = ranks
        self.batches = Batches(images, settings, device, ranks)
        self.noise_share = ranks.share(settings.recipe.n_fakes, "fakes a step:")
        self.game = DCGAN(settings, device, ranks, start)
        self.step = 0
        self.stored_step = -1
        self.events = events
        self.log = Log(out / LOG, settings.batch_size, ranks, events)
        self.fixed_noise = draw_noise(
            GRID, settings.z_dim or 0, settings.z or "", generator_for(settings.seed, "samples")
        ).to(device)

    def restore(self) -> None:
        stored = load_checkpoint(self.out, self.device, self.settings.run) if self.ranks.first else None
        self.ranks.wait()  # the first may put a damaged file aside
        stored = stored or load_checkpoint(self.out, self.device, self.settings.run)
        if stored:
            self.step, tensors = stored
            self.game.load_state(tensors)
            self.stored_step = self.step
            if self.step % self.settings.steps_per_epoch == 0:
                self.publish()  # the end may have come between the epoch's checkpoint and its sample grid
        losses = cut_log(self.out / LOG, self.step, self.events) if self.ranks.first else []
        self.log.recent.extend(self.ranks.broadcast(losses))

    def advance(self, real: Tensor) -> None:
        s = self.settings
        generator = generator_for(s.seed, "noise", self.step, self.device)
        z = draw_noise(s.recipe.n_fakes, s.z_dim or 0, s.z or "", generator)
        losses = self.game.step(real, z[self.noise_share], self.step)
        self.step += 1
        self.log.add(self.step, losses)

    def store(self) -> None:
        """Write a checkpoint, unless this very step has one."""
        self.log.look()
        if self.step == self.stored_step or not self.ranks.first:
            return
        try:
            save_checkpoint(self.out, self.step, self.game.state(), self.settings.run)
        except ValueError as error:
            raise TrainingFailed(
                f'{error}. Try a lower `lr`, `precision="fp32"`, or another `seed`, in a new `out`'
            ) from error
        self.stored_step = self.step

    def publish(self) -> None:
        """Write both networks' weights and, at the end of an epoch, the sample grid."""
        if not self.ranks.first:
            return
        s = self.settings
        for name, network in (
            ("discriminator", self.game.published_discriminator),
            ("generator", self.game.published_generator),
        ):
            info = WeightsInfo(
                network=name, arch=s.arch, width=network.width, z_dim=s.z_dim, z=s.z, eps=network.eps,
                trained_on=s.data, images_seen=s.images_before + self.step * s.batch_size,
                settings=s.to_json() | {"steps": self.step},
            )  # fmt: skip
            save_weights(self.out / f"{name}.safetensors", network, info)
        epoch = -(-self.step // s.steps_per_epoch)
        path = self.out / SAMPLES / f"epoch-{epoch:03d}.png"
        save_grid(path, generate(self.game.published_generator, self.fixed_noise))
        if self.events and self.events.writer:
            self.events.picture(path, self.step)


def check_images(images: np.ndarray, settings: TrainingSettings, image_size: int) -> None:
    """Raise a ValueError unless `images` are uint8 [N, S, S, 3] of the architecture's size and the settings' number."""
    if images.dtype != np.uint8 or images.shape[1:] != (image_size, image_size, 3):
        raise ValueError(
            f"{settings.data}: images are {images.dtype} {list(images.shape)}; {settings.arch} needs uint8 "
            f"[N, {image_size}, {image_size}, 3] (pack them with `size={image_size}`)"
        )
    if len(images) != settings.n_images:
        raise ValueError(f"{settings.data}: {len(images)} images, where the settings say {settings.n_images}")


def train(
    images: np.ndarray,
    settings: TrainingSettings,
    out: Path,
    *,
    device: torch.device,
    resume: bool = False,
    checkpoint_every: int = 500,
    stop: Callable[[], bool] = lambda: False,
    start: Start | None = None,
    log: str | None = None,
) -> TrainingResult:
    """Train on `images` uint8 [N, S, S, 3] (an array or a memory map) in the run folder `out`, from `start` if given.

    `log="tensorboard"` writes TensorBoard's event files too, to tensorboard/ in the folder.
    `stop` is asked after every step, of several ranks after every tenth; once True, the state is stored and the result
    says `finished=False`.
    Raises ValueError on a folder in use, on one that holds a run unless `resume`, on changed settings; TrainingFailed
    on NaN or collapse. Of several ranks (`repr_eval.system.ranks`) each calls it; the first one writes.
    """
    ranks = current()
    settings = replace(settings, ranks=ranks.count, started_from=start.description if start else settings.started_from)
    settings = settings.resolved()
    if start:
        start.check(settings)
    if checkpoint_every < 1:
        raise ValueError(f"checkpoint_every {checkpoint_every} is less than 1")
    check_images(images, settings, architecture_named(settings.arch).image_size)
    out, writer = Path(out), writer_for(log)
    out.mkdir(parents=True, exist_ok=True)
    with exclusive(out, "training", by_file=True) if ranks.first else nullcontext():
        if ranks.first:
            prepare_folder(out, settings, resume, device, start)
        ranks.wait()
        try:
            events = EventFiles(writer, out, settings.steps_per_epoch) if writer and ranks.first else None
            run = _Run(images, settings, out, device, ranks, start, events)
            with closing(events) if events else nullcontext():
                return _loop(run, checkpoint_every, stop)
        except torch.OutOfMemoryError as error:
            reason = str(error).split(". ")[0]
        fits = _batch_that_fits(images, settings, device)
        advice = f"a `batch_size` of {fits} fits" if fits else "not even 2 images fit; try a smaller `width`"
        raise TrainingFailed(
            f"{device} ran out of memory with `batch_size={settings.batch_size}` ({reason}): {advice}, in a new `out`. "
            "The last checkpoint is kept"
        )


def _batch_that_fits(images: np.ndarray, settings: TrainingSettings, device: torch.device) -> int:
    """The largest batch, of the settings' own halved and halved again, that training has room for; 0 where none has.

    Of several ranks each takes its share of it.
    """
    size = settings.batch_size // settings.ranks // 2
    while size >= 2:
        gc.collect()  # networks hold on to themselves in cycles: those of the try before still take room
        if device.type == "cuda":
            torch.cuda.empty_cache()
        smaller = replace(settings, ranks=1, recipe=replace(settings.recipe, batch_size=size))
        try:
            _play(images, replace(smaller, max_steps=TRIED_STEPS), device)
            return size * settings.ranks
        except torch.OutOfMemoryError:
            size //= 2
    return 0


def _play(images: np.ndarray, settings: TrainingSettings, device: torch.device) -> None:
    """Train without a folder, for as many steps as the settings say."""
    game = DCGAN(settings, device)
    for number, real in enumerate(Batches(images, settings, device).from_step(0)):
        game.step(real, torch.zeros(settings.recipe.n_fakes, settings.z_dim or 0, device=device), number)


def _loop(run: _Run, checkpoint_every: int, stop: Callable[[], bool]) -> TrainingResult:
    run.restore()
    settings = run.settings
    alone, stopped = run.ranks.count == 1, False
    shown = progress_count(
        "train-gan", total=settings.total_steps, initial=run.step, disable=not run.ranks.first, keep=True,
        each=(settings.batch_size, "images"),
    )  # fmt: skip
    with shown as bar:
        for real in run.batches.from_step(run.step):
            run.advance(real)
            bar.update()
            if run.step % LOOK_EVERY == 0:
                run.log.look()
                bar.set_postfix(d=f"{run.log.last[0]:.3f}", g=f"{run.log.last[1]:.3f}")
            stopped = (alone or run.step % ASK_EVERY == 0) and run.ranks.any(stop())
            end_of_epoch = run.step % settings.steps_per_epoch == 0
            if stopped or end_of_epoch or run.step % checkpoint_every == 0:
                run.store()
            if end_of_epoch:
                run.publish()
            if stopped:
                break
    run.store()
    run.publish()
    return TrainingResult(run.step, run.step * settings.batch_size, finished=run.step >= settings.total_steps)
