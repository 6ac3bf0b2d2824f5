"""Interrupted training: stopped, killed, cut short by a full disk, and gone on with as if nothing had been."""

import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dying_training
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from dying_training import SETTINGS, SMALL_BATCHES, STEPS, after, go_on, images, readable_checkpoints
from factories import no_file_larger_than
from safetensors.torch import load_file, save_file

import repr_eval
from repr_eval.cli import main
from repr_eval.gan import checkpoint
from repr_eval.gan.augmentation import Augmentation
from repr_eval.gan.game import DCGAN
from repr_eval.gan.recipes import PAPER, Recipe
from repr_eval.gan.run_folder import TrainingFailed
from repr_eval.gan.settings import EXTENDABLE, TrainingSettings, read_settings, settings_from_json
from repr_eval.gan.training import train

CPU = torch.device("cpu")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(repr_eval.__file__).parents[1])}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run, temporary ones too, but for the lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the run that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    result = go_on(folder, resume=False)
    assert (result.steps, result.images_seen, result.finished) == (STEPS, 8 * STEPS, True)
    return contents(folder)


def assert_same(folder: Path, expected: dict[str, bytes]) -> None:
    found = contents(folder)
    assert sorted(found) == sorted(expected)
    for name, content in expected.items():
        assert found[name] == content, name


def test_an_uninterrupted_run_leaves_these_files(whole: dict[str, bytes]) -> None:
    assert sorted(whole) == [
        "checkpoint-000000014.safetensors",
        "checkpoint-000000015.safetensors",
        "discriminator.safetensors",
        "generator.safetensors",
        "log.jsonl",
        "losses.csv",
        "samples/epoch-001.png",
        "samples/epoch-002.png",
        "samples/epoch-003.png",
        "settings.json",
    ]


# Stopping.


def test_a_run_stopped_after_every_single_step_is_the_same(tmp_path: Path, whole: dict[str, bytes]) -> None:
    for step in range(1, STEPS):
        result = go_on(tmp_path, stop=after(1))
        assert (result.steps, result.images_seen, result.finished) == (step, 8 * step, False)
    assert go_on(tmp_path).finished
    assert_same(tmp_path, whole)


def test_stopping_at_the_last_step_is_finishing(tmp_path: Path, whole: dict[str, bytes]) -> None:
    assert go_on(tmp_path, stop=after(STEPS)).finished
    assert_same(tmp_path, whole)


def test_going_on_with_a_finished_run_changes_nothing(tmp_path: Path, whole: dict[str, bytes]) -> None:
    go_on(tmp_path)
    result = go_on(tmp_path)
    assert (result.steps, result.finished) == (STEPS, True)
    assert_same(tmp_path, whole)


def test_a_stopped_run_has_weights_and_samples_of_that_step(tmp_path: Path) -> None:
    go_on(tmp_path / "stopped", stop=after(7))
    go_on(tmp_path / "short", dataclasses.replace(SETTINGS, max_steps=7))
    for name in ("losses.csv", "samples/epoch-002.png", "checkpoint-000000007.safetensors"):
        assert contents(tmp_path / "stopped")[name] == contents(tmp_path / "short")[name], name


def test_bf16_goes_on_bit_for_bit_too(tmp_path: Path, whole: dict[str, bytes]) -> None:
    settings = dataclasses.replace(SETTINGS, precision="bf16", max_steps=3)
    go_on(tmp_path / "whole", settings)
    go_on(tmp_path / "stopped", settings, stop=after(1))
    go_on(tmp_path / "stopped", settings)
    assert_same(tmp_path / "stopped", contents(tmp_path / "whole"))


# Killing. Each life of the run: its fault (dying_training.py), and the checkpoints that can be read after it. A life
# writes settings.json; the weights and the grid, if it starts at the end of an epoch; losses.csv; log.jsonl; what it
# trains.
LIVES = [
    ("fsync", 1, []),  # settings.json is complete, but has no name
    ("fsync", 3, []),  # the log likewise
    ("replace", 2, []),  # the log has its name, and its JSON lines are not yet made
    ("save", 1, []),  # in the middle of the first checkpoint, step 2's
    ("fsync", 7, []),  # that checkpoint is complete, but has no name
    ("replace", 4, [2]),  # it has just got its name
    ("update", 4, [2]),  # step 4 has moved D and not yet G
    ("log", 1, [2]),  # the log has got the start of an entry
    ("replace", 5, [2, 4, 5]),  # step 5's checkpoint has its name, step 2's is not yet removed
    ("fsync", 15, [5, 6]),  # step 8's is complete, but has no name
    ("save", 2, [6, 8]),  # in the middle of step 10's
    ("fsync", 11, [8, 10]),  # epoch 2 has a checkpoint and D's weights, but neither G's nor a grid
    ("replace", 4, [8, 10]),  # now G's weights too, but still no grid
    ("replace", 8, [10, 12, 14]),  # step 14's checkpoint has its name, step 10's is not yet removed
    ("fsync", 13, [14, 15]),  # the last grid is complete, but has no name
]


@pytest.mark.slow
def test_a_run_killed_at_every_kind_of_moment_is_the_same(tmp_path: Path, whole: dict[str, bytes]) -> None:
    faults = json.dumps([(fault, n) for fault, n, _ in LIVES])
    lives = subprocess.run(
        [sys.executable, dying_training.__file__, str(tmp_path), faults],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (lives.returncode, lives.stderr) == (0, "")
    assert [json.loads(line) for line in lives.stdout.splitlines()] == [steps for _, _, steps in LIVES]
    assert list((tmp_path / "samples").glob(".repr-eval-partial-*"))  # what the last kill left lying about
    go_on(tmp_path)
    assert_same(tmp_path, whole)


@pytest.mark.slow
def test_sigterm_ends_the_command_with_a_checkpoint_and_nobody_else_may_train_there(tmp_path: Path) -> None:
    np.save(tmp_path / "noise.npy", images())

    def command(folder: str, *more: str) -> list[str]:
        options = "--arch dcgan32-svhn --width 0.03 --batch-size 8 --z-dim 5 --seed 1 --device cpu --checkpoint-every 1"
        data = str(tmp_path / "noise.npy")
        return ["train-gan", "--data", data, "--out", str(tmp_path / folder), *options.split(), *more]

    with subprocess.Popen(
        [sys.executable, "-m", "repr_eval", *command("stopped", "--epochs", "100000")],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            wait_until(lambda: bool(list((tmp_path / "stopped").glob("checkpoint-*"))) or running.poll() is not None)
            second = CliRunner().invoke(main, command("stopped", "--resume", "--epochs", "100000"))
        finally:
            running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=60)
    assert second.exit_code == 1
    assert second.stderr == f"repr-eval train-gan: {tmp_path}/stopped: another process is training in this folder\n"
    assert running.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("stopped; go on with the same command and --resume")
    (steps,) = (int(line.split()[1].replace(",", "")) for line in out.splitlines() if " steps, " in line)
    assert readable_checkpoints(tmp_path / "stopped")[-1] == steps

    end = ["--epochs", "100000", "--max-steps", str(steps + 3)]
    for folder in ("stopped", "whole"):
        done = CliRunner().invoke(main, command(folder, "--resume", *end), catch_exceptions=False)
        assert done.exit_code == 0
    grid = f"samples/epoch-{-(-(steps + 3) // 5):03d}.png"
    found, expected = contents(tmp_path / "stopped"), contents(tmp_path / "whole")
    assert found["losses.csv"].count(b"\n") == steps + 4
    for name in ("settings.json", "losses.csv", "discriminator.safetensors", "generator.safetensors", grid):
        assert found[name] == expected[name], name


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in a minute"
        time.sleep(0.01)


# Damage.


@pytest.mark.parametrize(
    ("limit", "full"),
    [(100, "settings.json"), (9_000, "checkpoint-000000008.safetensors"), (60_000, "samples/epoch-002.png")],
)
def test_a_full_disk_is_one_error_that_names_the_file_and_costs_nothing(
    tmp_path: Path, whole: dict[str, bytes], limit: int, full: str
) -> None:
    go_on(tmp_path, stop=after(7))
    before = contents(tmp_path)
    with no_file_larger_than(limit), pytest.raises(OSError, match=full):
        go_on(tmp_path)
    left = contents(tmp_path)
    assert set(left) - set(before) <= {f"checkpoint-0000000{step:02}.safetensors" for step in (8, 10)}
    assert left["settings.json"] == before["settings.json"]
    assert readable_checkpoints(tmp_path) == ([8, 10] if "samples" in full else [6, 7])
    go_on(tmp_path)
    assert_same(tmp_path, whole)


@pytest.mark.parametrize("damage", ["cut", "empty", "overwritten"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, whole: dict[str, bytes], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    go_on(tmp_path, stop=after(11))
    newest = tmp_path / "checkpoint-000000011.safetensors"
    content = newest.read_bytes()
    newest.write_bytes({"cut": content[:-1], "empty": b"", "overwritten": b"\xff" * len(content)}[damage])
    assert readable_checkpoints(tmp_path) == [10]
    damaged = newest.read_bytes()
    assert go_on(tmp_path, stop=after(2)).steps == 12
    assert readable_checkpoints(tmp_path) == [10, 12]  # two again: the damaged one does not count
    put_aside = tmp_path / "damaged-checkpoint-000000011.safetensors"
    assert put_aside.read_bytes() == damaged
    assert f"{newest}: damaged; put aside as {put_aside.name}, going on from step 10" in caplog.text
    put_aside.unlink()
    go_on(tmp_path)
    assert_same(tmp_path, whole)


def test_tensors_that_are_not_those_that_were_stored_are_not_gone_on_with(tmp_path: Path) -> None:
    go_on(tmp_path, stop=after(11))
    newest = tmp_path / "checkpoint-000000011.safetensors"
    content = bytearray(newest.read_bytes())
    content[-100] ^= 1  # one bit of a tensor; the file can be read as before
    newest.write_bytes(content)
    go_on(tmp_path, stop=after(1))
    assert (tmp_path / f"damaged-{newest.name}").read_bytes() == content


# A checkpoint is of its step and of its run.


def test_a_checkpoint_with_the_name_of_another_step_is_passed_over(
    tmp_path: Path, whole: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    go_on(tmp_path, stop=after(11))
    newest = tmp_path / "checkpoint-000000011.safetensors"
    newest.rename(tmp_path / "checkpoint-000000013.safetensors")
    assert go_on(tmp_path, stop=after(1)).steps == 11
    assert "checkpoint-000000013.safetensors: is of step 11, not of the step that it is named for" in caplog.text
    (tmp_path / "damaged-checkpoint-000000013.safetensors").unlink()
    go_on(tmp_path)
    assert_same(tmp_path, whole)


def test_a_checkpoint_of_another_run_is_passed_over_or_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    go_on(tmp_path / "own", stop=after(3))
    go_on(tmp_path / "other", dataclasses.replace(SETTINGS, seed=2), stop=after(4))
    foreign = (tmp_path / "other" / "checkpoint-000000004.safetensors").read_bytes()
    (tmp_path / "own" / "checkpoint-000000004.safetensors").write_bytes(foreign)
    assert go_on(tmp_path / "own", stop=after(1)).steps == 4
    assert "checkpoint-000000004.safetensors: is of a run with other settings; put aside" in caplog.text
    for path in (tmp_path / "own").glob("checkpoint-*"):
        path.unlink()
    (tmp_path / "own" / "checkpoint-000000004.safetensors").write_bytes(foreign)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"checkpoint-000000004\.safetensors: is of a run with other settings; start"):
        go_on(tmp_path / "own")
    assert contents(tmp_path) == before


def test_checkpoints_from_before_they_told_their_step_are_gone_on_with(
    tmp_path: Path, whole: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    go_on(tmp_path, stop=after(11))
    for path in tmp_path.glob("checkpoint-*"):
        tensors = load_file(path)
        save_file(tensors, path, {"sha256": checkpoint._sha256(tensors)})
    go_on(tmp_path)
    assert not caplog.records
    assert_same(tmp_path, whole)


def test_what_a_checkpoint_says_of_itself_is_hashed(tmp_path: Path) -> None:
    checkpoint.save_checkpoint(tmp_path, 150, {"w": torch.ones(2)}, "a run")
    path = tmp_path / "checkpoint-000000150.safetensors"
    path.write_bytes(path.read_bytes().replace(b"150", b"200"))
    path.rename(tmp_path / "checkpoint-000000200.safetensors")
    with pytest.raises(ValueError, match=r"checkpoint-000000200\.safetensors: damaged"):
        checkpoint.load_checkpoint(tmp_path, CPU, "a run")


@pytest.mark.parametrize("name", ["fifo", "device"])
def test_a_checkpoint_that_is_no_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    go_on(tmp_path, stop=after(3))
    bad = tmp_path / "checkpoint-000000004.safetensors"
    os.mkfifo(bad) if name == "fifo" else bad.symlink_to("/dev/zero")
    assert go_on(tmp_path, stop=after(1)).steps == 4


def test_the_hash_of_a_run_is_that_of_what_may_not_change() -> None:
    longer = dataclasses.replace(SETTINGS, epochs=9, max_steps=4)
    assert longer.run == SETTINGS.run
    assert dataclasses.replace(SETTINGS, width=0.03 + 0, seed=1).run == SETTINGS.run
    for name, value in OTHER.items():
        assert dataclasses.replace(SETTINGS, **{name: value}).run != SETTINGS.run, name
    for name, value in OTHER_CHOICES.items():
        assert dataclasses.replace(SETTINGS, recipe=dataclasses.replace(SMALL_BATCHES, **{name: value})).run != (
            SETTINGS.run
        ), name
    everything = dataclasses.replace(SETTINGS, recipe=Recipe(**OTHER_CHOICES), **OTHER)
    assert settings_from_json(json.loads(json.dumps(everything.to_json()))).run == everything.run
    assert dataclasses.replace(SETTINGS, width=1).run == dataclasses.replace(SETTINGS, width=1.0).run


def test_the_hash_of_a_run_stays_what_it_is() -> None:
    papers = TrainingSettings("noise", "0", 43)
    told = '{"data": "noise", "data_sha256": "0", "n_images": 43, "recipe": "paper"}'
    assert papers.run == hashlib.sha256(told.encode()).hexdigest()


def test_checkpoints_that_may_not_be_read_are_not_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on(tmp_path, stop=after(3))
    before = contents(tmp_path)

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "checkpoint-000000003.safetensors")

    monkeypatch.setattr(checkpoint, "safe_open", refused)
    with pytest.raises(PermissionError, match="checkpoint-000000003"):
        go_on(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", [".lock", "samples", "losses.csv"])
def test_links_in_a_run_s_folder_are_not_followed(tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".partial-mine").write_text("mine")
    (elsewhere / "mine").write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    (run / name).symlink_to(elsewhere if name == "samples" else elsewhere / "mine")
    if name == "losses.csv":  # the log is written anew at the start, in place of the link
        go_on(run, stop=after(1))
    else:
        with pytest.raises((ValueError, OSError), match=r"samples: is a link|not a file that repr-eval has made"):
            go_on(run, stop=after(1))
    assert contents(elsewhere) == {".partial-mine": b"mine", "mine": b"mine"}


def test_losses_that_are_no_text_are_named(tmp_path: Path) -> None:
    go_on(tmp_path, stop=after(1))
    (tmp_path / "losses.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"losses\.csv: not the losses of a run"):
        go_on(tmp_path)


def test_checkpoints_without_settings_are_refused(tmp_path: Path) -> None:
    go_on(tmp_path, stop=after(1))
    (tmp_path / "settings.json").unlink()
    before = contents(tmp_path)
    for resume in (True, False):
        with pytest.raises(ValueError, match=r"has checkpoints but no settings\.json"):
            go_on(tmp_path, resume=resume)
    assert contents(tmp_path) == before


def test_the_settings_tell_what_a_run_was_trained_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def told() -> list[tuple[int, str, int]]:
        history = json.loads((tmp_path / "settings.json").read_text())["history"]
        return [(one["from_step"], one["device"], one["threads"]) for one in history]

    threads = torch.get_num_threads()
    go_on(tmp_path, stop=after(2))
    go_on(tmp_path, stop=after(2))
    assert told() == [(0, "cpu", threads)]
    assert not caplog.records
    try:
        torch.set_num_threads(threads + 1)
        go_on(tmp_path, stop=after(2))
    finally:
        torch.set_num_threads(threads)
    assert told() == [(0, "cpu", threads), (4, "cpu", threads + 1)]
    assert f"threads {threads} -> {threads + 1}" in caplog.text


def test_losses_that_are_none_are_named(tmp_path: Path) -> None:
    go_on(tmp_path, stop=after(1))
    with open(tmp_path / "losses.csv", "a") as file:
        file.write("junk\n")
    with pytest.raises(ValueError, match=r"losses\.csv: not the losses of a run"):
        go_on(tmp_path)


def test_where_every_checkpoint_is_damaged_the_newest_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    go_on(tmp_path, stop=after(6))
    for path in tmp_path.glob("checkpoint-*"):
        path.write_bytes(b"rubbish")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"checkpoint-000000006\.safetensors: damaged, and so is every older"):
        go_on(tmp_path)
    assert contents(tmp_path) == before


# Settings.

OTHER: dict[str, Any] = {
    "data": "photographs",
    "data_sha256": "1",
    "n_images": 42,
    "arch": "dcgan32",
    "width": 0.04,
    "z_dim": 6,
    "z": "uniform",
    "seed": 2,
    "precision": "bf16",
    "decay_steps": 3,
}
OTHER_CHOICES: dict[str, Any] = {
    "name": "other",
    "loss": "hinge",
    "batch_size": 9,
    "lr": 1e-4,
    "d_lr_factor": 2.0,
    "beta1": 0.9,
    "beta2": 0.99,
    "generator_width": 2.0,
    "fakes": 0.5,
    "r1": 1.0,
    "r1_every": 2,
    "augmentation": Augmentation(flip=True),
    "rotation": 1.0,
    "contrast": 1.0,
    "consistency": 1.0,
    "temperature": 0.1,
    "tasks_read": "all",
    "rotation_from": "second",
    "projection": (64, 32),
    "projection_norm": True,
    "views": Augmentation(flip=True),
    "small_views": Augmentation(crop=0.2),
    "n_small_views": 2,
    "game_every": 2,
    "game_shapes_features": False,
    "weight_decay": 0.1,
    "warmup": 2,
    "decay": 0.5,
    "d_average": 0.9,
    "g_average": 0.9,
}


def test_only_the_length_of_a_run_may_change() -> None:
    assert {*OTHER, *EXTENDABLE, "recipe", "ranks", "started_from"} == {
        field.name for field in dataclasses.fields(TrainingSettings)
    }
    assert set(OTHER_CHOICES) == {field.name for field in dataclasses.fields(Recipe)}
    assert set(EXTENDABLE) == {"epochs", "max_steps"}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped")
    go_on(folder, stop=after(1))
    return folder


@pytest.mark.parametrize("name", OTHER)
def test_any_other_changed_setting_is_refused_by_name(stopped: Path, name: str) -> None:
    before = contents(stopped)
    changed = dataclasses.replace(SETTINGS, **{name: OTHER[name]})
    old = {"z": "normal"}.get(name, getattr(SETTINGS, name))
    with pytest.raises(ValueError, match=rf"{stopped}: .*{name} {old} -> {OTHER[name]}[;)]"):
        train(images()[: changed.n_images], changed, stopped, device=CPU, resume=True)
    assert contents(stopped) == before


@pytest.mark.parametrize("name", OTHER_CHOICES)
def test_any_changed_choice_of_the_recipe_is_refused_by_name(stopped: Path, name: str) -> None:
    before = contents(stopped)
    needed = {"n_small_views": {"small_views": OTHER_CHOICES["small_views"]}}.get(name, {})
    changed = dataclasses.replace(SMALL_BATCHES, **needed, **{name: OTHER_CHOICES[name]})
    before_it, it = getattr(SMALL_BATCHES, name), OTHER_CHOICES[name]
    if isinstance(it, Augmentation):
        it = dataclasses.asdict(it)
    if isinstance(it, tuple):
        before_it, it = list(before_it), list(it)
    expected = {"name": "recipe paper -> other"}.get(name, f"{name} {before_it} -> {it}")
    with pytest.raises(ValueError, match=rf"{stopped}: .*[(; ]{re.escape(expected)}"):
        go_on(stopped, dataclasses.replace(SETTINGS, recipe=changed))
    assert contents(stopped) == before


def test_settings_are_read_back_as_they_were_stored() -> None:
    everything = dataclasses.replace(SETTINGS, recipe=Recipe(**OTHER_CHOICES), **OTHER)
    assert settings_from_json(json.loads(json.dumps(everything.to_json()))) == everything


def test_settings_from_before_there_were_recipes_are_the_papers(tmp_path: Path) -> None:
    older = {"data": "noise", "data_sha256": "0", "n_images": 43, "batch_size": 8, "lr": 1e-3, "beta1": 0.4}
    (tmp_path / "settings.json").write_text(json.dumps({"format": 1, "settings": older}))
    recipe = dataclasses.replace(PAPER, batch_size=8, lr=1e-3, beta1=0.4)
    assert read_settings(tmp_path / "settings.json") == TrainingSettings("noise", "0", 43, recipe=recipe)


def test_every_changed_setting_is_named_at_once(stopped: Path) -> None:
    changed = dataclasses.replace(SETTINGS, seed=5, recipe=dataclasses.replace(SMALL_BATCHES, lr=1e-3))
    with pytest.raises(ValueError, match=r"seed 1 -> 5; lr 0\.0002 -> 0\.001"):
        go_on(stopped, changed)


def test_a_folder_that_holds_a_run_is_refused_without_resume(stopped: Path) -> None:
    before = contents(stopped)
    with pytest.raises(ValueError, match=f"{stopped}: already holds a run; pass `resume=True`"):
        go_on(stopped, resume=False)
    assert contents(stopped) == before


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_settings_that_are_no_file_are_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "settings.json"
    os.mkfifo(path) if kind == "fifo" else path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"settings\.json: is not a regular file"):
        go_on(tmp_path)


def test_settings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"settings\.json: not the settings of a training run"):
        go_on(tmp_path)


@pytest.mark.parametrize("first", [{"epochs": 2}, {"max_steps": 7}])
def test_a_longer_run_goes_on_from_a_shorter_one(
    tmp_path: Path, whole: dict[str, bytes], first: dict[str, Any]
) -> None:
    assert go_on(tmp_path, dataclasses.replace(SETTINGS, **first)).finished
    go_on(tmp_path)
    assert_same(tmp_path, whole)


def test_a_locked_folder_is_refused_untouched(stopped: Path) -> None:
    before = contents(stopped)
    with open(stopped / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match=f"{stopped}: another process is training in this folder"):
            go_on(stopped)
    assert contents(stopped) == before


# A game that breaks down.


def poison(monkeypatch: pytest.MonkeyPatch, step: int, where: str) -> None:
    """Make the `step`-th step of the process end with a NaN in G's weights or in G's loss."""
    play, played = DCGAN.step, iter(range(1, 1000))

    def poisoned(game: DCGAN, real: torch.Tensor, z: torch.Tensor, number: int) -> torch.Tensor:
        losses = play(game, real, z, number)
        if next(played) == step:
            target = losses if where == "loss" else next(game.generator.parameters()).data
            target.view(-1)[-1] = float("nan")
        return losses

    monkeypatch.setattr(DCGAN, "step", poisoned)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("loss", r"step 8: the loss is NaN or infinite \(D \d.*, G nan\).*Try a lower `lr`"),
        ("weights", r"step 8: generator/dense\.weight holds NaN.*Try a lower `lr`"),
    ],
)
def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, whole: dict[str, bytes], where: str, message: str
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        poison(monkeypatch, 8, where)
        with pytest.raises(TrainingFailed, match=message):
            go_on(tmp_path)
    assert readable_checkpoints(tmp_path) == [5, 6]
    assert contents(tmp_path)["discriminator.safetensors"] != whole["discriminator.safetensors"]
    go_on(tmp_path)
    assert_same(tmp_path, whole)


def test_a_run_is_not_resumed_to_fewer_steps_than_it_has(tmp_path: Path) -> None:
    settings = TrainingSettings(
        "noise", "hash", len(images()), "dcgan32-svhn", width=0.03, max_steps=3, recipe=SMALL_BATCHES
    )
    device = torch.device("cpu")
    train(images(), settings, tmp_path, device=device)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.*")}
    with pytest.raises(ValueError, match="has 3 steps, more than the 2 asked for"):
        train(images(), dataclasses.replace(settings, max_steps=2), tmp_path, device=device, resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.*")} == before
