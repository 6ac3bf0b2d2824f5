"""Networks of timm and torchvision, by their names there."""

import inspect
from typing import Any

from torch import nn

from repr_eval.representations.own_network.base import NamedNetwork, imported, near, telling
from repr_eval.representations.own_network.cached import tensors_alone
from repr_eval.representations.own_network.code import made_by
from repr_eval.representations.own_network.preprocessing import NOT_SAID, Preprocessing, of_timm, of_torchvision
from repr_eval.system.torchvision_import import torchvision_datasets

PACKAGES = ("timm", "torchvision")


def from_package(spec: str, seed: int) -> NamedNetwork:
    package, _, rest = spec.partition(":")
    name, _, weights = rest.partition(":")
    if not name:
        raise ValueError(f"encoder {spec!r}: needs the name of a network, as {package}:resnet18")
    if package == "timm" and weights not in ("", "pretrained"):
        raise ValueError(f"encoder {spec}: after timm's name comes :pretrained or nothing")
    where = f"encoder {spec}"
    with telling(where):
        torchvision_datasets()  # makes torchvision, which timm imports, importable beside any torch
    if package == "timm":
        models = imported(where, "timm", extra="timm")
    else:
        models = imported(where, "torchvision", module="torchvision.models")
    with telling(f"encoder {spec}"):
        _check_names(package, models, name, weights)

    def build() -> nn.Module:
        if package == "timm":
            return models.create_model(name, pretrained=bool(weights), num_classes=0)
        wanted = {"": None, "pretrained": "DEFAULT"}.get(weights, weights)
        # Networks that are built on another one bring that one's trained weights along, unless told not to.
        backbone = "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters
        return models.get_model(name, weights=wanted, **{"weights_backbone": None} if backbone else {})

    with telling(f"encoder {spec}"), tensors_alone():
        made = made_by(build, seed)
        preprocessing = _preprocessing(package, models, name, weights, made)
    return NamedNetwork(
        kind=package,
        name=f"{package} {name}, {weights or 'untrained'}",
        made=made,
        trained_on="not said" if weights else "nothing",
        preprocessing=preprocessing,
    )


def _preprocessing(package: str, models: Any, name: str, weights: str, made: object) -> Preprocessing:
    """What the weights were trained with. Nothing is said of an untrained network, whatever timm has for its name."""
    if not weights:
        return NOT_SAID
    if package == "timm":
        return of_timm(made)
    trained = models.get_model_weights(name)
    return of_torchvision(
        trained["DEFAULT" if weights == "pretrained" else weights.removeprefix(f"{trained.__name__}.")]
    )


def _check_names(package: str, models: Any, name: str, weights: str) -> None:
    """ValueError, with names that would do, unless the package has a network `name` and torchvision such `weights`."""
    known = models.list_models()
    # timm's may end in a tag of their weights; torchvision takes capitals for small letters.
    if (name.partition(".")[0] if package == "timm" else name.lower()) not in known:
        raise ValueError(f"{package} has no network {name!r}; it has {near(name, known)}")
    if package == "torchvision" and weights not in ("", "pretrained"):
        trained = models.get_model_weights(name)
        if weights.removeprefix(f"{trained.__name__}.") not in trained.__members__:
            raise ValueError(
                f"{weights!r} names no weights of {name}; after the second colon comes pretrained or one of "
                f"{near(weights, list(trained.__members__))}"
            )
