"""What a SPEC names, and how another's code is run: with a seed, and with its errors told in one line."""

import importlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from torch import nn

from repr_eval.representations.own_network.preprocessing import NOT_SAID, Preprocessing

Function = Callable[[np.ndarray], np.ndarray]  # images uint8 [N, S, S, 3] -> features float [N, D]


@dataclass(frozen=True)
class NamedNetwork:
    """What a SPEC names."""

    kind: str  # "code", "torchscript", "torch.export", "timm", "torchvision", "hub", "hf", "onnx", "safetensors"
    name: str  # what tables call it
    made: nn.Module | Function
    trained_on: str
    sources: tuple[object, ...] = ()  # things whose source files decide the features, beside the network's classes
    file_sha256: str | None = None
    callable: str | None = None  # of code: the name of what was called, or taken
    seed: int | None = None  # of initial weights, where code may have drawn some
    preprocessing: Preprocessing = NOT_SAID  # what its own configuration says of its images
    output: str = ""  # which of several outputs counts where no layers are asked for
    settings: dict[str, Any] = field(default_factory=dict)  # what else is to be known of it, for the features' key


def near(name: str, known: list[str]) -> str:
    """A few of the `known` names for a message: those close to `name` before others."""
    names = list(dict.fromkeys([*get_close_matches(name, known, 8, 0.4), *known]))
    return ", ".join([*names[:8], "..."] if len(names) > 8 else names) or "none"


def some(names: Iterable[str]) -> str:
    """The first few of the names, and how many more there are."""
    names = sorted(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def imported(what: str, package: str, extra: str | None = None, module: str | None = None) -> Any:
    """`module` (by default `package` itself) of a package that repr-eval can do without.

    ValueError in one line where it is not there: `what` needs it, and repr-eval's `extra`, if any, brings it.
    """
    try:
        return importlib.import_module(module or package)
    except ImportError as error:
        install = f"pip install 'repr-eval[{extra}]'" if extra else f"pip install {package}"
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == package:
            raise ValueError(f"{what}: {package} is not installed here ({install})") from error
        told = _line_of(str(error))[:200]
        raise ValueError(f"{what}: {package} cannot be imported here ({told}); {install}") from error


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
    if "Traceback of TorchScript" in message and (match := re.search(r"^[\w.]+: .*", message, re.MULTILINE)):
        return match[0].strip()
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[0] if lines else "no message"
