"""Any network of the user's as a representation.

`Network(module)` takes a network that is at hand; `encoder(SPEC)` finds one (`own_network.spec` lists the kinds of
SPEC). The features are its output, or with `pool` the outputs of the layers of these names, one after the other. Each
output [N, ...] counts by its shape:

- vectors [N, D] as they are;
- tokens [N, T, C] as their mean over T, a class token like any other;
- maps [N, C, H, W] as the maximum over each cell of a 4x4 grid, flattened; of fewer cells where a side is below 4, and
  of cells that torch's adaptive pooling chooses where a side is no multiple of 4.

The network gets float32 [N, 3, S, S] in evaluation mode. In the key of stored features are its structure, weights, name
and source files, and what it answers to a few images of noise, in round numbers. A change elsewhere (another module, a
file it reads) that leaves those answers as they were is not noticed: name another store then.
"""

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repr_eval.gan.networks import GRID
from repr_eval.representations.base import Description, Representation
from repr_eval.representations.batched import Batched
from repr_eval.representations.own_network.base import Function, NamedNetwork, near, seeded, telling
from repr_eval.representations.own_network.code import named_code
from repr_eval.representations.own_network.identity import sources_sha256, weights_sha256
from repr_eval.representations.own_network.preprocessing import RGB
from repr_eval.representations.own_network.spec import network_named

SIZE = 32  # of the data sets' images, which a network gets unless an image size is given
BLOCK = 64  # images at a time
HALF = (0.5, 0.5, 0.5)  # mean and standard deviation with which pixels come into [-1, 1]
# By how much, relative to the largest of them, features of one image may depend on the others in its batch: bfloat16
# rounds to 0.4%, float32 to 1e-7, and batch norm of a batch changes them by a good part of themselves.
TOLERANCE = 0.02


def encoder(
    spec: str, pool: tuple[str, ...] = (), image_size: int | None = None, mean: RGB | None = None,
    std: RGB | None = None, device: torch.device | None = None, seed: int = 0,
) -> Representation:  # fmt: skip
    """The network or function that `spec` names, as a representation.

    Images are scaled to [0, 1], resized to `image_size` (bilinearly, antialiased; any square images will do then, and
    32x32 otherwise), reduced by `mean` and divided by `std`, for red, green and blue. What is not given is what the
    network's own configuration says: pretrained weights of timm and torchvision, models of transformers, and ONNX files
    with a fixed size have one. Else images stay as large as they are and come to [-1, 1]. A plain function takes the
    images as they are, and none of these. `seed` is that of initial weights. An attribute `trained_on` of the network
    or function says in tables what its weights have seen, and `method_name` what it is called. ValueError where there
    is no such network, or its features are not to be used.
    """
    named = network_named(spec, device or torch.device("cpu"), seed)
    if isinstance(named.made, nn.Module):
        own = named.preprocessing
        if own.unknown and (mean is None or std is None):
            raise ValueError(f"encoder {spec}: {own.unknown}; give mean and std")
        size = own.image_size if image_size is None else image_size
        mean = (own.mean or HALF) if mean is None else mean
        std = (own.std or HALF) if std is None else std
        return Network(named.made, pool, size, mean, std, device, named=named)
    if pool or image_size is not None or any(value not in (None, HALF) for value in (mean, std)):
        raise ValueError(f"encoder {spec}: a function takes images as they are; leave out pool, image size, mean, std")
    return FunctionFeatures(named.made, named=named)


def arranged(h: object, n: int, what: str) -> Tensor:
    """The output `h` of `what` for `n` images as float32 [n, units, positions], pooled as the module's docstring says.

    ValueError on what is no vectors, tokens or maps.
    """
    if not isinstance(h, Tensor):
        raise ValueError(f"{what} gives {type(h).__name__}; needs one tensor")
    if h.dim() not in (2, 3, 4) or len(h) != n or not h.numel() or not h.is_floating_point():
        raise ValueError(
            f"{what} gives {str(h.dtype).removeprefix('torch.')} {list(h.shape)} for {n} images; needs float [N, D], "
            f"[N, T, C] or [N, C, H, W] with N = {n}"
        )
    h = h.float()
    if h.dim() == 2:
        return h[..., None].clone()  # a layer after this one may work in place
    if h.dim() == 3:
        return h.mean(1)[..., None]
    return F.adaptive_max_pool2d(h, (min(GRID, h.shape[2]), min(GRID, h.shape[3]))).flatten(2)


def probe(size: int) -> np.ndarray:
    """Four images uint8 [4, size, size, 3] of noise, each with its own brightness: statistics of a batch differ."""
    tops = 64 * np.arange(1, 5)[:, None, None, None]
    return np.random.default_rng(0).integers(0, tops, (4, size, size, 3)).astype(np.uint8)


def checked(outputs: Callable[[np.ndarray], list[Tensor]], size: int, what: str) -> list[Tensor]:
    """`outputs` for the probe; ValueError where they are not finite or depend on the batch or on chance.

    Each image of the probe is also tried alone, and all of them, again and again, as a batch of `BLOCK`.
    """
    images = probe(size)
    together = outputs(images)
    if not all(output.isfinite().all() for output in together):
        raise ValueError(f"{what} gives NaN or infinity for images of noise")
    batches = [(slice(k, k + 1), images[k : k + 1]) for k in range(len(images))]
    for rows, batch in [*batches, (slice(None), np.resize(images, (BLOCK, *images.shape[1:])))]:
        for output, other in zip(together, outputs(batch), strict=True):
            expected = output[rows]
            if other.shape[1:] != output.shape[1:]:
                raise ValueError(_uneven(what, other[0].numel(), len(batch), output[0].numel()))
            difference = (other[: len(expected)] - expected).abs().max()
            if not difference <= TOLERANCE * output.abs().max():  # NaN is not below
                raise ValueError(
                    f"{what} gives an image other features in another batch: it depends on the batch (batch norm in "
                    "training mode?) or on chance (dropout?)"
                )
    return together


def _uneven(what: str, width: int, n: int, others: int) -> str:
    return f"{what} gives an image {width:,} features in a batch of {n} and {others:,} in others; needs as many in all"


def answers(outputs: list[Tensor]) -> list[list[str]]:
    """Mean and standard deviation of each output, to three digits: what the key of features knows its values by.

    A mean of less than 1e-5 standard deviations, as after layer norm, is 0: its digits are float32's rounding.
    """
    told = []
    for output in outputs:
        mean, std = output.mean().item(), output.std().item()
        told.append([f"{0 if abs(mean) < 1e-5 * std else mean:.3g}", f"{std:.3g}"])
    return told


class _Encoder(Batched):
    """What the two kinds have in common: features are `_outputs`, each [N, units, positions], side by side."""

    block = BLOCK
    name: str
    side: int  # of the images as the user's code gets them

    def features(self, images: np.ndarray) -> Tensor:
        made = torch.cat([output.flatten(1) for output in self._told(images)], 1)
        if made.shape[1] != self.description.n_features:
            what = f"encoder {self.name}"
            raise ValueError(_uneven(what, made.shape[1], len(images), self.description.n_features))
        return made

    def _told(self, images: np.ndarray) -> list[Tensor]:
        """`_outputs`, on the CPU; ValueError in one line where the user's code fails."""
        where = f"{len(images)} images of {self.side}x{self.side} (it is to take any number of them from 1 to {BLOCK})"
        with telling(f"encoder {self.name} fails on {where}"):
            return [output.cpu() for output in self._outputs(images)]

    @abstractmethod
    def _outputs(self, images: np.ndarray) -> list[Tensor]:
        """What is to be laid side by side of images uint8 [N, S, S, 3]: each float32 [N, units, positions]."""

    def _described(self, named: NamedNetwork, layers: str, settings: dict[str, Any]) -> Description:
        """A description, with the numbers that the probe gives and what the content is known by."""
        with seeded(named.seed or 0):  # lazy layers draw their weights here
            given = checked(self._told, self.side, f"encoder {named.name}")
        content = {"file_sha256": named.file_sha256}
        if named.file_sha256 is None:
            # After the probe: lazy layers have weights only then.
            with telling(f"encoder {named.name}: its weights cannot be read"):
                weights = {"weights_sha256": weights_sha256(named.made)} if isinstance(named.made, nn.Module) else {}
            content = {**weights, "sources_sha256": sources_sha256(named.made, named.sources)}
            if not any(content.values()):
                raise ValueError(
                    f"encoder {named.name}: has no source file to be known by; define it in a file or a notebook"
                )
        made_by = {"callable": named.callable, "seed": named.seed}
        key = {"representation": "encoder", "kind": named.kind, **content, **settings, "answers": answers(given)}
        key |= named.settings
        key |= {name: value for name, value in made_by.items() if value is not None}
        n_features, units = sum(part[0].numel() for part in given), max(part.shape[1] for part in given)
        return Description(
            method=named.name,
            trained_on=named.trained_on,
            layers=layers,
            n_features=n_features,
            max_units=units,
            settings=key,
        )


class FunctionFeatures(_Encoder):
    """A function: images uint8 [N, 32, 32, 3] -> features float [N, D], NumPy arrays. It is given copies."""

    def __init__(self, function: Function, *, named: NamedNetwork | None = None):
        super().__init__(device=None)
        named = named or named_code(function)
        self.function = function
        self.name = named.name
        self.input_size = self.side = SIZE
        self.description = self._described(named, "-", {"kind": "function"})

    def _outputs(self, images: np.ndarray) -> list[Tensor]:
        made = self.function(np.array(images))
        if not isinstance(made, np.ndarray) or made.ndim != 2 or len(made) != len(images) or made.dtype.kind != "f":
            what = f"{made.dtype} {list(made.shape)}" if isinstance(made, np.ndarray) else type(made).__name__
            raise ValueError(f"gives {what} for {len(images)} images; needs a NumPy array, float [N, D]")
        return [arranged(torch.from_numpy(made.astype(np.float32)), len(images), self.name)]


class Network(_Encoder):
    """A network's output, or that of its layers `pool`, in evaluation mode on `device`; settings as for `encoder`.

    `name` is what tables call it. The network is copied: one that is trained on afterwards is another representation.
    `named` says where the network comes from, if `network_named` has made it; it is then used as it is.
    """

    def __init__(
        self, network: nn.Module, pool: Sequence[str] = (), image_size: int | None = None,
        mean: Sequence[float] = HALF, std: Sequence[float] = HALF, device: torch.device | None = None,
        name: str | None = None, *, named: NamedNetwork | None = None,
    ):  # fmt: skip
        super().__init__(device)
        if not isinstance(network, nn.Module):
            raise ValueError(f"network is {type(network).__name__}; needs an nn.Module")
        if image_size is not None and image_size < 1:
            raise ValueError(f"image size {image_size}: needs 1 or more")
        if len(mean) != 3 or len(std) != 3 or not np.isfinite([*mean, *std]).all() or min(std) <= 0:
            raise ValueError(f"mean {mean}, std {std}: need three finite numbers each, those of std above 0")
        if isinstance(pool, str):
            raise ValueError(f"pool {pool!r}: needs a list of names, [{pool!r}]")
        if "" in pool:
            raise ValueError(f"pool {','.join(pool)!r}: a name is empty; needs names of layers, a comma between two")
        if len(set(pool)) < len(pool):
            raise ValueError(f"pool {','.join(pool)}: names a layer more than once")
        if named is None:
            named = named_code(network)
            named = replace(named, name=name) if name else named
            with telling(f"encoder {named.name} cannot be copied"):
                network = copy.deepcopy(network)
        self.name, self.pool, self.mean, self.std = named.name, pool, mean, std
        self.image_size, self.input_size = image_size, SIZE if image_size is None else None
        self.side = image_size or SIZE
        self._mean, self._std = (
            torch.tensor(v, dtype=torch.float32, device=self.device)[:, None, None] for v in (mean, std)
        )
        self.layers = {name: _layer(named, network, name) for name in pool}
        with telling(f"encoder {named.name} cannot be put on {self.device}, in evaluation mode"):
            self.network = _evaluating(network.to(self.device))
        settings = {
            "pool": list(pool), "pooling": "max 4x4, mean of tokens", "image_size": image_size,
            "resize": "bilinear, antialiased", "mean": [float(v) for v in mean], "std": [float(v) for v in std],
        }  # fmt: skip
        if named.output and not pool:
            settings["output"] = named.output
        self.description = self._described(named, ", ".join(pool) or named.output or "-", settings)

    @torch.no_grad()
    def _outputs(self, images: np.ndarray) -> list[Tensor]:
        n, x = len(images), self._input(images)
        if not self.layers:
            return [arranged(self.network(x), n, self.name)]
        outputs: dict[str, Tensor] = {}
        with ExitStack() as hooks:
            for name, layer in self.layers.items():

                def keep(_layer: nn.Module, _given: Any, h: object, name: str = name) -> None:
                    outputs[name] = arranged(h, n, f"layer {name!r}")  # at once, before a later layer works in place

                hooks.enter_context(layer.register_forward_hook(keep))
            self.network(x)
        missing = [name for name in self.layers if name not in outputs]
        if missing:
            raise ValueError(f"layer {missing[0]!r} is not run, or is run where hooks do not reach (an exported graph)")
        return [outputs[name] for name in self.layers]

    def _input(self, images: np.ndarray) -> Tensor:
        """Images uint8 [N, S, S, 3], or those of `at_input_size`, -> float32 [N, 3, S', S'], resized and normalised."""
        # Contiguous, not channels-last: networks written with view() want it so.
        return (self._resized(self._levels(images) / 255) - self._mean) / self._std

    def at_input_size(self, images: np.ndarray) -> np.ndarray:
        if self.image_size in (None, images.shape[1]):
            return images
        return self._resized(self._levels(images)).permute(0, 2, 3, 1).cpu().numpy()

    def _levels(self, images: np.ndarray) -> Tensor:
        return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(self.device).float()

    def _resized(self, x: Tensor) -> Tensor:
        if self.image_size in (None, x.shape[-1]):
            return x
        return F.interpolate(x, (self.image_size, self.image_size), mode="bilinear", antialias=True)


def _layer(named: NamedNetwork, network: nn.Module, name: str) -> nn.Module:
    """The layer called `name` in `named_modules`; ValueError where there is none, or hooks do not work on it."""
    layers = dict(network.named_modules(remove_duplicate=False))
    if named.file_sha256 is not None or isinstance(layers.get(name), torch.jit.ScriptModule):
        raise ValueError(
            f"pool {name}: layers of a {named.kind} network cannot be reached; save one that returns what you want"
        )
    if name not in layers:
        some = near(name, [layer for layer in layers if layer])
        raise ValueError(f"pool {name!r}: {named.name} has no such layer; it has {some}")
    return layers[name]


def _evaluating(network: nn.Module) -> nn.Module:
    """`network` in evaluation mode; an exported graph, which cannot change its mode, as it is."""
    try:
        return network.eval()
    except NotImplementedError:
        return network
