"""Planted copies are found, and what is no copy is not."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import random_images, run

from repr_eval.explore import neighbours
from repr_eval.explore.models import Models, read_models
from repr_eval.explore.neighbours import Nearest, nearer, nearest, owned, pixels, save_picture, study
from repr_eval.gan.architectures import architecture_named
from repr_eval.gan.networks import Discriminator, Generator
from repr_eval.gan.weights import WeightsInfo, save_weights


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """A generator, and a discriminator, of random weights."""
    arch = architecture_named("dcgan32-svhn")
    made = [tmp_path / "g.safetensors", tmp_path / "d.safetensors"]
    torch.manual_seed(0)
    save_weights(made[0], Generator(arch, 0.05), WeightsInfo("generator", arch.name, 0.05, z="normal"))
    save_weights(made[1], Discriminator(arch, 0.05), WeightsInfo("discriminator", arch.name, 0.05))
    return [str(path) for path in made]


@pytest.fixture
def models(files: list[str]) -> Models:
    return read_models(files)


def test_a_distance_by_pixels_is_in_levels() -> None:
    one = random_images(1) // 2
    assert np.linalg.norm(pixels(one) - pixels(one + 8)) == pytest.approx(8, rel=1e-5)


def test_neighbours_are_those_of_all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of 7 as by every difference: 30 images, two of them alike, and a copy of one."""
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    images, queries = random_images(30, 4, seed=1), random_images(5, 4, seed=2)
    images[23] = images[9]
    queries[3] = images[9]
    found = nearest({"pixels": [pixels(queries), pixels(images[:2])]}, images, {"pixels": pixels}, 8)["pixels"]
    differences = queries[:, None].astype(float) - images[None]
    expected = np.sqrt((differences**2).mean((2, 3, 4)))
    np.testing.assert_array_equal(found[0].rows, np.argsort(expected, axis=1, kind="stable")[:, :8])
    np.testing.assert_allclose(found[0].distances, np.sort(expected, axis=1)[:, :8], rtol=1e-4, atol=1e-4)
    assert found[0].rows[3, :2].tolist() == [9, 23]
    assert found[1].rows[:, 0].tolist() == [0, 1]


def test_fewer_images_than_neighbours() -> None:
    images = random_images(3, 4)
    found = nearest({"pixels": [pixels(images)]}, images, {"pixels": pixels}, 5)["pixels"][0]
    assert found.rows.shape == (3, 3)


def test_nearer_by_hand() -> None:
    """Both samples before both others: one of six orders."""
    found = nearer(np.array([1.0, 2]), np.array([3.0, 4]))
    assert (found["probability"], found["p"]) == (1, pytest.approx(1 / 6))
    assert found["held_out_percentile_1"] == pytest.approx(3.01)
    assert found["samples_below_it"] == 2
    assert found["expected_below_it"] == pytest.approx(0.02)
    assert nearer(np.array([3.0, 4]), np.array([1.0, 2]))["p"] == 1
    assert nearer(np.array([1.0, 3]), np.array([2.0, 2]))["probability"] == 0.5


def of(distances: list[float], rows: list[int]) -> Nearest:
    return Nearest(np.array(distances)[:, None], np.array(rows)[:, None])


def test_owned_by_hand() -> None:
    """Of one sample the nearest of 3 training images and 1 other is a training image: three times in four."""
    found = owned(of([1.0], [2]), of([2.0], [0]), 3, 1, seed=0)
    assert (found["nearest_is_a_training_image"], found["expected"]) == (1, 0.75)
    assert found["p"] == pytest.approx(0.75, abs=0.04)
    assert owned(of([2.0], [2]), of([2.0], [0]), 3, 1, seed=0)["nearest_is_a_training_image"] == 0  # equally near


def test_one_image_that_is_nearest_to_all_proves_nothing() -> None:
    """Twenty samples near one image: it is a training image every other time. Near twenty images: hardly ever."""
    far = of([2.0] * 20, [0] * 20)
    assert owned(of([1.0] * 20, [4] * 20), far, 50, 50, seed=0)["p"] == pytest.approx(0.5, abs=0.05)
    assert owned(of([1.0] * 20, list(range(20))), far, 50, 50, seed=0)["p"] < 0.001


def test_planted_copies_are_found(models: Models) -> None:
    """The training images hold every sample; the held-out ones are noise."""
    samples = models.images(models.noise(12, seed=5))
    training = np.concatenate([random_images(30, seed=1), samples])
    found = study(models, training, random_images(40, seed=2), 12, seed=5)
    np.testing.assert_array_equal(found.samples, samples)
    for name in ("pixels", "features"):
        assert found.of_samples[name].rows[:, 0].tolist() == list(range(30, 42))
        assert found.numbers[name]["samples"]["largest"] == pytest.approx(0, abs=1e-3)
        assert found.numbers[name]["nearer"]["probability"] == 1
        assert found.numbers[name]["nearer"]["p"] < 1e-4
        assert found.numbers[name]["nearer"]["samples_below_it"] == 12
        assert found.numbers[name]["owned"]["nearest_is_a_training_image"] == 12
        assert found.numbers[name]["owned"]["p"] < 0.002
    assert found.numbers["held_out_compared"] == 12
    assert found.numbers["held_out_images"] == 40


def test_copies_of_held_out_images_are_no_memory(models: Models) -> None:
    """As above, the two sides swapped."""
    samples = models.images(models.noise(12, seed=5))
    others = np.concatenate([random_images(30, seed=1), samples])
    found = study(models, random_images(40, seed=2), others, 12, seed=5)
    assert found.numbers["pixels"]["owned"]["nearest_is_a_training_image"] == 0
    assert found.numbers["pixels"]["owned"]["p"] == 1


def test_the_picture_shows_no_image_twice(models: Models, tmp_path: Path) -> None:
    training = random_images(20, seed=1)
    found = study(models, training, random_images(9, seed=2), 10, seed=0)
    lines = neighbours._lines(found)
    labels = [label for label, *_ in lines]
    assert labels.count("sample, near by pixels") == labels.count("sample, near by features") == 3
    assert labels.count("sample, not chosen") == 3
    assert labels.count("held out, near by pixels") == labels.count("held out, near by features") == 2
    assert len({row for label, *_, row in lines if label.startswith("sample")}) == 9
    first = lines[0][3]
    assert found.of_samples["pixels"].distances[first, 0] == found.of_samples["pixels"].distances[:, 0].min()
    save_picture(tmp_path / "p.png", found, training)
    assert (tmp_path / "p.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize(
    ("training", "held_out", "n", "message"),
    [
        (5, 5, 1, "n=1: a test needs 2 samples or more"),
        (1, 5, 3, "1 training images: a test needs 2 or more"),
        (5, 0, 3, "0 held-out images: a test needs 2 or more"),
    ],
)
def test_too_few(models: Models, training: int, held_out: int, n: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study(models, random_images(training), random_images(held_out), n, seed=0)


def words(files: list[str], data: Path, out: Path, *more: object) -> list[object]:
    weights = [word for file in files for word in ("--weights", file)]
    return ["explore", "neighbours", *weights, "--data", data, "--n", 8, "--out", out, *more]


def test_the_command_writes_the_same_again(files: list[str], tmp_path: Path) -> None:
    """With a share of the data held out: the last rows."""
    np.save(tmp_path / "real.npy", random_images(50))
    written = []
    for name in ("one", "two"):
        done = run(*words(files, tmp_path / "real.npy", tmp_path / name, "--held-out", "0.2"))
        assert done.exit_code == 0, done.output
        assert done.stdout.count("median distance to the nearest training image") == 2
        numbers = json.loads((tmp_path / name / "neighbours.json").read_text())["numbers"]
        written.append(((tmp_path / name / "neighbours.png").read_bytes(), numbers))
    assert written[0] == written[1]
    assert (numbers["training_images"], numbers["held_out_images"]) == (40, 10)
    assert numbers["sources"]["held_out"]["data"].endswith("the last 10")


def test_held_out_images_of_their_own(files: list[str], tmp_path: Path) -> None:
    np.save(tmp_path / "real.npy", random_images(30))
    np.save(tmp_path / "others.npy", random_images(20, seed=1))
    done = run(*words(files, tmp_path / "real.npy", tmp_path / "out", "--held-out", tmp_path / "others.npy"))
    assert done.exit_code == 0, done.output
    numbers = json.loads((tmp_path / "out" / "neighbours.json").read_text())["numbers"]
    assert (numbers["training_images"], numbers["held_out_images"]) == (30, 20)


def test_test_images_of_a_data_set_are_held_out(files: list[str], tmp_path: Path) -> None:
    done = run(*words(files, Path("digits"), tmp_path / "out", "--held-out", "test"))
    assert done.exit_code == 0, done.output
    sources = json.loads((tmp_path / "out" / "neighbours.json").read_text())["numbers"]["sources"]
    assert sources["training"]["data"].endswith("training images")
    assert sources["held_out"]["data"].endswith("test images")
    assert sources["training"]["sha256"] != sources["held_out"]["sha256"]


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        ("1.5", "--held-out 1.5: as a share of --data it must be between 0 and 1, such as 0.1"),
        ("nan", "--held-out nan: as a share of --data it must be between 0 and 1"),
        ("test", "--held-out test: the test images of a data set by its name"),
        ("nowhere.npy", "nowhere.npy: no such file or folder"),
        ("0.001", "share 0.001 of 50 images: needs a share between 0 and 1 that leaves images on both sides"),
    ],
)
def test_bad_held_out_images(files: list[str], tmp_path: Path, held_out: str, message: str) -> None:
    np.save(tmp_path / "real.npy", random_images(50))
    done = run(*words(files, tmp_path / "real.npy", tmp_path / "out", "--held-out", held_out))
    assert done.exit_code == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_images_of_another_size(files: list[str], tmp_path: Path) -> None:
    np.save(tmp_path / "real.npy", random_images(5, 16))
    done = run(*words(files, tmp_path / "real.npy", tmp_path / "out", "--held-out", "0.5"))
    assert done.exit_code == 1
    assert "holds uint8 [5, 16, 16, 3]; needed: uint8 [N, 32, 32, 3]" in done.stderr


def test_a_discriminator_is_needed(files: list[str], tmp_path: Path) -> None:
    np.save(tmp_path / "real.npy", random_images(50))
    done = run(*words(files[:1], tmp_path / "real.npy", tmp_path / "out", "--held-out", "0.2"))
    assert done.exit_code == 1
    assert "D's features are needed; give a discriminator's weights too" in done.stderr
