"""Weights in torch's cache, which packages and hubs load by themselves: their hash, and pickles among them."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_networks import Trap, features, grey

from repr_eval.representations.own_network.cached import check_hash
from repr_eval.representations.own_network.network import encoder

HUBCONF = """
import torch
from torch import nn

class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.factor * x.mean((2, 3))

def scaled():
    network = Scaled()
    network.load_state_dict(torch.hub.load_state_dict_from_url("https://nowhere.invalid/NAME", **OPTIONS))
    return network
"""


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's own cache of weights."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def hub(checkpoints: Path, content: Any, name: str = "scaled-HASH.pth", zipped: bool = True) -> str:
    """The SPEC of a hub that loads a file with `content`; HASH in its name is that of the file."""
    torch.save(content, checkpoints / "new", _use_new_zipfile_serialization=zipped)
    name = name.replace("HASH", hashlib.sha256((checkpoints / "new").read_bytes()).hexdigest()[:8])
    (checkpoints / "new").rename(checkpoints / name)
    (checkpoints / "hubconf.py").write_text(HUBCONF.replace("NAME", name).replace("OPTIONS", "{'map_location': 'cpu'}"))
    return f"hub:{checkpoints}:scaled"


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["scaled-HASH.pth", "scaled.pth", "scaled-20260102.pth"])
def test_weights_whose_hash_is_that_of_their_name(checkpoints: Path, name: str, zipped: bool) -> None:
    network = encoder(hub(checkpoints, {"factor": torch.full((1,), 3.0)}, name, zipped))
    np.testing.assert_allclose(features(network, grey(255)), [[3.0] * 3] * 2)  # 255 is 1


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_not_opened_whatever_its_hash(checkpoints: Path, tmp_path: Path, zipped: bool) -> None:
    mark, load = tmp_path / "opened", torch.load
    spec = hub(checkpoints, {"factor": torch.ones(1), "trap": Trap(mark)}, zipped=zipped)
    with pytest.raises(ValueError, match=r"\.pth: holds more than tensors, or is damaged; pickles are never") as caught:
        encoder(spec)
    assert "\n" not in str(caught.value)
    assert not mark.exists()
    assert torch.load is load


def test_weights_of_another_hash_are_refused(checkpoints: Path) -> None:
    spec = hub(checkpoints, {"factor": torch.ones(1)}, "scaled-0123abcd.pth")
    with pytest.raises(ValueError, match=r"scaled-0123abcd\.pth: its SHA-256 is .*, not 0123abcd as its name says"):
        encoder(spec)


def test_pretrained_weights_of_torchvision(checkpoints: Path, tmp_path: Path) -> None:
    mark = tmp_path / "opened"
    path = checkpoints / "resnet18-f37072fd.pth"  # the name that torchvision gives it
    torch.save({"trap": Trap(mark)}, path)
    with pytest.raises(ValueError, match=f"{path}: its SHA-256 is .*, not f37072fd as its name says; remove it"):
        encoder("torchvision:resnet18:pretrained")
    assert not mark.exists()


def test_which_names_end_in_a_hash(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"text").hexdigest()
    for name in (f"a-{digest}.pth", f"a-b-{digest[:8]}.pth", f"{digest[:7]}.pth", "a-0123abc.pth", "a-no.pth", "a.pth"):
        (tmp_path / name).write_bytes(b"text")
        check_hash(tmp_path / name)
    for name in ("a-01234567.pth", f"a-{digest[:-1]}0.pth".replace("00.", "01."), "a-20261399.pth.tar.gz-abcdef01.x"):
        (tmp_path / name).write_bytes(b"text")
        with pytest.raises(ValueError, match="as its name says"):
            check_hash(tmp_path / name)
