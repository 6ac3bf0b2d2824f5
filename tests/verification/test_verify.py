"""`verify`: what is whole passes, a changed bit is told by file, and --repair removes what can be made again."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import run
from PIL import Image

import repr_eval as rv
from repr_eval.datasets import load_dataset
from repr_eval.gan.checkpoint import save_checkpoint
from repr_eval.gan.networks import Discriminator
from repr_eval.gan.settings import TrainingSettings
from repr_eval.gan.weights import WeightsInfo, save_weights
from repr_eval.images.pack import pack
from repr_eval.representations.pixels import Pixels
from repr_eval.verification.verify import repair, verify

STRETCH = {"from_step": 0, "device": "cpu", "threads": 1, "versions": {"torch": "2.9"}}


def weights(path: Path) -> Path:
    arch = rv.representation("random", width=0.05).network.arch  # type: ignore[attr-defined]
    network, info = Discriminator(arch, 0.05), WeightsInfo("discriminator", arch.name, 0.05)
    save_weights(path, network, info)
    return path


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of each kind: results, store, extracted features, a run, packed images, weights with a manifest."""
    folder = tmp_path_factory.mktemp("original")
    digits = load_dataset("digits")
    for seed in (0, 1):
        protocol = rv.Digits(per_class=2, draws=2, seed=seed)
        rv.evaluate(Pixels(), protocol, data=digits, store=folder / "store", out=folder / "results")
    rv.extract(Pixels(), digits, folder / "features", store=folder / "store")
    (folder / "images").mkdir()
    for number in range(3):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(folder / "images" / f"{number}.png")
    pack(folder / "images", folder / "packed.npy", 8, workers=1)
    made = folder / "run"
    made.mkdir()
    settings = TrainingSettings("noise", "0" * 64, 512)
    (made / "settings.json").write_text(json.dumps({"settings": settings.to_json(), "history": [STRETCH]}))
    (made / "losses.csv").write_text("step,images_seen,d_loss,g_loss\n1,128,0.5,0.7\n")
    save_checkpoint(made, 7, {"w": torch.ones(5)}, settings.run)
    weights(made / "discriminator.safetensors")
    path = weights(folder / "shipped" / "one.safetensors")
    manifest = {"best": "one", "models": {"one": {"files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}}}}
    (folder / "shipped" / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "copy")
    return tmp_path / "copy"


def wrong(folder: Path) -> list[str]:
    return [one.wrong for one in verify([folder]) if one.wrong]


def flip(path: Path, at: int = -3) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_what_was_stored_is_whole(folder: Path) -> None:
    checked = verify([folder])
    assert [one.wrong for one in checked if one.wrong] == []
    kinds = {one.what for one in checked}
    assert kinds == {
        "records", "draws", "predictions", "features", "feature folder", "run", "checkpoint", "weights",
        "packed images",
    }  # fmt: skip
    named = {one.path.relative_to(folder).as_posix() for one in checked}
    assert {"results/records.jsonl", "packed.npy", "run/checkpoint-000000007.safetensors"} <= named
    assert sum(one.bytes for one in checked if one.what == "packed images") > 3 * 8 * 8 * 3


FILES: list[tuple[str, str]] = [
    ("results/records.jsonl", "line 2: cannot be read .it was changed"),
    ("results/draws/*.npz", "its content is no(t what its name says| longer the predictions)"),
    ("store/*.npy", "rows 0 to .* are not those that were stored|rows .* are not those"),
    ("features/train_features.npy", "its content is not what was stored"),
    ("features/test_labels.npy", "its content is not what was stored"),
    ("packed.npy", "its content is not what was stored"),
    ("run/checkpoint-*.safetensors", "damaged"),
    ("shipped/one.safetensors", "its content is not what was stored"),
]


@pytest.mark.parametrize(("pattern", "words"), FILES)
def test_a_changed_bit_is_told_with_the_name_of_its_file(pattern: str, words: str, folder: Path) -> None:
    for path in sorted(folder.glob(pattern)):
        before = path.read_bytes()
        if path.suffix == ".npz":  # a flipped bit may be of no array
            arrays = dict(np.load(path))
            np.savez(path, **{name: array ^ 1 for name, array in arrays.items()})
        else:
            flip(path, -4)
        (told,) = wrong(folder)
        assert str(path) in told
        assert re.search(words, told), told
        assert "\n" not in told
        path.write_bytes(before)
    assert wrong(folder) == []


def test_a_file_that_is_missing_is_told(folder: Path) -> None:
    gone = [next((folder / "results" / "draws").iterdir()), folder / "shipped" / "one.safetensors"]
    gone += [folder / "features" / "train_labels.npy", next((folder / "store").glob("*.json"))]
    for path in gone:
        path.unlink()
    told = "\n".join(wrong(folder))
    assert [path.name for path in gone if path.name not in told] == []


def broken(folder: Path, text: str) -> None:
    for name in ("settings.json", "losses.csv"):
        (folder / "run" / name).write_text(text)
    (folder / "packed.json").write_text(text)
    (folder / "features" / "features.json").write_text(text)
    (folder / "shipped" / "manifest.json").write_text(text)
    next((folder / "store").glob("*.json")).write_text(text)


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", "{}", '{"models": 3, "arrays": [], "count": 1}'])
def test_broken_texts_are_told_file_by_file(text: str, folder: Path) -> None:
    broken(folder, text)
    told = wrong(folder)
    for name in ("settings.json", "losses.csv", "packed.json", "features.json", "manifest.json"):
        assert any(name in line for line in told), name
    assert any("store" in line for line in told)


def test_a_checkpoint_of_another_step_or_run_is_told(folder: Path) -> None:
    path = folder / "run" / "checkpoint-000000007.safetensors"
    save_checkpoint(folder / "run", 9, {"w": torch.ones(5)}, "another run")
    path.rename(path.with_name("checkpoint-000000008.safetensors"))
    told = wrong(folder)
    assert len(told) == 2
    assert "checkpoint-000000008.safetensors: is of step 7" in told[0]
    assert "checkpoint-000000009.safetensors: is of a run with other settings" in told[1]


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_repair_removes_damaged_features_and_nothing_else(folder: Path) -> None:
    for pattern, _ in FILES:
        flip(sorted(folder.glob(pattern))[0], -4)
    (entry,) = (folder / "store").glob("*.npy")
    before = everything(folder)
    checked = verify([folder])
    assert sorted(repair(checked)) == sorted([entry, entry.with_suffix(".json")])
    assert everything(folder) == {name: content for name, content in before.items() if not name.startswith("store/")}
    assert repair(verify([folder])) == []
    rv.extract(Pixels(), load_dataset("digits"), store=folder / "store")
    assert entry.is_file()


def test_features_that_were_made_again_meanwhile_stay(folder: Path) -> None:
    (entry,) = (folder / "store").glob("*.npy")
    whole = entry.read_bytes()
    flip(entry)
    checked = verify([folder / "store"])
    entry.write_bytes(whole)
    assert repair(checked) == []
    assert entry.is_file()


def _old(path: Path) -> Path:
    os.utime(path, (time.time() - 2 * 86_400,) * 2)
    return path


def test_repair_removes_temporary_files_that_nobody_holds(folder: Path, tmp_path: Path) -> None:
    results = folder / "results"
    name = ".repr-eval-partial-"
    left = [results / f"{name}abcdefg1.csv", results / "draws" / f"{name}x_y_z123.npz"]
    kept = [results / f"{name}young123.csv", results / f"{name}mine", results / ".partial-abcdefg1.csv"]
    kept.append(results / f"{name}held1234")
    for path in (*left, *kept):
        path.write_bytes(b"x")
        _old(path)
    os.utime(kept[0])
    outside = tmp_path / "outside"
    outside.write_bytes(b"x")
    link = results / f"{name}link1234"
    link.symlink_to(_old(outside))
    with open(kept[-1], "rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        assert sorted(repair(verify([folder]))) == sorted(left)
    assert all(path.exists() for path in (*kept, link, outside))


@pytest.mark.parametrize(
    ("path", "n"),
    [
        ("packed.npy", 1), ("results/records.jsonl", 6), ("shipped/one.safetensors", 1), ("shipped/manifest.json", 2),
        ("run/checkpoint-000000007.safetensors", 1), ("run/discriminator.safetensors", 1),
        ("features/features.json", 5),
    ],
)  # fmt: skip
def test_a_file_alone(path: str, n: int, folder: Path) -> None:
    checked = verify([folder / path])
    assert len(checked) == n or path.endswith("jsonl")
    assert not [one for one in checked if one.wrong]


def test_what_cannot_be_verified_is_refused(folder: Path) -> None:
    (folder / "notes.txt").write_text("notes")
    for path in (folder / "notes.txt", folder / "images", folder / "absent", folder / "absent.npy"):
        with pytest.raises(ValueError, match="nothing to verify"):
            verify([path])


def test_foreign_files_are_passed_over(folder: Path) -> None:
    other = folder / "results" / "editor"
    other.mkdir()
    (other / "settings.json").write_text("not ours")
    (other / "manifest.json").write_text("not ours")
    (other / "x.json").write_text("{}")
    (folder / "loop").symlink_to(folder)
    assert wrong(folder) == []


def test_the_command(folder: Path) -> None:
    whole = run("verify", folder)
    assert whole.exit_code == 0, whole.output
    line = next(line for line in whole.stdout.splitlines() if line.startswith("packed images"))
    assert line.split() == ["packed", "images", "1", "0.0", "0"]
    (entry,) = (folder / "store").glob("*.npy")
    flip(entry)
    damaged = run("verify", folder)
    assert damaged.exit_code == 1
    assert damaged.stderr.splitlines()[-1].startswith(f"wrong: {entry}: rows ")
    assert entry.is_file()
    repaired = run("verify", folder, "--repair")
    assert repaired.exit_code == 0
    assert f"removed: {entry}" in repaired.stderr
    flip(folder / "packed.npy")
    assert run("verify", folder, "--repair").exit_code == 1
    assert (folder / "packed.npy").is_file()


def test_without_paths_shipped_weights_are_verified(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: None
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("verify")
    assert result.exit_code == 0, result.output
    assert "manifest.json: names " in result.stdout


CHANGES: list[Callable[[np.ndarray], np.ndarray]] = [
    lambda rows: np.roll(rows, 1, 0), lambda rows: rows[:-1], lambda rows: rows.astype(np.float32),
    lambda rows: np.asfortranarray(rows),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES[:3])
def test_other_rows_are_told(change: Callable[[np.ndarray], np.ndarray], folder: Path) -> None:
    (entry,) = (folder / "store").glob("*.npy")
    for path in (entry, folder / "features" / "train_features.npy", folder / "packed.npy"):
        np.save(path, change(np.load(path)))
    assert len(wrong(folder)) == 3


def test_rows_in_another_order_of_memory_are_the_same_rows(folder: Path) -> None:
    path = folder / "features" / "train_features.npy"
    np.save(path, CHANGES[3](np.load(path)))
    assert wrong(folder) == []
