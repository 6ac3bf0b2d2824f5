"""The reference of every command as Markdown, from the same click objects as `--help`."""

import inspect
import re
from collections.abc import Iterator, Sequence

import click

from repr_eval.cli.headings import HeadedCommand


def escaped(text: str) -> str:
    """`text` in one line, such that Markdown shows it as it is; what stands between backticks stays code."""
    parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") and len(part) > 1 else _literal(part) for part in parts)


def _literal(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_{}\[\]#|])", r"\\\1", text)


def description(command: click.Command) -> list[str]:
    """The paragraphs of a command's help; those that click leaves as they are (after \\b) as code."""
    text = inspect.cleandoc(command.help or "").replace("\r\n", "\n").partition("\f")[0]
    blocks = []
    for paragraph in re.split(r"\n\s*\n", text):
        title, mark, kept = paragraph.partition("\b\n")
        if mark:
            first, _, rest = kept.partition("\n")
            shown = inspect.cleandoc(rest) if first.endswith(":") else inspect.cleandoc(kept)
            blocks += [escaped(first)] * first.endswith(":") + [f"```text\n{shown}\n```"]
        else:
            blocks.append(escaped(title))
    return blocks


def sections(command: click.Command) -> dict[str, list[click.Parameter]]:
    """The options of a command, but for --help, under the headings of its help."""
    left = {parameter.name: parameter for parameter in command.params}
    headings = command.headings if isinstance(command, HeadedCommand) else {}
    found = {heading: [left.pop(name) for name in names if name in left] for heading, names in headings.items()}
    return {**found, "Options": list(left.values())}


def options(command: click.Command, context: click.Context) -> Iterator[str]:
    """A definition list of the options below each heading."""
    for heading, parameters in sections(command).items():
        records = [parameter.get_help_record(context) for parameter in parameters]
        lines = [f"`{names}`\n:   {escaped(text)}" for names, text in filter(None, records) if text]
        if lines:
            yield f"**{heading}**"
            yield from lines


def page(command: click.Command, path: Sequence[str] = ("repr-eval",)) -> str:
    """The command and all below it; `path` are the names that call it, the program's first."""
    return (
        "\n\n".join(_blocks(command, click.Context(command, info_name=path[0], **command.context_settings), path))
        + "\n"
    )


def _blocks(command: click.Command, context: click.Context, path: Sequence[str]) -> Iterator[str]:
    if len(path) > 1:
        yield f"{'#' * len(path)} {' '.join(path[1:])}"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{context.command_path} {usage}\n```"
    yield from description(command)
    if not isinstance(command, click.Group):
        yield from options(command, context)
        return
    below = [
        (name, found)
        for name in command.list_commands(context)
        if (found := command.get_command(context, name)) is not None and not found.hidden
    ]
    rows = [
        f"| [{name}](#{'-'.join([*path[1:], name])}) | {escaped(found.get_short_help_str(200))} |"
        for name, found in below
    ]
    yield "\n".join(["| command | what it does |", "|---|---|", *rows])
    yield from options(command, context)
    for name, found in below:
        inner = click.Context(found, info_name=name, parent=context)
        yield from _blocks(found, inner, [*path, name])
