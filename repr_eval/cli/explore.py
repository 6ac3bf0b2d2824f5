"""The group explore: what a generator and a discriminator have learned, as pictures and numbers.

What needs torch is imported once a command runs and its options are checked.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from repr_eval.cli import command_at, options
from repr_eval.cli.wording import as_options
from repr_eval.gan.pretrained import find_both

if TYPE_CHECKING:
    from repr_eval.explore.models import Models

# Command -> module and function, imported when it is asked for.
STUDIES: dict[str, str] = {
    "samples": "repr_eval.cli.explore_samples:samples",
    "walk": "repr_eval.cli.explore_latent:walk",
    "arithmetic": "repr_eval.cli.explore_latent:arithmetic",
    "turn": "repr_eval.cli.explore_latent:turn",
    "boxes": "repr_eval.cli.explore_forget:boxes_page",
    "forget": "repr_eval.cli.explore_forget:forget",
    "neighbours": "repr_eval.cli.explore_memory:neighbours",
    "respond": "repr_eval.cli.explore_memory:respond",
    "deduplicate": "repr_eval.cli.explore_memory:deduplicate",
    "all": "repr_eval.cli.explore_all:everything",
}
TYPED = "repr_eval.explore.typed"  # of click's meta: the words of the study that `explore all` runs

weights = click.option(
    "--weights",
    "weights",
    multiple=True,
    required=True,
    metavar="WEIGHTS",
    help="A generator's .safetensors file, and a discriminator's; or a name from pretrained/, which stands for both. "
    "Repeatable.",
)
z = click.option(
    "--z", type=click.Choice(["uniform", "normal"]), help="The noise. Default: what the weights were trained with."
)
out = click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("explored"),
    show_default=True,
    help="Folder of pictures and numbers.",
)
COMMON = (weights, z, options.seed, options.device, out)


def command_line() -> str:
    """The command as it was typed, for the JSON beside a picture; of `explore all`, that of the study alone."""
    context = click.get_current_context(silent=True)
    words = context.meta.get(TYPED) if context else None
    return shlex.join(["repr-eval", *(words or sys.argv[1:])])


def open_models(weights: Sequence[str], z: str | None, device: str, out: Path) -> "Models":
    """The networks; ValueError where files are missing, or `out` cannot be, before torch is imported."""
    for source in weights:
        find_both(source)
    options.make_folder(out, "--out")
    from repr_eval.explore.models import read_models
    from repr_eval.system.devices import chosen_device

    return read_models(weights, chosen_device(device), z)


def tell(lines: Sequence[str], written: Sequence[Path]) -> None:
    """What a study found, on stdout, in options; which files it wrote, on stderr."""
    for line in lines:
        click.echo(as_options(line))
    for path in written:
        click.echo(f"wrote {path}", err=True)


class _Studies(click.Group):
    """The commands of `STUDIES`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(STUDIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return command_at(STUDIES[cmd_name]) if cmd_name in STUDIES else None


@click.group("explore", cls=_Studies)
def explore() -> None:
    """What a generator and a discriminator have learned: pictures, and numbers with controls.

    \b
    Example:
      repr-eval explore --help
    """
