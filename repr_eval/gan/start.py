"""Networks that a training run starts from, instead of random weights: published ones, D's and perhaps G's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from repr_eval.gan.networks import Discriminator, Generator
from repr_eval.gan.pretrained import find_both
from repr_eval.gan.settings import TrainingSettings
from repr_eval.gan.weights import WeightsInfo, load_network, weights_hash
from repr_eval.gan.widen import widened
from repr_eval.system.random_streams import generator_for


@dataclass(frozen=True)
class Start:
    """A discriminator, and a generator or None: then G starts from random weights."""

    discriminator: Discriminator
    generator: Generator | None
    infos: dict[str, WeightsInfo]  # by network
    sources: dict[str, str]  # file names, by network
    is_widened: bool = False

    def widened(self, seed: int) -> "Start":
        """The same with networks of twice the width that compute nearly the same (`repr_eval.gan.widen`)."""
        generators = [generator_for(seed, "widen", index) for index in range(2)]
        discriminator = widened(self.discriminator, generators[0])
        assert isinstance(discriminator, Discriminator)
        generator = widened(self.generator, generators[1]) if self.generator is not None else None
        assert generator is None or isinstance(generator, Generator)
        infos = {name: replace(info, width=2 * info.width) for name, info in self.infos.items()}
        return replace(self, discriminator=discriminator, generator=generator, infos=infos, is_widened=True)

    @property
    def description(self) -> dict[str, Any]:
        """What settings.json says of it. What weights files do not hold begins anew: heads, moments, averages."""
        networks = {"discriminator": self.discriminator, "generator": self.generator}
        told: dict[str, Any] = {
            name: {
                "weights_sha256": weights_hash(network),
                "images_seen": self.infos[name].images_seen,
                "trained_on": self.infos[name].trained_on,
            }
            for name, network in networks.items()
            if network is not None
        }
        told["anew"] = ["heads", "optimisers"] + ([] if self.generator is not None else ["generator"])
        return told | ({"widened": True} if self.is_widened else {})

    def check(self, settings: TrainingSettings) -> None:
        """Raise a ValueError unless a run of these settings can start from these networks."""
        info, name = self.infos["discriminator"], self.sources["discriminator"]
        if info.layers is not None and info.layers < len(self.discriminator.arch.discriminator):
            raise ValueError(f"{name}: has only the first {info.layers} layers; training starts from whole networks")
        shape: list[tuple[str, object, object]] = [
            ("arch", info.arch, settings.arch),
            ("width", info.width, settings.width),
        ]
        for what, its, asked in shape:
            if its != asked:
                raise ValueError(
                    f"{name}: is of {what} {its}, this run of {asked}; give `{what}={its!r}`"
                    + (", or widen it (`widened`)" if what == "width" and settings.width == 2 * info.width else "")
                )
        if self.generator is None:
            return
        info, name = self.infos["generator"], self.sources["generator"]
        width = settings.width * settings.recipe.generator_width
        shape = [
            ("arch", info.arch, settings.arch),
            ("width", info.width, width),
            ("noise of length", self.generator.z_dim, settings.z_dim),
        ]
        for what, its, asked in shape:
            if its != asked:
                raise ValueError(
                    f"{name}: is a generator of {what} {its}, this run's is of {asked} (recipe "
                    f"{settings.recipe.name}); give the discriminator's file alone, and G starts from random weights"
                )


def read_start(sources: Sequence[str]) -> Start:
    """The networks that `sources` name: weights files, or names of shipped weights, which stand for D and G.

    Raises ValueError where they are not one discriminator and at most one generator.
    """
    networks: dict[str, Discriminator | Generator] = {}
    infos: dict[str, WeightsInfo] = {}
    names: dict[str, str] = {}
    for source in sources:
        for path in find_both(source):
            network, info = load_network(path)
            if info.network in networks:
                raise ValueError(f"`start`: {names[info.network]} and {path} are both a {info.network}; give one")
            networks[info.network], infos[info.network], names[info.network] = network, info, str(path)
    discriminator, generator = networks.get("discriminator"), networks.get("generator")
    if not isinstance(discriminator, Discriminator):
        raise ValueError(f"`start` {' '.join(sources)}: a generator alone; name a discriminator's weights too")
    assert generator is None or isinstance(generator, Generator)
    return Start(discriminator, generator, infos, names)
