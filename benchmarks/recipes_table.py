"""Table, CSV and picture of the study of recipes, derived from its records (benchmarks.recipes)."""

import itertools
import json
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from repr_eval.gan.augmentation import Augmentation
from repr_eval.gan.recipes import PAPER
from repr_eval.reporting.render import Column, to_csv, to_markdown
from repr_eval.representations.averaged_views import SINGLE
from repr_eval.system.files import replacing, write_text

PAPERS, NO_VIEW = json.loads(json.dumps(asdict(PAPER))), asdict(Augmentation())  # as a record has them


def read(path: Path) -> list[dict[str, Any]]:
    """The records of the study, oldest first."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def accuracy(record: dict[str, Any]) -> float:
    """The proxy score: mean accuracy of the draws."""
    return float(np.mean(record["validation_correct"])) / int(record["validation_n"])


def differences(settings: dict[str, Any]) -> str:
    """In which choices a recipe differs from the paper's, in words."""
    words = []
    for name, papers in PAPERS.items():
        value = settings.get(name, papers)
        value = list(value) if isinstance(value, tuple) else value
        if name == "name" or value == papers:
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{part} {amount:g}" for part, amount in value.items() if amount != NO_VIEW[part])
        words.append(f"{name} {value}")
    if before := _images_before(settings):
        words.append(f"started from weights that had seen {before:,} images")
    return "; ".join(words)


def _images_before(settings: dict[str, Any]) -> int:
    """Images that the run's first weights had seen; 0 of random ones."""
    started_from = settings.get("started_from")
    return int(started_from["discriminator"]["images_seen"]) if started_from else 0


def _rate_of_cores(record: dict[str, Any]) -> float | None:
    """Images a second of one core: of a run that was trained without a pause."""
    seconds = record.get("cpu_seconds")
    return record["images_seen"] / seconds if seconds else None


def frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a record: by width, then images seen, then accuracy."""
    rows = [
        {
            "recipe": record["recipe"],
            "width": record["settings"]["width"],
            "precision": record["settings"]["precision"],
            "seed": record["settings"]["seed"],
            "images_seen": record["images_seen"],
            "images_before": _images_before(record["settings"]),
            "views": record.get("views", SINGLE),
            "accuracy": accuracy(record) if "failed" not in record else None,
            "C": record.get("C"),
            "images_a_second": record.get("images_a_second"),
            "images_a_cpu_second": _rate_of_cores(record),
            "failed": record.get("failed", ""),
            "choices": differences(record["settings"]),
            "commit": record["commit"],
        }
        for record in records
    ]
    order = ["width", "images_seen", "accuracy"]
    return pd.DataFrame(rows).sort_values(order, ascending=[True, True, False], ignore_index=True)


def _score(row: dict[str, Any]) -> float | str:
    return f"failed: {row['failed']}" if row["failed"] else 100 * row["accuracy"]


COLUMNS = (
    Column("recipe", itemgetter("recipe")),
    Column("width", itemgetter("width"), "g", right=True),
    Column("precision", itemgetter("precision")),
    Column("seed", itemgetter("seed"), right=True),
    Column("images seen", itemgetter("images_seen"), ",", right=True),
    Column("validation accuracy %, 400 labels a class", _score, ".2f", right=True),
    Column("views", itemgetter("views")),
    Column("C", itemgetter("C"), "g", right=True),
    Column("images/s", itemgetter("images_a_second"), ".0f", right=True),
    Column("images/CPU s", itemgetter("images_a_cpu_second"), ".0f", right=True),
    Column("what differs from the paper's", itemgetter("choices")),
)
COLUMNS_OVER_SEEDS = (
    Column("recipe", itemgetter("recipe")),
    Column("width", itemgetter("width"), "g", right=True),
    Column("images seen", itemgetter("images_seen"), ",", right=True),
    Column("precision", itemgetter("precision")),
    Column("seeds", itemgetter("seeds"), right=True),
    Column("validation accuracy %, mean of seeds", itemgetter("mean"), ".2f", right=True),
    Column("std of seeds", itemgetter("std"), ".2f", right=True),
)


def markdown(table: pd.DataFrame) -> str:
    """The frame as Markdown; accuracies in percent."""
    return to_markdown(COLUMNS, table.to_dict("records"))


def as_csv(table: pd.DataFrame) -> str:
    """The frame as CSV; accuracies are fractions, numbers to six digits."""
    return to_csv([Column(name, itemgetter(name)) for name in table.columns], table.to_dict("records"))


def over_seeds(table: pd.DataFrame) -> str:
    """As Markdown: mean and standard deviation (n - 1) over the seeds, of what was measured with several."""
    names = ["width", "images_seen", "recipe", "precision", "views"]
    rows = [
        dict(zip(names, group, strict=True))
        | {"seeds": runs.seed.nunique(), "mean": 100 * runs.accuracy.mean(), "std": 100 * runs.accuracy.std()}
        for group, runs in table[table.accuracy.notna()].groupby(names)
        if runs.seed.nunique() > 1
    ]
    return to_markdown(COLUMNS_OVER_SEEDS, rows)


def curves(table: pd.DataFrame, names: tuple[str, ...]) -> Figure:
    """Accuracy against images seen: a point a run, a line through the means of every recipe, width and precision.

    Features of the single view alone. What was measured at one count only has no curve and is left out; untrained
    networks are levels, dashed.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    measured = table[table.recipe.isin(names) & table.accuracy.notna() & (table.views == SINGLE)]
    colours = itertools.count()
    groups = measured.groupby(["width", "recipe", "precision", "images_before"])
    for (width, name, precision, before), runs in groups:
        means = 100 * runs.groupby("images_seen").accuracy.mean()
        if means.index.max() == 0:
            axes.axhline(means[0], color="grey", linestyle="--", linewidth=1)
            axes.annotate(f"{name}, width {width:g}", (1, means[0]), xycoords=("axes fraction", "data"), fontsize=8,
                          xytext=(-4, 3), textcoords="offset points", ha="right")  # fmt: skip
        elif len(means) > 1:
            colour = f"C{next(colours)}"
            start = f", from weights of {before:,} images" if before else ""
            axes.plot(means.index, means, color=colour, label=f"{name}, width {width:g}, {precision}{start}")
            axes.plot(runs.images_seen, 100 * runs.accuracy, "o", color=colour, markersize=4)
    axes.set(xlabel="images seen", ylabel="CIFAR-10 validation accuracy, 400 labels a class (%)", xscale="log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    return figure


def write(records: Path, folder: Path, names: tuple[str, ...]) -> None:
    """recipes.csv, recipes.md and recipes.png in `folder`."""
    table = frame(read(records))
    write_text(folder / "recipes.csv", as_csv(table))
    write_text(folder / "recipes.md", f"{markdown(table)}\n### Over seeds\n\n{over_seeds(table)}")
    with replacing(folder / "recipes.png") as partial:
        curves(table, names).savefig(partial, dpi=120)
