"""JSON from files that anyone may have written or a disk may have changed: an error is a ValueError."""

import json
from pathlib import Path
from typing import Any

from repr_eval.system.files import open_regular


def from_json(text: str | bytes) -> Any:
    """What the JSON says; bytes are UTF-8. ValueError on anything else, also where it is nested too deep."""
    try:
        return json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except RecursionError as error:
        raise ValueError("is nested too deep") from error


def read_object(path: Path) -> dict[str, Any]:
    """The object {...} in the JSON file `path`. ValueError where it holds another value or no JSON."""
    with open_regular(path) as file:
        content = from_json(file.read())
    if not isinstance(content, dict):
        raise ValueError(f"holds {type(content).__name__}, not an object")
    return content
