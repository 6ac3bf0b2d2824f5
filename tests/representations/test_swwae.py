"""The what-where autoencoder: pooling with positions and back, its loss by hand, dropout, batch-norm statistics."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from factories import random_images
from torch.nn import functional as F

from repr_eval.representations.autoencoders import Training
from repr_eval.representations.swwae import (
    SIZES,
    WhatWhereAutoencoder,
    WhatWhereFeatures,
    WhatWhereSettings,
    pool,
    unpool,
    what_where_autoencoder,
)  # fmt: skip
from repr_eval.system.random_streams import dropped

TINY = WhatWhereSettings(
    stages=(((4, 3),), ((6, 3), (8, 3))), lambda_rec=1.0, lambda_m=0.2, dropout=0.0, statistics_from=1000,
    training=Training(images_seen=160, batch=16, learning_rate=1e-2),
)  # fmt: skip
PLAIN = torch.Generator()


def test_unpooling_returns_maxima_to_their_places_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0, 0.0, 9.0], [3.0, 4.0, 5.0, 6.0], [7.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 8.0]])
    what, where = pool(x[None, None])
    assert what[0, 0].tolist() == [[4, 9], [7, 8]]
    assert unpool(what, where)[0, 0].tolist() == [[0, 0, 0, 9], [0, 4, 0, 0], [7, 0, 0, 0], [0, 0, 0, 8]]
    other = torch.tensor([[[[10.0, 20.0], [30.0, 40.0]]]])  # what the decoder has made of "what"
    assert unpool(other, where)[0, 0].tolist() == [[0, 0, 0, 20], [0, 10, 0, 0], [30, 0, 0, 0], [0, 0, 0, 40]]


def test_unpooling_inverts_the_pooling_of_maps_with_one_value_a_cell() -> None:
    generator = torch.Generator().manual_seed(0)
    place = torch.randint(4, (5, 7, 6, 6), generator=generator)
    cells = F.one_hot(place, 4) * (0.1 + torch.rand(5, 7, 6, 6, 1, generator=generator))
    x = cells.view(5, 7, 6, 6, 2, 2).permute(0, 1, 2, 4, 3, 5).reshape(5, 7, 12, 12)
    assert (x != 0).float().mean().item() == pytest.approx(0.25)
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.testing.assert_close(unpool(*pool(x.contiguous(memory_format=layout))), x, rtol=0, atol=0)


def test_dropout_leaves_the_mean_and_drops_the_share_asked_for() -> None:
    x = torch.ones(100, 10, 8, 8)
    out = dropped(x, 0.2, torch.Generator().manual_seed(0))
    assert out.unique().tolist() == pytest.approx([0, 1.25])
    assert (out == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert dropped(x, 0.0, PLAIN) is x


def test_the_loss_by_hand() -> None:
    network = WhatWhereAutoencoder(replace(TINY, lambda_rec=3.0, lambda_m=0.7))
    x = torch.rand(5, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        lower, upper = network.stack
        (h1,) = lower.encode(x)
        what1, where1 = pool(h1)
        *_, h3 = upper.encode(what1)
        what2, where2 = pool(h3)
        made = F.relu(upper.decode(unpool(what2, where2)))
        image = lower.decode(unpool(made, where1))
        expected = 3 * (image - x).square().mean() + 0.7 * (made - what1).square().mean()
        torch.testing.assert_close(network.loss(x, PLAIN), expected)


def test_dropout_reaches_the_decoder_and_the_next_stage() -> None:
    network = WhatWhereAutoencoder(TINY)
    x = torch.rand(4, 3, 16, 16)
    one, same, other, none = (
        torch.Generator().manual_seed(0), torch.Generator().manual_seed(0), torch.Generator().manual_seed(1), PLAIN,
    )  # fmt: skip
    with torch.no_grad():
        without = network.loss(x, none).item()
        network.settings = replace(TINY, dropout=0.5)
        assert network.loss(x, one).item() == network.loss(x, same).item()
        assert network.loss(x, other).item() != without
        seen: list[torch.Tensor] = []
        network.stack[1].convs[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        network.stack[1].deconvs[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        network.loss(x, torch.Generator().manual_seed(0))
        what, _ = pool(next(network.stack[0].encode(x)))
        into_stage, unpooled = seen
        halved = (into_stage == 0) & (what > 0)
        assert 0.4 < (halved.sum() / (what > 0).sum()).item() < 0.6
        torch.testing.assert_close(into_stage[into_stage > 0], 2 * what[into_stage > 0])
        assert 0 < (unpooled > 0).float().mean().item() < 0.2  # of the quarter that unpooling fills, half at most


def test_the_decoder_starts_from_where() -> None:
    network = WhatWhereAutoencoder(TINY)
    seen: list[torch.Tensor] = []
    network.stack[1].deconvs[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        network.loss(x, PLAIN)
        *_, top = network.activations(x)
    torch.testing.assert_close(seen[0], unpool(*pool(top)))


def test_dropout_is_of_training_only() -> None:
    images = random_images(24, 16)
    features = []
    for dropout in (0.0, 0.5, 0.5):
        model = WhatWhereFeatures(replace(TINY, dropout=dropout), "tiny", image_size=16)
        model.fit(images)
        features.append(model.features(images))
        torch.testing.assert_close(model.features(images), features[-1], rtol=0, atol=0)
    without, dropping, again = features
    torch.testing.assert_close(dropping, again, rtol=0, atol=0)
    assert (dropping - without).abs().max() > 0.05


def test_statistics_at_feature_time_are_those_of_training_images_without_dropout() -> None:
    settings = replace(TINY, dropout=0.5, training=replace(TINY.training, batch=8))
    model = WhatWhereFeatures(settings, "tiny", image_size=16)
    images = random_images(32, 16)  # four whole batches
    model.fit(images)
    x = model.to_input(images)
    assert isinstance(model.network, WhatWhereAutoencoder)
    for stage in model.network.stack:
        for conv, norm in zip(stage.convs, stage.norms, strict=True):
            with torch.no_grad():
                x = conv(x)
            torch.testing.assert_close(norm.running_mean, x.mean((0, 2, 3)), rtol=0.05, atol=0.05)
            torch.testing.assert_close(norm.running_var, x.var((0, 2, 3)), rtol=0.1, atol=0.0)
            x = F.relu(norm(x))
        x, _ = pool(x)
    assert not any(module.training for module in model.network.modules())


@pytest.mark.parametrize(
    ("size", "maps"), [("published", (128, 128, 256, 256)), ("small", (64, 64, 128, 128))]
)  # fmt: skip
def test_two_sizes(size: str, maps: tuple[int, ...]) -> None:
    model = what_where_autoencoder(3, dropout=False, size=size)
    description = model.description
    assert size in description.method
    assert "without dropout" in description.method
    assert description.n_features == 16 * sum(maps)
    assert description.layer_features == tuple(16 * m for m in maps)
    assert (str(description.layers), description.max_units) == ("1-4 of 4", maps[-1])
    settings = description.settings
    assert (settings["lambda_rec"], settings["lambda_m"], settings["dropout"]) == (1.0, 0.2, 0.0)
    a, b, c, d = maps
    assert settings["stages"] == [[[a, 5]], [[b, 3], [c, 3]], [[d, 3]]]
    network = model.new_network().eval()
    with torch.no_grad():
        shapes = [tuple(h.shape) for h in network.activations(torch.zeros(1, 3, 32, 32))]
    assert shapes == [(1, a, 32, 32), (1, b, 16, 16), (1, c, 16, 16), (1, d, 8, 8)]
    weights = {name: tuple(w.shape) for name, w in network.state_dict().items() if name.endswith("weight")}
    assert {name: shape for name, shape in weights.items() if "deconvs" in name} == {
        "stages.0.deconvs.0.weight": (3, a, 5, 5), "stages.1.deconvs.0.weight": (b, c, 3, 3),
        "stages.1.deconvs.1.weight": (a, b, 3, 3), "stages.2.deconvs.0.weight": (c, d, 3, 3),
    }  # fmt: skip


def test_with_dropout_and_without_are_two_methods() -> None:
    dropping, without = (what_where_autoencoder(0, dropout=d, size="small").description for d in (True, False))
    assert "with dropout" in dropping.method
    assert dropping.settings == without.settings | {"dropout": 0.5}
    assert set(SIZES) == {"published", "small"}
    with pytest.raises(ValueError, match="unknown size 'huge'; choose from published, small"):
        what_where_autoencoder(0, dropout=True, size="huge")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ()}, r"stages \(\)"),
        ({"stages": (((4, 3),), ())}, "a layer or more"),
        ({"stages": (((4, 2),),)}, "odd size"),
        ({"stages": (((0, 3),),)}, "a map or more"),
        ({"dropout": 1.0}, "dropout 1.0"),
        ({"statistics_from": 0}, "statistics_from 0"),
        ({"lambda_m": -1.0}, "lambda_m -1.0"),
    ],
)
def test_impossible_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)
