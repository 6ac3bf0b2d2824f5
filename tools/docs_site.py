"""Hooks of mkdocs (mkdocs.yml): pages from outside docs/, links to files of the checkout, no request elsewhere.

The pages of docs/ link to files beside docs/ (`../benchmarks/README.md`), as code hosts want it. The site has these
files at the same places below its root, where docs/ itself lies.
"""

import logging
import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = "docs/"
PROJECT_PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md", "pretrained/README.md")
FOLDERS = {
    "benchmarks/results": (".md", ".csv", ".png"), "examples": (".ipynb", ".py", ".sh"), "pretrained": (".png", ".json")
}  # fmt: skip
# Elsewhere than at their own place: the front page, and pages whose name would make them a section's front page.
REPLACED = {
    "README.md": "docs/index.md", "benchmarks/README.md": "docs/benchmarks.md", "pretrained/README.md": "docs/models.md"
}  # fmt: skip
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
FENCE = re.compile(r"^(```.*?^```)", re.DOTALL | re.MULTILINE)
# Attributes that a browser follows without being asked, by tag.
LOADING = {
    "audio": "src", "embed": "src", "iframe": "src", "img": "src", "input": "src", "link": "href",
    "object": "data", "script": "src", "source": "src", "track": "src", "video": "src",
}  # fmt: skip
LOADING_RELATIONS = re.compile(r"stylesheet|icon|preload|prefetch|preconnect|manifest")
COMMANDS = "<!-- commands -->"  # where the reference of the commands comes
ELSEWHERE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
CSS_URL = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")

log = logging.getLogger("mkdocs.repr_eval")  # below "mkdocs": its warnings end a strict build


def outside_files(root: Path = ROOT) -> list[str]:
    """The files outside docs/ that the site has, as paths in the checkout."""
    listed = [
        f"{folder}/{path.name}"
        for folder, suffixes in FOLDERS.items()
        for path in sorted((root / folder).iterdir())
        if path.suffix in suffixes
    ]
    return [*PROJECT_PAGES, *listed]


def place_of(source: str) -> str:
    """Where the site has a file of the checkout: docs/ is its root; other folders are below it."""
    return REPLACED.get(source, source).removeprefix(DOCS)


def source_of(place: str, root: Path = ROOT) -> str:
    """The file of the checkout that the site has at `place`."""
    for source in outside_files(root):
        if place_of(source) == place:
            return source
    return DOCS + place


def with_links(text: str, source: str) -> str:
    """`text` of the file `source` with its links to files of the checkout as the site has them; code as it is."""

    def moved(match: re.Match[str]) -> str:
        target, mark, anchor = match[2].partition("#")
        if not target or ":" in target:
            return match[0]
        wanted = os.path.normpath(os.path.join(os.path.dirname(source), target))
        here = os.path.dirname(place_of(source)) or "."
        return f"{match[1]}{os.path.relpath(place_of(wanted), here)}{mark}{anchor}{match[3]}"

    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(moved, part) for part in parts)


class _Loaded(HTMLParser):
    """Addresses that a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "link" and not LOADING_RELATIONS.search(given.get("rel", "")):
            return
        self.found += [given[name] for name in (LOADING.get(tag, ""), "poster") if name in given]
        self.found += [part.split()[0] for part in given.get("srcset", "").split(",") if part.split()]
        self.found += css_addresses(given.get("style", ""))


def css_addresses(css: str) -> list[str]:
    """The addresses that a style sheet loads."""
    return [first or second for first, second in CSS_URL.findall(css)]


def requests_elsewhere(folder: Path) -> Iterator[tuple[str, str]]:
    """Page and address of all that the pages and style sheets of a built site load from other hosts."""
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".html", ".css"):
            continue
        text = path.read_text(encoding="utf-8")
        addresses = css_addresses(text)
        if path.suffix == ".html":
            page = _Loaded()
            page.feed(text)
            addresses = page.found
        for address in addresses:
            if ELSEWHERE.match(address):
                yield path.relative_to(folder).as_posix(), address


# What mkdocs calls.


def on_config(config: Any) -> Any:
    """Anchors as code hosts make them."""
    from pymdownx.slugs import slugify

    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the files from outside docs/."""
    from mkdocs.structure.files import File

    for source in outside_files():
        files.append(File.generated(config, place_of(source), abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as the site has them, and the reference of commands in its place."""
    markdown = with_links(markdown, source_of(page.file.src_uri))
    if COMMANDS not in markdown:
        return markdown
    from repr_eval.cli import main
    from tools import command_reference

    return markdown.replace(COMMANDS, command_reference.page(main))


def on_post_build(config: Any) -> None:
    """Warn of each request to another host."""
    for page, address in requests_elsewhere(Path(config.site_dir)):
        log.warning("%s loads %s: pages may load from the site alone", page, address)
