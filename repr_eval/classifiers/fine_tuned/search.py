"""The search of a fine-tuning: which configurations there are, and how long a network is trained.

A grid of learning rate and weight decay, as Kornblith, Shlens & Le 2019 (Do better ImageNet models
transfer better?) search for their fine-tuning, and of the trunk's learning rate as a share of the
head's. Radford, Metz & Chintala 2015 leave fine-tuning for future work (section 5.1): nothing here
is from their paper. The ranges were found on training images of scikit-learn's digits.
"""

from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Configuration:
    """The hyperparameters of a fine-tuning, by AdamW [Loshchilov & Hutter 2019]."""

    lr: float  # of the head, the schedule's highest
    trunk: float  # the convolutions' and batch norms' rate as a share of it
    weight_decay: float  # decoupled, of convolutions and head; not of batch norm and offsets


@dataclass(frozen=True)
class Search:
    """The values that are combined, and the length of trainings; a used row never changes.

    A training sees its images `epochs` times, but in the search at most `search_images` and for the
    test at most `test_images` of them, counting repeats (None: no limit). The schedule ends with
    it.
    """

    size: str
    lrs: tuple[float, ...]
    trunks: tuple[float, ...]
    weight_decays: tuple[float, ...]
    folds: int | None  # the first so many of the protocol's judge; None for all
    epochs: int
    batch_size: int = 32  # or all images, where there are fewer
    search_images: int | None = None
    test_images: int | None = None

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """Every combination; a configuration's number is its place here, from 0."""
        return tuple(Configuration(*values) for values in product(self.lrs, self.trunks, self.weight_decays))

    def n_seen(self, n: int, use: str) -> int:
        """How many images a training on n for the "search" or the "test" sees, repeats counted."""
        most = {"search": self.search_images, "test": self.test_images}[use]
        return self.epochs * n if most is None else min(self.epochs * n, most)


SIZES = {
    search.size: search
    for search in (
        # Every fold, and as many epochs as the supervised CNN has.
        Search(
            size="full",
            lrs=(1e-3, 3e-3, 1e-2),
            trunks=(0.1, 0.3),
            weight_decays=(0.01, 0.3),
            folds=None,
            epochs=100,
        ),
        # For two cores: minutes with a hundred labels, hours with all of CIFAR-10's.
        Search(
            size="small",
            lrs=(3e-3, 1e-2),
            trunks=(0.1, 0.3),
            weight_decays=(0.1,),
            folds=2,
            epochs=20,
            search_images=80_000,
            test_images=400_000,
        ),
    )
}
