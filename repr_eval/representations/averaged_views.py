"""Features averaged over views of an image: its mirror image, and the image shifted by two pixels.

The sets of views are frozen: another choice gets another name. The name is in the description's settings, and so in
the key of stored features and in records. The paper's protocol looks at each image once ("single").
"""

from dataclasses import replace
from typing import Self

import numpy as np
from torch import Tensor

from repr_eval.representations.base import Description, Representation
from repr_eval.representations.batched import Batched
from repr_eval.representations.feature_folder import FeatureFolder
from repr_eval.system.ranks import ALONE, Ranks

SINGLE = "single"
SHIFT = 2  # pixels of the images that the representation takes, whatever size they had before

# (rows down, columns to the right, mirrored first)
_CENTRE = ((0, 0, False),)
_SHIFTED = (*_CENTRE, (-SHIFT, 0, False), (SHIFT, 0, False), (0, -SHIFT, False), (0, SHIFT, False))
AVERAGED_VIEWS: dict[str, tuple[tuple[int, int, bool], ...]] = {
    SINGLE: _CENTRE,
    "mirror": (*_CENTRE, (0, 0, True)),
    "shifts": _SHIFTED,
    "mirror-shifts": (*_SHIFTED, *((down, right, True) for down, right, _ in _SHIFTED)),
}


def check_views(views: str) -> None:
    """ValueError unless `views` is the name of a set of views."""
    if views not in AVERAGED_VIEWS:
        raise ValueError(f"views {views!r}; choose from {', '.join(AVERAGED_VIEWS)}")


def view_of(images: np.ndarray, down: int, right: int, mirrored: bool) -> np.ndarray:
    """Images [N, H, W, 3], mirrored left to right if asked, then moved; pixels that come into sight repeat the edge."""
    if mirrored:
        images = images[:, :, ::-1]
    if not (down or right):
        return images
    rows = np.clip(np.arange(images.shape[1]) - down, 0, images.shape[1] - 1)
    columns = np.clip(np.arange(images.shape[2]) - right, 0, images.shape[2] - 1)
    return images[:, rows[:, None], columns]


def _shifts(views: str) -> bool:
    return any(down or right for down, right, _ in AVERAGED_VIEWS[views])


def described(description: Description, views: str, side: int | None = None) -> Description:
    """The description of the features averaged over `views`; as it is for the single view.

    `side` is that of the images that are shifted; None where they are as large as they come.
    """
    if views == SINGLE:
        return description
    shifted = {"shifted_at": side} if _shifts(views) else {}
    return replace(
        description,
        method=f"{description.method}, mean of {len(AVERAGED_VIEWS[views])} views ({views})",
        settings=description.settings | {"views": views} | shifted,
    )


class AveragedViews(Batched):
    """The mean of a representation's features over the views of each image.

    `fit` sees the images as they are. Images are shifted at the size that the representation takes. A block of images
    takes as many passes as there are views.
    """

    def __init__(self, representation: Batched, views: str):
        check_views(views)
        super().__init__(representation.device)
        self.representation = representation
        self.views = views
        self.block = representation.block
        self.input_size = representation.input_size
        size = self.input_size or getattr(representation, "image_size", None)
        self.description = described(representation.description, views, size)

    def fit(self, images: np.ndarray, ranks: Ranks = ALONE) -> Self:
        self.representation.fit(images, ranks)
        return self

    def check_fitted(self) -> None:
        self.representation.check_fitted()

    def features(self, images: np.ndarray) -> Tensor:
        first, *others = AVERAGED_VIEWS[self.views]
        images = self.representation.at_input_size(images) if _shifts(self.views) else images
        total = self.representation.features(view_of(images, *first))
        for view in others:
            total = total + self.representation.features(view_of(images, *view))
        return total / len(AVERAGED_VIEWS[self.views])


def seen_in_views(representation: Representation, views: str) -> Representation:
    """The representation with its features averaged over `views`; itself for the single view.

    ValueError on views of no name, and on features that depend on which images come together.
    """
    check_views(views)
    if views == SINGLE:
        return representation
    if representation.description.settings.get("bn") == "at-hand":
        raise ValueError(f"views {views}: bn at-hand takes statistics of the images at hand; use bn recomputed")
    if isinstance(representation, FeatureFolder):
        raise ValueError(f"`views` {views}: these features are made already; average them when they are extracted")
    if not isinstance(representation, Batched):
        raise ValueError(
            f"views {views}: {representation.description.method} makes no features of a block of images; inherit from "
            "repr_eval.representations.batched.Batched, or average in `transform` itself"
        )
    return AveragedViews(representation, views)
