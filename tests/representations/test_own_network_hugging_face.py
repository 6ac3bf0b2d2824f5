"""Models of transformers: with a stand-in of a few lines, and with the package itself."""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from own_networks import features, grey, settings_of
from torch import nn

from repr_eval.representations.own_network.network import encoder
from repr_eval.system.torchvision_import import torchvision_datasets

HALF = [0.5, 0.5, 0.5]


class Output(dict[str, Any]):
    """As transformers': its fields are keys and attributes."""

    __getattr__ = dict.get


class Tower(nn.Module):
    """Two tokens, the mean of colours and twice that; pooled, three times that."""

    base_model_prefix = "tower"
    pools = True

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self.scale = nn.Linear(3, 3, bias=False)
        self.pooler = nn.ModuleDict({"dense": nn.Identity()})
        nn.init.eye_(self.scale.weight)
        self.double()

    def forward(self, pixel_values: torch.Tensor, noise: object = None) -> Output:
        means = self.scale(pixel_values.mean((2, 3)))
        tokens = torch.stack([means, 2 * means], 1)
        return Output(last_hidden_state=tokens, pooler_output=3 * means if self.pools else None)


class Both(nn.Module):
    """A model of text and images."""

    base_model_prefix = "both"

    def __init__(self, config: Any, tower: type[Tower]):
        super().__init__()
        self.vision_model = tower(config.vision_config)

    def forward(self, input_ids: torch.Tensor, pixel_values: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the text is not asked for")


class Hub:
    """A stand-in for transformers: one model, with what is found in its files."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(image_size=40, _commit_hash=None)
        self.processor: Any = SimpleNamespace(
            image_mean=[0, 0, 0], image_std=[1, 1, 1], rescale_factor=1 / 255, size={"shortest_edge": 36}
        )

        class OwnTower(Tower):
            pass

        self.tower: type[Tower] = OwnTower
        self.found: dict[str, Any] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.log = logging.getLogger("stand-in")

    def make(self, config: Any) -> nn.Module:
        return Both(config, self.tower) if hasattr(config, "vision_config") else self.tower(config)

    def module(self) -> Any:
        def config(name: str, revision: str | None, trust_remote_code: bool) -> Any:
            assert trust_remote_code is False
            self.asked.append((name, revision))
            return self.config

        def model(name: str, **settings: Any) -> Any:
            assert settings.pop("config") is self.config
            assert settings.pop("revision") == self.asked[-1][1]
            assert settings == {
                "use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True,
                "trust_remote_code": False,
            }  # fmt: skip
            return self.make(self.config), self.found

        def images(name: str, revision: str | None, trust_remote_code: bool) -> Any:
            if self.processor is None:
                raise OSError("no such file")
            return self.processor

        levels = SimpleNamespace(
            get_verbosity=lambda: self.log.level, set_verbosity=self.log.setLevel,
            set_verbosity_error=lambda: self.log.setLevel(logging.ERROR),
        )  # fmt: skip
        return SimpleNamespace(
            AutoConfig=SimpleNamespace(from_pretrained=config),
            AutoModel=SimpleNamespace(
                from_pretrained=model, from_config=lambda config, trust_remote_code: self.make(config)
            ),
            AutoImageProcessor=SimpleNamespace(from_pretrained=images),
            utils=SimpleNamespace(logging=levels),
        )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub()
    monkeypatch.setitem(sys.modules, "transformers", hub.module())
    return hub


def test_pooled_outputs_and_tokens_of_transformers(hub: Hub, tmp_path: Path) -> None:
    hub.log.setLevel(logging.WARNING)
    for spec, output, factor in (
        ("hf:a/b", "pooled", 3.0),
        ("hf:a/b:pooled", "pooled", 3.0),
        ("hf:a/b:tokens", "tokens", 1.5),
        ("hf:a/b:tokens:pretrained", "tokens", 1.5),
    ):
        model = encoder(spec)
        np.testing.assert_allclose(features(model, grey(51)), [[0.2 * factor] * 3] * 2, rtol=1e-5)
        description = model.description
        assert (description.method, description.layers) == ("hf a/b", output)
        assert (description.settings["kind"], description.settings["output"]) == ("hf", output)
        assert (description.settings["image_size"], description.settings["mean"]) == (36, [0.0, 0.0, 0.0])
        assert "revision" not in description.settings
        assert description.trained_on == "not said"
    assert hub.log.level == logging.WARNING
    untrained = encoder("hf:a/b:untrained").description
    assert (untrained.method, untrained.trained_on) == ("hf a/b, untrained", "nothing")
    (tmp_path / "mine").mkdir()
    assert encoder(f"hf:{tmp_path / 'mine'}").description.method == "hf mine"
    assert hub.asked[-1] == (str(tmp_path / "mine"), None)


def test_layers_of_transformers_keep_their_names(hub: Hub) -> None:
    layer = encoder("hf:a", ("scale",))
    np.testing.assert_allclose(features(layer, grey(51)), [[0.2] * 3] * 2, rtol=1e-5)
    assert layer.description.layers == "scale"
    assert "output" not in settings_of(layer)


def test_revisions_of_transformers_are_recorded(hub: Hub) -> None:
    hub.config._commit_hash = "0123abc"
    model = encoder("hf:a@main")
    assert hub.asked[-1] == ("a", "main")
    assert settings_of(model)["revision"] == "0123abc"
    assert model.description.method == "hf a@main"


def test_the_images_model_of_one_of_images_and_text(hub: Hub) -> None:
    hub.config = SimpleNamespace(vision_config=hub.config)
    hub.found = {"missing_keys": ["text_model.weight"], "unexpected_keys": ["logit_scale"]}
    model = encoder("hf:a")
    np.testing.assert_allclose(features(model, grey(51)), [[0.6] * 3] * 2, rtol=1e-5)
    hub.found = {"missing_keys": ["vision_model.scale.weight"]}
    with pytest.raises(ValueError, match=r"the files lack scale\.weight$"):
        encoder("hf:a")
    hub.found = {"unexpected_keys": ["vision_model.scale.bias"]}
    with pytest.raises(ValueError, match=r"the model has no scale\.bias$"):
        encoder("hf:a")


def test_a_pooling_layer_without_weights_is_not_used(hub: Hub) -> None:
    hub.found = {"missing_keys": {"pooler.dense.weight"}, "unexpected_keys": {"classifier.weight"}}
    assert settings_of(encoder("hf:a"))["output"] == "tokens"
    with pytest.raises(ValueError, match=r"^encoder hf:a:pooled: .* of its pooling \(pooler\.dense\.weight\); ask for"):
        encoder("hf:a:pooled")
    hub.found, hub.tower.pools = {}, False
    assert settings_of(encoder("hf:a"))["output"] == "tokens"
    with pytest.raises(ValueError, match="OwnTower has no pooled output; it has tokens"):
        encoder("hf:a:pooled")


def test_masked_autoencoders_see_whole_images(hub: Hub) -> None:
    hub.config.mask_ratio = 0.75
    encoder("hf:a")
    assert hub.config.mask_ratio == 0.0


def test_a_model_without_an_image_processor_needs_mean_and_std(hub: Hub) -> None:
    hub.processor = None
    half = (0.5, 0.5, 0.5)
    for given in ({}, {"mean": half}, {"std": half}):
        with pytest.raises(ValueError, match=r"^encoder hf:a: no configuration of its image .*; give mean and std$"):
            encoder("hf:a", **given)  # type: ignore[arg-type]
    model = encoder("hf:a", mean=half, std=half)
    assert (settings_of(model)["image_size"], settings_of(model)["mean"]) == (40, HALF)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"missing_keys": ["scale.weight"]}, r"its weights do not fit: the files lack scale\.weight$"),
        ({"unexpected_keys": ["tower.scale.bias"]}, r"its weights do not fit: the model has no scale\.bias$"),
        (
            {"mismatched_keys": {("scale.weight", (2, 3), (3, 3))}},
            r"fit: scale\.weight have another shape in the files$",
        ),
        ({"mismatched_keys": ["scale.weight"]}, r"fit: scale\.weight have another shape in the files$"),
    ],
)
def test_weights_of_transformers_that_do_not_fit(hub: Hub, found: dict[str, Any], message: str) -> None:
    hub.found = found
    with pytest.raises(ValueError, match=message):
        encoder("hf:a")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hf:", "needs the name of a model"),
        ("hf:a:best", r"^encoder hf:a:best: after the name comes :pooled or :tokens, :pretrained or :untrained$"),
        ("hf:a:pooled:tokens", "after the name comes"),
        ("hf:a:pooled:pooled", "after the name comes"),
        ("hf:a:pretrained:untrained", "after the name comes"),
    ],
)
def test_names_of_transformers_that_are_refused(hub: Hub, spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoder(spec)


def test_models_of_text_are_refused(hub: Hub) -> None:
    class Text(Tower):
        def forward(self, input_ids: torch.Tensor) -> Output:  # type: ignore[override]
            raise AssertionError

    hub.tower = Text
    with pytest.raises(ValueError, match=r"^encoder hf:a: Text takes input_ids; needs a vision model, which takes pix"):
        encoder("hf:a")


@pytest.mark.extras
def test_transformers_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    torchvision_datasets()
    import transformers

    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8
    )
    torch.manual_seed(0)
    model = transformers.ViTModel(config).eval()
    model.save_pretrained(tmp_path / "vit")
    made = transformers.ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0, 0, 0], image_std=[1, 1, 1])
    made.save_pretrained(tmp_path / "vit")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = model(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)
    for word, value in (("pooled", expected.pooler_output), ("tokens", expected.last_hidden_state.mean(1))):
        ours = features(encoder(f"hf:{tmp_path / 'vit'}:{word}"), images)
        np.testing.assert_allclose(ours, value.numpy(), atol=1e-5)
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "classifier")
    half = (0.5, 0.5, 0.5)
    assert settings_of(encoder(f"hf:{tmp_path / 'classifier'}", mean=half, std=half))["output"] == "tokens"
    config.save_pretrained(tmp_path / "pickle")
    torch.save(model.state_dict(), tmp_path / "pickle" / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"its weights \(safetensors alone; pickles are never opened\): "):
        encoder(f"hf:{tmp_path / 'pickle'}")
