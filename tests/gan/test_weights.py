"""Weights files: what comes back, and what every kind of wrong file is answered with."""

import dataclasses
import hashlib
import json
import os
import pickle
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from repr_eval.gan import pretrained
from repr_eval.gan.architectures import architecture_named
from repr_eval.gan.networks import Discriminator, Generator, initialise
from repr_eval.gan.weights import (
    WeightsInfo,
    export,
    load_discriminator,
    load_generator,
    read_tensors,
    save_weights,
    weights_hash,
)

ARCH = architecture_named("dcgan32-svhn")
INFO = WeightsInfo(
    network="discriminator",
    arch="dcgan32-svhn",
    width=0.05,
    trained_on="noise",
    images_seen=80,
    settings={"lr": 2e-4, "seed": 1},
)
G_INFO = dataclasses.replace(INFO, network="generator", z_dim=6, z="normal")


def trained(network: Any) -> Any:
    """As a network is after some training: initial weights, and running statistics that are not 0 and 1."""
    rng = torch.Generator().manual_seed(0)
    initialise(network, rng)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1.0, 1.0, rng)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 1e-6, 1e-4, rng)  # type: ignore[arg-type]
    return network.eval()


def discriminator(**options: Any) -> Discriminator:
    network: Discriminator = trained(Discriminator(ARCH, 0.05, **options))
    return network


def generator() -> Generator:
    network: Generator = trained(Generator(ARCH, 0.05, z_dim=6))
    return network


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A good file; the tests below spoil it."""
    path = tmp_path / "discriminator.safetensors"
    save_weights(path, discriminator(), INFO)
    return path


def rewrite(path: Path, change: Callable[[dict[str, Tensor], dict[str, str]], None]) -> None:
    """Apply `change` to the tensors and the metadata of a file."""
    tensors = load_file(path)
    with safe_open(path, "pt") as opened:
        metadata = dict(opened.metadata())
    change(tensors, metadata)
    save_file(tensors, path, metadata)


# Round trips.


def test_a_discriminator_comes_back_exactly(saved: Path) -> None:
    network, info = load_discriminator(saved)
    assert info == INFO
    assert not network.training
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert torch.equal(network(x), discriminator()(x))
    assert weights_hash(network) == weights_hash(discriminator())


def test_a_generator_comes_back_exactly(tmp_path: Path) -> None:
    save_weights(tmp_path / "g.safetensors", generator(), G_INFO)
    network, info = load_generator(tmp_path / "g.safetensors")
    assert info == G_INFO
    assert not network.training
    z = torch.rand(3, 6, generator=torch.Generator().manual_seed(1))
    assert torch.equal(network(z), generator()(z))


def test_the_first_layers_and_another_eps_come_back(tmp_path: Path) -> None:
    network = discriminator(layers=2, eps=1e-5)
    save_weights(tmp_path / "d.safetensors", network, dataclasses.replace(INFO, layers=2, eps=1e-5))
    found, _ = load_discriminator(tmp_path / "d.safetensors")
    assert (found.layers, found.eps) == (2, 1e-5)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for one, other in zip(found.activations(x), network.activations(x), strict=True):
        assert torch.equal(one, other)


def test_half_precision_keeps_batch_norm_in_float32(tmp_path: Path) -> None:
    save_weights(tmp_path / "half.safetensors", discriminator(), INFO, half=True)
    stored, exact = load_file(tmp_path / "half.safetensors"), discriminator().state_dict()
    assert {name for name, tensor in stored.items() if tensor.dtype == torch.float16} == {
        "convs.0.weight", "convs.1.weight", "convs.2.weight", "dense.weight",
    }  # fmt: skip
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(stored[f"norms.0.{name}"], exact[f"norms.0.{name}"])
    network, _ = load_discriminator(tmp_path / "half.safetensors")
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert tensor.dtype == torch.float32
            torch.testing.assert_close(tensor, exact[name], rtol=2**-11, atol=2**-25)  # float16's precision


@pytest.mark.parametrize(("length", "first"), [(0x0880, b"\x80"), (0x4B50, b"PK")])
def test_a_file_may_begin_as_a_pickle_does(tmp_path: Path, length: int, first: bytes) -> None:
    """A safetensors file begins with the length of its header."""
    path = tmp_path / "d.safetensors"
    save_weights(path, discriminator(), dataclasses.replace(INFO, trained_on=""))
    short = int.from_bytes(path.read_bytes()[:8], "little")
    save_weights(path, discriminator(), dataclasses.replace(INFO, trained_on="x" * (length - short)))
    assert path.read_bytes().startswith(first)
    load_discriminator(path)


def test_export_halves_a_file_and_says_so(saved: Path, tmp_path: Path) -> None:
    export(saved, tmp_path / "half.safetensors")
    export(saved, tmp_path / "full.safetensors", half=False)
    _, half = load_discriminator(tmp_path / "half.safetensors")
    network, full = load_discriminator(tmp_path / "full.safetensors")
    assert half.settings == INFO.settings | {"stored_as": "float16"}
    assert full.settings == INFO.settings | {"stored_as": "float32"}
    assert weights_hash(network) == weights_hash(discriminator())
    save_weights(tmp_path / "g.safetensors", generator(), G_INFO)
    export(tmp_path / "g.safetensors", tmp_path / "g-half.safetensors")
    assert load_generator(tmp_path / "g-half.safetensors")[1].network == "generator"


def test_the_hash_is_of_the_function_not_of_the_file(saved: Path) -> None:
    network = discriminator()
    before = weights_hash(network)
    assert weights_hash(network.to(memory_format=torch.channels_last)) == before  # type: ignore[call-overload]
    network.train()(torch.zeros(2, 3, 32, 32))
    assert weights_hash(network) != before  # its running statistics have moved
    for name in ("convs.1.weight", "norms.1.bias", "norms.0.running_var", "dense.weight"):
        network = discriminator()
        network.state_dict()[name].view(-1)[0] += 1e-3
        assert weights_hash(network) != before, name


def test_a_full_disk_leaves_the_old_file(saved: Path) -> None:
    before = saved.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) - 1, limits[1]))
    try:
        with pytest.raises(OSError, match=re.escape(str(saved))):
            save_weights(saved, discriminator(), INFO)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


# Files that are not what is needed: one line that names the file.


def assert_refused(path: Path, message: str, load: Callable[[Path], object] = load_discriminator) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    assert_refused(saved, "not a whole safetensors file")


@pytest.mark.parametrize("content", [b"\xff" * 64, b"not weights at all, but long enough to be looked at"])
def test_rubbish(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rubbish.safetensors").write_bytes(content)
    assert_refused(tmp_path / "rubbish.safetensors", "not a whole safetensors file")


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nothing.safetensors", "no such weights file")
    assert_refused(tmp_path, "no such weights file")


class Trap:
    """An object whose unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["torch.save", "torch.save, old", "pickle", "pickle, oldest"])
def test_a_pickle_is_refused_and_never_opened(tmp_path: Path, kind: str) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "weights.safetensors"
    trap = {"convs.0.weight": torch.zeros(2), "trap": Trap(sprung)}
    if kind.startswith("torch"):
        torch.save(trap, path, _use_new_zipfile_serialization=kind == "torch.save")
    else:
        path.write_bytes(pickle.dumps({"trap": Trap(sprung)}, protocol=0 if "oldest" in kind else 4))
    # Protocol 0 is text without a mark of its own: refused like any other rubbish.
    message = "not a whole safetensors file" if "oldest" in kind else r"is a pickle .*give a \.safetensors file"
    assert_refused(path, message)
    assert not sprung.exists()
    with open(path, "rb") as file:  # the trap does work
        if kind.startswith("pickle"):
            pickle.load(file)
            assert sprung.exists()


def test_another_programs_safetensors(tmp_path: Path) -> None:
    save_file(discriminator().state_dict(), tmp_path / "foreign.safetensors")
    assert_refused(tmp_path / "foreign.safetensors", "but not one of repr-eval's")
    save_file(discriminator().state_dict(), tmp_path / "foreign.safetensors", {"format": "pt"})
    assert_refused(tmp_path / "foreign.safetensors", "but not one of repr-eval's")


@pytest.mark.parametrize("description", ["{", "[1]", '{"network": "discriminator"}', '{"colour": 1}', "null"])
def test_a_description_that_cannot_be_read(saved: Path, description: str) -> None:
    rewrite(saved, lambda tensors, metadata: metadata.update(repr_eval=description))
    assert_refused(saved, "its description cannot be read")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arch": "resnet50"}, "unknown architecture 'resnet50'"),
        ({"arch": ["dcgan32"]}, "arch is"),
        ({"width": "wide"}, "width is"),
        ({"width": 0}, "width 0"),
        ({"layers": 4}, "layers=4: dcgan32-svhn has layers 1 to 3"),
        # Descriptions of other networks than the tensors are of.
        ({"arch": "dcgan32"}, r"tensor convs\.0\.weight is \[3, 3, 5, 5\], .* needs \[6, 3, 3, 3\]"),
        ({"width": 0.1}, r"tensor convs\.0\.weight is \[3, 3, 5, 5\], .* needs \[6, 3, 5, 5\]"),
        ({"layers": 2}, r"tensor convs\.2\.weight is not part of this architecture"),
        ({"network": "generator"}, "holds a generator; features need a discriminator"),
        ({"network": "classifier"}, "holds a classifier"),
    ],
)
def test_a_description_of_another_network(saved: Path, change: dict[str, Any], message: str) -> None:
    content = json.dumps(dataclasses.asdict(INFO) | change)
    rewrite(saved, lambda tensors, metadata: metadata.update(repr_eval=content))
    assert_refused(saved, message)


@pytest.mark.parametrize("name", ["convs.1.weight", "norms.0.running_var", "dense.weight"])
def test_a_missing_tensor(saved: Path, name: str) -> None:
    rewrite(saved, lambda tensors, metadata: tensors.__delitem__(name))
    assert_refused(saved, f"has no tensor {re.escape(name)}, which this architecture needs")


def test_a_tensor_too_many(saved: Path) -> None:
    rewrite(saved, lambda tensors, metadata: tensors.update(extra=torch.zeros(1)))
    assert_refused(saved, "tensor extra is not part of this architecture")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["convs.2.weight", "norms.1.running_mean"])
def test_a_tensor_that_is_not_finite(saved: Path, name: str, value: float) -> None:
    def spoil(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        tensors[name].view(-1)[-1] = value

    rewrite(saved, spoil)
    assert_refused(saved, f"tensor {re.escape(name)} holds NaN or infinity")


def test_a_generator_where_a_discriminator_is_needed_and_the_other_way_round(saved: Path, tmp_path: Path) -> None:
    save_weights(tmp_path / "generator.safetensors", generator(), G_INFO)
    assert_refused(tmp_path / "generator.safetensors", "holds a generator; features need a discriminator")
    assert_refused(saved, "holds a discriminator; samples need a generator", load_generator)


def test_reading_checks_before_any_network_is_built(saved: Path) -> None:
    tensors, info = read_tensors(saved)
    assert info == INFO
    assert set(tensors) == {
        name for name in discriminator().state_dict() if not name.endswith("num_batches_tracked")
    }  # fmt: skip


# Shipped weights.


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "pretrained"
    folder.mkdir()
    save_weights(folder / "small.safetensors", discriminator(), INFO)
    save_weights(folder / "other.safetensors", discriminator(), INFO)
    models = {
        name: {
            "files": {f"{name}.safetensors": hashlib.sha256((folder / f"{name}.safetensors").read_bytes()).hexdigest()}
        }
        for name in ("small", "other")
    }
    (folder / "manifest.json").write_text(json.dumps({"best": "small", "models": models}))
    monkeypatch.setattr(pretrained, "_FOLDERS", (tmp_path / "elsewhere", folder))
    return folder


def test_shipped_weights_are_found_by_name_and_files_by_path(
    shipped: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pretrained.best() == "small"
    assert pretrained.find_weights("other") == shipped / "other.safetensors"
    assert pretrained.find_weights(str(saved)) == saved
    monkeypatch.chdir(saved.parent)
    assert pretrained.find_weights(saved.name) == Path(saved.name)


def test_shipped_weights_are_those_of_the_manifest(shipped: Path, saved: Path) -> None:
    path = shipped / "other.safetensors"
    pretrained.find_weights("other")
    content = bytearray(path.read_bytes())
    content[-100] ^= 1  # of a tensor; the file can be read as before
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{path}: is not the file that shipped \(its SHA-256, by manifest\.json\)"):
        pretrained.find_weights("other")
    assert pretrained.find_weights(str(path)) == path  # by its path it is anybody's file
    (shipped / "more.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"more\.safetensors: manifest\.json beside it does not name this file"):
        pretrained.find_weights("more")


def test_the_generator_that_comes_with_a_name_is_compared_too(shipped: Path) -> None:
    (shipped / "small-generator.safetensors").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"small-generator\.safetensors: manifest\.json beside it"):
        pretrained.find_both("small")


def test_an_unknown_name_is_answered_with_the_known_ones(shipped: Path) -> None:
    with pytest.raises(ValueError, match="'medium'; shipped are other, small; controls and methods: `help"):
        pretrained.find_weights("medium")
    with pytest.raises(ValueError, match=r"medium\.safetensors: no such weights file"):
        pretrained.find_weights("medium.safetensors")
    with pytest.raises(ValueError, match="runs/medium: no such weights file"):
        pretrained.find_weights("runs/medium")


def test_a_checkout_without_shipped_weights_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "_FOLDERS", (tmp_path,))
    with pytest.raises(ValueError, match=rf"no shipped weights: no manifest\.json in {tmp_path}; name a"):
        pretrained.best()
    with pytest.raises(ValueError, match="no weights called 'small': no shipped weights"):
        pretrained.find_weights("small")


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"best": "small"}', b'{"best": "x", "models": {}}', b"\xff"])
def test_a_broken_manifest_is_named(shipped: Path, content: bytes) -> None:
    (shipped / "manifest.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"{shipped}/manifest\.json: not a manifest of shipped weights"):
        pretrained.best()


@pytest.mark.parametrize(
    ("name", "value"),
    [("eps", "1e-8"), ("eps", None), ("eps", -1.0), ("images_seen", "many"), ("trained_on", ["a"]), ("width", "wide")],
)
def test_a_description_of_wrong_kinds_is_refused_with_the_file_and_the_value(
    tmp_path: Path, name: str, value: object
) -> None:
    arch = architecture_named("dcgan32-svhn")
    network = Discriminator(arch, 0.05)
    info = WeightsInfo("discriminator", arch.name, 0.05)
    save_weights(tmp_path / "w.safetensors", network, dataclasses.replace(info, **{name: value}))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=rf"w\.safetensors: .*{name} is "):
        load_discriminator(tmp_path / "w.safetensors")
