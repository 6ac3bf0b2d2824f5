"""Evaluates unsupervised image representations by the DCGAN paper's protocols.

    import repr_eval as rv

    rv.evaluate("imagenet-contrastive-w0.5", rv.CIFAR10PerClass(400, draws=10))

This is the table of contents; each name is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from repr_eval.classifiers.fine_tuned.classifier import FineTuned
    from repr_eval.classifiers.logistic import LogisticRegression
    from repr_eval.classifiers.neighbours import NearestNeighbours, WeightedNearestNeighbours
    from repr_eval.classifiers.ridge import Ridge
    from repr_eval.comparison.pair import compare
    from repr_eval.datasets import load_dataset
    from repr_eval.evaluation import Result, evaluate
    from repr_eval.evaluation import extract_features as extract
    from repr_eval.protocols.base import CIFAR10, SVHN, AllLabels, CIFAR10PerClass, Digits, FewLabels, PerClass
    from repr_eval.reporting.write import write_reports as report
    from repr_eval.representations.kmeans import KMeans
    from repr_eval.representations.named import representation_named as representation
    from repr_eval.representations.own_network.network import Network
    from repr_eval.representations.pixels import Pixels
    from repr_eval.svm.estimator import L2SVM

_CONTENTS = {
    "evaluate": "repr_eval.evaluation:evaluate",
    "extract": "repr_eval.evaluation:extract_features",
    "compare": "repr_eval.comparison.pair:compare",
    "Result": "repr_eval.evaluation:Result",
    "report": "repr_eval.reporting.write:write_reports",
    "load_dataset": "repr_eval.datasets:load_dataset",
    "CIFAR10": "repr_eval.protocols.base:CIFAR10",
    "CIFAR10PerClass": "repr_eval.protocols.base:CIFAR10PerClass",
    "SVHN": "repr_eval.protocols.base:SVHN",
    "Digits": "repr_eval.protocols.base:Digits",
    "AllLabels": "repr_eval.protocols.base:AllLabels",
    "PerClass": "repr_eval.protocols.base:PerClass",
    "FewLabels": "repr_eval.protocols.base:FewLabels",
    "representation": "repr_eval.representations.named:representation_named",
    "Network": "repr_eval.representations.own_network.network:Network",
    "KMeans": "repr_eval.representations.kmeans:KMeans",
    "Pixels": "repr_eval.representations.pixels:Pixels",
    "NearestNeighbours": "repr_eval.classifiers.neighbours:NearestNeighbours",
    "WeightedNearestNeighbours": "repr_eval.classifiers.neighbours:WeightedNearestNeighbours",
    "LogisticRegression": "repr_eval.classifiers.logistic:LogisticRegression",
    "Ridge": "repr_eval.classifiers.ridge:Ridge",
    "FineTuned": "repr_eval.classifiers.fine_tuned.classifier:FineTuned",
    "L2SVM": "repr_eval.svm.estimator:L2SVM",
}
__all__ = [
    "CIFAR10",
    "L2SVM",
    "SVHN",
    "AllLabels",
    "CIFAR10PerClass",
    "Digits",
    "FewLabels",
    "FineTuned",
    "KMeans",
    "LogisticRegression",
    "NearestNeighbours",
    "Network",
    "PerClass",
    "Pixels",
    "Result",
    "Ridge",
    "WeightedNearestNeighbours",
    "compare",
    "evaluate",
    "extract",
    "load_dataset",
    "report",
    "representation",
]


def __getattr__(name: str) -> object:
    if name not in _CONTENTS:
        raise AttributeError(f"module 'repr_eval' has no attribute {name!r}")
    module, attribute = _CONTENTS[name].split(":")
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*_CONTENTS, "__version__"]
