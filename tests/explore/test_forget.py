"""A generator with a planted map: forgetting removes exactly what it draws."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from factories import run
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from toy_networks import SeeingDiscriminator

from repr_eval.explore import forget
from repr_eval.explore.boxes.drawn import Box, Boxes, sheet_of
from repr_eval.explore.models import Models
from repr_eval.gan.pretrained import find_both

SIDE, SIZE = 4, 8  # places of a map, pixels of an image
RED, GREEN, BLUE, DEAD = range(4)  # maps
LEVEL = 204  # of the object's red


def places(z: Tensor) -> Tensor:
    """Where the object of noise [N, 3] is, int64 [N, 2]: the row and the column of one of 4x4 places."""
    return ((z[:, :2] + 1) / 2 * SIDE).long().clamp(0, SIDE - 1)


class PlantingGenerator(nn.Module):
    """Map RED draws an object at one place, BLUE another thing two places off, GREEN a ground; colours are maps.

    `convs`: three, of which the second keeps what the first makes, and the third makes the image.
    """

    z_dim = 3
    arch = SimpleNamespace(image_size=SIZE)
    convs = (None, None, None)

    def activations(self, z: Tensor) -> Iterator[Tensor]:
        h = torch.zeros(len(z), 4, SIDE, SIDE)
        yield h
        row, column = places(z).T
        n = torch.arange(len(z))
        h[n, RED, row, column] = LEVEL / 255
        h[n, BLUE, (row + 2) % SIDE, column] = 1
        h[:, GREEN] = 0.4
        yield h
        yield from self.onwards(h, 1)

    def onwards(self, h: Tensor, layer: int) -> Iterator[Tensor]:
        if layer < 2:
            yield h
        yield 2 * h[:, :3].repeat_interleave(2, 2).repeat_interleave(2, 3) - 1

    def forward(self, z: Tensor) -> Tensor:
        *_, x = self.activations(z)
        return x


def planted(discriminator: bool = True) -> Models:
    info: Any = SimpleNamespace(name="planted", arch="toy", width=1.0, images_seen=0, trained_on="nothing")
    return Models(
        generator=cast(Any, PlantingGenerator()),
        discriminator=cast(Any, SeeingDiscriminator()) if discriminator else None,
        infos={"generator": info, "discriminator": info},
        z="uniform",
        device=torch.device("cpu"),
    )


def boxes_of(models: Models, n: int = 10, seed: int = 0) -> Boxes:
    """The object's box on each of the first n samples."""
    at = 2 * places(models.noise(n, seed))
    found = tuple(Box(i, x, y, x + 2, y + 2) for i, (y, x) in enumerate(at.tolist()))
    return Boxes(sheet_of(models, n, seed), "dot", found)


def test_the_detector_is_scikit_learn_s_and_finds_the_planted_map() -> None:
    models = planted()
    maps = forget.maps_of(models, models.noise(10, 0), 1).numpy()
    inside = boxes_of(models).inside(SIDE)
    detector = forget.fit_detector(maps, inside)
    assert detector.positive.tolist() == [RED]
    assert detector.weights[BLUE] < 0
    assert detector.weights[[GREEN, DEAD]].tolist() == [0, 0]
    X = maps.transpose(0, 2, 3, 1).reshape(-1, 4)[:, [RED, BLUE]]
    theirs = LogisticRegression(class_weight="balanced").fit(X / X.std(0), inside.ravel())
    expected = theirs.predict_proba(X / X.std(0))[:, 1].reshape(inside.shape)
    np.testing.assert_allclose(detector.probability(maps), expected, atol=1e-4)


def test_forgetting_removes_what_the_map_draws_and_nothing_else() -> None:
    models = planted()
    z = models.noise(10, 0)
    images = forget.drawn_without(models, forget.maps_of(models, z, 1), 1, [])
    np.testing.assert_array_equal(images, models.images(z))
    assert (images[..., RED] == LEVEL).sum() == 10 * 4
    without = forget.drawn_without(models, forget.maps_of(models, z, 1), 1, [RED])
    assert without[..., RED].max() == 0
    np.testing.assert_array_equal(without[..., 1:], images[..., 1:])


def test_the_numbers_of_held_out_boxes() -> None:
    """Without red, 14 of 15 places outside look like the object's, and the blue one less like it: AUC 8/15."""
    models = planted()
    boxes = boxes_of(models)
    made = forget.on_boxed(models, forget.maps_of(models, models.noise(10, 0), 1), 1, boxes, seed=0)
    assert made["folds"] == 5
    assert made["maps_dropped"] == [1] * 5
    assert made["auc_of_maps_in_g"] == 1
    assert made["change_inside"]["without"] == pytest.approx(LEVEL / 3)
    assert made["change_outside"]["without"] == 0
    assert made["change_inside"]["with"] == 0
    detector = made["detector"]
    assert detector["auc"]["with"] == 1
    assert detector["auc"]["without"] == pytest.approx(8 / 15, abs=0.02)  # the folds' detectors differ
    assert detector["inside"]["with"] > 0.9
    assert detector["inside"]["without"] < 0.2
    assert detector["outside"]["without"] == pytest.approx(detector["outside"]["with"])
    # A random map is the red one or the blue one: red as often as it has the forgotten ones' drop.
    candidates = np.array([RED, BLUE])
    red = sum(forget.random_maps(candidates, 1, r, 0)[0] == RED for r in range(forget.RANDOM))
    assert 0 < red < forget.RANDOM
    assert made["change_inside"]["random_mean"] == pytest.approx(red / forget.RANDOM * LEVEL / 3)
    share = detector["inside"]["share_of_random_as_large"]
    assert share == pytest.approx((1 + red) / (1 + forget.RANDOM))


def test_new_samples_have_no_object_any_more(tmp_path: Path) -> None:
    models = planted()
    numbers = forget.run(models, tmp_path, 0, "c", boxes_of(models), Path("b.json"))
    assert numbers["maps_dropped"] == [RED]
    assert numbers["layer"] == {"convolution": 1, "of": 3, "maps": 4, "side": 4}
    assert (numbers["places_inside"], numbers["places_outside"]) == (10, 150)
    new = numbers["new"]
    assert new["detected"]["with"] == pytest.approx(1 / 16)
    assert new["detected"]["without"] == 0
    assert new["change"]["without"] == pytest.approx(LEVEL / 3 / 16)
    assert new["distance"]["with"] == 0
    lines = forget.in_words(numbers)
    assert lines[0].startswith("10 boxes on 10 samples; 1 of 4 maps of G's convolution 1 (4x4) dropped")
    assert any("share of places of 64 new samples that it calls inside: 0.062 with all maps, 0.000" in x for x in lines)


def test_the_same_seed_forgets_the_same(tmp_path: Path) -> None:
    models = planted()
    made = [forget.run(models, tmp_path / name, 0, "c", boxes_of(models), Path("b.json")) for name in "ab"]
    assert made[0] == made[1]
    for file in ("forget.png", "forget.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    choices = [[forget.random_maps(np.arange(50), 9, r, seed).tolist() for r in range(3)] for seed in (0, 0, 1)]
    assert choices[0] == choices[1] != choices[2]
    assert choices[0][0] != choices[0][1]
    assert forget.random_maps(np.arange(50), 4, 0, 0).tolist() == choices[0][0][:4]


def test_without_a_discriminator_there_are_pictures_and_changes(tmp_path: Path) -> None:
    models = planted(discriminator=False)
    numbers = forget.run(models, tmp_path, 0, "c", boxes_of(models), Path("b.json"))
    assert numbers["held_out"]["detector"] is None
    assert (numbers["new"]["detected"], numbers["new"]["distance"]) == (None, None)
    assert numbers["held_out"]["change_inside"]["without"] == pytest.approx(LEVEL / 3)
    assert "no numbers of what D's detector sees" in forget.in_words(numbers)[1]


def test_boxes_that_tell_nothing(tmp_path: Path) -> None:
    models = planted()
    sheet = sheet_of(models, 10, 0)
    full = Boxes(sheet, "", tuple(Box(i, 0, 0, SIZE, SIZE) for i in range(3)))
    one = Boxes(sheet, "", (Box(0, 0, 0, 2, 2), Box(0, 4, 4, 6, 6)))
    for boxes, message in ((full, "nothing outside to tell them from"), (one, "boxes on one sample only")):
        with pytest.raises(ValueError, match=rf"^b\.json: .*{message}"):
            forget.run(models, tmp_path, 0, "c", boxes, Path("b.json"))
    with pytest.raises(ValueError, match="`layer` 3: G's convolutions 1 to 2 have maps, 3 makes the image"):
        forget.run(models, tmp_path, 0, "c", boxes_of(models), Path("b.json"), layer=3)
    assert list(tmp_path.iterdir()) == []


def test_the_second_highest_convolution() -> None:
    """Of dcgan64's four, the last makes the image: 512@8, 256@16 and 128@32 have maps."""
    from repr_eval.gan.architectures import architecture_named
    from repr_eval.gan.networks import Generator

    arch = architecture_named("dcgan64")
    generator = Generator(arch, 0.01)
    models: Any = SimpleNamespace(generator=generator, device=torch.device("cpu"))
    assert forget.second_highest(models) == 2
    assert arch.generator[1][0] == 256
    assert forget.maps_of(models, torch.zeros(2, 100), 2).shape == (2, 3, 16, 16)


@pytest.mark.slow
def test_the_commands_from_the_page_to_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forget, "RANDOM", 2)
    weights = ["--weights", "svhn-grey-contrastive"]
    done = run("explore", "boxes", *weights, "--sheet", 6, "--object", "stroke", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    told = (tmp_path / "boxes.html").read_text().partition('<script id="sheet" type="application/json">')[2]
    head = json.loads(told.partition("</script>")[0])["head"]
    listed = [{"sample": i, "left": 8, "top": 8, "right": 20, "bottom": 24} for i in (0, 2, 5)]
    file = tmp_path / "boxes.json"
    file.write_text(f'{head}"stroke", "boxes": {json.dumps(listed)}}}')
    done = run("explore", "forget", *weights, "--boxes", file, "--layer", 2, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "3 boxes on 3 samples" in done.output
    numbers = json.loads((tmp_path / "forget.json").read_text())["numbers"]
    assert numbers["object"] == "stroke"
    assert numbers["layer"]["convolution"] == 2
    assert 0 <= numbers["held_out"]["detector"]["auc"]["without"] <= 1
    generator = find_both("imagenet-contrastive-fast-w0.5")[1]
    for arguments, message in (
        ([*weights, "--seed", 1], f"{file}: drawn on the samples of seed 0; give --seed 0, not 1"),
        ([*weights, "--z", "uniform"], f"{file}: drawn on samples of normal noise; give --z normal, not uniform"),
        ([*weights, "--layer", 9], "--layer 9: G's convolutions 1 to "),
        (["--weights", generator], f"{file}: drawn on samples of another generator"),
    ):
        done = run("explore", "forget", *arguments, "--boxes", file, "--out", tmp_path / "none")
        assert done.exit_code == 1
        assert message in done.output
        assert len(done.output.splitlines()) == 1
