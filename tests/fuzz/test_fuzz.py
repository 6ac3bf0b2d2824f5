"""Changed files through every loader: 200 each, the same ones every time, and those that once failed."""

import random
import warnings
from pathlib import Path

import pytest
from fuzzed_loaders import LOADERS
from fuzzing import REGRESSIONS, Fuzzed
from mutations import mutated

N = 200


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if one.slow else ()) for name, one in LOADERS.items()],
)
def test_changed_files_are_answered_in_one_line(name: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(Fuzzed(name, tmp_path).failures(random.Random(f"{name} 0"), N))
    assert [failure for _, failure in found] == []


@pytest.mark.parametrize("path", sorted(REGRESSIONS.glob("*/*")) or [None], ids=str)
def test_what_once_failed_does_not_fail(path: Path | None, tmp_path: Path) -> None:
    if path is None:
        assert not REGRESSIONS.exists() or not any(REGRESSIONS.iterdir())
        return
    assert Fuzzed(path.parent.name, tmp_path).failure(path.read_bytes()) is None


def test_the_changes_are_changes_and_always_the_same_ones() -> None:
    content = b'{"a": [1, 2, {"b": "text"}]}' * 20
    made = [mutated(content, random.Random(seed), text=seed % 2 == 0) for seed in range(200)]
    assert sum(one != content for one in made) > 190
    assert made == [mutated(content, random.Random(seed), text=seed % 2 == 0) for seed in range(200)]
    assert {len(one) < len(content) for one in made} == {True, False}


def test_foreign_errors_wrong_numbers_and_bombs_count_as_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuzzed = Fuzzed("checkpoint", tmp_path)
    assert fuzzed.failure(fuzzed.good) is None
    monkeypatch.setattr(fuzzed, "result", "another")
    assert "was believed" in (fuzzed.failure(fuzzed.good) or "")
    for error, told in ((KeyError("x"), True), (RecursionError(), True), (ValueError(), False), (OSError(), False)):

        def load(path: Path, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(fuzzed, "loader", LOADERS["png"].__class__(LOADERS["png"].make, load))
        assert (fuzzed.failure(b"") is not None) == told
