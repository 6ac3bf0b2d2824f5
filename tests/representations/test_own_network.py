"""Networks of the user's own: features known by hand, every kind of SPEC, what is refused, what the key covers."""

import io
import json
import linecache
import os
import pickle
import struct
import subprocess
import sys
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from factories import random_images
from own_networks import Trap
from torch import nn

from repr_eval.representations.base import Representation
from repr_eval.representations.batched import to_network
from repr_eval.representations.discriminator import pooled
from repr_eval.representations.own_network.exported import is_size
from repr_eval.representations.own_network.identity import weights_sha256
from repr_eval.representations.own_network.network import FunctionFeatures, Network, arranged, encoder, probe
from repr_eval.representations.store import key_of

# The mean of red and the mean of all colours, over each of 4x4 cells of a 32x32 image: as networks, as functions.
SOURCE = """
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

class Averages(nn.Module):
    trained_on = "nothing, planted"

    def __init__(self, factor=1.0):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 8, 8, bias=False)
        with torch.no_grad():
            self.conv.weight[0] = 0
            self.conv.weight[0, 0] = factor / 64
            self.conv.weight[1] = factor / 192

    def forward(self, x):
        return self.conv(x)

class Wrong(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x):
        return self.output(x)

def build():
    return Averages()

def features(images):
    images //= 1  # it may change what it is given
    cells = images.reshape(-1, 4, 8, 4, 8, 3).mean((2, 4)) / 127.5 - 1
    return np.stack([cells[..., 0], cells.mean(3)], 1).reshape(len(images), -1)

def make_features():
    return features

class Untrained(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 8, 8), nn.BatchNorm2d(4), nn.Dropout(0.5))

network = Averages()
number = 3
by_batch = lambda: Wrong(lambda x: F.batch_norm(x, None, None, training=True))
by_spread = lambda: Wrong(lambda x: x.flatten(1) - x.flatten(1).mean(0))
by_chance = lambda: Wrong(lambda x: F.dropout(x, training=True))
squeezing = lambda: Wrong(lambda x: F.adaptive_avg_pool2d(x, 1).squeeze())
nan = lambda: Wrong(lambda x: (x - 2).sqrt())
pair = lambda: Wrong(lambda x: (x, x))
one_number = lambda: Wrong(lambda x: x.sum((1, 2, 3)))
counts = lambda: Wrong(lambda x: x.long())
nothing = lambda: Wrong(lambda x: x[:, :0])
first = lambda: Wrong(lambda x: x[:1])
failing = lambda: Wrong(lambda x: x @ torch.zeros(5, 5))
needs_two = lambda a, b: None
def by_batch_function(images): return images.reshape(len(images), -1) - images.mean()
def of_integers(images): return images.reshape(len(images), -1)
"""


@pytest.fixture(autouse=True)
def _imports_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield
    for name in ("averages", "inherited"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """averages.py; the network that it builds as averages.pt and averages.pt2; fixed.pt2, for batches of 2."""
    folder = tmp_path_factory.mktemp("encoders")
    (folder / "averages.py").write_text(SOURCE)
    network = planted().network
    images = torch.zeros(2, 3, 32, 32)
    with torchscript_is_deprecated():
        torch.jit.save(torch.jit.trace(network, images), folder / "averages.pt")
    batch = torch.export.Dim("batch")
    torch.export.save(torch.export.export(network, (images,), dynamic_shapes=({0: batch},)), folder / "averages.pt2")
    torch.export.save(torch.export.export(network, (images,)), folder / "fixed.pt2")
    return folder


def planted() -> Any:
    """The names of SOURCE."""
    names: dict[str, Any] = {"__name__": "planted"}
    exec(SOURCE, names)
    return SimpleNamespace(**names)


@contextmanager
def torchscript_is_deprecated() -> Iterator[None]:
    """Newer versions of torch warn whenever TorchScript is used; nothing else may warn."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert all("`torch.jit." in str(warning.message) for warning in caught)


def filled(representation: Representation, images: np.ndarray) -> np.ndarray:
    return representation.fit(images).transform(images)


def averages(images: np.ndarray) -> np.ndarray:
    """What SOURCE's network and function give."""
    cells = images.astype(np.float64).reshape(-1, 4, 8, 4, 8, 3).mean((2, 4)) / 127.5 - 1
    return np.concatenate([cells[..., 0].reshape(-1, 16), cells.mean(3).reshape(-1, 16)], 1)


def of(network: str, folder: Path, source: str = "", **settings: Any) -> Representation:
    """The network that an expression gives, from a file of its own."""
    path = folder / f"{zlib.crc32((network + source).encode())}.py"
    path.write_text(f"import torch\nfrom torch import nn\n{source}\ndef build():\n    return {network}\n")
    return encoder(f"{path}:build", **settings)


# Every kind of SPEC.


@pytest.mark.parametrize("name", ["Averages", "network", "build", "features", "make_features"])
def test_code_of_a_file(folder: Path, name: str) -> None:
    representation, images = encoder(f"{folder / 'averages.py'}:{name}"), random_images(3)
    np.testing.assert_allclose(filled(representation, images), averages(images), atol=1e-6)
    description = representation.description
    assert (description.method, description.layers, description.n_features) == (name, "-", 32)
    function = "features" in name
    assert description.max_units == (32 if function else 2)
    assert description.trained_on == ("not said" if function else "nothing, planted")
    assert description.settings["kind"] == ("function" if function else "code")
    assert representation.fit(images) is representation


@pytest.mark.parametrize("file", ["averages.pt", "averages.pt2"])
def test_files_of_networks(folder: Path, file: str) -> None:
    images = random_images(3)
    with torchscript_is_deprecated():
        representation = encoder(str(folder / file))
    np.testing.assert_allclose(filled(representation, images), averages(images), atol=1e-6)
    assert representation.description.settings["kind"] == {"averages.pt": "torchscript"}.get(file, "torch.export")
    assert representation.description.method == "averages"
    with torchscript_is_deprecated(), pytest.raises(ValueError, match=r"layers of a .* cannot be reached"):
        encoder(str(folder / file), pool=("conv",))


def test_code_of_a_module_and_of_its_neighbour(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    images = random_images(2)
    of_module = encoder("averages:build")
    np.testing.assert_allclose(filled(of_module, images), averages(images), atol=1e-6)
    of_neighbour = of("Averages()", folder, "from averages import Averages")
    np.testing.assert_allclose(filled(of_neighbour, images), averages(images), atol=1e-6)
    assert encoder(f"{folder / 'averages.py'}:build").description == of_module.description


def test_a_network_of_torchvision_untrained() -> None:
    def untrained(seed: int) -> Representation:
        return encoder("torchvision:squeezenet1_1", ("features.3.squeeze", "features.6"), seed=seed)

    state, first = torch.get_rng_state(), untrained(0)
    assert torch.equal(torch.get_rng_state(), state)
    description = first.description
    # Maps of 7x7 and 3x3: 16 units of 4x4 cells, 256 of 3x3 ones.
    assert (description.n_features, description.max_units) == (16 * 16 + 256 * 9, 256)
    assert description.method == "torchvision squeezenet1_1, untrained"
    assert description.trained_on == "nothing"
    assert description.layers == "features.3.squeeze, features.6"
    assert untrained(0).description == description
    assert untrained(1).description != description


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torchvision:", r"^encoder 'torchvision:': needs the name of a network, as torchvision:resnet18$"),
        ("timm::pretrained", r"^encoder 'timm::pretrained': needs the name of a network, as timm:resnet18$"),
        ("torchvision:resnet19", r"^encoder .*19: torchvision has no network 'resnet19'; it has .*resnet18.*, \.\.\.$"),
        ("torchvision:resnet18:bogus", r"'bogus' names no weights .* pretrained or one of IMAGENET1K_V1, DEFAULT$"),
    ],
)
def test_names_that_packages_do_not_have(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoder(spec)


def test_a_network_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool, int]] = []

    def create_model(name: str, pretrained: bool, num_classes: int) -> nn.Module:
        asked.append((name, pretrained, num_classes))
        return nn.Flatten()

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model, list_models=lambda: ["a"]))
    assert encoder("timm:a.b_c").description.trained_on == "nothing"
    assert encoder("timm:a.b_c:pretrained").description.method == "timm a.b_c, pretrained"
    assert asked == [("a.b_c", False, 0), ("a.b_c", True, 0)]
    with pytest.raises(ValueError, match="comes :pretrained or nothing"):
        encoder("timm:a.b_c:best")
    with pytest.raises(ValueError, match=r"^encoder timm:b: timm has no network 'b'; it has a$"):
        encoder("timm:b")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match="timm is not installed here"):
        encoder("timm:a.b_c")


def test_a_network_built_on_another_brings_no_trained_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is to be downloaded")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refused)
    description = encoder("torchvision:fcn_resnet50", ("backbone.layer1",)).description
    assert description.trained_on == "nothing"


def test_what_one_file_makes_in_other_ways_has_other_keys(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(
        "import numpy as np\nimport torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, last):\n"
        "        super().__init__()\n"
        "        self.last = last\n"
        "    def forward(self, x):\n"
        "        return self.last(x.flatten(1))\n"
        "relu = lambda: Net(torch.relu)\n"
        "zero = lambda: Net(lambda x: x * 0 + 1)\n"
        "def bright(images): return images.reshape(len(images), -1) / 255.0\n"
        "def dark(images): return -images.reshape(len(images), -1) / 255.0\n"
        "def projected():\n"
        "    by = torch.randn(3072, 5)\n"
        "    return lambda images: bright(images) @ by.numpy()\n"
    )

    def key(name: str, seed: int = 0) -> str:
        return key_of(encoder(f"{tmp_path / 'two.py'}:{name}", seed=seed).description.settings)

    names = ("relu", "zero", "bright", "dark", "projected")
    assert len({key(name) for name in names}) == len(names)
    assert key("projected", 1) != key("projected", 0)
    assert key("projected") == key("projected")
    assert key("bright", 1) == key("bright", 0)


def test_weights_drawn_on_import_or_by_lazy_layers_are_those_of_the_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drawn.py").write_text(
        "import torch\nfrom torch import nn\n"
        "net = nn.Sequential(nn.Flatten(), nn.Linear(3072, 5))\n"
        "lazy = lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(5))\n"
        "by = torch.randn(3072, 5).double().numpy()\n"
        "def projected(images): return images.reshape(len(images), -1) @ by\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    state, images = torch.get_rng_state(), random_images(2)
    for spec in (f"{tmp_path / 'drawn.py'}:net", f"{tmp_path / 'drawn.py'}:lazy", f"{tmp_path / 'drawn.py'}:projected"):
        first, again, other = (encoder(spec, seed=seed) for seed in (0, 0, 1))
        torch.rand(1)  # what was drawn before has no part in it
        assert encoder(spec, seed=0).description == first.description == again.description
        np.testing.assert_array_equal(filled(first, images), filled(again, images))
        assert other.description.settings["seed"] == 1
        assert not np.array_equal(filled(first, images), filled(other, images))
    keys = []
    for seed in (0, 0, 1):
        sys.modules.pop("drawn", None)
        keys.append(key_of(encoder("drawn:net", seed=seed).description.settings))
    sys.modules.pop("drawn")
    assert keys[0] == keys[1] != keys[2]
    torch.set_rng_state(state)
    encoder(f"{tmp_path / 'drawn.py'}:net")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_file_with_a_wrong_bit_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("averages.pt", "averages.pt2"):
        with zipfile.ZipFile(folder / name) as archive:
            stored = [info for info in archive.infolist() if info.compress_type == zipfile.ZIP_STORED]
            largest = max(stored, key=lambda info: info.file_size)
        content = bytearray((folder / name).read_bytes())
        header = largest.header_offset
        content[header + 30 + sum(struct.unpack("<HH", content[header + 26 : header + 30]))] ^= 1
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: is damaged"):
            encoder(str(tmp_path / name))


def test_a_layer_that_is_named_twice_or_has_no_name_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="pool conv,conv: names a layer more than once"):
        encoder(f"{folder / 'averages.py'}:build", ("conv", "conv"))
    for pool in (("", ""), ("conv", ""), ("",)):
        with pytest.raises(ValueError, match=r"^pool '.*': a name is empty; needs names of layers, a comma between"):
            encoder(f"{folder / 'averages.py'}:build", pool)


def test_timm_finds_torchvision_importable(tmp_path: Path) -> None:
    """As timm does on import, in an interpreter that has not imported torchvision yet."""
    (tmp_path / "timm.py").write_text(
        "import torchvision\n"
        "def list_models(): return ['resnet18']\n"
        "def create_model(name, pretrained, num_classes):\n"
        "    return torchvision.models.get_model(name, num_classes=num_classes or 3)\n"
    )
    code = (
        "import sys, torch; from repr_eval.representations.own_network.spec import network_named\n"
        "assert 'torchvision' not in sys.modules\n"
        "print(type(network_named('timm:resnet18', torch.device('cpu'), 0).made).__name__)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", ".")])},
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert told == "ResNet\n"


# Images.


def test_normalisation_by_hand(tmp_path: Path) -> None:
    images = np.full((1, 32, 32, 3), (255, 0, 51), np.uint8)
    means = of("nn.MaxPool2d(32)", tmp_path, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    np.testing.assert_allclose(filled(means, images), [[1.8, -0.8, -0.05]], atol=1e-6)
    default = of("nn.MaxPool2d(32)", tmp_path)
    np.testing.assert_allclose(filled(default, images), [[1, -1, -0.6]], atol=1e-6)
    pixels = filled(of("nn.Flatten()", tmp_path), random_images(2))
    torch.testing.assert_close(torch.from_numpy(pixels), to_network(random_images(2), torch.device("cpu")).flatten(1))


def test_resizing_by_hand(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    column = np.zeros((1, 8, 8, 3), np.uint8)
    column[:, :, 0] = 255
    # A triangle four pixels wide on either side: weights 5, 7, 7, 5, 3, 1 of the first six. Two pixels alone would miss
    # the column.
    shrunk = filled(of("nn.Flatten()", tmp_path, image_size=2, **settings), column)
    np.testing.assert_allclose(shrunk, [[5 / 28, 0, 5 / 28, 0] * 3], atol=1e-6)
    step = np.zeros((1, 2, 2, 3), np.uint8)
    step[:, :, 1] = 255
    grown = filled(of("nn.Flatten()", tmp_path, image_size=4, **settings), step)
    np.testing.assert_allclose(grown, [[0, 0.25, 0.75, 1] * 12], atol=1e-6)
    same = filled(of("nn.Flatten()", tmp_path, image_size=32), random_images(1))
    np.testing.assert_array_equal(same, filled(of("nn.Flatten()", tmp_path), random_images(1)))
    with pytest.raises(ValueError, match=r"images are \[8, 8, 3\]; .* takes 32x32x3"):
        filled(of("nn.Flatten()", tmp_path), column)


def test_features_do_not_depend_on_what_else_is_in_the_call(folder: Path) -> None:
    images = random_images(130)
    images.flags.writeable = False
    for name in ("Untrained", "features"):
        representation = encoder(f"{folder / 'averages.py'}:{name}")
        out = filled(representation, images)
        np.testing.assert_allclose(filled(representation, images[129:]), out[129:], atol=1e-5)
    np.testing.assert_allclose(out, averages(images), atol=1e-6)  # also of a function that writes into its images


# Outputs and layers.


def test_outputs_are_arranged_by_their_shape() -> None:
    vectors = torch.arange(6.0).reshape(2, 3)
    assert arranged(vectors, 2, "").tolist() == vectors[..., None].tolist()
    tokens = torch.tensor([[[1.0, 10.0], [3.0, 30.0], [5.0, 20.0]]])
    assert arranged(tokens, 1, "").tolist() == [[[3.0], [20.0]]]
    maps = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(arranged(maps, 2, "").flatten(1), pooled(maps))
    uneven = torch.arange(12.0).reshape(1, 1, 2, 6)  # six columns in four cells: 0-1, 1-2, 3-4, 4-5
    assert arranged(uneven, 1, "").tolist() == [[[1, 2, 4, 5, 7, 8, 10, 11]]]
    assert arranged(torch.full((1, 2), 3.0, dtype=torch.bfloat16), 1, "").dtype == torch.float32


LAYERED = """
class Layered(nn.Module):
    def __init__(self):
        super().__init__()
        self.minus = nn.Conv2d(3, 3, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.blocks = nn.Sequential(nn.AvgPool2d(16), nn.Flatten())
        self.spare = nn.Identity()
        with torch.no_grad():
            self.minus.weight.copy_(-torch.eye(3)[..., None, None])

    def forward(self, x):
        return self.blocks(self.relu(self.minus(x))).add_(5)
"""


def test_layers_by_name_in_the_given_order(tmp_path: Path) -> None:
    images = np.zeros((2, 32, 32, 3), np.uint8)
    images[0, ..., 0] = 255  # -1 after the sign is turned, 0 after the ReLU
    images[1, ..., 1] = 204  # -0.6
    minus = np.repeat([[-1, 1, 1], [1, -0.6, 1]], 16, axis=1)
    flat = np.repeat([[0, 1, 1], [1, 0, 1]], 4, axis=1)
    for pool, expected in (
        (("minus", "blocks.1"), np.concatenate([minus, flat], 1)),
        (("blocks.1", "minus"), np.concatenate([flat, minus], 1)),
        (("relu",), minus.clip(0)),
    ):
        representation = of("Layered()", tmp_path, LAYERED, pool=pool)
        np.testing.assert_allclose(filled(representation, images), expected, atol=1e-6)
        assert representation.description.layers == ", ".join(pool)
        assert representation.description.settings["pool"] == list(pool)
    with pytest.raises(ValueError, match=r"has no such layer; it has blocks.1, blocks.0, blocks"):
        of("Layered()", tmp_path, LAYERED, pool=("minus", "blocks.2"))
    with pytest.raises(ValueError, match="layer 'spare' is not run"):
        of("Layered()", tmp_path, LAYERED, pool=("minus", "spare"))


def test_layers_that_hooks_do_not_reach(folder: Path) -> None:
    exported = f"torch.export.load({str(folder / 'averages.pt2')!r}).module()"
    np.testing.assert_allclose(filled(of(exported, folder), random_images(2)), averages(random_images(2)), atol=1e-6)
    with pytest.raises(ValueError, match="layer 'conv' is not run, or is run where hooks do not reach"):
        of(exported, folder, pool=("conv",))
    script = f"nn.Sequential(torch.jit.load({str(folder / 'averages.pt')!r}))"
    with torchscript_is_deprecated(), pytest.raises(ValueError, match="layers of a code network cannot be reached"):
        of(script, folder, pool=("0.conv",))


# Networks and functions that are at hand.


def test_a_network_at_hand_is_that_of_its_file(folder: Path) -> None:
    module, images = planted().network, random_images(3)
    representation = Network(module, pool=["conv"], mean=(0.4, 0.5, 0.6))
    named = encoder(f"{folder / 'averages.py'}:network", ("conv",), mean=(0.4, 0.5, 0.6))
    np.testing.assert_array_equal(filled(representation, images), filled(named, images))
    description = representation.description
    assert (description.method, description.trained_on) == ("Averages", "nothing, planted")
    assert (representation.pool, representation.mean, representation.std) == (
        ["conv"],
        (0.4, 0.5, 0.6),
        (0.5, 0.5, 0.5),
    )
    assert Network(module, name="mine").description.method == "mine"
    whole, fractions = (Network(module, mean=mean) for mean in ((0, 1, 0), (0.0, 1.0, 0.0)))
    assert key_of(whole.description.settings) == key_of(fractions.description.settings)
    left_out = ("sources_sha256", "callable", "seed")
    assert {k: v for k, v in description.settings.items() if k not in left_out} == {
        k: v for k, v in named.description.settings.items() if k not in left_out
    }


def test_a_network_at_hand_is_copied() -> None:
    conv = nn.Conv2d(3, 2, 8, 8)
    module, images = nn.Sequential(conv, nn.Dropout(0.5)), random_images(3)
    representation = Network(module)
    before = filled(representation, images)
    assert module.training
    with torch.no_grad():
        conv.weight.mul_(2)
    np.testing.assert_array_equal(filled(representation, images), before)
    assert (
        Network(module).description.settings["weights_sha256"] != representation.description.settings["weights_sha256"]
    )


def brightness(images: np.ndarray) -> np.ndarray:
    return np.asarray(images.mean((1, 2)) / 255)


def test_a_function_at_hand_is_known_by_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(3)
    representation = FunctionFeatures(brightness)
    np.testing.assert_allclose(filled(representation, images), brightness(images), rtol=1e-6)
    assert representation.description.method == "brightness"
    key = representation.description.settings["sources_sha256"]
    assert key == FunctionFeatures(partial(brightness)).description.settings["sources_sha256"]
    cells = []
    for number, content in enumerate(("images.mean((1, 2))", "images.mean((1, 2)) * 1")):  # as a notebook defines them
        source, names = f"def cell(images):\n    return {content}\n", {"__name__": "__main__"}
        linecache.cache[f"<cell {number}>"] = (len(source), None, source.splitlines(keepends=True), f"<cell {number}>")
        exec(compile(source, f"<cell {number}>", "exec"), names)
        cells.append(FunctionFeatures(names["cell"]).description.settings["sources_sha256"])  # type: ignore[arg-type]
        del linecache.cache[f"<cell {number}>"]
    assert len({key, *cells}) == 3


def test_what_is_no_network_or_function_at_hand_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^3 is int; needs an nn\.Module or a function of images alone$"):
        FunctionFeatures(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^network is function; needs an nn\.Module$"):
        Network(brightness)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^pool 'conv': needs a list of names, \['conv'\]$"):
        Network(planted().network, pool="conv")
    locked = nn.Flatten()
    locked.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"^encoder Flatten cannot be copied: cannot pickle .* \(TypeError\)$"):
        Network(locked)


# The key of stored features.


def test_key_covers_weights_structure_and_source(tmp_path: Path) -> None:
    def key(factor: float = 1.0, source: str = SOURCE, **settings: Any) -> str:
        return key_of(of(f"Averages({factor})", tmp_path, source, **settings).description.settings)

    (tmp_path / "elsewhere").mkdir()
    elsewhere = key_of(of("Averages(1.0)", tmp_path / "elsewhere", SOURCE).description.settings)
    assert key() == key() == elsewhere
    changed = [
        key(factor=1.001), key(source=SOURCE + "# or otherwise\n"), key(pool=("conv",)), key(image_size=32),
        key(mean=(0.5, 0.5, 0.4)), key(std=(0.5, 0.4, 0.5)),
    ]  # fmt: skip
    assert len({key(), *changed}) == 7


def test_key_covers_the_source_of_inherited_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, path = [], sys.path[:]
    for k, result in enumerate(("x + 1", "x + 1", "x + 2")):
        folder = tmp_path / str(k)
        folder.mkdir()
        base = f"import torch\nclass Base(torch.nn.Module):\n    def forward(self, x):\n        return {result}\n"
        (folder / "inherited.py").write_text(base)
        monkeypatch.setattr(sys, "path", path[:])
        sys.modules.pop("inherited", None)
        network = of("Own()", folder, "from inherited import Base\nclass Own(Base): pass")
        keys.append(network.description.settings)
    assert keys[0] == keys[1]
    assert keys[0]["weights_sha256"] == keys[2]["weights_sha256"]
    assert keys[0]["sources_sha256"] != keys[2]["sources_sha256"]


def test_hash_of_weights_sees_every_byte_and_name() -> None:
    def network() -> nn.Sequential:
        network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        for parameter in network.parameters():
            nn.init.constant_(parameter, 0.5)
        network.register_buffer("unsaved", torch.zeros(1), persistent=False)
        return network

    hashes = {weights_sha256(network()), weights_sha256(network())}
    assert len(hashes) == 1
    for name in ("0.weight", "1.running_var", "1.num_batches_tracked", "unsaved"):
        changed = network()
        layer, _, last = name.rpartition(".")
        getattr(changed.get_submodule(layer), last).data.add_(1)
        hashes.add(weights_sha256(changed))
    hashes |= {weights_sha256(network().half()), weights_sha256(nn.Sequential(*network()))}
    hashes |= {weights_sha256(nn.Sequential(*network(), nn.ReLU())), weights_sha256(nn.Sequential(nn.ReLU()))}
    assert len(hashes) == 9


def test_key_of_a_file_is_its_content(folder: Path, tmp_path: Path) -> None:
    content = (folder / "averages.pt2").read_bytes()
    (tmp_path / "copy.pt2").write_bytes(content)
    keys = [encoder(str(path)).description.settings for path in (folder / "averages.pt2", tmp_path / "copy.pt2")]
    assert keys[0] == keys[1]
    assert len(keys[0]["file_sha256"]) == 64


# What is refused.


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", r"averages\.py has no 'absent'; it has (\w+, ){8}\.\.\.$"),
        ("buidl", r"has no 'buidl'; it has build, .*, \.\.\.$"),
        ("", r"has no ''; it has Averages, Wrong, build, features, make_features, Untrained, network, by_batch, "),
        ("number", "is to be an nn.Module, to make one without arguments, or to be a function"),
        ("needs_two", "is to be an nn.Module"),
        ("Wrong", "is to be an nn.Module"),  # a class that needs an argument is no function of images
        ("by_batch", "depends on the batch"),
        ("by_spread", "depends on the batch"),
        ("by_chance", "depends on the batch .* or on chance"),
        ("by_batch_function", "depends on the batch"),
        ("squeezing", r"gives float32 \[3\] for 1 images"),
        ("nan", "gives NaN or infinity"),
        ("pair", "gives tuple; needs one tensor"),
        ("one_number", r"gives float32 \[4\] for 4 images; needs float \[N, D\], \[N, T, C\] or \[N, C, H, W\]"),
        ("counts", r"gives int64 \[4, 3, 32, 32\]"),
        ("nothing", r"gives float32 \[4, 0, 32, 32\]"),
        ("first", r"gives float32 \[1, 3, 32, 32\] for 4 images"),
        ("failing", r"encoder failing fails on 4 images of 32x32 \(.* from 1 to 64\): .* \(RuntimeError\)"),
        ("of_integers", r"gives uint8 \[4, 3072\] for 4 images; needs a NumPy array, float"),
    ],
)
def test_networks_that_are_refused(folder: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        encoder(f"{folder / 'averages.py'}:{name}")
    assert "\n" not in str(caught.value)


# Each works in batches of 4 and of 1.
BATCHES = """
import numpy as np
from torch import nn

class Some(nn.Module):
    def __init__(self, wrong):
        super().__init__()
        self.wrong = wrong

    def forward(self, x):
        if self.wrong(len(x)):
            raise RuntimeError(f"not {len(x)}\\nof them")
        return x.flatten(1)

few = lambda: Some(lambda n: n > 32)
not_ten = lambda: Some(lambda n: n == 10)
def indexed(images): return np.zeros(32)[np.arange(len(images))][:, None]
def rows(images): return images.reshape(len(images), -1)[:, :4 + len(images) // 10] / 255.0
def odd(images): return images.reshape(len(images), -1)[:, :5 if len(images) == 10 else 4] / 255.0
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("few", r"^encoder few fails on 64 images of 32x32 \(it is .* from 1 to 64\): not 64 \(RuntimeError\)$"),
        ("indexed", r"^encoder indexed fails on 64 images .*: index 32 is out of bounds .* \(IndexError\)$"),
        ("rows", r"^encoder rows gives an image 10 features in a batch of 64 and 4 in others; needs as many in all$"),
    ],
)
def test_what_fails_in_a_full_batch_is_refused_before_any_features_are_made(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "batches.py").write_text(BATCHES)
    with pytest.raises(ValueError, match=message):
        encoder(f"{tmp_path / 'batches.py'}:{name}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("not_ten", r"^encoder not_ten fails on 10 images of 32x32 \(it is .*\): not 10 \(RuntimeError\)$"),
        ("odd", r"^encoder odd gives an image 5 features in a batch of 10 and 4 in others; needs as many in all$"),
    ],
)
def test_what_fails_in_a_later_batch_is_told_in_one_line(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "batches.py").write_text(BATCHES)
    representation = encoder(f"{tmp_path / 'batches.py'}:{name}")
    assert filled(representation, random_images(65)).shape[0] == 65
    with pytest.raises(ValueError, match=message):
        filled(representation, random_images(74))


def test_files_of_networks_that_take_few_images(tmp_path: Path) -> None:
    batch = torch.export.Dim("batch", max=32)
    exported = torch.export.export(nn.Flatten(), (torch.zeros(2, 3, 32, 32),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, tmp_path / "bounded.pt2")
    with pytest.raises(ValueError, match=r"^encoder bounded fails on 64 images .*: Guard failed: .*<= 32.*$"):
        encoder(str(tmp_path / "bounded.pt2"))
    with torchscript_is_deprecated():
        torch.jit.save(torch.jit.script(AtMostFour()), tmp_path / "four.pt")
    with (
        torchscript_is_deprecated(),
        pytest.raises(ValueError, match=r"^encoder four fails on 64 images .*: .*Error: at most four.*$"),
    ):
        encoder(str(tmp_path / "four.pt"))


class AtMostFour(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] > 4:
            raise ValueError("at most four")
        return x


def test_a_function_without_a_source_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sourceless", planted())
    with pytest.raises(ValueError, match="encoder features: has no source file to be known by"):
        encoder("sourceless:features")
    assert encoder("sourceless:build").description.settings["sources_sha256"] is None  # known by its weights


def test_specs_and_settings_that_are_refused(folder: Path, tmp_path: Path) -> None:
    code = f"{folder / 'averages.py'}:build"
    for spec, message in (
        ("resnet", "encoder 'resnet': needs module:name"),
        (":build", "encoder ':build': needs module:name"),
        (f"{folder / 'averages'}:build", r"averages': is no module's name; a file needs its ending, /.*averages\.py$"),
        ("no_such_module:build", r"\./no_such_module\.py\): No module named"),
        (f"{tmp_path / 'absent.py'}:build", r"absent\.py: no such file"),
        (str(tmp_path / "absent.pt2"), r"absent\.pt2: no such file"),
        (str(folder / "fixed.pt2"), "encoder fixed fails on 4 images of 32x32 .*: Guard failed"),
    ):
        with pytest.raises(ValueError, match=message):
            encoder(spec)
    (tmp_path / "broken.py").write_text("def build(:\n")
    with pytest.raises(ValueError, match=r"broken\.py: .*SyntaxError"):
        encoder(f"{tmp_path / 'broken.py'}:build")
    with pytest.raises(ValueError, match="image size 0"):
        encoder(code, image_size=0)
    for std in ((1.0, 0.0, 1.0), (1.0, 1.0), (1.0, 1.0, float("nan"))):
        with pytest.raises(ValueError, match=r"std \(1.0, .* three finite numbers"):
            encoder(code, std=std)  # type: ignore[arg-type]
    for settings in ({"pool": ("conv",)}, {"image_size": 32}, {"std": (1.0, 1.0, 1.0)}):
        with pytest.raises(ValueError, match="a function takes images as they are"):
            encoder(f"{folder / 'averages.py'}:features", **settings)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("file", ["network.pt", "network.pt2", "network.pth"])
def test_pickles_are_refused_unread(tmp_path: Path, file: str, zipped: bool) -> None:
    path, mark = tmp_path / file, tmp_path / "opened"
    torch.save({"weight": torch.ones(2), "trap": Trap(mark)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"is a pickle .*never opens; save the network with torch\.export\.save"):
        encoder(str(path))
    assert not mark.exists()
    path.write_bytes(b"text")
    with pytest.raises(ValueError, match="no file of torch's, or cut short"):
        encoder(str(path))


def test_pickles_inside_an_exported_network_are_refused(folder: Path, tmp_path: Path) -> None:
    mark, buffer = tmp_path / "opened", io.BytesIO()
    torch.save((Trap(mark),), buffer)
    with zipfile.ZipFile(folder / "averages.pt2") as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    inputs, config = "averages/data/sample_inputs/model.pt", "averages/data/weights/model_weights_config.json"
    for changed in (
        {inputs: buffer.getvalue()},
        {config: records[config].replace(b'"use_pickle": false', b'"use_pickle": true')},
        {config: records[config].replace(b'"weight_0"', b'"opaque_obj_0"')},
        {"averages/data/aotinductor/model/library.so": b""},
        {"version": b"1.1", "serialized_state_dict.json": pickle.dumps(Trap(mark))},
    ):
        assert changed.items() - records.items()
        with zipfile.ZipFile(tmp_path / "network.pt2", "w") as archive:
            for name, content in (records | changed).items():
                archive.writestr(name, content)
        with pytest.raises(ValueError, match="in it is a pickle or compiled code, which repr-eval never opens"):
            encoder(str(tmp_path / "network.pt2"))
    assert not mark.exists()


def changed_program(source: Path, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The torch.export file with another program, which `change` has made of its JSON."""
    with zipfile.ZipFile(source) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (name for name in records if name.endswith("models/model.json"))
    program = json.loads(records[name])
    change(program)
    with zipfile.ZipFile(path, "w") as archive:
        for record, content in records.items():
            archive.writestr(record, json.dumps(program) if record == name else content)
    return path


def set_everywhere(field: str, value: object) -> Callable[[Any], None]:
    """Sets a field of that name to a value, wherever the JSON has it."""

    def change(node: Any) -> None:
        for key, part in node.items() if isinstance(node, dict) else enumerate(node):
            if key == field:
                node[key] = value
            elif isinstance(part, dict | list):
                change(part)

    return change


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("expr_str", "__import__('pathlib').Path(MARK).touch()"),
        ("expr_str", "Symbol('s77', cls=__import__('pathlib').Path(MARK).touch())"),
        ("expr_str", "Pow(Integer(9), Pow(Integer(9), Integer(9)))"),
        ("guards_code", ["__import__('pathlib').Path(MARK).touch() or True"]),
        ("target", "torch.os.system"),
        ("target", "torch.hub.load"),
        ("target", "torch.ops.load_library"),
        ("target", "torch.ops.aten.from_file.default"),
        ("target", "_operator.call"),
        ("name", "x):\n  __import__('pathlib').Path(MARK).touch()\n#"),
        ("forward_arg_names", ["x=__import__('pathlib').Path(MARK).touch()"]),
        ("stack_trace", "File 'x', line 1, in forward\r__import__('pathlib').Path(MARK).touch()"),
        (
            "in_spec",
            '[1, {"type": "collections.defaultdict", "context": "{\\"default_factory_module\\": \\"trap\\"}", '
            '"children_spec": []}]',
        ),
    ],
)
def test_a_program_that_torch_would_evaluate_is_refused(folder: Path, tmp_path: Path, field: str, value: Any) -> None:
    mark = tmp_path / "opened"
    told = json.loads(json.dumps(value).replace("MARK", f"'{mark}'"))
    path = changed_program(folder / "averages.pt2", tmp_path / "network.pt2", set_everywhere(field, told))
    with pytest.raises(
        ValueError, match=rf"^{path}: no program that repr-eval reads: its {field} |it has guards"
    ) as caught:
        encoder(str(path))
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_expressions_of_sizes_of_an_exported_network() -> None:
    batch = "Symbol('s77', positive=True, integer=True)"
    for fine in (batch, "s0", "Integer(3)", f"Mul(Integer(256), {batch})", f"Pow({batch}, Integer(2))",
                 f"Add(Integer(-1), FloorDiv({batch}, Integer(2)))"):  # fmt: skip
        assert is_size(fine), fine
    for wrong in ("print", "Symbol(s77)", f"{batch}.free_symbols", f"Mul({batch}, [1])", "lambda: 1", "s0 + 1", "(",
                  "", "Integer('3')", f"Pow({batch}, Integer(9))", "Symbol('a.b')",
                  "Mul(" * 99 + ")" * 99 + "."):  # fmt: skip
        assert not is_size(wrong), wrong


def test_images_of_the_probe_differ_in_brightness() -> None:
    means = probe(32).mean((1, 2, 3))
    np.testing.assert_allclose(means, [31.5, 63.5, 95.5, 127.5], atol=3)


def test_trap_would_have_left_its_file(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(Trap(tmp_path / "opened"), buffer)
    buffer.seek(0)
    torch.load(buffer, weights_only=False)
    assert (tmp_path / "opened").exists()
