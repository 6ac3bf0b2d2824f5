"""The command line: parses, calls, prints. What it calls can be called from Python as well."""

import importlib
import os
import signal
import sys
from typing import Any

import click

from repr_eval import __version__
from repr_eval.cli.streams import unbreakable
from repr_eval.cli.wording import as_options

# Command -> module and function. These modules declare options alone; what a command works with, torch and the like, is
# imported in its function, once its options are checked. So help, `pack`, its worker processes and tables do without.
COMMANDS = {
    "pack": "repr_eval.cli.packing:pack_images",
    "train-gan": "repr_eval.cli.training:train_gan",
    "finish-gan": "repr_eval.cli.training:finish_gan",
    "cifar10-svm": "repr_eval.cli.evaluation:cifar10_svm",
    "svhn": "repr_eval.cli.evaluation:svhn_few_labels",
    "digits": "repr_eval.cli.evaluation:digits",
    "evaluate": "repr_eval.cli.evaluation:evaluate_any",
    "extract": "repr_eval.cli.evaluation:extract",
    "layers": "repr_eval.cli.evaluation:layers",
    "measures": "repr_eval.cli.measures:measures",
    "table": "repr_eval.cli.report:table",
    "report": "repr_eval.cli.report:report",
    "compare": "repr_eval.cli.comparison:compare",
    "rank": "repr_eval.cli.comparison:rank",
    "classes": "repr_eval.cli.comparison:classes",
    "verify": "repr_eval.cli.verify:verify_files",
    "doctor": "repr_eval.cli.report:doctor",
    "export-weights": "repr_eval.cli.training:export_weights",
    "import-weights": "repr_eval.cli.training:import_weights",
    "samples": "repr_eval.cli.explore_samples:samples",
    "explore": "repr_eval.cli.explore:explore",
    "make-digits": "repr_eval.cli.report:make_digits",
}


def one_line(error: BaseException) -> str:
    """What an error says, in one line and in options; its type where it says nothing."""
    return as_options(" ".join(str(error).split())) or type(error).__name__


def command_at(place: str) -> click.Command:
    """The command of a row MODULE:FUNCTION of a table of commands, whose module is imported now."""
    module, function = place.split(":")
    command = getattr(importlib.import_module(module), function)
    assert isinstance(command, click.Command)
    return command


class _Commands(click.Group):
    """The commands above. Bad input and a failing disk end in one line on stderr and exit status 1.

    $REPR_EVAL_DEBUG=1 shows the traceback instead.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        if "LOCAL_RANK" in os.environ:
            # Of torchrun's ranks each would print advice of torch's on how they share gradients. Read at its import.
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        return command_at(COMMANDS[cmd_name])

    def main(self, *arguments: Any, **settings: Any) -> Any:
        unbreakable()
        return super().main(*arguments, **settings)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(f"repr-eval {ctx.invoked_subcommand}: interrupted", err=True)
            sys.exit(128 + signal.SIGINT)
        except BrokenPipeError:
            raise  # of a pipe that is neither stdout nor stderr (`streams`)
        except (ValueError, OSError, MemoryError, RuntimeError) as error:
            of_memory = "out of memory" in str(error) or "can't allocate memory" in str(error)  # torch's RuntimeErrors
            if os.environ.get("REPR_EVAL_DEBUG") or (isinstance(error, RuntimeError) and not of_memory):
                raise
            click.echo(f"repr-eval {ctx.invoked_subcommand}: {one_line(error)}", err=True)
            sys.exit(1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def main() -> None:
    """Evaluate unsupervised image representations by the DCGAN paper's protocols."""
