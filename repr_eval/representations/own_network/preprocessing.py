"""What a pretrained network's own configuration says of the images that it wants.

Mean, standard deviation and input size are read; cropping and the kind of interpolation are not: an image is resized
whole, as `network.encoder` says, so that no part of a small image is cut away.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """None where nothing is said."""

    mean: RGB | None = None  # of red, green and blue, of pixels in [0, 1]
    std: RGB | None = None
    image_size: int | None = None  # side of the square images, in pixels
    # Why mean and std, which the network must have been trained with, cannot be told: they are to be given then.
    unknown: str = ""


NOT_SAID = Preprocessing()


def of_timm(network: object) -> Preprocessing:
    """What the `pretrained_cfg` (or `default_cfg`) of a network made by timm says; its `input_size` is [3, S, S]."""
    configuration = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", None) or {}
    said = configuration if isinstance(configuration, Mapping) else vars(configuration)
    return Preprocessing(_three(said.get("mean")), _three(said.get("std")), _side((said.get("input_size") or ())[1:]))


def of_torchvision(weights: Any) -> Preprocessing:
    """What the transforms of torchvision's `weights` (a member of a `WeightsEnum`) say.

    The size is the one after cropping, `crop_size`; `resize_size` where nothing is cropped.
    """
    transforms = weights.transforms()
    size = getattr(transforms, "crop_size", None) or getattr(transforms, "resize_size", None)
    return Preprocessing(
        _three(getattr(transforms, "mean", None)), _three(getattr(transforms, "std", None)), _side(size)
    )


def of_transformers(processor: Any, config: Any) -> Preprocessing:
    """What an image processor of transformers says, or else the `image_size` of the network's `config`.

    The processor gives (f p - o - mean) / std of pixels p in [0, 255], where f is its `rescale_factor` and o is 1 with
    its `rescale_offset`, else 0. With s = 255 f, that is (p / 255 - (mean + o) / s) / (std / s).
    """
    size = _side(getattr(config, "image_size", None))
    if processor is None:
        return Preprocessing(image_size=size)
    cut = getattr(processor, "crop_size", None) if getattr(processor, "do_center_crop", False) else None
    wanted = cut or (getattr(processor, "size", None) if getattr(processor, "do_resize", True) else None)
    normal = getattr(processor, "do_normalize", True)
    mean = _three(processor.image_mean if normal else (0, 0, 0))
    std = _three(processor.image_std if normal else (1, 1, 1))
    scale = 255 * processor.rescale_factor if getattr(processor, "do_rescale", True) else 255.0
    offset = 1.0 if getattr(processor, "rescale_offset", False) else 0.0
    if mean is None or std is None:
        return Preprocessing(image_size=_side(wanted) or size)
    # 255 times the float 1/255 is 1 to the last digit: the numbers of the file are then the numbers of the record.
    return Preprocessing(
        _three([(value + offset) / scale for value in mean]), _three([value / scale for value in std]),
        _side(wanted) or size,
    )  # fmt: skip


def _three(values: Any) -> RGB | None:
    """Three numbers; None where `values` are no such thing, as of a network of grey images."""
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 3:
        return None
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _side(size: Any) -> int | None:
    """The side of square images: of S, [S], [S, S], or a mapping with height and width or one edge; else None."""
    if isinstance(size, Mapping) or hasattr(size, "shortest_edge"):
        said = size if isinstance(size, Mapping) else vars(size)
        edges = [said.get(name) for name in ("height", "width")]
        size = [edge for edge in edges if edge] or said.get("shortest_edge")
    sides = set(size) if isinstance(size, Sequence) else {size}
    side = sides.pop() if len(sides) == 1 else None
    return side if isinstance(side, int) and side > 0 else None
