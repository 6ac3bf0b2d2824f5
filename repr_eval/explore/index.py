"""One page of all studies of a model: index.html, which holds its pictures and loads nothing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repr_eval.system.files import write_text
from repr_eval.system.html_page import data_uri, templates
from repr_eval.system.provenance import commit, versions

PICTURES = (".png", ".webp")
DOCUMENTS = (".json", ".html", ".npy")


@dataclass(frozen=True)
class Part:
    """A study: its name and what it shows, the command that makes it alone, what it said, and a remark."""

    study: str
    about: str
    command: str
    lines: Sequence[str]
    remark: str


def write_index(out: Path, name: str, description: dict[str, Any], command: str, parts: Sequence[Part]) -> Path:
    """Write index.html to `out`, with the pictures of each study's folder `out`/STUDY; its path.

    Pictures of a study that said nothing are not shown: they would be an earlier run's.
    """
    shown = []
    for part in parts:
        files = sorted((out / part.study).glob("*")) if part.lines or not part.remark else []
        pictures = [
            (path.name, data_uri(path.read_bytes(), path.suffix[1:])) for path in files if path.suffix in PICTURES
        ]
        others = [f"{part.study}/{path.name}" for path in files if path.suffix in DOCUMENTS]
        shown.append({"part": part, "pictures": pictures, "files": others})
    path = out / "index.html"
    text = templates(Path(__file__).parent).get_template("index.html.j2").render(
        name=name, description=json.dumps(description, indent=2), command=command, parts=shown, commit=commit(),
        versions=versions(),
    )  # fmt: skip
    write_text(path, text)
    return path
