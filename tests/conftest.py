"""What pytest is told for all tests: one thread for the default suite, and fixtures that several modules use.

On arrays this small a second thread only waits for the first.
"""

import os
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("markexpr").startswith("not real_data"):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of the test's own, and no data folder but that."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("REPR_EVAL_DATA", raising=False)
