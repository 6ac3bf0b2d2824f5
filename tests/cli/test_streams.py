"""Closed streams, readers that leave, and Ctrl-C."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import repr_eval

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(repr_eval.__file__).parents[1])}
COMMAND = f"{sys.executable} -m repr_eval"


def shell(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_closed_stderr_does_not_end_a_command(tmp_path: Path) -> None:
    done = shell(f"{COMMAND} make-digits {tmp_path}/digits --train 3 --test 3 2>&-")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/digits: 3 training, 3 test and 0 extra images\n")


@pytest.mark.slow
def test_what_nobody_reads_any_more_does_not_end_a_command(tmp_path: Path) -> None:
    script = f"set -o pipefail; {{ sleep 3; {COMMAND} make-digits {tmp_path}/digits --train 3 --test 3; }} 2>&1 | true"
    done = shell(script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "digits" / "about.json").exists()


@pytest.mark.parametrize("redirection", ["2>&-", "| true"])
def test_an_error_is_still_one(tmp_path: Path, redirection: str) -> None:
    done = shell(f"set -o pipefail; {COMMAND} table --out {tmp_path} {redirection}")
    assert done.returncode == 1
