"""Network weights as safetensors: tensors and one JSON description, all checked before a network is built from them.

Nothing here unpickles: a file that is not safetensors is refused by what its first bytes say it is.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from repr_eval.gan.architectures import architecture_named
from repr_eval.gan.networks import BN_EPS, Discriminator, Generator
from repr_eval.system.files import write_bytes
from repr_eval.system.json_text import from_json

_KEY = "repr_eval"  # the one key of the file's metadata; its value is the JSON of a WeightsInfo
_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
UNTRAINED = "nothing"  # what initial weights are trained on


@dataclass(frozen=True)
class WeightsInfo:
    """What a weights file says of itself: which network, and what made it."""

    network: str  # "discriminator" or "generator"
    arch: str
    width: float
    layers: int | None = None  # convolutions present, of a discriminator; None for all
    z_dim: int | None = None
    z: str | None = None
    eps: float = BN_EPS  # the batch norm's, part of the function
    statistics: bool = True  # running batch-norm statistics are present
    name: str | None = None  # what tables call the model; None for a name made of the above
    trained_on: str = UNTRAINED
    images_seen: int = 0
    settings: dict[str, Any] = field(default_factory=dict)  # of the training run


_KINDS: dict[str, tuple[type, ...]] = {
    "network": (str,), "arch": (str,), "width": (int, float), "layers": (int, type(None)), "z_dim": (int, type(None)),
    "z": (str, type(None)), "eps": (int, float), "statistics": (bool,), "name": (str, type(None)),
    "trained_on": (str,), "images_seen": (int,), "settings": (dict,),
}  # fmt: skip


def _checked(info: WeightsInfo) -> WeightsInfo:
    """The description, if its values are of the kinds that a network is built from; else a TypeError."""
    for name, kinds in _KINDS.items():
        if not isinstance(getattr(info, name), kinds):
            raise TypeError(f"{name} is {getattr(info, name)!r:.60}")
    if not 0 < info.eps < 1:
        raise TypeError(f"eps is {info.eps}")
    return info


def save_weights(path: Path, network: Discriminator | Generator, info: WeightsInfo, half: bool = False) -> None:
    """Write `network` to `path`, whole or not at all.

    `half` stores convolutions and dense layers as float16; batch-norm parameters and statistics stay float32,
    for variances of 1e-4 and less lose digits in float16.
    """
    tensors = {}
    for name, tensor in _stored_tensors(network, info).items():
        tensor = tensor.detach().cpu().contiguous()
        tensors[name] = tensor.half() if half and "norm" not in name else tensor
    write_bytes(Path(path), save(tensors, {_KEY: json.dumps(asdict(info))}))


def _stored_tensors(network: nn.Module, info: WeightsInfo) -> dict[str, Tensor]:
    """The tensors of `network` that its file holds."""
    left_out = ("num_batches_tracked",) if info.statistics else ("num_batches_tracked", "running_mean", "running_var")
    return {name: tensor for name, tensor in network.state_dict().items() if not name.endswith(left_out)}


def read_tensors(path: Path) -> tuple[dict[str, Tensor], WeightsInfo]:
    """All tensors of a weights file, finite and named, and its description."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such weights file")
    try:
        with safe_open(path, "pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, TypeError, RuntimeError) as error:  # the latter: of types that torch has not
        if _looks_pickled(path):
            raise ValueError(
                f"{path}: is a pickle (torch.save), which repr-eval never opens; give a .safetensors file"
            ) from error
        raise ValueError(f"{path}: not a whole safetensors file ({error}); copy or make it again") from error
    if _KEY not in metadata:
        raise ValueError(f"{path}: a safetensors file, but not one of repr-eval's (no {_KEY!r} in its metadata)")
    try:
        info = _checked(WeightsInfo(**from_json(metadata[_KEY])))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: its description cannot be read ({error})") from error
    for name, tensor in tensors.items():
        if tensor.dtype not in _TYPES:
            raise ValueError(f"{path}: tensor {name} is {tensor.dtype}; needed: float32 or float16")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{path}: tensor {name} holds NaN or infinity")
    return tensors, info


def _looks_pickled(path: Path) -> bool:
    """By the first bytes, of a file that is not safetensors: of one that is, they are a length and can be any."""
    with open(path, "rb") as file:
        head = file.read(2)
    return head == b"PK" or head[:1] == b"\x80"


@contextmanager
def _describing(path: Path) -> Iterator[None]:
    """Name the file whose description a network cannot be built from."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:  # torch's, of sizes beyond 64 bits
        raise ValueError(f"{path}: describes no network that repr-eval can build ({error})") from error


def _check_shapes(network: nn.Module, tensors: dict[str, Tensor], info: WeightsInfo, path: Path) -> None:
    """ValueError unless the tensors are those of `network`, which may be without memory ("meta")."""
    wanted = _stored_tensors(network, info)
    for name, tensor in wanted.items():
        if name not in tensors:
            raise ValueError(f"{path}: has no tensor {name}, which this architecture needs")
        if tensors[name].shape != tensor.shape:
            raise ValueError(
                f"{path}: tensor {name} is {list(tensors[name].shape)}, this architecture needs {list(tensor.shape)}"
            )
    extra = sorted(set(tensors) - set(wanted))
    if extra:
        raise ValueError(f"{path}: tensor {extra[0]} is not part of this architecture")


_USES = {"discriminator": "features", "generator": "samples"}


def load_network(path: Path, needed: str | None = None) -> tuple[Discriminator | Generator, WeightsInfo]:
    """The network stored at `path`, float32, in evaluation mode; a ValueError unless it is a `needed`, if given."""
    tensors, info = read_tensors(path)
    if needed and info.network != needed:
        raise ValueError(f"{path}: holds a {info.network}; {_USES[needed]} need a {needed}")
    with _describing(path):
        if info.network not in _USES:
            raise ValueError(f"a {info.network}")
        with torch.device("meta"):  # takes no memory, whatever the file says of the network's width
            sketch = _built(info)
    _check_shapes(sketch, tensors, info, Path(path))
    network = _built(info)
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)
    return network.eval(), info


def _built(info: WeightsInfo) -> Discriminator | Generator:
    """The network that is described, with weights that mean nothing."""
    architecture = architecture_named(info.arch)
    if info.network == "discriminator":
        return Discriminator(architecture, info.width, info.layers, info.eps)
    return Generator(architecture, info.width, info.z_dim, info.eps)


def load_discriminator(path: Path) -> tuple[Discriminator, WeightsInfo]:
    """The discriminator stored at `path`, float32, in evaluation mode."""
    network, info = load_network(path, "discriminator")
    assert isinstance(network, Discriminator)
    return network, info


def load_generator(path: Path) -> tuple[Generator, WeightsInfo]:
    """The generator stored at `path`, float32, in evaluation mode."""
    network, info = load_network(path, "generator")
    assert isinstance(network, Generator)
    return network, info


def export(source: Path, destination: Path, half: bool = True) -> None:
    """Copy a discriminator or a generator to `destination`, in float16 unless `half` is False."""
    network, info = load_network(source)
    settings = {**info.settings, "stored_as": "float16" if half else "float32"}
    save_weights(destination, network, replace(info, settings=settings), half)


def weights_hash(network: nn.Module) -> str:
    """SHA-256 over names, shapes and float32 values of every parameter and buffer: what the function is made of."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        value = tensor.detach().float().cpu().contiguous()
        digest.update(f"{name}{list(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
