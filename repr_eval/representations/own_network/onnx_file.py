"""Networks in .onnx files, run by onnxruntime."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from repr_eval.representations.own_network.base import NamedNetwork, imported, telling
from repr_eval.representations.own_network.preprocessing import Preprocessing

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxNetwork(nn.Module):
    """Images float32 [N, 3, S, S] -> the `output` of an onnxruntime session, on the images' device."""

    def __init__(self, session: Any, output: str):
        super().__init__()
        self.session, self.output = session, output
        (self.input,) = session.get_inputs()

    def forward(self, x: Tensor) -> Any:
        images = x.cpu().numpy().astype(TYPES[self.input.type], copy=False)
        (made,) = self.session.run([self.output], {self.input.name: images})
        return torch.from_numpy(made).to(x.device) if isinstance(made, np.ndarray) else made


def from_onnx(path: Path, output: str, device: torch.device) -> NamedNetwork:
    """The network of the file, whose `output` of this name counts; "" where it has only one.

    A fixed side of its images is the image size that it wants. The hash is that of the file and, where weights lie in
    others beside it, of those too. ValueError where it does not take batches of any size of colour images.
    """
    where = f"encoder {path}"
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    onnx, runtime = (imported(where, package, "onnx") for package in ("onnx", "onnxruntime"))
    with telling(f"{path}: not an ONNX file that can be read"):
        files = [path, *_external_files(onnx, path)]
    for file in files:
        if not file.is_file():
            raise ValueError(f"{path}: its weights lie in {file}, and there is no such file")
    with telling(f"{path}: not an ONNX file that onnxruntime can load"):
        session = runtime.InferenceSession(str(path), _options(runtime), providers=[_provider(runtime, device)])
    side = _checked_input(path, session.get_inputs())
    names = [one.name for one in session.get_outputs()]
    if not output and len(names) > 1:
        raise ValueError(f"{path}: has the outputs {', '.join(names)}; name one, {path}:{names[0]}")
    if output and output not in names:
        raise ValueError(f"{path}: has no output {output!r}; it has {', '.join(names)}")
    return NamedNetwork(
        kind="onnx",
        name=path.stem,
        made=OnnxNetwork(session, output or names[0]),
        trained_on="not said",
        file_sha256=_sha256(files),
        preprocessing=Preprocessing(image_size=side),
        output=output if len(names) > 1 else "",
    )


def _options(runtime: Any) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # not all cores, where fewer are allowed
    options.log_severity_level = 3  # errors: a user can do nothing about its warnings
    return options


def _provider(runtime: Any, device: torch.device) -> str:
    """What onnxruntime computes with on `device`; ValueError where it has no such thing here."""
    if device.type == "cpu":
        return "CPUExecutionProvider"
    wanted = f"{device.type.upper()}ExecutionProvider"
    if wanted not in runtime.get_available_providers():
        raise ValueError(f"onnxruntime has no {wanted} here; choose device cpu, or install onnxruntime-gpu")
    return wanted


def _checked_input(path: Path, inputs: list[Any]) -> int | None:
    """The side of the images that the network takes; None for any."""
    if len(inputs) != 1:
        raise ValueError(f"{path}: has the inputs {', '.join(one.name for one in inputs)}; needs images alone")
    shape, kind = inputs[0].shape, inputs[0].type
    colours = shape[1] if len(shape) == 4 else None
    if len(shape) != 4 or (isinstance(colours, int) and colours != 3) or kind not in TYPES:
        raise ValueError(f"{path}: takes {kind} {shape}; needs tensor(float) [N, 3, S, S]")
    if isinstance(shape[0], int):
        raise ValueError(f"{path}: takes {shape[0]} images at a time; export it with a dynamic batch")
    height, width = shape[2:]
    if isinstance(height, int) and isinstance(width, int) and height != width:
        raise ValueError(f"{path}: takes images of {height}x{width}; needs square ones")
    return next((side for side in (height, width) if isinstance(side, int)), None)


def _external_files(onnx: Any, path: Path) -> list[Path]:
    """The files beside an ONNX file that hold weights of it."""
    model = onnx.load(str(path), load_external_data=False)
    nodes = [node for function in model.functions for node in function.node]
    tensors = [*_tensors(model.graph), *_tensors_of(nodes)]
    external = [tensor for tensor in tensors if onnx.external_data_helper.uses_external_data(tensor)]
    names = {entry.value for tensor in external for entry in tensor.external_data if entry.key == "location"}
    return [path.parent / name for name in sorted(names)]


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    yield from _tensors_of(graph.node)


def _tensors_of(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for graph in (attribute.g, *attribute.graphs):
                yield from _tensors(graph)


def _sha256(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
