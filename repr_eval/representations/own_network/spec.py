"""The networks that an encoder's SPEC can name.

| SPEC | what |
|---|---|
| `module:name`, `path/to/file.py:name` | code; see `code.made_by` |
| `path.pt2` | a network saved by `torch.export.save`, exported with a dynamic batch |
| `path.pt`, `path.ts` | a network saved by `torch.jit.save` (the content decides, not the ending) |
| `timm:NAME`, `timm:NAME:pretrained` | a network of timm, without its classifier |
| `torchvision:NAME`, `torchvision:NAME:WEIGHTS` | one of torchvision; WEIGHTS as there, or `pretrained` |
| `hub:owner/repo:ENTRY`, `hub:./folder:ENTRY` | what an entry of torch.hub makes; see `hub.from_hub` |
| `hf:NAME`, `hf:./folder` | a vision model of transformers; see `hugging_face.Asked` |
| `path.onnx`, `path.onnx:OUTPUT` | a network that onnxruntime runs, exported with a dynamic batch |
| `path.safetensors@SPEC` | weights for the network that SPEC makes, code or one of a package |

Nearly every one of them is a program that runs with the user's rights: name only what you trust. Pickles, which look
like data, are refused unread, and so is a `torch.export` file with a pickle inside. What a package or a repository
loads on its own, it loads in its own way; of transformers safetensors alone are asked for.
"""

import re
from pathlib import Path

import torch

from repr_eval.representations.own_network.base import NamedNetwork
from repr_eval.representations.own_network.code import from_code
from repr_eval.representations.own_network.files import FILES, from_file
from repr_eval.representations.own_network.hub import from_hub
from repr_eval.representations.own_network.hugging_face import from_transformers
from repr_eval.representations.own_network.onnx_file import from_onnx
from repr_eval.representations.own_network.packages import PACKAGES, from_package
from repr_eval.representations.own_network.weights import split, with_weights


def network_named(spec: str, device: torch.device, seed: int) -> NamedNetwork:
    """What `spec` names; ValueError in one line where there is no such thing or it cannot be made.

    Networks that start from random weights draw them from torch's CPU generator, which is seeded with `seed` while
    code is imported and again while it builds one. A module that was imported before keeps the weights it has.
    """
    if weights := split(spec):
        path, builder = weights
        return with_weights(network_named(builder, device, seed), path)
    first = spec.partition(":")[0]
    if first == "hub":
        return from_hub(spec, seed)
    if first == "hf":
        return from_transformers(spec, seed)
    if onnx := re.fullmatch(r"(.+\.onnx)(?::(.+))?", spec):
        return from_onnx(Path(onnx[1]), onnx[2] or "", device)
    if first in PACKAGES:
        return from_package(spec, seed)
    if Path(spec).suffix in FILES:
        return from_file(Path(spec), device)
    if ":" in spec and not spec.startswith(":"):
        return from_code(spec, seed)
    raise ValueError(
        f"encoder {spec!r}: needs module:name, path/to/file.py:name, a file ({', '.join(FILES)}, .onnx), "
        "weights.safetensors@file.py:name, timm:NAME, torchvision:NAME, hub:owner/repo:entry or hf:NAME"
    )
