"""Speed of training: images a second against a plain DCGAN, against the machine's arithmetic; fixed costs.

    python -m benchmarks.train --width 0.5 --width 1

All contenders are run in turns, so that a busier minute of the machine meets each. Writes train.json, and train.md from
it, to benchmarks/results.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from safetensors.torch import load_file

from benchmarks.arithmetic import operations, seconds_of, step_work
from benchmarks.plain_dcgan import PlainGan
from repr_eval.gan.architectures import architecture_named
from repr_eval.gan.checkpoint import save_checkpoint
from repr_eval.gan.recipes import recipe_named
from repr_eval.gan.settings import TrainingSettings
from repr_eval.gan.training import train
from repr_eval.reporting.render import Column, to_markdown
from repr_eval.system.files import write_text
from repr_eval.system.progress import silent
from repr_eval.system.provenance import commit, machine, versions

RESULTS = Path(__file__).resolve().parent / "results" / "train.json"
N_IMAGES = 4096
ARCH = "dcgan32"
TIMED = ("paper", "contrastive")  # recipes


def noise_images() -> np.ndarray:
    """Speed does not depend on what the images show."""
    return np.random.default_rng(0).integers(0, 256, (N_IMAGES, 32, 32, 3), dtype=np.uint8)


class Ours:
    """`repr_eval.gan.training.train` as the command runs it, its steps timed from outside."""

    def __init__(self, settings: TrainingSettings, device: torch.device):
        self.settings, self.device = settings, device

    def seconds(self, steps: int) -> list[float]:
        """Of `steps` steps, each with its batch's loading; the first, which warms up, is left out.

        On a GPU, which is only waited for before and after them, each counts as their mean.
        """
        times: list[float] = []

        def stop() -> bool:
            if self.device.type == "cuda" and len(times) in (0, steps):
                torch.cuda.synchronize(self.device)
            times.append(time.perf_counter())
            return len(times) > steps

        with silent(), tempfile.TemporaryDirectory() as folder:
            settings = replace(self.settings, max_steps=steps + 1)
            train(noise_images(), settings, Path(folder), device=self.device, stop=stop)
        return on_device(list(np.diff(times)), self.device)


def on_device(seconds: list[float], device: torch.device) -> list[float]:
    """Seconds of steps, as timed on a CPU; on a GPU, where a step only asks for its work, their mean for each."""
    return seconds if device.type == "cpu" else [sum(seconds) / len(seconds)] * len(seconds)


def plain_seconds(gan: PlainGan, steps: int) -> list[float]:
    times = [time.perf_counter()]
    for _ in range(steps):
        gan.step()  # which reads its losses, and so waits for the device
        times.append(time.perf_counter())
    return on_device(list(np.diff(times)), gan.device)


def rate(seconds: list[float], batch: int) -> dict[str, float]:
    """Images a second: by the median step, and by all steps together."""
    return {
        "images_a_second": round(batch / statistics.median(seconds), 1),
        "images_a_second_overall": round(batch * len(seconds) / sum(seconds), 1),
        "steps": len(seconds),
    }


# A process counts its parent's peak memory as its own: a small one starts the command and tells that command's peak.
LAUNCHER = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, "
    "stderr=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def fixed_costs(width: float, precision: str, device: torch.device) -> dict[str, float]:
    """Seconds from the command to its first step's end, seconds and bytes of a checkpoint, peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        out, data = Path(folder) / "run", Path(folder) / "images.npy"
        np.save(data, noise_images())
        command = [sys.executable, "-m", "repr_eval", "train-gan", "--data", str(data), "--width", str(width),
                   "--precision", precision, "--device", str(device), "--max-steps", "1",
                   "--out", str(out)]  # fmt: skip
        started = time.perf_counter()
        launched = subprocess.run([sys.executable, "-c", LAUNCHER, *command], check=True, capture_output=True)
        to_first = time.perf_counter() - started
        checkpoint = next(out.glob("checkpoint-*"))
        tensors = {name: tensor.to(device) for name, tensor in load_file(checkpoint).items()}
        started = time.perf_counter()
        save_checkpoint(Path(folder), 1, tensors)
        return {
            "seconds_of_a_command_with_one_step": round(to_first, 2),
            "seconds_of_a_checkpoint": round(time.perf_counter() - started, 3),
            "checkpoint_megabytes": round(checkpoint.stat().st_size / 1e6, 1),
            "peak_memory_megabytes": round(int(launched.stdout) / 1e3),
        }


def measure(width: float, rounds: int, steps: int, device: torch.device) -> dict[str, Any]:
    """One width: rounds of plain and of ours, the paper's recipe in both precisions, in turns."""
    batch = 128
    base = TrainingSettings(data="noise", data_sha256="0", n_images=N_IMAGES, arch=ARCH, width=width, epochs=10**6)
    ours = {
        f"{recipe}, {precision}": Ours(replace(base, precision=precision, recipe=recipe_named(recipe)), device)
        for recipe in TIMED
        for precision in (("fp32", "bf16") if recipe == "paper" else ("bf16",))
    }
    plain = PlainGan(noise_images(), ARCH, width, batch, device)
    plain_seconds(plain, 1)
    players: dict[str, Callable[[int], list[float]]] = {"plain": lambda n: plain_seconds(plain, n)}
    players |= {name: one.seconds for name, one in ours.items()}
    seconds: dict[str, list[float]] = {name: [] for name in players}
    for _ in range(rounds):
        for name, play in players.items():
            seconds[name] += play(steps)
    rates = {name: rate(times, batch) for name, times in seconds.items()}
    work = step_work(architecture_named(ARCH), width)
    limits = {
        name: batch / seconds_of(work, batch, dtype, device)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }
    plain_rate = rates["plain"]["images_a_second"]
    return {
        "width": width,
        "batch": batch,
        "gigaoperations_an_image": round(operations(work, 1) / 1e9, 3),
        "rates": rates,
        "times_plain": {name: round(value["images_a_second"] / plain_rate, 2) for name, value in rates.items()},
        "arithmetic_limit_images_a_second": {name: round(value, 1) for name, value in limits.items()},
        "share_of_limit": {
            precision: round(rates[f"paper, {precision}"]["images_a_second"] / limit, 2)
            for precision, limit in limits.items()
        },
        "fixed": fixed_costs(width, "bf16", device),
    }


def _limit(line: tuple[dict[str, Any], str], of: str) -> float | None:
    """`of` of the line's precision; None for what is not the paper's step, whose limit it is."""
    result, name = line
    return result[of][name.rpartition(", ")[2]] if name.startswith("paper, ") else None


SPEED = (  # of (a width's result, the name of a training)
    Column("width", lambda line: line[0]["width"], "g", right=True),
    Column("training", lambda line: line[1]),
    Column(
        "images/s, median step",
        lambda line: line[0]["rates"][line[1]]["images_a_second"],
        ".0f",
        right=True,
    ),
    Column("times plain", lambda line: line[0]["times_plain"][line[1]], ".1f", right=True),
    Column(
        "limit, images/s",
        lambda line: _limit(line, "arithmetic_limit_images_a_second"),
        ".0f",
        right=True,
    ),
    Column("share of it", lambda line: _limit(line, "share_of_limit"), ".0%", right=True),
)
FIXED = (  # of a width's result
    Column("width", lambda result: result["width"], "g", right=True),
    Column(
        "a command with one step, s",
        lambda result: result["fixed"]["seconds_of_a_command_with_one_step"],
        ".1f",
        right=True,
    ),
    Column("a checkpoint, s", lambda result: result["fixed"]["seconds_of_a_checkpoint"], ".2f", right=True),
    Column("its size, MB", lambda result: result["fixed"]["checkpoint_megabytes"], ".0f", right=True),
    Column("peak memory, MB", lambda result: result["fixed"]["peak_memory_megabytes"], ",", right=True),
)
NO_GPU = "| | on a CUDA GPU | not measured | | | |\n"


def markdown(stored: dict[str, Any]) -> str:
    """What train.json holds, as tables."""
    speed = to_markdown(SPEED, [(result, name) for result in stored["results"] for name in result["rates"]])
    return (
        f"Written by `{stored['command']}` on {stored['machine']}, commit {stored['commit'][:7]}.\n"
        "Plain is a DCGAN in the manner of PyTorch's own example (float32, NCHW, DataLoader). The limit is what the\n"
        "convolutions of a step take at the rate that this machine reaches on each of them alone.\n\n"
        f"{speed}{NO_GPU * ('no GPU' in str(stored['machine']))}\n"
        f"Fixed costs, bfloat16, paper's recipe:\n\n{to_markdown(FIXED, stored['results'])}"
    )


@click.command()
@click.option("--width", "widths", multiple=True, type=float, default=(0.5, 1.0), show_default=True)
@click.option("--rounds", default=3, show_default=True, help="Turns that each takes.")
@click.option("--steps", type=int, help="Steps in a turn. Default: 5, on a GPU 200.")
@click.option("--device", default="cpu", show_default=True)
def main(widths: tuple[float, ...], rounds: int, steps: int | None, device: str) -> None:
    """Measure, print and store."""
    steps = steps or (5 if device == "cpu" else 200)
    results = {
        "command": f"python -m benchmarks.train {' '.join(sys.argv[1:])}".strip(),
        "machine": machine("no GPU" if device == "cpu" else device), "versions": versions(), "commit": commit(),
        "results": [measure(width, rounds, steps, torch.device(device)) for width in widths],
    }  # fmt: skip
    text = json.dumps(results, indent=2)
    write_text(RESULTS, text + "\n")
    write_text(RESULTS.with_suffix(".md"), markdown(results))
    click.echo(text)


if __name__ == "__main__":
    main()
