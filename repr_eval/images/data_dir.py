"""Where data sets are looked for: the parameter `data_dir`, else $REPR_EVAL_DATA, else a cache folder."""

import os
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "REPR_EVAL_DATA"


@dataclass(frozen=True)
class DataRoot:
    """A folder to look in; `own` is True for the cache folder, into which repr-eval may download unasked."""

    path: Path
    own: bool
    why: str


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/repr-eval, or ~/.cache/repr-eval."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "repr-eval"


def data_root(data_dir: Path | None) -> DataRoot:
    """The folder to look in. A named folder that does not exist is a ValueError that says who named it."""
    if data_dir is not None:
        root = DataRoot(Path(data_dir), own=False, why="`data_dir`")
    elif os.environ.get(VARIABLE):
        root = DataRoot(Path(os.environ[VARIABLE]), own=False, why=f"${VARIABLE}")
    else:
        return DataRoot(cache_folder() / "data", own=True, why="the cache folder")
    if not root.path.is_dir():
        raise ValueError(f"{root.path} ({root.why}): no such folder")
    return root


class MissingData(ValueError):
    """A data set is not where it was looked for."""
