"""A small writer of SVG: elements whose texts and attributes are escaped, scales, and axes with round numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Self

from repr_eval.reporting.render import html_text


def element(name: str, *children: str, **attributes: object) -> str:
    """An element; `children` are elements already written. `class_` is `class`; a `_` within a name is a `-`.

    Numbers are written to one decimal: a tenth of a pixel.
    """
    words = "".join(f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"' for key, value in attributes.items())
    return f"<{name}{words}>{''.join(children)}</{name}>" if children else f"<{name}{words}/>"


def text(words: str, **attributes: object) -> str:
    """A text element."""
    return element("text", html_text(words) or " ", **attributes)


def titled(title: str, *children: str, **attributes: object) -> str:
    """A group with a title, which is shown where the mouse rests on it and read out where it has the focus."""
    return element(
        "g",
        element("title", html_text(title) or " "),
        *children,
        tabindex=0,
        role="img",
        aria_label=title,
        **attributes,
    )


def picture(size: tuple[float, float], title: str, *children: str, class_: str = "") -> str:
    """A whole picture of `size` (width, height) in its own pixels, with its title for those who cannot see it."""
    width, height = size
    return element(
        "svg", element("title", html_text(title) or " "), *children,
        viewBox=f"0 0 {width:g} {height:g}", width=f"{width:g}", height=f"{height:g}", role="group",
        aria_label=title, class_=class_ or "chart",
    )  # fmt: skip


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return html_text(str(value))


def shortened(words: str, letters: int) -> str:
    """`words` with at most so many letters, the rest an ellipsis."""
    return words if len(words) <= letters else words[: letters - 1].rstrip() + "…"


def round_steps(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from `low` or just below to `high` or just above."""
    if not high > low:
        low, high = low - (abs(low) or 1) / 10, high + (abs(high) or 1) / 10
    rough = (high - low) / about
    power = 10 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first = floor(low / step + 1e-9)
    steps = [first * step]
    while steps[-1] < high - 1e-9 * step:
        steps.append((first + len(steps)) * step)
    return [round(value, 12) for value in steps]


@dataclass(frozen=True)
class Scale:
    """Maps values from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> Self:
        """A scale whose ends are round numbers around `values`."""
        steps = round_steps(min(values), max(values))
        return cls(steps[0], steps[-1], start, end)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def steps(self) -> list[float]:
        """The round numbers on it."""
        return [step for step in round_steps(self.low, self.high) if self.low <= step <= self.high + 1e-9]


def line(points: Sequence[tuple[float, float]], **attributes: object) -> str:
    """A line through points, in pixels."""
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return element("path", d=path, **attributes)


def y_axis(scale: Scale, left: float, right: float) -> str:
    """Lines across at round numbers, and the numbers on the left."""
    parts = []
    for step in scale.steps:
        y = scale(step)
        parts.append(line([(left, y), (right, y)], class_="rule"))
        parts.append(text(f"{step:g}", x=left - 5, y=y + 3.5, class_="tick end"))
    return "".join(parts)
