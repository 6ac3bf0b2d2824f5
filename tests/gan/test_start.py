"""Runs that start from published weights, pace their rates, and are ended by a decay from any checkpoint."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dying_training import N_IMAGES, SETTINGS, SMALL_BATCHES, after, go_on, images
from factories import run
from torch import Tensor

from repr_eval.gan.finish import begin_decay
from repr_eval.gan.game import DCGAN
from repr_eval.gan.networks import Discriminator, Generator
from repr_eval.gan.recipes import Recipe
from repr_eval.gan.settings import TrainingSettings, read_settings
from repr_eval.gan.start import read_start
from repr_eval.gan.weights import export, load_discriminator, load_generator, weights_hash

CPU = torch.device("cpu")
PACED = replace(SMALL_BATCHES, name="paced", warmup=3, decay=0.4, lr=0.01)
TENSORS = ("discriminator.safetensors", "generator.safetensors")


def paced(recipe: Recipe = PACED, **changes: object) -> TrainingSettings:
    return replace(SETTINGS, recipe=recipe, **changes).resolved()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run's folder: weights of networks that have seen five batches of 8."""
    folder = tmp_path_factory.mktemp("published")
    go_on(folder, replace(SETTINGS, max_steps=5))
    return folder


def weight(network: Discriminator | Generator) -> Tensor:
    """A copy of its second convolution's weights."""
    return network.state_dict()["convs.1.weight"].clone()


# Rates.


def test_rates_rise_stay_and_fall() -> None:
    settings = paced(epochs=2)  # ten steps: three of warm-up, four of decay
    assert [settings.rate_factor(step) for step in range(10)] == pytest.approx(
        [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 3 / 4, 2 / 4, 1 / 4]
    )
    assert settings.decay_from == 6
    assert [paced(SMALL_BATCHES, epochs=2).rate_factor(step) for step in range(10)] == [1.0] * 10


def test_adam_moves_at_the_rate_of_its_step() -> None:
    # Adam's first step moves every weight that has a gradient by its rate, whatever the gradient's size.
    game = DCGAN(paced(), CPU)
    before = weight(game.discriminator)
    game.step(torch.rand(8, 3, 32, 32) * 2 - 1, torch.randn(8, 5), 0)
    moved = (weight(game.discriminator) - before).abs()
    assert float(moved.median()) == pytest.approx(0.01 / 3, rel=1e-3)


def test_weight_decay_is_of_the_discriminator_alone_and_decoupled() -> None:
    steps = []
    for weight_decay in (0.0, 0.5):
        game = DCGAN(paced(replace(SMALL_BATCHES, lr=0.01, weight_decay=weight_decay)), CPU)
        before = [weight(network) for network in (game.discriminator, game.generator)]
        game.step(torch.full((8, 3, 32, 32), 0.5), torch.ones(8, 5), 0)
        steps.append((weight(game.discriminator), weight(game.generator)))
    (d_plain, g_plain), (d_decayed, g_decayed) = steps
    torch.testing.assert_close(d_decayed, d_plain - 0.01 * 0.5 * before[0])
    assert (g_decayed - before[1]).abs().max() <= (g_plain - before[1]).abs().max() * 1.001


def test_a_paced_run_resumes_to_the_bit(tmp_path: Path) -> None:
    settings = paced(max_steps=9)
    go_on(tmp_path / "whole", settings)
    for _ in range(9):
        go_on(tmp_path / "stopped", settings, stop=after(1))
    for name in TENSORS:
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_paced_run_is_extended_before_its_decay_and_not_after(tmp_path: Path) -> None:
    go_on(tmp_path / "long", paced(max_steps=12))
    go_on(tmp_path / "run", paced(max_steps=10), stop=after(6))  # the first step of the decay comes next
    go_on(tmp_path / "run", paced(max_steps=12), stop=after(1))
    go_on(tmp_path / "run", paced(max_steps=12))
    assert (tmp_path / "run" / TENSORS[0]).read_bytes() == (tmp_path / "long" / TENSORS[0]).read_bytes()
    with pytest.raises(ValueError, match=r"is at step 12, and its rates fall from step 7 on .* another run from"):
        go_on(tmp_path / "run", paced(max_steps=15))


# Finishing.


def test_a_run_is_finished_from_its_last_checkpoint_and_goes_on_beside_it(tmp_path: Path) -> None:
    endless = replace(SETTINGS, epochs=100)
    go_on(tmp_path / "run", endless, stop=after(8))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    settings = begin_decay(tmp_path / "run", tmp_path / "finished", steps=4)
    assert [settings.rate_factor(step) for step in range(7, 12)] == [1, 1, 3 / 4, 2 / 4, 1 / 4]
    assert go_on(tmp_path / "finished", settings).finished
    assert read_settings(tmp_path / "finished" / "settings.json").total_steps == 12
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()} == before
    # The same steps as of a run whose decay was planned.
    go_on(tmp_path / "planned", replace(SETTINGS, max_steps=12, decay_steps=4))
    hashes = [weights_hash(load_discriminator(tmp_path / name / TENSORS[0])[0]) for name in ("finished", "planned")]
    assert hashes[0] == hashes[1]
    losses = [(tmp_path / name / "losses.csv").read_text() for name in ("finished", "planned")]
    assert losses[0] == losses[1]
    go_on(tmp_path / "run", endless, stop=after(2))


def test_finishing_takes_a_fifth_of_all_steps_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    go_on(tmp_path / "run", SETTINGS, stop=after(12))
    settings = begin_decay(tmp_path / "run", tmp_path / "finished")
    assert (settings.decay_from, settings.total_steps) == (12, 15)
    go_on(tmp_path / "finished", settings, stop=after(1))
    assert begin_decay(tmp_path / "run", tmp_path / "finished") == settings  # not begun anew
    (tmp_path / "finished" / "settings.json").unlink()  # killed before they were written: begun again
    assert begin_decay(tmp_path / "run", tmp_path / "finished") == settings


def test_finishing_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"settings\.json"):
        begin_decay(tmp_path / "nothing", tmp_path / "finished")
    go_on(tmp_path / "run", paced(max_steps=10), stop=after(8))
    with pytest.raises(ValueError, match="its rates fall since step 6"):
        begin_decay(tmp_path / "run", tmp_path / "finished")
    assert not (tmp_path / "finished").exists()


def test_the_command_finishes(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", images())
    small = ("--arch", "dcgan32-svhn", "--width", 0.03, "--batch-size", 8, "--max-steps", 4)
    assert run("train-gan", "--data", tmp_path / "images.npy", "--out", tmp_path / "run", *small).exit_code == 0
    finish = ("finish-gan", tmp_path / "run", "--out", tmp_path / "finished", "--data")
    result = run(*finish, tmp_path / "images.npy", "--steps", 2)
    assert result.exit_code == 0, result.output
    assert "6 of 6 steps" in result.output
    assert run(*finish, tmp_path / "images.npy", "--resume").exit_code == 0
    np.save(tmp_path / "others.npy", images()[::-1])
    result = run(*finish, tmp_path / "others.npy", "--resume")
    assert result.exit_code == 1
    assert "not the images that" in result.output


# Starting from weights.


def test_a_run_starts_from_published_weights(published: Path, tmp_path: Path) -> None:
    start = read_start([str(published / name) for name in TENSORS])
    game = DCGAN(SETTINGS.resolved(), CPU, start=start)
    for name, load in zip(TENSORS, (load_discriminator, load_generator), strict=True):
        network = load(published / name)[0]
        assert weights_hash(getattr(game, name.partition(".")[0])) == weights_hash(network)
    go_on(tmp_path, replace(SETTINGS, max_steps=3), start=start)
    stored = read_settings(tmp_path / "settings.json").started_from
    assert stored is not None
    assert stored["discriminator"] == {
        "weights_sha256": weights_hash(load_discriminator(published / TENSORS[0])[0]), "images_seen": 40,
        "trained_on": "noise",
    }  # fmt: skip
    assert stored["anew"] == ["heads", "optimisers"]
    info = load_discriminator(tmp_path / TENSORS[0])[1]
    assert info.images_seen == 40 + 3 * 8
    assert info.settings["started_from"] == stored


def test_the_generator_may_begin_anew(published: Path, tmp_path: Path) -> None:
    start = read_start([str(published / TENSORS[0])])
    game, fresh = DCGAN(SETTINGS.resolved(), CPU, start=start), DCGAN(SETTINGS.resolved(), CPU)
    assert weights_hash(game.generator) == weights_hash(fresh.generator)
    assert weights_hash(game.discriminator) != weights_hash(fresh.discriminator)
    assert start.description["anew"] == ["heads", "optimisers", "generator"]


def test_averages_start_from_the_weights_too(published: Path) -> None:
    averaged = replace(SETTINGS, recipe=replace(SMALL_BATCHES, d_average=0.9)).resolved()
    game = DCGAN(averaged, CPU, start=read_start([str(published / TENSORS[0])]))
    assert weights_hash(game.published_discriminator) == weights_hash(game.discriminator)


def test_a_started_run_resumes_to_the_bit_and_needs_the_weights_no_more(published: Path, tmp_path: Path) -> None:
    start, settings = read_start([str(published / name) for name in TENSORS]), replace(SETTINGS, max_steps=6)
    go_on(tmp_path / "whole", settings, start=start)
    go_on(tmp_path / "stopped", settings, start=start, stop=after(2))
    stored = read_settings(tmp_path / "stopped" / "settings.json").started_from
    go_on(tmp_path / "stopped", replace(settings, started_from=stored))
    for name in TENSORS:
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    with pytest.raises(ValueError, match=r"started_from .* -> None"):
        go_on(tmp_path / "stopped", settings)
    for checkpoint in (tmp_path / "stopped").glob("checkpoint-*"):
        checkpoint.unlink()
    with pytest.raises(ValueError, match="has no checkpoint yet; name the weights that it starts from again"):
        go_on(tmp_path / "stopped", replace(settings, started_from=stored))


def test_the_command_starts_from_weights_of_their_own_shape(published: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", images())
    train = ("train-gan", "--data", tmp_path / "images.npy", "--batch-size", 8, "--z-dim", 5)
    begin = (*train, "--out", tmp_path / "run", "--from", published / TENSORS[0], "--from", published / TENSORS[1])
    assert run(*begin, "--max-steps", 2).exit_code == 0
    settings = read_settings(tmp_path / "run" / "settings.json")
    assert (settings.arch, settings.width) == ("dcgan32-svhn", 0.03)
    shape = ("--arch", "dcgan32-svhn", "--width", 0.03)
    result = run(*train, "--out", tmp_path / "run", "--resume", *shape, "--max-steps", 4)  # without --from
    assert result.exit_code == 0, result.output
    assert read_settings(tmp_path / "run" / "settings.json").started_from == settings.started_from


def test_weights_in_float16_will_do(published: Path, tmp_path: Path) -> None:
    export(published / TENSORS[0], tmp_path / "d.safetensors")
    go_on(tmp_path / "run", replace(SETTINGS, max_steps=1), start=read_start([str(tmp_path / "d.safetensors")]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--width", "0.06"], "is of width 0.03, this run of 0.06; give --width 0.03, or widen it (--widen)"),
        (["--arch", "dcgan32"], "is of arch dcgan32-svhn, this run of dcgan32"),
        (["--z-dim", "6"], "is a generator of noise of length 5, this run's is of 6"),
        (["--recipe", "contrastive"], "is a generator of width 0.03, this run's is of 0.015 (recipe contrastive)"),
        (["--from", "nonsense"], "no weights called 'nonsense'"),
        (["--from", "D"], "are both a discriminator; give one"),
    ],
)
def test_what_a_run_cannot_start_from(published: Path, tmp_path: Path, options: list[str], message: str) -> None:
    np.save(tmp_path / "images.npy", images())
    options = [str(published / TENSORS[0]) if option == "D" else option for option in options]
    sources = ("--from", published / TENSORS[0], "--from", published / TENSORS[1])
    words = ("--data", tmp_path / "images.npy", "--out", tmp_path / "run", "--batch-size", 8)
    z_dim = () if "--z-dim" in options else ("--z-dim", 5)
    result = run("train-gan", *words, *z_dim, *sources, *options)
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "run").exists()


def test_a_generator_alone_is_refused(published: Path) -> None:
    with pytest.raises(ValueError, match="a generator alone; name a discriminator's weights too"):
        read_start([str(published / TENSORS[1])])


def test_shipped_names_stand_for_both_networks() -> None:
    start = read_start(["imagenet-contrastive-w0.5"])
    assert start.generator is not None
    assert start.infos["discriminator"].images_seen == start.infos["generator"].images_seen > 0


def test_settings_of_before_there_was_a_start_are_read(published: Path, tmp_path: Path) -> None:
    shutil.copy(published / "settings.json", tmp_path)
    content = json.loads((tmp_path / "settings.json").read_text())
    for name in ("started_from", "decay_steps", "warmup", "decay", "views", "projection"):
        del content["settings"][name]
    (tmp_path / "settings.json").write_text(json.dumps(content))
    assert read_settings(tmp_path / "settings.json") == read_settings(published / "settings.json")
    assert content["settings"]["n_images"] == N_IMAGES
