"""A kernel network: the kernel its maps approximate, anchors that were planted, pooling by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from repr_eval.representations import kernel_network as module
from repr_eval.representations.kernel_network import (
    SIZES,
    KernelLayer,
    KernelNetwork,
    KernelNetworkSettings,
    gaussian_pooling,
    kernel_network,
    root_of_inverse,
    spherical_kmeans,
)

SIDE = 12  # of images
TINY = KernelNetworkSettings(maps=(6, 8), subsampling=(2, 3), patches=500, images=30)


@pytest.fixture(autouse=True)
def few_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHITENED_BY", 3000)


def images_of(n: int, seed: int = 0) -> np.ndarray:
    """Neighbouring pixels are alike: whitening has work to do."""
    noise = np.random.default_rng(seed).integers(0, 256, (n, SIDE, SIDE, 3))
    return ((noise + np.roll(noise, 1, 1) + np.roll(noise, 1, 2)) // 3).astype(np.uint8)


def exact_kernel(x: Tensor, y: Tensor, sigma: float) -> Tensor:
    """|x| |y| exp((cos - 1) / sigma^2) for the rows of x and y."""
    lengths = x.norm(dim=1)[:, None] * y.norm(dim=1)
    return lengths * torch.exp((x @ y.T / lengths - 1) / sigma**2)


def unpooled(layer: KernelLayer, maps: Tensor) -> Tensor:
    """psi at all positions of maps [1, c, P, P]: [P^2, k]."""
    return (layer.projection @ layer.kernels(maps).flatten(2))[0].T


def patches(maps: Tensor) -> Tensor:
    """The patches around all positions of maps [1, c, P, P], zeros around: [P^2, 9c]."""
    return F.unfold(maps, 3, padding=1)[0].T


def test_inner_products_are_the_kernel_where_the_patches_are_anchors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "INVERSE", 1e-9)
    maps = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    x = patches(maps)
    layer = KernelLayer.of(F.normalize(x), 0.6, side=4, step=2)
    psi = unpooled(layer, maps)
    torch.testing.assert_close(psi @ psi.T, exact_kernel(x, x, 0.6), atol=2e-3, rtol=1e-3)


def test_more_anchors_come_nearer_to_the_kernel_from_below() -> None:
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(1, 1, 6, 6, generator=generator)
    x = patches(maps)
    exact = exact_kernel(x, x, 0.6)
    directions = F.normalize(torch.randn(2000, 9, generator=generator))
    errors = []
    for k in (20, 200, 2000):
        psi = unpooled(KernelLayer.of(directions[:k], 0.6, side=6, step=2), maps)
        assert (psi.square().sum(1) < 1.001 * x.square().sum(1)).all()  # a projection
        errors.append(((psi @ psi.T - exact).norm() / exact.norm()).item())
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.05


def test_the_response_is_proportional_to_the_patch_and_0_on_nothing() -> None:
    anchors = F.normalize(torch.randn(5, 18, generator=torch.Generator().manual_seed(2)))
    layer = KernelLayer.of(anchors, 0.6, side=4, step=2)
    maps = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(layer.responses(3 * maps), 3 * layer.responses(maps))
    assert (layer.responses(torch.zeros(1, 2, 4, 4)) == 0).all()
    at = 5  # position 1, 1
    x = patches(maps)[at]
    by_hand = x.norm() * torch.exp((anchors @ x / x.norm() - 1) / 0.36)
    torch.testing.assert_close(layer.kernels(maps)[0, :, 1, 1], by_hand)


def test_pooling_by_hand() -> None:
    near, far = math.exp(-1 / 4), math.exp(-1)
    whole = 1 + 2 * near + 2 * far
    expected = torch.tensor([[1, near, far, 0, 0], [far, near, 1, near, far], [0, 0, far, near, 1]])
    torch.testing.assert_close(gaussian_pooling(5, 2), expected / whole)
    assert gaussian_pooling(16, 6).shape == (3, 16)  # around positions 0, 6 and 12
    layer = KernelLayer(torch.eye(1, 9), torch.eye(1), gaussian_pooling(5, 2), 0.6)
    maps = torch.rand(1, 1, 5, 5, generator=torch.Generator().manual_seed(4))
    kernels = layer.kernels(maps)[0, 0]
    weights = expected[1] / whole
    middle = sum(weights[i] * weights[j] * kernels[i, j] for i in range(5) for j in range(5))
    torch.testing.assert_close(layer.responses(maps)[0, 0, 1, 1], torch.as_tensor(middle))


def test_the_root_of_the_inverse() -> None:
    A = torch.randn(6, 6, generator=torch.Generator().manual_seed(5))
    K = A @ A.T + torch.eye(6)
    root = root_of_inverse(K)
    torch.testing.assert_close(root @ (K + 1e-3 * torch.eye(6)) @ root, torch.eye(6), atol=1e-4, rtol=0)


def test_planted_directions_are_found_and_anchors_are_means() -> None:
    generator = torch.Generator().manual_seed(6)
    planted = torch.cat([torch.eye(3, 8), -torch.eye(3, 8)])
    noise = 0.05 * torch.randn(600, 8, generator=generator)
    X = F.normalize(planted.repeat(100, 1) + noise)
    Z = spherical_kmeans(X, 24, generator, rounds=20)
    torch.testing.assert_close(Z.norm(dim=1), torch.ones(24))
    assert ((planted @ Z.T).max(1).values > 0.99).all()  # a direction and its opposite are two
    nearest = (X @ Z.T).argmax(1)
    means = torch.stack([F.normalize(X[nearest == j].sum(0), dim=0) for j in range(24)])
    torch.testing.assert_close(means, Z, atol=0.02, rtol=0)  # 20 rounds, and none is empty


def test_an_anchor_without_patches_is_drawn_anew() -> None:
    X = torch.eye(2, 4).repeat(50, 1)
    Z = spherical_kmeans(X, 4, torch.Generator().manual_seed(0), rounds=3)
    assert {tuple(row) for row in Z.tolist()} == {tuple(row) for row in torch.eye(2, 4).tolist()}


def test_whitened_images_have_nearly_the_identity_as_covariance() -> None:
    images = images_of(200)
    model = KernelNetwork(TINY, image_size=SIDE)
    model._learn_whitening(images, np.random.default_rng(0))
    inner = model.whitened(images)[:, :, 2:-2, 2:-2]
    covariance = torch.cov(inner.transpose(0, 1).flatten(1))
    torch.testing.assert_close(covariance, covariance.diagonal().diag(), atol=0.05, rtol=0)
    assert ((covariance.diagonal() > 0.7) & (covariance.diagonal() < 1.05)).all()
    beside = (inner[..., 1:] * inner[..., :-1]).mean().abs()
    raw = torch.from_numpy(images).float()
    raw = (raw - raw.mean()) / raw.std()
    assert beside < 0.1 < (raw[:, :, 1:] * raw[:, :, :-1]).mean()


def test_features_follow_from_the_seed_and_not_from_the_call() -> None:
    images = images_of(40)  # more than a block
    model = KernelNetwork(TINY, image_size=SIDE).fit(images)
    out = model.transform(images)
    assert out.shape == (40, 8 * 2 * 2)  # 12 positions a side, 6, 2
    np.testing.assert_allclose(out.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose((out**2).mean(1), 1, atol=1e-4)
    np.testing.assert_allclose(model.transform(images[37:38]), out[37:38], atol=1e-4)
    np.testing.assert_allclose(model.transform(images[::-1]), out[::-1], atol=1e-4)
    again = KernelNetwork(TINY, image_size=SIDE).fit(images)
    np.testing.assert_array_equal(again.transform(images), out)
    other = KernelNetwork(TINY, seed=1, image_size=SIDE).fit(images)
    assert np.abs(other.transform(images) - out).max() > 0.1
    with pytest.raises(ValueError, match="trained first"):
        KernelNetwork(TINY, image_size=SIDE).transform(images)


def test_a_layer_learns_from_different_patches_of_the_layer_below() -> None:
    images = images_of(40)
    model = KernelNetwork(replace(TINY, patches=30 * 9), image_size=SIDE).fit(images)
    model.layers = model.layers[:1]
    drawn = model._patches(images, np.random.default_rng(0))
    every = F.normalize(F.unfold(model.maps(images), 3).transpose(1, 2).flatten(0, 1))  # 16 an image
    apart = torch.cdist(drawn, every, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    assert apart.values.max() < 1e-4
    assert len(apart.indices.unique()) == len(drawn) == 30 * 9
    assert len((apart.indices // 16).unique()) == 30


def test_the_sizes_say_what_they_are() -> None:
    said = kernel_network(3).description
    assert said.method == "2-layer kernel network, 256 + 1,024 maps, 9,216 features"
    assert (str(said.layers), said.n_features, said.max_units) == ("2 of 2", 9216, 1024)
    assert SIZES["published"].sides(32) == (16, 3)
    assert json.loads(json.dumps(said.settings)) == said.settings
    assert said.settings["seed"] == 3
    small = kernel_network(size="small").description
    assert small.method == "2-layer kernel network, 64 + 256 maps, 2,304 features"
    with pytest.raises(ValueError, match="unknown size 'huge'; choose from published, small"):
        kernel_network(size="huge")
    with pytest.raises(ValueError, match="8 maps of 7 patches: needs as many"):
        KernelNetwork(replace(TINY, patches=7), image_size=SIDE)
    with pytest.raises(ValueError, match="images of 4x4: 4, 2 positions a side below the layers; needs 3"):
        KernelNetwork(TINY, image_size=4)
    flat = np.full((40, SIDE, SIDE, 3), 9, np.uint8)
    with pytest.raises(ValueError, match="the 40 training images are all of one colour"):
        KernelNetwork(TINY, image_size=SIDE).fit(flat)
