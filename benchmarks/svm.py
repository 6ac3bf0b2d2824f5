"""Times the L2-SVM against liblinear on real features, and writes the tables and the plot of benchmarks/README.md.

    python -m benchmarks.svm run                 # everything that is not yet in benchmarks/results/svm.jsonl
    python -m benchmarks.svm run --only versus   # a part: versus, full, grid, scaling, classes
    python -m benchmarks.svm run --only classes --rows 5000    # of these, a size alone
    python -m benchmarks.svm report              # tables and plot from the stored results

The features are those of the untrained six-layer network on CIFAR-10, 28,672 of them, float16; the first run makes
them, in the folder `benchmark-svm` of the store. Every measurement is a process of its own (benchmarks.svm_contenders),
which first loads its rows into memory: its peak memory is its own, and the clock runs for the fit alone. Contenders of
one size take turns, round after round; what is reported is the median.

The part `classes` has up to 100 classes: CIFAR-10's ten, each cut into equal parts along a principal component
(benchmarks.svm_classes). Memory decides the rows: LinearSVC takes 26 bytes a value, float16 included, so 7.5 GB of
10,000 rows and 37 GB of all; logistic regression 6 bytes a value, float16 included, and so 8.6 GB of all. All of them
run on 5,000 and 10,000 rows, and without LinearSVC on all.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.svm_classes import cut_classes
from benchmarks.svm_contenders import COMPARED, CONTENDERS, OF_MANY_CLASSES, Task
from benchmarks.svm_report import write_report
from repr_eval.images.cifar10 import load_cifar10
from repr_eval.images.data_dir import cache_folder, data_root
from repr_eval.representations.discriminator import untrained
from repr_eval.system.provenance import commit, machine, versions

RESULTS = Path(__file__).resolve().parent / "results" / "svm.jsonl"
N, D, K = 50_000, 28_672, 10
PATH = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3)  # around what is chosen on CIFAR-10: 1e-4 or 3e-4
GRID = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)  # of the CIFAR-10 protocol, wide enough for any features
VERSUS = (2_000, 5_000, 10_000)
CLASSES = (10, 20, 50, 100)
MANY = (  # (rows, classes, contenders)
    *((5_000, k, OF_MANY_CLASSES) for k in CLASSES),
    (10_000, 100, OF_MANY_CLASSES),
    *((N, k, ("repr-eval",)) for k in CLASSES[:-1]),
    (N, 100, ("repr-eval", "LogisticRegression")),
)
PARTS = ("versus", "full", "grid", "scaling", "classes")
SCALING = (
    *((n, D, K) for n in (3_125, 6_250, 12_500, 25_000, 50_000)),
    *((12_500, d, K) for d in (3_584, 7_168, 14_336)),
    *((12_500, D, k) for k in (3, 5)),
)


def tasks(part: str) -> Iterator[Task]:
    """The measurements of one round, contenders of a size one after the other."""
    if part == "versus":
        for n in VERSUS:
            for contender in CONTENDERS:
                yield Task(part=part, contender=contender, n=n, d=D, k=K, Cs=(1e-4,))
    elif part == "full":
        yield Task(part=part, contender="limits", n=N, d=D, k=K, Cs=())
        yield Task(part=part, contender="repr-eval", n=N, d=D, k=K, Cs=(1e-4,))
        yield Task(part=part, contender="repr-eval", n=N, d=D, k=K, Cs=PATH)
    elif part == "classes":
        for n, k, contenders in MANY:
            for contender in contenders:
                yield Task(part=part, contender=contender, n=n, d=D, k=k, Cs=(1e-4,))
    elif part == "grid":
        yield Task(part=part, contender="repr-eval", n=N, d=D, k=K, Cs=GRID)
    else:
        for n, d, k in SCALING:
            yield Task(part=part, contender="repr-eval", n=n, d=d, k=k, Cs=(1e-4,))


def results(path: Path = RESULTS) -> list[dict[str, Any]]:
    """All stored measurements."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


@click.group()
def main() -> None:
    """Benchmarks of the L2-SVM."""


@main.command()
@click.option("--only", type=click.Choice(PARTS), help="This part alone.")
@click.option("--rows", type=int, multiple=True, help="Of versus and classes: these numbers of rows alone.")
@click.option(
    "--contender",
    type=click.Choice([*CONTENDERS, "LogisticRegression"]),
    multiple=True,
    help="Of versus and classes: these alone.",
)
@click.option("--rounds", default=3, show_default=True, help="Measurements of each; those stored count.")
@click.option("--seconds", default=float("inf"), help="Start no measurement after so long; run again to go on.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="As of repr-eval.")
@click.option("--store", type=click.Path(path_type=Path), help="As of repr-eval.")
def run(
    only: str | None, rows: tuple[int, ...], contender: tuple[str, ...], rounds: int, seconds: float,
    data_dir: Path | None, store: Path | None,
) -> None:  # fmt: skip
    """Measure what is missing, contenders taking turns, one line of JSON a measurement."""
    started = time.perf_counter()
    folder = _features(data_dir, store or cache_folder() / "features")
    for number in range(rounds):
        for part in (only,) if only else PARTS:
            if part == "classes":
                cut_classes(folder, CLASSES)
            for task in tasks(part):
                wanted = task.n in (rows or (task.n,)) and task.contender in (contender or (task.contender,))
                if part in COMPARED and not wanted:
                    continue
                if sum(task.is_of(result) for result in results()) > number:
                    continue
                if time.perf_counter() - started > seconds:
                    return
                _measure(task, folder)


@main.command()
def report() -> None:
    """Write benchmarks/README.md, results/svm.csv and results/svm-scaling.png from the stored measurements."""
    for path in write_report(results(), RESULTS.parent):
        click.echo(path)


# A process counts its parent's peak memory as its own, and features may have been made there: a small one is between.
LAUNCHER = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"


def _measure(task: Task, folder: Path) -> None:
    contender = [sys.executable, "-m", "benchmarks.svm_contenders", json.dumps(task.as_dict()), str(folder)]
    command = [sys.executable, "-c", LAUNCHER, *contender]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{task}: {done.stderr[-2000:]}")
    line = json.loads(done.stdout.splitlines()[-1])
    line |= {"commit": commit(), "machine": machine("cpu"), "versions": versions()}
    with open(RESULTS, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    click.echo({name: line[name] for name in ("part", "contender", "n", "d", "k", "Cs", "seconds", "peak_gb")})


def _features(data_dir: Path | None, store: Path) -> Path:
    """The folder of features and labels; made at the first run."""
    folder = store / "benchmark-svm"
    if (folder / "complete").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    data = load_cifar10(data_root(data_dir))
    representation = untrained("dcgan32", 1.0, 0).fit(data.train.images)
    for name, split in (("train", data.train), ("test", data.test)):
        np.save(folder / f"{name}-y.npy", split.labels)
        shape = (len(split.labels), representation.description.n_features)
        (folder / f"{name}-X.npy").unlink(missing_ok=True)  # a link, if an older version made it
        X = np.lib.format.open_memmap(folder / f"{name}-X.npy", "w+", np.float16, shape)
        representation.transform(split.images, out=X)
        X.flush()
    (folder / "complete").touch()
    return folder


if __name__ == "__main__":
    main()
