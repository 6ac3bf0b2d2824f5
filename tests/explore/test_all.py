"""explore all: every study of a model, by the table; one page of what they said and drew."""

import re
from pathlib import Path

import click
import numpy as np
import pytest
from factories import random_images, run
from PIL import Image

from repr_eval.cli import command_at, explore, wording
from repr_eval.cli.explore_all import models_studies, words_of
from repr_eval.explore.index import Part, write_index

SAID: list[dict[str, object]] = []


@click.command("plain")
@click.option("--weights", multiple=True, required=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("explored"))
@click.option("--seed", type=int, default=0)
@click.option("--data")
def plain(weights: tuple[str, ...], out: Path, seed: int, data: str | None) -> None:
    """A study. It draws a red dot."""
    SAID.append({"weights": weights, "seed": seed, "data": data, "command": explore.command_line()})
    out.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((1, 1, 3), (255, 0, 0), np.uint8)).save(out / "dot.png")
    click.echo("3 < 4 dots")


@click.command("boxed")
@click.option("--weights", multiple=True, required=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("explored"))
@click.option("--boxes", type=click.Path(path_type=Path), required=True)
def boxed(weights: tuple[str, ...], out: Path, boxes: Path) -> None:
    """Needs boxes."""
    click.echo(f"boxes of {boxes.name}")


@click.command("failing")
@click.option("--weights", multiple=True, required=True)
@click.option("--out", default="explored")
def failing(weights: tuple[str, ...], out: str) -> None:
    """Fails."""
    raise ValueError("`data` nothing: no\nsuch images")


@click.command("array")
@click.argument("array")
def array(array: str) -> None:
    """Of no model."""


def use(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make these of this module's studies, and `all`, the table."""
    SAID.clear()
    wording._options()  # kept for good: by the table as it is
    made = {name: f"{__name__}:{name}" for name in names} | {"all": explore.STUDIES["all"]}
    for module in ("explore", "explore_all"):
        monkeypatch.setattr(f"repr_eval.cli.{module}.STUDIES", made)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    use(("plain", "boxed", "array"), monkeypatch)


WEIGHTS = ("--weights", "svhn-grey-contrastive")


def test_a_study_joins_by_a_row(table: None, tmp_path: Path) -> None:
    assert models_studies() == ["plain", "boxed"]
    np.save(tmp_path / "real.npy", random_images(3))
    out = tmp_path / "out"
    done = run("explore", "all", *WEIGHTS, "--seed", 3, "--data", tmp_path / "real.npy", "--out", out)
    assert done.exit_code == 0, done.output
    assert done.stdout == "3 < 4 dots\n"
    assert "boxed: left out: needs --boxes" in done.stderr
    alone = (
        f"explore plain --weights svhn-grey-contrastive --out {out / 'plain'} --seed 3 --data {tmp_path / 'real.npy'}"
    )
    [said] = SAID
    assert said["weights"] == ("svhn-grey-contrastive",)
    assert (said["seed"], said["data"]) == (3, str(tmp_path / "real.npy"))
    assert said["command"] == f"repr-eval {alone}"
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "<li>3 &lt; 4 dots</li>" in page
    assert f"<code>repr-eval {alone}</code>" in page
    assert "left out: needs --boxes" in page
    assert page.count("data:image/png;base64,") == 1
    assert not re.search(r"(src|href)=.(https?:|/)", page)  # it loads nothing


def test_boxes_reach_the_study_that_needs_them(table: None, tmp_path: Path) -> None:
    done = run("explore", "all", *WEIGHTS, "--boxes", tmp_path / "b.json", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.stdout == "3 < 4 dots\nboxes of b.json\n"
    assert "left out" not in (tmp_path / "out" / "index.html").read_text()


def test_what_fails_is_told_and_the_others_are_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(("failing", "boxed", "plain"), monkeypatch)
    words = ["--with", "boxed", "--dots 3 --boxes b.json"]
    done = run("explore", "all", *WEIGHTS, "--out", tmp_path / "out", *words)
    assert done.exit_code == 1
    assert done.stdout == "3 < 4 dots\n"
    assert "failing: not done: --data nothing: no such images\n" in done.stderr
    assert "boxed: not done: No such option" in done.stderr
    page = (tmp_path / "out" / "index.html").read_text()
    assert "not done: --data nothing: no such images" in page


def test_pictures_of_an_earlier_run_do_not_pass_for_this_ones(tmp_path: Path) -> None:
    (tmp_path / "walk").mkdir()
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(tmp_path / "walk" / "walk.png")
    for lines, remark, n in ((["a line"], "", 1), ([], "not done: x", 0)):
        page = write_index(tmp_path, "g", {}, "c", [Part("walk", "", "", lines, remark)])
        assert page.read_text().count("data:image/png") == n


def test_every_study_gets_the_options_it_has() -> None:
    """The real table: samples takes one file of weights and names a picture; neighbours needs two more options."""
    names = models_studies()
    assert {"samples", "walk", "arithmetic", "turn", "neighbours", "respond"} <= set(names)
    assert not {"all", "deduplicate"} & set(names)
    given = {"--seed": "0", "--data": "d.npy"}
    command = command_at(explore.STUDIES["samples"])
    words, missing = words_of("samples", command, ["g", "d"], "g", Path("o"), given, [])
    assert words == ["explore", "samples", "--weights", "g", "--seed", "0", "--out", "o/samples/samples.png"]
    assert missing == []
    command = command_at(explore.STUDIES["neighbours"])
    words, missing = words_of("neighbours", command, ["g", "d"], "g", Path("o"), given, [])
    assert words[:6] == ["explore", "neighbours", "--weights", "g", "--weights", "d"]
    assert missing == ["--held-out"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--weights", "none"), "no weights called 'none'"),
        ((*WEIGHTS, "--data", "none.npy"), "none.npy: no such file or folder"),
        ((*WEIGHTS, "--with", "jump", "--x 1"), "--with jump '--x 1': no study of that name; there are samples, walk"),
        (
            (*WEIGHTS, "--with", "walk", "--out x"),
            "--with walk '--out x': --weights and --out are those of explore all",
        ),
        ((*WEIGHTS, "--with", "walk", "--out=x"), "--weights and --out are those of explore all"),
        ((*WEIGHTS, "--with", "walk", "'x"), '--with walk "\'x": No closing quotation'),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = run("explore", "all", *arguments, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
