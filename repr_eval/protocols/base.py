"""A protocol as an object: it owns its name, data set, seed, draws, grid and classifier, and runs on features.

What a record says of a measurement it asks the protocol, so that nothing can be said beside the thing itself.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np

from repr_eval.classifiers.base import Classifier, Features
from repr_eval.classifiers.l2svm import L2_SVM
from repr_eval.images.labelled import LabelledImages
from repr_eval.protocols import cifar10, svhn
from repr_eval.protocols.results import Outcome, named

_KINDS: dict[str, str] = {}  # kind of protocol -> the class whose name it is


@dataclass(frozen=True, kw_only=True)
class Protocol(ABC):
    """What is common to all: features of a training and a test split go in, counts come out.

    `dataset` is the key of the data set that it is for; data of another one is refused (`repr_eval.evaluation`). It
    follows from `data`, labelled images that are at hand, where these are given. `grid` holds the values that the
    classifier's one setting (C of the L2-SVM) is chosen from: None for the classifier's own, or else the protocol's.
    """

    dataset: str = ""
    data: LabelledImages | None = field(default=None, repr=False, compare=False)
    seed: int = 0
    grid: tuple[float, ...] | None = None
    classifier: Classifier = L2_SVM

    kind: ClassVar[str]  # its frozen name, without the data set's
    own_grid: ClassVar[tuple[float, ...]]  # of C

    def __init_subclass__(cls) -> None:
        """TypeError where a class would measure something else under the name of another, or takes its name."""
        changed = [name for name in ("run", "own_grid") if name in cls.__dict__]
        if changed and "kind" not in cls.__dict__:
            raise TypeError(f"{cls.__name__} has its own {' and '.join(changed)}: it needs its own kind, as 'mine/1'")
        if "kind" in cls.__dict__:
            where = f"{cls.__module__}.{cls.__qualname__}"
            if _KINDS.setdefault(cls.kind, where) != where:
                raise TypeError(f"{cls.__name__}: the kind {cls.kind!r} is that of {_KINDS[cls.kind]}; choose another")

    def __post_init__(self) -> None:
        self._take_dataset()
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ValueError(f"seed {self.seed!r}: must be a whole number")
        if self.seed < 0:
            raise ValueError(f"seed {self.seed} is negative")
        for name in ("per_class", "labels", "draws"):
            value = getattr(self, name, 1)
            if type(value) is not int and not isinstance(value, np.integer):
                raise ValueError(f"{name} is {value!r:.40}; needs a whole number")
        if self.grid is not None and not isinstance(self.grid, tuple | list):
            raise ValueError(f"grid is {self.grid!r:.40}; needs a tuple of numbers, such as (1e-4, 1e-3)")
        if self.grid is not None and not self.grid:
            raise ValueError("grid: holds no value to choose from")

    def _take_dataset(self) -> None:
        """The key of the data set, from the data where that is given; ValueError where the two disagree."""
        if self.data is None:
            if not self.dataset:
                raise ValueError(f"{type(self).__name__}: needs data, as repr_eval.load_dataset gives them")
            return
        if not isinstance(self.data, LabelledImages):
            raise ValueError(f"data is {type(self.data).__name__}; needs labelled images, as load_dataset gives them")
        if self.dataset and self.dataset != self.data.dataset:
            raise ValueError(f"{type(self).__name__} is for {self.dataset}; data is {self.data.name}")
        object.__setattr__(self, "dataset", self.data.dataset)

    @property
    def values(self) -> tuple[float, ...]:
        """The values that the classifier's setting is chosen from."""
        return self.grid or self.classifier.grid or self.own_grid

    @property
    def _kind(self) -> str:
        """What the name says after the data set's."""
        return self.kind

    @property
    def fixed_name(self) -> str:
        """The protocol's name, whatever the grid."""
        return f"{self.dataset}/{self._kind}"

    @property
    def name(self) -> str:
        """As records have it, e.g. "cifar10/all-labels/1"; another grid than the protocol's shows in it."""
        return f"{self.dataset}/{named(self._kind, self.values, self.classifier.grid or self.own_grid)}"

    @property
    def n_draws(self) -> int:
        """Classifiers that are tested."""
        return int(getattr(self, "draws", 1))

    def labels_of(self, n_train: int, n_classes: int) -> int:
        """How many labelled images a classifier is trained on, of `n_train` of `n_classes` classes."""
        return n_train

    def with_classifier(self, classifier: Classifier) -> Self:
        """The same protocol with another classifier."""
        return replace(self, classifier=classifier)

    @abstractmethod
    def run(self, train: Features, test: Features) -> Outcome:
        """Choose the classifier's setting on training images alone, then test once; counts."""


@dataclass(frozen=True, kw_only=True)
class AllLabels(Protocol):
    """Every training label, C chosen on a fifth of each class (`repr_eval.protocols.cifar10.all_labels_by_class`).

    CIFAR-10 has its own name for this, under which the paper's figure stands: with it this is `CIFAR10`.
    """

    kind: ClassVar[str] = cifar10.ALL_LABELS_BY_CLASS
    own_grid: ClassVar[tuple[float, ...]] = cifar10.CS
    data: LabelledImages | None = field(default=None, repr=False, compare=False, kw_only=False)

    @property
    def _kind(self) -> str:
        return cifar10.ALL_LABELS if self.dataset == "cifar10" else self.kind

    def run(self, train: Features, test: Features) -> Outcome:
        if self._kind == cifar10.ALL_LABELS:
            return cifar10.all_labels(train, test, self.seed, self.values, self.classifier)
        return cifar10.all_labels_by_class(train, test, self.seed, self.values, self.classifier)


@dataclass(frozen=True, kw_only=True)
class EqualClasses(Protocol):
    """Every training label, C chosen on as many images of each class (`repr_eval.protocols.cifar10.all_labels`)."""

    kind: ClassVar[str] = cifar10.ALL_LABELS
    own_grid: ClassVar[tuple[float, ...]] = cifar10.CS

    def run(self, train: Features, test: Features) -> Outcome:
        return cifar10.all_labels(train, test, self.seed, self.values, self.classifier)


@dataclass(frozen=True, kw_only=True)
class PerClass(Protocol):
    """A few labels a class, several draws (`repr_eval.protocols.cifar10.low_labels`)."""

    kind: ClassVar[str] = cifar10.LOW_LABELS
    own_grid: ClassVar[tuple[float, ...]] = cifar10.CS
    per_class: int = field(kw_only=False)
    draws: int = field(default=10, kw_only=False)

    def labels_of(self, n_train: int, n_classes: int) -> int:
        return self.per_class * n_classes

    def run(self, train: Features, test: Features) -> Outcome:
        return cifar10.low_labels(train, test, self.per_class, self.draws, self.seed, self.values, self.classifier)


@dataclass(frozen=True, kw_only=True)
class FewLabels(Protocol):
    """A few labels in all, C chosen on images held out for all draws (`repr_eval.protocols.svhn.few_labels`)."""

    kind: ClassVar[str] = svhn.FEW_LABELS
    own_grid: ClassVar[tuple[float, ...]] = svhn.CS
    labels: int = field(default=1000, kw_only=False)
    draws: int = field(default=100, kw_only=False)

    def labels_of(self, n_train: int, n_classes: int) -> int:
        return self.labels

    def run(self, train: Features, test: Features) -> Outcome:
        return svhn.few_labels(train, test, self.labels, self.draws, self.seed, self.values, self.classifier)


@dataclass(frozen=True, kw_only=True)
class CIFAR10(EqualClasses):
    """CIFAR-10 with all 50,000 labels [paper, table 1]."""

    dataset: str = field(default="cifar10", init=False)


@dataclass(frozen=True, kw_only=True)
class CIFAR10PerClass(PerClass):
    """CIFAR-10 with a few labels a class [paper, table 1: 400]."""

    dataset: str = field(default="cifar10", init=False)
    per_class: int = field(default=400, kw_only=False)


@dataclass(frozen=True, kw_only=True)
class SVHN(FewLabels):
    """SVHN's cropped digits with 1,000 labels [paper, table 2]."""

    dataset: str = field(default="svhn", init=False)


@dataclass(frozen=True, kw_only=True)
class Digits(PerClass):
    """scikit-learn's handwritten digits with a few labels a class: a protocol that needs no download."""

    dataset: str = field(default="digits", init=False)
    per_class: int = field(default=10, kw_only=False)
