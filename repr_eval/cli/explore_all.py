"""explore all: every study of one model in a folder, with a page of pictures and numbers.

A study is a row of `STUDIES` whose command has --weights and --out. It gets the options of `explore all`
that it has too, and is left out, in so many words, where one that it requires is not given.
"""

import io
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import click

from repr_eval.cli import command_at, one_line, options
from repr_eval.cli.explore import COMMON, STUDIES, TYPED, command_line
from repr_eval.gan.pretrained import find_both

# What nobody chose, for studies that ask for a choice; --with says otherwise.
UNCHOSEN = {
    "arithmetic": "--plus 0,1,2 --minus 3,4,5 --plus 6,7,8",
    "turn": "--from 0,1,2,3 --to 4,5,6,7",
}
NOT_PASSED = {("samples", "--data")}  # it goes with --fidelity alone, which loads weights from a network


class _Heard(io.StringIO):
    """Keeps what is written, and passes it on."""

    def __init__(self) -> None:
        super().__init__()
        self.onwards = sys.stdout

    def write(self, text: str) -> int:
        self.onwards.write(text)
        return super().write(text)


@click.command("all")
@options.given(*COMMON)
@click.option(
    "--data", metavar="DATA", help="The images that the run was trained on, for the studies that need real ones."
)
@click.option("--held-out", metavar="DATA", help="Real images never trained on, as in explore neighbours.")
@click.option("--probe", metavar="SPEC", help="As in explore arithmetic, with --attribute.")
@click.option("--attribute", metavar="CLASS", help="As in explore arithmetic.")
@click.option("--labels", metavar="LIST", help="As in explore arithmetic.")
@click.option(
    "--boxes",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Boxes around an object in samples, for explore forget.",
)
@click.option(
    "--with", "chosen", multiple=True, type=(str, str), metavar="STUDY OPTIONS",
    help="Further options of a study, such as: turn '--from 1,2,3,4 --to 5,6,7,8'. Repeatable.",
)  # fmt: skip
@options.data_dir
@click.pass_context
def everything(
    ctx: click.Context, weights: tuple[str, ...], seed: int, out: Path, chosen: tuple[tuple[str, str], ...],
    **others: object,
) -> None:  # fmt: skip
    """Every study of one model, and index.html with the pictures and numbers.

    Each study has a folder in --out. What cannot be done without an option that is missing is left
    out and told; what fails is told, and the exit status is 1.

    \b
    Example:
      repr-eval explore all --weights svhn-grey-contrastive --data svhn --held-out test
    """
    further = _further(chosen)
    given = {parameter.opts[0]: str(others[parameter.name or ""]) for parameter in ctx.command.params
             if others.get(parameter.name or "") is not None} | {"--seed": str(seed)}  # fmt: skip
    for option in ("--data", "--held-out"):
        _check_source(option, given.get(option))
    generator, name, description = _model(weights, others)
    options.make_folder(out, "--out")
    from repr_eval.explore.index import Part, write_index

    typed, parts, failed = command_line(), [], False
    for study in models_studies():
        command = command_at(STUDIES[study])
        words = further.get(study) or shlex.split(UNCHOSEN.get(study, ""))
        own, missing = words_of(study, command, weights, generator, out, given, words)
        told = f"left out: needs {' and '.join(missing)}" if missing else ""
        lines: list[str] = []
        if not missing:
            click.echo(f"explore {study}", err=True)
            lines, told = _run(ctx, study, command, own)
            failed |= bool(told)
        if told:
            click.echo(f"{study}: {told}", err=True)
        nobody = study in UNCHOSEN and study not in further and not told
        remark = f"{told}" if told else "Nobody chose these samples: they are the first ones." if nobody else ""
        parts.append(
            Part(study, command.get_short_help_str(200), shlex.join(["repr-eval", *own]) if own else "", lines, remark)
        )
    page = write_index(out, name, description, typed, parts)
    click.echo(f"wrote {page}", err=True)
    if failed:
        ctx.exit(1)


def models_studies() -> list[str]:
    """The rows of `STUDIES` that look at a model and write to a folder or a file, but this one."""
    names = []
    for name in STUDIES:
        flags = {flag for parameter in command_at(STUDIES[name]).params for flag in parameter.opts}
        if {"--weights", "--out"} <= flags and name != "all":
            names.append(name)
    return names


def words_of(
    study: str, command: click.Command, weights: Sequence[str], generator: str, out: Path,
    given: Mapping[str, str], further: Sequence[str],
) -> tuple[list[str], list[str]]:  # fmt: skip
    """The words that run a study, and the required options that nobody gave."""
    words, missing = ["explore", study], []
    for parameter in command.params:
        flag = parameter.opts[0]
        if flag == "--weights":
            for source in weights if parameter.multiple else [generator]:
                words += [flag, source]
        elif flag == "--out":
            default = Path(str(parameter.default))
            words += [flag, str(out / study / default.name if default.suffix else out / study)]
        elif flag in further:
            continue
        elif flag in given and (study, flag) not in NOT_PASSED:
            words += [flag, given[flag]]
        elif parameter.required:
            missing.append(flag)
    return [*words, *further], missing


def _run(ctx: click.Context, study: str, command: click.Command, words: list[str]) -> tuple[list[str], str]:
    """What the study says on stdout, and what went wrong, in one line; nothing, if all went well."""
    ctx.meta[TYPED] = words
    heard = _Heard()
    try:
        with redirect_stdout(heard), command.make_context(study, words[2:], parent=ctx) as own:
            command.invoke(own)
    except click.UsageError as error:
        return [], f"not done: {one_line(ValueError(error.format_message()))}"
    except (ValueError, OSError) as error:
        return [], f"not done: {one_line(error)}"
    finally:
        del ctx.meta[TYPED]
    return heard.getvalue().splitlines(), ""


def _further(chosen: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """The words of each --with, by study; ValueError for what is no study, or not for it to say."""
    known, further = models_studies(), {}
    for study, words in chosen:
        if study not in known:
            raise ValueError(f"--with {study} {words!r}: no study of that name; there are {', '.join(known)}")
        try:
            further[study] = shlex.split(words)
        except ValueError as error:
            raise ValueError(f"--with {study} {words!r}: {error}") from error
        if any(word.partition("=")[0] in ("--weights", "--out") for word in further[study]):
            raise ValueError(f"--with {study} {words!r}: --weights and --out are those of explore all")
    return further


def _check_source(option: str, source: str | None) -> None:
    """ValueError where --data or --held-out names nothing; shares and words are left to the study."""
    from repr_eval.gan.unlabelled import check_source

    if source is not None and (option == "--data" or source.endswith(".npy")):
        check_source(source)


def _model(weights: Sequence[str], others: Mapping[str, object]) -> tuple[str, str, dict[str, object]]:
    """Which of `weights` is the generator's, and the name and the description of the model."""
    for source in weights:
        find_both(source)
    from repr_eval.explore.models import read_models
    from repr_eval.gan.weights import load_network
    from repr_eval.system.devices import chosen_device

    z = others["z"]
    models = read_models(weights, chosen_device(str(others["device"])), str(z) if z else None)
    [generator] = [
        source for source in weights if any(load_network(file)[1].network == "generator" for file in find_both(source))
    ]
    return generator, models.name, models.description
