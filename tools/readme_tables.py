"""Writes the tables of benchmarks/results between the markers of a Markdown file, by default README.md.

    python -m tools.readme_tables

A block between `<!-- table NAME -->` and `<!-- end -->` becomes the content of benchmarks/results/NAME.md.
"""

import re
from pathlib import Path

import click

from repr_eval.system.files import write_text

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def with_tables(text: str, results: Path = RESULTS) -> str:
    """`text` with every marked block replaced by its table."""

    def block(match: re.Match[str]) -> str:
        table = (results / f"{match[1]}.md").read_text(encoding="utf-8").strip()
        return f"<!-- table {match[1]} -->\n{table}\n<!-- end -->"

    return re.sub(r"<!-- table ([\w-]+) -->\n.*?<!-- end -->", block, text, flags=re.DOTALL)


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True), default=ROOT / "README.md")
def main(path: Path) -> None:
    """Renew the tables in PATH."""
    write_text(path, with_tables(path.read_text(encoding="utf-8")))
    click.echo(path)


if __name__ == "__main__":
    main()
