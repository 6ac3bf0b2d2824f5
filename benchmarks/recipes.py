"""The study of recipes: trains a discriminator a recipe on unlabelled images and takes its proxy score.

    python -m benchmarks.recipes run --data imagenet32.npy --width 0.25 --images 50000 paper rotation ...
    python -m benchmarks.recipes score RUN_FOLDER RUN_FOLDER/checkpoint-000001000.safetensors ...
    python -m benchmarks.recipes score-weights pretrained/imagenet-w0.5.safetensors ...
    python -m benchmarks.recipes table

`run` appends one line of JSON a measurement to benchmarks/results/recipes.jsonl: settings, seed, images seen, seconds
of training, counts on the validation images; a run that broke down is a line too. `table` derives recipes.md,
recipes.csv and recipes.png from them.
"""

import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import load_file

from benchmarks import recipes_table
from benchmarks.proxy import LABELS, ProxyData, proxy, proxy_data
from benchmarks.recipes_table import accuracy
from repr_eval.gan.augmentation import Augmentation
from repr_eval.gan.checkpoint import latest_step
from repr_eval.gan.game import DCGAN
from repr_eval.gan.recipes import CONTRASTIVE, PAPER, RECIPES, VIEWS, Recipe
from repr_eval.gan.run_folder import DISCRIMINATOR, TrainingFailed
from repr_eval.gan.settings import SETTINGS, TrainingSettings, read_settings, settings_from_json
from repr_eval.gan.training import train
from repr_eval.gan.unlabelled import UnlabelledImages, unlabelled_images
from repr_eval.gan.weights import load_discriminator
from repr_eval.representations.averaged_views import AVERAGED_VIEWS, SINGLE, seen_in_views
from repr_eval.representations.base import Representation
from repr_eval.representations.discriminator import DiscriminatorFeatures, from_weights, untrained
from repr_eval.system.progress import silent
from repr_eval.system.provenance import commit, machine, versions

RESULTS = Path(__file__).resolve().parent / "results"
RECORDS = RESULTS / "recipes.jsonl"

MIRROR = Augmentation(flip=True)
DIFFERENTIABLE = Augmentation(translate=0.125, brightness=0.5, saturation=1.0, contrast=0.5, cutout=0.5)

CONTRAST = replace(PAPER, contrast=1.0, augmentation=VIEWS)
FAST = replace(CONTRAST, d_lr_factor=5.0, d_average=0.999)
LEAN = replace(FAST, rotation=1.0, fakes=0.5, generator_width=0.5)

# What makes an image cheaper: tasks that read the mean of the last maps see smaller views; the second view is the one
# that is turned; the game is played every fourth step.
WIDE_HEAD = replace(CONTRASTIVE, tasks_read="mean", projection=(2048, 256), projection_norm=True)
CHEAP = replace(WIDE_HEAD, rotation_from="second", game_every=4, views=replace(VIEWS, size=24))
COLOURS = Augmentation(
    crop=0.2, flip=True, brightness=0.4, saturation=0.4, contrast=0.4, hue=0.1, jitter=0.8, grey=0.1, size=24
)
SMALL = Augmentation(crop=0.05, crop_to=0.3, flip=True, brightness=0.4, saturation=0.8, grey=0.2, contrast=0.4, size=16)

# Recipes of the study, by name; the table has those that were run, and says how each differs from the paper's.
TRIED: dict[str, Recipe] = {
    "paper": PAPER,
    "paper-fast": replace(PAPER, d_lr_factor=5.0, d_average=0.999),
    "mirror": replace(PAPER, augmentation=MIRROR),
    "diffaug": replace(PAPER, augmentation=DIFFERENTIABLE),
    "crops": replace(PAPER, augmentation=VIEWS),
    "rotation": replace(PAPER, rotation=1.0),
    "rotation-crops": replace(PAPER, rotation=1.0, augmentation=VIEWS),
    "contrast": CONTRAST,
    "contrast-rotation": replace(CONTRAST, rotation=1.0),
    "contrast-fast": FAST,
    "contrast-rotation-fast": replace(FAST, rotation=1.0),
    "lean": LEAN,
    "lean-average": replace(LEAN, g_average=0.999),
    "lean-all": replace(LEAN, tasks_read="all"),
    "lean-faster": replace(LEAN, d_lr_factor=10.0),
    "lean-warm": replace(LEAN, temperature=0.5),
    "lean-cold": replace(LEAN, temperature=0.1),
    "lean-quarter": replace(LEAN, fakes=0.25),
    "lean-slow-mean": replace(LEAN, beta1=0.9),
    "lean-slower": replace(LEAN, d_lr_factor=2.5),
    "lean-slowest": replace(LEAN, d_lr_factor=1.0),
    "wide-head": WIDE_HEAD,
    "second-turned": replace(CONTRASTIVE, rotation_from="second"),
    "cheap": CHEAP,
    "cheap-32": replace(CHEAP, views=VIEWS),
    "cheap-20": replace(CHEAP, views=replace(VIEWS, size=20)),
    "cheap-colours": replace(CHEAP, views=COLOURS),
    "cheap-detached": replace(CHEAP, game_shapes_features=False),
    "cheap-warm": replace(CHEAP, temperature=0.5),
    "cheap-cold": replace(CHEAP, temperature=0.1),
    "cheap-unturned": replace(CHEAP, rotation=0.0),
    "cheap-own-turned": replace(CHEAP, rotation_from="own"),
    "cheap-crops": replace(CHEAP, small_views=SMALL, n_small_views=4),
    "cheap-paced": replace(CHEAP, warmup=200, decay=0.3),
    "cheap-paced-fast": replace(CHEAP, warmup=200, decay=0.3, d_lr_factor=5.0),
    "cheap-paced-faster": replace(CHEAP, warmup=200, decay=0.3, d_lr_factor=10.0),
    "cheap-slow-mean": replace(CHEAP, beta1=0.9),
    "cheap-rare": replace(CHEAP, game_every=8),
    "cheap-large": replace(CHEAP, batch_size=256, lr=4e-4),
    "cheap-20-detached": replace(CHEAP, views=replace(VIEWS, size=20), game_shapes_features=False),
    "cheap-20-large": replace(CHEAP, views=replace(VIEWS, size=20), batch_size=256, lr=4e-4),
    "cheap-colder": replace(CHEAP, temperature=0.07),
    "cheap-crops-02": replace(CHEAP, views=replace(VIEWS, size=24, crop=0.2)),
    "cheap-16": replace(CHEAP, views=replace(VIEWS, size=16)),
    "cheap-decay": replace(CHEAP, weight_decay=0.05),
    **RECIPES,
}

CURVES = ("random", "paper", "contrastive", "contrastive-fast")


@click.group()
def main() -> None:
    """Train recipes, score them, tabulate."""


@main.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--data", required=True, help="A packed array of images, as train-gan takes it.")
@click.option("--width", default=0.25, show_default=True)
@click.option(
    "--images", multiple=True, type=int, required=True, help="Images seen at which to score; may be repeated."
)
@click.option("--seed", default=0, show_default=True)
@click.option("--precision", default="bf16", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/recipes"), show_default=True)
def run(
    names: tuple[str, ...], data: str, width: float, images: tuple[int, ...], seed: int, precision: str, work: Path
) -> None:
    """Train every recipe of NAMES to the given numbers of images, and score it at each. "random" trains nothing."""
    scored, found = proxy_data(work / "proxy.npz"), unlabelled_images(data, 32)
    for name in names:
        settings = TrainingSettings(
            found.description, found.sha256, len(found.images), width=width, epochs=10_000, seed=seed,
            precision=precision, recipe=TRIED.get(name, PAPER),
        ).resolved()  # fmt: skip
        folder = work / f"{name}-w{width:g}-s{seed}-{precision}"
        for seen in sorted(images) if name != "random" else [0]:
            _append(_measured(name, settings, found, seen, folder, scored))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("checkpoints", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/recipes"), show_default=True)
@silent()
def score(folder: Path, checkpoints: tuple[Path, ...], work: Path) -> None:
    """Score the discriminators in CHECKPOINTS of the train-gan run in FOLDER, on its way or at its end."""
    scored, settings = proxy_data(work / "proxy.npz"), read_settings(folder / SETTINGS)
    for path in checkpoints:
        found = re.search(r"(\d+)\.safetensors$", path.name)
        if found is None:
            raise click.ClickException(f"{path}: the name of a checkpoint ends in its step")
        game = DCGAN(settings, torch.device("cpu"))
        game.load_state(load_file(path))
        representation = DiscriminatorFeatures(game.published_discriminator, "", settings.data)
        record = _described(settings.recipe.name, settings, int(found[1])) | _scored(representation, scored)
        _append(record)


@main.command("score-weights")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/recipes"), show_default=True)
@click.option("--views", type=click.Choice(list(AVERAGED_VIEWS)), default=SINGLE, show_default=True,
              help="Average features over views of each image.")  # fmt: skip
@silent()
def score_weights(files: tuple[Path, ...], work: Path, views: str) -> None:
    """Score the discriminators in FILES, weights as train-gan writes them and export-weights copies them."""
    scored = proxy_data(work / "proxy.npz")
    for path in files:
        info = load_discriminator(path)[1]
        stored = {name: value for name, value in info.settings.items() if name not in ("steps", "stored_as")}
        settings = settings_from_json(stored)
        record = _described(settings.recipe.name, settings, int(info.settings["steps"]))
        record["images_seen"] = info.images_seen  # those of before the run's first step among them
        if views != SINGLE:
            record["views"] = views
        _append(record | _scored(seen_in_views(from_weights(path), views), scored))


def _described(name: str, settings: TrainingSettings, steps: int) -> dict[str, Any]:
    """What every record says before anything is measured."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"), "recipe": name,
        "images_seen": steps * settings.batch_size, "settings": settings.to_json(), "machine": machine("no GPU"),
        "versions": versions(), "commit": commit(),
    }  # fmt: skip


def _append(record: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    with open(RECORDS, "a") as file:
        file.write(json.dumps(record) + "\n")
    click.echo(_summary(record))


@silent()
def _measured(
    name: str, settings: TrainingSettings, found: UnlabelledImages, seen: int, folder: Path, scored: ProxyData
) -> dict[str, Any]:
    """Train on to `seen` images and score; one record."""
    steps = seen // settings.batch_size
    settings = replace(settings, max_steps=steps or None)
    record = _described(name, settings, steps)
    started, started_cpu = time.perf_counter(), time.process_time()
    if steps:
        before = latest_step(folder)
        try:
            train(found.images, settings, folder, device=torch.device("cpu"), resume=True, checkpoint_every=10**9)
        except TrainingFailed as error:
            return record | {"failed": str(error)}
        trained = time.perf_counter() - started
        record |= {
            "seconds": round(trained, 1),
            "images_a_second": round((steps - before) * settings.batch_size / trained, 1),
        }
        if not before:
            record["cpu_seconds"] = round(time.process_time() - started_cpu, 1)
        representation = from_weights(folder / DISCRIMINATOR)
    else:
        representation = untrained(settings.arch, settings.width, settings.seed)
    return record | _scored(representation, scored)


def _scored(representation: Representation, data: ProxyData) -> dict[str, Any]:
    started = time.perf_counter()
    result = proxy(representation, data)
    return {
        "labels_a_class": LABELS, "C": result.C, "C_at_edge": result.at_edge, "validation_n": result.n,
        "validation_correct": result.correct,
        "seconds_of_proxy": round(time.perf_counter() - started, 1),
    }  # fmt: skip


def _summary(record: dict[str, Any]) -> str:
    if "failed" in record:
        return f"{record['recipe']}: {record['failed']}"
    return (
        f"{record['recipe']} w{record['settings']['width']} {record['images_seen']:,} images: "
        f"{100 * accuracy(record):.2f}% (C {record['C']:g}), {record.get('images_a_second', 0)} images/s, "
        f"proxy {record['seconds_of_proxy']} s"
    )


@main.command()
@click.option("--curves", multiple=True, default=CURVES, help="In the picture. Repeatable.")
def table(curves: tuple[str, ...]) -> None:
    """Write recipes.csv, recipes.md and recipes.png from the records."""
    recipes_table.write(RECORDS, RESULTS, curves)
    click.echo(RESULTS / "recipes.md")


if __name__ == "__main__":
    main()
