"""FID, KID and the Inception score of samples, by torch-fidelity (the extra `fidelity`), for people who expect them.

They are what that package makes of them: its Inception network, its rules. Samples are drawn in
batches of 64 that are normalised by their own statistics, as in training. FID falls with the number
of images even where both sides are of the same kind: compare it at equal numbers only.
"""

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from repr_eval.gan.networks import Generator
from repr_eval.gan.samples import generate
from repr_eval.system.random_streams import draw_noise, generator_for, random_state_for
from repr_eval.system.torchvision_import import torchvision_datasets

EXTRA = "pip install 'repr-eval[fidelity]'"
BATCH = 64  # samples that are normalised together
SUBSET = 1000  # of KID, at most: torch-fidelity's own
NAMES = {
    "fid": "frechet_inception_distance",
    "kid": "kernel_inception_distance_mean",
    "kid_std_of_subsets": "kernel_inception_distance_std",
    "inception_score": "inception_score_mean",
    "inception_score_std_of_splits": "inception_score_std",
}


class Images(Dataset[Tensor]):
    """Images uint8 [N, S, S, 3] as torch-fidelity takes them: uint8 [3, S, S], one at a time."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Tensor:
        return torch.from_numpy(np.array(self.images[row])).permute(2, 0, 1)


def package() -> ModuleType:
    """torch-fidelity; ValueError, which names the extra, where it is not installed."""
    try:
        torchvision_datasets()  # makes torchvision, which torch-fidelity imports, importable beside any torch
        return importlib.import_module("torch_fidelity")
    except ImportError as error:
        raise ValueError(f"`fidelity` needs torch-fidelity, which is not installed ({error}): {EXTRA}") from error


def drawn(generator: Generator, n: int, z: str, seed: int) -> np.ndarray:
    """n samples uint8 [n, S, S, 3], on the device of the generator."""
    draws, device = generator_for(seed, "samples", 7), next(generator.parameters()).device
    batches = [draw_noise(BATCH, generator.z_dim, z, draws).to(device) for _ in range(-(-n // BATCH))]
    return np.concatenate([generate(generator, batch) for batch in batches])[:n]


def chosen(real: np.ndarray, n: int, seed: int) -> np.ndarray:
    """n random ones (all, of fewer) of real images uint8 [N, S, S, 3]."""
    return np.asarray(real[np.sort(random_state_for("explore/fidelity", seed).permutation(len(real))[:n])])


def measure(samples: np.ndarray, real: np.ndarray, cuda: bool = False) -> dict[str, Any]:
    """FID, KID and Inception score of samples uint8 [N, S, S, 3], the first two against `real` ones.

    ValueError where torch-fidelity is missing, has no weights of its network, or refuses the images.
    """
    fewest = min(len(samples), len(real))
    if fewest < 2:
        raise ValueError(f"{len(samples)} samples and {len(real)} real images: fidelity needs 2 of each or more")
    name = package()
    try:
        made = name.calculate_metrics(
            input1=Images(samples), input2=Images(real), cuda=cuda, fid=True, kid=True, isc=True,
            kid_subset_size=min(SUBSET, fewest), save_cpu_ram=True, verbose=False,
        )  # fmt: skip
    except OSError as error:  # urllib's errors are OSErrors
        raise ValueError(
            f"`fidelity`: torch-fidelity could not load the weights of its Inception network ({error}); it "
            "downloads them once, so try again with a network, or put the file into torch's cache"
        ) from error
    except Exception as error:  # of another's code, of whatever kind
        raise ValueError(f"`fidelity`: torch-fidelity failed: {type(error).__name__}: {error}") from error
    told = {own: float(made[theirs]) for own, theirs in NAMES.items()}
    return told | {
        "samples": len(samples),
        "real_images": len(real),
        "torch_fidelity": str(getattr(name, "__version__", "unknown")),
    }


def in_words(numbers: dict[str, Any]) -> list[str]:
    """The numbers in one line."""
    return [
        f"FID {numbers['fid']:.2f}, KID {numbers['kid']:.4f} (std of subsets {numbers['kid_std_of_subsets']:.4f}), "
        f"Inception score {numbers['inception_score']:.2f}: {numbers['samples']:,} samples, "
        f"{numbers['real_images']:,} real images, torch-fidelity {numbers['torch_fidelity']}"
    ]
