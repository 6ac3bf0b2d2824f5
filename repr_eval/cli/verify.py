"""verify: whether files are still what was stored."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from repr_eval.verification.base import Checked


@click.command("verify")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--repair",
    is_flag=True,
    help="Remove what can be made again: damaged stored features, temporary files of killed processes.",
)
def verify_files(paths: tuple[Path, ...], repair: bool) -> None:
    """Check that files are still what was stored: every hash is made again.

    PATHS: folders of results, stored or extracted features, runs of training, packed images, weights; or
    files in them. Default: shipped weights, results/ and the stored features in the cache folder. Exits
    with 1 where anything is wrong.

    \b
    Example:
      repr-eval verify results runs/gan
    """
    from repr_eval.verification import verify as verification

    checked = verification.verify(paths or verification.default_paths())
    click.echo(_table(checked))
    for one in checked:
        if one.remark:
            click.echo(f"{one.path}: {one.remark}")
    removed = verification.repair(checked) if repair else []
    wrong = [one for one in checked if one.wrong]
    for one in wrong:
        click.echo(f"wrong: {one.wrong}", err=True)
    for path in removed:
        click.echo(f"removed: {path}", err=True)
    gone = set(removed)
    if any(not gone.intersection(one.again) for one in wrong):
        click.get_current_context().exit(1)


def _table(checked: Sequence["Checked"]) -> str:
    """A line for each kind of file: how many, how large, how many of them wrong."""
    kinds = dict.fromkeys(one.what for one in checked)
    lines = [("kind", "files", "MB", "wrong")]
    for kind in kinds:
        own = [one for one in checked if one.what == kind]
        size, wrong = sum(one.bytes for one in own) / 1e6, sum(bool(one.wrong) for one in own)
        lines.append((kind, f"{len(own):,}", f"{size:,.1f}", f"{wrong:,}"))
    return "\n".join(f"{kind:<16}{files:>8}{size:>12}{wrong:>8}" for kind, files, size, wrong in lines)
