"""One thread for the default suite: on arrays this small a second one only waits for the first."""

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("markexpr").startswith("not real_data"):
        os.environ.setdefault("OMP_NUM_THREADS", "1")
