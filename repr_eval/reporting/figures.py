"""Pictures of the tables: every method beside its published figure, rate against layer. matplotlib is imported late."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repr_eval.records import L2_SVM_NAME
from repr_eval.reporting.ablations import StudyRow, named_groups, panels_of_study
from repr_eval.reporting.methods import Compared, panels_of_lines
from repr_eval.reporting.render import one_line
from repr_eval.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def methods_figure(lines: list[Compared], measure: str) -> "Figure":
    """A bar for every measured line, with its 95% interval, and a tick at the published figure.

    Every protocol, data set and number of labels has a panel.
    """
    from matplotlib.figure import Figure  # here, for the other commands start without it

    panels = list(panels_of_lines(lines))
    heights = [1.2 + 0.3 * len(panel) for _, panel in panels]
    result = Figure(figsize=(10.0, sum(heights) + 0.4), layout="constrained")
    grid = result.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes, (title, panel) in zip(grid[:, 0], panels, strict=True):
        _bars(axes, panel)
        axes.set_title(letter_for_letter(title), loc="right")
        axes.set_xlabel(f"test {measure}, %")
    _legend(result, grid[0, 0])
    return result


def _bars(axes: "Axes", panel: list[Compared]) -> None:
    names = []
    for position, line in enumerate(panel):
        names.append(letter_for_letter(line.name))
        if line.row:
            colour = "C0" if line.kind == L2_SVM_NAME else "C1"
            axes.barh(position, 100 * line.row.rate, color=colour, alpha=0.75)
            low, high = (line.row.rate if end is None else end for end in (line.row.ci95_low, line.row.ci95_high))
            error = [[100 * (line.row.rate - low)], [100 * (high - line.row.rate)]]
            axes.errorbar(100 * line.row.rate, position, xerr=error, color="black", capsize=3)
        if line.published is not None:
            axes.plot([100 * line.published] * 2, [position - 0.4, position + 0.4], color="C3", linewidth=2.5)
    axes.set_yticks(range(len(panel)), names, fontsize="small")
    axes.set_ylim(len(panel) - 0.3, -0.7)  # the first line above
    axes.grid(axis="x", alpha=0.3)


def _legend(figure: "Figure", axes: "Axes") -> None:
    handles = [
        axes.plot([], [], color=colour, linewidth=6, alpha=0.75)[0] for colour in ("C0", "C1")
    ] + axes.plot([], [], color="C3", linewidth=2.5)  # fmt: skip
    words = ("measured, L2-SVM", "measured, another classifier", "published, on the paper's data")
    figure.legend(handles, words, fontsize="small", loc="outside upper right", ncols=3)


def layers_figure(study: list[StudyRow]) -> "Figure":
    """Rate against layer with 95% intervals, two lines a network; a panel for every protocol, data set and labels."""
    from matplotlib.figure import Figure  # here, for the other commands start without it

    panels = panels_of_study(study)
    figure = Figure(figsize=(8.0 * len(panels), 6.4), layout="constrained")
    for axes, (title, rows) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for position, (name, group) in enumerate(named_groups(rows)):
            _plot_lines(axes, group, f"C{position % 10}", name)
        last = max(line.last_layer or 1 for line in rows)
        axes.set(
            title=letter_for_letter(title),
            xlabel="layer x",
            ylabel=f"test {rows[0].measure}, %",
            xticks=range(1, last + 1),
        )
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.1))
    return figure


def _plot_lines(axes: "Axes", rows: list[StudyRow], colour: str, name: str) -> None:
    together = [line for line in rows if line.first_layer == 1]
    alone = [line for line in rows if line.first_layer == line.last_layer]
    for part, style, marker, words in (
        (together, "-", "o", "layers 1 to x together"),
        (alone, "--", "s", "layer x alone"),
    ):
        part = sorted(part, key=lambda line: line.last_layer or 0)
        rate, low, high = (
            [100 * getattr(line.row, column) for line in part] for column in ("rate", "ci95_low", "ci95_high")
        )
        below = [r - lo for r, lo in zip(rate, low, strict=True)]
        above = [hi - r for r, hi in zip(rate, high, strict=True)]
        axes.errorbar(
            [line.last_layer or 0 for line in part], rate, [below, above],
            linestyle=style, marker=marker, markersize=4, capsize=3, color=colour,
            label=letter_for_letter(f"{name}: {words}"),
        )  # fmt: skip


def similarity_figure(
    panels: Mapping[str, Sequence[Sequence[float | None]]], layers: tuple[Sequence[str], Sequence[str]],
    methods: tuple[str, str], title: str,
) -> "Figure":  # fmt: skip
    """Heat maps of similarities in [0, 1], a panel each, side by side; the numbers stand in the cells.

    `layers` and `methods`: names of the rows and the columns, and of the two representations that they belong to.
    """
    from matplotlib.figure import Figure  # here, for the other commands start without it

    rows, columns = layers
    size = (2.4 + len(panels) * (1.6 + 0.8 * len(columns)), 2.4 + 0.6 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (name, values) in zip(grid, panels.items(), strict=True):
        cells = [[float("nan") if value is None else value for value in row] for row in values]
        image = axes.imshow(cells, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        for y, row in enumerate(values):
            for x, value in enumerate(row):
                colour = "black" if value is not None and value > 0.6 else "white"
                axes.text(x, y, "-" if value is None else f"{value:.2f}", ha="center", va="center", color=colour)
        axes.set_xticks(range(len(columns)), columns, rotation=45, fontsize="small")
        axes.set_yticks(range(len(rows)), rows, fontsize="small")
        axes.set_title(name)
        axes.set_xlabel(letter_for_letter(methods[1]), fontsize="small")
    grid[0].set_ylabel(letter_for_letter(methods[0]), fontsize="small")
    figure.colorbar(image, ax=list(grid))
    figure.suptitle(letter_for_letter(title), fontsize="medium")
    return figure


def letter_for_letter(text: str) -> str:
    """`text` in one line as matplotlib shows it unchanged: between dollar signs it would read formulas."""
    return one_line(text).replace("$", r"\$")


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure to `path` as a PNG, whole or not at all."""
    with replacing(path) as partial, warnings.catch_warnings():
        # Names are users' own: letters that the fonts lack are drawn as boxes, names that leave the axes no room stay.
        warnings.filterwarnings("ignore", r"Glyph \d+ ", UserWarning)
        warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)
        figure.savefig(partial, dpi=110)
