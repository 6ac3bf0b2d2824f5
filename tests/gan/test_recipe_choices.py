"""Choices that make an image cheaper: views of other sizes, a game every few steps, a second view that is turned."""

import colorsys
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dying_training import SETTINGS, SMALL_BATCHES, after, go_on
from torch import Tensor

from repr_eval.gan.augmentation import Augmentation
from repr_eval.gan.auxiliary_tasks import Heads, telling_many_apart, telling_views_apart, turned
from repr_eval.gan.game import DCGAN
from repr_eval.gan.recipes import Recipe
from repr_eval.gan.views import YIQ, _hue_turned, augmented

CPU = torch.device("cpu")
CHEAP = replace(
    SMALL_BATCHES, name="cheap", tasks_read="mean", projection=(16, 8), projection_norm=True, contrast=1.0,
    rotation=1.0, rotation_from="second", game_every=3, fakes=0.5,
    views=Augmentation(crop=0.4, flip=True, size=24), d_average=0.9,
    small_views=Augmentation(crop=0.05, crop_to=0.3, size=16), n_small_views=2,
)  # fmt: skip


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def game_of(recipe: Recipe) -> DCGAN:
    return DCGAN(replace(SETTINGS, recipe=recipe).resolved(), CPU)


def real_and_noise(fakes: int = 8) -> tuple[Tensor, Tensor]:
    return torch.rand(8, 3, 32, 32, generator=rng()) * 2 - 1, torch.randn(fakes, 5, generator=rng(1))


# Views.


def test_views_of_another_size_show_the_same_image() -> None:
    line = (torch.arange(32) + 0.5) / 16 - 1  # an image that is its own map: red is x, green is y
    x = torch.stack([line.expand(32, 32), line[:, None].expand(32, 32), torch.zeros(32, 32)])[None]
    view = augmented(x, Augmentation(size=16), rng())
    assert view.shape == (1, 3, 16, 16)
    expected = (torch.arange(16) + 0.5) / 8 - 1
    torch.testing.assert_close(view[0, 0, 3], expected)
    torch.testing.assert_close(view[0, 1, :, 3], expected)


def test_crops_are_no_larger_than_asked() -> None:
    line = (torch.arange(64) + 0.5) / 32 - 1
    x = torch.stack([line.expand(64, 64), line[:, None].expand(64, 64), torch.zeros(64, 64)]).expand(300, -1, -1, -1)
    views = augmented(x, Augmentation(crop=0.1, crop_to=0.2), rng())
    area = ((views[:, :2, -1, -1] - views[:, :2, 0, 0]) / (line[-1] - line[0])).prod(1)
    assert 0.09 < float(area.min()) < 0.11
    assert 0.18 < float(area.max()) < 0.21


def test_a_turn_of_the_hue_keeps_grey_luma_and_saturation() -> None:
    grey = torch.full((1, 3, 2, 2), 0.3)
    torch.testing.assert_close(_hue_turned(grey, torch.tensor([1.0])), grey, atol=1e-3, rtol=0)
    x = torch.rand(5, 3, 4, 4, generator=rng())
    turned_x = _hue_turned(x, torch.full((5,), 0.7))
    yiq, turned_yiq = (torch.einsum("ij,njhw->nihw", torch.tensor(YIQ), images) for images in (x, turned_x))
    torch.testing.assert_close(turned_yiq[:, 0], yiq[:, 0])
    torch.testing.assert_close(turned_yiq[:, 1:].norm(dim=1), yiq[:, 1:].norm(dim=1))
    torch.testing.assert_close(_hue_turned(turned_x, torch.full((5,), 2 * math.pi - 0.7)), x, atol=1e-4, rtol=1e-4)


def test_a_third_of_a_turn_makes_red_green_or_blue() -> None:
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    hues = []
    for angle in (2 * math.pi / 3, -2 * math.pi / 3):
        colour = _hue_turned(red, torch.tensor([angle])).flatten().clamp(0, 1).tolist()
        hues.append(colorsys.rgb_to_hsv(*colour)[0])
    assert sorted(hues) == pytest.approx([1 / 3, 2 / 3], abs=0.12)  # YIQ's wheel is not quite HSV's


def test_colours_change_in_the_share_asked_for() -> None:
    x = torch.rand(400, 3, 8, 8, generator=rng()) * 2 - 1
    views = augmented(x, Augmentation(brightness=0.4, saturation=0.4, contrast=0.4, hue=0.1, jitter=0.3), rng(1))
    same = (views - x).abs().amax((1, 2, 3)) < 1e-5
    assert 230 < int(same.sum()) < 330  # 280 expected, standard deviation 9


# Contrast of many views.


def test_telling_many_views_apart_by_hand() -> None:
    # Two images, three views; every view of an image is its own axis: the mean of the others is that axis.
    axes = torch.eye(2).expand(3, 2, 2)
    expected = -math.log(math.exp(2.0) / (math.exp(2.0) + 1))
    assert telling_many_apart(axes, 0.5).item() == pytest.approx(expected)
    assert telling_many_apart(5 * axes, 0.5).item() == pytest.approx(expected)  # lengths do not count
    # One view of the first image points at the second: its own loss is the other way round, and others' means turn.
    odd = axes.clone()
    odd[0, 0] = torch.tensor([0.0, 1.0])
    u, total = odd, 0.0
    for v in range(3):
        others = torch.nn.functional.normalize(u.sum(0) - u[v], dim=1)
        for i in range(2):
            logits = u[v, i] @ others.T / 0.5
            total -= math.log(math.exp(logits[i]) / logits.exp().sum())
    assert telling_many_apart(odd, 0.5).item() == pytest.approx(total / 6, rel=1e-5)


def test_two_views_are_told_apart_as_simclr_does_and_more_by_means() -> None:
    heads = Heads((4, 6), replace(CHEAP, rotation=0.0))
    maps = [torch.randn(8, 6, side, side, generator=rng(side)) for side in (3, 3, 2, 2)]
    from repr_eval.gan.auxiliary_tasks import contrast_loss

    assert heads.projection is not None
    heads.projection.eval()
    u = [heads.projection(h.mean((2, 3))) for h in maps]
    two, four = contrast_loss(heads, [[h] for h in maps[:2]], 0.2), contrast_loss(heads, [[h] for h in maps], 0.2)
    torch.testing.assert_close(two, telling_views_apart(u[0], u[1], 0.2))
    torch.testing.assert_close(four, telling_many_apart(torch.stack(u), 0.2))


# One step.


def test_a_cheap_step_is_the_sum_of_its_parts() -> None:
    """D's gradient in a step with the game against the same step written down."""
    game, plain = game_of(CHEAP), game_of(CHEAP)
    D, G, heads = plain.discriminator, plain.generator, plain.heads
    assert CHEAP.views
    assert CHEAP.small_views
    assert heads.projection is not None
    assert heads.rotation is not None
    real, z = real_and_noise(4)
    game.step(real, z, 0)

    from repr_eval.system.random_streams import generator_for

    views = generator_for(plain.settings.seed, "views", 0)
    first = list(D.activations(augmented(real, CHEAP.views, views)))
    on_real, on_fake = D(real[:4]), D(G(z).detach())  # the game sees them as they are
    images, turns = turned(augmented(real, CHEAP.views, views))
    second = list(D.activations(images))
    small = list(D.activations(augmented(real.repeat(2, 1, 1, 1), CHEAP.small_views, views)))[-1]
    assert first[-1].shape[2:] == (3, 3)
    assert small.shape[2:] == (2, 2)
    read = [first[-1], second[-1], small[:8], small[8:]]
    loss = (
        torch.nn.functional.softplus(-on_real).mean() + torch.nn.functional.softplus(on_fake).mean()
        + torch.nn.functional.cross_entropy(heads.rotation(second[-1].mean((2, 3))), turns)
        + telling_many_apart(torch.stack([heads.projection(h.mean((2, 3))) for h in read]), 0.2)
    )  # fmt: skip
    loss.backward()
    for mine, its in ((game.discriminator, D), (game.heads, heads)):
        for (name, parameter), wanted in zip(mine.named_parameters(), its.parameters(), strict=True):
            assert parameter.grad is not None
            assert wanted.grad is not None
            assert float((parameter.grad - wanted.grad).norm() / wanted.grad.norm()) < 1e-3, name


def test_between_games_g_rests_and_d_learns_its_tasks() -> None:
    game = game_of(CHEAP)
    real, z = real_and_noise(4)
    assert game.step(real, z, 0).shape == (2,)
    before = {name: tensor.clone() for name, tensor in game.state().items()}
    for number in (1, 2):
        assert game.step(real, z, number).shape == (0,)
    changed = {name.split("/")[0] for name, tensor in game.state().items() if not torch.equal(tensor, before[name])}
    assert changed == {"discriminator", "discriminator-average", "heads", "adam-discriminator"}
    dense = "discriminator/dense.weight"
    assert not torch.equal(game.state()["discriminator/convs.0.weight"], before["discriminator/convs.0.weight"])
    assert torch.equal(game.state()[dense], before[dense])  # the game alone moves it
    assert game.step(real, z, 3).shape == (2,)


def test_a_game_that_does_not_shape_features_moves_the_logit_alone() -> None:
    game = game_of(replace(SMALL_BATCHES, game_shapes_features=False))
    before = {name: tensor.clone() for name, tensor in game.state().items()}
    game.step(*real_and_noise(), 0)
    moved = {name for name, tensor in game.state().items() if not torch.equal(tensor, before.get(name, tensor))}
    weights = {name for name in moved if name.startswith("discriminator/") and name.endswith("weight")}
    assert weights == {"discriminator/dense.weight"}
    assert any(name.startswith("generator/convs") for name in moved)  # G learns through D all the same


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_with_all_of_it_resumes_to_the_bit(tmp_path: Path, precision: str) -> None:
    settings = replace(SETTINGS, recipe=replace(CHEAP, warmup=2, weight_decay=0.1), max_steps=7, precision=precision)
    go_on(tmp_path / "whole", settings)
    for _ in range(7):
        go_on(tmp_path / "stopped", settings, stop=after(1))
    for name in ("discriminator.safetensors", "generator.safetensors", "losses.csv"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    steps = np.loadtxt(tmp_path / "whole" / "losses.csv", delimiter=",", skiprows=1)[:, 0]
    assert steps.tolist() == [1, 4, 7]  # of the game


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"rotation_from": "third"}, "rotation_from 'third'; choose own or second"),
        ({"rotation": 1.0, "rotation_from": "second"}, "rotation_from second: only contrast has a second view"),
        ({"n_small_views": 2}, "n_small_views 2: small_views must say how they are made"),
        ({"views": Augmentation(size=24)}, "views of another size: tasks_read must be mean, not last"),
        ({"views": Augmentation(), "r1": 1.0}, "views: consistency and r1 are of the views that the game sees"),
        ({"augmentation": Augmentation(size=24)}, "augmentation: the game sees images of their own size"),
        ({"game_every": 0}, "game_every 0 is not above 0"),
        ({"weight_decay": -0.1}, r"weight_decay -0\.1 is negative"),
        ({"decay": 1.0}, r"decay 1\.0 is not in \[0, 1\)"),
    ],
)
def test_impossible_choices_are_refused(choice: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL_BATCHES, **choice).check()  # type: ignore[arg-type]
