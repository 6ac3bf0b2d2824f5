"""Every method of a protocol in order, with groups that cannot be told apart: CSV, Markdown."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from repr_eval.comparison.pair import BOTH, DRAWS, MCNEMAR, differences_of
from repr_eval.comparison.statistics import (
    holm,
    letters,
    mcnemar_exact,
    over_draws_and_images,
    paired_t,
    pairs,
)
from repr_eval.datasets import metric_of
from repr_eval.predictions import Predictions, read_predictions
from repr_eval.records import Record, facts_of, read_records
from repr_eval.reporting import render
from repr_eval.reporting.methods import one_a_method
from repr_eval.reporting.render import Column, interval_words, method_words, panel_words, percent
from repr_eval.reporting.rows import Row, measured_row, newest, whole
from repr_eval.system.files import write_text

LEVEL = 0.05  # of the family of all pairs of a panel
NAME = "rank"  # of the files
Key = tuple[str, str, int, int, int, str, str, str]


@dataclass(frozen=True)
class Ranked:
    """A method in its place. `group`: its letters, "" where nothing can be tested."""

    place: int
    group: str
    row: Row
    behind: float  # the best's accuracy less this one's, in [0, 1]
    p_best: float | None = None  # against the first; Holm's, over all pairs of the panel


@dataclass(frozen=True)
class Panel:
    """The methods measured by one protocol on the same draws and test images, the best first."""

    protocol: str
    data: str
    labels: int
    seed: int
    draws: int
    metric: str  # "accuracy" or "error"
    test: str  # what compares them, "" where nothing does
    without: int  # members whose predictions are not stored
    lines: tuple[Ranked, ...]

    @property
    def title(self) -> str:
        """What the members have in common."""
        draws = f"{self.draws} draw{'s' * (self.draws > 1)}"
        return f"{panel_words(self.protocol, self.data, self.labels)}, seed {self.seed}, {draws}"

    @property
    def remark(self) -> str:
        """How the groups came about, in words."""
        words, without = "", f"{self.without} of {len(self.lines)} have no stored predictions"
        if self.test:
            words = f"Methods that share a letter cannot be told apart: {self.test}; "
            words += "Holm's correction over all pairs. "
        if self.without and self.test == DRAWS:
            words += f"{without}, so the draws' counts are compared."
        elif self.without:
            words += f"{without}, and are in no group; measure again to store them."
        return words.strip()


def rank(folder: str | Path, data: str | None = None, protocol: str | None = None) -> list[Panel]:
    """A panel for every protocol, data set, number of labels, and draws' lists of the records in
    `folder`.

    `data`: a data set's key or the name that tables give it; `protocol`: a name
    ("cifar10/all-labels/1") or its middle ("all-labels"); None takes all. A method stands once, as
    in the table of methods; layers studied alone are left out. ValueError where nothing is left, or
    predictions are missing or damaged.
    """
    folder = Path(folder)
    panels: dict[Key, list[Record]] = {}
    records = [record for record in newest(read_records(folder)) if whole(record)]
    for record in records:
        if _wanted(record, data, protocol):
            panels.setdefault(_key(record), []).append(record)
    chosen = [one_a_method(panels[key]) for key in sorted(panels)]
    chosen = [members for members in chosen if members]
    if not chosen:
        there = sorted({f"{facts_of(one).protocol} on {one.dataset['name']}" for one in records})
        words = {"data": data, "protocol": protocol}
        asked = " and ".join(f"{name} {word!r}" for name, word in words.items() if word)
        known = ", ".join(there) or "none"
        raise ValueError(f"{folder}: no record of {asked or 'a whole method'}; there are {known}")
    return [_panel(members, folder) for members in chosen]


def _wanted(record: Record, data: str | None, protocol: str | None) -> bool:
    facts = facts_of(record)
    kind = facts.protocol.partition("/")[2]
    return (data is None or data in (facts.dataset, record.dataset["name"])) and (
        protocol is None or protocol in (facts.protocol, kind, kind.partition("/")[0])
    )


def _key(record: Record) -> Key:
    """What records must share to be compared; most draws first."""
    fingerprints = record.dataset["test_fingerprint"], record.dataset["train_fingerprint"]
    return (
        facts_of(record).protocol, record.dataset["name"], record.labels, record.seed,
        -len(record.test_correct), record.lists_sha256, *fingerprints,
    )  # fmt: skip


def _panel(records: list[Record], folder: Path) -> Panel:
    records = sorted(records, key=lambda one: (-sum(one.test_correct), one.id))
    facts, first = facts_of(records[0]), records[0]
    metric = metric_of(facts.dataset)
    total = first.test_n * len(first.test_correct)
    lines = [
        Ranked(
            place=1 + number,
            group="",
            row=measured_row(one, metric),
            behind=(sum(first.test_correct) - sum(one.test_correct)) / total,
        )
        for number, one in enumerate(records)
    ]
    predictions = [read_predictions(folder, one) for one in records]
    test, members, p_of = _test(records, predictions)
    if len(members) > 1:
        lines = _grouped(lines, members, p_of)
    return Panel(
        protocol=facts.protocol, data=first.dataset["name"], labels=first.labels, seed=first.seed,
        draws=len(first.test_correct), metric=metric, test=test if len(members) > 1 else "",
        without=predictions.count(None), lines=tuple(lines),
    )  # fmt: skip


def _test(
    records: list[Record], predictions: list[Predictions | None]
) -> tuple[str, list[int], Callable[[int, int], float]]:
    """The test for a panel, its members (numbers of records), and the p-value of two of them.

    One test for the whole family: by image where all have predictions, else by the counts of draws.
    Of single classifiers those without predictions are left out, for their counts do not say which
    images they share.
    """
    kept = [number for number, one in enumerate(predictions) if one is not None]
    counts = [np.array(one.test_correct) / one.test_n for one in records]

    def by_counts(i: int, j: int) -> float:
        return paired_t(counts[i] - counts[j])[1]

    def by_image(i: int, j: int) -> float:
        a, b = predictions[i], predictions[j]
        assert a is not None
        assert b is not None
        if len(a.right) > 1:
            return over_draws_and_images(differences_of(a, b))[1]
        only_a, only_b = np.bitwise_count(a.right & ~b.right), np.bitwise_count(b.right & ~a.right)
        return mcnemar_exact(int(only_a.sum()), int(only_b.sum()))

    several = len(counts[0]) > 1
    if several and (len(kept) < len(records) or records[0].test_n < 2):
        return DRAWS, list(range(len(records))), by_counts
    return BOTH if several else MCNEMAR, kept, by_image


def _grouped(
    lines: list[Ranked],
    members: list[int],
    p_of: Callable[[int, int], float],
) -> list[Ranked]:
    """The lines, with letters for the members and the p-value of each against the best of them."""
    every = pairs(len(members))
    adjusted = dict(zip(every, holm([p_of(members[i], members[j]) for i, j in every]), strict=True))
    groups = letters(len(members), {pair for pair, p in adjusted.items() if p < LEVEL})
    lines = list(lines)
    for position, number in enumerate(members):
        p_best = adjusted[0, position] if position else None
        lines[number] = replace(lines[number], group=groups[position], p_best=p_best)
    return lines


# Files.


def csv_columns() -> list[Column]:
    """The columns of the CSV, of (panel, line): rates are fractions in [0, 1]."""
    return [
        Column("protocol", lambda pair: pair[0].protocol),
        Column("data", lambda pair: pair[0].data),
        Column("labels", lambda pair: pair[0].labels),
        Column("seed", lambda pair: pair[0].seed),
        Column("draws", lambda pair: pair[0].draws),
        Column("place", lambda pair: pair[1].place),
        Column("group", lambda pair: pair[1].group),
        Column("method", lambda pair: method_words(pair[1].row)),
        Column("classifier", lambda pair: pair[1].row.classifier),
        Column("trained_on", lambda pair: pair[1].row.trained_on),
        Column("features", lambda pair: pair[1].row.features),
        Column("metric", lambda pair: pair[0].metric),
        Column("rate", lambda pair: pair[1].row.rate),
        Column("ci95_low", lambda pair: pair[1].row.ci95_low),
        Column("ci95_high", lambda pair: pair[1].row.ci95_high),
        Column("ci95_of", lambda pair: pair[1].row.ci95_of),
        Column("behind_best", lambda pair: pair[1].behind),
        Column("p_holm_to_best", lambda pair: pair[1].p_best),
        Column("test", lambda pair: pair[0].test if pair[1].group else ""),
        Column("record", lambda pair: pair[1].row.record),
    ]


def columns(metric: str) -> list[Column]:
    """The columns for readers, of a line: rates in percent."""
    return [
        Column("place", lambda line: line.place, right=True),
        Column("group", lambda line: line.group),
        Column("method", lambda line: method_words(line.row)),
        Column("classifier", lambda line: line.row.classifier),
        Column("trained on", lambda line: line.row.trained_on),
        Column("features", lambda line: line.row.features, ",", right=True),
        Column(f"{metric} %", lambda line: percent(line.row.rate), ".2f", right=True),
        Column("95% interval", lambda line: interval_words(line.row)),
        Column("of", lambda line: line.row.ci95_of),
        Column("behind the best, points", lambda line: percent(line.behind), ".2f", right=True),
        Column("p to the best", lambda line: _shown_p(line.p_best), ".4f", right=True),
        Column("record", lambda line: line.row.record),
    ]


def _shown_p(p: float | None) -> float | str | None:
    return "< 0.0001" if p is not None and p < 1e-4 else p


def to_csv(panels: list[Panel]) -> str:
    """The panels as one CSV."""
    return render.to_csv(csv_columns(), [(panel, line) for panel in panels for line in panel.lines])


def to_markdown(panels: list[Panel]) -> str:
    """The panels as Markdown, a section each."""
    sections = []
    for panel in panels:
        table = render.to_markdown(columns(panel.metric), panel.lines)
        sections.append((panel.title, table + f"\n{panel.remark}\n" * bool(panel.remark)))
    return render.markdown_sections(sections)


def write_ranking(folder: Path, panels: list[Panel]) -> list[Path]:
    """Write rank.csv and rank.md to `folder`, whole or not at all."""
    paths = [folder / f"{NAME}.csv", folder / f"{NAME}.md"]
    for path, text in zip(paths, (to_csv(panels), to_markdown(panels)), strict=True):
        write_text(path, text)
    return paths
