"""scikit-learn's bundled handwritten digits (Alpaydin & Kaynak 1998): 1,797 grey 8x8 images, at 32x32."""

import numpy as np
from PIL import Image

from repr_eval.images.labelled import LabelledImages, make_split

CLASSES = tuple("0123456789")
N_TRAIN = 1_000
NAME = "handwritten digits"
FINGERPRINTS = (  # of the training and the test images
    "011b989980d5342bfe8ea58bfbaa5810985790fbc4ed8fdc3af576c1da1ccee8",
    "1698b0c71bcbd2022ccda51d907fc35c8f71454a7ace1fc100e7611ae5aafc84",
)


def load_handwritten_digits() -> LabelledImages:
    """The digits, enlarged to uint8 [N, 32, 32, 3] by a bicubic filter, grey repeated in three channels.

    The first 1,000 images, of writers that the other 797 do not share in the main, are the training split.
    """
    from sklearn.datasets import load_digits  # here: those who want the names alone need not wait for it

    bundle = load_digits()
    grey = np.rint(bundle.images * (255 / 16)).astype(np.uint8)
    large = [np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)) for image in grey]
    images = np.repeat(np.stack(large)[..., None], 3, axis=3)
    labels = bundle.target.astype(np.int64)
    return LabelledImages(
        name=NAME,
        train=make_split(images[:N_TRAIN], labels[:N_TRAIN]),
        test=make_split(images[N_TRAIN:], labels[N_TRAIN:]),
        classes=CLASSES,
        verified=True,
        dataset="digits",
    )
