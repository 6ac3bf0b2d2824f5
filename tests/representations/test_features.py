"""Features: their number, what they depend on, batch-norm statistics."""

from pathlib import Path

import numpy as np
import pytest
import torch
from factories import small_discriminator
from torch import nn

from repr_eval.gan.architectures import architecture_named
from repr_eval.gan.networks import Discriminator
from repr_eval.gan.weights import WeightsInfo, save_weights, weights_hash
from repr_eval.representations.base import Representation
from repr_eval.representations.batch_norm import recompute_statistics
from repr_eval.representations.batched import to_network
from repr_eval.representations.discriminator import DiscriminatorFeatures, from_weights, n_features, pooled, untrained
from repr_eval.representations.pixels import Pixels
from repr_eval.system.ranks import Ranks

CPU = torch.device("cpu")


def pictures(n: int, size: int = 32, seed: int = 0) -> np.ndarray:
    """Images uint8 [n, size, size, 3] of smooth noise, each with its own brightness."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, size // 4, size // 4, 3)) * rng.uniform(0.3, 1, (n, 1, 1, 1))
    return coarse.repeat(4, 1).repeat(4, 2).astype(np.uint8)


def filled(representation: Representation, images: np.ndarray) -> np.ndarray:
    out = np.full((len(images), representation.description.n_features), np.nan, np.float32)
    assert representation.transform(images, out=out) is out
    return out


# Numbers and their order.


@pytest.mark.parametrize(
    ("arch", "size", "number", "layers", "max_units"),
    [
        ("dcgan32", 32, 28_672, "1-6 of 6", 512),
        ("dcgan32-svhn", 32, 7_168, "1-3 of 3", 256),
        ("dcgan64", 64, 30_720, "1-4 of 4", 1024),
    ],
)
def test_number_of_features_at_width_1(arch: str, size: int, number: int, layers: str, max_units: int) -> None:
    representation = untrained(arch, 1.0, seed=0, bn="running")
    features = filled(representation, pictures(1, size))
    assert features.shape == (1, number)
    assert np.isfinite(features).all()
    description = representation.description
    assert (description.n_features, str(description.layers), description.max_units) == (number, layers, max_units)


def test_first_layers_alone_have_fewer_features() -> None:
    # Layers 1-4 of the ImageNet model: (128 + 128 + 256 + 256) * 16.
    assert n_features(Discriminator(architecture_named("dcgan32"), layers=4)) == 12_288
    four = DiscriminatorFeatures(
        Discriminator(architecture_named("dcgan32"), 0.05, layers=4), "four", "nothing", "running"
    )
    assert str(four.description.layers) == "1-4 of 6"
    assert filled(four, pictures(2)).shape == (2, four.description.n_features) == (2, (6 + 6 + 13 + 13) * 16)


def test_pooled_is_known_by_hand() -> None:
    h = torch.arange(64.0).reshape(8, 8)
    # The maximum of a 2x2 cell is its last corner for rising values, its first for falling ones.
    last = [[9, 11, 13, 15], [25, 27, 29, 31], [41, 43, 45, 47], [57, 59, 61, 63]]
    first = [[0, 2, 4, 6], [16, 18, 20, 22], [32, 34, 36, 38], [48, 50, 52, 54]]
    expected = torch.cat([torch.tensor(last).flatten(), -torch.tensor(first).flatten()]).float()
    torch.testing.assert_close(pooled(torch.stack([h, -h])[None]), expected[None], rtol=0, atol=0)
    kept = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pooled(kept), kept.flatten(1), rtol=0, atol=0)


def test_features_are_every_layers_maxima_after_leaky_relu() -> None:
    representation = small_discriminator()
    images = pictures(2)
    network = representation.network.eval()
    x = (torch.from_numpy(images).permute(0, 3, 1, 2).double() / 127.5 - 1).float()
    maxima = []
    with torch.no_grad():
        for layer, conv in enumerate(network.convs):
            x = conv(x)
            x = x if layer == 0 else network.norms[layer - 1](x)
            x = torch.where(x > 0, x, 0.2 * x)
            cell = x.shape[-1] // 4
            maxima.append(x.unfold(2, cell, cell).unfold(3, cell, cell).amax((4, 5)).flatten(1))
    np.testing.assert_allclose(filled(representation, images), torch.cat(maxima, 1), rtol=1e-4, atol=1e-6)


def test_features_do_not_depend_on_the_other_images() -> None:
    for bn in ("running", "recomputed"):
        representation = small_discriminator(bn).fit(pictures(40, seed=1))
        images = pictures(150)  # more than a batch
        together = filled(representation, images)
        alone = np.concatenate([filled(representation, images[i : i + 1]) for i in (0, 100, 149)])
        np.testing.assert_allclose(alone, together[[0, 100, 149]], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(filled(representation, images[::-1])[::-1], together, rtol=1e-4, atol=1e-5)


def test_images_are_scaled_to_one_and_minus_one() -> None:
    image = np.zeros((1, 2, 3, 3), np.uint8)
    image[0, 1, 2] = [255, 51, 0]
    tensor = to_network(image, CPU)
    assert tensor.shape == (1, 3, 2, 3)
    torch.testing.assert_close(tensor[0, :, 1, 2], torch.tensor([1.0, -0.6, -1.0]))
    assert (tensor[0, :, 0] == -1).all()


def test_read_only_images_are_welcome(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", pictures(3))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    for representation in (small_discriminator(), small_discriminator("recomputed").fit(mapped), Pixels()):
        assert np.isfinite(filled(representation, mapped)).all()


def test_pixels_are_known_by_hand() -> None:
    images = np.zeros((2, 32, 32, 3), np.uint8)
    images[1, 0, 1] = [255, 51, 102]
    pixels = Pixels()
    assert pixels.fit(images) is pixels
    features = filled(pixels, images)
    assert features.shape == (2, 3072)
    assert (features[0] == -1).all()
    np.testing.assert_allclose(features[1, :8], [-1, -1, -1, 1, -0.6, -0.2, -1, -1], rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 28, 28, 3), (2, 32, 32, 1), (2, 64, 64, 3), (2, 32, 24, 4)])
def test_images_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    images = np.zeros(shape, np.uint8)
    for representation in (small_discriminator(), Pixels()):
        with pytest.raises(ValueError, match=r"images are \[\d+, \d+, \d\]; .* takes 32x32x3"):
            filled(representation, images)
    with pytest.raises(ValueError, match="dcgan32 takes 32x32x3"):
        small_discriminator("recomputed").fit(images)


# Batch-norm statistics.


def plain_statistics(network: Discriminator, images: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every norm's (mean, variance): the mean over batches of 128 of what PyTorch's own training mode sees."""
    network.train()
    norms = [norm for norm in network.norms if isinstance(norm, nn.BatchNorm2d)]
    seen: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in norms]
    for start in range(0, len(images), 128):
        batch = torch.from_numpy(images[start : start + 128]).permute(0, 3, 1, 2).float() / 127.5 - 1
        for norm in norms:
            norm.momentum = 1.0  # running statistics are then the last batch's
        with torch.no_grad():
            maps = list(network.activations(batch))
        for of_layer, norm, h in zip(seen, norms, maps[1:], strict=True):
            count = h.numel() / h.shape[1]
            assert norm.running_mean is not None
            assert norm.running_var is not None
            biased = norm.running_var.numpy() * (count - 1) / count  # PyTorch keeps the unbiased variance
            of_layer.append((norm.running_mean.numpy().copy(), biased))
    return [(np.mean([m for m, _ in s], axis=0), np.mean([v for _, v in s], axis=0)) for s in seen]


def test_recomputed_statistics_are_the_mean_over_batches() -> None:
    network = small_discriminator(width=0.1).network
    images = pictures(260)  # batches of 128, 128 and 4
    before = weights_hash(network)
    made = recompute_statistics(network, images, CPU)
    assert weights_hash(network) == before
    assert not made.training
    for layer, (mean, variance) in enumerate(plain_statistics(network, images)):
        np.testing.assert_allclose(made.get_buffer(f"norms.{layer}.running_mean"), mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(made.get_buffer(f"norms.{layer}.running_var"), variance, rtol=1e-4)
    for name, parameter in made.named_parameters():
        torch.testing.assert_close(parameter, network.get_parameter(name), rtol=0, atol=0)


def test_statistics_are_those_of_the_training_images_alone() -> None:
    train, test = pictures(140, seed=1), pictures(20, seed=2)
    fitted = small_discriminator("recomputed").fit(train)
    by_hand = DiscriminatorFeatures(recompute_statistics(small_discriminator().network, train, CPU), "", "", "running")
    np.testing.assert_array_equal(filled(fitted, test), filled(by_hand, test))
    features = filled(fitted, test)
    other = filled(small_discriminator("recomputed").fit(train // 2), test)
    assert abs(other - features).max() > 0.1
    np.testing.assert_array_equal(filled(fitted.fit(train // 2), test), other)  # fitted anew, nothing of before is left


def test_running_mode_leaves_the_statistics() -> None:
    representation = small_discriminator("running")
    before = weights_hash(representation.network)
    assert representation.fit(pictures(20)) is representation
    filled(representation, pictures(20))
    assert weights_hash(representation.network) == before


def test_recomputed_statistics_need_training_images() -> None:
    with pytest.raises(ValueError, match=r"^batch-norm statistics must be recomputed first: call fit\(train_images\)$"):
        filled(small_discriminator("recomputed"), pictures(1))
    with pytest.raises(ValueError, match="batch-norm mode 'batch'; choose from recomputed, at-hand, running"):
        small_discriminator("batch")


def test_statistics_at_hand_are_those_of_the_images_given() -> None:
    images = pictures(200)
    representation = small_discriminator("at-hand")
    before = weights_hash(representation.network)
    assert representation.fit(pictures(20, seed=5)) is representation
    for part in (images, images[:30]):
        recomputed = small_discriminator("recomputed").fit(part)
        np.testing.assert_array_equal(filled(representation, part), filled(recomputed, part))
    assert not np.array_equal(filled(representation, images)[:30], filled(representation, images[:30]))
    assert weights_hash(representation.network) == before


@pytest.mark.parametrize(("first", "last"), [(1, 1), (2, 2), (1, 4), (3, 6), (1, 6)])
def test_columns_of_layers_are_those_layers_maxima(first: int, last: int) -> None:
    representation = small_discriminator()
    images = pictures(3)
    with torch.no_grad():
        layers = [pooled(h).numpy() for h in representation.network.activations(to_network(images, CPU))]
    description = representation.description
    part = filled(representation, images)[:, description.columns(first, last)]
    np.testing.assert_array_equal(part, np.concatenate(layers[first - 1 : last], 1))
    chosen = description.of_layers(first, last)
    assert (chosen.n_features, chosen.settings["layers"]) == (part.shape[1], 6)
    assert str(chosen.layers) == (f"{first}-{last} of 6" if first < last else f"{first} of 6")
    assert chosen.max_units == max(layer.shape[1] for layer in layers[first - 1 : last]) // 16
    if (first, last) == (1, 6):
        assert chosen == description
    else:
        assert chosen.settings == description.settings | {"layer_range": [first, last]}
        with pytest.raises(ValueError, match="has no layers to choose from"):
            chosen.of_layers(1, 1)  # a choice of a choice: of which layers?


@pytest.mark.parametrize(("first", "last"), [(0, 3), (1, 7), (4, 3), (7, 7)])
def test_layers_that_are_not_there_are_refused(first: int, last: int) -> None:
    with pytest.raises(ValueError, match=rf"layers {first}-{last}: untrained .* has layers 1 to 6"):
        small_discriminator().description.of_layers(first, last)
    with pytest.raises(ValueError, match="raw pixels has no layers to choose from"):
        Pixels().description.of_layers(1, 1)


def test_fitting_leaves_the_weights_and_the_description_as_they_were() -> None:
    representation = small_discriminator("recomputed")
    before, settings = weights_hash(representation.network), dict(representation.description.settings)
    assert representation.fit(pictures(20)) is representation
    filled(representation, pictures(2))
    assert weights_hash(representation.network) == before
    assert representation.description.settings == settings
    assert representation.description.fitted_to("one").settings == settings | {"bn_images": "one"}
    assert representation.description.depends_on_data
    for other in (small_discriminator("running"), small_discriminator("at-hand"), Pixels()):
        assert other.description.fitted_to("one") == other.description
        assert not other.description.depends_on_data


def test_stored_weights_give_the_features_of_the_network(tmp_path: Path) -> None:
    network = small_discriminator(width=0.1).network
    info = WeightsInfo("discriminator", "dcgan32", 0.1, trained_on="pictures", images_seen=1_280)
    save_weights(tmp_path / "d.safetensors", network, info)
    loaded = from_weights(tmp_path / "d.safetensors", bn="running")
    np.testing.assert_array_equal(filled(loaded, pictures(2)), filled(small_discriminator(width=0.1), pictures(2)))
    assert loaded.description.trained_on == "pictures"
    assert loaded.description.method == "DCGAN (dcgan32, width 0.1, 1,280 images seen)"


@pytest.mark.parametrize(("recipe", "kind"), [("paper", "DCGAN"), ("contrastive", "DCGAN, contrastive")])
def test_the_name_tells_a_recipe_that_is_not_the_papers(recipe: str, kind: str, tmp_path: Path) -> None:
    info = WeightsInfo("discriminator", "dcgan32", 0.1, images_seen=640, settings={"recipe": recipe})
    save_weights(tmp_path / "d.safetensors", small_discriminator(width=0.1).network, info)
    name = from_weights(tmp_path / "d.safetensors").description.method
    assert name == f"{kind} (dcgan32, width 0.1, 640 images seen)"


# The contract of fit and transform.


@pytest.mark.parametrize("bn", ["recomputed", "running", "at-hand"])
def test_features_in_an_array_of_ones_own_are_the_same(bn: str, tmp_path: Path) -> None:
    representation, images = small_discriminator(bn).fit(pictures(30, seed=1)), pictures(150)
    made = representation.transform(images)
    assert made.dtype == np.float32
    for dtype in (np.float16, np.float32, np.float64):
        mapped = np.lib.format.open_memmap(tmp_path / f"{dtype.__name__}.npy", "w+", dtype, made.shape)
        assert representation.transform(images, out=mapped) is mapped
        np.testing.assert_array_equal(mapped, made.astype(dtype))


def test_an_array_that_features_do_not_fit_into_is_refused() -> None:
    for out in (np.empty((2, 3071), np.float32), np.empty((3, 3072)), np.empty((2, 3072), np.int64)):
        with pytest.raises(
            ValueError, match=r"^out is \w+ \[\d, \d+\]; raw pixels of 2 images needs float \[2, 3072\]$"
        ):
            Pixels().transform(pictures(2), out=out)


def test_the_device_is_the_one_used() -> None:
    assert [str(r.device) for r in (small_discriminator(), Pixels())] == ["cpu", "cpu"]
    elsewhere = untrained("dcgan32", 0.05, 0, device=torch.device("meta"))
    assert str(elsewhere.device) == "meta"


def test_ranks_share_the_rows_of_one_array() -> None:
    representation, images = small_discriminator(), pictures(300)  # blocks of 128, 128 and 44
    whole, shared = filled(representation, images), np.zeros((300, representation.description.n_features), np.float32)
    representation.transform(images, shared, Ranks(1, 2))
    np.testing.assert_array_equal(shared[128:256], whole[128:256])
    assert not shared[:128].any()
    assert not shared[256:].any()
    representation.transform(images, shared, Ranks(0, 2))
    np.testing.assert_array_equal(shared, whole)
