"""Weights in a .safetensors file for a network that another SPEC builds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_model
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from repr_eval.representations.own_network.base import NamedNetwork, some, telling

ENDING = ".safetensors"


def split(spec: str) -> tuple[Path, str] | None:
    """The file and the builder's SPEC of `FILE.safetensors@SPEC`; None for another SPEC.

    ValueError where a .safetensors file is named alone, or is not there.
    """
    file, at, builder = spec.partition(f"{ENDING}@")
    if not at and not spec.endswith(ENDING):
        return None
    path = Path(file + ENDING if at else spec)
    if not builder:
        raise ValueError(f"encoder {spec}: holds weights alone; name what builds the network too, {path}@file.py:name")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    return path, builder


def with_weights(named: NamedNetwork, path: Path) -> NamedNetwork:
    """The network with the weights of the file: every one of its own, and no other.

    Weights that the network shares between layers may lie in the file once, as safetensors saves them. ValueError in
    one line where names, shapes or types do not fit.
    """
    network = named.made
    if not isinstance(network, nn.Module) or named.file_sha256 is not None:
        raise ValueError(f"{path}: {named.name} is a {named.kind} network; weights need code that makes an nn.Module")
    with telling(f"{path}: not a safetensors file that can be read"), safe_open(path, "pt") as file:
        wrong = _wrong(network.state_dict(), {name: file.get_slice(name) for name in file.keys()})  # noqa: SIM118
    if wrong:
        raise ValueError(f"{path} does not fit {named.name}: {some(wrong)}")
    with telling(f"{path} does not fit {named.name}"):
        missing, unexpected = load_model(network, path, strict=False)
    told = [f"the file lacks {some(missing)}"] if missing else []
    told += [f"the network has no {some(unexpected)}"] if unexpected else []
    if told:
        raise ValueError(f"{path} does not fit {named.name}: {'; '.join(told)}")
    own_name = getattr(network, "method_name", None)
    name = str(own_name) if own_name else f"{named.name.removesuffix(', untrained')}, {path.stem}"
    trained_on = str(getattr(network, "trained_on", "not said"))
    return replace(named, kind="safetensors", name=name, trained_on=trained_on)


def _wrong(own: dict[str, Tensor], stored: dict[str, Any]) -> list[str]:
    """What is wrong with weights of the same name: another shape, or integers where the network has none."""
    told = []
    for name in own.keys() & stored.keys():
        if is_lazy(own[name]):
            told.append(f"{name} is of a lazy layer, which has no shape yet: name its sizes")
            continue
        shape, stored_shape = list(own[name].shape), list(stored[name].get_shape())
        if shape != stored_shape:
            told.append(f"{name} is {stored_shape} in the file and {shape} in the network")
        elif stored[name].get_dtype()[0] in "IUB" and own[name].dtype.is_floating_point:
            told.append(f"{name} is {stored[name].get_dtype()} in the file")
    return sorted(told)
