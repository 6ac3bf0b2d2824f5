"""The CIFAR-10 protocols [paper, table 1], frozen: a name's settings never change, a new choice gets a new name.

The paper does not say how C was chosen. Here: on images held out of the *training* set; the test set is touched once.

`all-labels/2` is `all-labels/1` for sets whose classes differ in size. On CIFAR-10, whose classes do not, the two hold
out the same images.
"""

import time
from collections.abc import Sequence

import numpy as np

from repr_eval.classifiers.base import Classifier, Features, Fold
from repr_eval.classifiers.l2svm import L2_SVM
from repr_eval.protocols.draws import per_class_draws, split_off, split_off_share
from repr_eval.protocols.results import Outcome, named
from repr_eval.system.random_streams import random_state_for

ALL_LABELS = "all-labels/1"
ALL_LABELS_BY_CLASS = "all-labels/2"
LOW_LABELS = "per-class/1"
CS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
HELD_OUT = 5  # one image in five of every class is held out to choose C


def all_labels(
    train: Features, test: Features, seed: int,
    Cs: Sequence[float] = CS, classifier: Classifier = L2_SVM,
) -> Outcome:  # fmt: skip
    """Every training label: a fifth of each class held out, C chosen there, one refit on all, one look at the test set.

    The fifth is of the smallest class, and as many of every other. With another `classifier` C is that one's setting.
    """
    held = np.unique(train.y, return_counts=True)[1].min() // HELD_OUT
    fold = split_off(train.y, max(1, int(held)), random_state_for(f"{ALL_LABELS}/held-out", seed))
    return _with_all_labels(ALL_LABELS, fold, train, test, Cs, classifier)


def all_labels_by_class(
    train: Features, test: Features, seed: int,
    Cs: Sequence[float] = CS, classifier: Classifier = L2_SVM,
) -> Outcome:  # fmt: skip
    """Every training label, with a fifth of each class held out to choose C, whatever the class's size.

    One image at least of a class of two and more; a class of one image is trained on and not held out. The random
    numbers are those of `all-labels/1`.
    """
    fold = split_off_share(train.y, HELD_OUT, random_state_for(f"{ALL_LABELS}/held-out", seed))
    return _with_all_labels(ALL_LABELS_BY_CLASS, fold, train, test, Cs, classifier)


def _with_all_labels(
    name: str, fold: Fold, train: Features, test: Features,
    Cs: Sequence[float], classifier: Classifier,
) -> Outcome:  # fmt: skip
    """C chosen on `fold`, one refit on every training label, one look at the test set."""
    started = time.perf_counter()
    rest, held_out = fold
    validation = classifier.select(train, [(rest, held_out)], Cs)
    selected_at = time.perf_counter()
    tested = classifier.test(train, [None], validation.C, test)
    return Outcome(
        protocol=named(name, Cs, classifier.grid or CS),
        classifier=classifier.name,
        labels=len(train.y),
        validation=validation,
        test_correct=tested.correct,
        n_test=len(test.y),
        largest_gap=tested.largest_gap,
        lists={"held_out": held_out},
        selection_seconds=selected_at - started,
        test_seconds=time.perf_counter() - selected_at,
        classifier_settings=classifier.settings,
        predicted=tested.predicted,
        top5_correct=tested.top5_correct,
    )


def low_labels(
    train: Features, test: Features, per_class: int, draws: int, seed: int,
    Cs: Sequence[float] = CS, classifier: Classifier = L2_SVM,
) -> Outcome:  # fmt: skip
    """`per_class` labels a class, `draws` times: the other training labels are never used, not for choosing C either.

    Of each draw a fifth is held out (at least one image a class); the C with the best mean accuracy over the draws'
    own held-out images is used for all; then each draw is fitted whole and tested once.
    """
    started = time.perf_counter()
    if per_class < 2:
        raise ValueError(f"{per_class} label a class: choosing C needs at least 2")
    drawn = per_class_draws(train.y, per_class, draws, f"{LOW_LABELS}/draw", seed)
    folds = []
    for number, rows in enumerate(drawn):
        rng = random_state_for(f"{LOW_LABELS}/held-out", seed, number)
        rest, held_out = split_off(train.y[rows], max(1, per_class // HELD_OUT), rng)
        folds.append((rows[rest], rows[held_out]))
    validation = classifier.select(train, folds, Cs)
    selected_at = time.perf_counter()
    tested = classifier.test(train, list(drawn), validation.C, test)
    return Outcome(
        protocol=named(LOW_LABELS, Cs, classifier.grid or CS),
        classifier=classifier.name,
        labels=len(drawn[0]),
        validation=validation,
        test_correct=tested.correct,
        n_test=len(test.y),
        largest_gap=tested.largest_gap,
        lists={"draws": drawn, "held_out": np.stack([held_out for _, held_out in folds])},
        selection_seconds=selected_at - started,
        test_seconds=time.perf_counter() - selected_at,
        classifier_settings=classifier.settings,
        predicted=tested.predicted,
        top5_correct=tested.top5_correct,
    )
