"""Exemplar CNN: transformations by hand, where seed patches come from, a surrogate task that can be learned."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from repr_eval.representations.exemplar import (
    SIZES,
    ExemplarCNN,
    ExemplarNetwork,
    ExemplarSettings,
    endless_batches,
    exemplar_cnn,
    quadrant_maxima,
)
from repr_eval.representations.exemplar_views import (
    N_NUMBERS,
    RANGES,
    Colours,
    Transformations,
    colours_of,
    contrasted,
    draw_patches,
    recoloured,
    resampled,
    to_hsv,
    to_rgb,
    transformations,
    transformed,
)

COLOURS = Colours(torch.tensor([0.5, 0.4, 0.3]), torch.linalg.qr(torch.tensor([[2.0, 1, 0], [1, 3, 1], [0, 1, 4]]))[0])
TINY = ExemplarSettings(
    classes=20, views=50, side=32, schedule=((0.01, 90), (0.001, 30)), batch=32, gain=4.0,
    initial=(0.16, 0.1, 0.06, 0.01), last_rate=1.0, decay=0.0005, maps=(8, 8), units=32,
)  # fmt: skip


def identity(n: int) -> Transformations:
    neutral = {"scale": 1.0, "contrast": 1.0, "power": 1.0, "factor": 1.0}
    return Transformations(*(torch.full((n, r[2]), neutral.get(name, 0.0)) for name, r in RANGES.items()))


def noise(n: int, side: int = 32, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


def images_of(n: int, seed: int = 0) -> np.ndarray:
    """Distinct smooth images uint8 [n, 32, 32, 3]."""
    smooth = F.interpolate(noise(n, 4, seed), (32, 32), mode="bilinear")
    return (smooth * 255).byte().permute(0, 2, 3, 1).numpy()


def pixel(*values: float) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


def test_the_identity_leaves_a_patch_as_it_is() -> None:
    x = noise(3)
    torch.testing.assert_close(transformed(x, torch.zeros(3, 2), identity(3), COLOURS, 32), x, atol=1e-5, rtol=0)


def test_a_translation_by_whole_pixels_moves_the_patch_and_repeats_its_edge() -> None:
    x = noise(2)
    t = identity(2)._replace(shift=torch.tensor([[3 / 32, 2 / 32], [-1 / 32, 0.0]]))
    y = resampled(x, torch.zeros(2, 2), t, 32)
    torch.testing.assert_close(y[0, :, 2:, 3:], x[0, :, :-2, :-3], atol=1e-5, rtol=0)
    torch.testing.assert_close(y[0, :, 2:, 0], x[0, :, :-2, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(y[1, :, :, :-1], x[1, :, :, 1:], atol=1e-5, rtol=0)


def test_a_quarter_turn_is_rot90_and_comes_before_the_translation() -> None:
    x = noise(1)
    t = identity(1)._replace(angle=torch.tensor([[90.0]]))
    turned = torch.rot90(x, 1, (2, 3))
    torch.testing.assert_close(resampled(x, torch.zeros(1, 2), t, 32), turned, atol=1e-4, rtol=0)
    moved = resampled(x, torch.zeros(1, 2), t._replace(shift=torch.tensor([[4 / 32, 0.0]])), 32)
    torch.testing.assert_close(moved[..., 4:], turned[..., :-4], atol=1e-4, rtol=0)


def test_scaling_enlarges_what_is_in_the_centre() -> None:
    across = torch.linspace(-31, 31, 32).expand(1, 3, 32, 32)
    t = identity(1)._replace(scale=torch.tensor([[2.0]]))
    torch.testing.assert_close(resampled(across, torch.zeros(1, 2), t, 32), across / 2, atol=1e-4, rtol=0)


def test_a_patch_is_a_window_of_the_enlarged_image() -> None:
    x = noise(1)
    enlarged = F.interpolate(x, (64, 64), mode="bilinear", align_corners=False)
    centre = torch.tensor([[(6 + 16) / 32 - 1, (20 + 16) / 32 - 1]])  # 6 to 38 across, 20 to 52 down
    y = resampled(x, centre, identity(1), 64)
    torch.testing.assert_close(y, enlarged[..., 20:52, 6:38], atol=1e-5, rtol=0)


def test_contrast_by_hand_along_axes_that_are_turned() -> None:
    # (0.3, 0.1, 0.2) from the mean is 0.1 (1, -1, 0) + 0.2 (1, 1, 0) + 0.2 (0, 0, 1): the three axes, unscaled.
    half = 0.5**0.5
    axes = torch.tensor([[half, half, 0], [-half, half, 0], [0, 0, 1]])
    t = identity(1)._replace(contrast=torch.tensor([[0.5, 2.0, 1.5]]))
    y = contrasted(pixel(0.6, 0.5, 0.7), t, Colours(torch.tensor([0.3, 0.4, 0.5]), axes))
    torch.testing.assert_close(y, pixel(0.3 + 0.05 + 0.4, 0.4 - 0.05 + 0.4, 0.5 + 0.3))
    t = identity(1)._replace(contrast=torch.tensor([[2.0, 0.5, 1.5]]))
    clipped = contrasted(pixel(1.0, 0.0, 0.5), t, Colours(torch.tensor([0.5, 0.5, 0.5]), torch.eye(3)))
    torch.testing.assert_close(clipped, pixel(1.0, 0.25, 0.5))


def test_principal_components_of_planted_colours() -> None:
    rng = np.random.default_rng(0)
    along = rng.normal(0, 30, (4, 16, 16, 1)) * np.array([2, 1, 0]) / 5**0.5
    images = (np.array([120, 90, 60]) + along + rng.normal(0, 3, (4, 16, 16, 3))).clip(0, 255).astype(np.uint8)
    mean, axes = colours_of(images)
    torch.testing.assert_close(mean, torch.from_numpy(images.mean((0, 1, 2)) / 255).float())
    torch.testing.assert_close(axes.T @ axes, torch.eye(3))
    torch.testing.assert_close(axes[:, 2].abs(), torch.tensor([2, 1, 0]) / 5**0.5, atol=0.02, rtol=0)


def test_saturation_value_and_hue_by_hand() -> None:
    # Of (0.2, 0.4, 0.6): value 0.6, saturation 2/3, hue 7/12 (a twelfth of a turn beyond cyan).
    x = pixel(0.2, 0.4, 0.6)
    torch.testing.assert_close(to_hsv(x), pixel(7 / 12, 2 / 3, 0.6))
    t = identity(1)
    torch.testing.assert_close(recoloured(x, t._replace(hue=torch.tensor([[1 / 12]]))), pixel(0.2, 0.2, 0.6))
    raised = t._replace(power=torch.tensor([[1.0, 2.0]]))  # value 0.36
    torch.testing.assert_close(recoloured(x, raised), pixel(0.12, 0.24, 0.36))
    scaled = t._replace(factor=torch.tensor([[0.75, 1.0]]))  # saturation 1/2
    torch.testing.assert_close(recoloured(x, scaled), pixel(0.3, 0.45, 0.6))
    added = t._replace(addend=torch.tensor([[0.5, 0.3]]))  # saturation at its limit, value 0.9
    torch.testing.assert_close(recoloured(x, added), pixel(0.0, 0.45, 0.9))


def test_colours_return_from_hue_saturation_and_value_greys_too() -> None:
    x = torch.cat([noise(2, 16), torch.full((1, 3, 16, 16), 0.4), torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)])
    hsv = to_hsv(x)
    assert ((hsv >= 0) & (hsv <= 1)).all()
    torch.testing.assert_close(to_rgb(hsv), x, atol=1e-6, rtol=0)


def test_transformations_lie_in_the_published_ranges() -> None:
    low, high = transformations(torch.zeros(1, N_NUMBERS)), transformations(torch.ones(1, N_NUMBERS))
    published = [
        ([-0.2] * 2, [0.2] * 2), ([0.7], [1.4]), ([-20], [20]), ([0.5] * 3, [2] * 3), ([0.25] * 2, [4] * 2),
        ([0.7] * 2, [1.4] * 2), ([-0.1] * 2, [0.1] * 2), ([-0.1], [0.1]),
    ]  # fmt: skip
    for lowest, highest, (first, last) in zip(low, high, published, strict=True):
        torch.testing.assert_close(lowest[0], torch.tensor(first, dtype=torch.float32))
        torch.testing.assert_close(highest[0], torch.tensor(last, dtype=torch.float32))
    middle = transformations(torch.full((1, N_NUMBERS), 0.5))
    torch.testing.assert_close(middle.power, torch.ones(1, 2))  # as often raised as lowered
    torch.testing.assert_close(middle.scale, torch.tensor([[1.05]]))


def test_every_number_of_a_transformation_changes_the_view() -> None:
    n = N_NUMBERS + 1
    numbers = torch.full((n, N_NUMBERS), 0.5)
    numbers[torch.arange(N_NUMBERS), torch.arange(N_NUMBERS)] = 0.9
    y = transformed(noise(1).expand(n, -1, -1, -1), torch.zeros(n, 2), transformations(numbers), COLOURS, 32)
    assert ((y >= 0) & (y <= 1)).all()
    apart = torch.cdist(y.flatten(1), y.flatten(1)) + torch.eye(n)
    assert apart.min() > 0.1


def test_seed_patches_are_drawn_where_there_are_gradients() -> None:
    images = np.full((12, 32, 32, 3), 90, np.uint8)
    rng = np.random.default_rng(0)
    images[4:9, 26:, :5] = rng.integers(0, 256, (5, 6, 5, 3))  # lower left
    which, centres = draw_patches(images, 5, 64, torch.Generator().manual_seed(0))
    assert sorted(which.tolist()) == [4, 5, 6, 7, 8]
    # A window of 16x16 of the image's pixels reaches rows from 26 on and columns before 5: 10 to 26 down, 0 to 20.
    across, down = ((centres + 1) * 16).unbind(1)
    assert ((across >= 8) & (across <= 12) & (down > 18) & (down <= 24)).all()
    assert len(set(zip(across.tolist(), down.tolist(), strict=True))) > 1
    _, whole = draw_patches(images, 5, 32, torch.Generator().manual_seed(0))
    assert whole.tolist() == [[0.0, 0.0]] * 5
    with pytest.raises(ValueError, match=r"6 patches .* only 5 of 12"):
        draw_patches(images, 6, 32, torch.Generator())


def test_quadrants_of_nine_answers_and_of_one() -> None:
    h = torch.zeros(1, 1, 9, 9)
    h[0, 0, 4, 4], h[0, 0, 4, 5], h[0, 0, 5, 4], h[0, 0, 5, 5] = 1, 2, 3, 4
    assert quadrant_maxima(h).tolist() == [[1, 2, 3, 4]]
    assert quadrant_maxima(torch.tensor([[[[5.0]], [[6.0]]]])).tolist() == [[5, 6]]


def test_the_dense_layer_answers_alike_moved_over_an_image_and_in_training() -> None:
    network = ExemplarNetwork(replace(TINY, dropout=0.0), torch.Generator().manual_seed(0))
    x = noise(2)
    h1, h2, dense = network.answers(x)
    assert (h1.shape, h2.shape, dense.shape) == ((2, 8, 32, 32), (2, 8, 16, 16), (2, 32, 1, 1))
    torch.testing.assert_close(network.softmax(dense.flatten(1)), network(x, torch.Generator()))
    assert network.answers(noise(1, 64))[2].shape == (1, 32, 9, 9)


def test_dropout_follows_from_the_generator_and_keeps_the_mean() -> None:
    network = ExemplarNetwork(replace(TINY, dropout=0.75), torch.Generator().manual_seed(0))
    n = 500
    x = noise(1).expand(n, -1, -1, -1)
    with torch.no_grad():
        one, two = (network(x, torch.Generator().manual_seed(seed)) for seed in (0, 1))
        again = network(x, torch.Generator().manual_seed(0))
        whole = network.softmax(network.answers(x[:1])[2].flatten(1))[0]
    assert torch.equal(one, again)
    assert not torch.equal(one, two)
    assert (one.std(0) > 0).all()
    assert ((one.mean(0) - whole).abs() < 5 * one.std(0) / n**0.5).all()


def test_rates_and_decay_of_the_released_configuration() -> None:
    network = ExemplarNetwork(replace(SIZES["published"], classes=7, maps=(4, 6), units=8), torch.Generator())
    optimiser = network.optimiser(SIZES["published"])
    found = {
        id(parameter): (group["share"], group["share"] * group["weight_decay"])
        for group in optimiser.param_groups
        for parameter in group["params"]
    }
    expected = {"conv1": (1, 0), "conv2": (1, 0), "dense": (1, 0.004), "softmax": (0.25, 0.004)}
    for name, parameter in network.named_parameters():
        layer, kind = name.split(".")
        assert found[id(parameter)] == (expected[layer] if kind == "weight" else (2, 0)), name


def test_a_step_goes_as_far_as_the_rates_of_the_settings_say() -> None:
    def trained(rate: float, last_rate: float, bias_rate: float) -> dict[str, Tensor]:
        settings = replace(TINY, schedule=((rate, 1),), last_rate=last_rate, bias_rate=bias_rate, decay=0.0)
        model = ExemplarCNN(settings)
        model.fit(images_of(24))
        return dict(model.network.named_parameters())

    start, plain = trained(0.0, 1.0, 1.0), trained(1.0, 1.0, 1.0)
    for name, parameter in trained(1.0, 0.25, 3.0).items():
        share = 3 if name.endswith("bias") else 0.25 if name == "softmax.weight" else 1
        step = plain[name] - start[name]
        assert step.abs().max() > 1e-3
        torch.testing.assert_close(parameter - start[name], share * step, atol=1e-5, rtol=1e-3)


def test_first_weights_have_the_spread_of_the_settings() -> None:
    network = ExemplarNetwork(replace(SIZES["published"], classes=50), torch.Generator().manual_seed(0))
    weights, biases = network.weights_and_biases()
    assert [float(w.detach().std()) for w in weights] == pytest.approx([1e-4, 0.01, 0.005, 0.01], rel=0.05)
    for bias, value in zip(biases, (0.1, 0.1, 0.1, 0.0), strict=True):
        torch.testing.assert_close(bias.detach(), torch.full_like(bias, value))


def test_every_pass_takes_every_sample_once() -> None:
    drawn = endless_batches(10, 4, torch.Generator().manual_seed(0))
    passes = [torch.cat([next(drawn) for _ in range(3)]) for _ in range(2)]
    assert [sorted(p.tolist()) for p in passes] == [list(range(10))] * 2
    assert passes[0].tolist() != passes[1].tolist()


def test_features_follow_from_the_seed() -> None:
    images, settings = images_of(24), replace(TINY, schedule=((0.01, 3),))
    made = []
    for seed in (0, 0, 1):
        model = ExemplarCNN(settings, seed).fit(images)
        made.append(model.transform(images))
    np.testing.assert_array_equal(made[0], made[1])
    assert np.abs(made[0] - made[2]).max() > 0.1


def test_the_surrogate_task_is_learned_and_features_do_not_depend_on_what_else_is_in_the_call() -> None:
    images = images_of(24)
    model = ExemplarCNN(TINY).fit(images)
    out = model.transform(images)
    assert out.shape == (24, 4 * 16 + 32)
    np.testing.assert_allclose(model.transform(images[7:8]), out[7:8], atol=1e-5)
    for layer in np.split(out, [32, 64], 1):
        assert layer.min() >= 0
        assert 0.9 < layer.max() < 1.1

    model.network.dropout = 0
    x, labels = model.views(torch.arange(20 * 50))
    assert torch.bincount(labels).tolist() == [50] * 20
    assert torch.equal(x, model.views(torch.arange(20 * 50))[0])
    with torch.no_grad():
        accuracy = (model.network(x, torch.Generator()).argmax(1) == labels).float().mean()
    assert accuracy > 0.4  # chance: 0.05


def test_images_are_enlarged_where_the_settings_say_so() -> None:
    settings = replace(TINY, side=64, schedule=((0.01, 1),))
    model, images = ExemplarCNN(settings).fit(images_of(24)), images_of(3, seed=1)
    out = model.transform(images)
    assert out.shape[1] == 4 * (8 + 8 + 32)
    x = F.interpolate(torch.from_numpy(images).permute(0, 3, 1, 2) / 255, (64, 64), mode="bilinear")
    with torch.no_grad():
        h1 = model.network.answers((x - model.colours.mean.view(3, 1, 1)) * settings.gain)[0]
    upper_right = h1[:, 5, :32, 32:].amax((1, 2)) / model.scales[0]
    np.testing.assert_allclose(out[:, 4 * 5 + 1], upper_right, atol=1e-5)


@pytest.mark.parametrize("size", ["published", "small"])
def test_the_description_has_every_setting(size: str) -> None:
    description = exemplar_cnn(3, size=size).description
    assert {field.name for field in fields(ExemplarSettings)} < set(description.settings)
    assert json.loads(json.dumps(description.settings)) == description.settings
    assert description.settings["seed"] == 3
    assert size in description.method
    assert "64c5-64c5-128f" in description.method
    assert (description.n_features, description.max_units) == ({"published": 1024, "small": 640}[size], 128)
    steps, samples = sum(steps for _, steps in SIZES[size].schedule), SIZES[size].classes * SIZES[size].views
    passes = steps * SIZES[size].batch / samples
    assert passes == pytest.approx({"published": 166.4, "small": 0.9984}[size])


def test_bad_input_is_named() -> None:
    images = images_of(24)
    with pytest.raises(ValueError, match="unknown size 'big'; choose from published, small"):
        exemplar_cnn(0, size="big")
    with pytest.raises(ValueError, match="side 48"):
        replace(TINY, side=48)
    with pytest.raises(ValueError, match="dropout 1"):
        replace(TINY, dropout=1.0)
    with pytest.raises(ValueError, match="views 0"):
        replace(TINY, views=0)
    with pytest.raises(ValueError, match="last_rate 0"):
        replace(TINY, last_rate=0.0)
    with pytest.raises(ValueError, match="trained first"):
        ExemplarCNN(TINY).transform(images)
    with pytest.raises(ValueError, match=r"loss is (nan|inf) at step 1 "):
        ExemplarCNN(replace(TINY, schedule=((1e30, 5),))).fit(images)
