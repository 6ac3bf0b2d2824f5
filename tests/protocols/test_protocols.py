"""The protocols: what is drawn, what C is chosen on, and what the test split can never touch."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from repr_eval.classifiers import selection
from repr_eval.classifiers.base import Features, Validation
from repr_eval.classifiers.selection import select_C
from repr_eval.protocols import cifar10, results, svhn
from repr_eval.protocols.draws import per_class_draw, per_class_draws, split_off
from repr_eval.protocols.results import Outcome
from repr_eval.svm import L2SVM, fit_path
from repr_eval.system.arrays import digest_of, save_lists
from repr_eval.system.random_streams import random_state_for

CS = (1e-3, 1e-2, 0.1)


def clusters(n: int, noise: float, classes: int = 4, d: int = 12, seed: int = 0) -> Features:
    """`n` points around one corner a class, the classes in turn."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return Features(np.eye(classes, d)[y] + noise * rng.normal(size=(n, d)), y)


def all_labels(train: Features, test: Features, seed: int = 0, per_class: int = 0) -> Outcome:
    return cifar10.all_labels(train, test, seed, CS)


def low_labels(train: Features, test: Features, seed: int = 0, per_class: int = 10) -> Outcome:
    return cifar10.low_labels(train, test, per_class, 3, seed, CS)


def few_labels(train: Features, test: Features, seed: int = 0, per_class: int = 10) -> Outcome:
    return svhn.few_labels(train, test, per_class * len(np.unique(train.y)), 3, seed, CS)


Run = Callable[..., Outcome]
every_protocol = pytest.mark.parametrize("run", [all_labels, low_labels, few_labels])


def settled(outcome: Outcome) -> tuple[Outcome, str]:
    """All of an outcome but its seconds, comparable with ==."""
    return replace(outcome, lists={}, selection_seconds=0, test_seconds=0), digest_of(outcome.lists)


# Draws.


def test_draws_are_balanced_without_repeats_and_sorted() -> None:
    labels = np.random.default_rng(0).integers(0, 10, 1000)
    drawn = per_class_draws(labels, 7, 5, "test", seed=3)
    assert drawn.shape == (5, 70)
    assert drawn.dtype == np.int64
    for rows in drawn:
        np.testing.assert_array_equal(np.bincount(labels[rows]), np.full(10, 7))
        assert (np.diff(rows) > 0).all()
    assert len({rows.tobytes() for rows in drawn}) == 5


def test_draws_come_from_the_pool() -> None:
    labels = np.arange(200) % 4
    pool = np.flatnonzero(np.random.default_rng(0).random(200) < 0.5)
    drawn = per_class_draws(labels, 5, 4, "test", seed=0, pool=pool)
    assert np.isin(drawn, pool).all()
    np.testing.assert_array_equal(np.bincount(labels[drawn].ravel()), np.full(4, 20))


def test_every_image_of_a_class_is_as_likely() -> None:
    labels = np.arange(40) % 4
    counts = np.bincount(per_class_draws(labels, 5, 2000, "test", seed=0).ravel(), minlength=40)
    # Each is in half of 2000 draws: standard deviation sqrt(2000) / 2 = 22.4; five of them.
    assert abs(counts - 1000).max() < 112


def test_draws_are_the_same_on_every_machine() -> None:
    drawn = per_class_draws(np.arange(40) % 4, 3, 2, "test/draw", seed=7)
    assert drawn.tolist() == [
        [0, 6, 9, 10, 15, 16, 17, 20, 22, 23, 25, 35],
        [5, 6, 7, 12, 15, 18, 19, 20, 21, 22, 36, 37],
    ]
    assert digest_of({"draws": drawn}) == "eb9a5f54db73cf0ee21e4dc181445b5e086afb9bf323b8dd645869fe1c34015a"
    assert random_state_for("p", seed=3, draw=2).randint(0, 1000, 5).tolist() == [425, 639, 808, 178, 511]


def test_digest_is_over_names_shapes_and_values() -> None:
    by_hand = hashlib.sha256(
        b"a[1]" + (5).to_bytes(8, "little") + b"b[3]" + b"".join(i.to_bytes(8, "little") for i in range(3))
    )
    lists = {"b": np.arange(3), "a": np.array([5])}
    assert digest_of(lists) == by_hand.hexdigest()
    assert digest_of({"b": np.arange(3, dtype=np.int16), "a": np.array([5])}) == by_hand.hexdigest()
    others = (lists | {"a": np.array([6])}, {"c": np.arange(3), "a": np.array([5])}, lists | {"a": np.array([[5]])})
    assert by_hand.hexdigest() not in {digest_of(other) for other in others}


def test_saved_lists_are_named_by_their_digest(tmp_path: Path) -> None:
    lists = {"draws": np.arange(6).reshape(2, 3), "held_out": np.array([7])}
    digest = save_lists(tmp_path, lists)
    assert digest == save_lists(tmp_path, lists) == digest_of(lists)
    (path,) = tmp_path.iterdir()
    assert path.name == f"{digest[:16]}.npz"
    with np.load(path) as stored:
        assert digest_of(dict(stored)) == digest


def test_damaged_lists_are_written_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lists = {"draws": np.arange(6).reshape(2, 3), "held_out": np.array([7])}
    digest = save_lists(tmp_path, lists)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 3] ^= 1
    for content in (b"", whole[:-9], bytes(damaged)):
        path.write_bytes(content)
        assert save_lists(tmp_path, lists) == digest
        with np.load(path) as stored:
            assert digest_of(dict(stored)) == digest
    assert caplog.text.count("damaged; written anew") == 3


def test_too_few_images_of_a_class_are_named() -> None:
    labels = np.array([0] * 5 + [1] * 3 + [2] * 9)
    with pytest.raises(ValueError, match="class 1 has 3 images, too few for a draw of 4 a class"):
        per_class_draw(labels, 4, random_state_for("test", 0))
    with pytest.raises(ValueError, match="0 labels a class"):
        per_class_draw(labels, 0, random_state_for("test", 0))
    with pytest.raises(ValueError, match="0 draws"):
        per_class_draws(labels, 2, 0, "test", 0)


def test_split_off_parts_a_split_in_two() -> None:
    labels = np.arange(50) % 5
    rest, held_out = split_off(labels, 3, random_state_for("test", 1))
    assert sorted([*rest, *held_out]) == list(range(50))
    np.testing.assert_array_equal(np.bincount(labels[held_out]), np.full(5, 3))


# Choosing C: on what, and which.


class Scripted:
    """Stands for fitted models whose number of correct held-out images is given for every C; notes what is fitted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *folds: dict[float, int]):
        self.folds, self.fitted = iter(folds), list[float]()
        monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # fold after fold
        monkeypatch.setattr(selection, "fit_path", self.fit_path)
        monkeypatch.setattr(selection, "count_correct", lambda models, X, y, index: [m.count for m in models])

    def fit_path(self, X: Any, y: Any, Cs: Sequence[float], **_: Any) -> Iterator[SimpleNamespace]:
        counts = next(self.folds)
        for C in Cs:
            self.fitted.append(C)
            yield SimpleNamespace(C=C, count=counts[C])


def choose(Cs: Sequence[float], folds: int = 1) -> Validation:
    rows = (np.arange(2), np.arange(9))
    return select_C(np.zeros((9, 1)), np.zeros(9), [rows] * folds, Cs, 1e-3)


def test_path_ends_after_two_worse_values_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = Scripted(monkeypatch, {1: 5, 2: 7, 3: 6, 4: 6, 5: 9})
    validation = choose([1, 2, 3, 4, 5])
    assert scripted.fitted == [1, 2, 3, 4]
    assert validation == Validation(C=2, n=9, correct={1: [5], 2: [7], 3: [6], 4: [6]}, at_edge=False)


def test_path_goes_on_while_the_best_is_reached_again(monkeypatch: pytest.MonkeyPatch) -> None:
    Scripted(monkeypatch, {1: 5, 2: 7, 3: 6, 4: 7, 5: 6, 6: 8})
    validation = choose([1, 2, 3, 4, 5, 6])
    assert (validation.C, validation.at_edge) == (6, True)


def test_several_folds_try_every_value_and_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = Scripted(monkeypatch, {1: 7, 2: 6, 3: 5, 4: 4}, {1: 1, 2: 2, 3: 2, 4: 5})
    validation = choose([1, 2, 3, 4], folds=2)
    assert scripted.fitted == [1, 2, 3, 4, 1, 2, 3, 4]
    assert validation.correct == {1: [7, 1], 2: [6, 2], 3: [5, 2], 4: [4, 5]}
    assert validation.C == 4


def test_ties_choose_the_smaller_C(monkeypatch: pytest.MonkeyPatch) -> None:
    Scripted(monkeypatch, {1: 5, 2: 7, 3: 7, 4: 7}, {1: 5, 2: 3, 3: 3, 4: 1})
    assert choose([4, 3, 2, 1]).C == 2
    Scripted(monkeypatch, {1: 5, 2: 7}, {1: 7, 2: 5})
    assert choose([1, 2], folds=2).C == 1


def test_grid_is_sorted_and_without_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = Scripted(monkeypatch, {1: 1, 2: 2, 3: 3})
    assert choose([3, 1, 2, 3, 1]).at_edge
    assert scripted.fitted == [1, 2, 3]
    with pytest.raises(ValueError, match="grid of C is empty"):
        choose([])


def test_counts_are_those_of_predict() -> None:
    for classes in (2, 4):
        data = clusters(120, 0.8, classes)
        models = list(fit_path(data.X, data.y, CS))
        index = np.arange(0, 120, 3)
        assert selection.count_correct(models, data.X, data.y) == [
            int((model.predict(data.X) == data.y).sum()) for model in models
        ]
        assert selection.count_correct(models, data.X, data.y, index) == [
            int((model.predict(data.X[index]) == data.y[index]).sum()) for model in models
        ]


# The protocols.


@every_protocol
def test_planted_classes_are_found(run: Run) -> None:
    outcome = run(clusters(400, 0.05), clusters(200, 0.05, seed=1))
    assert set(outcome.test_correct) == {outcome.n_test} == {200}
    assert outcome.largest_gap is not None
    assert outcome.largest_gap <= 1e-3


@every_protocol
def test_shuffled_labels_give_chance(run: Run) -> None:
    rng = np.random.default_rng(5)
    train = Features(rng.normal(size=(600, 10)), rng.permutation(np.arange(600) % 10))
    test = Features(rng.normal(size=(4000, 10)), rng.integers(0, 10, 4000))
    outcome = run(train, test, per_class=20)
    # The test labels depend on nothing, so each number of correct ones is binomial (4000, 0.1), whatever was fitted:
    # its standard deviation is sqrt(4000 * 0.1 * 0.9) = 19. Seven numbers within four of them: all but 1 seed in 2,000.
    assert all(abs(correct - 400) < 76 for correct in outcome.test_correct)


@every_protocol
def test_same_seed_same_outcome_and_another_seed_other_lists(run: Run) -> None:
    train, test = clusters(400, 0.6), clusters(200, 0.6, seed=1)
    first, again, other = run(train, test, 1), run(train, test, 1), run(train, test, 2)
    assert settled(first) == settled(again)
    assert digest_of(first.lists) != digest_of(other.lists)


@pytest.mark.parametrize("run", [low_labels, few_labels])
def test_the_number_of_cores_changes_nothing(run: Run) -> None:
    train, test = clusters(400, 0.6), clusters(200, 0.6, seed=1)
    before = torch.get_num_threads()
    outcomes = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            outcomes.append(settled(run(train, test)))
    finally:
        torch.set_num_threads(before)
    assert outcomes[0] == outcomes[1]


@every_protocol
def test_the_test_split_cannot_change_what_is_chosen(run: Run) -> None:
    train, test = clusters(400, 0.6), clusters(200, 0.6, seed=1)
    rng = np.random.default_rng(0)
    changed = Features(100 * rng.normal(size=(50, 12)), rng.integers(0, 4, 50))
    first, second = run(train, test), run(train, changed)
    assert first.validation == second.validation
    assert digest_of(first.lists) == digest_of(second.lists)
    assert first.test_correct != second.test_correct


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, np.ndarray]]:
    """Every fit's stage ("select": a path of C; "test": one C) and rows, noted as it happens, on one core, in order."""
    noted: list[tuple[str, np.ndarray]] = []

    def spied(X: Any, y: Any, Cs: Any, *, index: np.ndarray | None = None, tol: float) -> Iterator[L2SVM]:
        noted.append(("test" if len(Cs) == 1 else "select", np.arange(len(y)) if index is None else index))
        return fit_path(X, y, Cs, index=index, tol=tol)

    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(selection, "fit_path", spied)
    return noted


def test_all_labels_holds_out_a_fifth_and_fits_all_in_the_end(fits: list[tuple[str, np.ndarray]]) -> None:
    train = clusters(400, 0.6)
    outcome = all_labels(train, clusters(40, 0.6, seed=1))
    held_out = outcome.lists["held_out"]
    np.testing.assert_array_equal(np.bincount(train.y[held_out]), np.full(4, 20))
    (_, selecting), (_, final) = fits
    assert [stage for stage, _ in fits] == ["select", "test"]
    np.testing.assert_array_equal(selecting, np.setdiff1d(np.arange(400), held_out))
    np.testing.assert_array_equal(final, np.arange(400))
    assert (outcome.labels, outcome.validation.n, outcome.n_test) == (400, 80, 40)
    assert len(outcome.test_correct) == 1


def test_all_labels_holds_out_as_many_of_every_class_as_of_the_smallest() -> None:
    data = clusters(400, 0.6)
    kept = np.flatnonzero((data.y != 3) | (np.arange(400) < 120))  # 100, 100, 100 and 30
    train = Features(data.X[kept], data.y[kept] + 5)  # labels need not start at 0
    held_out = all_labels(train, Features(data.X, data.y + 5)).lists["held_out"]
    np.testing.assert_array_equal(np.unique(train.y[held_out], return_counts=True)[1], np.full(4, 6))


def test_low_labels_hold_out_a_fifth_of_each_draw(fits: list[tuple[str, np.ndarray]]) -> None:
    train = clusters(400, 0.6)
    outcome = low_labels(train, clusters(40, 0.6, seed=1))
    drawn, held_out = outcome.lists["draws"], outcome.lists["held_out"]
    assert drawn.shape == (3, 40)
    assert held_out.shape == (3, 8)
    assert [stage for stage, _ in fits] == ["select"] * 3 + ["test"] * 3
    for rows, held, (_, selecting), (_, final) in zip(drawn, held_out, fits[:3], fits[3:], strict=True):
        np.testing.assert_array_equal(np.bincount(train.y[held]), np.full(4, 2))
        np.testing.assert_array_equal(selecting, np.setdiff1d(rows, held))
        np.testing.assert_array_equal(final, rows)
    assert (outcome.labels, outcome.validation.n, len(outcome.test_correct)) == (40, 8, 3)


def test_low_labels_use_nothing_but_the_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = clusters(400, 0.6), clusters(200, 0.6, seed=1)
    expected = low_labels(train, test)
    drawn = expected.lists["draws"]
    # Knowing the classes is what makes a draw balanced; after that, an undrawn image may hold anything.
    monkeypatch.setattr(cifar10, "per_class_draws", lambda *_: drawn)
    undrawn = np.setdiff1d(np.arange(400), drawn)
    assert len(undrawn) > 250
    X, y = np.array(train.X), train.y.copy()
    X[undrawn], y[undrawn] = np.nan, 99
    assert settled(low_labels(Features(X, y), test)) == settled(expected)


def test_few_labels_never_fit_a_held_out_image(fits: list[tuple[str, np.ndarray]]) -> None:
    train = clusters(400, 0.6)
    outcome = few_labels(train, clusters(40, 0.6, seed=1))
    held_out, tuning, drawn = (outcome.lists[name] for name in ("held_out", "tune", "draws"))
    assert held_out.shape == (92,)  # 23% of 400
    assert tuning.shape == (10, 40)
    assert drawn.shape == (3, 40)
    assert [stage for stage, _ in fits] == ["select"] * 10 + ["test"] * 3
    for (_, rows), listed in zip(fits, [*tuning, *drawn], strict=True):
        np.testing.assert_array_equal(rows, listed)
        np.testing.assert_array_equal(np.bincount(train.y[rows]), np.full(4, 10))
        assert not np.isin(rows, held_out).any()
    assert len({rows.tobytes() for rows in [*tuning, *drawn]}) == 13  # the tested draws are fresh
    assert (outcome.labels, outcome.validation.n, len(outcome.test_correct)) == (40, 92, 3)


@pytest.mark.parametrize(
    ("n", "held_out"), [(73_257, 10_000), (40_000, 10_000), (39_999, 9_199), (13_079, 3_008), (100, 23)]
)
def test_how_many_images_validate_on_svhn(n: int, held_out: int) -> None:
    assert svhn.held_out_size(n) == held_out


def test_published_settings() -> None:
    assert (cifar10.ALL_LABELS, cifar10.LOW_LABELS, svhn.FEW_LABELS) == (
        "all-labels/1", "per-class/1", "few-labels/1",
    )  # fmt: skip
    assert svhn.CS == (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
    assert cifar10.CS == (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)


@pytest.mark.parametrize("labels", [0, 3, 42])
def test_labels_that_the_classes_cannot_share_are_refused(labels: int) -> None:
    train = clusters(400, 0.6)
    with pytest.raises(ValueError, match=f"{labels} labels cannot be shared by 4 classes; choose a multiple of 4"):
        svhn.few_labels(train, train, labels, 3, 0, CS)


def test_more_labels_than_images_are_refused() -> None:
    train = clusters(400, 0.6)
    with pytest.raises(ValueError, match="class 0 has 100 images, too few for a draw of 101 a class"):
        cifar10.low_labels(train, train, 101, 3, 0, CS)
    with pytest.raises(ValueError, match=r"class \d has \d\d images, too few for a draw of 100 a class"):
        svhn.few_labels(train, train, 400, 3, 0, CS)
    with pytest.raises(ValueError, match="1 label a class: choosing C needs at least 2"):
        cifar10.low_labels(train, train, 1, 3, 0, CS)


def test_scores_that_are_not_finite_are_refused_not_counted() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 5)).astype(np.float32), np.arange(40) % 4
    model = L2SVM(C=0.1).fit(X, y)
    X[7] = np.nan
    with pytest.raises(ValueError, match="features of row 7 hold NaN or infinity"):
        selection.count_correct([model], X, y)
    assert len(selection.count_correct([model], X, y, np.arange(7))) == 1


def test_another_grid_gets_another_name() -> None:
    assert results.named("all-labels/1", cifar10.CS, cifar10.CS) == "all-labels/1"
    assert results.named("all-labels/1", [1e-3], cifar10.CS) == "all-labels/1/own-C"
