"""The supervised CNN: planted classes, chance, what may not influence a training, every hyperparameter in use."""

from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planted_images import planted, planted_images
from torch.nn import functional as F

import repr_eval as rv
from repr_eval.classifiers.base import Features
from repr_eval.classifiers.configurations import images_of
from repr_eval.classifiers.supervised import classifier as classifier_module
from repr_eval.classifiers.supervised.classifier import SupervisedCNN, supervised_cnn
from repr_eval.classifiers.supervised.network import (
    SupervisedNetwork,
    predicted,
    schedule,
    settle,
    to_input,
    trained,
    views_of,
    whole_batches,
)
from repr_eval.classifiers.supervised.search import (
    BATCH_SIZES,
    DROPOUTS,
    LR,
    PUBLISHED,
    SMALL,
    SMOOTHINGS,
    WEIGHT_DECAY,
    Configuration,
    Search,
    configuration,
)
from repr_eval.evaluation import recorded
from repr_eval.gan.architectures import ARCHITECTURES
from repr_eval.gan.augmentation import Augmentation
from repr_eval.gan.weights import weights_hash
from repr_eval.images.labelled import LabelledImages, Split
from repr_eval.protocols.base import CIFAR10, SVHN, CIFAR10PerClass
from repr_eval.protocols.cifar10 import all_labels, low_labels
from repr_eval.protocols.svhn import few_labels
from repr_eval.records import Record, read_records
from repr_eval.representations.pixels import Pixels
from repr_eval.system.random_streams import dropped

TINY = Search("tiny", "dcgan32-svhn", 0.1, False, 3, 2, epochs=8)
ADAM = Configuration("adam", 3e-3, 0.1, 16, dropout=0.25, smoothing=0.1, crop=True, mirror=True)


def tiny(seed: int = 0) -> SupervisedCNN:
    return SupervisedCNN(TINY, seed)


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The weights of every network that a classifier trains from now on."""
    found: list[str] = []

    def watched(*arguments: Any) -> SupervisedNetwork:
        network = trained(*arguments)
        found.append(weights_hash(network))
        return network

    monkeypatch.setattr(classifier_module, "trained", watched)
    return found


def some_network(c: Configuration = ADAM, n_seen: int = 80, seed: int = 0) -> SupervisedNetwork:
    images, y = planted_images(40, 1)
    return trained(
        torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(y - 3), 3, ARCHITECTURES["dcgan32"], 0.04, c,
        n_seen, seed,
    )  # fmt: skip


def test_images_come_as_they_are() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(images_of(images).permute(0, 2, 3, 1).numpy(), images)


def test_working_configurations_are_found_and_tested_by_the_protocols() -> None:
    train, test, cnn = planted(120, 1), planted(90, 2), tiny()
    grid = cnn.grid
    assert grid == (0.0, 1.0, 2.0)
    everything = all_labels(train, test, 0, grid, cnn)
    drawn = low_labels(train, test, 30, 3, 0, grid, cnn)
    few = few_labels(train, test, 75, 2, 0, grid, cnn)
    assert everything.protocol == "all-labels/1"
    for outcome, folds, draws in ((everything, 1, 1), (drawn, 2, 3), (few, 2, 2)):
        assert outcome.classifier == "supervised CNN (dcgan32-svhn, 3 configurations, tiny)"
        assert outcome.largest_gap is None
        correct = outcome.validation.correct
        assert [len(correct[number]) for number in grid] == [folds] * 3
        assert max(grid, key=lambda number: sum(correct[number])) == outcome.validation.C
        assert not outcome.validation.at_edge
        assert len(outcome.test_correct) == draws
        assert all(0.7 < count / 90 <= 1 for count in outcome.test_correct)  # chance is 0.33


def test_shuffled_labels_give_chance() -> None:
    train, test = planted(180, 1), planted(300, 2)
    rng = np.random.default_rng(0)
    train, test = (Features(split.X, rng.permutation(split.y)) for split in (train, test))
    outcome = all_labels(train, test, 0, (0.0,), tiny())
    assert abs(outcome.test_correct[0] / 300 - 1 / 3) < 0.1
    assert sum(outcome.validation.correct[0.0]) / outcome.validation.n < 0.55


def test_same_seed_same_networks(hashes: list[str]) -> None:
    train, test = planted(60, 1), planted(30, 2)
    folds = [(np.arange(40), np.arange(40, 60))]
    runs = [tiny(seed).select(train, folds, (0, 1)).correct for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert hashes[:2] == hashes[2:4]
    assert len(set(hashes)) == 4
    del hashes[:]
    draws = [np.arange(30), np.arange(20, 60)]
    counts = tiny().test(train, draws, 1, test).correct
    assert counts[:1] == tiny().test(train, draws[:1], 1, test).correct
    assert hashes[0] == hashes[2]


def test_only_training_rows_have_an_influence(hashes: list[str]) -> None:
    train, test = planted(60, 1), planted(30, 2)
    rows, held_out = np.arange(0, 60, 2), np.arange(1, 60, 2)
    others, otherwise = Features(np.array(train.X), train.y.copy()), planted(45, 3)
    others.X[held_out], others.y[held_out] = 0, 9
    for features, tested in ((train, test), (others, otherwise)):
        tiny().select(features, [(rows, held_out)], (0,))
        tiny().test(features, [rows], 0, tested)
    assert hashes[:2] == hashes[2:]
    others.X[rows[0]] = 0
    tiny().test(others, [rows], 0, test)
    assert hashes[4] != hashes[1]


def test_test_images_are_judged_each_by_itself() -> None:
    train, test = planted(60, 1), planted(200, 2, brighter=20)
    parts = [Features(test.X[rows], test.y[rows]) for rows in (slice(70), slice(70, None))]
    whole, *halves = (tiny().test(train, [None], 0, split).correct[0] for split in (test, *parts))
    assert sum(halves) == whole
    assert 70 < whole < 190  # neither chance nor all, where nothing could be seen


def test_first_folds_only_and_the_smaller_number_on_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SupervisedCNN, "_labels", lambda self, X, y, number, use, fold, asked: np.full(len(asked), 4))
    train = planted(30, 1)
    folds = [(np.arange(20), np.arange(20, 30))] * 4
    judged = tiny().select(train, folds, (2, 1, 2))
    count = int((train.y[20:] == 4).sum())
    assert (judged.C, judged.n, judged.correct) == (1.0, 10, {1.0: [count] * 2, 2.0: [count] * 2})
    every_fold = SupervisedCNN(replace(TINY, folds=None), 0)
    assert len(every_fold.select(train, folds, (0,)).correct[0.0]) == 4


def test_training_that_breaks_down_counts_as_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(ADAM, optimiser="sgd", lr=1e30)
    monkeypatch.setattr(classifier_module, "configuration", lambda seed, number, mirror: broken if number < 2 else ADAM)
    train = planted(150, 1)
    judged = tiny().select(train, [(np.arange(120), np.arange(120, 150))], (0, 1, 2))
    assert judged.correct[0.0] == [int((train.y[120:] == 3).sum())]
    assert judged.C == 2.0


@pytest.mark.parametrize(
    "other",
    [
        {"optimiser": "sgd"}, {"lr": 1e-3}, {"weight_decay": 0.0}, {"batch_size": 20}, {"dropout": 0.0},
        {"smoothing": 0.0}, {"crop": False}, {"mirror": False},
    ],
)  # fmt: skip
def test_every_hyperparameter_has_an_influence(other: dict[str, Any]) -> None:
    assert weights_hash(some_network(replace(ADAM, **other))) != weights_hash(some_network())


def test_seed_decides_a_training() -> None:
    one, again, other = (weights_hash(some_network(seed=seed)) for seed in (0, 0, 1))
    assert one == again != other


def test_views_are_crops_of_the_padded_image_and_mirror_images() -> None:
    assert views_of(ADAM, 32) == Augmentation(flip=True, translate=4 / 32)
    assert views_of(replace(ADAM, crop=False, mirror=False), 32) == Augmentation()


def test_a_discriminators_convolutions_with_a_score_for_each_class() -> None:
    network = some_network()
    shapes = [list(weight.shape) for name, weight in network.named_parameters() if name.startswith("convs")]
    assert shapes == [[after, before, 3, 3] for before, after in pairwise((3, 5, 5, 10, 10, 20, 20))]
    assert len(network.norms) == 5
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    assert network.dense is None
    images = torch.from_numpy(planted_images(150, 4)[0]).permute(0, 3, 1, 2)
    torch.testing.assert_close(predicted(network, images)[140:], predicted(network, images[140:]))


def test_statistics_are_those_of_the_images_in_nearly_equal_batches() -> None:
    network, images = some_network(), torch.from_numpy(planted_images(200, 4)[0]).permute(0, 3, 1, 2)
    settle(network, images, torch.Generator().manual_seed(3))
    rows = torch.randperm(200, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        first = [F.leaky_relu(network.convs[0](to_input(images[part])), 0.2) for part in (rows[:100], rows[100:])]
        h = [network.convs[1](x) for x in first]
    mean, variance = (sum(f(x) for x in h) / 2 for f in (lambda x: x.mean((0, 2, 3)), lambda x: x.var((0, 2, 3))))
    torch.testing.assert_close(network.norms[0].running_mean, mean)
    torch.testing.assert_close(network.norms[0].running_var, variance)
    assert not network.norms[0].training


def test_bfloat16_changes_a_little() -> None:
    rows = torch.arange(40) % 3
    images = torch.from_numpy(planted_images(40, 1)[0]).permute(0, 3, 1, 2)
    one, other = (
        trained(images, rows, 3, ARCHITECTURES["dcgan32-svhn"], 0.1, replace(ADAM, lr=1e-4), 16, 0, precision)
        for precision in ("fp32", "bf16")
    )
    apart = (one.classes.weight - other.classes.weight).abs().max()
    assert 0 < apart <= 2.001e-4  # Adam's first step, either way


def test_batches_hold_every_row_once_an_order() -> None:
    found = list(whole_batches(10, 3, 7, torch.Generator().manual_seed(0)))
    assert [len(rows) for rows in found] == [3] * 7
    orders = [torch.cat(found[start : start + 3]).tolist() for start in (0, 3)]
    assert [len(set(order)) for order in orders] == [9, 9]
    assert orders[0] != orders[1]


def test_schedule_and_dropout_by_hand() -> None:
    rates = [schedule(step, 100) for step in range(100)]
    assert rates[0] == 0.2
    assert rates[50] == pytest.approx(0.5)
    assert max(rates) == rates[4]
    assert 0 < rates[99] < 0.001
    assert schedule(0, 1) == 1
    h = dropped(torch.ones(100, 100), 0.25, torch.Generator().manual_seed(0))
    assert h.unique().tolist() == pytest.approx([0, 4 / 3])
    assert h.mean() == pytest.approx(1, abs=0.02)


def test_configurations_follow_from_seed_and_number_and_keep_to_their_ranges() -> None:
    drawn = [configuration(5, number) for number in range(200)]
    assert drawn == [configuration(5, number) for number in range(200)]
    assert len(set(drawn) | {configuration(6, number) for number in range(200)}) == 400
    for name, values in {
        "optimiser": {"adam", "sgd"}, "batch_size": set(BATCH_SIZES), "dropout": set(DROPOUTS),
        "smoothing": set(SMOOTHINGS), "crop": {False, True}, "mirror": {False, True},
    }.items():  # fmt: skip
        assert {getattr(c, name) for c in drawn} == values
    for c in drawn:
        assert LR[c.optimiser][0] <= c.lr <= LR[c.optimiser][1]
        assert c.weight_decay == 0 or WEIGHT_DECAY[c.optimiser][0] <= c.weight_decay <= WEIGHT_DECAY[c.optimiser][1]
    assert 30 < sum(c.weight_decay == 0 for c in drawn) < 70  # a quarter
    middle = np.median([c.lr for c in drawn if c.optimiser == "adam"])
    assert 0.9e-3 < middle < 1.6e-3  # half of them below the geometric mean, 1.2e-3
    without = [configuration(5, number, mirror=False) for number in range(200)]
    assert without == [replace(c, mirror=False) for c in drawn]


def test_digits_are_not_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def watched(*arguments: Any) -> SupervisedNetwork:
        seen.append(arguments[5].mirror)
        return trained(*arguments)

    monkeypatch.setattr(classifier_module, "trained", watched)
    train = planted(12, 1)
    for mirror in (False, True):
        classifier = SupervisedCNN(replace(TINY, mirror=mirror, epochs=1), 0)
        classifier.select(train, [(np.arange(9), np.arange(9, 12))], range(8))
    assert not any(seen[:8])
    assert seen[8:] == [configuration(0, number).mirror for number in range(8)]
    for size in (PUBLISHED, SMALL):
        assert {arch: search.mirror for arch, search in size.items()} == {"dcgan32": True, "dcgan32-svhn": False}


def test_trainings_end_with_their_epochs_or_with_so_many_images() -> None:
    search = Search("any", "dcgan32", 1, True, 1, None, epochs=10, search_images=500, test_images=None)
    assert [search.n_seen(n, "search") for n in (20, 50, 100)] == [200, 500, 500]
    assert [search.n_seen(n, "test") for n in (20, 100)] == [200, 1000]


def test_names_and_settings_tell_everything() -> None:
    published, small = supervised_cnn(3), supervised_cnn(3, "dcgan32-svhn", "small", precision="bf16")
    assert published.name == "supervised CNN (dcgan32, 64 configurations)"
    assert small.name == "supervised CNN (dcgan32-svhn, 8 configurations, small, bf16)"
    assert len(published.grid or ()) == 64
    assert small.settings["seed"] == 3
    assert small.settings["width"] == 0.5
    assert small.settings["tried"][2] == asdict(configuration(3, 2, mirror=False))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda X: X[:, :16], r"uint8 \[30, 16, 32, 3\]: a CNN takes images, uint8 \[N, 32, 32, 3\]"),
        (lambda X: X.reshape(30, -1), r"uint8 \[30, 3072\]: a CNN takes images"),
        (lambda X: X / 127.5 - 1, r"float64 \[30, 32, 32, 3\]: a CNN takes images"),
    ],
)
def test_other_things_than_images_are_refused(spoil: Callable[[np.ndarray], np.ndarray], message: str) -> None:
    train = planted(30, 1)
    spoilt = Features(spoil(np.asarray(train.X)), train.y)
    folds = [(np.arange(20), np.arange(20, 30))]
    for call in (
        lambda: tiny().select(spoilt, folds, (0,)),
        lambda: tiny().test(train, [None], 0, spoilt),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_impossible_choices_are_refused() -> None:
    train = planted(30, 1)
    folds = [(np.arange(20), np.arange(20, 30))]
    for grid, message in (((0.5,), "configuration 0.5"), ((-1,), "configuration -1"), ((), "no configurations")):
        with pytest.raises(ValueError, match=message):
            tiny().select(train, folds, grid)
    with pytest.raises(ValueError, match="all of class 4; a CNN needs two"):
        tiny().test(Features(train.X, np.full(30, 4)), [None], 0, train)
    with pytest.raises(ValueError, match="'huge'; choose from published, small"):
        supervised_cnn(0, size="huge")
    with pytest.raises(ValueError, match="'dcgan64'; choose from dcgan32, dcgan32-svhn"):
        supervised_cnn(0, "dcgan64")
    with pytest.raises(ValueError, match="'fp8'; choose fp32 or bf16"):
        supervised_cnn(0, precision="fp8")


def test_records_of_the_control_are_known_again() -> None:
    """Committed records, whose images were stored as features, are of the same measurements as those of today."""
    folder = Path(__file__).parents[2] / "benchmarks" / "results"
    found = [record for record in read_records(folder) if record.classifier.startswith("supervised")]
    assert len(found) > 1
    for record in found:
        train, test = (_blank(record, split) for split in ("train", "test"))
        data = LabelledImages(record.dataset["name"], train, test, classes=(), verified=True)
        dataset = record.protocol.partition("/")[0]
        size = record.classifier_settings["size"]
        cnn = supervised_cnn(record.seed, record.classifier_settings["arch"], size)
        draws = len(record.test_correct)
        protocol = {
            "cifar10/all-labels/1": CIFAR10(seed=record.seed),
            "cifar10/per-class/1": CIFAR10PerClass(record.labels // 10, draws, seed=record.seed),
            "svhn/few-labels/1": SVHN(record.labels, draws, seed=record.seed),
        }[record.protocol].with_classifier(cnn)
        assert protocol.dataset == dataset
        again = recorded(data, Pixels(), protocol, folder)
        assert again is not None
        assert again.test_correct == record.test_correct


def test_a_new_record_of_the_control_takes_the_place_of_an_old_one() -> None:
    record = rv.evaluate("pixels", rv.Digits(5, draws=1), classifier=tiny()).record
    assert record.representation == Pixels().description.settings | {"stored_as": "float16"}
    assert (record.n_features, record.method, record.seconds["features"]) == (3072, "raw pixels", 0)


def _blank(record: Record, split: str) -> Split:
    """As many labels, of ten classes, and the fingerprint of a record's split."""
    labels = np.arange(record.dataset[f"n_{split}"]) % 10
    return Split(np.empty((0, 32, 32, 3), np.uint8), labels, record.dataset[f"{split}_fingerprint"], "")
