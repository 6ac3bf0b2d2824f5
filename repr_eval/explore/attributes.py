"""Attributes that somebody gave to some rows of a packed array by hand, as data for a probe.

A list is a JSON file. `images` has a row of the array each, the first 16 hex digits of the SHA-256
of its bytes, and true or false for the attributes that could be told. So a list is bound to the
images it was made of: of any other array it is refused. `attributes` says of each what true and
false mean, and what they are of the mirror image, "same" or "opposite". The list `faces64` ships.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repr_eval.gan.unlabelled import UnlabelledImages
from repr_eval.images.labelled import LabelledImages, Split, make_split
from repr_eval.images.own_data import stratified
from repr_eval.system.json_text import read_object

FORMAT = "repr-eval attributes"
SHIPPED = {"faces64": Path(__file__).with_name("faces64.json")}
TEST_SHARE = 0.3  # of the images with the attribute, and of those without
DIGITS = 16  # of each image's SHA-256
NEEDS = f'needs a JSON file with "format": "{FORMAT}", "attributes" and "images" (docs/explore.md)'


@dataclass(frozen=True)
class Attributes:
    """A list: `meanings` by attribute, with "mirrored"; `images`, as the file has them; its name."""

    name: str
    meanings: dict[str, dict[str, str]]
    images: list[dict[str, Any]]


def read_attributes(source: str) -> Attributes:
    """The list called `source`, a shipped one, or the file `source`. ValueError where it is none."""
    path = SHIPPED.get(source, Path(source))
    if not path.is_file():
        raise ValueError(f"`labels` {source}: no such file, nor a list that ships ({', '.join(SHIPPED)})")
    try:
        content = read_object(path)
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        meanings, images = content["attributes"], content["images"]
        for image in images:
            if not isinstance(image["row"], int) or len(image["sha256"]) != DIGITS:
                raise ValueError(f"row {image['row']!r} with sha256 {image['sha256']!r}")
            for name in meanings:
                if image.get(name) not in (True, False, None):
                    raise ValueError(f"row {image['row']}: {name} is {image[name]!r}, neither true nor false")
        if any(meaning["mirrored"] not in ("same", "opposite") for meaning in meanings.values()):
            raise ValueError("mirrored is neither same nor opposite")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        told = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"`labels` {source}: not a list of attributes ({told}); {NEEDS}") from error
    return Attributes(path.stem, meanings, images)


def pixel_hash(image: np.ndarray) -> str:
    """The first 16 hex digits of the SHA-256 of an image uint8 [S, S, 3]."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()[:DIGITS]


def labelled(data: UnlabelledImages, listed: Attributes, attribute: str) -> LabelledImages:
    """The listed images of `data` of which `attribute` is known, with their mirror images.

    The classes are "not ATTRIBUTE" and ATTRIBUTE; 30% of each are test images, always the same
    ones; mirror images stay on the side of their originals. ValueError where the list does not have
    the attribute, or a row of `data` is not the image that was labelled.
    """
    if attribute not in listed.meanings:
        names = ", ".join(listed.meanings)
        raise ValueError(f"`attribute` {attribute!r}: the list {listed.name} has {names}")
    told = [image for image in listed.images if image.get(attribute) is not None]
    for image in listed.images:
        row = image["row"]
        if not 0 <= row < len(data.images) or pixel_hash(data.images[row]) != image["sha256"]:
            raise ValueError(
                f"`labels` {listed.name}: row {row} of {data.description} is not the image that was "
                "labelled (SHA-256); the list goes with the array it was made of"
            )
    labels = np.array([image[attribute] for image in told], np.int64)
    if len(np.unique(labels)) < 2:
        raise ValueError(f"`attribute` {attribute!r}: the list {listed.name} has no images with it, or none without")
    images = np.stack([data.images[image["row"]] for image in told])
    opposite = listed.meanings[attribute]["mirrored"] == "opposite"
    train, test = (_with_mirrored(s, opposite) for s in stratified(make_split(images, labels), TEST_SHARE, 0))
    name = f"{attribute} of {len(told)} images of {data.description}, list {listed.name}, and their mirror images"
    return LabelledImages(name, train, test, (f"not {attribute}", attribute), verified=False)


def _with_mirrored(split: Split, opposite: bool) -> Split:
    images = np.concatenate([split.images, split.images[:, :, ::-1]])
    return make_split(images, np.concatenate([split.labels, 1 - split.labels if opposite else split.labels]))
