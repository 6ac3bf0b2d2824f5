"""Fine-tuning: labels that no probe gets, the first step by hand, what matters, records."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planted_images import alike_or_not, planted, planted_images
from torch.nn import functional as F

import repr_eval as rv
from repr_eval.classifiers.base import Features
from repr_eval.classifiers.fine_tuned import classifier as classifier_module
from repr_eval.classifiers.fine_tuned.classifier import FineTuned
from repr_eval.classifiers.fine_tuned.network import FineTunedNetwork, fine_tuned, views_of
from repr_eval.classifiers.fine_tuned.search import SIZES, Configuration, Search
from repr_eval.classifiers.named import CLASSIFIERS
from repr_eval.classifiers.supervised.network import to_input
from repr_eval.evaluation import recorded
from repr_eval.gan.architectures import ARCHITECTURES
from repr_eval.gan.augmentation import Augmentation
from repr_eval.gan.networks import Discriminator
from repr_eval.gan.weights import weights_hash
from repr_eval.images.labelled import LabelledImages, make_split
from repr_eval.protocols.base import AllLabels
from repr_eval.protocols.cifar10 import all_labels, low_labels
from repr_eval.protocols.svhn import few_labels
from repr_eval.records import read_records
from repr_eval.representations.averaged_views import seen_in_views
from repr_eval.representations.discriminator import DiscriminatorFeatures, untrained

TINY = Search("tiny", lrs=(1e-2,), trunks=(0.3, 1.0), weight_decays=(0.01,), folds=1, epochs=8)
ONE = Configuration(lr=3e-3, trunk=0.5, weight_decay=0.1)


def small_network(seed: int = 0) -> DiscriminatorFeatures:
    return untrained("dcgan32-svhn", 0.05, seed)


def with_network(features: Features, seed: int = 0) -> Features:
    return replace(features, network=small_network(seed).network)


def tensors(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    images, y = planted_images(n, 1)
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(y - 3)


def some(c: Configuration = ONE, search: Search = TINY, n_seen: int = 80, **others: Any) -> FineTunedNetwork:
    images, labels = tensors()
    start = small_network().network
    return fine_tuned(start, images, labels, 3, c, search, n_seen, **({"mirror": True, "seed": 0} | others))


def convolutions(network: Discriminator) -> list[torch.Tensor]:
    return [weight.detach() for name, weight in network.named_parameters() if name.startswith("convs")]


def hash_of(network: FineTunedNetwork) -> tuple[str, float]:
    return weights_hash(network.trunk), float(network.head.weight.detach().double().square().sum())


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """The weights of every network that a classifier trains from now on."""
    found: list[tuple[str, float]] = []

    def watched(*arguments: Any) -> FineTunedNetwork:
        network = fine_tuned(*arguments)
        found.append(hash_of(network))
        return network

    monkeypatch.setattr(classifier_module, "fine_tuned", watched)
    return found


@pytest.mark.slow
def test_it_learns_labels_that_no_probe_of_the_frozen_features_gets() -> None:
    train, test = alike_or_not(400, 1), alike_or_not(400, 2)
    train = with_network(train)
    right = {}
    for trunk in (0.0, 1.0):
        one = FineTuned(Search("one", (1e-2,), (trunk,), (0.01,), 1, epochs=20), mirror=False)
        right[trunk] = one.test(train, [None], 0, test).correct[0] / 400
    frozen = small_network().fit(np.asarray(train.X))
    probe, probed = (Features(frozen.transform(np.asarray(split.X)), split.y) for split in (train, test))
    svm = all_labels(probe, probed, 0).test_correct[0] / 400
    assert right[1.0] > 0.95
    assert abs(right[0.0] - 0.5) < 0.1  # chance
    assert abs(svm - 0.5) < 0.15


@pytest.mark.parametrize("classes", [2, 3])
def test_every_protocol_takes_it(classes: int) -> None:
    train, test = (Features(X[y < 3 + classes], y[y < 3 + classes]) for X, y in map(_parts, (1, 2)))
    train = with_network(train)
    ours, n = FineTuned(TINY), len(test.y)
    grid = ours.grid
    assert grid == (0.0, 1.0)
    drawn = low_labels(train, test, 20, 2, 0, grid, ours)
    outcomes = [
        all_labels(train, test, 0, grid, ours),
        drawn,
        few_labels(train, test, 20 * classes, 2, 0, grid, ours),
    ]
    assert [outcome.protocol for outcome in outcomes] == ["all-labels/1", "per-class/1", "few-labels/1"]
    for outcome, draws in zip(outcomes, (1, 2, 2), strict=True):
        assert outcome.classifier == "fine-tuned (2 configurations, tiny)"
        correct = outcome.validation.correct
        assert [len(correct[number]) for number in grid] == [1, 1]
        assert max(grid, key=lambda number: sum(correct[number])) == outcome.validation.C
        assert not outcome.validation.at_edge
        assert len(outcome.test_correct) == draws
        assert all(1.4 / classes < count / n <= 1 for count in outcome.test_correct)
        assert outcome.predicted is not None
        assert set(np.unique(outcome.predicted)) <= set(range(3, 3 + classes))
    svm = low_labels(_flat(train), _flat(test), 20, 2, 0)
    for name, lists in svm.lists.items():
        np.testing.assert_array_equal(lists, drawn.lists[name])


def _parts(seed: int) -> tuple[np.ndarray, np.ndarray]:
    return planted_images(120, seed, brighter=90)


def _flat(features: Features) -> Features:
    return Features(np.asarray(features.X).reshape(len(features.y), -1) / 255.0, features.y)


def test_the_head_begins_with_the_features_that_are_evaluated() -> None:
    images, _ = tensors()
    start = small_network().network
    z = DiscriminatorFeatures(start, "", "", bn="at-hand").transform(planted_images(40, 1)[0])
    network = FineTunedNetwork(start, 3).train()
    network.measure([to_input(images)])
    np.testing.assert_allclose(network.centre, z.mean(0), rtol=1e-4, atol=1e-5)
    distance = np.sqrt(((z - z.mean(0)) ** 2).sum(1).mean())
    assert float(network.scale) == pytest.approx(distance, rel=1e-4)
    assert network(to_input(images)).abs().max() == 0  # a head of zeros
    torch.nn.init.eye_(network.head.weight)
    torch.nn.init.constant_(network.head.bias, 0.25)
    scores = network(to_input(images)).detach().numpy()
    np.testing.assert_allclose(scores, ((z - z.mean(0)) / distance)[:, :3] + 0.25, atol=1e-4)


def test_batch_norm_has_the_statistics_of_the_labelled_images() -> None:
    images, _ = tensors()
    trunk = some().trunk
    with torch.no_grad():
        h = trunk.convs[1](F.leaky_relu(trunk.convs[0](to_input(images)), 0.2))
    torch.testing.assert_close(trunk.norms[0].running_mean, h.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(trunk.norms[0].running_var, h.var((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert not trunk.norms[0].training


def test_units_are_1_where_all_images_are_alike() -> None:
    network = FineTunedNetwork(small_network().network, 2).train()
    network.measure([torch.ones(8, 3, 32, 32)])
    assert float(network.scale) == 1


def test_the_first_step_by_hand() -> None:
    """Adam's is its rate times the gradient's sign; under a head of zeros the trunk has none."""
    start, network = small_network().network, some(n_seen=32)
    moved = network.head.weight.detach().abs()
    assert moved.max() == pytest.approx(ONE.lr, rel=1e-4)
    assert moved.median() == pytest.approx(ONE.lr, rel=1e-2)
    for before, after in zip(convolutions(start), convolutions(network.trunk), strict=True):
        torch.testing.assert_close(after, before * (1 - ONE.lr * ONE.trunk * ONE.weight_decay))
    for norm, other in zip(start.norms, network.trunk.norms, strict=True):
        torch.testing.assert_close(norm.weight, other.weight)


def test_a_share_of_0_leaves_the_trunk_as_it_was() -> None:
    start = small_network().network
    for parameter in start.parameters():
        parameter.requires_grad_(False)
    images, labels = tensors()
    frozen, tuned = (
        fine_tuned(start, images, labels, 3, replace(ONE, trunk=trunk), TINY, 160, mirror=False, seed=0)
        for trunk in (0.0, 0.5)
    )
    for before, kept, moved in zip(*map(convolutions, (start, frozen.trunk, tuned.trunk)), strict=True):
        torch.testing.assert_close(kept, before, rtol=0, atol=0)
        assert (moved - before).abs().max() > 1e-4


@pytest.mark.parametrize(
    "other",
    [
        {"c": replace(ONE, lr=1e-3)}, {"c": replace(ONE, trunk=0.3)}, {"c": replace(ONE, weight_decay=0.0)},
        {"search": replace(TINY, batch_size=20)}, {"n_seen": 120}, {"mirror": False}, {"seed": 1},
        {"precision": "bf16"},
    ],
)  # fmt: skip
def test_every_choice_has_an_influence(other: dict[str, Any]) -> None:
    assert hash_of(some()) == hash_of(some()) != hash_of(some(**other))


def test_bfloat16_changes_a_little() -> None:
    one, other = (some(n_seen=32, precision=precision) for precision in ("fp32", "bf16"))
    apart = (one.head.weight - other.head.weight).abs().max()
    assert 0 < apart <= 2.001 * ONE.lr  # Adam's first step, either way


def test_views_are_crops_of_the_padded_image_and_mirror_images() -> None:
    assert views_of(32, mirror=True) == Augmentation(flip=True, translate=4 / 32)
    assert views_of(64, mirror=False) == Augmentation(translate=4 / 64)


def test_only_training_rows_have_an_influence(trainings: list[tuple[str, float]]) -> None:
    train, test = with_network(planted(60, 1)), planted(30, 2)
    given = train.network
    assert given is not None
    before = weights_hash(given)
    rows, held_out = np.arange(0, 60, 2), np.arange(1, 60, 2)
    others, otherwise = Features(np.array(train.X), train.y.copy(), train.network), planted(45, 3)
    others.X[held_out], others.y[held_out] = 0, 9
    for features, tested in ((train, test), (others, otherwise)):
        FineTuned(TINY).select(features, [(rows, held_out)], (0,))
        FineTuned(TINY).test(features, [rows], 0, tested)
    assert trainings[:2] == trainings[2:]
    assert weights_hash(given) == before
    others.X[rows[0]] = 0
    FineTuned(TINY).test(others, [rows], 0, test)
    FineTuned(TINY, seed=1).test(train, [rows], 0, test)
    FineTuned(TINY).test(with_network(planted(60, 1), seed=1), [rows], 0, test)
    assert len({trainings[1], *trainings[4:]}) == 4


def test_incomplete_networks_and_other_sizes_can_go_on() -> None:
    images, labels = tensors()
    four = Discriminator(ARCHITECTURES["dcgan32"], 0.02, layers=4)
    network = fine_tuned(four, images, labels, 3, ONE, TINY, 32, mirror=True, seed=0)
    assert network.head.in_features == 16 * sum(len(weight) for weight in convolutions(four))
    large = torch.zeros(2, 3, 64, 64)
    assert FineTunedNetwork(Discriminator(ARCHITECTURES["dcgan64"], 0.02), 5)(large).shape == (2, 5)


def test_names_and_settings_tell_everything() -> None:
    small = FineTuned("small", 3, mirror=False, precision="bf16")
    assert FineTuned("full").name == "fine-tuned (12 configurations)"
    assert small.name == "fine-tuned (4 configurations, small, unmirrored, bf16)"
    assert small.settings["tried"][3] == asdict(Configuration(1e-2, 0.3, 0.1))
    assert (small.settings["seed"], small.settings["mirror"], small.settings["epochs"]) == (3, False, 20)
    for arch, mirror in (("dcgan32", True), ("dcgan32-svhn", False)):
        named = CLASSIFIERS["fine-tuned-small"](5, arch, torch.device("cpu"))
        assert (named.settings["seed"], named.settings["mirror"]) == (5, mirror)
    assert [SIZES["small"].n_seen(n, "search") for n in (100, 10_000)] == [2_000, 80_000]
    assert SIZES["full"].n_seen(10_000, "test") == 1_000_000


def test_a_record_and_its_row(tmp_path: Path) -> None:
    network, ours = small_network(), FineTuned(TINY, mirror=False)
    protocol = rv.Digits(5, draws=2, classifier=ours)
    record = rv.evaluate(network, protocol, out=tmp_path).record
    assert record.method == "untrained discriminator (dcgan32-svhn, width 0.05, seed 0)"
    assert record.classifier == "fine-tuned (2 configurations, tiny, unmirrored)"
    assert record.facts is not None
    assert (record.facts.classifier, record.facts.needs, record.facts.untrained) == ("fine-tuned", "network", True)
    assert record.representation == network.description.settings | {"stored_as": "float16"}
    assert record.representation["weights_sha256"] == weights_hash(network.network)
    assert "bn_images" not in record.representation  # the other training images have no part in it
    again = recorded(rv.load_dataset("digits"), network, protocol, tmp_path)
    assert again == record == read_records(tmp_path)[0]
    rv.evaluate(network, rv.Digits(5, draws=2), out=tmp_path)
    rv.report(tmp_path)
    lines = (tmp_path / "digits-methods.md").read_text().splitlines()
    ours_and_svm = [line for line in lines if "untrained discriminator" in line]
    assert [("fine-tuned" in line, "L2-SVM" in line) for line in ours_and_svm].count((True, False)) == 1
    assert len(ours_and_svm) == 2


def test_images_of_another_size_are_resized_first() -> None:
    rng, splits = np.random.default_rng(0), []
    for _ in ("train", "test"):
        y = np.arange(40) % 2
        light = (100 + 100 * y)[:, None, None, None]
        splits.append(make_split((light + rng.integers(0, 50, (40, 16, 16, 3))).astype(np.uint8), y))
    train, test = splits
    data = LabelledImages("own", train, test, ("a", "b"), verified=True, dataset="own-set")
    result = rv.evaluate(small_network(), AllLabels(data), classifier=FineTuned(TINY))
    assert result.accuracy > 0.9
    assert result.record.representation["resized"]["to"] == 32


def test_what_is_no_discriminator_is_refused() -> None:
    few, ours = rv.Digits(5, draws=1), FineTuned(TINY)
    at_hand = untrained("dcgan32-svhn", 0.05, 0, bn="at-hand")
    cases: list[tuple[object, dict[str, Any], str]] = [
        ("pixels", {}, "trains a discriminator, and raw pixels is none"),
        (lambda images: images.reshape(len(images), -1), {}, "trains a discriminator, and <lambda> is none"),
        (torch.nn.Flatten(), {}, "trains a discriminator, and .* is none"),
        (at_hand, {}, "bn at-hand: fine-tuned .* from the labelled images; leave it out"),
        (seen_in_views(small_network(), "mirror"), {}, "views must be single"),
        (small_network(), {"layers": (1, 2)}, "layers 1-2: fine-tuned .* trains the whole network"),
    ]
    for representation, others, message in cases:
        with pytest.raises(ValueError, match=message):
            rv.evaluate(representation, few, classifier=ours, **others)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: FineTuned(TINY).select(t, [], (0, 2)), "configuration 2: fine-tuned .* has 0 to 1"),
        (lambda t: FineTuned(TINY).select(t, [], (0.5,)), "configuration 0.5: must be a whole number"),
        (lambda t: FineTuned(TINY).select(t, [], ()), "no configurations"),
        (lambda t: FineTuned(TINY).test(t, [np.array([0])], 0, t), "all of class .; fine-tuning needs"),
        (lambda t: FineTuned(TINY).test(Features(t.X, t.y), [None], 0, t), "needs a network"),
        (lambda t: FineTuned(TINY).test(replace(t, X=_flat(t).X), [None], 0, t), "svhn takes images"),
        (lambda t: FineTuned("huge"), "'huge'; choose from full, small"),
        (lambda t: FineTuned(precision="fp8"), "'fp8'; choose fp32 or bf16"),
    ],
)
def test_impossible_choices_are_refused(call: Callable[[Features], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(with_network(planted(30, 1)))
