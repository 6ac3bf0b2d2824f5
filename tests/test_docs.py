"""README, docs/ and examples/: Python blocks and examples run, commands parse, links lead somewhere."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import numpy as np
import pytest

import repr_eval
from repr_eval.cli import main
from repr_eval.datasets import DATASETS
from repr_eval.images.data_dir import DataRoot
from repr_eval.images.labelled import LabelledImages, make_split
from repr_eval.records import read_records
from repr_eval.representations import kmeans

Loader = Callable[[DataRoot, bool], LabelledImages]
ROOT = Path(repr_eval.__file__).resolve().parents[1]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
OTHER_PAGES = (ROOT / "pretrained" / "README.md", ROOT / "benchmarks" / "README.md")
EXAMPLES = ROOT / "examples"
SLOW_PAGES = {"api.md"}  # its blocks evaluate the shipped model
README_LINES = 120


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of `language` in a Markdown text."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[str]:
    """The `repr-eval` commands of a page's sh blocks, torchrun's too, a line each."""
    lines = "\n".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    lines = [re.sub(r"^torchrun .* -m repr_eval ", "repr-eval ", line.strip()) for line in lines]
    return [line for line in lines if line.startswith("repr-eval ")]


def parse(line: str) -> None:
    """Raise click's UsageError unless `line` is a command whose options exist and fit their type."""
    _, *arguments = shlex.split(line, comments=True)
    command: click.Command | None = main
    while isinstance(command, click.Group):
        name, *arguments = arguments
        command = command.get_command(click.Context(command), name)
    if command is None:
        raise click.UsageError(f"no command {name}")
    command.make_context(name, arguments).close()


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def links(text: str) -> list[str]:
    """The targets of links and images, code blocks left out."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Small stand-ins for the data sets that are files: two classes, enough of each for the pages' protocols.


def stand_in(key: str) -> LabelledImages:
    """Two classes of noise, each with its own brightness: as many images as the pages' protocols need."""
    rng, splits = np.random.default_rng(0), []
    for n in (1400 if key == "svhn" else 820, 60):
        labels = np.arange(n) % 2
        images = rng.integers(0, 200, (n, 32, 32, 3)) + 40 * labels[:, None, None, None]
        splits.append(make_split(images.astype(np.uint8), labels))
    train, test = splits
    return LabelledImages("stand-in", train, test, ("dark", "bright"), verified=False, dataset=key)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working folder, stand-ins for CIFAR-10 and SVHN, a K-means of one round on few patches."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("REPR_EVAL_DATA", str(tmp_path))
    monkeypatch.setattr(kmeans, "kmeans", partial(kmeans.kmeans, iterations=1))
    monkeypatch.setattr(repr_eval, "KMeans", partial(kmeans.KMeans, n_patches=4000))
    for key in ("cifar10", "svhn"):
        row = DATASETS[key]
        monkeypatch.setitem(DATASETS, key, replace(row, load=partial(_load, key, row.load)))
    return tmp_path


def _load(key: str, load: Loader, root: DataRoot, download: bool) -> LabelledImages:
    """The files that a page has written to `root`, if there are any; else the stand-in."""
    return load(root, False) if (root.path / "train_32x32.mat").is_file() else stand_in(key)


def run_page(path: Path) -> list[str]:
    """Run a page's Python blocks one after the other, in one namespace; the blocks."""
    namespace: dict[str, object] = {"__name__": "page"}
    found = blocks(path.read_text(encoding="utf-8"), "python")
    for number, source in enumerate(found, 1):
        exec(compile(source, f"{path.name}, block {number}", "exec"), namespace)
    return found


def with_python(slow: bool) -> list[Path]:
    return [
        path
        for path in PAGES
        if (path.name in SLOW_PAGES) == slow and blocks(path.read_text(encoding="utf-8"), "python")
    ]


@pytest.mark.parametrize("path", with_python(slow=False), ids=name_of)
def test_python_blocks_run(path: Path, small: Path) -> None:
    assert run_page(path)


@pytest.mark.slow
@pytest.mark.parametrize("path", with_python(slow=True), ids=name_of)
def test_python_blocks_run_slowly(path: Path, small: Path) -> None:
    assert run_page(path)
    assert len(read_records(small / "results")) == 4


def test_pages_with_python_are_known() -> None:
    names = {path.name for path in with_python(False) + with_python(True)}
    assert names >= {"README.md", "api.md", "data.md", "solver.md"}


def test_a_block_that_fails_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nimport repr_eval as rv\nrv.evaluat\n```\n")
    with pytest.raises(AttributeError, match="evaluat"):
        run_page(page)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_commands_parse(path: Path) -> None:
    for line in commands(path.read_text(encoding="utf-8")):
        try:
            parse(line)
        except click.UsageError as error:
            pytest.fail(f"{line}: {error.message}")


def test_commands_are_found_and_wrong_ones_are_noticed() -> None:
    text = "```sh\ntorchrun --nproc-per-node 2 -m repr_eval digits \\\n    --draws 3\nmake demo\n```\n"
    assert [" ".join(line.split()) for line in commands(text)] == ["repr-eval digits --draws 3"]
    for wrong in ("repr-eval digits --drafts 3", "repr-eval digit", "repr-eval explore walk --n"):
        with pytest.raises(click.UsageError):
            parse(wrong)
    assert len(commands((ROOT / "README.md").read_text(encoding="utf-8"))) >= 5


@pytest.mark.parametrize("path", [*PAGES, *OTHER_PAGES], ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for link in links(text):
        if re.match(r"https?://", link):
            continue
        target, _, anchor = link.partition("#")
        file = path.parent / target if target else path
        assert file.exists(), link
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), link


def test_every_page_is_linked_from_readme() -> None:
    linked = links((ROOT / "README.md").read_text(encoding="utf-8"))
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= {link.partition("#")[0] for link in linked}


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


@pytest.mark.slow
def test_readme_shows_the_output_of_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    command = [sys.executable, "-m", "repr_eval", "digits", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    printed = next(line for line in done.stdout.splitlines() if line.startswith("handwritten digits"))
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    shown = readme[readme.index("handwritten digits, 100 labels") :]
    assert shown.startswith(printed[: printed.index("test accuracy")])
    accuracies = [float(re.findall(r"test accuracy ([\d.]+)%", text)[0]) for text in (printed, shown)]
    assert abs(accuracies[0] - accuracies[1]) < 0.3  # other machines round otherwise


# Examples.


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder whose subprocesses find this checkout, and its `repr-eval`."""
    scripts = tmp_path / "bin"
    scripts.mkdir()
    script = scripts / "repr-eval"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m repr_eval "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(scripts), prepend=":")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own_function.py", "own_network.py"])
def test_python_examples_run(name: str, elsewhere: Path) -> None:
    done = subprocess.run([sys.executable, EXAMPLES / name], check=True, capture_output=True, text=True)
    assert done.stdout.count("handwritten digits, 100 labels") == 2
    assert len(read_records(elsewhere / "results")) == 2


@pytest.mark.slow
def test_the_training_example_runs(elsewhere: Path) -> None:
    command = [str(EXAMPLES / "train_and_evaluate.sh"), "run", "3"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "tables: run/digits.md" in done.stdout
    assert len(read_records(elsewhere / "run")) == 2
    assert (elsewhere / "run" / "gan" / "discriminator.safetensors").is_file()


def test_examples_are_all_tested() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh", ".ipynb")} == {
        "first_steps.ipynb",  # tests/test_notebook.py
        "own_function.py",
        "own_network.py",
        "train_and_evaluate.sh",
    }


# CITATION.cff.


def citation() -> Iterator[tuple[str, str]]:
    """The top-level keys of CITATION.cff and the rest of their lines."""
    for line in (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([\w-]+):(?: (.*))?$", line):
            yield match[1], match[2] or ""


def test_citation_has_the_required_keys_and_the_version() -> None:
    content = dict(citation())
    assert {"cff-version", "message", "title", "authors"} <= content.keys()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert content["version"] == project["version"] == repr_eval.__version__
    assert content["license"] == "MIT"
