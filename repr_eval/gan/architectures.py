"""The architectures of Radford, Metz & Chintala 2015 (arXiv 1511.06434v2) and of their released code: a table.

An architecture is one row of `ARCHITECTURES`. The networks are built from it in `repr_eval.gan.networks`; this module
imports no torch, so that help texts and settings do without it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """Layers as (maps, stride), in the order of the data; `z_dim` and `z` are the published noise."""

    name: str
    image_size: int
    kernel: int
    discriminator: tuple[tuple[int, int], ...]
    generator: tuple[tuple[int, int], ...]
    generator_base: int  # maps of G's 4x4 start
    z_dim: int
    z: str  # "uniform" on (-1, 1) or "normal"

    def maps(self, width: float) -> tuple[int, ...]:
        """Maps of every discriminator layer at this width."""
        return tuple(scaled(maps, width) for maps, _ in self.discriminator)


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        # The ImageNet model behind 28,672 features [released code, imagenet/load_pretrained.py].
        Architecture(
            name="dcgan32", image_size=32, kernel=3,
            discriminator=((128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2)),
            generator=((512, 2), (256, 1), (256, 2), (128, 1), (128, 2), (3, 1)), generator_base=512,
            z_dim=256, z="uniform",
        ),
        # The SVHN model [released code, svhn/].
        Architecture(
            name="dcgan32-svhn", image_size=32, kernel=5,
            discriminator=((64, 2), (128, 2), (256, 2)),
            generator=((128, 2), (64, 2), (3, 2)), generator_base=256,
            z_dim=100, z="normal",
        ),
        # The scene model [paper, figure 1].
        Architecture(
            name="dcgan64", image_size=64, kernel=5,
            discriminator=((128, 2), (256, 2), (512, 2), (1024, 2)),
            generator=((512, 2), (256, 2), (128, 2), (3, 2)), generator_base=1024,
            z_dim=100, z="uniform",
        ),
    )
}  # fmt: skip


def architecture_named(name: str) -> Architecture:
    """The row of `ARCHITECTURES` called `name`, or a ValueError that lists the names."""
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {name!r}; choose from {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def scaled(maps: int, width: float) -> int:
    """`maps` times `width`, rounded, at least 1."""
    if not 0 < width <= 16:
        raise ValueError(f"width {width} is not in (0, 16]")
    return max(1, round(maps * width))
