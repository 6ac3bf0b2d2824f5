"""The networks that an encoder's SPEC can name (`repr_eval.features.encoders`), and what their content is known by.

| SPEC | what |
|---|---|
| `module:name`, `path/to/file.py:name` | code; see `made_by` |
| `path.pt2` | a network saved by `torch.export.save`, exported with a dynamic batch |
| `path.pt`, `path.ts` | a network saved by `torch.jit.save` (the content decides, not the ending) |
| `timm:NAME`, `timm:NAME:pretrained` | a network of timm, without its classifier |
| `torchvision:NAME`, `torchvision:NAME:WEIGHTS` | one of torchvision; WEIGHTS as there, or `pretrained` |

Every one of them is a program that runs with the user's rights: name only what you trust. Pickles, which look like
data, are refused unread, and so is a `torch.export` file with a pickle inside.
"""

import hashlib
import importlib
import importlib.util
import inspect
import io
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from repr_eval.system.torchvision_import import torchvision_datasets

FILES = (".pt2", ".pt", ".pth", ".ts")
PACKAGES = ("timm", "torchvision")
Function = Callable[[np.ndarray], np.ndarray]  # images uint8 [N, S, S, 3] -> features float [N, D]


@dataclass(frozen=True)
class Found:
    """What a SPEC names."""

    kind: str  # "code", "torchscript", "torch.export", "timm" or "torchvision"
    name: str  # what tables call it
    made: nn.Module | Function
    trained_on: str
    sources: tuple[object, ...] = ()  # things whose source files decide the features, beside the network's classes
    file_sha256: str | None = None
    callable: str | None = None  # of code: the name of what was called, or taken
    seed: int | None = None  # of initial weights, where code may have drawn some


def found(spec: str, device: torch.device, seed: int) -> Found:
    """What `spec` names; ValueError in one line where there is no such thing or it cannot be made.

    Networks that start from random weights draw them from torch's CPU generator, which is seeded with `seed` while
    code is imported and again while it builds one. A module that was imported before keeps the weights it has.
    """
    first = spec.partition(":")[0]
    if first in PACKAGES:
        return _from_package(spec, seed)
    if Path(spec).suffix in FILES:
        return _from_file(Path(spec), device)
    if ":" in spec and not spec.startswith(":"):
        return _from_code(spec, seed)
    raise ValueError(
        f"encoder {spec!r}: needs module:name, path/to/file.py:name, a file ({', '.join(FILES)}), timm:NAME or "
        "torchvision:NAME"
    )


def near(name: str, known: list[str]) -> str:
    """A few of the `known` names for a message: those close to `name` before others."""
    names = list(dict.fromkeys([*get_close_matches(name, known, 8, 0.4), *known]))
    return ", ".join([*names[:8], "..."] if len(names) > 8 else names) or "none"


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The one generator that initial weights are drawn from cannot be handed over: it is lent, and given back."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Say in one line what another's code failed at: a ValueError, caused by the error."""
    try:
        yield
    except (Exception, SystemExit) as error:  # whatever that code raises
        kind = "" if isinstance(error, ValueError) else f" ({type(error).__name__})"
        raise ValueError(f"{what}: {_line_of(str(error))[:300]}{kind}") from error


def _line_of(message: str) -> str:
    """The line that says most: the first, but of TorchScript's the one after the trace, `ErrorType: what`."""
    if "Traceback of TorchScript" in message and (told := re.search(r"^[\w.]+: .*", message, re.MULTILINE)):
        return told[0].strip()
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[0] if lines else "no message"


# Code.


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


def _from_code(spec: str, seed: int) -> Found:
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
    said = getattr(made, "trained_on", "not said")
    # A function that is there after an import without any chance is the same with every seed.
    own = seed if drawn or made is not thing or isinstance(made, nn.Module) else None
    return Found(
        "code", str(getattr(made, "method_name", name)), made, str(said), (module, thing), callable=name, seed=own
    )


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


# Files.


def _from_file(path: Path, device: torch.device) -> Found:
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    kind = _kind_of(path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        with telling(f"{path}: not a {kind} file that this torch can load"):
            made: nn.Module
            if kind == "torchscript":
                made = torch.jit.load(path, map_location=device)
            else:
                file.seek(0)
                made = move_to_device_pass(torch.export.load(file), device).module()
    return Found(kind, path.stem, made, "not said", file_sha256=digest)


def _kind_of(path: Path) -> str:
    """Which kind of program the file is; ValueError if it is none, or holds what would be unpickled."""
    pickle = "is a pickle (torch.save), which repr-eval never opens"
    instead = "save the network with torch.export.save, or name code that builds it (file.py:name)"
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            pickled = file.read(1) == b"\x80"
        what = pickle if pickled else "no file of torch's, or cut short"
        raise ValueError(f"{path}: {what}; {instead}")
    with zipfile.ZipFile(path) as archive:
        records = {name.partition("/")[2] for name in archive.namelist()}
        with telling(f"{path}: cannot be read"):
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"{path}: is damaged ({damaged} is not what was stored); {instead}")
        if "constants.pkl" in records:
            return "torchscript"  # read in C++, as data of TorchScript's own types
        if "archive_format" not in records:
            what = pickle if "data.pkl" in records else "holds no network"
            raise ValueError(f"{path}: {what}; {instead}")
        with telling(f"{path}: its records cannot be read"):
            unsafe = _unpickled_record(archive)
    if unsafe:
        raise ValueError(f"{path}: {unsafe} in it is a pickle or compiled code, which repr-eval never opens")
    return "torch.export"


def _unpickled_record(archive: zipfile.ZipFile) -> str | None:
    """A record of a torch.export file for which `torch.export.load` unpickles objects of any kind; None if none.

    It does so for weights and constants that say `use_pickle` or are objects, for `.pt` records that hold more than
    tensors and plain values, and for all of the format before torch 2.8, whose records lie in no folder.
    """
    for name in archive.namelist():
        _, _, record = name.partition("/")
        if not record or record.startswith("data/aotinductor/"):
            return name
        if record.endswith("_config.json"):
            for payload in json.loads(archive.read(name))["config"].values():
                if payload["use_pickle"] or not payload["path_name"].startswith(("weight_", "tensor_")):
                    return str(payload["path_name"])
        elif record.endswith(".pt") and archive.getinfo(name).file_size and not _is_plain(archive.read(name)):
            return name
    return None


def _is_plain(pickled: bytes) -> bool:
    try:
        torch.load(io.BytesIO(pickled), weights_only=True, map_location="cpu")
    except Exception:  # torch.export.load unpickles everything after an error of whatever kind
        return False
    return True


# Packages.


def _from_package(spec: str, seed: int) -> Found:
    package, _, rest = spec.partition(":")
    name, _, weights = rest.partition(":")
    if not name:
        raise ValueError(f"encoder {spec!r}: needs the name of a network, as {package}:resnet18")
    if package == "timm" and weights not in ("", "pretrained"):
        raise ValueError(f"encoder {spec}: after timm's name comes :pretrained or nothing")
    try:
        torchvision_datasets()  # makes torchvision, which timm imports, importable beside any torch
        models = importlib.import_module("torchvision.models" if package == "torchvision" else "timm")
    except ImportError as error:
        raise ValueError(f"encoder {spec}: {package} is not installed here (pip install {package})") from error

    with telling(f"encoder {spec}"):
        _check_names(package, models, name, weights)

    def build() -> nn.Module:
        if package == "timm":
            return models.create_model(name, pretrained=bool(weights), num_classes=0)
        wanted = {"": None, "pretrained": "DEFAULT"}.get(weights, weights)
        # Networks that are built on another one bring that one's trained weights along, unless told not to.
        backbone = "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters
        return models.get_model(name, weights=wanted, **{"weights_backbone": None} if backbone else {})

    with telling(f"encoder {spec}"):
        made = made_by(build, seed)
    described = f"{package} {name}, {weights or 'untrained'}"
    return Found(package, described, made, "not said" if weights else "nothing")


def _check_names(package: str, models: Any, name: str, weights: str) -> None:
    """ValueError, with names that would do, unless the package has a network `name` and torchvision such `weights`."""
    known = models.list_models()
    # timm's may end in a tag of their weights; torchvision takes capitals for small letters.
    if (name.partition(".")[0] if package == "timm" else name.lower()) not in known:
        raise ValueError(f"{package} has no network {name!r}; it has {near(name, known)}")
    if package == "torchvision" and weights not in ("", "pretrained"):
        trained = models.get_model_weights(name)
        if weights.removeprefix(f"{trained.__name__}.") not in trained.__members__:
            raise ValueError(
                f"{weights!r} names no weights of {name}; after the second colon comes pretrained or one of "
                f"{near(weights, list(trained.__members__))}"
            )


# What the content is known by.


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 over the structure as printed, and names, types, shapes and bytes of all parameters and buffers."""
    printed = re.sub(r" at 0x[0-9a-f]+", "", str(network))  # an address differs from run to run
    digest = hashlib.sha256(printed.encode())
    state = network.state_dict() | dict(network.named_buffers(remove_duplicate=False))  # also those not saved
    for name, value in sorted(state.items()):
        if not isinstance(value, Tensor):
            digest.update(f"\n{name} {value!r}".encode())
            continue
        digest.update(f"\n{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def sources_sha256(made: nn.Module | Function, things: tuple[object, ...]) -> str | None:
    """SHA-256 over the source files of `things`, `made` and the classes a network consists of; None if there are none.

    Python's and torch's own classes are left out. Not covered: what those files import or read.
    """
    parts: Iterable[object] = made.modules() if isinstance(made, nn.Module) else (made,)
    classes = {c for part in parts for c in type(part).__mro__}
    own = [c for c in classes if c.__module__.partition(".")[0] not in {"torch", *sys.stdlib_module_names}]
    files = {_source(thing) for thing in (*things, made, *own)}
    contents = sorted(hashlib.sha256(Path(file).read_bytes()).digest() for file in files if file)
    return hashlib.sha256(b"".join(contents)).hexdigest() if contents else None


def _source(thing: Any) -> str | None:
    try:
        return inspect.getsourcefile(inspect.unwrap(thing))
    except (TypeError, OSError):
        return None
