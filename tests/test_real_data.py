"""Tests on the real image sets, in the folder that $REPR_EVAL_REAL_DATA names.

That folder holds cifar10/ (class folders), svhn-grey/, imagenet32.npy, imagenet_samples/ and dcgan_authors/ (for
test_authors_weights.py). `make real-data-test` runs them; the default suite leaves them out.
"""

import dataclasses
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import repr_eval as rv
from repr_eval.classifiers.base import Features
from repr_eval.datasets import load_dataset
from repr_eval.gan.pretrained import best, find_weights
from repr_eval.images import cifar10
from repr_eval.images.cifar10 import load_cifar10
from repr_eval.images.data_dir import data_root
from repr_eval.images.labelled import LabelledImages, Split, make_split
from repr_eval.images.pack import pack
from repr_eval.images.svhn import load_svhn
from repr_eval.protocols import svhn
from repr_eval.protocols.cifar10 import all_labels
from repr_eval.protocols.draws import per_class_draws, split_off, split_off_share
from repr_eval.representations.discriminator import from_weights
from repr_eval.representations.extraction import extract
from repr_eval.representations.pixels import Pixels
from repr_eval.system.arrays import digest_of
from repr_eval.system.random_streams import random_state_for

pytestmark = pytest.mark.real_data

# Of the ten draws of 400 labels a class with seed 0.
CIFAR10_DRAWS = "60f678bba3c1faa3c91de96f23a42eb579ddb2bf03f51c33ae1fb79cb253eecf"


@pytest.fixture(scope="module")
def real() -> Path:
    return Path(os.environ["REPR_EVAL_REAL_DATA"])


@pytest.fixture(scope="module")
def cifar(real: Path) -> LabelledImages:
    return load_cifar10(data_root(real))


@pytest.fixture(scope="module")
def grey(real: Path) -> LabelledImages:
    return load_svhn(data_root(real / "svhn-grey"))


def test_class_folders_are_recognised_as_the_complete_cifar10(cifar: LabelledImages) -> None:
    assert (cifar.name, cifar.verified, cifar.remark) == ("CIFAR-10", True, "")
    assert np.bincount(cifar.train.labels).tolist() == [5000] * 10
    assert np.bincount(cifar.test.labels).tolist() == [1000] * 10


def test_cifar10s_class_folders_through_the_door_for_any_data(
    cifar: LabelledImages, real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same images in the same order, so the same counts as those of `cifar10-svm`; here with ten labels a class."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    anything = load_dataset(str(real / "cifar10"))
    assert (anything.name, anything.dataset, anything.verified) == ("CIFAR-10", "cifar10", True)
    for one, other in ((anything.train, cifar.train), (anything.test, cifar.test)):
        assert np.array_equal(one.images, other.images)
        assert np.array_equal(one.labels, other.labels)
    few = rv.CIFAR10PerClass(10, draws=2)
    by_name, by_folder = (rv.evaluate("pixels", few, data=data).record for data in (cifar, anything))
    assert by_folder.test_correct == by_name.test_correct
    assert by_folder.dataset == by_name.dataset
    fifths = [
        split_off(anything.train.labels, 1000, random_state_for("all-labels/1/held-out", 0)),
        split_off_share(anything.train.labels, 5, random_state_for("all-labels/1/held-out", 0)),
    ]
    assert np.array_equal(fifths[0][1], fifths[1][1])  # all-labels/1 and /2 hold out the same images


def test_altered_copies_of_cifar10_are_reported_for_what_they_are(cifar: LabelledImages) -> None:
    images, labels = cifar.test.images, cifar.test.labels
    assert cifar10.compare("test", make_split(images[::-1], labels[::-1])) == ""
    assert "9999 images instead of 10000" in cifar10.compare("test", make_split(images[1:], labels[1:]))
    assert "other labels" in cifar10.compare("test", make_split(images, np.roll(labels, 1)))
    buffer = io.BytesIO()
    Image.fromarray(images[0]).save(buffer, "JPEG", quality=95)
    recompressed = images.copy()
    recompressed[0] = np.asarray(Image.open(buffer))
    assert "other pixels" in cifar10.compare("test", make_split(recompressed, labels))


def test_draws_of_cifar10_are_the_ones_behind_the_recorded_figures(cifar: LabelledImages) -> None:
    drawn = per_class_draws(cifar.train.labels, 400, 10, "per-class/1/draw", 0)
    assert digest_of({"draws": drawn}) == CIFAR10_DRAWS


def test_shuffled_labels_of_cifar10_give_chance(cifar: LabelledImages) -> None:
    rng = np.random.default_rng(0)

    def part(split: Split, n: int) -> Features:
        images = split.images[:n]
        return Features(Pixels().transform(images), rng.permutation(split.labels[:n]))

    outcome = all_labels(part(cifar.train, 4000), part(cifar.test, 4000), seed=0, Cs=(1e-4, 1e-3))
    # Chance is 10%; four standard deviations of 4,000 independent guesses are 1.9%.
    assert abs(outcome.test_correct[0] / 4000 - 0.1) < 0.019


def test_svhn_grey_is_known_by_its_content_and_never_called_svhn(grey: LabelledImages) -> None:
    assert (grey.name, grey.verified) == ("svhn-grey", False)
    assert (len(grey.train.labels), len(grey.test.labels)) == (13_079, 12_948)


def test_the_shipped_model_reads_real_digits_far_better_than_pixels(grey: LabelledImages, tmp_path: Path) -> None:
    # A third of each split keeps this to a minute or two.
    data = dataclasses.replace(
        grey,
        train=make_split(grey.train.images[::3], grey.train.labels[::3]),
        test=make_split(grey.test.images[::3], grey.test.labels[::3]),
    )
    errors = {}
    for representation in (from_weights(find_weights(best())), Pixels()):
        features = extract(representation, data, tmp_path)
        train, test = Features(features.train, data.train.labels), Features(features.test, data.test.labels)
        outcome = svhn.few_labels(train, test, labels=500, draws=5, seed=0, Cs=(1e-4, 1e-3, 1e-2))
        errors[features.description.method] = 1 - np.mean(outcome.test_correct) / outcome.n_test
    model, pixels = errors.values()
    # A few labels and a third of the digits: 54% against 84%, draws spread by less than 2%.
    assert model < pixels - 0.25, errors


def test_full_size_jpegs_are_packed(real: Path, tmp_path: Path) -> None:
    report = pack(real / "imagenet_samples", tmp_path / "samples.npy", 32, workers=2)
    images = np.load(tmp_path / "samples.npy")
    assert (report.count, report.skipped, images.shape) == (59, (), (59, 32, 32, 3))
    assert (images.reshape(59, -1).std(1) > 5).all()  # none is blank


def test_training_on_imagenet_images_survives_a_kill(real: Path, tmp_path: Path) -> None:
    def command(out: Path) -> list[str]:
        return [
            sys.executable, "-m", "repr_eval", "train-gan", "--data", str(real / "imagenet32.npy"), "--width", "0.1",
            "--max-steps", "12", "--checkpoint-every", "2", "--batch-size", "32", "--out", str(out), "--resume",
        ]  # fmt: skip

    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True)
    killed = subprocess.Popen(command(tmp_path / "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "killed").glob("checkpoint-*")) and killed.poll() is None:
        assert time.monotonic() < deadline, "no checkpoint in five minutes"
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    subprocess.run(command(tmp_path / "killed"), check=True, capture_output=True)
    for name in ("discriminator.safetensors", "generator.safetensors", "losses.csv", "samples/epoch-001.png"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_the_list_of_attributes_goes_with_the_faces(real: Path) -> None:
    """Every hash of the list is that of its row; a probe by hand is right on most test images of a smile."""
    from repr_eval.explore.attributes import labelled, read_attributes
    from repr_eval.explore.models import read_models
    from repr_eval.explore.probe import fit_probe
    from repr_eval.gan.unlabelled import read_packed

    data = labelled(read_packed(real / "faces64.npy", 64), read_attributes("faces64"), "smile")
    assert (len(data.train.labels), len(data.test.labels)) == (372, 160)
    probe = fit_probe(read_models(["faces64-w0.25"]), data, "smile", seed=0)
    assert probe.description["test_accuracy"] > 0.7


def test_real_images_move_the_discriminator(real: Path, tmp_path: Path) -> None:
    """A few steps on real images lower D's loss from its start at 2 ln 2: the loop learns on real input."""
    from repr_eval.gan.recipes import PAPER
    from repr_eval.gan.settings import TrainingSettings
    from repr_eval.gan.training import train

    images = np.load(real / "imagenet32.npy", mmap_mode="r")[:2048]
    settings = TrainingSettings(
        "imagenet32", "", len(images), width=0.1, max_steps=40, recipe=dataclasses.replace(PAPER, batch_size=64)
    )
    train(images, settings, tmp_path / "run", device=torch.device("cpu"))
    d_loss = np.loadtxt(tmp_path / "run" / "losses.csv", delimiter=",", skiprows=1)[:, 2]
    assert d_loss[-10:].mean() < 0.8 * 2 * np.log(2)
