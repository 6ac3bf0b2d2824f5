"""A command whose help lists its options under headings."""

from collections.abc import Mapping, Sequence
from typing import Any

import click


class HeadedCommand(click.Command):
    """A command with `headings`: names of parameters by heading, in the order of the help.

    What no heading names (--help) stands at the end under "Options"; a heading without a parameter is left out.
    """

    def __init__(self, *arguments: Any, headings: Mapping[str, Sequence[str]], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.headings = headings

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        lines = {parameter.name: parameter.get_help_record(ctx) for parameter in self.get_params(ctx)}
        sections = {heading: [lines.pop(name, None) for name in names] for heading, names in self.headings.items()}
        sections["Options"] = list(lines.values())
        for heading, section in sections.items():
            shown = [line for line in section if line]
            if shown:
                with formatter.section(heading):
                    formatter.write_dl(shown)
