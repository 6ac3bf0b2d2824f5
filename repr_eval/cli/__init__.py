"""The command line: parses, calls, prints. What it calls can be called from Python as well."""

import os
import sys

import click

from repr_eval import __version__
from repr_eval.cli.evaluation import cifar10_svm, digits, svhn_few_labels
from repr_eval.cli.report import doctor, make_digits, table
from repr_eval.cli.training import export_weights, pack_images, train_gan


class _OneLineErrors(click.Group):
    """Bad input and a failing disk end in one line on stderr and status 1; $REPR_EVAL_DEBUG=1 shows a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (ValueError, OSError, MemoryError) as error:
            if os.environ.get("REPR_EVAL_DEBUG"):
                raise
            text = " ".join(str(error).split()) or type(error).__name__
            click.echo(f"repr-eval {ctx.invoked_subcommand}: {text}", err=True)
            sys.exit(1)


@click.group(cls=_OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def main() -> None:
    """Evaluate unsupervised image representations by the DCGAN paper's protocols."""


for command in (
    pack_images,
    train_gan,
    cifar10_svm,
    svhn_few_labels,
    digits,
    table,
    doctor,
    export_weights,
    make_digits,
):
    main.add_command(command)
