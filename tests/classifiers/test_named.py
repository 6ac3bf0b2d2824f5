"""The classifiers by name, and every linear probe under every protocol."""

import json

import numpy as np
import pytest
import torch
from noisy_clusters import noisy_clusters

import repr_eval as rv
from repr_eval.classifiers.base import Classifier, kind_of
from repr_eval.classifiers.named import CLASSIFIERS, setting_of
from repr_eval.protocols.cifar10 import all_labels, low_labels
from repr_eval.protocols.svhn import few_labels


@pytest.mark.parametrize(
    ("name", "kind", "setting"),
    [
        ("svm", "L2-SVM", "C"),
        ("knn", "kNN", "k"),
        ("weighted-knn", "weighted kNN", "k"),
        ("logistic", "logistic regression", "C"),
        ("ridge", "ridge", "alpha"),
        ("cnn-small", "supervised CNN", "configuration"),
        ("fine-tuned", "fine-tuned", "configuration"),
        ("fine-tuned-small", "fine-tuned", "configuration"),
    ],
)
def test_names_kinds_and_settings(name: str, kind: str, setting: str) -> None:
    classifier = CLASSIFIERS[name](0, "dcgan32", torch.device("cpu"))
    assert kind_of(classifier) == kind
    assert setting_of(classifier.name) == classifier.setting == setting
    assert json.loads(json.dumps(classifier.settings)) == classifier.settings or name == "cnn-small"


def test_another_temperature_shows_in_the_name() -> None:
    other = rv.WeightedNearestNeighbours(temperature=0.1)
    assert (other.name, kind_of(other), setting_of(other.name)) == (
        "weighted kNN (temperature 0.1)",
        "weighted kNN",
        "k",
    )
    assert other.settings == {"similarity": "cosine", "temperature": 0.1}


@pytest.mark.parametrize("classifier", [rv.LogisticRegression(), rv.Ridge(), rv.WeightedNearestNeighbours()])
@pytest.mark.parametrize("classes", [2, 4])
def test_every_protocol_takes_it(classifier: Classifier, classes: int) -> None:
    train, test = noisy_clusters(400, 30, classes, 1), noisy_clusters(80, 30, classes, 2)
    grid = classifier.grid
    assert grid is not None
    drawn = low_labels(train, test, 10, 3, 0, grid, classifier)
    outcomes = [
        all_labels(train, test, 0, grid, classifier),
        drawn,
        few_labels(train, test, 40, 5, 0, grid, classifier),
    ]
    assert [outcome.protocol for outcome in outcomes] == ["all-labels/1", "per-class/1", "few-labels/1"]
    for outcome in outcomes:
        assert outcome.classifier == classifier.name
        assert outcome.classifier_settings == classifier.settings
        assert outcome.validation.C in outcome.validation.correct
        assert set(outcome.validation.correct) <= set(grid)
        assert all(count > 80 * (0.65 if classes == 2 else 0.5) for count in outcome.test_correct)
        assert (outcome.largest_gap is None) == (classifier.name != "logistic regression")
    svm = low_labels(train, test, 10, 3, 0)
    for name, lists in svm.lists.items():
        np.testing.assert_array_equal(lists, drawn.lists[name])
