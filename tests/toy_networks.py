"""A linear generator and a D that shows what it sees: the answers of the studies are known by hand."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn

from repr_eval.explore.models import Models

SIZE = 4  # pixels of a side; the toy D's maps are not pooled


class LinearGenerator(nn.Module):
    """Noise [N, 3] -> images [N, 3, 4, 4] of one colour: red, green and blue are a quarter of z."""

    z_dim = 3
    arch = SimpleNamespace(image_size=SIZE)

    def forward(self, z: Tensor) -> Tensor:
        return (z / 4)[:, :, None, None].expand(-1, -1, SIZE, SIZE)


class SeeingDiscriminator(nn.Module):
    """Its only layer is the image."""

    def activations(self, x: Tensor) -> Iterator[Tensor]:
        yield x


def toy_models(z: str = "uniform", discriminator: bool = True) -> Models:
    """Features are each of z's three numbers over four, sixteen times: distances are those of z."""
    info: Any = SimpleNamespace(name="toy", arch="toy", width=1.0, images_seen=0, trained_on="nothing")
    return Models(
        generator=cast(Any, LinearGenerator()),
        discriminator=cast(Any, SeeingDiscriminator()) if discriminator else None,
        infos={"generator": info, "discriminator": info},
        z=z,
        device=torch.device("cpu"),
    )
