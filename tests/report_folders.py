"""Folders that the report shows beside records: a training run, a study of `explore`."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

EPOCHS = 10


def training_run(folder: Path) -> Path:
    """A run of 400 steps and ten epochs; a last line of its losses has no end."""
    (folder / "samples").mkdir(parents=True)
    lines = "".join(f"{n},{128 * n},{1 / n:.6g},{n / 10:.6g}\n" for n in range(1, 401))
    (folder / "losses.csv").write_text("step,images_seen,d_loss,g_loss\n" + lines + "401,5")
    (folder / "settings.json").write_text('{"settings": {"data": "digits", "seed": 3}}')
    rng = np.random.default_rng(0)
    for epoch in range(1, EPOCHS + 1):
        picture = Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8))
        picture.save(folder / "samples" / f"epoch-{epoch:03d}.png")
    return folder


def walk_study(folder: Path) -> Path:
    """walk.json, walk.png and walk.webp, as `repr-eval explore walk` writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    network = {"arch": "dcgan32", "images_seen": 896_128, "trained_on": "digits", "weights_sha256": "ab", "width": 0.5}
    content = {
        "study": "walk", "models": {"discriminator": network, "generator": network, "z": "normal"}, "seed": 3,
        "command": "repr-eval explore walk --weights mine", "commit": "none", "versions": {},
        "numbers": {"walk": {"mean": 20.71234, "rows": 1200}, "noise": "normal", "spectrum": list(range(100)),
                    "judged": None, "from": [7, 24]},
    }  # fmt: skip
    (folder / "walk.json").write_text(json.dumps(content))
    frames = [Image.fromarray(np.full((16, 24, 3), level, np.uint8)) for level in (50, 200)]
    frames[0].save(folder / "walk.png")
    frames[0].save(folder / "walk.webp", save_all=True, append_images=frames[1:], loop=0)
    return folder
