"""What comparisons add to the report: each method's place and group, the names of classes, and test images."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from repr_eval.comparison.classes import class_names
from repr_eval.comparison.ranking import rank
from repr_eval.datasets import DATASETS, load_dataset
from repr_eval.records import Record, facts_of, read_records
from repr_eval.reporting.page.table import Group
from repr_eval.reporting.page.write import Extras

MOST = 1_000  # records: every pair of a panel's methods is tested


def extras_of(folder: str | Path, data_dir: str | Path | None = None) -> Extras:
    """What the page of `folder` shows beside its records; where there are no groups it says why.

    Test images are looked for in `data_dir`, $REPR_EVAL_DATA or the cache folder, and never fetched.
    """
    groups, words = _groups(folder)
    return Extras(groups, words, class_names, _test_images(data_dir))


def _test_images(data_dir: str | Path | None) -> Callable[[Record], np.ndarray | None]:
    @cache
    def test_split(key: str) -> tuple[np.ndarray, str] | None:
        try:
            data = load_dataset(key, data_dir, download=False)
        except (ValueError, OSError):
            return None
        return data.test.images, data.test.fingerprint

    def images_of(record: Record) -> np.ndarray | None:
        key = facts_of(record).dataset
        found = test_split(key) if key in DATASETS else None
        return found[0] if found and found[1] == record.dataset["test_fingerprint"] else None

    return images_of


def _groups(folder: str | Path) -> tuple[dict[str, Group], str]:
    """Groups by record, and how they came about or why there are none."""
    records = read_records(Path(folder))
    if len(records) > MOST:
        return {}, f"There are no groups: of more than {MOST:,} records not all pairs are tested."
    try:
        panels = rank(folder)
    except ValueError as error:
        return {}, f"There are no groups: {error}."
    groups = {
        line.row.record: Group(line.place, len(panel.lines), line.group, panel.remark)
        for panel in panels
        for line in panel.lines
    }
    words = "Methods of one protocol, data and draws that share a letter cannot be told apart."
    some = any(group.letters for group in groups.values())
    return groups, words * some
