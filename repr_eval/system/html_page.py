"""What pages of one file are made with: templates that escape, and pictures in the page itself."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def templates(folder: Path, **settings: Any) -> "Environment":
    """Jinja's environment of the templates in `folder`: every text is escaped, a missing value is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, **settings,
    )  # fmt: skip


def data_uri(content: bytes, kind: str) -> str:
    """A picture's bytes as an address that holds them; `kind` is the subtype: "png", "webp"."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
