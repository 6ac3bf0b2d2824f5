"""The commit in a record is that of the code that ran."""

import subprocess
from pathlib import Path

import pytest

from repr_eval.system import provenance


def committed(folder: Path) -> str:
    """A repository with one commit of its own; the commit."""
    folder.mkdir()
    (folder / "code.py").write_text(f"# {folder.name}")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "code.py"], [*who, "commit", "-q", "-m", folder.name]):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True)
    head = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return head.stdout.strip()


@pytest.mark.parametrize("index", [False, True])
def test_the_environment_cannot_name_another_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: bool
) -> None:
    own, other = committed(tmp_path / "own"), committed(tmp_path / "other")
    assert own != other
    (tmp_path / "own" / "repr_eval" / "system").mkdir(parents=True)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "own" / "repr_eval" / "system" / "provenance.py"))
    assert provenance.commit() == own
    name, value = ("GIT_INDEX_FILE", "index") if index else ("GIT_DIR", "")
    monkeypatch.setenv(name, str(tmp_path / "other" / ".git" / value))
    assert provenance.commit() == own
