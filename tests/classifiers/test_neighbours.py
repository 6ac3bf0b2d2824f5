"""kNN: votes and ties by hand, agreement with scikit-learn, the protocols with another classifier."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from repr_eval.classifiers.base import Features
from repr_eval.classifiers.neighbours import (
    KS,
    NEAREST_NEIGHBOURS,
    TEMPERATURE,
    WEIGHTED_NEIGHBOURS,
    WeightedNearestNeighbours,
    count_correct_by_k,
    vote,
)
from repr_eval.protocols.cifar10 import all_labels, low_labels
from repr_eval.protocols.svhn import few_labels


def random_features(n: int, seed: int, d: int = 8) -> Features:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 4) + 3
    means = np.random.default_rng(0).normal(size=(4, d))
    return Features((means[y - 3] + rng.normal(size=(n, d))).astype(np.float16), y)


def test_votes_by_hand() -> None:
    similar = torch.tensor([[0.9, 0.8, 0.7, 0.1, -0.5]])
    labels = torch.tensor([2, 0, 0, 1, 2])
    found = vote(similar, labels, [5, 1, 2, 3], 3)
    assert {k: int(label) for k, label in found.items()} == {
        1: 2,
        2: 2,  # one vote each: 0.9 against 0.8
        3: 0,
        5: 0,  # two votes each: 1.5 against 0.4
    }


def test_more_votes_win_however_similar_the_fewer_are() -> None:
    similar = torch.cat([torch.full((1, 40), 1.0), torch.full((1, 41), 0.0)], 1)
    labels = torch.cat([torch.ones(40), torch.zeros(41)]).long()
    assert int(vote(similar, labels, [81], 2)[81]) == 0


def test_weighted_votes_by_hand() -> None:
    # In units of the first vote, the second and third are exp(-0.1 / T) and exp(-0.2 / T).
    similar, labels = torch.tensor([[0.9, 0.8, 0.7]]), torch.tensor([1, 0, 0])
    assert int(vote(similar, labels, [3], 2)[3]) == 0
    assert int(vote(similar, labels, [3], 2, TEMPERATURE)[3]) == 1  # 0.240 + 0.057 < 1
    assert int(vote(similar, labels, [3], 2, 1.0)[3]) == 0  # 0.905 + 0.819 > 1
    assert int(vote(similar, labels, [3], 2, 1e-5)[3]) == 1  # exp(0.9 / T) is no float


def test_weighted_as_scikit_learn_has_it() -> None:
    train, test = random_features(300, 1), random_features(150, 2)
    X, queries = (np.asarray(features.X, float) for features in (train, test))
    for k in (5, 20):
        reference = KNeighborsClassifier(
            k, metric="cosine", algorithm="brute", weights=lambda distances: np.exp((1 - distances) / 0.07)
        ).fit(X, train.y)
        expected = int((reference.predict(queries) == test.y).sum())
        assert WEIGHTED_NEIGHBOURS.test(train, [None], k, test).correct == [expected]
        assert NEAREST_NEIGHBOURS.test(train, [None], k, test).correct != [expected]


def test_k_of_weighted_votes_is_chosen_by_weighted_votes() -> None:
    train, held_out = random_features(300, 1), np.arange(200, 300)
    chosen = WEIGHTED_NEIGHBOURS.select(train, [(np.arange(200), held_out)], (1.0, 20.0, 50.0))
    queries = Features(train.X[held_out], train.y[held_out])
    for k in (1.0, 20.0, 50.0):
        tested = WEIGHTED_NEIGHBOURS.test(train, [np.arange(200)], k, queries)
        assert chosen.correct[k] == tested.correct


@pytest.mark.parametrize("temperature", [0, -0.07, float("inf"), float("nan"), "0.07", True])
def test_impossible_temperatures(temperature: float) -> None:
    with pytest.raises(ValueError, match=f"temperature {temperature!r}: must be a number above 0"):
        WeightedNearestNeighbours(temperature)


@pytest.mark.parametrize("k", [1, 7])
def test_as_scikit_learn_has_it(k: int) -> None:
    train, test = random_features(300, 1), random_features(150, 2)
    rows = np.random.default_rng(3).permutation(300)[:120]
    X, queries = (np.asarray(features.X, float) for features in (train, test))
    reference = KNeighborsClassifier(k, metric="cosine").fit(X[rows], train.y[rows])
    near = reference.predict_proba(queries)
    clear = np.sort(near, 1)[:, -1] > np.sort(near, 1)[:, -2]  # scikit-learn breaks ties in its own way
    some = np.flatnonzero(clear)
    expected = int((reference.predict(queries[some]) == test.y[some]).sum())
    other = np.arange(300)
    counts = count_correct_by_k(train, [rows, other], [k], test, some)[k]
    assert counts[0] == expected
    assert counts[1] == count_correct_by_k(train, [other], [k], test, some)[k][0]


def test_a_class_without_labelled_images_is_never_right() -> None:
    train = Features(np.eye(4, dtype=np.float32), np.array([0, 0, 2, 2]))
    test = Features(np.eye(4, dtype=np.float32), np.array([1, 0, 1, 3]))
    assert count_correct_by_k(train, [np.arange(4)], [1], test, None) == {1: [1]}


@pytest.mark.parametrize(
    ("labels", "grid", "k", "at_edge"),
    [
        ("rrrrr", (5, 3, 1), 1, False),  # all alike: the smallest, and there is none below 1
        ("rrrrr", (5, 3), 3, True),
        ("wrrrr", (1, 3, 5), 3, False),
        ("wwrrr", (1, 3, 5), 5, True),
    ],
)
def test_the_smallest_of_the_best_k_is_chosen(labels: str, grid: tuple[float, ...], k: int, at_edge: bool) -> None:
    # One image is held out; the labelled ones are right or wrong for it, the most similar first.
    angles = np.arange(6) / 10
    train = Features(np.stack([np.cos(angles), np.sin(angles)], 1), np.array([label == "r" for label in "r" + labels]))
    chosen = NEAREST_NEIGHBOURS.select(train, [(np.arange(1, 6), np.array([0]))], grid)
    assert (chosen.C, chosen.at_edge) == (k, at_edge)


def test_protocols_take_the_classifier_and_its_grid() -> None:
    train, test = random_features(400, 1), random_features(80, 2)
    kNN, grid = NEAREST_NEIGHBOURS, NEAREST_NEIGHBOURS.grid
    assert grid == tuple(float(k) for k in KS)
    everything = all_labels(train, test, 0, grid, kNN)
    assert (everything.protocol, everything.classifier, everything.largest_gap) == ("all-labels/1", "kNN", None)
    drawn = low_labels(train, test, 10, 3, 0, grid, kNN)
    assert sorted(drawn.validation.correct) == [1, 3, 5, 10, 20]  # 32 of a draw's 40 images are not held out
    few = few_labels(train, test, 40, 5, 0, grid, kNN)
    for outcome in (everything, drawn, few):
        assert outcome.validation.C in KS
        assert all(0.6 < count / 80 <= 1 for count in outcome.test_correct)  # chance is 0.25
    assert everything.test_correct == [
        count_correct_by_k(train, [np.arange(400)], [int(everything.validation.C)], test, None)[
            int(everything.validation.C)
        ][0]
    ]


def test_same_lists_as_for_the_svm() -> None:
    train, test = random_features(200, 1), random_features(40, 2)
    svm = low_labels(train, test, 10, 2, 0)
    knn = low_labels(train, test, 10, 2, 0, (1.0,), NEAREST_NEIGHBOURS)
    assert knn.protocol == "per-class/1/own-C"
    for name in svm.lists:
        np.testing.assert_array_equal(svm.lists[name], knn.lists[name])


@pytest.mark.parametrize(
    ("grid", "message"),
    [((2.5,), "k 2.5: must be a whole number"), ((0.0,), "k 0: must be"), ((500.0,), "only 32 labelled images")],
)
def test_impossible_numbers_of_neighbours(grid: tuple[float, ...], message: str) -> None:
    train = random_features(200, 1)
    with pytest.raises(ValueError, match=message):
        low_labels(train, train, 10, 2, 0, grid, NEAREST_NEIGHBOURS)


def test_features_that_are_not_finite_are_named() -> None:
    train, test = random_features(60, 1), random_features(20, 2)
    test.X[7, 2] = np.inf
    with pytest.raises(ValueError, match="row 7 hold NaN or infinity"):
        NEAREST_NEIGHBOURS.test(train, [None], 3, test)
