"""What a run can be watched by: JSON lines, and TensorBoard's event files; with a stand-in of it, and with itself."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from dying_training import STEPS, after, go_on

from repr_eval.gan.watched import as_json


class Writer:
    """A SummaryWriter that remembers what it was given, in a file of the folder that it writes to."""

    newest: "Writer"

    def __init__(self, folder: str, purge_step: int):
        self.purge_step, self.closed = purge_step, False
        self.scalars: list[tuple[str, float, int]] = []
        self.grids: list[tuple[int, tuple[int, ...]]] = []
        Path(folder).mkdir(exist_ok=True)
        others = len(list(Path(folder).iterdir()))
        assert others == 0, "older event files would be read beside the new one"
        (Path(folder) / "events.out.tfevents.1").touch()
        Writer.newest = self

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def add_image(self, name: str, pixels: np.ndarray, step: int, dataformats: str) -> None:
        assert (name, dataformats, str(pixels.dtype)) == ("samples", "HWC", "uint8")
        self.grids.append((step, pixels.shape))

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "tensorboard", ModuleType("tensorboard"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)


def csv_rows(folder: Path) -> list[tuple[int, float, float]]:
    rows = np.loadtxt(folder / "losses.csv", delimiter=",", skiprows=1, ndmin=2)
    return [(int(step), d, g) for step, _, d, g in rows]


def test_a_line_of_json_by_hand() -> None:
    line = as_json("3,24,1.38629,0.0001\n")
    assert line == '{"step": 3, "images_seen": 24, "d_loss": 1.38629, "g_loss": 0.0001}\n'


def test_the_json_lines_are_those_of_the_csv_after_stops_too(tmp_path: Path) -> None:
    go_on(tmp_path, stop=after(4))
    go_on(tmp_path, stop=after(3))
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 8, "images')  # the machine stopped while it was written
    go_on(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["d_loss"], line["g_loss"]) for line in lines] == csv_rows(tmp_path)
    assert [line["images_seen"] for line in lines] == [8 * step for step in range(1, STEPS + 1)]


def test_a_run_from_before_the_json_lines_gets_them_all(tmp_path: Path) -> None:
    go_on(tmp_path, stop=after(4))
    (tmp_path / "log.jsonl").unlink()
    go_on(tmp_path)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == STEPS


def test_event_files_hold_every_step_once(tmp_path: Path, stand_in: None) -> None:
    go_on(tmp_path, stop=after(4))  # without them
    go_on(tmp_path, stop=after(3), log="tensorboard")
    assert Writer.newest.closed
    assert Writer.newest.grids == [(5, (274, 274, 3)), (7, (274, 274, 3))]
    go_on(tmp_path, log="tensorboard")
    written = Writer.newest
    assert (written.closed, written.purge_step) == (True, 0)
    rows = csv_rows(tmp_path)
    assert written.scalars[::2] == [("loss/D", d, step) for step, d, _ in rows]
    assert written.scalars[1::2] == [("loss/G", g, step) for step, _, g in rows]
    assert [step for step, _ in written.grids] == [5, 10, 15]


def test_watching_changes_nothing_of_the_training(tmp_path: Path, stand_in: None) -> None:
    go_on(tmp_path / "plain")
    go_on(tmp_path / "watched", log="tensorboard")
    for path in (tmp_path / "plain").rglob("*"):
        if path.is_file():
            other = tmp_path / "watched" / path.relative_to(tmp_path / "plain")
            assert other.read_bytes() == path.read_bytes(), path.name


def test_a_log_that_cannot_be_written_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"^`log` 'wandb': choose tensorboard, or None$"):
        go_on(tmp_path / "run", log="wandb")
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ValueError, match=r"tensorboard cannot be imported here .*repr-eval\[tensorboard\]"):
        go_on(tmp_path / "run", log="tensorboard")
    assert not (tmp_path / "run" / "settings.json").exists()


@pytest.mark.extras
def test_tensorboard_itself(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import (
        SCALARS,
        EventAccumulator,
    )

    go_on(tmp_path, stop=after(7), log="tensorboard")
    go_on(tmp_path, log="tensorboard")
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    read = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={SCALARS: 0}).Reload()
    rows = csv_rows(tmp_path)
    for name, column in (("loss/D", 1), ("loss/G", 2)):
        assert [event.step for event in read.Scalars(name)] == [row[0] for row in rows]
        values = [event.value for event in read.Scalars(name)]
        np.testing.assert_allclose(values, [row[column] for row in rows], rtol=1e-6)
    assert [event.step for event in read.Images("samples")] == [5, 10, 15]
