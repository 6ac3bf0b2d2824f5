"""Devices by name, and the types that they compute fast in."""

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


def computes_bfloat16(device: "torch.device") -> bool:
    """Whether `device` has units for bfloat16; without them it is 10 to 50 times slower than float32."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    at_hand = torch.cpu.get_capabilities()
    return device.type == "cpu" and any(at_hand.get(unit) for unit in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16"))
