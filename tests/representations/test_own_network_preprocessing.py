"""What a network's configuration says of its images, and where it counts; packages that are missing."""

import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from own_networks import features, grey, settings_of
from torch import nn

from repr_eval.representations.own_network.network import answers, encoder
from repr_eval.representations.own_network.preprocessing import (
    NOT_SAID,
    Preprocessing,
    of_timm,
    of_torchvision,
    of_transformers,
)
from repr_eval.representations.store import key_of
from repr_eval.system.torchvision_import import torchvision_datasets

IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224)
HALF = [0.5, 0.5, 0.5]


def test_configurations_of_timm() -> None:
    said = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "input_size": (3, 96, 96)}
    expected = Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 96)
    assert of_timm(SimpleNamespace(pretrained_cfg=said)) == expected
    assert of_timm(SimpleNamespace(default_cfg=SimpleNamespace(**said))) == expected
    assert of_timm(SimpleNamespace(pretrained_cfg={"mean": (0.5,), "std": (0.5,), "input_size": (1, 28, 28)})) == (
        Preprocessing(None, None, 28)
    )
    assert of_timm(SimpleNamespace(pretrained_cfg={"input_size": (3, 224, 160)})) == NOT_SAID
    assert of_timm(nn.Flatten()) == NOT_SAID


def test_transforms_of_torchvision() -> None:
    torchvision_datasets()
    from torchvision import models

    assert of_torchvision(models.ResNet18_Weights.DEFAULT) == IMAGENET
    assert of_torchvision(models.EfficientNet_V2_S_Weights.DEFAULT).image_size == 384
    segmentation = models.segmentation.FCN_ResNet50_Weights.DEFAULT  # resized, not cropped
    assert of_torchvision(segmentation) == Preprocessing(IMAGENET.mean, IMAGENET.std, 520)
    assert of_torchvision(models.detection.FasterRCNN_ResNet50_FPN_Weights.DEFAULT) == NOT_SAID


def processor(**settings: Any) -> SimpleNamespace:
    said = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "rescale_factor": 1 / 255}
    return SimpleNamespace(**(said | settings))


def test_image_processors_of_transformers() -> None:
    config = SimpleNamespace(image_size=48)
    plain = Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 48)
    assert of_transformers(processor(), config) == plain
    assert of_transformers(None, config) == Preprocessing(image_size=48)
    assert of_transformers(None, SimpleNamespace()) == NOT_SAID
    edge, square = {"shortest_edge": 64}, {"height": 56, "width": 56}
    for settings, side in (
        ({"size": square}, 56),
        ({"size": edge}, 64),
        ({"size": SimpleNamespace(shortest_edge=64)}, 64),
        ({"size": edge, "crop_size": square, "do_center_crop": True}, 56),
        ({"size": edge, "crop_size": square, "do_center_crop": False}, 64),
        ({"size": square, "do_resize": False}, 48),
        ({"size": {"height": 56, "width": 32}}, 48),
    ):
        assert of_transformers(processor(**settings), config).image_size == side
    # p / 127.5 - 1 is (p / 255 - 0.5) / 0.5; pixels that stay in [0, 255] have a deviation of 1 / 255 of them.
    symmetric = processor(rescale_factor=1 / 127.5, rescale_offset=True, do_normalize=False)
    assert of_transformers(symmetric, config) == Preprocessing((0.5,) * 3, (0.5,) * 3, 48)
    unscaled = processor(do_rescale=False, image_mean=[51, 51, 51], image_std=[255, 255, 255])
    assert of_transformers(unscaled, config) == Preprocessing((0.2,) * 3, (1,) * 3, 48)
    assert of_transformers(processor(image_mean=[0.5]), config) == Preprocessing(image_size=48)


def test_pretrained_weights_of_torchvision_bring_mean_std_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision_datasets()
    from torchvision import models

    monkeypatch.setattr(models, "get_model", lambda name, weights, **_: nn.AdaptiveAvgPool2d(1))
    for weights in ("pretrained", "IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1"):
        own = encoder(f"torchvision:resnet18:{weights}")
        settings = settings_of(own)
        assert settings["image_size"] == 224
        assert (settings["mean"], settings["std"]) == (list(IMAGENET.mean or ()), list(IMAGENET.std or ()))
    # 255 is 1: (1 - mean) / std.
    expected = [[(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]] * 2
    np.testing.assert_allclose(features(own, grey(255)), expected, rtol=1e-5)
    overridden = settings_of(
        encoder("torchvision:resnet18:pretrained", image_size=64, mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    )
    assert (overridden["image_size"], overridden["mean"], overridden["std"]) == (64, HALF, [1.0, 1.0, 1.0])
    one = settings_of(encoder("torchvision:resnet18:pretrained", std=(1.0, 1.0, 1.0)))
    assert (one["mean"][0], one["std"][0], one["image_size"]) == (0.485, 1.0, 224)


def test_an_untrained_network_has_the_settings_and_the_key_that_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision_datasets()
    from torchvision import models

    monkeypatch.setattr(models, "get_model", lambda name, weights, **_: nn.AdaptiveAvgPool2d(1))
    plain = settings_of(encoder("torchvision:resnet18"))
    assert {name: value for name, value in plain.items() if not name.endswith("_sha256")} == {
        "representation": "encoder", "kind": "torchvision", "pool": [], "pooling": "max 4x4, mean of tokens",
        "image_size": None, "resize": "bilinear, antialiased", "mean": HALF, "std": HALF,
        "answers": [["-0.377", "0.294"]],
    }  # fmt: skip
    half = (0.5, 0.5, 0.5)
    assert key_of(plain) == key_of(settings_of(encoder("torchvision:resnet18", mean=half, std=half)))


def test_timm_s_configuration_counts_for_pretrained_weights_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, pretrained: bool, num_classes: int) -> nn.Module:
        network = nn.AdaptiveAvgPool2d(1)
        network.pretrained_cfg = {"mean": (0, 0, 0), "std": (1, 1, 1), "input_size": (3, 48, 48)}  # type: ignore[assignment]
        return network

    timm = SimpleNamespace(create_model=create_model, list_models=lambda: ["a"])
    monkeypatch.setitem(sys.modules, "timm", timm)
    trained, untrained = encoder("timm:a:pretrained"), encoder("timm:a")
    np.testing.assert_allclose(features(trained, grey(51)), [[0.2] * 3] * 2, rtol=1e-6)
    np.testing.assert_allclose(features(untrained, grey(51)), [[-0.6] * 3] * 2, rtol=1e-6)
    assert (settings_of(trained)["image_size"], settings_of(untrained)["image_size"]) == (48, None)


def test_a_mean_that_is_rounding_is_nought_in_the_key() -> None:
    layer_normed = torch.tensor([[-1.0, 1.0, 3e-7]])
    assert answers([layer_normed]) == answers([layer_normed * torch.tensor([1.0, 1.0, -1.0])]) == [["0", "1"]]
    assert answers([torch.tensor([[-1.0, 1.0002]])]) == [["0.0001", "1.41"]]


@pytest.mark.extras
def test_timm_itself() -> None:
    import timm

    network = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0)
    assert of_timm(network) == Preprocessing((0.5,) * 3, (0.5,) * 3, 224)
    assert encoder("timm:resnet10t").description.n_features == 512


# Packages that are missing.


@pytest.mark.parametrize(
    ("spec", "package", "extra"),
    [("timm:resnet18", "timm", "timm"), ("hf:a", "transformers", "hf"), ("a.onnx", "onnxruntime", "onnx")],
)
def test_a_missing_package_is_one_line_that_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, package: str, extra: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.onnx").touch()
    monkeypatch.setitem(sys.modules, "onnx", ModuleType("onnx"))
    monkeypatch.setitem(sys.modules, package, None)
    message = rf"^encoder {spec}: {package} is not installed here \(pip install 'repr-eval\[{extra}\]'\)$"
    with pytest.raises(ValueError, match=message):
        encoder(spec)
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert any(one.startswith(package) for one in project["optional-dependencies"][extra])


def test_a_package_that_lacks_another_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "timm.py").write_text("import no_such_package_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(ValueError, match=r"timm cannot be imported here \(No module named 'no_such_package_anywhere'"):
        encoder("timm:resnet18")
