"""The SVHN protocol with few labels [paper, section 5.2; released code, svhn_semisup_analysis.py], frozen."""

import time
from collections.abc import Sequence

import numpy as np

from repr_eval.classifiers.base import Classifier, Features
from repr_eval.classifiers.l2svm import L2_SVM
from repr_eval.protocols.draws import per_class_draws
from repr_eval.protocols.results import Outcome, named
from repr_eval.system.random_streams import random_state_for

FEW_LABELS = "few-labels/1"
CS = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
VALIDATION_IMAGES = 10_000  # held out of the training set
SMALL_SHARE = 0.23  # of a training set too small for that: 3,008 of svhn-grey's 13,079
VALIDATION_DRAWS = 10


def held_out_size(n: int) -> int:
    """How many of `n` training images validate: 10,000 of SVHN's 73,257; 23% of sets below 40,000."""
    return VALIDATION_IMAGES if n >= 4 * VALIDATION_IMAGES else int(SMALL_SHARE * n)


def few_labels(
    train: Features, test: Features, labels: int, draws: int, seed: int,
    Cs: Sequence[float] = CS, classifier: Classifier = L2_SVM,
) -> Outcome:  # fmt: skip
    """`labels` labels, as many of each class: C by the mean error on held-out images over 10 draws, then fresh draws.

    10,000 training images (fewer of a small set) are held out, a fixed random choice. For every C the classifiers of
    10 draws from the rest are judged on them; with the best C, `draws` fresh draws are fitted and tested.
    """
    started = time.perf_counter()
    classes = len(np.unique(train.y))
    if labels < classes or labels % classes:
        raise ValueError(f"{labels} labels cannot be shared by {classes} classes; choose a multiple of {classes}")
    order = random_state_for(f"{FEW_LABELS}/held-out", seed).permutation(len(train.y))
    size = held_out_size(len(train.y))
    if size < 1:
        raise ValueError(f"{len(train.y)} training images are too few to hold any out for choosing C")
    held_out, pool = np.sort(order[:size]), np.sort(order[size:])
    per_class = labels // classes
    tuning = per_class_draws(train.y, per_class, VALIDATION_DRAWS, f"{FEW_LABELS}/tune", seed, pool)
    drawn = per_class_draws(train.y, per_class, draws, f"{FEW_LABELS}/test", seed, pool)
    validation = classifier.select(train, [(rows, held_out) for rows in tuning], Cs)
    selected_at = time.perf_counter()
    tested = classifier.test(train, list(drawn), validation.C, test)
    return Outcome(
        protocol=named(FEW_LABELS, Cs, classifier.grid or CS),
        classifier=classifier.name,
        labels=labels,
        validation=validation,
        test_correct=tested.correct,
        n_test=len(test.y),
        largest_gap=tested.largest_gap,
        lists={"held_out": held_out, "tune": tuning, "draws": drawn},
        selection_seconds=selected_at - started,
        test_seconds=time.perf_counter() - selected_at,
        classifier_settings=classifier.settings,
        predicted=tested.predicted,
        top5_correct=tested.top5_correct,
    )
