"""Writes the tables of benchmarks/results between the markers of Markdown files: by default README.md and docs/.

    python -m tools.readme_tables

A block between `<!-- table NAME -->` and `<!-- end -->` becomes the content of benchmarks/results/NAME.md. The table
`summary` is made here, from the records; `repr-eval table --out benchmarks/results` makes the others.
"""

import re
from pathlib import Path

import click

from repr_eval.records import read_records
from repr_eval.system.files import write_text
from tools import summary

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def with_tables(text: str, results: Path = RESULTS) -> str:
    """`text` with every marked block replaced by its table."""

    def block(match: re.Match[str]) -> str:
        table = (results / f"{match[1]}.md").read_text(encoding="utf-8").strip()
        return f"<!-- table {match[1]} -->\n{table}\n<!-- end -->"

    return re.sub(r"<!-- table ([\w-]+) -->\n.*?<!-- end -->", block, text, flags=re.DOTALL)


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True))
def main(paths: tuple[Path, ...]) -> None:
    """Renew the tables in PATHS. Default: README.md and every page of docs/."""
    write_text(RESULTS / "summary.md", summary.to_markdown(read_records(RESULTS)))
    for path in paths or PAGES:
        text = path.read_text(encoding="utf-8")
        renewed = with_tables(text)
        if renewed != text:
            write_text(path, renewed)
            click.echo(path)


if __name__ == "__main__":
    main()
