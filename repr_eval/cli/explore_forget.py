"""Commands that make G forget an object: explore boxes, explore forget.

What needs torch is imported once a command runs and its options are checked.
"""

from pathlib import Path

import click

from repr_eval.cli import options
from repr_eval.cli.explore import COMMON, command_line, open_models, tell


@click.command("boxes")
@options.given(*COMMON)
@click.option("--sheet", type=click.IntRange(1, 2000), default=150, show_default=True, help="Samples to draw boxes on.")
@click.option("--object", "boxed", default="", metavar="WORD", help="What the boxes are drawn around, such as window.")
def boxes_page(
    weights: tuple[str, ...], z: str | None, seed: int, device: str, out: Path, sheet: int, boxed: str
) -> None:  # fmt: skip
    """A page to draw boxes on samples, for explore forget.

    Writes boxes.html to --out: one file that loads nothing. Open it in a browser, draw boxes around
    an object, and save boxes.json.

    \b
    Example:
      repr-eval explore boxes --weights faces64-w0.25 --object mouth
    """
    models = open_models(weights, z, device, out)
    from repr_eval.explore.boxes import page

    path = page.run(models, out, seed, sheet, boxed)
    click.echo(f"open {path} in a browser, draw boxes, save them, and give them to explore forget --boxes")
    click.echo(f"wrote {path}", err=True)


@click.command("forget")
@options.given(*COMMON)
@click.option(
    "--boxes", type=click.Path(path_type=Path), required=True, metavar="FILE",
    help="The boxes.json that the page of explore boxes saved.",
)  # fmt: skip
@click.option(
    "--layer", type=click.IntRange(1), metavar="N",
    help="The convolution of G whose maps are dropped, from 1. Default: the second highest that has maps.",
)  # fmt: skip
def forget(
    weights: tuple[str, ...], z: str | None, seed: int, device: str, out: Path, boxes: Path, layer: int | None
) -> None:  # fmt: skip
    """Make G forget an object: drop the maps that draw it.

    A logistic regression finds the maps of G's second highest convolution that are active inside the
    boxes; new samples are drawn with and without them. A discriminator, where there is one, judges.
    Writes forget.png and forget.json to --out.

    \b
    Example:
      repr-eval explore forget --weights faces64-w0.25 --boxes boxes.json
    """
    from repr_eval.explore.boxes.drawn import read_boxes

    drawn = read_boxes(boxes)
    models = open_models(weights, z, device, out)
    from repr_eval.explore import forget as study

    numbers = study.run(models, out, seed, command_line(), drawn, boxes, layer)
    tell(study.in_words(numbers), [out / "forget.png", out / "forget.json"])
