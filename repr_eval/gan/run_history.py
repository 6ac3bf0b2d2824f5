"""On what a run was trained: a line for every stretch of it on one machine, kept in its settings.json.

A run that goes on with the same torch, on the same kind of device, with as many threads, ends with the same bits as one
that was never stopped. On another it ends with numbers as good, and its history says so.
"""

from typing import Any

import torch

from repr_eval.system.provenance import commit, machine, versions


def stretch(step: int, device: torch.device) -> dict[str, Any]:
    """What this process trains with, from `step` on."""
    return {
        "from_step": step, "device": device.type, "threads": torch.get_num_threads(), "machine": machine(str(device)),
        "commit": commit(), "versions": versions(),
    }  # fmt: skip


def continued(past: list[dict[str, Any]], now: dict[str, Any]) -> list[dict[str, Any]]:
    """The history with `now` in it: stretches of which nothing is left are dropped, one like the last is its part."""
    past = [stage for stage in past if stage["from_step"] < now["from_step"]]
    if past and past[-1] | {"from_step": 0} == now | {"from_step": 0}:
        return past
    return [*past, now]


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """In words, what differs between two stretches of all that decides the last bits."""
    old, new = _deciding(before), _deciding(now)
    return [f"{name} {old[name]} -> {new[name]}" for name in new if old[name] != new[name]]


def _deciding(now: dict[str, Any]) -> dict[str, Any]:
    return {"device": now["device"], "threads": now["threads"], "torch": now["versions"]["torch"]}
