"""Measures stored records again, by their own commands, and compares every count.

    python -m benchmarks.remeasure ID [ID ...]

Each record's command runs as it stands, but for a folder of its own: nothing is added to the stored results. Counts may
depend on the number of threads (docs/reading_results.md, "Measuring again"), so OMP_NUM_THREADS is told. Ends with 1 if
a count differs.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from repr_eval.comparison.pair import record_named
from repr_eval.records import Record, read_records

RESULTS = Path(__file__).resolve().parent / "results"
COMPARED = ("test_correct", "validation_correct", "C", "lists_sha256", "labels", "test_n")


def command_of(record: Record, out: Path) -> list[str]:
    """The record's command as words for this interpreter, with its results in `out`."""
    program, *words = shlex.split(record.command)
    if program != "repr-eval":
        raise ValueError(f"record {record.id}: made by {record.command!r:.80}; needs a command of repr-eval")
    kept, skip = [], False
    for word in words:
        if not skip and word.partition("=")[0] != "--out":
            kept.append(word)
        skip = word == "--out"
    return [sys.executable, "-m", "repr_eval", *kept, "--out", str(out)]


def differences(before: Record, after: Record) -> list[str]:
    """What the two count otherwise, in words."""
    words = []
    tried = before.validation_correct.keys() & after.validation_correct.keys()
    for name in COMPARED:
        one, other = getattr(before, name), getattr(after, name)
        if name == "validation_correct":
            one, other = ({value: counts[value] for value in tried} for counts in (one, other))
        if one == other:
            continue
        if name == "test_correct" and len(one) == len(other):
            off = [abs(a - b) for a, b in zip(one, other, strict=True)]
            words.append(f"test_correct: {sum(map(bool, off))} of {len(off)} draws, by {max(off)} images at most")
        else:
            words.append(name)
    return words


@click.command()
@click.argument("ids", nargs=-1, required=True)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="Folder of the records.")
@click.option("--store", type=click.Path(path_type=Path), help="Folder of features that several records share.")
def main(ids: tuple[str, ...], results: Path, store: Path | None) -> None:
    """Measure the records of these IDS again and compare."""
    records, failed = read_records(results), False
    click.echo(f"OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}")
    for beginning in ids:
        record = record_named(beginning, records, results)
        with tempfile.TemporaryDirectory() as folder:
            words = command_of(record, Path(folder))
            words += ["--store", str(store)] if store else []
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                found = [f"failed: {done.stderr.strip().splitlines()[-1]}"]
            else:
                again = [other for other in read_records(Path(folder)) if other.layers == record.layers]
                found = differences(record, again[-1]) if again else [f"no record of layers {record.layers}"]
        failed |= bool(found)
        what = f"{record.id} {record.protocol}, {record.dataset['name']}, {record.method}, {record.classifier}"
        click.echo(f"{what}: {'; '.join(found) or 'every count is the same'}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
