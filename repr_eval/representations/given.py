"""Functions and objects of the user's that make features without describing themselves.

Their features are made anew each time and never stored: neither source files nor names say reliably what a function is
(it may hold other values, read other files, call changed code). What identifies them in a record is a hash of the
features themselves.
"""

import hashlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repr_eval.images.labelled import LabelledImages
from repr_eval.representations.averaged_views import AVERAGED_VIEWS, SINGLE, check_views, described, view_of
from repr_eval.representations.base import Description
from repr_eval.representations.extraction import PRECISIONS, Extracted
from repr_eval.representations.own_network.network import BLOCK, arranged, checked

OWN_DEVICE = "device not said"


class Given:
    """A function images uint8 [N, S, S, 3] -> features float [N, D], or an object with `fit` and `transform`.

    The features are the mean over the `views` of each image. Attributes `method_name`, `trained_on` and `device` of it
    say in records what it is called, what its weights have seen and where it runs.
    """

    def __init__(self, given: Any, views: str = SINGLE):
        check_views(views)
        self.given, self.views = given, views
        self.learns = hasattr(given, "fit") and hasattr(given, "transform")
        self.name = str(getattr(given, "method_name", getattr(given, "__name__", type(given).__name__)))

    def extracted(self, data: LabelledImages, precision: str = "float16") -> Extracted:
        """The features of both splits; ValueError where they are not float [N, D], finite and the same in any batch."""
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r}; choose from {', '.join(PRECISIONS)}")
        started = time.perf_counter()
        function: Callable[[np.ndarray], object] = self.given
        if self.learns:
            self.given.fit(data.train.images)
            function = self.given.transform
        checked(lambda images: [self._block(function, images)], data.train.images.shape[1], self.name)
        train, test = (self._features(function, split.images, precision) for split in (data.train, data.test))
        digest = hashlib.sha256(train.data)
        digest.update(test.data)
        settings = {"representation": "given", "kind": "transform" if self.learns else "function"}
        description = Description(
            method=self.name,
            trained_on=str(getattr(self.given, "trained_on", "the training images" if self.learns else "not said")),
            layers="-",
            n_features=train.shape[1],
            max_units=None,
            settings=settings | {"features_sha256": digest.hexdigest()},
        )
        return Extracted(
            data=data,
            description=described(description, self.views, data.train.images.shape[1]),
            train=train,
            test=test,
            precision=precision,
            device=str(getattr(self.given, "device", OWN_DEVICE)),
            seconds=time.perf_counter() - started,
        )

    def _features(self, function: Callable[[np.ndarray], object], images: np.ndarray, precision: str) -> np.ndarray:
        """Float [N, D] of this precision, contiguous."""
        blocks: list[np.ndarray] = []
        for start in range(0, len(images), BLOCK):
            made = self._block(function, images[start : start + BLOCK]).flatten(1).numpy()
            if blocks and made.shape[1] != blocks[0].shape[1]:
                raise ValueError(
                    f"{self.name} gives image {start} {made.shape[1]:,} features and image 0 {blocks[0].shape[1]:,}"
                )
            with np.errstate(over="ignore"):  # infinity is refused next
                blocks.append(made.astype(precision))
            if not np.isfinite(blocks[-1]).all():
                row = start + int(np.isfinite(blocks[-1]).all(1).argmin())
                raise ValueError(
                    f"the features of image {row} hold NaN or infinity as {precision} "
                    "(float16 reaches 65,504; float32 goes further)"
                )
        return np.concatenate(blocks)

    def _block(self, function: Callable[[np.ndarray], object], images: np.ndarray) -> Tensor:
        """Float32 [n, D, 1] of some images."""
        made = [self._one_view(function, view_of(images, *view)) for view in AVERAGED_VIEWS[self.views]]
        if len({part.shape for part in made}) > 1:
            raise ValueError(f"{self.name} gives different views of an image different numbers of features")
        return torch.stack(made).mean(0) if len(made) > 1 else made[0]

    def _one_view(self, function: Callable[[np.ndarray], object], images: np.ndarray) -> Tensor:
        """Float32 [n, D, 1] of some images, which the function gets a copy of."""
        made = function(np.array(images))
        if isinstance(made, Tensor):
            made = made.detach().cpu().numpy()
        if not isinstance(made, np.ndarray) or made.ndim != 2 or len(made) != len(images) or made.dtype.kind != "f":
            what = f"{made.dtype} {list(made.shape)}" if isinstance(made, np.ndarray) else type(made).__name__
            raise ValueError(f"{self.name} gives {what} for {len(images)} images; needs an array, float [N, D]")
        return arranged(torch.from_numpy(made.astype(np.float32)), len(images), self.name)
