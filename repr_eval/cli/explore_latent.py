"""Commands that move in Z: explore walk, explore arithmetic, explore turn.

What needs torch is imported once a command runs and its options are checked.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from repr_eval.cli import options
from repr_eval.cli.explore import COMMON, command_line, open_models, tell

if TYPE_CHECKING:
    from repr_eval.explore.models import Models
    from repr_eval.explore.probe import Probe

sheet = click.option(
    "--sheet",
    type=click.IntRange(1, 10_000),
    default=64,
    show_default=True,
    help="Samples on the contact sheet; a larger one begins like a smaller one.",
)
PROBE = (
    click.option(
        "--probe",
        metavar="SPEC",
        help="Labelled real images to train a linear probe on: what --data of evaluate takes, "
        "such as svhn or a folder of class folders. Needs a discriminator, and --attribute.",
    ),
    click.option("--attribute", metavar="CLASS", help="The class of those images that the probe tells."),
    click.option(
        "--labels",
        metavar="LIST",
        help="A list of attributes by hand for rows of --probe, then a packed .npy: a JSON file, or faces64, which "
        "ships and goes with faces64.npy. --attribute is one of it.",
    ),
)


@click.command("walk")
@options.given(*COMMON)
@click.option(
    "--legs", type=click.IntRange(2, 200), default=10, show_default=True,
    help="Random points that the walk leads through, and back to the first; a row of the picture each.",
)  # fmt: skip
@click.option(
    "--pairs",
    type=click.IntRange(2),
    default=500,
    show_default=True,
    help="Pairs of points for the path length.",
)
@click.option(
    "--data",
    metavar="DATA",
    help="Real images for the controls: a packed .npy, a folder or a data set, as train-gan takes "
    "them. Default: independent samples in their place.",
)
@options.data_dir
def walk(
    weights: tuple[str, ...], z: str | None, seed: int, device: str, out: Path, legs: int, pairs: int,
    data: str | None, data_dir: Path | None,
) -> None:  # fmt: skip
    """Walk through Z: rows, a film, smoothness.

    From random point to random point, in rows of nine images: straight for uniform noise, on great
    circles for normal noise. Needs a discriminator, in whose features steps are measured. Writes
    walk.png, walk.webp and walk.json to --out.

    \b
    Example:
      repr-eval explore walk --weights imagenet-contrastive-w0.5 --data imagenet32.npy
    """
    from repr_eval.explore import walk as study
    from repr_eval.gan.unlabelled import check_source, unlabelled_images

    if data is not None:
        check_source(data)
    models = _models(weights, z, device, out, discriminator_for="--weights: steps are measured")
    real = None
    if data is not None:
        real = unlabelled_images(data, models.generator.arch.image_size, data_dir, cache=out)
    numbers = study.run(
        models, out, seed, command_line(), legs, pairs,
        real.images if real else None, real.description if real else "",
    )  # fmt: skip
    tell(study.in_words(numbers), [out / f"walk.{ending}" for ending in ("png", "webp", "json")])


class _InOrder(click.Command):
    """A command that keeps in which order --plus and --minus came."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta["repr_eval.terms"] = [p.name for p in order if p.name in ("plus", "minus")]
        return super().parse_args(ctx, args)


@click.command("arithmetic", cls=_InOrder)
@options.given(*COMMON)
@click.option(
    "--plus",
    multiple=True,
    metavar="N,N,N",
    help="Samples of the sheet whose mean is added. Repeatable.",
)
@click.option(
    "--minus",
    multiple=True,
    metavar="N,N,N",
    help="Samples of the sheet whose mean is subtracted. Repeatable.",
)
@options.given(sheet, *PROBE, options.data_dir)
@click.pass_context
def arithmetic(
    ctx: click.Context, weights: tuple[str, ...], z: str | None, seed: int, device: str, out: Path,
    plus: tuple[str, ...], minus: tuple[str, ...], sheet: int, probe: str | None, attribute: str | None,
    labels: str | None, data_dir: Path | None,
) -> None:  # fmt: skip
    """Add and subtract means of samples.

    Without terms it draws the sheet alone, sheet.png: choose samples there, by their numbers. With
    terms it writes arithmetic.png and arithmetic.json too.

    \b
    Examples:
      repr-eval explore arithmetic --weights svhn-grey-contrastive
      repr-eval explore arithmetic --weights svhn-grey-contrastive \\
        --plus 3,17,20 --minus 5,9,2 --plus 33,21,8 --probe svhn --attribute 7
      repr-eval explore arithmetic --weights faces64-w0.25 --plus 3,17,20 --minus 5,9,2 \\
        --plus 33,21,8 --probe faces64.npy --labels faces64 --attribute smile
    """
    given = {"plus": iter(plus), "minus": iter(minus)}
    signed = [(name, numbers_of(next(given[name]), f"--{name}")) for name in ctx.meta["repr_eval.terms"]]
    _check_probe(probe, attribute, labels)
    if probe is not None and not signed:
        raise ValueError("--probe: there is no result to judge; give --plus and --minus")
    from repr_eval.explore import arithmetic as study

    terms = [study.Term(1 if name == "plus" else -1, numbers) for name, numbers in signed]
    models = _models(weights, z, device, out, discriminator_for="--probe: it judges" if probe else None)
    if terms:
        study.vectors_of(models, terms, sheet, seed)  # what is wrong with them is said at once
    numbers = study.run(
        models,
        out,
        seed,
        command_line(),
        terms,
        sheet,
        _probe(models, probe, attribute, labels, data_dir, seed),
    )
    for name, term in signed:
        if len(term) == 1:
            click.echo(
                f"note: --{name} {term[0]} is a single vector; the paper found results stable with means of three",
                err=True,
            )
    names = ["sheet.png", "arithmetic.png", "arithmetic.json"] if terms else ["sheet.png"]
    tell(study.in_words(numbers) if terms else [], [out / name for name in names])


@click.command("turn")
@options.given(*COMMON)
@click.option("--from", "start", required=True, metavar="N,N,N,N", help="Samples of the sheet in one pose.")
@click.option("--to", "end", required=True, metavar="N,N,N,N", help="Samples in the other.")
@options.given(sheet, *PROBE, options.data_dir)
def turn(
    weights: tuple[str, ...], z: str | None, seed: int, device: str, out: Path, start: str, end: str,
    sheet: int, probe: str | None, attribute: str | None, labels: str | None, data_dir: Path | None,
) -> None:  # fmt: skip
    """Turn samples along an axis between two poses.

    The axis leads from the mean of some samples to the mean of others, by their numbers on the
    contact sheet that explore arithmetic draws. It is added to random samples. Writes turn.png,
    turn.json and sheet.png to --out.

    \b
    Example:
      repr-eval explore turn --weights svhn-grey-contrastive --from 1,2,3,4 --to 5,6,7,8 \\
        --probe svhn --attribute 7
    """
    first, last = numbers_of(start, "--from"), numbers_of(end, "--to")
    _check_probe(probe, attribute, labels)
    from repr_eval.explore import turn as study

    models = _models(weights, z, device, out, discriminator_for="--probe: it judges" if probe else None)
    study.ends_of(models, first, last, sheet, seed)  # what is wrong with them is said at once
    numbers = study.run(
        models,
        out,
        seed,
        command_line(),
        first,
        last,
        sheet,
        _probe(models, probe, attribute, labels, data_dir, seed),
    )
    for name, numbers_of_end in (("from", first), ("to", last)):
        if len(numbers_of_end) == 1:
            click.echo(
                f"note: --{name} {numbers_of_end[0]} is a single vector; the paper takes means of four",
                err=True,
            )
    tell(study.in_words(numbers), [out / name for name in ("turn.png", "turn.json", "sheet.png")])


def numbers_of(text: str, option: str) -> tuple[int, ...]:
    """The numbers of "3,17,20". ValueError, which names `option`, on anything else."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"{option} {text!r}: needs numbers of samples such as 3,17,20") from error


def _check_probe(probe: str | None, attribute: str | None, labels: str | None) -> None:
    if (probe is None) != (attribute is None):
        given, missing = ("--probe", "--attribute") if probe is not None else ("--attribute", "--probe")
        raise ValueError(f"{given} needs {missing} too: the images to train on, and the class to tell")
    if labels is None:
        return
    if probe is None:
        raise ValueError(f"--labels {labels}: needs --probe, the packed .npy whose rows it labels, and --attribute")
    from repr_eval.explore.attributes import read_attributes

    read_attributes(labels)
    if not Path(probe).is_file():
        raise ValueError(f"--probe {probe}: no such file; with --labels it is the packed .npy whose rows are labelled")


def _models(weights: Iterable[str], z: str | None, device: str, out: Path, discriminator_for: str | None) -> "Models":
    """As `open_models`; ValueError, too, where D is needed and missing."""
    models = open_models(list(weights), z, device, out)
    if discriminator_for is not None and models.discriminator is None:
        raise ValueError(f"{discriminator_for} in D's features; give --weights of a discriminator too")
    return models


def _probe(
    models: "Models", spec: str | None, attribute: str | None, labels: str | None, data_dir: Path | None, seed: int
) -> "Probe | None":
    if spec is None or attribute is None:
        return None
    from repr_eval.datasets import DATASETS, load_dataset
    from repr_eval.explore.attributes import labelled, read_attributes
    from repr_eval.explore.probe import fit_probe
    from repr_eval.gan.unlabelled import read_packed

    size = models.generator.arch.image_size
    if labels is not None:
        data = labelled(read_packed(Path(spec), size), read_attributes(labels), attribute)
    else:
        data = load_dataset(spec, data_dir, download=False, image_size=None if spec in DATASETS else size)
    return fit_probe(models, data, attribute, seed)
