"""How long a command takes that does no work of its own: help, the version, tables, an error in the options.

    python -m benchmarks.start --runs 9

Each is run as a process. Where other work runs on the machine, the CPU time (user and system) says more than the wall
time. Writes start.md to benchmarks/results.
"""

import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click

from repr_eval.cli import COMMANDS
from repr_eval.system.files import write_text
from repr_eval.system.provenance import commit, machine, versions

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
AIM = 0.5  # seconds on an idle core
TIMED = (
    ("--help",),
    ("--version",),
    *((name, "--help") for name in COMMANDS),
    ("digits", "--C", "ten"),
    ("digits", "--weights", "missing.safetensors"),
    ("train-gan", "--data", "missing.npy"),
    ("cifar10-svm", "--data-dir", "benchmarks"),
    ("table", "--out", "missing"),
    ("table", "--out", "benchmarks/results"),  # writes what lies there already
)


@dataclass(frozen=True)
class Timing:
    """Medians over the runs of one command, in seconds."""

    command: str
    cpu: float
    wall: float


def seconds_of(arguments: tuple[str, ...]) -> tuple[float, float]:
    """(CPU, wall) seconds of one run of the command, user and system time of its process."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "repr_eval", *arguments], cwd=ROOT, capture_output=True, check=False)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def timing_of(arguments: tuple[str, ...], runs: int) -> Timing:
    """The medians over `runs` runs."""
    seconds = [seconds_of(arguments) for _ in range(runs)]
    cpu, wall = (statistics.median(column) for column in zip(*seconds, strict=True))
    return Timing(" ".join(("repr-eval", *arguments)), cpu, wall)


def markdown(timings: list[Timing], runs: int) -> str:
    """The timings as a table."""
    late = [timing for timing in timings if timing.cpu > AIM]
    missed = "; ".join(f"`{timing.command}` takes {timing.cpu:.2f} s" for timing in late) or "none takes longer"
    lines = [
        f"Written by `python -m benchmarks.start --runs {runs}` on {machine('no GPU')}, commit {commit()[:7]},",
        f"Python {versions()['python']}. Medians of {runs} runs, each a process. Other work ran on the machine, which",
        "lengthens the wall time; the CPU time (user and system) is nearer to what an idle core takes.",
        "",
        f"{len(timings) - len(late)} of {len(timings)} commands are within the aim of {AIM} s of CPU time: {missed}.",
        "",
        "| command | CPU time, s | wall time, s |",
        "|---|---:|---:|",
        *(f"| `{timing.command}` | {timing.cpu:.2f} | {timing.wall:.2f} |" for timing in timings),
    ]
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--runs", type=click.IntRange(1), default=9, show_default=True, help="Runs of each command.")
def main(runs: int) -> None:
    """Measure, print and store."""
    timings = [timing_of(arguments, runs) for arguments in TIMED]
    text = markdown(timings, runs)
    write_text(RESULTS / "start.md", text)
    click.echo(text)


if __name__ == "__main__":
    main()
