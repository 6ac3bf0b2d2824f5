"""What settings.json may hold: values of the right types, and a history that a run can go on from."""

import json
from pathlib import Path
from typing import Any

import pytest

from repr_eval.gan.recipes import CONTRASTIVE_FAST
from repr_eval.gan.settings import TrainingSettings, read_history, read_settings

SETTINGS = TrainingSettings("noise", "0" * 64, 512, recipe=CONTRASTIVE_FAST)
STRETCH = {"from_step": 0, "device": "cpu", "threads": 1, "versions": {"torch": "2.9"}}


def written(path: Path, settings: Any, history: Any = ()) -> Path:
    path.write_text(json.dumps({"format": 1, "settings": settings, "history": history}))
    return path


def test_settings_and_history_come_back(tmp_path: Path) -> None:
    path = written(tmp_path / "settings.json", SETTINGS.to_json(), [STRETCH])
    assert read_settings(path) == SETTINGS
    assert read_history(path) == [STRETCH]


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": "30"}, {"width": None}, {"n_images": 2.5}, {"data": 1}, {"seed": True}, {"max_steps": [1]},
        {"started_from": []}, {"started_from": {}}, {"started_from": {"discriminator": {"images_seen": "1"}}},
        {"recipe": 3}, {"lr": "fast"}, {"projection": [1, "2"]}, {"projection": 5}, {"views": 3},
        {"views": {"crop": "x"}}, {"views": {"unknown": 1}}, {"unknown": 1}, {"batch_size": float("nan")},
    ],
)  # fmt: skip
def test_settings_of_other_types_are_one_line(changes: dict[str, Any], tmp_path: Path) -> None:
    path = written(tmp_path / "settings.json", SETTINGS.to_json() | changes)
    with pytest.raises(ValueError, match=r"settings\.json: not the settings of a training run \("):
        read_settings(path)


@pytest.mark.parametrize(
    "history",
    [5, None, "ab", {"a": 1}, [1], [{}], [STRETCH | {"from_step": "0"}], [STRETCH | {"versions": []}],
     [STRETCH | {"versions": {}}], [STRETCH | {"device": 1}]],
)  # fmt: skip
def test_another_history_is_one_line(history: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "settings.json", SETTINGS.to_json(), history)
    with pytest.raises(ValueError, match=r"settings\.json: has no history of a training run \("):
        read_history(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "3", "", '{"settings": ' + "[" * 100_000, "\udcff"])
def test_other_files_are_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    for read in (read_settings, read_history):
        with pytest.raises(ValueError, match=r"settings\.json: "):
            read(path)
