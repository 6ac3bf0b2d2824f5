"""How commands start: help, the version and what is wrong with the options come without torch."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.start import ROOT, Timing, markdown, seconds_of
from repr_eval.cli import COMMANDS

LARGE = ("torch", "torchvision", "sklearn", "scipy", "pandas", "matplotlib")
RUNNER = f"""
import sys
from repr_eval.cli import main
try:
    main(prog_name="repr-eval")
finally:
    print("imported:", *[name for name in {LARGE} if name in sys.modules], file=sys.stderr)
"""


def imported_by(*arguments: str) -> tuple[int, str, set[str]]:
    """(exit status, stdout and stderr, large packages imported) of the command, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", RUNNER, *arguments], capture_output=True, text=True, cwd=ROOT)
    text, _, names = done.stderr.rpartition("imported:")
    return done.returncode, done.stdout + text, set(names.split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)], ids=str)
def test_help_comes_without_any_large_package(arguments: list[str]) -> None:
    status, text, names = imported_by(*arguments)
    assert (status, names) == (0, set())
    assert text.startswith(("Usage: repr-eval", "repr-eval, version"))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("digits --C ten", "--C 'ten': needs numbers"),
        ("digits --weights missing.safetensors", "missing.safetensors: no such weights file"),
        ("digits --weights brilliant", "no weights called 'brilliant'"),
        ("digits --layers 3-1 --weights random", "--layers '3-1'"),
        ("cifar10-svm --draws 2", "--draws needs --labels-per-class"),
        ("svhn --all --C 1", "--all compares everything; leave out --C"),
        ("svhn --data-dir missing", "missing (--data-dir): no such folder"),
        ("svhn --data-dir repr_eval", "SVHN not found in repr_eval (--data-dir)"),
        ("cifar10-svm --data-dir repr_eval", "CIFAR-10 not found in repr_eval (--data-dir)"),
        ("svhn --labels 7", "--labels 7: ten classes"),
        ("layers --bn running --weights random", "--bn running"),
        ("train-gan --data missing.npy", "missing.npy: no such file or folder"),
        ("train-gan --data digits --lr -1", "lr -1.0 is not above 0"),
        ("train-gan --data digits --widen", "--widen: name the weights"),
        ("finish-gan missing --data digits --out out", "missing: not the folder of a training run"),
        ("import-weights a.jl b.npz --arch dcgan32", "b.npz: weights files end in .safetensors"),
        ("samples --weights missing.safetensors", "missing.safetensors: no such weights file"),
        ("pack missing a.npy", "missing: does not exist"),
    ],
)
def test_an_error_in_the_options_comes_without_any_large_package(command: str, message: str) -> None:
    status, text, names = imported_by(*command.split())
    assert (status, names) == (1, set())
    assert message in text


def test_a_large_package_would_be_noticed(tmp_path: Path) -> None:
    _, _, names = imported_by("make-digits", str(tmp_path), "--train", "1", "--test", "1")
    assert {"scipy", "matplotlib"} <= names


def test_tables_come_without_torch(tmp_path: Path) -> None:
    status, text, names = imported_by("table", "--out", str(tmp_path))
    assert (status, names) == (1, set())
    assert "no records" in text
    shutil.copy(ROOT / "benchmarks" / "results" / "records.jsonl", tmp_path)
    status, text, names = imported_by("table", "--out", str(tmp_path))
    assert status == 0
    assert str(tmp_path / "cifar10.md") in text
    assert not names & {"torch", "torchvision", "sklearn", "pandas"}
    status, text, names = imported_by("report", "--out", str(tmp_path))
    assert status == 0
    assert f"wrote {tmp_path / 'report.html'}" in text
    assert not names & {"torch", "torchvision", "sklearn", "pandas", "matplotlib"}


def test_the_benchmark_of_starting_measures_processes() -> None:
    cpu, wall = seconds_of(("--version",))
    assert 0 < cpu < 30
    assert wall > 0
    timings = [Timing("repr-eval a", 0.125, 0.75), Timing("repr-eval b", 0.75, 1.0)]
    text = markdown(timings, runs=3)
    assert "1 of 2 commands are within the aim of 0.5 s of CPU time: `repr-eval b` takes 0.75 s." in text
    assert "| `repr-eval a` | 0.12 | 0.75 |" in text
    assert "1 of 1 commands are within the aim of 0.5 s of CPU time: none takes longer." in markdown(timings[:1], 3)
