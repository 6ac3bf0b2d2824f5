"""The real images of every step, as a function of the seed and the step."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from repr_eval.gan.settings import TrainingSettings
from repr_eval.images.scale import to_unit
from repr_eval.system.random_streams import epoch_order
from repr_eval.system.ranks import ALONE, Ranks

RESIDENT_SHARE = 0.5  # of a GPU's free memory that the images may take


class Batches:
    """Batches of images uint8 [N, S, S, 3] (an array or a memory map), in each epoch's order.

    On a GPU that has room for them, all images lie there as uint8: a step then waits for no transfer. Otherwise each
    batch is read from the array and travels as uint8. Of each batch a rank gets its share.
    """

    def __init__(self, images: np.ndarray, settings: TrainingSettings, device: torch.device, ranks: Ranks = ALONE):
        self.share = ranks.share(settings.batch_size, "batch_size")
        self.images = images
        self.settings = settings
        self.device = device
        self.resident = _resident(images, device)

    def from_step(self, first: int) -> Iterator[Tensor]:
        """Float [B, 3, S, S] in [-1, 1], channels-last, for every step from `first` to the last."""
        s, order, current = self.settings, torch.empty(0), -1
        for step in range(first, s.total_steps):
            epoch, position = divmod(step, s.steps_per_epoch)
            if epoch != current:
                order, current = epoch_order(s.n_images, s.seed, epoch), epoch
                if self.resident is not None:
                    order = order.to(self.device)
            rows = order[position * s.batch_size : (position + 1) * s.batch_size][self.share]
            yield to_unit(self._rows(rows).permute(0, 3, 1, 2))

    def _rows(self, rows: Tensor) -> Tensor:
        if self.resident is not None:
            return self.resident[rows]
        batch = torch.from_numpy(self.images[rows.numpy()])
        if self.device.type == "cuda":
            return batch.pin_memory().to(self.device, non_blocking=True)
        return batch.to(self.device)


def _resident(images: np.ndarray, device: torch.device) -> Tensor | None:
    if device.type != "cuda" or images.nbytes > RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
        return None
    resident = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(images), 8192):  # a memory map is never whole in memory
        block = np.array(images[start : start + 8192])
        resident[start : start + len(block)] = torch.from_numpy(block).to(device)
    return resident
