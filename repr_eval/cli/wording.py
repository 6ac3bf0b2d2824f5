"""The library's words in those of the command line.

Messages of the library speak Python and put it between backticks: `data_dir`, `resume=True`, `precision="fp32"`. Here,
and nowhere else, they become the options that set the same: --data-dir, --resume, --precision fp32.
"""

import importlib
import re
from functools import cache

import click

from repr_eval.datasets import DATASETS

OTHER_NAMES = {"start": "--from", "widened": "--widen"}  # of parameters that no option has the name of
_CALLS = {"`help(repr_eval.representation)`": "repr-eval cifar10-svm --help"} | {
    f'`load_dataset("{row.key}", download=True)`': f"repr-eval {row.command} --download"
    for row in DATASETS.values()
    if row.command
}
_PARAMETER = re.compile(r"`([a-z]\w*)(?:=([^`]+))?`", re.IGNORECASE)


def as_options(message: str, **own: str) -> str:
    """`message`, with the Python between its backticks as options; what no option sets stays as it is.

    `own` names the options of parameters that mean something else here than elsewhere.
    """
    for call, command in _CALLS.items():
        message = message.replace(call, command)
    if "`" not in message:
        return message
    options = _options() | own
    return _PARAMETER.sub(lambda parameter: _as_option(parameter, options), message)


def _as_option(parameter: re.Match[str], options: dict[str, str]) -> str:
    name, value = parameter.groups()
    option = options.get(name)
    if option is None:
        return parameter[0]
    return option if value in (None, "True") else f"{option} {value.strip(chr(34) + chr(39))}"


@cache
def _options() -> dict[str, str]:
    """The option of every parameter of a command, by the parameter's name."""
    from repr_eval.cli import COMMANDS
    from repr_eval.cli.explore import STUDIES

    targets = (*STUDIES.values(), *COMMANDS.values())
    modules = {module for module, _ in (target.split(":") for target in targets)}
    commands = [
        command
        for module in sorted(modules)
        for command in vars(importlib.import_module(module)).values()
        if isinstance(command, click.Command)
    ]
    options = {p.name or "": p.opts[0] for c in commands for p in c.params if isinstance(p, click.Option)}
    return options | OTHER_NAMES
