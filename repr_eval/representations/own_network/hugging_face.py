"""Vision models of transformers: `hf:NAME`, of the Hugging Face hub or a local folder."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repr_eval.representations.own_network.base import NamedNetwork, imported, seeded, some, telling
from repr_eval.representations.own_network.preprocessing import Preprocessing, of_transformers
from repr_eval.system.torchvision_import import torchvision_datasets

OUTPUTS = {"pooled": "pooler_output", "tokens": "last_hidden_state"}  # a SPEC's words; transformers' fields
TRAINING = ("pretrained", "untrained")
SIZE = 32  # of the one image with which outputs are looked at, where the model does not say a size


@dataclass(frozen=True)
class Asked:
    """What a SPEC `hf:NAME[@REVISION][:pooled|:tokens][:pretrained|:untrained]` asks for."""

    name: str  # on the hub; or a folder
    revision: str | None
    output: str | None  # of OUTPUTS; None: pooled where the model has it, tokens otherwise
    trained: bool

    @property
    def title(self) -> str:
        """What tables call it: without the path of a folder."""
        name = Path(self.name).resolve().name if Path(self.name).is_dir() else self.name
        return f"hf {name}{f'@{self.revision}' if self.revision else ''}"


def asked(spec: str) -> Asked:
    """ValueError in one line on a SPEC that is none."""
    name, *words = spec.removeprefix("hf:").split(":")
    outputs = [word for word in words if word in OUTPUTS]
    training = [word for word in words if word in TRAINING]
    if not name:
        raise ValueError(f"encoder {spec!r}: needs the name of a model, as hf:facebook/dinov2-small")
    if len(outputs) > 1 or len(training) > 1 or len(outputs) + len(training) < len(words):
        raise ValueError(f"encoder {spec}: after the name comes :pooled or :tokens, :pretrained or :untrained")
    name, _, revision = (name, "", "") if Path(name).is_dir() else name.partition("@")
    return Asked(name, revision or None, outputs[0] if outputs else None, training != ["untrained"])


def from_transformers(spec: str, seed: int) -> NamedNetwork:
    """The model without its head; of a model of images and text, the one of images.

    Weights come from safetensors alone, and every weight of the model must be among them, but for a pooling layer that
    is not used. Code from the hub is never run. The model is float32, whatever type its weights are stored in.
    """
    wanted = asked(spec)
    with telling(f"encoder {spec}"):
        torchvision_datasets()  # makes torchvision, which transformers imports, importable beside any torch
    transformers = imported(f"encoder {spec}", "transformers", "hf")
    with telling(f"encoder {spec}"), _quiet(transformers), seeded(seed):
        network, config, missing = _made(transformers, wanted)
        preprocessing = _preprocessing(transformers, wanted, network)
        output = _output(network, wanted, missing, preprocessing.image_size or SIZE)
    network.register_forward_hook(_taking(output))
    revision = getattr(config, "_commit_hash", None)  # the commit that the name stood for; a folder has none
    return NamedNetwork(
        kind="hf",
        name=wanted.title + ("" if wanted.trained else ", untrained"),
        made=network,
        trained_on="not said" if wanted.trained else "nothing",
        preprocessing=preprocessing,
        output=output,
        settings={"revision": revision} if revision else {},
    )


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without the table of weights that do not fit, which is told in a line or does not matter."""
    logging = transformers.utils.logging
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _made(transformers: Any, wanted: Asked) -> tuple[nn.Module, Any, set[str]]:
    """The network of images, its configuration, and the names of weights that were not in the files."""
    where: dict[str, Any] = {"revision": wanted.revision, "trust_remote_code": False}
    config = transformers.AutoConfig.from_pretrained(wanted.name, **where)
    if getattr(config, "mask_ratio", None):  # a masked autoencoder's: its features are those of whole images
        config.mask_ratio = 0.0
    if wanted.trained:
        with telling("its weights (safetensors alone; pickles are never opened)"):
            model, found = transformers.AutoModel.from_pretrained(
                wanted.name, config=config, use_safetensors=True, output_loading_info=True,
                ignore_mismatched_sizes=True, **where,
            )  # fmt: skip
    else:
        model, found = transformers.AutoModel.from_config(config, trust_remote_code=False), {}
    network, prefix = model, ""
    if hasattr(config, "vision_config") and isinstance(getattr(model, "vision_model", None), nn.Module):
        network, prefix = model.vision_model, "vision_model."
    takes = next(iter(inspect.signature(network.forward).parameters))
    if takes != "pixel_values":
        raise ValueError(f"{type(model).__name__} takes {takes}; needs a vision model, which takes pixel_values")
    # Names; in newer versions of transformers each with its two shapes.
    other = sorted(key if isinstance(key, str) else key[0] for key in found.get("mismatched_keys", ()))
    if other:
        raise ValueError(f"its weights do not fit: {some(other)} have another shape in the files")
    missing = {n.removeprefix(prefix) for n in found.get("missing_keys", ()) if n.startswith(prefix)}
    _check_unexpected(network, model, prefix, found.get("unexpected_keys", ()))
    return network.float(), config, missing


def _check_unexpected(network: nn.Module, model: nn.Module, prefix: str, unexpected: Any) -> None:
    """ValueError where the files hold weights for parts of the network that it does not have; heads are left out."""
    own = {name for name, _ in network.named_children()}
    base = f"{getattr(model, 'base_model_prefix', '')}."
    names = [name.removeprefix(base).removeprefix(prefix) for name in sorted(unexpected)]
    inner = [name for name in names if name.partition(".")[0] in own]
    if inner:
        raise ValueError(f"its weights do not fit: the model has no {some(inner)}")


def _preprocessing(transformers: Any, wanted: Asked, network: nn.Module) -> Preprocessing:
    """What the image processor says; where there is none, mean and std are to be given."""
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(
            wanted.name, revision=wanted.revision, trust_remote_code=False
        )
    except (OSError, ValueError):  # no file, or one that names no image processor
        unknown = "no configuration of its image processor can be read, so that its mean and std are not known"
        return replace(of_transformers(None, network.config), unknown=unknown)
    return of_transformers(processor, network.config)


def _output(network: nn.Module, wanted: Asked, missing: set[str], size: int) -> str:
    """Which of OUTPUTS counts; ValueError where it, or a weight that it needs, is not there."""
    pooling = {name for name in missing if "pooler" in name.split(".")}
    if missing - pooling:
        raise ValueError(f"its weights do not fit: the files lack {some(missing - pooling)}")
    with torch.no_grad():
        made = network.eval()(torch.zeros(1, 3, size, size))
    has = [word for word, field in OUTPUTS.items() if isinstance(getattr(made, field, None), Tensor)]
    if wanted.output == "pooled" and pooling:
        raise ValueError(f"the files lack the weights of its pooling ({some(pooling)}); ask for :tokens")
    word = wanted.output or ("pooled" if "pooled" in has and not pooling else "tokens")
    if word not in has:
        raise ValueError(f"{type(network).__name__} has no {word} output; it has {', '.join(has) or 'none'}")
    return word


def _taking(word: str) -> Callable[[nn.Module, Any, Any], Tensor]:
    """A hook that makes a model's answer the one tensor that counts; layers keep the names that they have."""

    def take(_network: nn.Module, _given: Any, made: Any) -> Tensor:
        return made[OUTPUTS[word]]

    return take
