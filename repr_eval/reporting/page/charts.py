"""The charts: every method beside its published figure, validation curves, studies of one choice, losses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log10

from repr_eval.records import L2_SVM_NAME, Record
from repr_eval.reporting.methods import Compared
from repr_eval.reporting.page.svg import (
    Scale,
    element,
    line,
    picture,
    round_steps,
    shortened,
    text,
    titled,
    y_axis,
)
from repr_eval.reporting.render import interval_words

WIDTH = 480.0  # of the chart of methods, in its own pixels
ROW = 36.0
LETTERS = 72  # of a method's name
DODGE = 9.0  # between dots of one name


@dataclass(frozen=True)
class Point:
    """A point of a series: fractions in [0, 1], and what is said where it has the focus."""

    x: float
    y: float
    low: float | None
    high: float | None
    words: str


@dataclass(frozen=True)
class Series:
    """Points joined by a line. `number` chooses the colour."""

    name: str
    number: int
    points: tuple[Point, ...]
    dashed: bool = False


def highest(lines: Sequence[Compared]) -> float:
    """The highest number that a chart of these lines shows, in percent."""
    return 100 * max(max(_high(one), one.published or 0) for one in lines)


def methods_chart(title: str, measure: str, lines: Sequence[Compared], top: float) -> str:
    """A bar for every measured line with its interval, and a tick at the published figure; names above the bars.

    The axis goes from 0 to `top` percent, or just above.
    """
    scale = Scale(0, round_steps(0, top)[-1], 6, WIDTH - 52)
    height = ROW * len(lines) + 30
    parts = []
    for step in scale.steps:
        parts.append(line([(scale(step), 4), (scale(step), height - 24)], class_="rule"))
        parts.append(text(f"{step:g}", x=scale(step), y=height - 10, class_="tick middle"))
    parts += [_bar(one, scale, ROW * number + 14, measure) for number, one in enumerate(lines)]
    unit = text("%", x=WIDTH - 20, y=height - 10, class_="tick middle")
    return picture((WIDTH, height), f"{title}: test {measure} in percent", *parts, unit)


def _high(one: Compared) -> float:
    return 0.0 if one.row is None else one.row.rate if one.row.ci95_high is None else one.row.ci95_high


def _bar(one: Compared, scale: Scale, y: float, measure: str) -> str:
    row, middle = one.row, y + 11
    name = shortened(one.name, LETTERS) + " (not measured)" * (row is None)
    parts, words = [text(name, x=6, y=y, class_="name")], [one.name]
    if row:
        end = scale(100 * row.rate)
        kind = "bar" if one.kind == L2_SVM_NAME else "bar other"
        parts.append(element("rect", x=scale(0), y=middle - 6, width=end - scale(0), height=12, class_=kind))
        low, high = (scale(100 * (row.rate if edge is None else edge)) for edge in (row.ci95_low, row.ci95_high))
        whisker = f"M{low:.1f} {middle - 4:.1f}v8m0 -4H{high:.1f}m0 -4v8"
        parts.append(element("path", d=whisker, class_="interval"))
        parts.append(text(f"{100 * row.rate:.2f}", x=WIDTH - 4, y=middle + 4, class_="value end"))
        words.append(f"{measure} {100 * row.rate:.2f}%, 95% interval {interval_words(row)} of {row.ci95_of}")
        words.append(f"{row.labels:,} labels, {row.draws} draws, record {row.record}")
    if one.published is not None:
        x = scale(100 * one.published)
        parts.append(line([(x, middle - 9), (x, middle + 9)], class_="published"))
        words.append(f"published: {one.published_cell}%")
    return titled("; ".join(words), *parts)


def validation_chart(record: Record, name: str) -> str:
    """Accuracy on held-out images against the classifier's setting, the chosen one marked; "" of fewer than two."""
    values = [float(value) for value in record.validation_correct]
    counts = list(record.validation_correct.values())
    known = [
        (value, sum(right) / record.validation_n / len(right))
        for value, right in zip(values, counts, strict=True)
        if right and record.validation_n
    ]
    if len(known) < 2:
        return ""
    known.sort()
    spread = known[0][0] > 0 and known[-1][0] / known[0][0] > 20  # on a logarithmic axis
    places = [log10(value) if spread else value for value, _ in known]
    x, y = Scale(places[0], places[-1], 44, 250), Scale.over([100 * rate for _, rate in known], 92, 10)
    points = [(x(place), y(100 * rate)) for place, (_, rate) in zip(places, known, strict=True)]
    parts = [y_axis(y, 38, 256), line(points, class_="line s0")]
    for (px, py), (value, rate) in zip(points, known, strict=True):
        chosen = value == record.C
        dot = element("circle", element("title", f"{name} {value:g}: {100 * rate:.2f}%"), cx=px, cy=py,
                      r=5 if chosen else 3, class_="dot chosen" if chosen else "dot s0")  # fmt: skip
        parts.append(dot)
    shown = points if len(points) < 6 else points[:: len(points) - 1]
    for (px, _), value in zip(
        shown, [v for v, _ in known] if len(points) < 6 else [known[0][0], known[-1][0]], strict=True
    ):
        parts.append(text(f"{value:g}", x=px, y=108, class_="tick middle"))
    best = f"chosen: {record.C:g}"
    return picture((266, 112), f"accuracy on held-out images in percent against {name}; {best}", *parts, class_="small")


def lines_chart(title: str, series: Sequence[Series], x_name: str, size: tuple[float, float] = (480, 260)) -> str:
    """Lines with intervals: rates in percent against whole numbers."""
    width, height = size
    every = [point for one in series for point in one.points]
    edges = [100 * value for p in every for value in (p.y, p.low, p.high) if value is not None]
    first, last = min(p.x for p in every), max(p.x for p in every)
    x = Scale(first - 0.3, last + 0.3, 40, width - 8)
    y = Scale.over(edges, height - 34, 8)
    parts = [y_axis(y, 40, width - 8)]
    for value in range(int(first), int(last) + 1):
        parts.append(text(str(value), x=x(value), y=height - 20, class_="tick middle"))
    parts.append(text(x_name, x=width / 2, y=height - 4, class_="tick middle"))
    for one in series:
        colour = f"s{one.number % 6}"
        places = [(x(p.x), y(100 * p.y)) for p in one.points]
        if len(places) > 1:
            parts.append(line(places, class_=f"line {colour}" + " dashed" * one.dashed))
        parts += [_point(p, x, y, colour) for p in one.points]
    return picture(size, title, *parts)


def _point(point: Point, x: Scale, y: Scale, colour: str) -> str:
    px, py = x(point.x), y(100 * point.y)
    parts = [element("circle", cx=px, cy=py, r=3.5, class_=f"dot {colour}")]
    if point.low is not None and point.high is not None:
        parts.insert(0, line([(px, y(100 * point.low)), (px, y(100 * point.high))], class_=f"line {colour}"))
    return titled(point.words, *parts)


def dots_chart(title: str, rows: Sequence[tuple[str, Sequence[Point]]]) -> str:
    """A row of dots for every name: rates in percent along one axis; `Point.x` is the colour's number."""
    edges = [100 * v for _, points in rows for p in points for v in (p.y, p.low, p.high) if v is not None]
    x = Scale.over(edges, 14, WIDTH - 14)
    height = sum(_height(points) for _, points in rows) + 26
    parts = []
    for step in x.steps:
        parts.append(line([(x(step), 4), (x(step), height - 20)], class_="rule"))
        parts.append(text(f"{step:g}", x=x(step), y=height - 6, class_="tick middle"))
    y = 14.0
    for name, points in rows:
        parts.append(text(shortened(name, LETTERS), x=6, y=y, class_="name"))
        for number, p in enumerate(points):  # below each other, so that no interval hides another
            colour, px, py = f"s{int(p.x) % 6}", x(100 * p.y), y + 11 + DODGE * number
            dot = [element("circle", cx=px, cy=py, r=4.0, class_=f"dot {colour}")]
            if p.low is not None and p.high is not None:
                dot.insert(0, line([(x(100 * p.low), py), (x(100 * p.high), py)], class_=f"line {colour}"))
            parts.append(titled(p.words, *dot))
        y += _height(points)
    return picture((WIDTH, height), title, *parts)


def _height(points: Sequence[Point]) -> float:
    return 27 + DODGE * len(points)


def losses_chart(title: str, images_seen: Sequence[float], losses: Mapping[str, Sequence[float]]) -> str:
    """Curves of losses against images seen; `losses`: name -> as many numbers."""
    width, height = 480.0, 240.0
    x = Scale.over(images_seen, 44, width - 12)
    y = Scale.over([value for curve in losses.values() for value in curve], height - 34, 8)
    parts = [y_axis(y, 44, width - 12)]
    for step in x.steps:
        parts.append(text(_counted(step), x=x(step), y=height - 20, class_="tick middle"))
    parts.append(text("images seen", x=width / 2, y=height - 4, class_="tick middle"))
    for number, curve in enumerate(losses.values()):
        points = [(x(a), y(b)) for a, b in zip(images_seen, curve, strict=True)]
        parts.append(line(points, class_=f"line s{number}"))
    return picture((width, height), title, *parts)


def _counted(number: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"


def thinned(values: Sequence[float], most: int) -> list[float]:
    """At most so many values: the means of stretches of the sequence, as equal as can be."""
    if len(values) <= most:
        return list(values)
    ends = [round(number * len(values) / most) for number in range(most + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(ends)]
