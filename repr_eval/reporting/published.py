"""The rows of the paper's tables (Radford et al. 2015, tables 1 and 2), which tables set beside measured ones."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PaperRow:
    """A figure as printed. `accuracy` and `spread` (what stands after the plus-minus sign) are fractions in [0, 1]."""

    table: str  # key of the data set whose table it is in
    protocol: str
    dataset: str  # the data set's name
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
            table="cifar10",
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
            table="cifar10",
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
            table="svhn",
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
        table="cifar10",
        protocol="cifar10/all-labels/1",
        dataset="CIFAR-10",
        method="1-layer K-means, 1,600 centroids [Coates, Lee & Ng 2011]",
        accuracy=0.779,
        labels=50_000,
    ),
)

# (settings of a representation, kind of classifier, published method that these measure). Not the Exemplar CNN: the
# paper's row has 1,024 units, and both that are here have 128.
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
    return [row for row in PAPER_ROWS if row.table == table]


def counterpart(
    protocol: str, labels: int, settings: dict[str, Any], classifier: str, trained: bool
) -> PaperRow | None:
    """The published figure for features with these `settings` under `protocol` with `labels` labels; None if unknown.

    `classifier` is its kind. Nothing is published for a control with random weights (`trained` False), nor for
    features averaged over views.
    """
    if "views" in settings:
        return None
    for wanted, kind, method in _COUNTERPARTS:
        if trained and classifier == kind and wanted.items() <= settings.items():
            for row in (*PAPER_ROWS, *_ELSEWHERE):
                if (row.protocol, row.labels, row.method) == (protocol, labels, method):
                    return row
    return None
