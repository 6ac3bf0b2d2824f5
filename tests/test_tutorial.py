"""docs/tutorial.md: its commands run in order and print what the page shows, but for ids and last digits."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import repr_eval

ROOT = Path(repr_eval.__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
ID = re.compile(r"[0-9a-f]{12}")
NUMBER = re.compile(r"([-+]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?)")
NEAR = 1.0  # points, between machines that round otherwise: one in a hundred test images
MAY_DIFFER = "DCGAN (dcgan32-svhn"  # trained on the spot: other machines train another network


def steps(text: str) -> list[tuple[list[str], str]]:
    """The page's sh blocks, a list of commands each, with the output shown below it, "" if none is."""
    fence = r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```)?"
    found = re.findall(fence, text, re.DOTALL | re.MULTILINE)
    return [(commands.replace("\\\n", " ").splitlines(), output) for commands, output in found]


def agree(shown: str, printed: str, near: float = NEAR) -> bool:
    """Whether a word shown and a word printed are equal; numbers with a point, and powers, may lie `near`."""
    if re.sub(NUMBER, "#", shown) != re.sub(NUMBER, "#", printed):
        return ID.search(shown) is not None and ID.search(printed) is not None
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(
        one == other or (re.search(r"\.|e", one + other) is not None and _value(one, other) <= near)
        for one, other in pairs
    )


def _value(one: str, other: str) -> float:
    return abs(float(one.replace(",", "")) - float(other.replace(",", "")))


def differences(shown: str, printed: str, near: float = NEAR) -> list[tuple[str, str]]:
    """Words that do not agree; a last line "..." stands for all that follows."""
    whole = not shown.rstrip().endswith("\n...")
    words, got = shown.removesuffix("...\n").split(), printed.split()
    if len(got) < len(words) or (whole and len(got) != len(words)):
        return [(shown, printed)]
    return [pair for pair in zip(words, got, strict=False) if not agree(*pair, near)]


def test_words_agree_up_to_ids_and_last_digits() -> None:
    assert agree("88.90%", "89.10%")
    assert not agree("88.90%", "90.10%")
    assert agree("66992a900011);", "535db619e9ee);")
    assert not agree("797", "798")
    assert not agree("pixels", "pixel")
    assert agree("3e-05;", "0.003;")
    assert differences("a b\n...\n", "a b c d") == []
    assert differences("a b\n...\n", "a c c d") == [("b", "c")]
    assert differences("a b", "a b c") == [("a b", "a b c")]
    assert steps("```sh\na \\\n1\nb\n```\n\n```text\nc\n```\n\n```sh\nd\n```\n") == [
        (["a  1", "b"], "c\n"),
        (["d"], ""),
    ]


@pytest.mark.slow
def test_the_tutorial_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGE.read_text(encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, source in re.findall(r"^```python\n# (\S+)\n(.*?)^```", text, re.DOTALL | re.M):
        (tmp_path / name).write_text(source)
    ids: dict[str, str] = {}  # of the page's records, those of this run
    found = steps(text)
    assert len(found) == 7
    for commands, shown in found:
        printed = ""
        for command in commands:
            words = [ids.get(word, word) for word in shlex.split(command)]
            arguments = [sys.executable, "-m", "repr_eval", *words[1:]]
            done = subprocess.run(arguments, cwd=tmp_path, check=True, capture_output=True)
            printed += done.stdout.decode()
        if shown:
            near = 5 * NEAR if MAY_DIFFER in shown else NEAR
            assert differences(shown, printed, near) == []
            here = re.findall(r"record (\w+)", printed)
            ids |= dict(zip(re.findall(r"record\s+(\w+)", shown), here, strict=True))
    assert (tmp_path / "results" / "report.html").is_file()
    assert len(ids) == 5
