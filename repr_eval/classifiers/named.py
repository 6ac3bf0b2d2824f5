"""The classifiers by the names that the command line gives them."""

from collections.abc import Callable

import torch

from repr_eval.classifiers.base import Classifier, kind_of
from repr_eval.classifiers.fine_tuned.classifier import FineTuned
from repr_eval.classifiers.l2svm import L2_SVM
from repr_eval.classifiers.logistic import LOGISTIC_REGRESSION
from repr_eval.classifiers.neighbours import NEAREST_NEIGHBOURS, WEIGHTED_NEIGHBOURS
from repr_eval.classifiers.ridge import RIDGE
from repr_eval.classifiers.supervised.classifier import supervised_cnn
from repr_eval.classifiers.supervised.search import PUBLISHED


def _mirrored(arch: str) -> bool:
    """Whether a data set's images may be mirrored, as its supervised control has it: digits may not."""
    return arch not in PUBLISHED or PUBLISHED[arch].mirror


# (seed, architecture of the data set's supervised control, device) -> the classifier
CLASSIFIERS: dict[str, Callable[[int, str, torch.device], Classifier]] = {
    "svm": lambda seed, arch, device: L2_SVM,
    "knn": lambda seed, arch, device: NEAREST_NEIGHBOURS,
    "weighted-knn": lambda seed, arch, device: WEIGHTED_NEIGHBOURS,
    "logistic": lambda seed, arch, device: LOGISTIC_REGRESSION,
    "ridge": lambda seed, arch, device: RIDGE,
    "cnn": lambda seed, arch, device: supervised_cnn(seed, arch, "published", device),
    "cnn-small": lambda seed, arch, device: supervised_cnn(seed, arch, "small", device),
    "fine-tuned": lambda seed, arch, device: FineTuned("full", seed, _mirrored(arch)),
    "fine-tuned-small": lambda seed, arch, device: FineTuned("small", seed, _mirrored(arch)),
}
SUPERVISED_CNNS = ("cnn", "cnn-small")
FINE_TUNED = ("fine-tuned", "fine-tuned-small")
SETTING_OF = {
    kind_of(classifier): classifier.setting
    for classifier in (L2_SVM, NEAREST_NEIGHBOURS, WEIGHTED_NEIGHBOURS, LOGISTIC_REGRESSION, RIDGE)
}


def setting_of(classifier: str) -> str:
    """What the chosen number of the classifier of that recorded name is called."""
    return SETTING_OF.get(classifier.partition(" (")[0], "configuration")
