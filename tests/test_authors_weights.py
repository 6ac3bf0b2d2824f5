"""The DCGAN authors' released weights, in dcgan_authors/ of the folder that $REPR_EVAL_REAL_DATA names.

The strongest check of networks, features and protocols: figures that an independent implementation reached with them.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from repr_eval.classifiers.base import Features
from repr_eval.classifiers.selection import count_correct
from repr_eval.gan.authors_weights import import_authors_weights
from repr_eval.gan.game import batch_statistics
from repr_eval.gan.networks import Discriminator, Generator
from repr_eval.gan.samples import generate
from repr_eval.gan.weights import save_weights
from repr_eval.images.cifar10 import load_cifar10
from repr_eval.images.data_dir import data_root
from repr_eval.images.labelled import LabelledImages
from repr_eval.images.svhn import load_svhn
from repr_eval.protocols import svhn
from repr_eval.representations.batched import to_network
from repr_eval.representations.discriminator import from_weights
from repr_eval.representations.extraction import extract
from repr_eval.svm import L2SVM
from repr_eval.system.random_streams import draw_noise, generator_for

pytestmark = pytest.mark.real_data

CPU = torch.device("cpu")
SAMPLES = 512


@pytest.fixture(scope="module")
def real() -> Path:
    return Path(os.environ["REPR_EVAL_REAL_DATA"])


@pytest.fixture(scope="module")
def grey(real: Path) -> LabelledImages:
    return load_svhn(data_root(real / "svhn-grey"))


def unflipped(network: Discriminator | Generator) -> Discriminator | Generator:
    """The network as it would be had its kernels been taken over as they are stored."""
    with torch.no_grad():
        for conv in network.convs:
            assert isinstance(conv.weight, torch.Tensor)
            conv.weight.copy_(conv.weight.flip(2, 3))
    return network


def house_numbers(real: Path, flipped: bool) -> np.ndarray:
    """Images uint8 [512, 32, 32, 3] by the authors' SVHN generator."""
    network, _ = import_authors_weights(real / "dcgan_authors/svhn/200_gen_params.jl", "dcgan32-svhn")
    network = network if flipped else unflipped(network)
    assert isinstance(network, Generator)
    return generate(network, draw_noise(SAMPLES, network.z_dim, "normal", generator_for(0, "samples")))


def centres(images: np.ndarray) -> np.ndarray:
    """The grey middle 16x16 pixels of each image, mean 0 and contrast about 1: float [N, 256]."""
    middle = (images.astype(float) @ (0.299, 0.587, 0.114))[:, 8:24, 8:24].reshape(len(images), -1)
    return (middle - middle.mean(1, keepdims=True)) / (middle.std(1, keepdims=True) + 5)


def distances_to_digits(images: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """Of every image's centre to the nearest centre of `digits`: mean squared difference, float [N]."""
    a, b = centres(images), centres(digits)
    squared = (a * a).sum(1)[:, None] - 2 * a @ b.T + (b * b).sum(1)
    return np.asarray(squared.min(1) / a.shape[1])


def test_flipped_kernels_draw_what_looks_like_digits(real: Path, grey: LabelledImages) -> None:
    """With the same noise, samples are nearer to a real digit than those of unflipped kernels, by over 4 std errors."""
    right, wrong = (
        distances_to_digits(house_numbers(real, flipped), grey.train.images[:4000]) for flipped in (True, False)
    )
    difference = wrong - right
    standard_error = difference.std(ddof=1) / np.sqrt(SAMPLES)
    assert difference.mean() > 4 * standard_error, (right.mean(), wrong.mean(), standard_error)


def test_flipped_kernels_tell_real_digits_from_generated_ones(real: Path, grey: LabelledImages) -> None:
    """D as trained scores real digits above G's, by more than half their spread; with unflipped kernels it cannot."""
    images = {"real": grey.test.images[:SAMPLES], "generated": house_numbers(real, flipped=True)}
    gaps = []
    for change in (lambda network: network, unflipped):
        network = change(import_authors_weights(real / "dcgan_authors/svhn/200_discrim_params.jl", "dcgan32-svhn")[0])
        with torch.no_grad(), batch_statistics(network):
            logits = {name: network(to_network(x, CPU)).numpy() for name, x in images.items()}
        spread = np.concatenate(list(logits.values())).std()
        gaps.append((logits["real"].mean() - logits["generated"].mean()) / spread)
    assert gaps[0] > 0.5 > gaps[1], gaps


def test_the_incomplete_imagenet_set_names_what_is_missing(real: Path) -> None:
    jl = real / "dcgan_authors/imagenet/30_discrim_params.jl"
    with pytest.raises(
        ValueError, match=r"jl_11\.npy \(weights of layer 5\) is missing; the layers before it, 1-4, can"
    ):
        import_authors_weights(jl, "dcgan32")
    _, info = import_authors_weights(jl, "dcgan32", layers=4)
    assert (info.name, info.trained_on) == ("DCGAN, authors' weights", "ImageNet-1k")


def test_two_swapped_gains_of_one_shape_are_noticed(real: Path, tmp_path: Path) -> None:
    shutil.copytree(real / "dcgan_authors/imagenet", tmp_path / "imagenet")
    jl = tmp_path / "imagenet/30_discrim_params.jl"
    a, b = (jl.parent / f"{jl.name}_{number}.npy" for number in ("06", "09"))
    for path in (a, b):
        path.chmod(0o644)
    first, second = np.load(a), np.load(b)
    np.save(a, second)
    np.save(b, first)
    with pytest.raises(ValueError, match=r"jl_06\.npy: holds what was released as number 9"):
        import_authors_weights(jl, "dcgan32", layers=4)


def test_svhn_grey_with_the_authors_svhn_model(real: Path, grey: LabelledImages, tmp_path: Path) -> None:
    """An independent implementation: 20.1% test error, std of draws 0.3, C = 5e-4 chosen on 3,000 digits."""
    network, info = import_authors_weights(real / "dcgan_authors/svhn/200_discrim_params.jl", "dcgan32-svhn")
    save_weights(tmp_path / "d.safetensors", network, info)
    found = extract(from_weights(tmp_path / "d.safetensors"), grey, tmp_path)
    train, test = Features(found.train, grey.train.labels), Features(found.test, grey.test.labels)
    outcome = svhn.few_labels(train, test, labels=1000, draws=20, seed=0)
    errors = 1 - np.array(outcome.test_correct) / outcome.n_test
    assert outcome.validation.C == 5e-4
    assert abs(errors.mean() - 0.201) < 0.006
    assert errors.std(ddof=1) < 0.008


def test_cifar10_with_the_first_four_layers_of_the_authors_imagenet_model(real: Path, tmp_path: Path) -> None:
    """An independent implementation: 79.7% with all labels, batch norm recomputed, C = 1e-4.

    Of the training images it had 89.7% right; fits whose gap proves them here have 90.4%, at any tolerance below 0.3.
    """
    network, info = import_authors_weights(real / "dcgan_authors/imagenet/30_discrim_params.jl", "dcgan32", layers=4)
    save_weights(tmp_path / "d.safetensors", network, info)
    data = load_cifar10(data_root(real))
    found = extract(from_weights(tmp_path / "d.safetensors"), data, tmp_path)
    assert found.train.shape == (50_000, 12_288)
    model = L2SVM(C=1e-4).fit(found.train, data.train.labels)
    test = count_correct([model], found.test, data.test.labels)[0] / len(data.test.labels)
    assert abs(test - 0.797) < 0.003
    assert model.gap_.max() < 1e-3
