"""What is wrong with the options of an evaluation, as far as that can be said without torch: at once."""

from pathlib import Path
from typing import Any

from repr_eval.cli import options
from repr_eval.cli.evaluation_options import AVERAGED_VIEWS, FINE_TUNED, METHODS, NEIGHBOURS, SUPERVISED_CNNS
from repr_eval.datasets import DATASETS, dataset_named
from repr_eval.gan.architectures import scaled
from repr_eval.gan.pretrained import best, find_weights, is_untrained
from repr_eval.images.data_dir import data_root
from repr_eval.system.json_text import read_object


def check(settings: dict[str, Any], everything: bool = False) -> None:
    """Raise a ValueError for the first option that is impossible, or does not go with the others."""
    if everything:
        _check_comparison(settings)
    check_representation(settings)
    classifier, views = settings["classifier"], settings["views"]
    if classifier in SUPERVISED_CNNS and settings["weights"] != "pixels":
        raise ValueError(f"--classifier {classifier} is trained on the images themselves: give it --weights pixels")
    if classifier in SUPERVISED_CNNS and views != AVERAGED_VIEWS[0]:
        raise ValueError(f"--classifier {classifier} is trained on the images themselves: leave out --views {views}")
    if classifier in FINE_TUNED:
        _check_fine_tuning(settings)
    grid_of(settings)


def _check_fine_tuning(settings: dict[str, Any]) -> None:
    """Raise a ValueError for the first option that does not go with training the network of --weights."""
    option = f"--classifier {settings['classifier']}"
    weights, bn, views, layers = (settings.get(name) for name in ("weights", "bn", "views", "layers"))
    discriminator = f"{option} trains a discriminator: give --weights a .safetensors file, a name from pretrained/ or "
    if settings["encoder"] is not None:
        raise ValueError(f"{discriminator}random, and leave out --encoder")
    if weights in METHODS or (weights and _is_feature_folder(weights)):
        raise ValueError(f"{discriminator}random; {weights} is none")
    if bn != "recomputed":
        raise ValueError(f"{option} takes batch-norm statistics from the labelled images: leave out --bn {bn}")
    if views != AVERAGED_VIEWS[0]:
        raise ValueError(f"{option} trains the network on images as they are: leave out --views {views}")
    if layers is not None:
        raise ValueError(f"{option} trains the whole network: leave out --layers {layers}")


def check_representation(settings: dict[str, Any]) -> None:
    """Raise a ValueError for the first impossible option of those that say what is evaluated."""
    _check_weights_and_network(settings)
    if settings.get("layers") is not None:
        options.layer_range(settings["layers"])
    views = settings["views"]
    if settings["bn"] == "at-hand" and views != AVERAGED_VIEWS[0]:
        raise ValueError(f"--bn at-hand takes statistics of the images at hand: leave out --views {views}")
    three_of("mean", settings)
    three_of("std", settings)


def check_extraction(settings: dict[str, Any]) -> None:
    """Raise a ValueError for the first impossible option of a command that makes features and no more."""
    check_representation(settings)
    weights = settings["weights"]
    if weights and weights not in METHODS and _is_feature_folder(weights) and options.is_given("seed"):
        raise ValueError(f"--seed {settings['seed']}: {weights} holds features that are made already; leave it out")


def check_data(dataset: str, settings: dict[str, Any]) -> None:
    """Raise a ValueError where the data set is not in the folder to look in, and is not to be fetched."""
    row, root = dataset_named(dataset), data_root(settings["data_dir"])
    if row.find and not (settings["download"] or root.own) and row.find(root.path) is None:
        row.load(root, False)  # says what it looked for


def check_any_data(settings: dict[str, Any]) -> None:
    """Raise a ValueError where --data names nothing that could be read."""
    spec = settings["data"]
    if spec in DATASETS:
        if settings["data_size"] or settings["test_share"]:
            raise ValueError(f"--data {spec}: has its own size and test images; leave out --data-size and --test-share")
        if DATASETS[spec].has_files:
            check_data(spec, settings)
    elif spec.partition(":")[0] not in ("torchvision", "hf") and not Path(spec).exists():
        raise ValueError(
            f"--data {spec}: no such data set, folder or file; needs {', '.join(DATASETS)}, a folder of class folders, "
            "a .npz or .csv file, torchvision:NAME or hf:NAME"
        )


def _check_comparison(settings: dict[str, Any]) -> None:
    for name in ("weights", "encoder", "layers", "grid"):
        if settings[name] is not None:
            raise ValueError(f"--all compares everything; leave out --{'C' if name == 'grid' else name}")
    if settings["classifier"] != "svm":
        raise ValueError("--all compares every classifier; leave out --classifier")


def _check_weights_and_network(settings: dict[str, Any]) -> None:
    weights, bn = settings["weights"], settings["bn"]
    scaled(1, settings["width"])
    if not is_untrained(weights) and (settings["arch"] != "dcgan32" or settings["width"] != 1.0):
        raise ValueError("--arch and --width apply only to --weights random; other weights fix their own architecture")
    if settings["encoder"] is not None:
        if weights is not None:
            raise ValueError("--encoder and --weights both name what is evaluated; leave one of them out")
        if bn != "recomputed":
            raise ValueError(f"--bn {bn}: a network of --encoder is taken as it is; leave it out")
        return
    for name in ("pool", "image_size", "mean", "std"):
        if settings[name] is not None:
            raise ValueError(f"--{name.replace('_', '-')} describes the network of --encoder, and none is given")
    if weights in METHODS:
        if bn != "recomputed":
            raise ValueError(f"--bn {bn}: {weights} has no batch norm; leave it out")
    elif weights and _is_feature_folder(weights):
        if bn != "recomputed":
            raise ValueError(f"--bn {bn}: {weights} holds features that are made already; leave it out")
        if options.is_given("store_as") and settings["store_as"] != (stored := _stored_as(Path(weights))):
            raise ValueError(f"--store-as {settings['store_as']}: {weights} holds features in {stored}; leave it out")
    elif not is_untrained(weights):
        find_weights(weights or best())
    elif bn == "running":
        raise ValueError("--bn running: untrained weights have no statistics of their own; use --bn recomputed")


def _is_feature_folder(weights: str) -> bool:
    """As `repr_eval.representations.feature_folder` tells, without torch."""
    return (Path(weights) / "features.json").is_file()


def _stored_as(folder: Path) -> object:
    """The type of the features in a folder, as its sidecar says; who reads them checks the sidecar."""
    try:
        return read_object(folder / "features.json")["precision"]
    except (OSError, ValueError, KeyError):
        return "a type that its features.json does not say"


def three_of(name: str, settings: dict[str, Any]) -> tuple[float, float, float] | None:
    """The three numbers of --mean or --std; None where it is not given."""
    text = settings[name]
    if text is None:
        return None
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(
            f"--{name} {text!r}: needs three numbers separated by commas, for red, green and blue"
        ) from error
    return red, green, blue


def grid_of(settings: dict[str, Any]) -> tuple[float, ...] | None:
    """The values of --C, or None where it is not given."""
    text, classifier = settings["grid"], settings["classifier"]
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"--C {text!r}: needs numbers separated by commas, such as 1e-4,1e-3") from error
    numbered = classifier in SUPERVISED_CNNS + FINE_TUNED  # configurations, from 0
    if not all((value > 0 or (numbered and value == 0)) and value < float("inf") for value in values):
        raise ValueError(f"--C {text!r}: every value must be {'0 or more' if numbered else 'above 0'} and finite")
    for value in values:
        if classifier in NEIGHBOURS and value != int(value):
            raise ValueError(f"--C {value:g}: must be a whole number of neighbours, 1 or more")
    return values
