"""What a training step has to compute, from the layers' shapes, and how fast the machine computes just that.

A step of the paper's recipe, on a batch of real and one of fake images: D forward, the gradients of its weights and of
its maps (but not of the images) on both; for G's update D forward and the gradient of its maps, images included; G
forward and both gradients (but not of the noise). An operation is one multiplication or one addition.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from repr_eval.gan.architectures import Architecture, scaled
from repr_eval.gan.networks import GRID

REPEATS = 5
CALLS = {"cpu": 1, "cuda": 50}  # calls that are timed together: a GPU is only waited for after the last of them


@dataclass(frozen=True)
class Convolution:
    """A strided convolution from `before` maps of `side` pixels to `after` maps; G's are run backwards."""

    before: int
    after: int
    side: int
    stride: int
    kernel: int

    def operations(self, n: int) -> float:
        """Of n images, for one of: the maps, the gradient of the input, the gradient of the weights."""
        return 2.0 * n * self.before * self.after * self.kernel**2 * (self.side // self.stride) ** 2


def discriminator_convolutions(arch: Architecture, width: float) -> list[Convolution]:
    convolutions, before, side = [], 3, arch.image_size
    for maps, (_, stride) in zip(arch.maps(width), arch.discriminator, strict=True):
        convolutions.append(Convolution(before=before, after=maps, side=side, stride=stride, kernel=arch.kernel))
        before, side = maps, side // stride
    return convolutions


def generator_convolutions(arch: Architecture, width: float) -> list[Convolution]:
    """As the convolutions of which they are the transposes: from G's output side to its input side."""
    convolutions, before, side = [], scaled(arch.generator_base, width), GRID
    for maps, stride in arch.generator:
        after = maps if maps == 3 else scaled(maps, width)
        side *= stride
        convolutions.append(Convolution(before=after, after=before, side=side, stride=stride, kernel=arch.kernel))
        before = after
    return convolutions


def step_work(arch: Architecture, width: float) -> Counter[tuple[Convolution, str]]:
    """How often a step needs each convolution's "maps", "input gradient" and "weight gradient"."""
    work: Counter[tuple[Convolution, str]] = Counter()
    for number, conv in enumerate(discriminator_convolutions(arch, width)):
        work[conv, "maps"] += 3
        work[conv, "weight gradient"] += 2
        work[conv, "input gradient"] += 3 if number else 1
    for conv in generator_convolutions(arch, width):
        # Of a transposed convolution: its output, the gradient of its input, the gradient of its weights.
        work[conv, "input gradient"] += 1
        work[conv, "maps"] += 1
        work[conv, "weight gradient"] += 1
    return work


def operations(work: Counter[tuple[Convolution, str]], n: int) -> float:
    """Operations of a step with n real and n fake images."""
    return sum(times * conv.operations(n) for (conv, _), times in work.items())


def seconds_alone(conv: Convolution, part: str, n: int, dtype: torch.dtype, device: torch.device) -> float:
    """The best time of one part of one convolution, by itself, channels-last."""
    c = conv
    form: dict[str, Any] = {"dtype": dtype, "device": device}
    x = torch.randn(n, c.before, c.side, c.side, **form).to(memory_format=torch.channels_last)
    w = torch.randn(c.after, c.before, c.kernel, c.kernel, **form).to(memory_format=torch.channels_last)
    y = F.conv2d(x, w, None, c.stride, c.kernel // 2)
    wanted = [part == "input gradient", part == "weight gradient", False]

    def backward() -> object:
        pads, ones = [c.kernel // 2] * 2, [1, 1]
        return torch.ops.aten.convolution_backward(y, x, w, None, [c.stride] * 2, pads, ones, False, [0, 0], 1, wanted)

    def forward() -> object:
        return F.conv2d(x, w, None, c.stride, c.kernel // 2)

    return best_time(forward if part == "maps" else backward, device)


def best_time(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call: the shortest of `REPEATS` times, after one to warm up."""
    times, calls = [], CALLS[device.type]
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        for _ in range(calls):
            call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append((time.perf_counter() - started) / calls)
    return min(times[1:])


def seconds_of(work: Counter[tuple[Convolution, str]], n: int, dtype: torch.dtype, device: torch.device) -> float:
    """A step's convolutions, each run by itself: the least time in which the machine could do a step."""
    return sum(times * seconds_alone(conv, part, n, dtype, device) for (conv, part), times in work.items())
