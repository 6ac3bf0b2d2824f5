"""Networks of torch.hub: a repository in a folder, and what torch is asked of one on GitHub."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_networks import features, grey, settings_of
from torch import nn

from repr_eval.representations.own_network.network import encoder
from repr_eval.representations.own_network.spec import network_named

CPU = torch.device("cpu")


HUBCONF = """
import torch
from torch import nn
dependencies = ["torch"]

class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.full((1,), factor))

    def forward(self, x):
        return self.factor * x.mean((2, 3))

def scaled(pretrained=True):
    return Scaled(3.0 if pretrained else 0.0 + torch.rand(()).item())

def plain():
    return nn.Flatten()

def configured():
    network = nn.AdaptiveAvgPool2d(1)
    network.default_cfg = {"mean": (0, 0, 0), "std": (1, 1, 1), "input_size": (3, 40, 40)}
    return network

def pair():
    return nn.Flatten(), nn.Flatten()
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "hubconf.py").write_text(HUBCONF)
    return tmp_path / "repository"


def test_a_hub_in_a_folder(repository: Path) -> None:
    for spec in ("hub:./repository:scaled", f"hub:{repository}:scaled:pretrained"):
        network = encoder(spec)
        np.testing.assert_allclose(features(network, grey(255)), [[3.0] * 3] * 2)  # 255 is 1
        assert network.description.trained_on == "not said"
        assert settings_of(network)["kind"] == "hub"
    assert network.description.method == "hub repository scaled, pretrained"
    untrained = [encoder("hub:./repository:scaled:untrained", seed=seed) for seed in (0, 0, 1)]
    assert untrained[0].description.trained_on == "nothing"
    assert untrained[0].description == untrained[1].description
    first, other = (settings_of(one)["weights_sha256"] for one in untrained[1:])
    assert first != other
    assert settings_of(encoder("hub:./repository:configured"))["image_size"] == 40


def test_the_code_of_a_hub_is_in_the_key(repository: Path) -> None:
    before = settings_of(encoder("hub:./repository:scaled"))
    (repository / "hubconf.py").write_text(HUBCONF.replace("self.factor * x", "self.factor * 1 * x"))
    after = settings_of(encoder("hub:./repository:scaled"))
    assert before["weights_sha256"] == after["weights_sha256"]
    assert before["sources_sha256"] != after["sources_sha256"]
    assert before["sources_sha256"] is not None


def test_a_hub_on_github_is_asked_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def load(repository: str, entry: str, **settings: Any) -> nn.Module:
        asked.append((repository, entry, settings))
        return nn.Flatten()

    monkeypatch.setattr(torch.hub, "load", load)
    named = network_named("hub:owner/repo@v1.0:small", CPU, 0)
    assert (named.name, named.trained_on) == ("hub owner/repo@v1.0 small", "not said")
    network_named("hub:owner/repo:small:pretrained", CPU, 0)
    common = {"source": "github", "trust_repo": True, "verbose": False}
    assert asked == [
        ("owner/repo:v1.0", "small", common),
        ("owner/repo", "small", common | {"pretrained": True}),
    ]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hub:owner/repo", r"^encoder 'hub:owner/repo': needs hub:owner/repo:entry, or hub:\./folder:entry$"),
        ("hub:repo:entry", "needs hub:owner/repo:entry"),
        ("hub:./repository:scaled:best", "after the entry comes :pretrained, :untrained or nothing"),
        ("hub:./absent:scaled", r"absent/hubconf\.py: no such file"),
        ("hub:./repository:absent", "Cannot find callable absent in hubconf"),
        ("hub:./repository:plain:pretrained", r"unexpected keyword argument 'pretrained' \(TypeError\)"),
        ("hub:./repository:pair", "gives tuple, which is no nn.Module"),
    ],
)
def test_hubs_that_are_refused(repository: Path, spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        encoder(spec)
    assert "\n" not in str(caught.value)
