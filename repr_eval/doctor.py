"""What this machine has, what was found where, and which jobs fit."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from repr_eval.datasets import DATASETS
from repr_eval.gan.architectures import architecture_named
from repr_eval.gan.networks import Discriminator
from repr_eval.gan.pretrained import manifest
from repr_eval.images.data_dir import DataRoot, cache_folder
from repr_eval.representations.discriminator import n_features
from repr_eval.svm.products import library
from repr_eval.system.memory import memory_bytes
from repr_eval.system.provenance import machine, versions


def available_memory() -> int:
    """Bytes of memory that are not in use, as the system counts them; all of it where it does not."""
    info = Path("/proc/meminfo")
    if info.is_file():
        values = dict(line.split(":", 1) for line in info.read_text().splitlines())
        return int(values["MemAvailable"].split()[0]) * 1024
    free = "SC_AVPHYS_PAGES" in os.sysconf_names
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if free else memory_bytes()


def report(root: DataRoot, out: Path) -> Iterator[str]:
    """The report, line by line."""
    yield "versions: " + ", ".join(f"{name} {number}" for name, number in versions().items())
    yield "device: " + machine("cuda" if torch.cuda.is_available() else "no CUDA")
    yield "L2-SVM: " + _products()
    available = available_memory()
    yield f"memory: {memory_bytes() / 1e9:.1f} GB, {available / 1e9:.1f} GB available"
    store = cache_folder() / "features"
    free = shutil.disk_usage(_existing(store)).free
    yield f"disk: {free / 1e9:.1f} GB free for features in {store}; records and tables go to {out}"
    yield f"data: looked for in {root.path} ({root.why})"
    for row in DATASETS.values():
        if row.find:
            where = row.find(root.path)
            yield f"  {row.title}: " + (
                f"in {where}"
                if where
                else f'not found ({row.layout}); `load_dataset("{row.key}", download=True)` fetches it'
            )
    yield from _weights()
    yield from _jobs(available, free)


def _products() -> str:
    compiled = library()
    if compiled is None:
        return "products by NumPy and torch: the compiled ones need x86-64 with AVX2, and a C compiler at installation"
    return "compiled products in float32" + (" and bfloat16" if compiled.products_at_hand(True) else "")


def _weights() -> Iterator[str]:
    try:
        content = manifest()
    except ValueError as error:
        yield f"shipped weights: {error}"
        return
    yield "shipped weights: " + ", ".join(
        name + (" (best)" if name == content["best"] else "") for name in content["models"]
    )


def _jobs(available: int, free: int) -> Iterator[str]:
    d = n_features(Discriminator(architecture_named("dcgan32")))
    for row in DATASETS.values():
        if not row.has_files:
            continue  # small
        disk = sum(row.n_images) * d * 2
        # The memory map is cached as far as memory reaches; what must be there is blocks, scores, weights and networks.
        memory = 2 * 10**9
        fits = memory <= available and disk <= free
        slow = "" if disk <= available else ", slowly: the features are larger than the memory that caches them"
        yield (
            f"{row.command} with {d:,} features: {disk / 1e9:.1f} GB of disk, {memory / 1e9:.0f} GB of memory and "
            f"{disk / 1e9:.1f} GB to cache them: " + (f"fits{slow}" if fits else "does not fit")
        )


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)
