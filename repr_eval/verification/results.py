"""Folders of results: every line of records.jsonl, the draws' lists and the predictions that records name."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from repr_eval.label_free import files as measures
from repr_eval.predictions import read_predictions
from repr_eval.records import DRAWS, FILE, Record, read_lines
from repr_eval.system.arrays import digest_of, unpacked
from repr_eval.verification.base import Check

FILES = (FILE, measures.FILE)
_LISTS = re.compile(r"[0-9a-f]{16}\.npz")


def is_results(folder: Path) -> bool:
    """Whether a folder holds records, or measurements without labels."""
    return any((folder / name).is_file() for name in FILES)


def checks(folder: Path) -> Iterator[Check]:
    """Of the records' file, of every file in draws/ and of every one that a record names."""
    if (folder / FILE).is_file():
        lines = list(read_lines(folder / FILE))
        hashed = sum(line.hashed for line in lines)
        wrong = [line.wrong for line in lines if line.wrong]
        yield Check(folder / FILE, "records", lambda: _told(len(lines), hashed, wrong))
        yield from _draws(folder, [line.record for line in lines if line.record is not None])
    if (folder / measures.FILE).is_file():
        yield Check(folder / measures.FILE, "measures", lambda: _measures(folder))


def _told(n: int, hashed: int, wrong: list[str]) -> str:
    if wrong:
        more = f"; and {len(wrong) - 1} more" if wrong[1:] else ""
        raise ValueError(wrong[0] + more)
    older = f", {n - hashed:,} older ones without a hash" if hashed < n else ""
    return f"{n:,} lines{older}"


def _measures(folder: Path) -> str:
    return f"{len(measures.read(folder)):,} lines, which have no hashes"


def _draws(folder: Path, records: list[Record]) -> Iterator[Check]:
    """A file may hold what several records name: the lists of one seed are those of many methods."""
    lists: dict[Path, set[str]] = defaultdict(set)
    predictions: dict[Path, list[Record]] = defaultdict(list)
    for record in records:
        lists[folder / DRAWS / f"{record.lists_sha256[:16]}.npz"].add(record.lists_sha256)
        if record.predictions_sha256 is not None:
            predictions[folder / DRAWS / f"{record.predictions_sha256[:16]}.npz"].append(record)
    there = {path for path in (folder / DRAWS).glob("*.npz") if _LISTS.fullmatch(path.name)}
    for path in sorted(there | set(lists) | set(predictions)):
        work = _file_of_draws(folder, path, lists.get(path, set()), predictions.get(path, []))
        yield Check(path, "predictions" if path in predictions else "draws", work)


def _file_of_draws(folder: Path, path: Path, wanted: set[str], records: list[Record]) -> Callable[[], str | None]:
    def work() -> str | None:
        for record in records:
            read_predictions(folder, record)
        if records and not wanted:
            return None
        if not path.is_file():
            raise ValueError("not found; it holds the draws of a record")
        arrays = unpacked(path)
        if not all(array.dtype.kind in "iu" for array in arrays.values()):
            raise ValueError("holds other things than whole numbers")
        digest = digest_of(arrays)
        if digest[:16] != path.stem or any(digest != one for one in wanted):
            raise ValueError("its content is not what its name says")
        return None if wanted else "no record names it"

    return work
