"""What a recipe is made of: losses, views, D's other tasks, averages; and that runs with all of them resume exactly."""

import copy
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dying_training import SETTINGS, SMALL_BATCHES, after, go_on
from torch import Tensor

from repr_eval.gan.augmentation import Augmentation
from repr_eval.gan.auxiliary_tasks import Heads, contrast_loss, rotation_loss, telling_views_apart, turned
from repr_eval.gan.game import DCGAN
from repr_eval.gan.losses import ADVERSARIAL_LOSSES, inconsistency, r1_penalty
from repr_eval.gan.recipes import LOSSES, PAPER, RECIPES, Recipe, recipe_named
from repr_eval.gan.views import augmented
from repr_eval.gan.weights import load_discriminator, load_generator, read_tensors
from repr_eval.system.random_streams import generator_for

CPU = torch.device("cpu")
EVERYTHING = replace(
    SMALL_BATCHES, name="everything", loss="relativistic", d_lr_factor=2.0, generator_width=2.0, fakes=0.5, r1=2.0,
    r1_every=3, augmentation=Augmentation(crop=0.5, flip=True, saturation=0.5, cutout=0.25), rotation=0.5,
    contrast=0.3, temperature=0.4, consistency=5.0, tasks_read="all", d_average=0.9, g_average=0.8,
)  # fmt: skip


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int = 8, side: int = 8) -> Tensor:
    return torch.rand(n, 3, side, side, generator=rng()) * 2 - 1


# Losses.


@pytest.mark.parametrize(
    ("name", "d_loss", "g_loss"),
    [
        # real logits 0 and 2, fake logits 0 and -1; softplus(0) = ln 2
        ("logistic", (math.log(2) + math.log1p(math.exp(-2))) / 2 + (math.log(2) + math.log1p(math.exp(-1))) / 2,
         (math.log(2) + math.log1p(math.e)) / 2),
        ("hinge", (1 + 0) / 2 + (1 + 0) / 2, 0.5),
        # less the other side's mean: real 0.5 and 2.5, fake -1 and -2
        ("relativistic", sum(math.log1p(math.exp(x)) for x in (-0.5, -2.5, -1, -2)) / 2,
         sum(math.log1p(math.exp(x)) for x in (0.5, 2.5, 1, 2)) / 2),
    ],
)  # fmt: skip
def test_adversarial_losses_by_hand(name: str, d_loss: float, g_loss: float) -> None:
    real, fake = torch.tensor([0.0, 2.0]), torch.tensor([0.0, -1.0])
    loss = ADVERSARIAL_LOSSES[name]
    assert float(loss.of_discriminator(real, fake)) == pytest.approx(d_loss)
    assert float(loss.of_generator(real, fake)) == pytest.approx(g_loss)


def test_the_relativistic_loss_sees_differences_only() -> None:
    real, fake = torch.randn(5, generator=rng()), torch.randn(5, generator=rng(1))
    for of in (ADVERSARIAL_LOSSES["relativistic"].of_discriminator, ADVERSARIAL_LOSSES["relativistic"].of_generator):
        assert float(of(real + 7, fake + 7)) == pytest.approx(float(of(real, fake)), rel=1e-5)


def test_r1_of_a_linear_discriminator_is_half_its_squared_slope() -> None:
    w, x = torch.randn(3, 4, 4, generator=rng()), torch.randn(6, 3, 4, 4, generator=rng(1)).requires_grad_()
    w.requires_grad_()
    penalty = r1_penalty((x * w).sum((1, 2, 3)), x)
    assert penalty.item() == pytest.approx(w.square().sum().item() / 2)
    penalty.backward()
    torch.testing.assert_close(w.grad, w.detach())


def test_inconsistency_by_hand() -> None:
    assert inconsistency(torch.tensor([1.0, -2.0]), torch.tensor([0.0, 1.0])).item() == 5.0


# Views.


def test_a_view_that_changes_nothing_is_the_image() -> None:
    x = pictures()
    assert torch.equal(augmented(x, Augmentation(), rng()), x)


def test_a_mirror_image_half_of_the_time() -> None:
    x = pictures(200)
    views = augmented(x, Augmentation(flip=True), rng())
    same = (views - x).abs().amax((1, 2, 3)) < 1e-5
    mirrored = (views - x.flip(3)).abs().amax((1, 2, 3)) < 1e-5
    assert bool((same ^ mirrored).all())
    assert 70 < int(mirrored.sum()) < 130  # 100 expected, standard deviation 7


def test_a_shift_is_by_whole_pixels_and_repeats_the_edge() -> None:
    x = pictures(100)
    views = augmented(x, Augmentation(translate=0.25), rng())
    found = []
    for image, view in zip(x, views, strict=True):
        padded = torch.nn.functional.pad(image[None], (2, 2, 2, 2), mode="replicate")[0]
        shifts = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if torch.allclose(padded[:, down : down + 8, right : right + 8], view, atol=1e-5)
        ]
        assert len(shifts) == 1
        found += shifts
    assert {down for down, _ in found} == {right for _, right in found} == {0, 1, 2, 3, 4}


def test_a_crop_shows_a_part_of_the_image_of_the_area_asked_for() -> None:
    # An image that is its own map: red is x, green is y, both -1 to 1 over the pixels' centres.
    line = (torch.arange(64) + 0.5) / 32 - 1
    x = torch.stack([line.expand(64, 64), line[:, None].expand(64, 64), torch.zeros(64, 64)]).expand(300, -1, -1, -1)
    views = augmented(x, Augmentation(crop=0.25), rng())
    size = (views[:, :2, -1, -1] - views[:, :2, 0, 0]) / (line[-1] - line[0])  # of the crop, as a share of the side
    area, aspect = size.prod(1), size[:, 0] / size[:, 1]
    assert 0.24 < float(area.min()) < 0.35
    assert 0.9 < float(area.max()) <= 1.001
    assert float(aspect.min()) > 3 / 4 * 0.99
    assert float(aspect.max()) < 4 / 3 * 1.01
    assert float(views.amin()) >= -1
    assert float(views.amax()) <= 1
    lefts = views[:, 0, 0, 0]
    assert float(lefts.min()) < -0.9
    assert float(lefts.max()) > -0.2


def test_colours() -> None:
    x = pictures(200)
    brighter = augmented(x, Augmentation(brightness=0.5), rng()) - x
    added = brighter.mean((1, 2, 3))
    torch.testing.assert_close(brighter, added.view(-1, 1, 1, 1).expand_as(x), atol=1e-5, rtol=0)
    assert -0.5 <= float(added.min()) < -0.45 < 0.45 < float(added.max()) <= 0.5
    grey = augmented(x, Augmentation(grey=0.3), rng())
    colourless = (grey[:, 0] - grey[:, 2]).abs().amax((1, 2)) < 1e-5
    assert 35 < int(colourless.sum()) < 85  # 60 expected, standard deviation 6.5
    torch.testing.assert_close(grey[~colourless], x[~colourless])
    contrast = augmented(x, Augmentation(contrast=0.5), rng())
    torch.testing.assert_close(contrast.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=1e-5, rtol=0)
    ratio = contrast.std((1, 2, 3)) / x.std((1, 2, 3))
    assert 0.5 <= float(ratio.min()) < 0.55 < 1.45 < float(ratio.max()) <= 1.5001


def test_a_square_is_cut_out() -> None:
    x = torch.ones(100, 3, 8, 8)
    views = augmented(x, Augmentation(cutout=0.5), rng())
    assert set(views.unique().tolist()) == {0.0, 1.0}
    for view in views:
        rows, columns = (view[0] == 0).any(1), (view[0] == 0).any(0)
        assert torch.equal(view[0] == 0, rows[:, None] & columns[None])
        assert 1 <= int(rows.sum()) <= 4
        assert 1 <= int(columns.sum()) <= 4


def test_views_depend_on_their_generator_alone_and_let_gradients_through() -> None:
    augmentation = EVERYTHING.augmentation
    assert augmentation is not None
    x = pictures().requires_grad_()
    one, two, other = (
        augmented(x, augmentation, rng()),
        augmented(x, augmentation, rng()),
        augmented(x, augmentation, rng(1)),
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    one.sum().backward()
    assert x.grad is not None
    assert bool((x.grad.abs().sum((1, 2, 3)) > 0).all())


# Tasks.


def test_images_are_turned_by_their_number() -> None:
    x = pictures(6)
    images, turns = turned(x)
    assert turns.tolist() == [0, 1, 2, 3, 0, 1]
    assert torch.equal(images[4], x[4])
    assert torch.equal(images[1][:, 0], x[1][:, :, -1])  # a quarter turn: the right edge comes to the top
    assert torch.equal(images[2], x[2].flip(1, 2))


def test_contrast_by_hand() -> None:
    # Two images with orthogonal projections: each view's partner is 1 / t, the two others are 0.
    u = torch.eye(2)
    expected = -math.log(math.exp(2) / (math.exp(2) + 2))
    assert float(telling_views_apart(u, 3 * u, temperature=0.5)) == pytest.approx(expected)  # lengths do not count
    # All views alike: one chance in 2N - 1.
    assert float(telling_views_apart(torch.ones(4, 3), torch.ones(4, 3), 0.5)) == pytest.approx(math.log(7))


@pytest.mark.parametrize(("reads", "expected"), [("last", 2 * 16), ("all", (1 + 2) * 16)])
def test_heads_read_the_features_of_the_last_layer_or_of_all(reads: str, expected: int) -> None:
    heads = Heads((1, 2), replace(PAPER, rotation=1.0, tasks_read=reads))
    maps = [torch.arange(64.0).view(1, 1, 8, 8), torch.arange(32.0).view(1, 2, 4, 4)]
    read = heads.read(maps)
    assert heads.rotation is not None
    assert read.shape == (1, expected) == (1, heads.rotation.in_features)
    assert torch.equal(read[0, -32:], torch.arange(32.0))
    if reads == "all":  # the maximum of each 2x2 cell is its lower right
        assert read[0, :16].tolist() == [8 * row + column for row in (1, 3, 5, 7) for column in (1, 3, 5, 7)]


def test_d_learns_which_way_is_up(tmp_path: Path) -> None:
    """Images that are light above and dark below: the rotation head tells their turns after a few steps."""
    settings = replace(SETTINGS, recipe=replace(SMALL_BATCHES, rotation=1.0, lr=1e-3)).resolved()
    game = DCGAN(settings, CPU)
    real = torch.linspace(1, -1, 32).view(1, 1, 32, 1).expand(8, 3, 32, 32) + 0.1 * torch.randn(
        8, 3, 32, 32, generator=rng()
    )
    for number in range(30):
        game.step(real, torch.randn(8, 5, generator=rng(number)), number)
    images, turns = turned(real)
    assert game.heads.rotation is not None
    seen = game.heads.read(list(game.discriminator.activations(images)))
    assert torch.equal(game.heads.rotation(seen).argmax(1), turns)


# One step.


def test_step_sizes_are_the_recipes() -> None:
    """Adam's first step is the step size in every coordinate with a gradient."""
    recipe = replace(SMALL_BATCHES, lr=1e-3, d_lr_factor=3.0)
    game = DCGAN(replace(SETTINGS, recipe=recipe).resolved(), CPU)
    before = {name: w.clone() for name, w in game.state().items()}
    game.step(pictures(side=32), torch.randn(8, 5, generator=rng()), 0)
    for name, lr in (("discriminator", 3e-3), ("generator", 1e-3)):
        moved = (game.state()[f"{name}/convs.1.weight"] - before[f"{name}/convs.1.weight"]).abs()
        assert float(moved.median()) == pytest.approx(lr, rel=1e-3)


def test_averages_move_as_stated() -> None:
    recipe = replace(SMALL_BATCHES, d_average=0.5, g_average=0.05)
    game = DCGAN(replace(SETTINGS, recipe=recipe).resolved(), CPU)
    expected = {}
    for number, decays in ((0, (0.1, 0.05)), (1, (2 / 11, 0.05)), (40, (0.5, 0.05))):
        before = {name: w.clone() for name, w in game.state().items()}
        game.step(pictures(side=32), torch.randn(8, 5, generator=rng()), number)
        for name, decay in zip(("discriminator", "generator"), decays, strict=True):
            average, weight = before[f"{name}-average/convs.1.weight"], game.state()[f"{name}/convs.1.weight"]
            expected[name] = decay * average + (1 - decay) * weight
            torch.testing.assert_close(game.state()[f"{name}-average/convs.1.weight"], expected[name])
    for name, network in (("discriminator", game.discriminator), ("generator", game.generator)):
        published = game.published_discriminator if name == "discriminator" else game.published_generator
        torch.testing.assert_close(published.state_dict()["convs.1.weight"], expected[name])
        for mine, its in zip(published.buffers(), network.buffers(), strict=True):
            assert torch.equal(mine, its)


def test_a_step_with_everything_is_the_sum_of_its_parts() -> None:
    """The gradients of both updates against the same step written down, with each part's weight from EVERYTHING."""
    settings = replace(SETTINGS, recipe=EVERYTHING).resolved()
    game, plain = DCGAN(settings, CPU), DCGAN(settings, CPU)
    D, G, heads = plain.discriminator, plain.generator, plain.heads
    loss, augmentation = ADVERSARIAL_LOSSES["relativistic"], EVERYTHING.augmentation
    assert augmentation is not None
    real, z, number = pictures(side=32), torch.randn(4, 5, generator=rng()), 3
    losses = game.step(real, z, number)

    views = generator_for(settings.seed, "views", number)
    fake = G(z)
    # In the order in which they are drawn.
    seen, seen_fake, to_turn, second = (augmented(x, augmentation, views) for x in (real, fake.detach(), real, real))
    seen.requires_grad_()
    images, turns = turned(to_turn)
    maps, turned_maps, second_maps = (list(D.activations(x)) for x in (seen, images, second))
    on_real, on_fake, on_second = D(seen), D(seen_fake), D(second)
    d_loss = loss.of_discriminator(on_real, on_fake)
    others = (
        2.0 * 3 * r1_penalty(on_real, seen)
        + 0.5 * rotation_loss(heads, turned_maps, turns)
        + 0.3 * contrast_loss(heads, [maps, second_maps], 0.4)
        + 5.0 * inconsistency(on_real, on_second)
    )
    (d_loss + others).backward()
    D = copy.deepcopy(game.discriminator).requires_grad_(False)  # G plays against the D just updated
    g_loss = loss.of_generator(D(augmented(real, augmentation, views)), D(augmented(fake, augmentation, views)))
    g_loss.backward()

    assert losses.tolist() == pytest.approx([d_loss.item(), g_loss.item()], rel=1e-5)
    for name in ("discriminator", "heads", "generator"):
        mine, its = getattr(game, name), getattr(plain, name)
        for (parameter, found), wanted in zip(mine.named_parameters(), its.parameters(), strict=True):
            difference = (found.grad - wanted.grad).norm() / wanted.grad.norm()
            assert float(difference) < 1e-3, f"{name} {parameter}"


@pytest.mark.parametrize(
    "choice",
    [
        {"loss": "hinge"},
        {"loss": "relativistic"},
        {"d_lr_factor": 2.0},
        {"beta2": 0.9},
        {"fakes": 0.5},
        {"r1": 10.0},
        {"augmentation": Augmentation(brightness=0.1)},
        {"rotation": 1.0},
        {"contrast": 1.0},
        {"consistency": 10.0, "augmentation": Augmentation(flip=True)},
        {"d_average": 0.9},
    ],
)
def test_every_choice_changes_what_is_published(tmp_path: Path, choice: dict[str, Any]) -> None:
    changed = replace(SMALL_BATCHES, **choice)
    for folder, recipe in (("paper", SMALL_BATCHES), ("changed", changed)):
        go_on(tmp_path / folder, replace(SETTINGS, recipe=recipe, max_steps=2))
    one, other = (read_tensors(tmp_path / name / "discriminator.safetensors")[0] for name in ("paper", "changed"))
    assert sorted(one) == sorted(other)  # heads and averages are no part of it
    assert not torch.equal(one["convs.1.weight"], other["convs.1.weight"])


def test_a_penalty_is_computed_every_so_many_steps() -> None:
    def after_step(number: int, **choice: Any) -> Tensor:
        recipe = replace(SMALL_BATCHES, r1_every=4, **choice)
        game = DCGAN(replace(SETTINGS, recipe=recipe).resolved(), CPU)
        game.step(pictures(side=32), torch.randn(8, 5, generator=rng()), number)
        return game.discriminator.state_dict()["convs.1.weight"]

    for number in range(5):
        assert torch.equal(after_step(number, r1=10.0), after_step(number)) is (number % 4 != 0)


# Runs.


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_with_everything_stopped_after_every_step_is_the_same(tmp_path: Path, precision: str) -> None:
    settings = replace(SETTINGS, recipe=EVERYTHING, max_steps=6, precision=precision)
    go_on(tmp_path / "whole", settings)
    for _ in range(6):
        go_on(tmp_path / "stopped", settings, stop=after(1))
    for name in (
        "discriminator.safetensors",
        "generator.safetensors",
        "losses.csv",
        "checkpoint-000000006.safetensors",
    ):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_what_is_published_says_how_it_was_made(tmp_path: Path) -> None:
    go_on(tmp_path, replace(SETTINGS, recipe=EVERYTHING, max_steps=1))
    d, d_info = load_discriminator(tmp_path / "discriminator.safetensors")
    g, g_info = load_generator(tmp_path / "generator.safetensors")
    assert (d_info.width, g_info.width, d.width, g.width) == (0.03, 0.06, 0.03, 0.06)
    assert d_info.settings["recipe"] == "everything"
    assert d_info.settings["augmentation"]["crop"] == 0.5
    assert g_info.settings["g_average"] == 0.8


def test_fewer_fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = []

    def watch(game: DCGAN, real: Tensor, z: Tensor, number: int) -> Tensor:
        seen.append((len(real), len(z), number))
        return torch.tensor([1.0, 1.0])

    monkeypatch.setattr(DCGAN, "step", watch)
    go_on(tmp_path, replace(SETTINGS, recipe=replace(SMALL_BATCHES, fakes=0.5), max_steps=3))
    assert seen == [(8, 4, 0), (8, 4, 1), (8, 4, 2)]


# The table.


def test_names_and_the_paper() -> None:
    assert all(name == recipe.name for name, recipe in RECIPES.items())
    assert recipe_named("paper") is PAPER
    with pytest.raises(ValueError, match="unknown recipe 'papre'; choose from paper, contrastive"):
        recipe_named("papre")
    off = {f.name: getattr(PAPER, f.name) for f in fields(Recipe)}
    assert {name for name, value in off.items() if not value} == {
        "r1", "augmentation", "rotation", "contrast", "consistency", "d_average", "g_average", "projection_norm",
        "views", "small_views", "n_small_views", "weight_decay", "warmup", "decay",
    }  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_every_recipe_trains(tmp_path: Path, recipe: Recipe) -> None:
    small = replace(recipe, batch_size=8)
    assert go_on(tmp_path, replace(SETTINGS, recipe=small, max_steps=2)).finished
    assert np.isfinite(np.loadtxt(tmp_path / "losses.csv", delimiter=",", skiprows=1)).all()


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"loss": "wasserstein"}, "unknown loss 'wasserstein'; choose from logistic, hinge, relativistic"),
        ({"d_lr_factor": 0.0}, r"d_lr_factor 0\.0 is not above 0"),
        ({"generator_width": -1.0}, r"generator_width -1\.0"),
        ({"fakes": float("nan")}, "fakes nan"),
        ({"temperature": 0.0}, r"temperature 0\.0"),
        ({"r1_every": 0}, "r1_every 0"),
        ({"tasks_read": "first"}, "tasks_read 'first'; choose last, all or mean"),
        ({"r1": -1.0}, r"r1 -1\.0 is negative"),
        ({"rotation": -1.0}, r"rotation -1\.0"),
        ({"contrast": float("nan")}, "contrast nan"),
        ({"beta2": 1.0}, r"beta2 1\.0 is not in \[0, 1\)"),
        ({"d_average": 1.0}, r"d_average 1\.0"),
        ({"g_average": -0.1}, r"g_average -0\.1"),
    ],
)
def test_impossible_choices_are_refused(tmp_path: Path, choice: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        go_on(tmp_path / "run", replace(SETTINGS, recipe=replace(SMALL_BATCHES, **choice)))
    assert not (tmp_path / "run").exists()


def test_unmirrored_is_contrastive_without_mirror_images() -> None:
    mirrored, plain = recipe_named("contrastive"), recipe_named("contrastive-unmirrored")
    assert mirrored.augmentation
    assert mirrored.augmentation.flip
    assert replace(mirrored, name=plain.name, augmentation=replace(mirrored.augmentation, flip=False)) == plain


def test_the_losses_that_a_recipe_may_name_are_those_there_are() -> None:
    assert tuple(ADVERSARIAL_LOSSES) == LOSSES
