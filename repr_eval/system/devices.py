"""Devices by name."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def chosen_device(name: str) -> "torch.device":
    """The device called `name`; auto is CUDA where there is one. ValueError on one that is not there."""
    import torch

    if name == "auto":
        # Of several ranks on GPUs each has its own (`repr_eval.system.ranks`).
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError("repr-eval runs on cpu, cuda and mps")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f'device {name!r} is not available here ({str(error).splitlines()[0]}); try `device="cpu"`'
        ) from error
    return device
