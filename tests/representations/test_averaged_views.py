"""Features averaged over views: the views themselves, the mean, and what records say of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import repr_eval as rv
from repr_eval.images.handwritten import load_handwritten_digits
from repr_eval.representations.averaged_views import AVERAGED_VIEWS, AveragedViews, seen_in_views, view_of
from repr_eval.representations.base import Description, Representation
from repr_eval.representations.discriminator import untrained
from repr_eval.representations.kmeans import KMeans
from repr_eval.representations.pixels import Pixels
from repr_eval.representations.resized import resized, taking
from repr_eval.system.ranks import Ranks

DIGITS = load_handwritten_digits()
FEW = rv.Digits(per_class=5, draws=2)


def numbered(size: int = 5) -> np.ndarray:
    """One image uint8 [1, size, size, 3] whose pixels tell their row (tens) and column (ones)."""
    image = 10 * np.arange(size)[:, None] + np.arange(size)
    return np.repeat(image[None, :, :, None], 3, 3).astype(np.uint8)


def test_a_view_is_known_by_hand() -> None:
    assert view_of(numbered(3), 0, 0, True)[0, :, :, 0].tolist() == [[2, 1, 0], [12, 11, 10], [22, 21, 20]]
    moved = view_of(numbered(4), 2, 0, False)[0, :, :, 0]  # down: its first row repeats
    assert moved.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3], [10, 11, 12, 13]]
    moved = view_of(numbered(4), 0, -2, False)[0, :, :, 0]  # to the left: its last column repeats
    assert moved[1].tolist() == [12, 13, 13, 13]
    moved = view_of(numbered(4), 0, 2, True)[0, :, :, 0]  # mirrored, then to the right
    assert moved[1].tolist() == [13, 13, 13, 12]


def test_sets_of_views_are_what_their_names_say() -> None:
    assert {name: len(set(views)) for name, views in AVERAGED_VIEWS.items()} == {
        "single": 1, "mirror": 2, "shifts": 5, "mirror-shifts": 10,
    }  # fmt: skip
    seen = {view_of(numbered(9), *view).tobytes() for view in AVERAGED_VIEWS["mirror-shifts"]}
    assert len(seen) == 10
    for views in AVERAGED_VIEWS.values():  # the image itself is one of them
        assert np.array_equal(view_of(numbered(), *views[0]), numbered())


@pytest.mark.parametrize("views", ["mirror", "shifts", "mirror-shifts"])
def test_features_are_the_mean_over_the_views(views: str) -> None:
    images = DIGITS.train.images[:6]
    inner = untrained("dcgan32-svhn", 0.1, 0, bn="running")
    expected = np.mean(
        [inner.transform(np.ascontiguousarray(view_of(images, *view))) for view in AVERAGED_VIEWS[views]], 0
    )
    made = AveragedViews(inner, views).transform(images)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(made, inner.transform(images))


def test_a_mirrored_image_has_the_features_of_the_image() -> None:
    images = DIGITS.train.images[:4]
    representation = AveragedViews(Pixels(), "mirror")
    assert np.array_equal(representation.transform(images), representation.transform(images[:, :, ::-1]))


def test_fitting_sees_the_images_as_they_are() -> None:
    images = DIGITS.train.images[:300]
    averaged = AveragedViews(KMeans(20, n_patches=2000, seed=0), "mirror")
    with pytest.raises(ValueError, match="must be trained first"):
        averaged.transform(images)
    plain = KMeans(20, n_patches=2000, seed=0).fit(images)
    mirrored = np.ascontiguousarray(images[:5, :, ::-1])
    expected = (plain.transform(images[:5]) + plain.transform(mirrored)) / 2
    np.testing.assert_allclose(averaged.fit(images).transform(images[:5]), expected, rtol=1e-5, atol=1e-6)


def test_ranks_share_the_rows() -> None:
    images = DIGITS.train.images[:300]
    representation = AveragedViews(untrained("dcgan32-svhn", 0.1, 0, bn="running"), "mirror")
    shared = np.full((300, representation.description.n_features), np.nan, np.float32)
    for number in range(2):
        representation.transform(images, out=shared, ranks=Ranks(number, 2))
    assert np.array_equal(shared, representation.transform(images))


def test_the_name_the_key_and_the_layers_tell() -> None:
    single = untrained("dcgan32-svhn", 0.1, 0)
    assert seen_in_views(single, "single") is single
    description, plain = seen_in_views(single, "shifts").description, single.description
    assert description.method == f"{plain.method}, mean of 5 views (shifts)"
    assert description.settings == plain.settings | {"views": "shifts", "shifted_at": 32}
    assert seen_in_views(single, "mirror").description.settings == plain.settings | {"views": "mirror"}
    assert (description.untrained, description.fitted_on) == (True, "bn_images")
    assert description.of_layers(2, 2).n_features == plain.of_layers(2, 2).n_features


def test_what_can_not_be_averaged_is_refused() -> None:
    class Mine(Representation):
        description = Description("mine", "nothing", "-", 1, None)

        def transform(self, images: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
            return np.zeros((len(images), 1), np.float32)

    with pytest.raises(ValueError, match="views 'both'; choose from single, mirror, shifts, mirror-shifts"):
        seen_in_views(Pixels(), "both")
    with pytest.raises(ValueError, match=r"views mirror: bn at-hand .* use bn recomputed"):
        seen_in_views(untrained("dcgan32-svhn", 0.1, 0, bn="at-hand"), "mirror")
    with pytest.raises(ValueError, match="views mirror: mine makes no features of a block of images"):
        seen_in_views(Mine(), "mirror")
    with pytest.raises(ValueError, match="views 'both'"):
        rv.evaluate(lambda images: images[:, 0, 0].astype(np.float32), FEW, views="both")


@pytest.mark.parametrize("views", ["shifts", "mirror-shifts"])
def test_images_are_shifted_at_the_size_that_the_network_takes(views: str) -> None:
    """A network that resizes 16x16 images to 64x64 itself: two pixels of 64, as of a suite's own of 64."""

    class AsItIs(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)

    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    inner = rv.Network(AsItIs(), image_size=64)
    large = inner.at_input_size(images)
    assert large.shape == (2, 64, 64, 3)
    np.testing.assert_allclose(inner.transform(large), inner.transform(images), atol=1e-5)
    averaged = seen_in_views(inner, views)
    assert averaged.description.settings["shifted_at"] == 64
    expected = np.mean([inner.transform(view_of(large, *view)) for view in AVERAGED_VIEWS[views]], 0)
    np.testing.assert_allclose(averaged.transform(images), expected, atol=1e-5)


def test_images_of_another_size_are_resized_then_shifted() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3)).astype(np.uint8)
    averaged = taking(seen_in_views(Pixels(), "shifts"), 48)
    assert averaged.description.settings["shifted_at"] == 32
    small = resized(images, 32)
    expected = np.mean([Pixels().transform(view_of(small, *view)) for view in AVERAGED_VIEWS["shifts"]], 0)
    np.testing.assert_allclose(averaged.transform(images), expected, atol=1e-5)


def test_single_and_averaged_features_are_stored_apart(tmp_path: Path) -> None:
    store = tmp_path / "store"
    single, mirror = (
        rv.evaluate(Pixels(), FEW, views=views, store=store, data=DIGITS).record for views in ("single", "mirror")
    )
    assert len(list(store.glob("*.npy"))) == 2
    assert single.representation == {key: mirror.representation[key] for key in single.representation}
    assert mirror.representation["views"] == "mirror"
    assert mirror.method == "raw pixels, mean of 2 views (mirror)"
    assert single.test_correct != mirror.test_correct


def test_a_function_and_a_network_are_averaged_too(tmp_path: Path) -> None:
    """A function of brightness left of the middle: averaged with its mirror image, brightness as such."""

    def left(images: np.ndarray) -> np.ndarray:
        return images[:, :, :16].reshape(len(images), 32, -1).mean(2).astype(np.float32)

    def whole(images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), 32, -1).mean(2).astype(np.float32)

    class Left(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[..., :16].mean((1, 3))

    by_function = rv.evaluate(left, FEW, views="mirror", data=DIGITS, precision="float32").record
    expected = rv.evaluate(whole, FEW, data=DIGITS, precision="float32").record
    assert by_function.test_correct == expected.test_correct
    assert by_function.method == "left, mean of 2 views (mirror)"
    assert by_function.representation["views"] == "mirror"
    network = rv.evaluate(Left(), FEW, views="mirror", data=DIGITS, store=tmp_path).record
    assert network.representation["views"] == "mirror"


def test_the_supervised_network_gets_images_not_views() -> None:
    from repr_eval.classifiers.named import CLASSIFIERS

    network = CLASSIFIERS["cnn-small"](0, "dcgan32-svhn", torch.device("cpu"))
    with pytest.raises(ValueError, match="trained on the images themselves: views must be single"):
        rv.evaluate("pixels", FEW, classifier=network, views="mirror", data=DIGITS)
