"""The site: what it adds to docs/, and that nothing of docs/ is left out. `make docs` builds it, strictly."""

import re
from pathlib import Path

import click
import pytest
import yaml

import repr_eval
from repr_eval.cli import COMMANDS, main
from repr_eval.cli.headings import HeadedCommand
from tools import command_reference, docs_site

ROOT = Path(repr_eval.__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def read(name: str) -> dict[str, object]:
    """A YAML file of the checkout; "on" is the text, not the truth value that YAML 1.1 takes it for."""
    text = re.sub(r"^on:", '"on":', (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    content = yaml.safe_load(text)
    assert isinstance(content, dict)
    return content


def pages(entry: object) -> list[str]:
    """The pages of a part of `nav`."""
    if isinstance(entry, str):
        return [entry]
    assert isinstance(entry, dict | list)
    return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in pages(part)]


def test_every_page_has_its_place_once() -> None:
    listed = pages(read("mkdocs.yml")["nav"])
    own = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    assert sorted(listed) == sorted([*own, *map(docs_site.place_of, docs_site.PROJECT_PAGES)])


def test_the_python_reference_has_every_public_name() -> None:
    text = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    names = re.findall(r"^::: repr_eval\.(\w+)$", text, re.MULTILINE)
    assert sorted(names) == sorted(repr_eval.__all__)


# Links.


@pytest.mark.parametrize(
    ("source", "link", "there"),
    [
        ("docs/training.md", "../benchmarks/results/train.md", "benchmarks/results/train.md"),
        ("docs/training.md", "data.md#cifar-10", "data.md#cifar-10"),
        ("docs/howto/gpu.md", "../training.md", "../training.md"),
        ("docs/howto/gpu.md", "../../CONTRIBUTING.md#style", "../CONTRIBUTING.md#style"),
        ("docs/api.md", "../README.md", "index.md"),
        ("docs/howto/gpu.md", "../../benchmarks/README.md#growth", "../benchmarks.md#growth"),
        ("CONTRIBUTING.md", "docs/data.md", "data.md"),
        ("benchmarks/README.md", "results/svm.csv", "benchmarks/results/svm.csv"),
        ("pretrained/README.md", "../docs/solver.md", "solver.md"),
        ("docs/api.md", "#networks", "#networks"),
        ("docs/api.md", "https://example.org/a/../b", "https://example.org/a/../b"),
    ],
)
def test_links_are_as_the_site_has_them(source: str, link: str, there: str) -> None:
    assert docs_site.with_links(f"see [it]({link})!", source) == f"see [it]({there})!"


def test_code_keeps_its_links() -> None:
    code = "```python\nx[0](../a.md)\n```\n"
    assert docs_site.with_links(code + "[a](../a.md)", "docs/b.md") == code + "[a](a.md)"


def test_pages_of_the_checkout_and_of_the_site_belong_together() -> None:
    for source in (*docs_site.outside_files(), "docs/data.md", "docs/howto/gpu.md"):
        assert (ROOT / source).is_file()
        assert docs_site.source_of(docs_site.place_of(source)) == source


# Requests.


def test_requests_to_other_hosts_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<link rel="canonical" href="https://a.example"><link rel="stylesheet" href="//b.example/c.css">'
        '<a href="https://d.example">no request</a><img src="e.png" srcset="https://f.example/g.png 2x">'
        '<script src="HTTPS://h.example/i.js"></script><p style="background: url(https://j.example)">'
    )
    (tmp_path / "k.css").write_text("@import 'https://l.example'; b { background: url( m.png ) }")
    assert list(docs_site.requests_elsewhere(tmp_path)) == [
        ("a.html", "//b.example/c.css"),
        ("a.html", "https://f.example/g.png"),
        ("a.html", "HTTPS://h.example/i.js"),
        ("a.html", "https://j.example"),
        ("k.css", "https://l.example"),
    ]


def test_a_request_to_another_host_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Config:
        site_dir = str(tmp_path)

    docs_site.on_post_build(Config())
    assert not caplog.records
    (tmp_path / "a.html").write_text('<script src="https://b.example/c.js"></script>')
    docs_site.on_post_build(Config())
    assert [record.name.partition(".")[0] for record in caplog.records] == ["mkdocs"]
    assert "a.html loads https://b.example/c.js" in caplog.text


# The reference of commands.


def small_group() -> click.Group:
    """A group of one command with a heading."""

    @click.command(
        "grow",
        cls=HeadedCommand,
        headings={"Size": ["height"]},
    )
    @click.argument("plants", nargs=-1)
    @click.option("--height", type=click.IntRange(1), default=3, show_default=True, help="In <m>.")
    @click.option("--by", type=click.Choice(["a", "b"]), help="With `sun | rain`, a_b.")
    def grow(plants: tuple[str, ...], height: int, by: str | None) -> None:
        """Let plants grow. Slowly.

        \b
        Example:
          garden grow fern
        """

    return click.Group("garden", help="A garden.", commands={"grow": grow})


def test_the_reference_of_a_small_group() -> None:
    expected = """```text
garden [OPTIONS] COMMAND [ARGS]...
```

A garden.

| command | what it does |
|---|---|
| [grow](#grow) | Let plants grow. |

## grow

```text
garden grow [OPTIONS] [PLANTS]...
```

Let plants grow. Slowly.

Example:

```text
garden grow fern
```

**Size**

`--height INTEGER RANGE`
:   In &lt;m>. \\[default: 3; x>=1\\]

**Options**

`--by [a|b]`
:   With `sun | rain`, a\\_b.
"""
    assert command_reference.page(small_group(), ["garden"]) == expected


def test_the_reference_has_every_command_and_option() -> None:
    text = command_reference.page(main)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    assert [name for name in headings if " " not in name] == list(COMMANDS)
    assert "explore walk" in headings
    root = click.Context(main, info_name="repr-eval")
    for name in COMMANDS:
        command = main.get_command(root, name)
        assert command is not None
        section = re.split(rf"^## {name}$", text, flags=re.MULTILINE)[1]
        section = re.split(r"^## ", section, flags=re.MULTILINE)[0]
        for parameter in command.params:
            record = parameter.get_help_record(click.Context(command))
            assert record is None or not record[1] or f"`{record[0]}`" in section, (name, record)


# Continuous integration.


def test_workflows_test_what_the_project_says_it_runs_on() -> None:
    jobs = read(".github/workflows/tests.yml")["jobs"]
    assert isinstance(jobs, dict)
    matrix = jobs["test"]["strategy"]["matrix"]
    assert matrix == {
        "os": ["ubuntu-latest", "macos-latest"],
        "python": ["3.11", "3.12", "3.13"],
    }
    run = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = {line.removeprefix("make ") for line in run if line.startswith("make ")}
    assert made == {"test", "slow-test", "docs"}
    assert made <= targets
    assert (ROOT / "Dockerfile").read_text().rstrip().endswith('CMD ["make", "demo"]')
