"""Networks that code makes: `module:name` and `path/to/file.py:name`; see `made_by`."""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from repr_eval.representations.own_network.base import Function, NamedNetwork, near, seeded, telling
from repr_eval.representations.own_network.identity import sources_sha256


def made_by(thing: Any, seed: int) -> nn.Module | Function:
    """The network, or the function of images, that `thing` is or makes.

    An `nn.Module` is the network itself. What can be called without arguments is called, and returns an `nn.Module` or
    a function. What needs exactly one argument, and is no class, is a function itself: images uint8 [N, S, S, 3] in,
    features float [N, D] out, both NumPy arrays.
    """
    if isinstance(thing, nn.Module):
        return thing
    if _takes(thing, 0):
        with seeded(seed):
            made = thing()
        if isinstance(made, nn.Module) or (_takes(made, 1) and not isinstance(made, type)):
            return made
        raise ValueError(f"gives {type(made).__name__}, which is no nn.Module and no function of images")
    if _takes(thing, 1) and not isinstance(thing, type):
        return thing
    raise ValueError("is to be an nn.Module, to make one without arguments, or to be a function of images alone")


def _takes(thing: Any, count: int) -> bool:
    """Whether `thing` can be called with so many arguments."""
    try:
        inspect.signature(thing).bind(*[None] * count)
    except (TypeError, ValueError):  # ValueError: one without a signature
        return False
    return True


def from_code(spec: str, seed: int) -> NamedNetwork:
    where, _, name = spec.rpartition(":")
    with seeded(seed):
        before = torch.get_rng_state()
        module = _imported(where)
        drawn = not torch.equal(torch.get_rng_state(), before)
    if not hasattr(module, name):
        raise ValueError(f"encoder {spec}: {where} has no {name!r}; it has {near(name, _usable(module))}")
    thing = getattr(module, name)
    with telling(f"encoder {spec}"):
        made = made_by(thing, seed)
    # A function that is there after an import without any chance is the same with every seed.
    own = seed if drawn or made is not thing or isinstance(made, nn.Module) else None
    called = str(getattr(made, "method_name", name))
    return replace(named_code(made, called), sources=(module, thing), callable=name, seed=own)


def named_code(made: nn.Module | Function, name: str | None = None) -> NamedNetwork:
    """A network or function that code has made; it is called `name`, or else as it says itself."""
    own_name = getattr(made, "__qualname__", type(made).__name__)
    return NamedNetwork(
        kind="code",
        name=name or str(getattr(made, "method_name", own_name)),
        made=made,
        trained_on=str(getattr(made, "trained_on", "not said")),
    )


def named_function(function: Function) -> NamedNetwork:
    """A function that is at hand. ValueError on what is none of images alone."""
    if isinstance(function, type) or not _takes(function, 1):
        raise ValueError(f"{function!r:.60} is {type(function).__name__}; needs a function of images alone")
    named = named_code(function)
    if sources_sha256(function, (function,)):
        return replace(named, sources=(function,), callable=named.name)
    code = getattr(function, "__code__", None)
    known_by = hashlib.sha256(repr((code and code.co_code, named.name)).encode()).hexdigest()
    return replace(named, file_sha256=known_by, callable=named.name)


def _usable(module: ModuleType) -> list[str]:
    """The public names in `module` of networks and of what can be called: those it defines, or else any."""
    names = {name: value for name, value in vars(module).items() if not name.startswith("_") and callable(value)}
    own = [
        name for name, value in names.items()
        if isinstance(value, nn.Module) or getattr(value, "__module__", None) == module.__name__
    ]  # fmt: skip
    return own or list(names)


def _imported(where: str) -> ModuleType:
    if not where.endswith(".py"):
        if "/" in where:
            raise ValueError(f"encoder module {where!r}: is no module's name; a file needs its ending, {where}.py")
        with telling(f"encoder module {where!r} (a file of this folder is ./{where}.py)"):
            return importlib.import_module(where)
    path = Path(where).resolve()
    if not path.is_file():
        raise ValueError(f"{where}: no such file")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # the file may import its neighbours
    spec = importlib.util.spec_from_file_location(f"encoder {path}".replace(".", "_"), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where the sources of its classes are looked up
    with telling(where):
        spec.loader.exec_module(module)
    return module
