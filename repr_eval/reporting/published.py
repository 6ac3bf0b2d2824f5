"""Published figures, which tables set beside measured ones.

The rows of the paper's tables (Radford et al. 2015, tables 1 and 2); under SVHN's, two later ones, measured as the
paper's own: by an L2-SVM on features learned without labels. A figure that is not the paper's names its source.
"""

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
# Vincent Dumoulin et al., "Adversarially Learned Inference", ICLR 2017, table 1 (19.14 +- 0.50); Andrew Brock, Theodore
# Lim, J. M. Ritchie and Nick Weston, "Neural Photo Editing with Introspective Adversarial Networks", ICLR 2017.
_SVHN_SINCE = (
    ("ALI + L2-SVM [Dumoulin et al. 2017]", 0.1914, 0.005),
    ("IAN + L2-SVM [Brock et al. 2017]", 0.1850, None),
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
    *(
        PaperRow(
            table="svhn",
            protocol="svhn/few-labels/1",
            dataset="SVHN",
            method=method,
            accuracy=1 - error,
            spread=spread,
            labels=1_000,
            trained_on="SVHN",
        )
        for method, error, spread in _SVHN_SINCE
    ),
)

# What others print for a method with the same labels. The kernel networks' figures are of Mairal's method as D. Chen
# has reimplemented it (claying/CKN-Pytorch-image); the patches' is of their authors' code (louity/patches), where SGD
# trains a linear classifier on cropped and mirrored images.
_ELSEWHERE = (
    PaperRow(
        table="cifar10",
        protocol="cifar10/all-labels/1",
        dataset="CIFAR-10",
        method="1-layer K-means, 1,600 centroids [Coates, Lee & Ng 2011]",
        accuracy=0.779,
        labels=50_000,
    ),
    PaperRow(
        table="cifar10",
        protocol="cifar10/all-labels/1",
        dataset="CIFAR-10",
        method="Kernel network, 256 + 1,024 maps [Mairal 2016, reimplemented by Chen]",
        accuracy=0.820,
        labels=50_000,
    ),
    PaperRow(
        table="cifar10",
        protocol="cifar10/all-labels/1",
        dataset="CIFAR-10",
        method="Kernel network, 64 + 256 maps [Mairal 2016, reimplemented by Chen]",
        accuracy=0.775,
        labels=50_000,
    ),
    PaperRow(
        table="cifar10",
        protocol="cifar10/all-labels/1",
        dataset="CIFAR-10",
        method="2,048 whitened patches, augmented images [code of Thiry et al. 2021]",
        accuracy=0.823,
        labels=50_000,
    ),
)

# (settings of a representation, kind of classifier, published method that these measure). Not the Exemplar CNN: the
# paper's row has 1,024 units, and both that are here have 128.
_COUNTERPARTS: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"representation": "kmeans", "centroids": 4800}, "L2-SVM", "1-layer K-means"),
    ({"representation": "kmeans", "centroids": 1600}, "L2-SVM", _ELSEWHERE[0].method),
    ({"representation": "kernel-network", "maps": [256, 1024]}, "L2-SVM", _ELSEWHERE[1].method),
    ({"representation": "kernel-network", "maps": [64, 256]}, "L2-SVM", _ELSEWHERE[2].method),
    ({"representation": "patches", "patches": 2048, "cells": 6}, "L2-SVM", _ELSEWHERE[3].method),
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
