"""A denoising autoencoder [Vincent, Larochelle, Bengio & Manzagol 2008; sections: Vincent et al. 2010, JMLR 11].

The network is given a corrupted image and is to give back the clean one. Corruption [section 3.3] is by masking: a
share of the pixels, drawn anew each time, is forced to 0; or by normal noise. Pixels lie in [0, 1]. As for real-valued
images, the loss is the squared error, and the decoder's last layer is linear [section 2.2]. Features are those of the
clean image.

Differs from the paper: its layers are dense, sigmoidal and trained one after the other by gradient descent; these are
convolutional and rectified, and trained together by Adam for the error of the image alone. Its images are grey: here a
masked pixel loses its three colours together, as one colour is easily told from the other two.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repr_eval.representations.autoencoders import Autoencoder, AutoencoderFeatures, AutoencoderSettings, Training
from repr_eval.representations.batched import to_network
from repr_eval.representations.fitted import of_size


@dataclass(frozen=True)
class DenoisingSettings(AutoencoderSettings):
    """Layers of stride 2, their maps in the encoder's order; `level` is the share masked or the noise's deviation."""

    maps: tuple[int, ...]
    kernel: int
    corruption: str  # a key of CORRUPTIONS
    level: float

    def __post_init__(self) -> None:
        if not self.maps or min(self.maps) < 1:
            raise ValueError(f"maps {self.maps}: needs a layer or more, of 1 map or more")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} is not odd")
        if self.corruption not in CORRUPTIONS:
            raise ValueError(f"unknown corruption {self.corruption!r}; choose from {', '.join(CORRUPTIONS)}")
        most = 1.0 if self.corruption == "masking" else float("inf")
        if not 0 <= self.level <= most:
            raise ValueError(f"level {self.level} of {self.corruption} is not in [0, {most}]")


def masked(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Images [N, C, H, W] with round(share * H * W) pixels of each, drawn without replacement, forced to 0."""
    n, _, height, width = x.shape
    drawn = torch.rand(n, height * width, generator=generator, device=x.device).argsort(1)
    kept = torch.ones(n, height * width, dtype=x.dtype, device=x.device)
    kept.scatter_(1, drawn[:, : round(share * height * width)], 0.0)
    return x * kept.view(n, 1, height, width)


def noisy(x: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """x plus independent noise N(0, deviation^2)."""
    return x + deviation * torch.randn(x.shape, generator=generator, device=x.device)


CORRUPTIONS = {"masking": masked, "gaussian": noisy}

SIZES = {
    # Three layers, as the deepest of the paper's stacks, and a quarter of the pixels, about the best of its shares
    # [section 6]. Widths, kernels, Adam's steps and their number, 50 epochs of 50,000 images, are of this project.
    "published": DenoisingSettings(
        maps=(128, 256, 512), kernel=5, corruption="masking", level=0.25,
        training=Training(images_seen=2_500_000, batch=128, learning_rate=1e-3),
    ),
    # The convolutions of DCGAN's SVHN discriminator, for minutes on two CPU cores.
    "small": DenoisingSettings(
        maps=(64, 128, 256), kernel=5, corruption="masking", level=0.25,
        training=Training(images_seen=100_000, batch=64, learning_rate=1e-3),
    ),
}  # fmt: skip


class DenoisingAutoencoder(Autoencoder):
    """Images float [N, 3, S, S] in [0, 1]; S a multiple of 2^layers."""

    def __init__(self, settings: DenoisingSettings):
        super().__init__()
        self.corrupt, self.level = CORRUPTIONS[settings.corruption], settings.level
        kernel, sides = settings.kernel, list(pairwise((3, *settings.maps)))
        self.convs = nn.ModuleList(nn.Conv2d(below, above, kernel, 2, kernel // 2) for below, above in sides)
        self.deconvs = nn.ModuleList(
            nn.ConvTranspose2d(above, below, kernel, 2, kernel // 2, output_padding=1) for below, above in sides[::-1]
        )

    def activations(self, x: Tensor) -> Iterator[Tensor]:
        for conv in self.convs:
            x = F.relu(conv(x))
            yield x

    def forward(self, x: Tensor) -> Tensor:
        """What is made of corrupted images."""
        for h in self.activations(x):
            x = h
        for deconv in self.deconvs[:-1]:
            x = F.relu(deconv(x))
        return self.deconvs[-1](x)

    def loss(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Mean squared error of the images made of corrupted ones."""
        return F.mse_loss(self(self.corrupt(x, self.level, generator)).float(), x)


class DenoisingFeatures(AutoencoderFeatures):
    """The representation; `size` is a word for the settings in the method's name."""

    def __init__(
        self, settings: DenoisingSettings, size: str, seed: int = 0, image_size: int = 32,
        device: torch.device | None = None,
    ):  # fmt: skip
        self.settings = settings
        method, maps = f"denoising autoencoder, {size}", settings.maps
        super().__init__("denoising", method, settings, maps, len(maps), seed, image_size, device)

    def new_network(self) -> DenoisingAutoencoder:
        return DenoisingAutoencoder(self.settings)

    def to_input(self, images: np.ndarray) -> Tensor:
        return (to_network(images, self.device) + 1) / 2


def denoising_autoencoder(seed: int, device: torch.device | None = None, size: str = "published") -> DenoisingFeatures:
    """The representation with the row of `SIZES` called `size`, or a ValueError that lists them."""
    return DenoisingFeatures(of_size(SIZES, size), size, seed, device=device)
