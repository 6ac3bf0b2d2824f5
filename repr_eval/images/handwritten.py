"""scikit-learn's bundled handwritten digits (Alpaydin & Kaynak 1998): 1,797 grey 8x8 images, at 32x32."""

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from repr_eval.images.labelled import LabelledImages, make_split

CLASSES = tuple("0123456789")
N_TRAIN = 1_000


def load_handwritten_digits() -> LabelledImages:
    """The digits, enlarged to uint8 [N, 32, 32, 3] by a bicubic filter, grey repeated in three channels.

    The first 1,000 images, of writers that the other 797 do not share in the main, are the training split.
    """
    bundle = load_digits()
    grey = np.rint(bundle.images * (255 / 16)).astype(np.uint8)
    large = [np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)) for image in grey]
    images = np.repeat(np.stack(large)[..., None], 3, axis=3)
    labels = bundle.target.astype(np.int64)
    return LabelledImages(
        name="handwritten digits",
        train=make_split(images[:N_TRAIN], labels[:N_TRAIN]),
        test=make_split(images[N_TRAIN:], labels[N_TRAIN:]),
        classes=CLASSES,
        verified=True,
        dataset="digits",
    )
