"""Reads the weights that the DCGAN authors released, and others that their code wrote, into this package's networks.

Their code (`Newmu/dcgan_code`, MIT) stores a list of parameters with an old joblib: a pickle `NAME.jl` beside one
`NAME.jl_01.npy`, `NAME.jl_02.npy`, ... for every array, in the order of the list. The pickle is never opened; the
arrays say all that is needed:

    discriminator   conv 1; for every further layer: conv, gain, bias; then dense [maps * 16, 1]
    generator       dense [z, maps * 16], gain, bias; for every hidden layer: conv, gain, bias; then the last conv

Theano convolves, PyTorch correlates: every kernel is flipped along both of its axes, in the transposed convolutions
too. A dense array is the transpose of PyTorch's. Running batch-norm statistics were never released.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from repr_eval.gan.architectures import Architecture, architecture_named
from repr_eval.gan.networks import BN_EPS, Discriminator, Generator
from repr_eval.gan.weights import WeightsInfo
from repr_eval.system.arrays import mapped


@dataclass(frozen=True)
class Release:
    """A network that the authors released, and how to know its arrays: digests in file order, "" for one not known."""

    arch: str
    trained_on: str
    digests: tuple[str, ...]  # by `array_digest`
    width: float = 1.0


RELEASES = (
    Release("dcgan32", "ImageNet-1k", (
        "2abea16daf640105", "cefa0f493d6f666a", "57cba3966c190845", "3835e7cf92928da5", "1c653d89fc8a04e0",
        "e3a4b43e71535afd", "7aff330b70a614db", "a6e0a16222746a8a", "6abbade35b442286", "f5328345b590b16f", "",
        "5e2ad354edec40f6", "9cad2402e7fa7c6a", "", "11db307cd455073d", "40e3743f2aed10a9", "6f5df2b35b9b0c66",
    )),
    Release("dcgan32-svhn", "SVHN", (
        "72f8e8e36590db3a", "e467453e59f7379d", "72b6e1c67eb9d1c9", "1710071b282f08fe", "ff493cb04a463f57",
        "9d28647f76f2162f", "01a62d383085a4d3", "c50a54b9fdb8912b",
    )),
    Release("dcgan32-svhn", "SVHN", (
        "d891238acc6721b9", "2be3ba523c828dc5", "4ece97d3ee2630c8", "61f3fd05abf9fff7", "f27d2e9101ccdf75",
        "87b24cc8c64d4c9a", "e0fe5250ff6a6ba9", "6fd7a84ebc4898cf", "464830d36881cacb", "33a06a97d3e52008",
    )),
)  # fmt: skip


@dataclass(frozen=True)
class Slot:
    """One file of the list: the tensor it becomes, its shape in the file, and what it is in words."""

    tensor: str
    shape: tuple[int, ...]
    words: str
    layer: int = 0  # the convolution it belongs to, counted from 1; 0 for none


def slots(network: Discriminator | Generator) -> list[Slot]:
    """The files that hold `network`, in their order."""
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}

    def weight(name: str, words: str, layer: int = 0) -> Slot:
        shape = shapes[f"{name}.weight"]
        return Slot(f"{name}.weight", shape[::-1] if len(shape) == 2 else shape, f"weights of {words}", layer)

    def norm(name: str, words: str, layer: int = 0) -> list[Slot]:
        return [
            Slot(f"{name}.weight", shapes[f"{name}.weight"], f"batch-norm gain of {words}", layer),
            Slot(f"{name}.bias", shapes[f"{name}.bias"], f"batch-norm bias of {words}", layer),
        ]

    discriminator = isinstance(network, Discriminator)
    expected = [] if discriminator else [weight("dense", "the dense layer"), *norm("dense_norm", "the dense layer")]
    for i in range(len(network.convs)):
        layer, normed = i + 1, i - 1 if discriminator else i  # D's first layer and G's last have no batch norm
        expected.append(weight(f"convs.{i}", f"layer {layer}", layer))
        if 0 <= normed < len(network.norms):
            expected += norm(f"norms.{normed}", f"layer {layer}", layer)
    if discriminator and network.dense is not None:
        expected.append(weight("dense", "the output unit"))
    return expected


def files_beside(jl: Path) -> dict[int, Path]:
    """The arrays NAME.jl_NN.npy beside `jl`, by number. ValueError where there are none."""
    if not jl.is_file():
        raise ValueError(f"{jl}: no such file")
    if jl.suffix != ".jl":
        raise ValueError(f"{jl}: needed is the NAME.jl that the DCGAN authors' code writes, beside its .npy files")
    pattern = re.compile(re.escape(jl.name) + r"_(\d+)\.npy")
    files: dict[int, Path] = {}
    for path in sorted(jl.parent.iterdir()):
        if match := pattern.fullmatch(path.name):
            number = int(match[1])
            if number == 0 or number in files:
                why = f"there is {files[number].name} as well" if number else "arrays are numbered from 01"
                raise ValueError(f"{path}: not a file of this set ({why}); remove the wrong one")
            files[number] = path
    if not files:
        raise ValueError(
            f"{jl}: no {jl.name}_01.npy and so on beside it; the .jl itself is a pickle, which repr-eval never opens"
        )
    return files


def read_array(path: Path) -> np.ndarray:
    """The float32 array in C order of an .npy file of real numbers. ValueError names a file that is not one, or NaN."""
    try:
        stored = mapped(path)  # compares the header with the file's size; never unpickles
    except (ValueError, MemoryError) as error:
        raise ValueError(f"{path}: not a whole .npy file of numbers ({' '.join(str(error).split())})") from error
    if stored.dtype.kind not in "fiu":
        raise ValueError(f"{path}: not an .npy file of real numbers")
    if stored.offset + stored.nbytes != path.stat().st_size:
        raise ValueError(f"{path}: goes on after its array; not the file that it was")
    with np.errstate(over="ignore"):
        array = np.array(stored, dtype=np.float32, order="C")
    if not np.isfinite(array).all():
        raise ValueError(f"{path}: holds NaN or infinity")
    return array


def import_authors_weights(
    jl: Path, arch: str, width: float = 1.0, layers: int | None = None
) -> tuple[Discriminator | Generator, WeightsInfo]:
    """The discriminator or generator (the first file's shape tells) whose arrays lie beside `jl`.

    `layers`: only the first so many convolutions of a discriminator, for sets whose later files are missing. Raises
    ValueError, naming the file, on a missing, damaged, foreign or swapped array.
    """
    architecture = architecture_named(arch)
    files = files_beside(jl)
    network = _network_of(jl, files, architecture, width, layers)
    expected = slots(network)
    whole = isinstance(network, Generator) or network.dense is not None
    if whole and max(files) > len(expected):
        raise ValueError(
            f"{files[max(files)]}: {arch} at width {width:g} has only {len(expected)} arrays; is `arch` right?"
        )
    arrays = list(_arrays(jl, files, expected, f"{arch} at width {width:g}"))
    paths = [files[i + 1] for i in range(len(expected))]
    _check_gains(expected, arrays, paths)
    release = _recognise(arrays, paths)
    if release and (release.arch, release.width) != (arch, width):
        theirs = f"{release.arch} at width {release.width:g}"
        raise ValueError(f"{jl}: these are the authors' weights of {theirs}, not of {arch} at width {width:g}")
    state = {slot.tensor: torch.from_numpy(_converted(array)) for slot, array in zip(expected, arrays, strict=True)}
    network.load_state_dict(state, strict=False)
    kind = "discriminator" if isinstance(network, Discriminator) else "generator"
    info = WeightsInfo(
        network=kind, arch=arch, width=width, layers=layers if kind == "discriminator" else None,
        z_dim=network.z_dim if isinstance(network, Generator) else None,
        z=architecture.z if isinstance(network, Generator) else None, eps=BN_EPS, statistics=False,
        name="DCGAN, authors' weights" if release else f"imported weights ({jl.name})",
        trained_on=release.trained_on if release else "not known",
        settings={"imported_from": jl.name, "kernels": "flipped", "released_by_the_authors": release is not None},
    )  # fmt: skip
    return network.eval(), info


def _network_of(
    jl: Path, files: dict[int, Path], architecture: Architecture, width: float, layers: int | None
) -> Discriminator | Generator:
    first = files.get(1)
    if first is None:
        raise ValueError(f"{jl}: {jl.name}_01.npy, the first array, is missing")
    shape = read_array(first).shape
    if len(shape) == 4:
        return Discriminator(architecture, width, layers)
    if len(shape) != 2 or shape[1] == 1:
        raise ValueError(f"{first}: is {list(shape)}; a discriminator starts with [maps, 3, k, k], a generator [z, n]")
    if layers is not None:
        raise ValueError(f"{jl}: holds a generator, which is needed whole; `layers` is for discriminators")
    return Generator(architecture, width, shape[0])


def _arrays(jl: Path, files: dict[int, Path], expected: Sequence[Slot], arch: str) -> Iterator[np.ndarray]:
    for number, slot in enumerate(expected, 1):
        if number not in files:
            a_discriminator = expected[0].layer == 1
            advice = f"; the layers before it, 1-{slot.layer - 1}, can be read alone (`layers`)" * (
                a_discriminator and slot.layer > 1
            )
            raise ValueError(f"{jl}_{number:02d}.npy ({slot.words}) is missing{advice}")
        array = read_array(files[number])
        if array.shape != slot.shape:
            raise ValueError(
                f"{files[number]}: is {list(array.shape)}; {arch} has {list(slot.shape)} here ({slot.words})"
            )
        yield array


def _check_gains(expected: Sequence[Slot], arrays: Sequence[np.ndarray], paths: Sequence[Path]) -> None:
    """Gains start at 1 and biases at 0: a gain below its bias, on average, is a swap that no shape would show."""
    for i, slot in enumerate(expected[:-1]):
        if "gain" in slot.words and arrays[i].mean() < arrays[i + 1].mean():
            raise ValueError(
                f"{paths[i]} and {paths[i + 1].name}: look swapped (the {slot.words} averages {arrays[i].mean():.2f}, "
                f"its bias {arrays[i + 1].mean():.2f})"
            )


def _recognise(arrays: Sequence[np.ndarray], paths: Sequence[Path]) -> Release | None:
    """The release that these arrays are, by content; None for weights trained elsewhere.

    Raises ValueError where some are a release's and others are not: a swapped or altered file.
    """
    digests = [array_digest(array) for array in arrays]
    for release in RELEASES:
        known = [(i, digest) for i, digest in enumerate(digests) if i < len(release.digests) and release.digests[i]]
        wrong = [i for i, digest in known if digest != release.digests[i]]
        if len(wrong) == len(known):
            continue
        if not wrong:
            return release
        i = wrong[0]
        position = release.digests.index(digests[i]) + 1 if digests[i] in release.digests else None
        what = f"holds what was released as number {position}" if position else "is not what the authors released"
        raise ValueError(f"{paths[i]}: {what}, while others of these files are as released; copy the set again")
    return None


def array_digest(array: np.ndarray) -> str:
    """First 16 digits of the SHA-256 of the values as little-endian float32 in C order."""
    return hashlib.sha256(np.ascontiguousarray(array, "<f4").tobytes()).hexdigest()[:16]


def _converted(array: np.ndarray) -> np.ndarray:
    """In PyTorch's convention: kernels flipped, dense arrays transposed, vectors as they are."""
    if array.ndim == 4:
        array = array[:, :, ::-1, ::-1]
    return np.ascontiguousarray(array.T if array.ndim == 2 else array)
