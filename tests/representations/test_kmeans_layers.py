"""Learned receptive fields: groups that were planted, similarity against whitening pair by pair, layers by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from repr_eval.representations.kmeans import normalised, patches_of, whitening
from repr_eval.representations.kmeans_layers import (
    SIZES,
    VARIABLE_SPREAD,
    KMeansLayers,
    KMeansLayersSettings,
    block_means,
    filters_of,
    gain_shape,
    learn_layer,
    neighbourhoods,
    receptive_fields,
    similarity,
)

TINY = KMeansLayersSettings(
    maps=12, fields=3, field=10, field_maps=5, pooling=(2, 2), patches=2000, images=40, neighbourhoods=4, iterations=4
)  # of images of 20x20: 15, 6 and 2 positions a side


def standardised(X: Tensor) -> Tensor:
    spread, mean = torch.std_mean(X, 0, correction=0)
    return (X - mean) / spread


def planted(n: int, generator: torch.Generator) -> Tensor:
    """Five groups of eight columns [n, 40], all uncorrelated; those of a group (every fifth) share a random scale."""
    scale = torch.rand(n, 5, generator=generator).square() + 0.1
    return standardised(scale.repeat(1, 8) * torch.randn(n, 40, generator=generator))


def images_of(n: int, size: int = 20, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def tiny(images: np.ndarray, seed: int = 0) -> KMeansLayers:
    return KMeansLayers(TINY, seed, image_size=images.shape[1]).fit(images)


def filled(model: KMeansLayers, images: np.ndarray) -> np.ndarray:
    return model.transform(images)


def test_groups_that_share_a_scale_are_found() -> None:
    X = planted(8000, torch.Generator().manual_seed(0))
    assert (X.T @ X / len(X) - torch.eye(40)).abs().max() < 0.1  # nothing that correlation would find
    seeds = torch.tensor([0, 13, 29])
    found = similarity(X, seeds).topk(8).indices
    for seed, group in zip(seeds.tolist(), found.tolist(), strict=True):
        assert sorted(group) == list(range(seed % 5, 40, 5))


def test_similarity_is_that_of_pairs_whitened_one_by_one() -> None:
    generator = torch.Generator().manual_seed(1)
    X = standardised(planted(3000, generator)[:, :6] @ torch.randn(6, 6, generator=generator)).double()
    found = similarity(X, torch.tensor([4, 1]))
    for row, j in enumerate((4, 1)):
        for k in range(6):
            if j != k:
                pair = X[:, [j, k]]
                energies, V = torch.linalg.eigh(pair.T @ pair / len(pair))
                squares = (pair @ (V / energies.sqrt()) @ V.T).square()
                assert found[row, k].item() == pytest.approx(torch.corrcoef(squares.T)[0, 1].item(), abs=1e-6)


def test_correlation_alone_is_no_similarity_and_copies_and_constants_do_no_harm() -> None:
    x, y = torch.randn(2, 20_000, generator=torch.Generator().manual_seed(2))
    X = torch.stack([x, 0.9 * x + 0.19**0.5 * y, -x, x + 1e-3 * y, torch.zeros(20_000)], 1)
    X[:, :4] = standardised(X[:, :4])
    found = similarity(X, torch.tensor([0]))[0]
    torch.testing.assert_close(found[:3], torch.tensor([1, 0, 1]).double(), atol=0.03, rtol=0)
    assert found[3] > 0.9
    assert found[4] == 0


def test_directions_of_either_sign_are_found_and_have_unit_length() -> None:
    generator = torch.Generator().manual_seed(3)
    gains = 5 * torch.randn(1000, 1, generator=generator)
    X = gains * torch.eye(5, 8).repeat(200, 1) + 0.05 * torch.randn(1000, 8, generator=generator)
    D = gain_shape(X, 30, generator, iterations=20)
    torch.testing.assert_close(D.norm(dim=1), torch.ones(30))
    assert (D[:, :5].abs().max(0).values > 0.99).all()
    both_signs = gain_shape(torch.cat([gains, -gains]) * torch.eye(1, 8), 2, generator, iterations=5)
    assert (both_signs[:, 0].abs() > 0.99).sum() == 1  # nothing is left to the other, which is drawn anew


def test_filters_are_whitening_dictionary_and_threshold_in_one() -> None:
    generator = torch.Generator().manual_seed(4)
    X = 20 * torch.randn(500, 6, generator=generator) @ torch.randn(6, 6, generator=generator) + 100
    W, bias = filters_of(X, 7, torch.Generator().manual_seed(5), 3)
    centre, whiten = whitening(normalised(X))
    white = (normalised(X) - centre) @ whiten
    D = gain_shape(white, 7, torch.Generator().manual_seed(5), 3)
    torch.testing.assert_close(normalised(X) @ W + bias, white @ D.T - 0.25, atol=1e-4, rtol=1e-4)


def test_averages_and_neighbourhoods_by_hand() -> None:
    maps = torch.arange(25.0).view(1, 5, 5, 1).repeat(2, 1, 1, 2)
    maps[..., 1] += 100
    cells = block_means(maps, 2)  # the fifth row and column are left over
    assert cells[1, :, :, 0].tolist() == [[3, 5], [13, 15]]
    assert cells[0, 1, 0].tolist() == [13, 113]
    assert neighbourhoods(cells).shape == (2, 1, 1, 8)
    assert neighbourhoods(maps)[1, 2, 1].tolist() == [11, 111, 12, 112, 16, 116, 17, 117]


def test_a_layer_learns_from_similar_variables() -> None:
    X = 3 * planted(8000, torch.Generator().manual_seed(0)) + 7
    settings = replace(TINY, maps=10, field=8, iterations=1)
    layer = learn_layer(X, settings, np.random.default_rng(0), torch.Generator().manual_seed(0))
    for field in layer.columns.tolist():
        assert sorted(field) == list(range(field[0] % 5, 40, 5))


def test_a_layer_responds_with_its_filters_to_its_receptive_fields() -> None:
    maps = torch.rand(6, 5, 5, 4, generator=torch.Generator().manual_seed(6))
    X = neighbourhoods(maps).flatten(0, 2)
    overwritten = X.clone()
    settings = replace(TINY, maps=4)
    layer = learn_layer(overwritten, settings, np.random.default_rng(0), torch.Generator().manual_seed(0))
    assert all(len(set(field)) == 10 for field in layer.columns.tolist())
    responses = layer.responses(maps)
    assert responses.shape == (6, 4, 4, 15)
    assert (responses >= 0).all()
    assert responses.flatten(0, 2).std(0).min() > 0
    field, x = layer.columns[2], VARIABLE_SPREAD * (X - X.mean(0)) / X.std(0)
    by_hand = (normalised(x[:, field]) @ layer.filters[2] + layer.bias[2]).clamp_min(0)
    torch.testing.assert_close(responses.flatten(0, 2)[:, 10:], by_hand, atol=1e-3, rtol=1e-3)
    with pytest.raises(ValueError, match="3 receptive fields: only 0 variables"):
        learn_layer(torch.ones(9, 16), settings, np.random.default_rng(0), torch.Generator())


def test_a_response_sees_its_own_surroundings_only() -> None:
    images = images_of(60)
    model = tiny(images)
    filled(model, images[:1])
    changed = images[:1].copy()
    changed[:, 12:, 12:] = 255 - changed[:, 12:, 12:]
    before, after = model.responses(images[:1]), model.responses(changed)
    assert [tuple(maps.shape) for maps in before] == [(1, 15, 15, 12), (1, 6, 6, 15), (1, 2, 2, 15)]
    for layer, untouched in ((0, 7), (1, 2)):  # a pixel reaches 6 positions of layer 1, 3 blocks of those, 4 positions
        moved = (before[layer] - after[layer]).abs().amax((0, 3))
        assert moved[:untouched].max() < 1e-5
        assert moved[:, :untouched].max() < 1e-5
        assert moved[untouched:, untouched:].max() > 0.1


def test_neighbourhoods_to_learn_from_are_different_ones_of_the_images() -> None:
    images = images_of(50)
    model = tiny(images)
    filled(model, images[:1])
    for depth, positions in ((1, 4), (0, 4)):  # layer 3 has 2x2 positions, all are drawn; of layer 2's 6x6 four are
        model.further = model.further[:depth]
        drawn = model._neighbourhoods(images, np.random.default_rng(7))
        every = neighbourhoods(block_means(model.responses(images)[-1], 2)).flatten(0, 2)
        assert drawn.shape == (40 * positions, every.shape[1])
        nearest = torch.cdist(drawn, every, compute_mode="donot_use_mm_for_euclid_dist").min(1)
        assert nearest.values.max() < 1e-4
        assert len(nearest.indices.unique()) == len(drawn)


def test_images_to_learn_further_layers_from_are_random_ones_of_all() -> None:
    images = images_of(50)
    model = tiny(images)
    filled(model, images[:1])
    model.further = []
    every = neighbourhoods(block_means(model.responses(images)[-1], 2)).flatten(1, 2)
    chosen = []
    for seed in range(4):
        drawn = model._neighbourhoods(images, np.random.default_rng(seed))
        row = torch.cdist(drawn, every.flatten(0, 1), compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
        chosen.append(set((row // every.shape[1]).tolist()))
    assert [len(one) for one in chosen] == [40] * 4
    assert set.union(*chosen) == set(range(50))
    assert len(set.intersection(*chosen)) < 30


def test_features_do_not_depend_on_the_call_follow_from_the_seed_and_are_standardised() -> None:
    images = images_of(60)
    model = tiny(images)
    with pytest.raises(ValueError, match="trained first"):
        KMeansLayers(TINY, image_size=20).transform(images)
    out = filled(model, images)
    assert out.shape == (60, 4 * (12 + 15 + 15))
    np.testing.assert_allclose(filled(model, images[7:8]), out[7:8], atol=1e-3)
    np.testing.assert_allclose(filled(model, images[::-1]), out[::-1], atol=1e-3)
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-4)
    assert (out.std(0) < 1.001).all()
    assert np.median(out.std(0)) > 0.9
    np.testing.assert_array_equal(filled(tiny(images), images), out)
    assert np.abs(filled(tiny(images, seed=1), images) - out).max() > 0.5


def test_a_single_layer_is_that_of_its_patches() -> None:
    images = images_of(60)
    model = KMeansLayers(KMeansLayersSettings(maps=12, patches=500, iterations=3), image_size=20)
    model = model.fit(images)
    out = filled(model, images)
    patches = normalised(patches_of(torch.from_numpy(images).permute(0, 3, 1, 2).float()))
    maps = (patches @ model.filters + model.bias).clamp_min(0).view(60, 15, 15, 12)
    halves = (slice(0, 8), slice(8, 15))
    sums = torch.cat([maps[:, r][:, :, c].sum((1, 2)) for r in halves for c in halves], 1).numpy()
    np.testing.assert_allclose(out, (sums - sums.mean(0)) / np.sqrt(sums.var(0) + 0.01), atol=1e-3)
    assert (str(model.description.layers), model.description.n_features) == ("1 of 1", 48)


def test_the_sizes_say_what_they_are() -> None:
    assert receptive_fields(size="one layer").description.method == (
        "1-layer K-means, gain-shape, 4,800 maps, 19,200 features"
    )
    published, small = receptive_fields(3), receptive_fields(3, size="small")
    said = published.description
    assert said.method == "3-layer K-means, learned RF, 1,600 + 3,200 + 3,200 maps, 32,000 features"
    assert small.description.method == "3-layer K-means, learned RF, 800 + 1,600 + 1,600 maps, 16,000 features"
    assert (str(said.layers), said.n_features, said.max_units) == ("1-3 of 3", 32_000, 3200)
    assert SIZES["published"].sides(32) == (27, 8, 3)
    assert json.loads(json.dumps(said.settings)) == said.settings
    assert said.settings["seed"] == 3
    assert said.settings.keys() >= {*vars(TINY), "threshold", "contrast", "whitening", "patch"}
    with pytest.raises(ValueError, match="size 'tiny'; choose from published, one layer, small"):
        receptive_fields(size="tiny")
    with pytest.raises(ValueError, match=r"images of 16x16: 11, 4, 1 positions a side"):
        KMeansLayers(TINY, image_size=16)
    with pytest.raises(ValueError, match="3 receptive fields of 49: a layer has 48 variables"):
        KMeansLayers(replace(TINY, field=49), image_size=20)
