"""The options' headings, and the names that they spell out."""

import re

import click
import pytest
from click.testing import CliRunner

from repr_eval.classifiers import named
from repr_eval.cli import COMMANDS, evaluation_options, main
from repr_eval.cli.headings import HeadedCommand
from repr_eval.gan.pretrained import is_untrained
from repr_eval.representations.averaged_views import AVERAGED_VIEWS
from repr_eval.representations.batch_norm import BN_MODES
from repr_eval.representations.methods import METHODS

HEADED = {
    "cifar10-svm": ["Representation", "Own network", "Protocol", "Where", "Options"],
    "svhn": ["Representation", "Own network", "Protocol", "Where", "Options"],
    "digits": ["Representation", "Own network", "Protocol", "Where", "Options"],
    "layers": ["Representation", "Own network", "Protocol", "Where", "Options"],
    "measures": ["Data", "Representation", "Own network", "Measures", "Where", "Options"],
    "evaluate": ["Data", "Representation", "Own network", "Protocol", "Where", "Options"],
    "extract": ["Data", "Representation", "Own network", "Where", "Options"],
    "train-gan": ["Data", "Networks", "Recipe", "Run", "Options"],
}


def command_named(name: str) -> click.Command:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return command


def sections(text: str) -> dict[str, list[str]]:
    """The options of a help text by heading."""
    parts = re.split(r"^([A-Z][\w ]+):$", text, flags=re.MULTILINE)[1:]
    return {
        name: re.findall(r"^  (?:-h, )?(--\S+)", part, re.MULTILINE)
        for name, part in zip(parts[::2], parts[1::2], strict=True)
    }


@pytest.mark.parametrize("name", HEADED)
def test_help_lists_every_option_once_under_its_heading(name: str) -> None:
    headed = sections(CliRunner().invoke(main, [name, "--help"]).stdout)
    assert list(headed) == HEADED[name]
    assert headed.pop("Options") == ["--help"]
    listed = [option for part in headed.values() for option in part]
    assert sorted(listed) == sorted(parameter.opts[0] for parameter in command_named(name).params)


def test_an_option_without_a_heading_is_shown_all_the_same() -> None:
    plain, headed = click.Option(["--plain"], help="A."), click.Option(["--headed"], help="B.")
    command = HeadedCommand("c", params=[plain, headed], headings={"First": ["headed"], "Empty": ["nothing"]})
    text = CliRunner().invoke(command, ["--help"]).stdout
    assert sections(text) == {"First": ["--headed"], "Options": ["--plain", "--help"]}


def test_help_texts_are_sentences() -> None:
    for name in COMMANDS:
        for parameter in command_named(name).params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (name, parameter.name)
                assert not parameter.help.startswith("Of "), (name, parameter.name)


def test_the_names_that_options_spell_out_are_those_of_the_tables() -> None:
    assert tuple(METHODS) == evaluation_options.METHODS
    assert tuple(named.CLASSIFIERS) == evaluation_options.CLASSIFIERS
    assert named.SUPERVISED_CNNS == evaluation_options.SUPERVISED_CNNS
    assert named.FINE_TUNED == evaluation_options.FINE_TUNED
    assert BN_MODES == evaluation_options.BN_MODES
    assert tuple(AVERAGED_VIEWS) == evaluation_options.AVERAGED_VIEWS


def test_only_random_and_a_seed_name_the_control() -> None:
    assert [is_untrained(name) for name in ("random", "random:12", "random:", "random:x", "pixels", None)] == [
        True, True, False, False, False, False,
    ]  # fmt: skip
