"""What comparisons add to the report: each method's place and group, and the names of classes."""

from pathlib import Path

from repr_eval.comparison.classes import class_names
from repr_eval.comparison.ranking import rank
from repr_eval.records import read_records
from repr_eval.reporting.page.table import Group
from repr_eval.reporting.page.write import Extras

MOST = 1_000  # records: every pair of a panel's methods is tested


def extras_of(folder: str | Path) -> Extras:
    """What the page of `folder` shows beside its records; where there are no groups it says why."""
    records = read_records(Path(folder))
    if len(records) > MOST:
        words = f"There are no groups: of more than {MOST:,} records not all pairs are tested."
        return Extras(groups_words=words, class_names=class_names)
    try:
        panels = rank(folder)
    except ValueError as error:
        return Extras(groups_words=f"There are no groups: {error}.", class_names=class_names)
    groups = {
        line.row.record: Group(line.place, len(panel.lines), line.group, panel.remark)
        for panel in panels
        for line in panel.lines
    }
    words = "Methods of one protocol, data and draws that share a letter cannot be told apart."
    some = any(group.letters for group in groups.values())
    return Extras(groups, words * some, class_names)
