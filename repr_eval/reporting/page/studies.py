"""Sections of small charts: rate against layer, batch-norm statistics, and seeds."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from repr_eval.datasets import metric_of
from repr_eval.records import Record, facts_of
from repr_eval.reporting.ablations import (
    BN_ORDER,
    batch_norm_study,
    layer_study,
    named_groups,
    panels_of_study,
)
from repr_eval.reporting.page.charts import Point, Series, dots_chart, lines_chart
from repr_eval.reporting.render import interval_words, method_words, panel_words, with_classifier
from repr_eval.reporting.rows import Row, identity, measured_row, newest

Legend = tuple[tuple[int, bool, str], ...]  # number of the colour, whether dashed, words
MOST = 24  # rows of a chart of dots


@dataclass(frozen=True)
class Chart:
    """A chart of a section, and the key of its colours."""

    title: str
    svg: Markup
    legend: Legend


@dataclass(frozen=True)
class Section:
    """A section, for the template."""

    id: str
    name: str
    words: str
    charts: tuple[Chart, ...]


def sections(records: Sequence[Record]) -> list[Section]:
    """The sections that have a chart."""
    found = [_layers(list(records)), _batch_norm(list(records)), _seeds(list(records))]
    return [section for section in found if section.charts]


def _point(row: Row, x: float, name: str) -> Point:
    words = f"{name}: {100 * row.rate:.2f}%, 95% interval {interval_words(row)} of {row.ci95_of}, record {row.record}"
    return Point(x, row.rate, row.ci95_low, row.ci95_high, words)


def _layers(records: list[Record]) -> Section:
    charts = []
    for title, rows in panels_of_study(layer_study(records)):
        series, legend = [], []
        for number, (name, group) in enumerate(named_groups(rows)):
            together = [line for line in group if line.first_layer == 1]
            alone = [line for line in group if line.first_layer == line.last_layer]
            for part, dashed, words in ((together, False, "layers 1 to x together"), (alone, True, "layer x alone")):
                points = sorted(
                    (_point(line.row, line.last_layer or 0, f"{name}, layers {line.row.layers}") for line in part),
                    key=lambda point: point.x,
                )
                if points:
                    series.append(Series(name, number, tuple(points), dashed))
                    legend.append((number % 6, dashed, f"{name}: {words}"))
        if series:
            svg = lines_chart(f"{title}: test {rows[0].measure} in percent against layer", series, "layer x")
            charts.append(Chart(f"{title}: {rows[0].measure}, %", Markup(svg), tuple(legend)))
    return Section("layers", "Layers", "What each layer's features give, alone and with those below it.", tuple(charts))


def _batch_norm(records: list[Record]) -> Section:
    charts: list[Chart] = []
    for title, rows in panels_of_study(batch_norm_study(records)):
        lines = [
            (name, [_point(line.row, BN_ORDER.index(line.row.bn), f"{name}, {line.row.bn}") for line in group])
            for name, group in named_groups(rows)
        ]
        legend = tuple((number, False, mode) for number, mode in enumerate(BN_ORDER))
        charts += _dots(title, rows[0].measure, lines, legend)
    words = "Batch norm's statistics: recomputed over the training images, of the images at hand, or those of training."
    return Section("batch-norm", "Batch norm", words, tuple(charts))


def _seeds(records: list[Record]) -> Section:
    panels: dict[str, list[tuple[str, list[Point]]]] = {}
    measures = {}
    for group in _alike_but_for_seeds(records):
        measure = metric_of(facts_of(group[0]).dataset)
        rows = [measured_row(record, measure) for record in group]
        name = with_classifier(method_words(rows[0]), rows[0].classifier, ", ")
        title = panel_words(rows[0].protocol, rows[0].data, rows[0].labels)
        measures[title] = measure
        points = [_point(row, 0, f"{row.method}, seed {row.seed}") for row in rows]
        panels.setdefault(title, []).append((f"{name} and {len(points) - 1} more", points))
    charts = [chart for title, lines in panels.items() for chart in _dots(title, measures[title], lines, ())]
    words = "Measurements alike in all but the seed: of the draws, or of a network that was never trained."
    return Section("seeds", "Seeds", words, tuple(charts))


def _alike_but_for_seeds(records: list[Record]) -> Iterator[list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in newest(records):
        without = ("weights_sha256",) if facts_of(record).untrained else ()
        protocol, test, train, labels, _, _, *others = identity(record, without=without)
        draws = len(record.test_correct)
        key = json.dumps([protocol, test, train, labels, draws, *others], sort_keys=True)
        groups.setdefault(key, []).append(record)
    return (group for group in groups.values() if len(group) > 1)


def _dots(title: str, measure: str, lines: Sequence[tuple[str, list[Point]]], legend: Legend) -> Iterator[Chart]:
    """Charts of at most `MOST` rows each."""
    for start in range(0, len(lines), MOST):
        svg = dots_chart(f"{title}: test {measure} in percent", lines[start : start + MOST])
        yield Chart(f"{title}: {measure}, %", Markup(svg), legend)
