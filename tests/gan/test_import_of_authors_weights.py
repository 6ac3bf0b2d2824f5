"""Importing what the DCGAN authors' code wrote: against a forward pass by true convolutions, and every wrong file."""

import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.signal import convolve2d

from repr_eval.cli import main
from repr_eval.gan import authors_weights
from repr_eval.gan.architectures import architecture_named
from repr_eval.gan.authors_weights import RELEASES, Release, import_authors_weights, slots
from repr_eval.gan.networks import BN_EPS, Discriminator, Generator
from repr_eval.gan.weights import load_discriminator, load_generator, save_weights
from repr_eval.representations.discriminator import from_weights

ARCH = architecture_named("dcgan32-svhn")
WIDTH = 0.05  # 3, 6, 13 maps
Z = 5


class Bomb:
    """Pickled, it is a call that leaves a folder behind once it is opened."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def write_arrays(folder: Path, name: str, arrays: list[np.ndarray]) -> Path:
    """NAME.jl, a pickle that must not be opened, and its arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    jl = folder / name
    jl.write_bytes(pickle.dumps(Bomb(folder / "unpickled")))
    for number, array in enumerate(arrays, 1):
        np.save(folder / f"{name}_{number:02d}.npy", array)
    return jl


def random_arrays(network: Discriminator | Generator) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    centres = {"gain": 1.0, "bias": -0.3}
    return [
        (centres.get(slot.words.split()[1], 0.0) + 0.3 * rng.standard_normal(slot.shape)).astype(np.float32)
        for slot in slots(network)
    ]


@pytest.fixture
def d_arrays() -> list[np.ndarray]:
    return random_arrays(Discriminator(ARCH, WIDTH))


@pytest.fixture
def jl(tmp_path: Path, d_arrays: list[np.ndarray]) -> Path:
    return write_arrays(tmp_path / "theirs", "10_discrim_params.jl", d_arrays)


@pytest.fixture
def g_jl(tmp_path: Path) -> Path:
    return write_arrays(tmp_path / "theirs", "10_gen_params.jl", random_arrays(Generator(ARCH, WIDTH, Z)))


def convolved(x: np.ndarray, kernels: np.ndarray, stride: int) -> np.ndarray:
    """What Theano's conv2d does: x [N, I, S, S], kernels [O, I, k, k], truly convolved, "half" padding, strided."""
    maps = np.zeros((len(x), len(kernels), *x.shape[2:]))
    for n, image in enumerate(x):
        for o, kernel in enumerate(kernels):
            for plane, weights in zip(image, kernel, strict=True):
                maps[n, o] += convolve2d(plane, weights, mode="same")
    return maps[:, :, ::stride, ::stride]


def normalised(x: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The authors' batch norm: each batch's own mean and biased variance, eps 1e-8."""
    axes = (0,) if x.ndim == 2 else (0, 2, 3)
    shape = (1, -1) if x.ndim == 2 else (1, -1, 1, 1)
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-8) * gain.reshape(shape) + bias.reshape(shape)


def test_the_discriminator_is_the_authors_function(jl: Path, d_arrays: list[np.ndarray]) -> None:
    network, info = import_authors_weights(jl, ARCH.name, WIDTH)
    x = np.random.default_rng(0).uniform(-1, 1, (4, 3, 32, 32))
    h = convolved(x, d_arrays[0], 2)
    h = np.where(h > 0, h, 0.2 * h)
    for i in (1, 4):
        h = normalised(convolved(h, d_arrays[i], 2), d_arrays[i + 1], d_arrays[i + 2])
        h = np.where(h > 0, h, 0.2 * h)
    expected = (h.reshape(4, -1) @ d_arrays[7])[:, 0]
    with torch.no_grad():
        logits = network.double().train()(torch.from_numpy(x))
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-9)
    assert (info.network, info.eps, info.statistics) == ("discriminator", 1e-8, False)
    assert not (jl.parent / "unpickled").exists()
    pickle.loads(jl.read_bytes())
    assert (jl.parent / "unpickled").exists()  # had it been opened, that would have been seen


def test_the_generator_is_the_authors_function(g_jl: Path) -> None:
    """A transposed convolution, by its definition: <conv(image), h> = <image, conv^T(h)> for every image."""
    network, info = import_authors_weights(g_jl, ARCH.name, WIDTH)
    assert isinstance(network, Generator)
    assert (network.z_dim, info.z_dim, info.z) == (Z, Z, "normal")
    arrays = [np.load(g_jl.parent / f"{g_jl.name}_{n:02d}.npy").astype(np.float64) for n in range(1, 11)]
    rng = np.random.default_rng(1)
    for layer, number in enumerate((3, 6, 9)):
        kernels = arrays[number]
        h = rng.standard_normal((1, kernels.shape[0], 4, 4))
        image = rng.standard_normal((1, kernels.shape[1], 8, 8))
        with torch.no_grad():
            up = network.convs[layer].double()(torch.from_numpy(h)).numpy()
        assert up.shape == image.shape
        np.testing.assert_allclose((up * image).sum(), (convolved(image, kernels, 2) * h).sum(), rtol=1e-9)
    z = rng.standard_normal((6, Z))
    with torch.no_grad():
        start = network.dense_norm.double().train()(network.dense.double()(torch.from_numpy(z))).numpy()
    np.testing.assert_allclose(start, normalised(z @ arrays[0], arrays[1], arrays[2]), rtol=1e-8, atol=1e-10)


def test_unflipped_kernels_are_another_function(jl: Path) -> None:
    network, _ = import_authors_weights(jl, ARCH.name, WIDTH)
    raw = np.load(jl.parent / f"{jl.name}_02.npy")
    assert np.array_equal(network.convs[1].weight.detach().numpy(), raw[:, :, ::-1, ::-1])  # type: ignore[operator]


def test_a_file_of_imported_weights_comes_back_and_has_no_running_statistics(jl: Path, tmp_path: Path) -> None:
    network, info = import_authors_weights(jl, ARCH.name, WIDTH)
    save_weights(tmp_path / "d.safetensors", network, info)
    again, found = load_discriminator(tmp_path / "d.safetensors")
    assert found == info
    assert (again.eps, found.eps) == (BN_EPS, 1e-8)
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    with pytest.raises(ValueError, match=r"d\.safetensors: has no running batch-norm statistics; choose bn recomputed"):
        from_weights(tmp_path / "d.safetensors", bn="running")
    assert from_weights(tmp_path / "d.safetensors").description.method == "imported weights (10_discrim_params.jl)"


@pytest.mark.parametrize("layers", [1, 2])
def test_the_first_layers_alone(jl: Path, tmp_path: Path, layers: int) -> None:
    whole, _ = import_authors_weights(jl, ARCH.name, WIDTH)
    for number in range(8, 3 * layers - 1, -1):
        (jl.parent / f"{jl.name}_{number:02d}.npy").unlink(missing_ok=True)
    part, info = import_authors_weights(jl, ARCH.name, WIDTH, layers)
    assert isinstance(part, Discriminator)
    assert (part.layers, info.layers) == (layers, layers)
    for name, value in part.state_dict().items():
        assert torch.equal(whole.state_dict()[name], value), name
    save_weights(tmp_path / "part.safetensors", part, info)
    description = from_weights(tmp_path / "part.safetensors").description
    named = {1: "1 of 3", 2: "1-2 of 3"}[layers]
    assert (str(description.layers), description.n_features) == (named, 16 * sum((3, 6, 13)[:layers]))


def test_fortran_order_and_float64_are_the_same_weights(jl: Path, d_arrays: list[np.ndarray], tmp_path: Path) -> None:
    other = write_arrays(
        tmp_path / "other", jl.name, [np.asfortranarray(array.astype(np.float64)) for array in d_arrays]
    )
    first, second = (import_authors_weights(path, ARCH.name, WIDTH)[0].state_dict() for path in (jl, other))
    assert all(torch.equal(first[name], second[name]) for name in first)


# What is refused, and by what name.


def spoil(number: int, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def apply(jl: Path) -> None:
        path = jl.parent / f"{jl.name}_{number:02d}.npy"
        np.save(path, change(np.load(path)), allow_pickle=True)

    return apply


def rename(old: str, new: str) -> Callable[[Path], None]:
    def apply(jl: Path) -> None:
        (jl.parent / f"{jl.name}{old}").rename(jl.parent / f"{jl.name}{new}")

    return apply


def swap(first: int, second: int) -> Callable[[Path], None]:
    def apply(jl: Path) -> None:
        a, b = (jl.parent / f"{jl.name}_{number:02d}.npy" for number in (first, second))
        spare = a.with_suffix(".spare")
        a.rename(spare)
        b.rename(a)
        spare.rename(b)

    return apply


def cut(number: int, keep: int) -> Callable[[Path], None]:
    def apply(jl: Path) -> None:
        path = jl.parent / f"{jl.name}_{number:02d}.npy"
        path.write_bytes(path.read_bytes()[:keep])

    return apply


def overwrite(content: bytes) -> Callable[[Path], None]:
    def apply(jl: Path) -> None:
        (jl.parent / f"{jl.name}_05.npy").write_bytes(content)

    return apply


def lengthen(jl: Path) -> None:
    with open(jl.parent / f"{jl.name}_03.npy", "ab") as file:
        file.write(b"more")


def no_arrays(jl: Path) -> None:
    for path in jl.parent.glob(f"{jl.name}_*.npy"):
        path.unlink()


def with_nan(array: np.ndarray) -> np.ndarray:
    array[1] = np.nan
    return array


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rename("_05.npy", "_99.spare"), r"_05\.npy \(weights of layer 3\) is missing; the layers before it, 1-2,"),
        (rename("_03.npy", "_99.spare"), r"_03\.npy \(batch-norm gain of layer 2\) is missing; the layers before it"),
        (rename("_08.npy", "_99.spare"), r"_08\.npy \(weights of the output unit\) is missing$"),
        (rename("_01.npy", "_99.spare"), r"10_discrim_params\.jl_01\.npy, the first array, is missing"),
        (swap(1, 8), r"_01\.npy: is \[208, 1\]; a discriminator starts with \[maps, 3, k, k\]"),
        (lambda jl: shutil.copy(jl.parent / f"{jl.name}_02.npy", jl.parent / f"{jl.name}_2.npy"),
         r"_2\.npy: not a file of this set \(there is 10_discrim_params\.jl_02\.npy as well\)"),
        (lambda jl: shutil.copy(jl.parent / f"{jl.name}_02.npy", jl.parent / f"{jl.name}_00.npy"),
         r"_00\.npy: not a file of this set \(arrays are numbered from 01\)"),
        (overwrite(b"PK\x03\x04 and more"), r"_05\.npy: not a whole \.npy file of numbers"),
        (overwrite(b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (99999999, 99999), }"
                   + b" " * 41 + b"\n" + b"0" * 8), r"_05\.npy: not a whole \.npy file of numbers"),
        (overwrite(b"\x93NUMPY\x01\x00v\x00{'descr': ('<f4', 'fortran_order': False, 'shape': (9, 9), }"
                   + b" " * 50 + b"\n" + b"0" * 8), r"_05\.npy: not a whole \.npy file of numbers"),
        (no_arrays, r"no 10_discrim_params\.jl_01\.npy and so on beside it; the \.jl itself is a pickle"),
        (swap(2, 5), r"_02\.npy: is \[13, 6, 5, 5\]; dcgan32-svhn at width 0\.05 has \[6, 3, 5, 5\] here \(weights of"),
        (swap(3, 4), r"_03\.npy and 10_discrim_params\.jl_04\.npy: look swapped \(the batch-norm gain of layer 2"),
        (cut(5, 400), r"_05\.npy: not a whole \.npy file of numbers"),
        (cut(5, 20), r"_05\.npy: not a whole \.npy file of numbers"),
        (cut(5, 0), r"_05\.npy: not a whole \.npy file of numbers"),
        (lengthen, r"_03\.npy: goes on after its array"),
        (rename("", "_02.npy"), r"10_discrim_params\.jl: no such file"),
        (spoil(3, lambda a: a.astype(object)), r"_03\.npy: not a whole \.npy file of numbers \(.*Python objects"),
        (spoil(3, lambda a: a.astype(str)), r"_03\.npy: not an \.npy file of real numbers"),
        (spoil(3, lambda a: a.astype(complex)), r"_03\.npy: not an \.npy file of real numbers"),
        (spoil(7, with_nan), r"_07\.npy: holds NaN or infinity"),
        (spoil(7, lambda a: a.astype(np.float64) * 1e300), r"_07\.npy: holds NaN or infinity"),
        (spoil(1, lambda a: a[0]), r"_01\.npy: is \[3, 5, 5\]; a discriminator starts with \[maps, 3, k, k\]"),
        (spoil(8, lambda a: a.T), r"_08\.npy: is \[1, 208\]; .* has \[208, 1\] here \(weights of the output unit\)"),
        (
            lambda jl: shutil.copy(jl.parent / f"{jl.name}_08.npy", jl.parent / f"{jl.name}_09.npy"),
            r"_09\.npy: dcgan32-svhn at width 0\.05 has only 8 arrays; is `arch` right\?",
        ),
        (lambda jl: shutil.copy(jl, jl.parent / f"{jl.name}_04.npy"), r"_04\.npy: not a whole \.npy file of numbers"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_name(jl: Path, damage: Callable[[Path], None], message: str) -> None:
    import_authors_weights(jl, ARCH.name, WIDTH)
    damage(jl)
    with pytest.raises(ValueError, match=message):
        import_authors_weights(jl, ARCH.name, WIDTH)


def test_another_architecture_or_width_is_refused(jl: Path, g_jl: Path) -> None:
    with pytest.raises(ValueError, match=r"_01\.npy: is \[3, 3, 5, 5\]; dcgan32 at width 0\.05 has \[6, 3, 3, 3\]"):
        import_authors_weights(jl, "dcgan32", WIDTH)
    with pytest.raises(ValueError, match=r"_01\.npy: is \[3, 3, 5, 5\]; dcgan32-svhn at width 1 has \[64, 3, 5, 5\]"):
        import_authors_weights(jl, ARCH.name)
    with pytest.raises(ValueError, match=r"10_gen_params\.jl: holds a generator, which is needed whole"):
        import_authors_weights(g_jl, ARCH.name, WIDTH, 2)
    (g_jl.parent / f"{g_jl.name}_04.npy").unlink()
    with pytest.raises(ValueError, match=r"_04\.npy \(weights of layer 1\) is missing$"):
        import_authors_weights(g_jl, ARCH.name, WIDTH)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, d_arrays: list[np.ndarray]) -> None:
    """As if the test's arrays were a release."""
    digests = [authors_weights.array_digest(array) for array in d_arrays]
    digests[4] = ""  # one that is not known
    monkeypatch.setattr(
        authors_weights, "RELEASES", (*RELEASES, Release(ARCH.name, "house numbers", tuple(digests), WIDTH))
    )


@pytest.mark.usefixtures("known")
def test_a_release_is_known_by_its_content(jl: Path, d_arrays: list[np.ndarray]) -> None:
    _, info = import_authors_weights(jl, ARCH.name, WIDTH)
    assert (info.name, info.trained_on) == ("DCGAN, authors' weights", "house numbers")
    assert import_authors_weights(jl, ARCH.name, WIDTH, 2)[1].name == "DCGAN, authors' weights"
    for number, array in enumerate(d_arrays, 1):
        np.save(jl.parent / f"{jl.name}_{number:02d}.npy", array + 0.01)
    _, info = import_authors_weights(jl, ARCH.name, WIDTH)
    assert (info.name, info.trained_on) == ("imported weights (10_discrim_params.jl)", "not known")


def test_a_release_is_refused_under_another_architectures_name(
    jl: Path, d_arrays: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = tuple(authors_weights.array_digest(array) for array in d_arrays)
    monkeypatch.setattr(authors_weights, "RELEASES", (Release("dcgan64", "scenes", digests),))
    with pytest.raises(ValueError, match="these are the authors' weights of dcgan64 at width 1, not of dcgan32-svhn"):
        import_authors_weights(jl, ARCH.name, WIDTH)


@pytest.mark.usefixtures("known")
def test_a_swap_within_a_release_that_no_shape_shows_is_named(jl: Path, d_arrays: list[np.ndarray]) -> None:
    np.save(jl.parent / f"{jl.name}_06.npy", d_arrays[5][::-1])
    with pytest.raises(ValueError, match=r"_06\.npy: is not what the authors released, while others of these files"):
        import_authors_weights(jl, ARCH.name, WIDTH)
    np.save(jl.parent / f"{jl.name}_06.npy", d_arrays[6] + 2)
    np.save(jl.parent / f"{jl.name}_07.npy", d_arrays[5])
    with pytest.raises(ValueError, match=r"_06\.npy: is not what the authors released"):
        import_authors_weights(jl, ARCH.name, WIDTH)


def test_the_commands_import_and_draw(g_jl: Path, jl: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.stderr
        return result.output

    weights = tmp_path / "g.safetensors"
    text = run("import-weights", g_jl, weights, "--arch", ARCH.name, "--width", WIDTH)
    assert re.search(r"g\.safetensors: imported weights \(10_gen_params\.jl\) \(generator, dcgan32-svhn\)", text)
    assert load_generator(weights)[1].statistics is False
    for number, options in enumerate((["--seed", 1], ["--seed", 1], ["--seed", 2], ["--seed", 1, "--z", "uniform"])):
        run("samples", "--weights", weights, "--n", 9, *options, "--out", tmp_path / f"{number}.png")
    pictures = [(tmp_path / f"{number}.png").read_bytes() for number in range(4)]
    assert pictures[0] == pictures[1]
    assert len(set(pictures)) == 3
    text = run(
        "import-weights", jl, tmp_path / "d.safetensors", "--arch", ARCH.name, "--width", WIDTH, "--layers", "1-2"
    )
    assert "layers 1-2" in text
    kept = (tmp_path / "d.safetensors").read_bytes()
    for destination, message in (
        (jl, r"weights files end in .safetensors"),
        (tmp_path / "no.pt", "end in .safetensors"),
    ):
        before = jl.read_bytes()
        result = CliRunner().invoke(main, ["import-weights", str(jl), str(destination), "--arch", ARCH.name])
        assert (result.exit_code, jl.read_bytes()) == (1, before)
        assert message in result.stderr
    result = CliRunner().invoke(main, ["import-weights", str(jl), str(tmp_path / "d.safetensors"), "--arch", "dcgan32"])
    assert (result.exit_code, (tmp_path / "d.safetensors").read_bytes()) == (1, kept)
    for layers, message in (
        ("2-3", "give 1-3"),
        ("0", "such as 1-4"),
        ("3-2", "such as 1-4"),
        ("all", "such as 1-4"),
        ("", "such as 1-4"),
        ("1-+2", "such"),
    ):
        arguments = ["import-weights", str(jl), "x", "--arch", ARCH.name, "--layers", layers]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 1
        assert message in result.stderr
