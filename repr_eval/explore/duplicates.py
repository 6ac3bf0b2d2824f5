"""Near duplicates in a packed array: which rows to keep, what collapses with what, and how far to believe it.

The method is that of `repr_eval.images.deduplicate`. Its two errors are measured. *False positives*:
removed images that are further from the image kept in their place than either is from the furthest
of its own copies, moved by a pixel, brighter by 8 levels, and out of a JPEG file. *Recall*: how many such copies of
random images have the code of their original.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from repr_eval.explore.output import save_numbers
from repr_eval.explore.pictures import Row, picture
from repr_eval.gan.samples import save_picture as save_png
from repr_eval.gan.unlabelled import UnlabelledImages, sha256_of
from repr_eval.images.deduplicate import Autoencoder, Collapsed, codes, collapse, recall_on_planted, train
from repr_eval.system.files import replacing, reserve, write_text
from repr_eval.system.json_text import read_object
from repr_eval.system.provenance import commit, versions
from repr_eval.system.random_streams import random_state_for

THRESHOLDS = (0.0, 0.5, 1.0, 2.0)  # that the numbers compare
PAIRS = 30  # in the picture
COLUMNS = 10
BLOCK = 1024  # images at a time
FORMAT = "repr-eval array without near duplicates"


def measure(
    network: Autoencoder, images: np.ndarray, threshold: float, confirm: bool, seed: int
) -> tuple[Collapsed, dict[str, Any]]:
    """What collapses of images uint8 [N, S, S, 3] at a threshold, and the numbers of it."""
    found = collapse(images, codes(network, images, threshold), confirm)
    recall = recall_on_planted(network, images, threshold, seed)
    return found, {
        "threshold": threshold,
        "confirm": confirm,
        "kept": len(found.kept),
        "removed": len(found.removed),
        "false_positives": int((~found.near).sum()),
        "planted": {kind: {"found": n, "made": made} for kind, (n, made) in recall.items()},
    }


def save_picture(path: Path, images: np.ndarray, found: Collapsed, seed: int) -> bool:
    """Random pairs of a kept image, above, and one removed for it, as a PNG; False where there are none.

    Below each pair stands its distance, red and with an x where the pair is a false positive.
    """
    if not len(found.removed):
        path.unlink(missing_ok=True)  # an earlier run's would pass for this one's
        return False
    chosen = np.sort(random_state_for("explore/deduplicate", seed).permutation(len(found.removed))[:PAIRS])
    between = np.full((2, images.shape[2], 3), 255, np.uint8)
    pairs = [np.concatenate([images[found.originals[i]], between, images[found.removed[i]]]) for i in chosen]
    captions = [f"{found.distances[i]:.1f}" + ("" if found.near[i] else " x") for i in chosen]
    colours = ["black" if found.near[i] else "red" for i in chosen]
    rows = [
        Row("", np.stack(pairs[start:end]), captions[start:end], colours[start:end])
        for start, end in ((start, start + COLUMNS) for start in range(0, len(chosen), COLUMNS))
    ]
    save_png(path, picture(rows))
    return True


def study(
    data: UnlabelledImages, seed: int, *, steps: int, threshold: float, confirm: bool
) -> tuple[Collapsed, dict[str, Any]]:
    """What collapses of `data` at the threshold, and the numbers of it and of other thresholds."""
    network = train(data.images, seed, steps)
    found, numbers = measure(network, data.images, threshold, confirm, seed)
    others = [t for t in THRESHOLDS if t != threshold]
    return found, numbers | {
        "images": len(data.images),
        "steps": steps,
        "data": data.description,
        "data_sha256": data.sha256,
        "other_thresholds": [measure(network, data.images, t, confirm, seed)[1] for t in others],
    }


def run(
    data: UnlabelledImages, seed: int, command: str, out: Path, *,
    steps: int, threshold: float, confirm: bool,
) -> tuple[dict[str, Any], list[Path]]:  # fmt: skip
    """Deduplicate, and write to `out` the rows to keep (kept.npy, int64), pairs as a PNG, and the numbers.

    Returns the numbers and the paths written.
    """
    found, numbers = study(data, seed, steps=steps, threshold=threshold, confirm=confirm)
    rows, picture, file = out / "kept.npy", out / "deduplicate.png", out / "deduplicate.json"
    with replacing(rows) as partial:
        np.save(partial, found.kept)
    drawn = save_picture(picture, data.images, found, seed)
    save_numbers(file, "deduplicate", None, seed, command, numbers)
    return numbers, [rows, *[picture] * drawn, file]


def write_unique(
    data: UnlabelledImages, path: Path, seed: int, command: str, *,
    steps: int, threshold: float, confirm: bool,
) -> tuple[dict[str, Any], list[Path]]:  # fmt: skip
    """Deduplicate, and write the images that stay to the packed array `path`, pairs as a PNG beside it.

    Its sidecar, a JSON of the same name, has the SHA-256 of its bytes, as that of a pack has, and the
    numbers. An array at `path` is written over if its sidecar says that it was made here; anything
    else there is a FileExistsError, before any work. Returns the numbers and the paths written.
    """
    sidecar, picture = path.with_suffix(".json"), path.with_suffix(".png")
    if (path.exists() or sidecar.exists()) and not _made_here(sidecar):
        raise FileExistsError(f"{path}: exists and is no array without duplicates; remove it, and {sidecar.name}")
    found, numbers = study(data, seed, steps=steps, threshold=threshold, confirm=confirm)
    shape = (len(found.kept), *data.images.shape[1:])
    with replacing(path) as partial:
        images = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        with open(partial, "rb+") as file:
            reserve(file.fileno(), partial.stat().st_size)  # a full disk is told before, not by a signal
        for start in range(0, len(found.kept), BLOCK):
            images[start : start + BLOCK] = data.images[found.kept[start : start + BLOCK]]
        images.flush()
        content = {
            "format": FORMAT,
            "sha256": sha256_of(images),
            "seed": seed,
            "command": command,
            "commit": commit(),
            "versions": versions(),
            "numbers": numbers,
        }
        write_text(sidecar, json.dumps(content, indent=2) + "\n")
    drawn = save_picture(picture, data.images, found, seed)
    return numbers, [path, sidecar, *[picture] * drawn]


def _made_here(sidecar: Path) -> bool:
    try:
        return read_object(sidecar).get("format") == FORMAT
    except (OSError, ValueError):
        return False


def in_words(numbers: dict[str, Any]) -> str:
    """A line for each threshold, the lowest first; an arrow at the one that the rows are of."""
    ones = sorted([numbers, *numbers["other_thresholds"]], key=lambda one: one["threshold"])
    return "\n".join(_line(one, ">" if one is numbers else " ") for one in ones)


def _line(one: dict[str, Any], mark: str) -> str:
    recall = ", ".join(f"{kind} {n['found']}/{n['made']}" for kind, n in one["planted"].items())
    return (
        f"{mark} threshold {one['threshold']:g}: {one['removed']:,} removed, of them {one['false_positives']:,} "
        f"far from what stays; planted duplicates found: {recall}"
    )
