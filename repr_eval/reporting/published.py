"""The rows of the paper's tables (Radford et al. 2015, tables 1 and 2), for the tables to set beside measured ones."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PaperRow:
    """`accuracy` is a fraction; `spread` is what the paper prints after its plus-minus sign, a fraction too."""

    protocol: str
    dataset: str
    method: str
    accuracy: float
    spread: float | None = None
    max_units: int | None = None
    labels: int | None = None
    trained_on: str = ""
    of: str = ""  # of which images, where it is not those of the test set


_CIFAR10 = (
    # method, accuracy with all labels, with 400 a class, its spread, most units in a layer
    ("1-layer K-means", 0.806, 0.637, 0.007, 4800, "CIFAR-10"),
    ("3-layer K-means, learned RF", 0.820, 0.707, 0.007, 3200, "CIFAR-10"),
    ("View-invariant K-means", 0.819, 0.726, 0.007, 6400, "CIFAR-10"),
    ("Exemplar CNN", 0.843, 0.774, 0.002, 1024, "unlabelled STL-10"),
    ("DCGAN + L2-SVM", 0.828, 0.738, 0.004, 512, "ImageNet-1k"),
)
SUPERVISED_METHOD = "Supervised CNN of the same architecture (validation error)"
_SVHN = (
    ("KNN", 0.7793),
    ("TSVM", 0.6655),
    ("M1 + KNN", 0.6563),
    ("M1 + TSVM", 0.5433),
    ("M1 + M2", 0.3602),
    ("SWWAE without dropout", 0.2783),
    ("SWWAE with dropout", 0.2356),
    ("DCGAN + L2-SVM", 0.2248),
    (SUPERVISED_METHOD, 0.2887),
)

PAPER_ROWS = (
    *(
        PaperRow(
            protocol="cifar10/all-labels/1",
            dataset="CIFAR-10",
            method=method,
            accuracy=full,
            spread=None,
            max_units=units,
            labels=50_000,
            trained_on=data,
        )
        for method, full, _, _, units, data in _CIFAR10
    ),
    *(
        PaperRow(
            protocol="cifar10/per-class/1",
            dataset="CIFAR-10",
            method=method,
            accuracy=low,
            spread=spread,
            max_units=units,
            labels=4_000,
            trained_on=data,
        )
        for method, _, low, spread, units, data in _CIFAR10
    ),
    *(
        PaperRow(
            protocol="svhn/few-labels/1",
            dataset="SVHN",
            method=method,
            accuracy=1 - error,
            labels=1_000,
            of="validation" * (method == SUPERVISED_METHOD),
        )
        for method, error in _SVHN
    ),
)

# What other papers print for a method under the same protocol.
_ELSEWHERE = (
    PaperRow(
        protocol="cifar10/all-labels/1",
        dataset="CIFAR-10",
        method="1-layer K-means, 1,600 centroids [Coates, Lee & Ng 2011]",
        accuracy=0.779,
        labels=50_000,
    ),
)

# Settings of a representation and the classifier -> the published method that it measures. Not the Exemplar CNN: the
# paper's row is of one with 1,024 units, and both that are here have 128.
_COUNTERPARTS: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"representation": "kmeans", "centroids": 4800}, "L2-SVM", "1-layer K-means"),
    ({"representation": "kmeans", "centroids": 1600}, "L2-SVM", _ELSEWHERE[0].method),
    ({"representation": "receptive-fields", "pooling": []}, "L2-SVM", "1-layer K-means"),
    ({"representation": "receptive-fields"}, "L2-SVM", "3-layer K-means, learned RF"),
    ({"representation": "discriminator"}, "L2-SVM", "DCGAN + L2-SVM"),
    ({"representation": "what-where", "dropout": 0.0}, "L2-SVM", "SWWAE without dropout"),
    ({"representation": "what-where"}, "L2-SVM", "SWWAE with dropout"),
    ({"representation": "pixels"}, "kNN", "KNN"),
    ({"representation": "pixels"}, "supervised CNN", SUPERVISED_METHOD),
)


def paper_rows(table: str) -> list[PaperRow]:
    """The paper's rows of `table` ("cifar10", "svhn"), in its order."""
    return [row for row in PAPER_ROWS if row.protocol.split("/")[0] == table]


def counterpart(
    protocol: str, labels: int, settings: dict[str, Any], classifier: str, trained: bool
) -> PaperRow | None:
    """The published figure for features of these `settings` under `protocol` with so many labels; None if unknown.

    The start of a classifier's name is enough: the rest says its size.

    `trained` False: of a control with random weights, for which nothing is published.
    """
    for wanted, by, method in _COUNTERPARTS:
        if trained and classifier.startswith(by) and wanted.items() <= settings.items():
            for row in (*PAPER_ROWS, *_ELSEWHERE):
                if (row.protocol, row.labels, row.method) == (protocol, labels, method):
                    return row
    return None
