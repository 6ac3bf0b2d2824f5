"""`make fuzz`: changed files with new seeds through every loader in turn, for a given time.

Each loader has a process of its own for some seconds. What fails, a signal too, is kept as
regressions/LOADER/HASH, which the tests read from then on, and told; the exit status is 1 then.
"""

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

TURN = 20  # seconds of a loader; fewer where the time does not suffice for all


def keep(name: str, content: bytes, failure: str) -> None:
    """Keep a file that failed, and tell of it."""
    from fuzzing import REGRESSIONS

    path = REGRESSIONS / name / hashlib.sha256(content).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    print(f"{path}: {failure.strip().splitlines()[-1]}", flush=True)


def turn(name: str, folder: Path, seed: int, seconds: float) -> int:
    """Changed files through one loader; how many failed. The first line printed is how many were tried."""
    from fuzzing import Fuzzed

    warnings.simplefilter("ignore")
    fuzzed, rng, end = Fuzzed(name, folder), random.Random(seed), time.monotonic() + seconds
    (folder / "which").write_text(str(fuzzed.path))
    tried, failed = 0, set()
    while time.monotonic() < end:
        for content, failure in fuzzed.failures(rng, 20):
            kind = failure.strip().splitlines()[-1]
            if kind not in failed:  # one of each kind
                failed.add(kind)
                keep(name, content, failure)
        tried += 20
    print(f"tried {tried}", flush=True)
    return len(failed)


def rounds(seconds: float, seed: int) -> int:
    """All loaders in turn until the time is over; how many files failed."""
    from fuzzed_loaders import LOADERS

    end, number, tried, failed = time.monotonic() + seconds, 0, 0, 0
    names = sorted(LOADERS)
    each = min(TURN, seconds / len(names))
    while (left := end - time.monotonic()) > 0:
        name = names[number % len(names)]
        with tempfile.TemporaryDirectory() as folder:
            options = ["--turn", name, "--folder", folder, "--seconds", str(min(each, left))]
            command = [sys.executable, __file__, *options, "--seed", str(seed + number)]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            *told, last = done.stdout.strip().splitlines() or [""]
            if last.startswith("tried "):
                tried += int(last.split()[1])
                failed += done.returncode
                print("\n".join(told), end="\n" * bool(told), flush=True)
            else:  # a signal, or the loader's good file is not read
                which = Path(folder, "which")
                content = Path(which.read_text()).read_bytes() if which.exists() else b""
                keep(name, content, f"exit status {done.returncode}: {last}")
                failed += 1
        number += 1
    print(f"{tried:,} changed files in {number} turns (seeds {seed} to {seed + number - 1}), {failed} kinds of failure")
    return failed


def main() -> None:
    """Parse, and fuzz."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    parser.add_argument("--turn", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turn:
        sys.exit(min(turn(options.turn, options.folder, options.seed, options.seconds), 100))
    sys.exit(bool(rounds(options.seconds, options.seed)))


if __name__ == "__main__":
    main()
