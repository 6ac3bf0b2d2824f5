"""What one measurement's classifiers make of each class: accuracies by class, and the confusion matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np

from repr_eval.comparison.pair import name_of, record_named
from repr_eval.predictions import Predictions, read_predictions
from repr_eval.records import Record, facts_of, read_records
from repr_eval.reporting import render
from repr_eval.reporting.figures import letter_for_letter, save_figure
from repr_eval.reporting.render import Column
from repr_eval.system.files import write_text

LABELLED = 30  # classes at most whose names and shares the picture tells


@dataclass(frozen=True)
class ByClass:
    """One class: how many test images it has, and what the draws' classifiers, taken together, make of them."""

    name: str
    images: int
    accuracy: float  # share of its images classified correctly, mean over the draws
    mistaken_for: str  # the class that they are most often given wrongly; "" where none is wrong
    mistaken: float  # and how often, as a share of its images


def by_class(predictions: Predictions, names: Sequence[str]) -> list[ByClass]:
    """A row for every class that test images have, in the order of the classes; `names` are those of all classes."""
    classes, counts, correct = predictions.by_class()
    every, confusion = predictions.confusion()
    rows = []
    for label, n, right in zip(classes, counts, correct.mean(0), strict=True):
        wrong = confusion[np.searchsorted(every, label)].copy()
        wrong[np.searchsorted(every, label)] = 0
        most = int(wrong.argmax())
        share = wrong[most] / n / len(correct)
        rows.append(ByClass(_named(label, names), int(n), right / n, _named(every[most], names) * bool(share), share))
    return rows


def class_names(record: Record) -> list[str]:
    """The names of the classes, where the record or the suite knows them; else none, and numbers stand for them."""
    names = record.dataset.get("classes")
    if isinstance(names, list):
        return [str(name) for name in names]
    from repr_eval.images import cifar10, handwritten, svhn  # here: they take a moment, and records may do without

    known = {"cifar10": cifar10.CLASSES, "svhn": svhn.CLASSES, "digits": handwritten.CLASSES}
    return list(known.get(facts_of(record).dataset, ()))


def _named(label: int, names: Sequence[str]) -> str:
    return names[label] if 0 <= label < len(names) else str(label)


COLUMNS = (
    Column("class", lambda row: row.name),
    Column("test images", lambda row: row.images, ",", right=True),
    Column("accuracy %", lambda row: 100 * row.accuracy, ".2f", right=True),
    Column("most often mistaken for", lambda row: row.mistaken_for),
    Column("in %", lambda row: 100 * row.mistaken if row.mistaken_for else None, ".2f", right=True),
)
CSV_COLUMNS = (
    Column("class", lambda row: row.name),
    Column("test_images", lambda row: row.images),
    Column("accuracy", lambda row: row.accuracy),
    Column("mistaken_for", lambda row: row.mistaken_for),
    Column("mistaken", lambda row: row.mistaken),
)


def write_classes(folder: Path, beginning: str) -> list[Path]:
    """Write the classes of the record whose id begins so: classes-ID.md and .csv, confusion-ID.csv and .png.

    The confusion matrix is of counts over all draws, its rows the images' classes. ValueError on an id of no record or
    of several, and on a record that keeps no predictions.
    """
    record = record_named(beginning, read_records(folder), folder)
    predictions = read_predictions(folder, record)
    if predictions is None:
        raise ValueError(f"record {record.id} is older than stored predictions: measure it again to see its classes")
    names = class_names(record)
    rows = by_class(predictions, names)
    balanced = 100 * float(np.mean(predictions.balanced_accuracy))
    title = f"{name_of(record)}, {record.protocol}, {record.dataset['name']}: balanced accuracy {balanced:.2f}%"
    paths = [folder / f"classes-{record.id}.md", folder / f"classes-{record.id}.csv"]
    write_text(paths[0], render.markdown_sections([(title, render.to_markdown(COLUMNS, rows))]))
    write_text(paths[1], render.to_csv(CSV_COLUMNS, rows))
    classes, confusion = predictions.confusion()
    labels = [_named(int(label), names) for label in classes]
    paths += [folder / f"confusion-{record.id}.csv", folder / f"confusion-{record.id}.png"]
    header = [Column(name, itemgetter(number)) for number, name in enumerate(["class", *labels])]
    lines = [(label, *counts.tolist()) for label, counts in zip(labels, confusion, strict=True)]
    write_text(paths[2], render.to_csv(header, lines))
    write_confusion(paths[3], confusion, labels, title)
    return paths


def write_confusion(path: Path, confusion: np.ndarray, labels: Sequence[str], title: str) -> None:
    """The confusion matrix int [K, K] as a PNG: in each row, the shares of a class's images; names of up to 30."""
    from matplotlib.figure import Figure  # here, for the other commands start without it

    shares = 100 * confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    few = len(labels) <= LABELLED
    side = 2.5 + (0.45 * len(labels) if few else 6)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, label="share of the class's images, %", shrink=0.8)
    axes.set(xlabel="given class", ylabel="class")
    axes.set_title(letter_for_letter(title), fontsize="small", loc="left", wrap=True)
    if few:
        names = [letter_for_letter(label) for label in labels]
        axes.set_xticks(range(len(labels)), names, rotation=90)
        axes.set_yticks(range(len(labels)), names)
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.5:
                colour = "white" if share > 60 else "black"
                axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize="x-small", color=colour)
    save_figure(figure, path)
