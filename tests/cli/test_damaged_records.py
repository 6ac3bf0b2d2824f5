"""A line of records.jsonl that is no record: told in one line, before work, and no obstacle to tables of the others."""

from pathlib import Path

import pytest
from comparison_records import one_draw, stored
from factories import run

from repr_eval.cli import jobs
from repr_eval.records import FILE, Record


@pytest.fixture
def two(tmp_path: Path) -> tuple[Record, Record]:
    """Two records in tmp_path, and between them a line that is none."""
    a, b = one_draw(50, 10, 5, 35)
    first = stored(tmp_path, "A", a)
    with open(tmp_path / FILE, "a", encoding="utf-8") as file:
        file.write(first.to_line().replace('"seed": 0', '"seed": "0"') + "\n")
    return first, stored(tmp_path, "B", b)


COMMANDS = ["table", "report", "rank", "classes A", "compare A B --no-picture"]


@pytest.mark.parametrize("command", COMMANDS)
def test_tables_are_of_the_others_and_the_line_is_told(
    command: str, two: tuple[Record, Record], tmp_path: Path
) -> None:
    ids = {"A": two[0].id, "B": two[1].id}
    words = [ids.get(word, word) for word in command.split()]
    result = run(*words, "--out", tmp_path)
    told = [line for line in result.stderr.splitlines() if "cannot be read" in line]
    assert told == [
        f"repr-eval {words[0]}: {tmp_path / FILE}, line 2: cannot be read (seed is '0'); remove or mend that line"
    ]
    assert result.exit_code == 1
    assert result.stdout or list(tmp_path.glob("*.html"))
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_whole_files_exit_with_0(command: str, two: tuple[Record, Record], tmp_path: Path) -> None:
    lines = (tmp_path / FILE).read_text().splitlines(keepends=True)
    (tmp_path / FILE).write_text(lines[0] + lines[2])
    ids = {"A": two[0].id, "B": two[1].id}
    result = run(*(ids.get(word, word) for word in command.split()), "--out", tmp_path)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", ["digits --weights pixels", "layers --data digits --weights random"])
def test_an_evaluation_tells_before_it_measures(
    command: str, two: tuple[Record, Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "extracted", lambda *arguments: pytest.fail("features were made"))
    before = (tmp_path / FILE).read_bytes()
    result = run(*command.split(), "--out", tmp_path, "--store", tmp_path / "store")
    assert result.exit_code == 1
    assert "line 2: cannot be read" in result.stderr
    assert result.stderr.count("\n") == 1
    assert (tmp_path / FILE).read_bytes() == before
