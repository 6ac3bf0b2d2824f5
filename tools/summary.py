"""The short table of README: six rows, made from the stored records and the paper's rows alone."""

from collections.abc import Callable
from operator import itemgetter

from repr_eval.gan.pretrained import manifest
from repr_eval.records import L2_SVM_NAME, Record
from repr_eval.reporting import render
from repr_eval.reporting.methods import compared
from repr_eval.reporting.published import paper_rows

PAPER_METHOD = "DCGAN + L2-SVM"
# Table, protocol and number of labels, then the measured data set: one column each.
COLUMNS = (
    ("cifar10", "cifar10/all-labels/1", 50_000, "CIFAR-10"),
    ("cifar10", "cifar10/per-class/1", 4_000, "CIFAR-10"),
    ("svhn", "svhn/few-labels/1", 1_000, "svhn-grey"),
)
HEADINGS = (
    "representation",
    "trained on",
    "CIFAR-10, all labels: accuracy %",
    "CIFAR-10, 400 labels a class: accuracy %",
    "svhn-grey, 1,000 labels: error %",
)


def _is_best_shipped(record: Record) -> bool:
    content = manifest()
    best = content["models"][content["best"]]["weights_sha256"]
    return record.representation.get("weights_sha256") == best


def _is_authors(record: Record) -> bool:
    return record.method == "DCGAN, authors' weights" and record.representation.get("arch") == "dcgan32"


def _is_untrained(record: Record) -> bool:
    return record.method == "untrained discriminator (dcgan32, width 0.5, seed 0)"


def _is_kmeans(record: Record) -> bool:
    settings = record.representation
    return settings.get("representation") == "receptive-fields" and bool(settings.get("fields"))


def _is_pixels(record: Record) -> bool:
    return record.representation.get("representation") == "pixels"


# Name, what it was trained on, and whether a record is of it.
ROWS: tuple[tuple[str, str, Callable[[Record], bool]], ...] = (
    ("DCGAN, authors' weights, layers 1-4 of 6", "ImageNet-1k", _is_authors),
    ("DCGAN, the best shipped here, half width", "120,000 images of ImageNet-1k", _is_best_shipped),
    ("the same network, untrained", "nothing", _is_untrained),
    ("three layers of K-means", "the training images", _is_kmeans),
    ("raw pixels", "nothing", _is_pixels),
)


def to_markdown(records: list[Record]) -> str:
    """The table as Markdown, rates in percent. ValueError where the records lack one of its figures."""
    columns = [render.Column(heading, itemgetter(number), right=number > 1) for number, heading in enumerate(HEADINGS)]
    published = [_published(table, protocol, labels) for table, protocol, labels, _ in COLUMNS]
    rows = [
        ("DCGAN, the paper's figures", "ImageNet-1k", *published),
        *(
            (name, trained_on, *(_measured(records, column, is_of) for column in COLUMNS))
            for name, trained_on, is_of in ROWS
        ),
    ]
    return render.to_markdown(columns, rows)


def _published(table: str, protocol: str, labels: int) -> str:
    for row in paper_rows(table):
        if (row.protocol, row.labels, row.method) == (protocol, labels, PAPER_METHOD):
            rate = row.accuracy if table == "cifar10" else 1 - row.accuracy
            return f"{100 * rate:.2f}" + (" (SVHN)" if table == "svhn" else "")
    raise ValueError(f"the paper has no row of {PAPER_METHOD} for {protocol} with {labels} labels")


def _measured(records: list[Record], column: tuple[str, str, int, str], is_of: Callable[[Record], bool]) -> str:
    table, protocol, labels, data = column
    by_id = {record.id: record for record in records}
    rates = [
        line.rate
        for line in compared(records, table)
        if line.row is not None
        and (line.protocol, line.labels, line.data) == (protocol, labels, data)
        and line.classifier == L2_SVM_NAME
        and is_of(by_id[line.row.record])
    ]
    if len(rates) != 1:
        raise ValueError(f"{len(rates)} records are {is_of.__name__.removeprefix('_')} under {protocol}; needed: one")
    return f"{100 * rates[0]:.2f}"
