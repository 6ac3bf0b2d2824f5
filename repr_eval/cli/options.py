"""Options that mean the same in every command."""

import functools
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from repr_eval.system.ranks import joined

data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder that holds the data sets. Default: $REPR_EVAL_DATA, else a cache folder.",
)
device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
out = click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder of records and tables.",
)
seed = click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of all that is random."
)


def given(*those: Callable[..., Any]) -> Callable[..., Any]:
    """A command with those options, in that order."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(those):
            command = option(command)
        return command

    return decorate


def is_given(name: str) -> bool:
    """Whether the command line names the option of the command at hand, by its parameter's name."""
    context = click.get_current_context(silent=True)
    return context is not None and context.get_parameter_source(name) not in (None, click.core.ParameterSource.DEFAULT)


def shared_by_ranks(command: Callable[..., None]) -> Callable[..., None]:
    """`command`, as one of the ranks that torchrun started, if it did."""

    @functools.wraps(command)
    def joining(**settings: Any) -> None:
        with joined():
            command(**settings)

    return joining


def of_whole_records(command: Callable[..., None]) -> Callable[..., None]:
    """`command`, of the records that can be read; then it tells of other lines and exits with 1."""

    @functools.wraps(command)
    def going_on(**settings: Any) -> None:
        from repr_eval.records import passing_over

        with passing_over() as lines:
            try:
                command(**settings)
            except ValueError:
                _echo(lines)
                raise
        tell(lines)

    return going_on


def tell(lines: Iterable[str]) -> None:
    """Tell of lines that were passed over, one line each, and exit with 1, if there are any."""
    if list(lines):
        _echo(lines)
        click.get_current_context().exit(1)


def _echo(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(f"repr-eval {click.get_current_context().info_name}: {line}", err=True)


def layer_range(text: str) -> tuple[int, int]:
    """(first, last) of "2-4", or of "3" alone, counted from 1. ValueError on anything else."""
    match = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", text)
    layers = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= layers[0] <= layers[1]:
        raise ValueError(f"--layers {text!r}: needs a range of layers such as 1-4, or one layer such as 3")
    return layers


def make_folder(path: Path, option: str) -> None:
    """Make the folder that `option` names, before any work is done for it; ValueError where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{option} {path}: not a folder, and none can be made there ({error.strerror})") from error
    if not os.access(path, os.W_OK):
        raise ValueError(f"{option} {path}: this folder may not be written to")
