"""explore neighbours, respond and deduplicate: copies, what D responds to, near duplicates."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from repr_eval.cli import options
from repr_eval.cli.explore import COMMON, command_line, tell
from repr_eval.datasets import DATASETS

if TYPE_CHECKING:
    from repr_eval.gan.unlabelled import UnlabelledImages

OF_DATA = "test"  # as --held-out: the test images of the data set that --data names
data = click.option(
    "--data",
    "source",
    required=True,
    metavar="DATA",
    help="Images: a packed .npy, a folder, or a data set by its name (its training images).",
)


def _images(source: str, size: int, data_dir: Path | None, out: Path) -> "UnlabelledImages":
    """The images that `source` names; a folder is packed into `out`."""
    from repr_eval.gan.unlabelled import unlabelled_images

    return unlabelled_images(source, size, data_dir, out)


def _share(text: str) -> float | None:
    """The number that `text` is, or None where it names a file or a folder."""
    if Path(text).exists():
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _check_sources(source: str, held_out: str | None = None) -> None:
    """Raise a ValueError for what names no images, before any are loaded."""
    from repr_eval.gan.unlabelled import check_source

    check_source(source)
    if held_out is None:
        return
    share = _share(held_out)
    if share is not None and not 0 < share < 1:
        raise ValueError(f"--held-out {held_out}: as a share of --data it must be between 0 and 1, such as 0.1")
    if held_out == OF_DATA and not Path(held_out).exists():
        if source not in DATASETS:
            raise ValueError(
                f"--held-out {OF_DATA}: the test images of a data set by its name; --data {source} has none"
            )
    elif share is None:
        check_source(held_out)


def _both(
    source: str, held_out: str, size: int, data_dir: Path | None, out: Path
) -> "tuple[UnlabelledImages, UnlabelledImages]":
    """The training images and the held-out ones that --data and --held-out name."""
    from repr_eval.gan.unlabelled import of_test, parted

    images = _images(source, size, data_dir, out)
    share = _share(held_out)
    if share is not None:
        return parted(images, share)
    if held_out == OF_DATA and not Path(held_out).exists():
        return images, of_test(source, data_dir)
    return images, _images(held_out, size, data_dir, out)


@click.command("neighbours")
@options.given(*COMMON)
@data
@click.option(
    "--held-out",
    required=True,
    metavar="DATA",
    help="Real images never trained on: as --data; or a share of --data, such as 0.1, which are its last rows; or "
    f"{OF_DATA!r}, the test images of the data set that --data names.",
)
@click.option("--n", default=1000, show_default=True, type=click.IntRange(2), help="Samples.")
@options.data_dir
def neighbours(
    weights: tuple[str, ...], z: str | None, seed: int, device: str, out: Path, source: str, held_out: str, n: int,
    data_dir: Path | None,
) -> None:  # fmt: skip
    """Whether samples are copies: their nearest training images, and how near held-out images come.

    \b
    Example:
      repr-eval explore neighbours --weights svhn-grey-contrastive --data svhn --held-out test
    """
    _check_sources(source, held_out)
    from repr_eval.explore import neighbours as study
    from repr_eval.explore.models import read_models
    from repr_eval.system.devices import chosen_device

    models = read_models(weights, chosen_device(device), z)
    options.make_folder(out, "--out")
    training, others = _both(source, held_out, models.generator.arch.image_size, data_dir, out)
    numbers, written = study.run(models, training, others, n, seed, command_line(), out)
    tell(study.in_words(numbers).splitlines(), written)


@click.command("respond")
@options.given(*COMMON)
@data
@click.option("--images", "n", default=2000, show_default=True, type=click.IntRange(1), help="Random images of --data.")
@click.option("--features", metavar="N,N,...", help="Features in the picture, from 0 on. Default: the first six.")
@options.data_dir
def respond(
    weights: tuple[str, ...], z: str | None, seed: int, device: str, out: Path, source: str, n: int,
    features: str | None, data_dir: Path | None,
) -> None:  # fmt: skip
    """What features of D's last convolution respond to: guided backpropagation, against an untrained D.

    \b
    Example:
      repr-eval explore respond --weights imagenet-contrastive-w0.5 --data imagenet32.npy
    """
    chosen = _numbers(features) if features is not None else None
    _check_sources(source)
    from repr_eval.explore import respond as study
    from repr_eval.explore.models import read_models
    from repr_eval.system.devices import chosen_device

    models = read_models(weights, chosen_device(device), z)
    options.make_folder(out, "--out")
    images = _images(source, models.generator.arch.image_size, data_dir, out)
    numbers, written = study.run(models, images, n, seed, command_line(), out, chosen)
    tell(study.in_words(numbers).splitlines(), written)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"--features {text}: must be whole numbers, such as 0,5,17") from error


@click.command("deduplicate")
@click.argument("array", type=click.Path(path_type=Path))
@options.seed
@click.option(
    "--steps", default=2000, show_default=True, type=click.IntRange(1), help="Batches of 128 for the autoencoder."
)
@click.option(
    "--threshold",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0),
    help="A unit of the code counts as active above it. Higher: more images collapse.",
)
@click.option("--confirm", is_flag=True, help="Remove only what is a near duplicate by its pixels too.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("explored"),
    show_default=True,
    help="Folder of rows, picture and numbers.",
)
def deduplicate(array: Path, seed: int, steps: int, threshold: float, confirm: bool, out: Path) -> None:
    """Find near duplicates in a packed ARRAY by the codes of the paper's autoencoder.

    OUT/kept.npy lists the rows to keep: of images with the same code, the first.

    \b
    Example:
      repr-eval explore deduplicate imagenet32.npy --threshold 1 --confirm
    """
    from repr_eval.explore import duplicates as study
    from repr_eval.gan.unlabelled import read_packed

    options.make_folder(out, "--out")
    images = read_packed(array)
    numbers, written = study.run(images, seed, command_line(), out, steps=steps, threshold=threshold, confirm=confirm)
    tell(study.in_words(numbers).splitlines(), written)
