"""Files under names that others can guess: links are not followed, and what is not ours stays."""

import fcntl
import os
from pathlib import Path

import pytest

from repr_eval.system.files import append_line, exclusive, open_regular, rename, replacing, sweep

LEFT = ".repr-eval-partial-a1b2c3d4.csv"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere" / "victim"
    path.parent.mkdir()
    path.write_text("mine")
    return path


def test_a_lock_is_not_taken_through_a_link(tmp_path: Path, victim: Path) -> None:
    (tmp_path / ".lock").symlink_to(victim)
    with (
        pytest.raises(FileExistsError, match="not a file that repr-eval has made"),
        exclusive(tmp_path, "writing", by_file=True),
    ):
        pass
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("by_file", [True, False])
def test_a_lock_empties_nothing_and_keeps_others_out(tmp_path: Path, by_file: bool) -> None:
    (tmp_path / ".lock").write_text("kept")
    with (
        exclusive(tmp_path, "drawing", by_file),
        pytest.raises(ValueError, match="another process is drawing in this folder"),
        exclusive(tmp_path, "drawing", by_file),
    ):
        pass
    assert (tmp_path / ".lock").read_text() == "kept"


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_a_line_is_added_to_a_file_of_ours_alone(tmp_path: Path, victim: Path, kind: str) -> None:
    path = tmp_path / "records.jsonl"
    {"link": lambda: path.symlink_to(victim), "fifo": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    with pytest.raises(FileExistsError, match=r"not a file that repr-eval has made.*records\.jsonl"):
        append_line(path, "a line", "record")
    assert victim.read_text() == "mine"


def old(path: Path) -> Path:
    path.write_text("left")
    os.utime(path, (0, 0))
    return path


def test_what_a_killed_process_left_is_removed_by_the_next_one_that_writes_there(tmp_path: Path) -> None:
    left = old(tmp_path / LEFT)
    with replacing(tmp_path / "table.csv") as partial:
        partial.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
    assert not left.exists()


def test_nothing_but_our_own_leftovers_is_removed(tmp_path: Path, victim: Path) -> None:
    young = tmp_path / LEFT
    young.write_text("a day has not gone by")
    held = old(tmp_path / LEFT.replace("a1", "a2"))
    others = [old(tmp_path / name) for name in (".partial-mine.npy", ".partial-mine.npy.journal", f"{LEFT}.mine")]
    os.utime(victim, (0, 0))
    link = tmp_path / LEFT.replace("a1", "a3")
    link.symlink_to(victim)
    with open(held) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        sweep(tmp_path)
    assert all(path.exists() for path in (young, held, link, victim, *others))
    sweep(tmp_path)
    assert not held.exists()
    sweep(tmp_path, seconds=0)
    assert not young.exists()
    assert victim.read_text() == "mine"


def test_a_file_being_written_is_held_against_others(tmp_path: Path) -> None:
    with replacing(tmp_path / "table.csv") as partial:
        partial.write_text("new")
        os.utime(partial, (0, 0))
        sweep(tmp_path)
        assert partial.exists()
    assert (tmp_path / "table.csv").read_text() == "new"


def test_the_folder_is_synced_after_a_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}")))
    with replacing(tmp_path / "table.csv") as partial:
        partial.write_text("new")
    assert synced == [str(partial), str(tmp_path)]
    synced.clear()
    rename(tmp_path / "table.csv", tmp_path / "other.csv")
    assert synced == [str(tmp_path)]


def test_a_fifo_is_not_waited_for_and_a_link_to_a_file_is_read(tmp_path: Path, victim: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("fifo", "device"):
        with pytest.raises(ValueError, match=f"{name}: is not a regular file"):
            open_regular(tmp_path / name)
    (tmp_path / "link").symlink_to(victim)
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"mine"
