"""What a training run computes: one step against a plain one, the data's order, the noise, the log, the end."""

import json
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dying_training import N_IMAGES, SETTINGS, SMALL_BATCHES, after, go_on, images
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from repr_eval.gan import run_folder
from repr_eval.gan.architectures import architecture_named
from repr_eval.gan.batches import Batches
from repr_eval.gan.game import DCGAN
from repr_eval.gan.networks import Discriminator, Generator, initialise
from repr_eval.gan.recipes import PAPER
from repr_eval.gan.run_folder import TrainingFailed
from repr_eval.gan.samples import generate, grid
from repr_eval.gan.settings import TrainingSettings
from repr_eval.gan.training import train
from repr_eval.gan.weights import load_discriminator, load_generator
from repr_eval.system.random_streams import draw_noise, epoch_order, generator_for

CPU = torch.device("cpu")


def with_settings(**changes: Any) -> TrainingSettings:
    return replace(SETTINGS, **changes)


def log_of(folder: Path) -> np.ndarray:
    return np.loadtxt(folder / "losses.csv", delimiter=",", skiprows=1, ndmin=2)


# One step.


class PlainGame:
    """The same game written down as the paper tells it: fresh networks, plain Adam, binary cross-entropy."""

    def __init__(self, settings: TrainingSettings) -> None:
        arch = architecture_named(settings.arch)
        self.D, self.G = Discriminator(arch, settings.width), Generator(arch, settings.width, settings.z_dim)
        initialise(self.D, generator_for(settings.seed, "init-d"))
        initialise(self.G, generator_for(settings.seed, "init-g"))
        options: dict[str, Any] = {"lr": 2e-4, "betas": (0.5, 0.999), "eps": 1e-8}
        self.adam_D = torch.optim.Adam(self.D.parameters(), **options)
        self.adam_G = torch.optim.Adam(self.G.parameters(), **options)

    def step(self, real: Tensor, z: Tensor) -> tuple[float, float]:
        ones, zeros = torch.ones(len(real)), torch.zeros(len(real))
        fake = self.G(z)
        loss_D = F.binary_cross_entropy_with_logits(self.D(real), ones)
        loss_D = loss_D + F.binary_cross_entropy_with_logits(self.D(fake.detach()), zeros)
        self.adam_D.zero_grad()
        loss_D.backward()
        self.adam_D.step()
        loss_G = F.binary_cross_entropy_with_logits(self.D(fake), ones)
        self.adam_G.zero_grad()
        loss_G.backward()
        self.adam_G.step()
        return float(loss_D.detach()), float(loss_G.detach())


@pytest.mark.parametrize("arch", ["dcgan32", "dcgan32-svhn", "dcgan64"])
def test_steps_are_those_of_the_plain_game(arch: str) -> None:
    settings = with_settings(arch=arch, z=None).resolved()
    game, plain = DCGAN(settings, CPU), PlainGame(settings)
    size, rng = architecture_named(arch).image_size, torch.Generator().manual_seed(0)
    for step in range(3):
        real = torch.rand(8, 3, size, size, generator=rng) * 2 - 1
        z = torch.randn(8, 5, generator=rng)
        losses = game.step(real, z, step).tolist()
        assert losses == pytest.approx(plain.step(real, z), rel=1e-4)
    for mine, other in ((game.discriminator, plain.D), (game.generator, plain.G)):
        for (name, one), two in zip(mine.named_parameters(), other.parameters(), strict=True):
            # A step of Adam is about lr = 2e-4; rounding may turn the sign of a gradient that is nearly nothing.
            assert float(((one - two).abs() > 2e-5).float().mean()) < 0.01, name


def test_running_statistics_of_d_follow_real_images_only() -> None:
    settings = SETTINGS.resolved()
    game, alone = DCGAN(settings, CPU), Discriminator(architecture_named(settings.arch), settings.width)
    alone.load_state_dict(game.discriminator.state_dict())
    real = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    alone(real)  # in training mode: moves the running statistics by this batch's
    game.step(real, torch.zeros(8, 5), 0)
    for norm, expected in zip(game.discriminator.norms, alone.norms, strict=True):
        found, wanted = norm.state_dict(), expected.state_dict()
        torch.testing.assert_close(found["running_mean"], wanted["running_mean"])
        torch.testing.assert_close(found["running_var"], wanted["running_var"])
        assert found["num_batches_tracked"] == 1


# Data.


def batches_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **options: Any) -> list[Tensor]:
    """The real batches that a run plays with."""
    seen: list[Tensor] = []

    def watch(game: DCGAN, real: Tensor, z: Tensor, number: int) -> Tensor:
        seen.append(real)
        return torch.tensor([1.0, 1.0])

    with monkeypatch.context() as patch:
        patch.setattr(DCGAN, "step", watch)
        go_on(tmp_path, **options)
    return seen


def test_an_epoch_shows_every_image_at_most_once_in_a_new_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    numbered = np.zeros((N_IMAGES, 32, 32, 3), np.uint8) + np.arange(N_IMAGES, dtype=np.uint8)[:, None, None, None]
    monkeypatch.setattr("dying_training.images", lambda: numbered)
    batches = batches_of(monkeypatch, tmp_path)
    shown = [((batch[:, 0, 0, 0] + 1) * 127.5).round().int().tolist() for batch in batches]
    epochs = [list(chain.from_iterable(shown[start : start + 5])) for start in (0, 5, 10)]
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) == 40  # whole batches: three of 43 images wait for the next epoch
    assert epochs[0] != epochs[1] != epochs[2]
    left_out = [set(range(N_IMAGES)) - set(epoch) for epoch in epochs]
    assert left_out[0] != left_out[1]


def test_images_are_scaled_to_minus_one_and_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    extremes = np.zeros((N_IMAGES, 32, 32, 3), np.uint8)
    extremes[:, :, 16:, 1] = 255
    extremes[:, 0, 0, 2] = 51
    monkeypatch.setattr("dying_training.images", lambda: extremes)
    batch = batches_of(monkeypatch, tmp_path)[0]
    assert batch.shape == (8, 3, 32, 32)
    assert batch.dtype == torch.float32
    assert torch.equal(batch[:, 1, :, 16:], torch.ones(8, 32, 16))
    assert torch.equal(batch[:, 0], -torch.ones(8, 32, 32))
    assert batch[:, 2, 0, 0].tolist() == pytest.approx([-0.6] * 8)


def test_images_that_lie_on_the_device_make_the_same_batches() -> None:
    settings = SETTINGS.resolved()
    read, resident = Batches(images(), settings, CPU), Batches(images(), settings, CPU)
    assert read.resident is None
    resident.resident = torch.from_numpy(images())
    assert all(map(torch.equal, read.from_step(3), resident.from_step(3)))
    assert len(list(resident.from_step(3))) == 12


def test_a_memory_map_trains_like_an_array(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", images())
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    settings = with_settings(max_steps=2)
    train(mapped, settings, tmp_path / "mapped", device=CPU)
    train(images(), settings, tmp_path / "array", device=CPU)
    one, other = (tmp_path / name / "generator.safetensors" for name in ("mapped", "array"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((N_IMAGES, 64, 64, 3), np.uint8), r"noise: images are uint8 \[43, 64, 64, 3\].*`size=32`"),
        (np.zeros((N_IMAGES, 32, 32, 3), np.float32), "noise: images are float32"),
        (np.zeros((N_IMAGES, 32, 32), np.uint8), r"\[43, 32, 32\]"),
        (np.zeros((42, 32, 32, 3), np.uint8), "42 images, where the settings say 43"),
    ],
)
def test_images_that_do_not_fit_are_refused_before_a_folder_is_made(
    tmp_path: Path, wrong: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train(wrong, SETTINGS, tmp_path / "run", device=CPU)
    assert not (tmp_path / "run").exists()


# Randomness.


@pytest.mark.parametrize("seed", [1, 2])
def test_the_seed_decides_the_weights_and_nothing_else_does(tmp_path: Path, seed: int) -> None:
    torch.manual_seed(seed)  # the global generator takes no part
    for folder, run_seed in (("one", 1), ("two", seed)):
        go_on(tmp_path / folder, with_settings(seed=run_seed, max_steps=2))
    one, two = ((tmp_path / name / "discriminator.safetensors").read_bytes() for name in ("one", "two"))
    assert (one == two) is (seed == 1)


def test_streams_of_random_numbers_are_their_own() -> None:
    drawn = [
        torch.rand(4, generator=generator_for(seed, stream, index)).tolist()
        for seed in (0, 1)
        for stream in ("init-d", "init-g", "order", "noise", "samples")
        for index in (0, 1)
    ]
    assert len({tuple(numbers) for numbers in drawn}) == 20
    assert torch.rand(4, generator=generator_for(1, "samples", 1)).tolist() == drawn[-1]


def test_noise_has_the_published_distributions() -> None:
    uniform = draw_noise(1000, 100, "uniform", generator_for(0, "noise"))
    normal = draw_noise(1000, 100, "normal", generator_for(0, "noise"))
    assert uniform.shape == normal.shape == (1000, 100)
    # 100,000 numbers: five standard errors of a mean are 0.016 times the standard deviation.
    assert -1 <= float(uniform.min()) < -0.999 < 0.999 < float(uniform.max()) < 1
    assert abs(float(uniform.mean())) < 0.016 * 3**-0.5
    assert abs(float((uniform**2).mean()) - 1 / 3) < 0.016 * 0.3
    assert abs(float(normal.mean())) < 0.016
    assert abs(float((normal**2).mean()) - 1) < 0.016 * 2**0.5
    assert float(normal.abs().max()) > 4
    with pytest.raises(ValueError, match="'gaussian'; choose uniform or normal"):
        draw_noise(1, 1, "gaussian", generator_for(0, "noise"))


def test_an_epochs_order_is_a_permutation_of_its_own() -> None:
    orders = [epoch_order(100, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(torch.equal(order.sort().values, torch.arange(100)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 4


def test_every_step_has_noise_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Tensor] = []

    def watch(game: DCGAN, real: Tensor, z: Tensor, number: int) -> Tensor:
        seen.append(z)
        return torch.tensor([1.0, 1.0])

    monkeypatch.setattr(DCGAN, "step", watch)
    go_on(tmp_path)
    assert len({tuple(z.flatten().tolist()) for z in seen}) == len(seen) == 15
    assert {z.shape for z in seen} == {(8, 5)}


# What a run leaves.


def test_the_log_has_a_line_a_step(tmp_path: Path) -> None:
    go_on(tmp_path)
    assert (tmp_path / "losses.csv").read_text().startswith("step,images_seen,d_loss,g_loss\n1,8,")
    log = log_of(tmp_path)
    np.testing.assert_array_equal(log[:, 0], np.arange(1, 16))
    np.testing.assert_array_equal(log[:, 1], 8 * np.arange(1, 16))
    # With weights of 0.02 the first logits are almost 0: two coin tosses for D, one for G.
    assert log[0, 2:] == pytest.approx([2 * np.log(2), np.log(2)], rel=0.02)


def test_max_steps_ends_a_run_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    result = go_on(tmp_path, with_settings(max_steps=7))
    assert (result.steps, result.images_seen, result.finished) == (7, 56, True)
    assert len(log_of(tmp_path)) == 7
    _, info = load_discriminator(tmp_path / "discriminator.safetensors")
    assert (info.images_seen, info.settings["steps"], info.trained_on) == (56, 7, "noise")


def test_settings_are_stored_resolved(tmp_path: Path) -> None:
    go_on(tmp_path, with_settings(z_dim=None, max_steps=1))
    stored = json.loads((tmp_path / "settings.json").read_text())
    assert stored["format"] == 1
    assert stored["settings"] == with_settings(z_dim=100, z="normal", max_steps=1).to_json()
    assert (stored["settings"]["recipe"], stored["settings"]["batch_size"]) == ("paper", 8)


def test_the_sample_grid_is_g_on_the_same_noise_every_epoch(tmp_path: Path) -> None:
    go_on(tmp_path)
    z = draw_noise(64, 5, "normal", generator_for(1, "samples"))
    generator, info = load_generator(tmp_path / "generator.safetensors")
    assert (info.z_dim, info.z, info.images_seen) == (5, "normal", 120)
    with Image.open(tmp_path / "samples" / "epoch-003.png") as image:
        picture = np.asarray(image)
    assert picture.shape == (8 * 34 + 2, 8 * 34 + 2, 3)
    np.testing.assert_array_equal(picture, grid(generate(generator, z)))
    # Another epoch's differs by what was learnt, a little; other noise gives other images.
    with Image.open(tmp_path / "samples" / "epoch-002.png") as image:
        before = np.asarray(image).astype(int)
    moved = np.abs(before - picture).mean()
    other = grid(generate(generator, draw_noise(64, 5, "normal", generator_for(2, "samples")))).astype(int)
    assert 0 < moved < np.abs(other - picture).mean() / 3


def test_a_grid_is_filled_row_by_row_between_white_borders() -> None:
    picture = grid(np.arange(5, dtype=np.uint8)[:, None, None, None] + np.zeros((5, 2, 2, 3), np.uint8), border=1)
    expected = [
        [255] * 10,
        [255, 0, 0, 255, 1, 1, 255, 2, 2, 255],
        [255, 0, 0, 255, 1, 1, 255, 2, 2, 255],
        [255] * 10,
        [255, 3, 3, 255, 4, 4, 255, 255, 255, 255],
        [255, 3, 3, 255, 4, 4, 255, 255, 255, 255],
        [255] * 10,
    ]
    assert picture.shape == (7, 10, 3)
    assert picture[:, :, 1].tolist() == expected


def test_generated_images_are_rounded_to_bytes() -> None:
    class Constant(torch.nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z[:, :, None, None].expand(-1, -1, 2, 2)

    z = torch.tensor([[-1.0, 1.0, 0.0], [-0.999, 0.5, -2.0]])
    made = generate(Constant(), z)  # type: ignore[arg-type]
    assert made.dtype == np.uint8
    assert made.shape == (2, 2, 2, 3)
    assert made[:, 0, 0].tolist() == [[0, 255, 128], [0, 191, 0]]


def test_bf16_trains_float32_weights_to_other_values(tmp_path: Path) -> None:
    for precision in ("fp32", "bf16"):
        go_on(tmp_path / precision, with_settings(precision=precision, max_steps=2))
    one, other = (load_generator(tmp_path / name / "generator.safetensors")[0] for name in ("fp32", "bf16"))
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        assert b.dtype == torch.float32
        assert not torch.equal(a, b), name
        # Two steps of Adam, each about lr = 2e-4 whatever the gradient: at most twice that apart.
        assert float((a - b).detach().abs().max()) < 4 * 2.1e-4, name


# A game that breaks down (NaN: test_resume.py).


def scripted(monkeypatch: pytest.MonkeyPatch, d_losses: dict[int, float]) -> None:
    """A game without play: D's loss is 1 but for the given steps' of the process."""
    steps = iter(range(1, 10_000))
    monkeypatch.setattr(
        DCGAN, "step", lambda self, real, z, number: torch.tensor([d_losses.get(next(steps), 1.0), 5.0])
    )


def test_a_collapsed_loss_of_d_stops_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run_folder, "COLLAPSE_WINDOW", 4)
    scripted(monkeypatch, dict.fromkeys(range(5, 16), 1e-4))
    with pytest.raises(TrainingFailed, match=r"step 8: D's loss has collapsed \(mean 0\.0001 over 4 steps\).*Try"):
        go_on(tmp_path)
    assert len(log_of(tmp_path)) == 8
    assert (tmp_path / "checkpoint-000000006.safetensors").exists()
    assert not (tmp_path / "checkpoint-000000008.safetensors").exists()


def test_a_moment_of_low_loss_is_not_a_collapse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run_folder, "COLLAPSE_WINDOW", 4)
    scripted(monkeypatch, dict.fromkeys((1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15), 1e-4))
    assert go_on(tmp_path).finished


def test_a_collapse_is_seen_however_often_the_run_is_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run_folder, "COLLAPSE_WINDOW", 4)
    monkeypatch.setattr(DCGAN, "step", lambda self, real, z, number: torch.tensor([1e-4, 5.0]))
    for _ in range(3):
        go_on(tmp_path, stop=after(1))
    with pytest.raises(TrainingFailed, match="step 4: D's loss has collapsed"):
        go_on(tmp_path, stop=after(1))


def test_a_learning_rate_far_too_large_stops_the_run_with_advice(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=r"(NaN|collapsed).*Try a lower `lr`"):
        go_on(tmp_path, with_settings(recipe=replace(SMALL_BATCHES, lr=1e30), epochs=100))


# Settings.


def test_defaults_are_the_papers() -> None:
    settings = TrainingSettings("ImageNet", "", 1_281_167).resolved()
    assert (settings.arch, settings.width, settings.z_dim, settings.z) == ("dcgan32", 1.0, 256, "uniform")
    assert (settings.recipe.name, settings.batch_size, settings.precision) == ("paper", 128, "fp32")
    assert (settings.recipe.lr, settings.recipe.beta1, settings.recipe.loss) == (2e-4, 0.5, "logistic")
    assert settings.steps_per_epoch == 10_009  # 1,281,167 = 10,009 * 128 + 15
    assert settings.total_steps == 30 * 10_009


@pytest.mark.parametrize(
    ("arch", "z_dim", "z"), [("dcgan32", 256, "uniform"), ("dcgan32-svhn", 100, "normal"), ("dcgan64", 100, "uniform")]
)
def test_noise_not_named_is_the_architectures(arch: str, z_dim: int, z: str) -> None:
    settings = TrainingSettings("", "", 128, arch=arch).resolved()
    assert (settings.z_dim, settings.z) == (z_dim, z)
    assert TrainingSettings("", "", 128, arch=arch, z_dim=7, z="normal").resolved().z_dim == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arch": "vgg"}, "unknown architecture 'vgg'"),
        ({"width": 0.0}, "width 0.0"),
        ({"epochs": 0}, "epochs 0"),
        ({"max_steps": 0}, "max_steps 0"),
        ({"recipe": replace(PAPER, batch_size=0)}, "batch_size 0"),
        ({"recipe": replace(PAPER, batch_size=1)}, "batch_size 1: batch norm needs at least 2"),
        ({"recipe": replace(PAPER, batch_size=44)}, "43 images are fewer than one batch of 44"),
        ({"recipe": replace(PAPER, lr=0.0)}, "lr 0.0"),
        ({"recipe": replace(PAPER, lr=float("nan"))}, "lr nan"),
        ({"recipe": replace(PAPER, beta1=1.0)}, "beta1 1.0"),
        ({"recipe": replace(PAPER, beta1=-0.1)}, "beta1 -0.1"),
        ({"z_dim": 0}, "z_dim 0"),
        ({"z": "laplace"}, "unknown noise 'laplace'"),
        ({"seed": -1}, "seed -1"),
        ({"precision": "fp16"}, "unknown precision 'fp16'"),
    ],
)
def test_impossible_settings_are_refused_before_a_folder_is_made(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        go_on(tmp_path / "run", with_settings(**change))
    assert not (tmp_path / "run").exists()


def test_checkpoints_need_a_positive_distance(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="checkpoint_every 0"):
        go_on(tmp_path / "run", checkpoint_every=0)
    assert not (tmp_path / "run").exists()


def test_too_little_memory_names_the_batch_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_step = DCGAN.step

    def step(self: DCGAN, real: Tensor, z: Tensor, number: int) -> Tensor:
        if len(real) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return real_step(self, real, z, number)

    monkeypatch.setattr(DCGAN, "step", step)
    settings = with_settings(recipe=replace(SETTINGS.recipe, batch_size=8))
    with pytest.raises(TrainingFailed, match=r"ran out of memory with `batch_size=8` .*: a `batch_size` of 2 fits"):
        train(images(), settings, tmp_path, device=CPU)

    def never(self: DCGAN, real: Tensor, z: Tensor, number: int) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    monkeypatch.setattr(DCGAN, "step", never)
    with pytest.raises(TrainingFailed, match="not even 2 images fit"):
        train(images(), settings, tmp_path, device=CPU, resume=True)
