"""Weights of safetensors files in networks that code builds."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from own_networks import features, grey, settings_of
from safetensors.torch import save_file, save_model
from torch import nn

from repr_eval.representations.own_network.network import encoder

BUILDERS = """
import torch
from torch import nn

def network(last=2, norm=False):
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, last), *([nn.BatchNorm1d(last)] if norm else []))

build = lambda: network()
wider = lambda: network(3)
longer = lambda: network(norm=True)
shorter = lambda: nn.Sequential(nn.Flatten())
lazy = lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
def function(images): return images.reshape(len(images), -1) / 255.0

class Tied(nn.Module):
    trained_on, method_name = "what is said", "tied"

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x.mean((2, 3))))
"""


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """builders.py and own.safetensors in the working folder; the weights in it, a mean and twice that."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.chdir(tmp_path)
    Path("builders.py").write_text(BUILDERS)
    mean = torch.full((3072,), 1 / 3072)
    kept = {"1.weight": torch.stack([mean, 2 * mean]), "1.bias": torch.tensor([0.0, 5.0])}
    save_file(kept, "own.safetensors")
    return kept


def test_weights_of_a_file_in_a_network_of_code(weights: dict[str, torch.Tensor]) -> None:
    network = encoder("own.safetensors@builders.py:build")
    np.testing.assert_allclose(features(network, grey(255)), [[1, 7]] * 2, rtol=1e-5)
    np.testing.assert_allclose(features(network, grey(51)), [[-0.6, 3.8]] * 2, rtol=1e-5)
    description = network.description
    assert (description.method, description.trained_on) == ("build, own", "not said")
    assert description.settings["kind"] == "safetensors"
    save_file({**weights, "1.bias": torch.tensor([0.0, 5.001])}, "other.safetensors")
    other = encoder("other.safetensors@builders.py:build")
    assert settings_of(other)["weights_sha256"] != description.settings["weights_sha256"]
    pooled = encoder("own.safetensors@builders.py:build", ("0",))
    assert pooled.description.n_features == 3072


def test_weights_that_layers_share_lie_in_the_file_once(weights: dict[str, torch.Tensor]) -> None:
    names: dict[str, Any] = {"__name__": "builders"}
    exec(BUILDERS, names)
    tied = names["Tied"]()
    with torch.no_grad():
        tied.first.weight.copy_(2 * torch.eye(3))
    save_model(tied, "tied.safetensors")
    network = encoder("tied.safetensors@builders.py:Tied")
    np.testing.assert_allclose(features(network, grey(255)), [[4.0] * 3] * 2)
    assert (network.description.method, network.description.trained_on) == ("tied", "what is said")


def test_weights_for_a_network_of_a_package(weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    timm = SimpleNamespace(
        create_model=lambda name, pretrained, num_classes: nn.Sequential(nn.Flatten(), nn.Linear(3072, 2)),
        list_models=lambda: ["a"],
    )
    monkeypatch.setitem(sys.modules, "timm", timm)
    network = encoder("own.safetensors@timm:a")
    np.testing.assert_allclose(features(network, grey(255)), [[1, 7]] * 2, rtol=1e-5)
    assert (network.description.method, network.description.trained_on) == ("timm a, own", "not said")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "own.safetensors@builders.py:wider",
            r"^own\.safetensors does not fit wider: 1\.bias is \[2\] in the file and \[3\] in the network, "
            r"1\.weight is \[2, 3072\] in the file and \[3, 3072\] in the network$",
        ),
        (
            "own.safetensors@builders.py:longer",
            r"^own\.safetensors does not fit longer: the file lacks 2\.bias, 2\.running_mean, 2\.running_var, "
            r"2\.weight( and 1 more)?$",
        ),
        (
            "own.safetensors@builders.py:shorter",
            r"^own\.safetensors does not fit shorter: the network has no 1\.bias, 1\.weight$",
        ),
        (
            "whole.safetensors@builders.py:build",
            r"^whole\.safetensors does not fit build: 1\.weight is I64 in the file$",
        ),
        ("own.safetensors", r"^encoder own\.safetensors: holds weights alone; .*, own\.safetensors@file\.py:name$"),
        ("own.safetensors@", "holds weights alone"),
        ("absent.safetensors@builders.py:build", r"^absent\.safetensors: no such file$"),
        ("own.safetensors@builders.py:absent", "has no 'absent'"),
        ("own.safetensors@builders.py:lazy", r"1\.bias is of a lazy layer, which has no shape yet: name its sizes, 1"),
        ("own.safetensors@builders.py:function", "function is a code network; weights need code that makes an nn.Mod"),
        ("pickle.safetensors@builders.py:build", r"^pickle\.safetensors: not a safetensors file that can be read: "),
    ],
)
def test_weights_that_do_not_fit(weights: dict[str, torch.Tensor], spec: str, message: str) -> None:
    save_file({**weights, "1.weight": weights["1.weight"].long()}, "whole.safetensors")
    torch.save(weights, "pickle.safetensors")
    with pytest.raises(ValueError, match=message) as caught:
        encoder(spec)
    assert "\n" not in str(caught.value)
