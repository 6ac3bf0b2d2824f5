"""Commands that compare: compare, rank, classes. They need no torch, but for a picture's images."""

from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repr_eval.cli import one_line, options
from repr_eval.cli.evaluation_options import SPLITTING

if TYPE_CHECKING:
    from repr_eval.comparison.pair import Comparison


@click.command("compare")
@click.argument("ids", metavar="A B [C ...]", nargs=-1)
@options.out
@click.option("--data", help="The records' data, where it is a set of your own: for the picture.")
@options.given(*SPLITTING)
@options.data_dir
@click.option(
    "--picture/--no-picture",
    default=True,
    show_default=True,
    help="Write images that only one of the two gets right to compare-A-B.png in --out.",
)
@options.of_whole_records
def compare(
    ids: tuple[str, ...],
    out: Path,
    data: str | None,
    data_dir: Path | None,
    picture: bool,
    **reading: Any,
) -> None:
    """Is A better than B? Records of one protocol, on the same draws and test images; several: A
    with each.

    A, B: ids of records, as tables show them, or their beginnings. Differences are A's minus B's,
    with 95% intervals, and a test; docs/comparing.md says which.

    \b
    Example:
      repr-eval compare 3f2a 91bc --out results
    """
    if len(ids) < 2:
        named = " ".join(ids) or "no record"
        raise ValueError(f"named: {named}; a comparison needs two ids, as tables show them")
    from repr_eval.comparison.pair import compare_with_first

    comparisons = compare_with_first(ids, out=out)
    for number, comparison in enumerate(comparisons):
        click.echo("\n" * bool(number) + str(comparison))
    if picture:
        _pictures(comparisons, out, data, data_dir, reading)


def _pictures(
    comparisons: "list[Comparison]",
    out: Path,
    spec: str | None,
    data_dir: Path | None,
    reading: dict[str, Any],
) -> None:
    """A picture of each comparison; one line where there is none."""
    from repr_eval.datasets import DATASETS, load_dataset
    from repr_eval.records import facts_of

    drawn = [one for one in comparisons if one.predictions is not None]
    if not drawn:
        click.echo("no picture: there are no predictions to choose images by", err=True)
        return
    try:
        key = facts_of(drawn[0].a).dataset
        if spec is None and key not in DATASETS:
            raise ValueError(f"{drawn[0].a.dataset['name']} is a set of your own: name it with --data")
        data = load_dataset(
            spec or key, data_dir, download=False, image_size=reading["data_size"],
            test_share=reading["test_share"], split_seed=reading["split_seed"],
        )  # fmt: skip
        from repr_eval.comparison.picture import write_picture

        for one in drawn:
            path = out / f"compare-{one.a.id}-{one.b.id}.png"
            shown = write_picture(path, one, data)
            click.echo(f"wrote {path} ({shown} images)", err=True)
    except (ValueError, OSError) as error:
        click.echo(f"no picture: {one_line(error)}", err=True)


@click.command("classes")
@click.argument("record")
@options.out
@options.of_whole_records
def classes(record: str, out: Path) -> None:
    """Accuracy by class and the confusion matrix of a record: tables, and a picture.

    RECORD: its id, as tables show it, or the id's beginning.

    \b
    Example:
      repr-eval classes 3f2a --out results
    """
    from repr_eval.comparison.classes import write_classes

    written = write_classes(out, record)
    click.echo(unescape(written[0].read_text(encoding="utf-8")))  # a terminal shows letters as they are
    for path in written:
        click.echo(f"wrote {path}", err=True)


@click.command("rank")
@click.option("--data", help="Only this data set: its key, or its name in tables. Default: all.")
@click.option("--protocol", help='Only this, as "cifar10/all-labels/1" or "all-labels".')
@options.out
@options.of_whole_records
def rank(data: str | None, protocol: str | None, out: Path) -> None:
    """Every method of a protocol, the best first, with groups that cannot be told apart: rank.csv
    and rank.md.

    \b
    Example:
      repr-eval rank --data cifar10 --protocol all-labels --out results
    """
    from repr_eval.comparison.ranking import rank as ranked
    from repr_eval.comparison.ranking import write_ranking

    for path in write_ranking(out, ranked(out, data, protocol)):
        click.echo(path)
        if path.suffix == ".md":
            click.echo("\n" + unescape(path.read_text(encoding="utf-8")))
