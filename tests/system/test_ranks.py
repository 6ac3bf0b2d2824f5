"""Several processes on one job, started by torchrun as a user would, over gloo."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from repr_eval.gan.batches import Batches
from repr_eval.gan.game import DCGAN
from repr_eval.gan.recipes import PAPER
from repr_eval.gan.settings import TrainingSettings, read_settings
from repr_eval.system.random_streams import draw_noise, generator_for
from repr_eval.system.ranks import ALONE, Ranks

WAIT = 120  # seconds
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ranks") / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8))
    return path


def command(ranks: int, *arguments: str) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return [*launcher, "-m", "repr_eval", *arguments]


def run(ranks: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command(ranks, *arguments), capture_output=True, text=True, timeout=WAIT, env=environment, check=False
    )


def training(packed: Path, out: Path, steps: int, *more: str) -> tuple[str, ...]:
    settings = ("--arch", "dcgan32-svhn", "--width", "0.05", "--batch-size", "8", "--epochs", "1000")
    return (
        "train-gan", "--data", str(packed), "--out", str(out), "--max-steps", str(steps), *settings, "--device", "cpu",
        "--precision", "fp32",
        *more,
    )  # fmt: skip


@pytest.mark.slow
def test_ranks_train_one_network_and_resume_exactly(packed: Path, tmp_path: Path) -> None:
    """Three of them: the sum of two numbers is the same in any order."""
    recipe = ("--recipe", "contrastive", "--batch-size", "12")
    whole = run(3, *training(packed, tmp_path / "whole", 6, *recipe))
    assert whole.returncode == 0, whole.stderr
    assert run(3, *training(packed, tmp_path / "parts", 3, *recipe)).returncode == 0
    assert run(3, *training(packed, tmp_path / "parts", 6, *recipe, "--resume")).returncode == 0
    for name in ("checkpoint-000000006", "discriminator", "generator"):
        one, other = (load_file(tmp_path / folder / f"{name}.safetensors") for folder in ("whole", "parts"))
        assert all(np.array_equal(one[key], other[key]) for key in one)
    logs = [(tmp_path / folder / "losses.csv").read_text() for folder in ("whole", "parts")]
    assert logs[0] == logs[1]
    assert len(logs[0].splitlines()) == 7
    assert json.loads((tmp_path / "whole" / "settings.json").read_text())["settings"]["ranks"] == 3

    alone = run(1, *training(packed, tmp_path / "whole", 8, *recipe, "--resume"))
    assert alone.returncode != 0
    assert "ranks 3 -> 1" in alone.stderr


@pytest.mark.slow
def test_ranks_train_on_a_folder_that_the_first_packs(tmp_path: Path) -> None:
    folder, pictures = tmp_path / "pictures", np.random.default_rng(0).integers(0, 256, (12, 40, 40, 3), dtype=np.uint8)
    folder.mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number}.png")
    done = run(2, *training(folder, tmp_path / "run", 1))
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "run" / "pictures-32.npy").shape == (12, 32, 32, 3)


def moments_alone(number: int, count: int, images: np.ndarray, settings: TrainingSettings) -> dict[str, np.ndarray]:
    """Adam's first moments had rank `number` of `count` played without the others: its share, its views."""
    game, noise = DCGAN(settings, CPU), (settings.recipe.n_fakes, settings.z_dim or 0, settings.z or "")
    for step, real in enumerate(Batches(images, settings, CPU).from_step(0)):
        z = draw_noise(*noise, generator_for(settings.seed, "noise", step))
        # Alone, a step's number is that of its views; together, each step has as many views as there are ranks.
        game.step(real.chunk(count)[number], z.chunk(count)[number], step * count + number)
    return {name: value.numpy() for name, value in game.state().items() if name.endswith("/exp_avg")}


@pytest.mark.slow
def test_each_rank_plays_on_its_own_share_noise_and_views(packed: Path, tmp_path: Path) -> None:
    # With steps of almost no size all play against the same networks, and what they find is summed in Adam's moments.
    more = ("--recipe", "contrastive", "--lr", "1e-20", "--batch-size", "16")  # 4 fakes a rank: of 2, many are alike
    done = run(2, *training(packed, tmp_path, 2, *more))
    assert done.returncode == 0, done.stderr
    together = load_file(tmp_path / "checkpoint-000000002.safetensors")
    settings = read_settings(tmp_path / "settings.json")
    one, other = (moments_alone(number, 2, np.load(packed), settings) for number in (0, 1))
    assert {name.split("/")[0] for name in one} == {"adam-discriminator", "adam-generator"}
    for name in one:
        mean = (one[name] + other[name]) / 2
        difference = np.linalg.norm(together[name] - mean) / np.linalg.norm(mean)
        assert difference < 1e-3, name


AVERAGING = """
import copy, torch
from repr_eval.gan.game import _averaging
from repr_eval.system.ranks import current, joined

def work(ranks):
    torch.manual_seed(0)
    network, images = torch.nn.Linear(3, 2), torch.randn(8, 3)
    whole = copy.deepcopy(network)
    whole(images).square().mean().backward()
    loss = _averaging(lambda x: network(x).square().mean(), [network], ranks)
    loss(images[ranks.share(8, "batch")]).backward()
    torch.testing.assert_close(network.weight.grad, whole.weight.grad)
    assert ranks.count == 2
    assert ranks.any(ranks.number == 1) and not ranks.any(False)
    assert ranks.broadcast(ranks.number) == 0

with joined():
    work(current())
"""


@pytest.mark.slow
def test_gradients_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    script = tmp_path / "averaging.py"
    script.write_text(AVERAGING)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(launcher, capture_output=True, text=True, timeout=WAIT, env=environment, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_killed_rank_ends_the_job_and_leaves_the_checkpoint(packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = training(packed, out, 1_000_000, "--checkpoint-every", "5")
    job = subprocess.Popen(
        command(2, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + WAIT
        while not list(out.glob("checkpoint-*")) and time.monotonic() < deadline:
            time.sleep(0.1)
        children = subprocess.run(["pgrep", "-P", str(job.pid)], capture_output=True, text=True, check=True)
        os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)
        _, errors = job.communicate(timeout=WAIT)
    finally:
        job.kill()
    assert job.returncode != 0, errors
    stored = sorted(out.glob("checkpoint-*"))
    assert stored
    load_file(stored[-1])
    assert not list(out.glob(".*partial-*"))


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused(packed: Path, tmp_path: Path) -> None:
    done = run(3, *training(packed, tmp_path / "run", 1))
    assert done.returncode != 0
    assert "batch_size 8 cannot be shared by 3 ranks" in done.stderr


@pytest.mark.slow
def test_features_are_the_same_bits_on_two_ranks(tmp_path: Path) -> None:
    arguments = ("digits", "--weights", "random", "--arch", "dcgan32-svhn", "--width", "0.05", "--device", "cpu")
    for ranks in (1, 2):
        where = ("--out", str(tmp_path / f"out{ranks}"), "--store", str(tmp_path / f"store{ranks}"))
        done = run(ranks, *arguments, *where)
        assert done.returncode == 0, done.stderr
    one, two = (sorted((tmp_path / f"store{ranks}").glob("*.npy")) for ranks in (1, 2))
    assert [path.name for path in one] == [path.name for path in two]
    assert one
    for mine, other in zip(one, two, strict=True):
        np.testing.assert_array_equal(np.load(mine), np.load(other))
    assert len((tmp_path / "out2" / "records.jsonl").read_text().splitlines()) == 1
    found = run(2, "layers", "--data", "digits", *arguments[1:], *where)  # what is stored, the first rank measures
    assert found.returncode == 0, found.stderr
    assert len((tmp_path / "out2" / "records.jsonl").read_text().splitlines()) == 1 + 5
    assert len(list((tmp_path / "store2").glob("*.npy"))) == 1


def test_shares_cover_the_batch() -> None:
    assert [Ranks(number, 4).share(8, "batch") for number in range(4)] == [slice(k, k + 2) for k in (0, 2, 4, 6)]
    with pytest.raises(ValueError, match="batch 6 cannot be shared by 4 ranks"):
        Ranks(0, 4).share(6, "batch")


def test_every_image_of_a_batch_goes_to_one_rank(packed: Path) -> None:
    images, settings = np.load(packed), TrainingSettings("", "", 64, epochs=2, recipe=replace(PAPER, batch_size=16))
    alone, *shares = (
        Batches(images, settings, CPU, ranks).from_step(3)
        for ranks in (ALONE, *(Ranks(number, 4) for number in range(4)))
    )
    for batch, *parts in zip(alone, *shares, strict=True):
        assert torch.equal(batch, torch.cat(parts))
