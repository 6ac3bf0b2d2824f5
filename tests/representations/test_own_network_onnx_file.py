"""Networks of ONNX files: with stand-ins for onnx and onnxruntime of a few lines, and with themselves."""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from own_networks import features, grey, settings_of

from repr_eval.representations.own_network.network import encoder
from repr_eval.representations.own_network.onnx_file import from_onnx
from repr_eval.representations.store import key_of


class Session:
    """An onnxruntime session: the means of colours, and their sums over all pixels."""

    newest: "Session"

    def __init__(self, path: str, options: Any, providers: list[str]):
        self.path, self.options, self.providers = path, options, providers
        self.kind, *self.shape = Path(path).read_text().split()
        Session.newest = self

    def get_inputs(self) -> list[Any]:
        shape = [int(side) if side.isdigit() else side for side in self.shape]
        images = SimpleNamespace(name="images", shape=shape, type=f"tensor({self.kind.removesuffix('+')})")
        return [images] * (2 if self.kind.endswith("+") else 1)

    def get_outputs(self) -> list[Any]:
        names = ["means"] if self.shape[-1] == "one" else ["means", "sums"]
        return [SimpleNamespace(name=name) for name in names]

    def run(self, outputs: list[str], given: dict[str, np.ndarray]) -> list[np.ndarray]:
        images = given["images"]
        assert images.dtype == (np.float16 if self.kind == "float16" else np.float32)
        return [images.mean((2, 3)) if output == "means" else images.sum((2, 3)) for output in outputs]


@pytest.fixture
def onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Stand-ins for onnx and onnxruntime, and what writes a file of an input of this type and shape."""

    def load(path: str, load_external_data: bool) -> Any:
        assert not load_external_data
        if Path(path).read_text() == "":
            raise RuntimeError("Error parsing message\nwith lines")

        def tensor(*beside: str) -> Any:
            return SimpleNamespace(external_data=[SimpleNamespace(key="location", value=name) for name in beside])

        empty = SimpleNamespace(initializer=[], node=[])
        beside = sorted(file.name for file in Path(path).parent.glob(f"{Path(path).stem}.data*"))
        inner = SimpleNamespace(initializer=[tensor(name) for name in beside[1:]], node=[])
        attribute = SimpleNamespace(t=tensor(), tensors=[], g=inner, graphs=[empty])
        graph = SimpleNamespace(
            initializer=[tensor(*beside[:1]), tensor()], node=[SimpleNamespace(attribute=[attribute])]
        )
        if Path(path).stem == "lost":
            graph.initializer = [tensor("lost.bin")]
        return SimpleNamespace(graph=graph, functions=[SimpleNamespace(node=[])])

    helper = SimpleNamespace(uses_external_data=lambda tensor: bool(tensor.external_data))
    monkeypatch.setitem(sys.modules, "onnx", SimpleNamespace(load=load, external_data_helper=helper))
    runtime = SimpleNamespace(
        InferenceSession=Session, SessionOptions=SimpleNamespace,
        get_available_providers=lambda: ["CPUExecutionProvider"],
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)

    def written(content: str, name: str = "net.onnx") -> Path:
        (tmp_path / name).write_text(content)
        return tmp_path / name

    return written


def test_an_onnx_file(onnx: Callable[[str], Path]) -> None:
    path = onnx("float batch 3 height one")
    network = encoder(str(path))
    np.testing.assert_allclose(features(network, grey(51)), [[-0.6] * 3] * 2, rtol=1e-5)
    description = network.description
    assert (description.method, description.layers, description.trained_on) == ("net", "-", "not said")
    assert description.settings["file_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "output" not in description.settings
    assert description.settings["image_size"] is None
    assert Session.newest.providers == ["CPUExecutionProvider"]
    assert Session.newest.options.intra_op_num_threads == torch.get_num_threads()
    half = encoder(str(onnx("float16 batch 3 height one")))
    np.testing.assert_allclose(features(half, grey(51)), [[-0.6] * 3] * 2, rtol=1e-3)


def test_a_fixed_side_of_an_onnx_network_is_its_image_size(onnx: Callable[[str], Path]) -> None:
    network = encoder(f"{onnx('float batch 3 40 40')}:sums")
    np.testing.assert_allclose(features(network, grey(255)), [[1600.0] * 3] * 2, rtol=1e-5)
    assert (settings_of(network)["image_size"], settings_of(network)["output"]) == (40, "sums")
    assert network.description.layers == "sums"
    means = encoder(f"{onnx('float batch 3 40 40')}:means")
    assert key_of(settings_of(means)) != key_of(settings_of(network))


def test_weights_beside_an_onnx_file_are_in_its_hash(onnx: Callable[[str], Path], tmp_path: Path) -> None:
    path = onnx("float batch 3 height one")
    (tmp_path / "net.data1").write_text("of the graph")
    (tmp_path / "net.data2").write_text("of a graph in it")
    expected = hashlib.sha256(b"float batch 3 height oneof the graphof a graph in it").hexdigest()
    assert settings_of(encoder(str(path)))["file_sha256"] == expected


@pytest.mark.parametrize(
    ("content", "output", "message"),
    [
        ("float 2 3 32 32", "", r"net\.onnx: takes 2 images at a time; export it with a dynamic batch$"),
        (
            "float batch 1 32 32",
            "",
            r"takes tensor\(float\) \['batch', 1, 32, 32\]; needs tensor\(float\) \[N, 3, S, S\]",
        ),
        ("float batch 32 32 3", "", r"takes tensor\(float\) \['batch', 32, 32, 3\]"),
        ("float batch 3072", "", r"takes tensor\(float\) \['batch', 3072\]"),
        ("uint8 batch 3 32 32", "", r"takes tensor\(uint8\)"),
        ("float batch 3 32 64", "", "takes images of 32x64; needs square ones"),
        ("float+ batch 3 32 32", "", "has the inputs images, images; needs images alone"),
        ("float batch 3 32 32", "", r"has the outputs means, sums; name one, .*net\.onnx:means$"),
        ("float batch 3 32 32", ":maps", r"has no output 'maps'; it has means, sums$"),
        ("", "", r"net\.onnx: not an ONNX file that can be read: Error parsing message \(RuntimeError\)$"),
    ],
)
def test_onnx_files_that_are_refused(onnx: Callable[[str], Path], content: str, output: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoder(f"{onnx(content)}{output}")


def test_onnx_files_and_devices_that_are_not_there(onnx: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.onnx: no such file"):
        encoder(str(tmp_path / "absent.onnx"))
    with pytest.raises(ValueError, match=r"lost\.onnx: its weights lie in .*lost\.bin, and there is no such file"):
        encoder(str(onnx("float batch 3 height one", "lost.onnx")))
    with pytest.raises(ValueError, match="onnxruntime has no CUDAExecutionProvider here; choose device cpu"):
        from_onnx(onnx("float batch 3 height one"), "", torch.device("cuda"))
    with pytest.raises(ValueError, match="layers of a onnx network cannot be reached"):
        encoder(str(onnx("float batch 3 height one")), ("conv",))


@pytest.mark.extras
def test_onnx_itself(tmp_path: Path) -> None:
    import onnx

    made = onnx.helper
    numbers = onnx.TensorProto.FLOAT
    weight = onnx.numpy_helper.from_array(np.full((2, 3, 1, 1), 0.5, np.float32), "weight")
    graph = made.make_graph(
        [made.make_node("Conv", ["images", "weight"], ["maps"]), made.make_node("GlobalAveragePool", ["maps"], ["y"])],
        "graph",
        [made.make_tensor_value_info("images", numbers, ["n", 3, 8, 8])],
        [made.make_tensor_value_info("y", numbers, ["n", 2, 1, 1])],
        [weight],
    )
    model = made.make_model(graph, opset_imports=[made.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    network = encoder(str(path))
    np.testing.assert_allclose(features(network, grey(255)), [[1.5] * 2] * 2)
    assert settings_of(network)["image_size"] == 8
    both = path.read_bytes() + (tmp_path / "net.data").read_bytes()
    assert settings_of(network)["file_sha256"] == hashlib.sha256(both).hexdigest()
