"""Commands that report: table, report, doctor, make-digits.

Each imports its work when it runs: the first two need no torch.
"""

from pathlib import Path

import click

from repr_eval.cli import options
from repr_eval.cli.wording import as_options


@click.command("table")
@options.out
@options.of_whole_records
def table(out: Path) -> None:
    """Rebuild every CSV and Markdown table from the stored records, the paper's rows beside the measured ones.

    \b
    Example:
      repr-eval table --out results
    """
    from repr_eval.reporting.write import write_reports

    written = write_reports(out)
    if not written:
        raise ValueError(f"{out}: holds no record of a protocol that has a table")
    for path in written:
        click.echo(path)
        if path.suffix == ".md":
            click.echo("\n" + path.read_text(encoding="utf-8"))


@click.command("report")
@options.out
@click.option(
    "--run",
    "runs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of a training run: its losses and samples are shown. Repeatable.",
)
@click.option(
    "--compare",
    type=click.Path(path_type=Path),
    help="Another folder of records: which numbers agree within their intervals.",
)
@options.data_dir
@options.of_whole_records
def report(out: Path, runs: tuple[Path, ...], compare: Path | None, data_dir: Path | None) -> None:
    """Write one HTML page of all records: charts, a table, and the evidence of every number.

    The page, report.html in --out, is one file that loads nothing: it can be mailed. Studies of explore are shown
    where they lie in --out, in a --run, or in explored/ in one of these; the hardest test images where predictions
    are stored.

    \b
    Example:
      repr-eval report --out results --run runs/gan
    """
    from repr_eval.comparison.for_page import extras_of
    from repr_eval.images.data_dir import data_root
    from repr_eval.reporting.page.write import write_page

    if data_dir is not None:
        data_root(data_dir)  # says so where there is no such folder
    path = write_page(out, runs=runs, compare=compare, extras=extras_of(out, data_dir))
    click.echo(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


@click.command("doctor")
@options.data_dir
@options.out
def doctor(data_dir: Path | None, out: Path) -> None:
    """Versions, device, memory, disk, which data sets are found where, and which jobs fit.

    \b
    Example:
      repr-eval doctor
    """
    from repr_eval.doctor import report
    from repr_eval.images.data_dir import data_root

    for line in report(data_root(data_dir), out):
        click.echo(as_options(line))


@click.command("make-digits")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--train", "n_train", default=73_257, show_default=True, help="Training images; SVHN's number.")
@click.option("--test", "n_test", default=26_032, show_default=True, help="Test images; SVHN's number.")
@click.option("--extra", "n_extra", default=0, show_default=True, help="Extra images; SVHN has 531,131.")
@options.seed
def make_digits(folder: Path, n_train: int, n_test: int, n_extra: int, seed: int) -> None:
    """Draw house-number-like digits into FOLDER in SVHN's layout, to rehearse `repr-eval svhn` without SVHN.

    \b
    Example:
      repr-eval make-digits generated --train 2000 --test 1000
    """
    from repr_eval.images.house_numbers import write_svhn_layout

    write_svhn_layout(folder, n_train, n_test, seed, n_extra)
    click.echo(f"{folder}: {n_train:,} training, {n_test:,} test and {n_extra:,} extra images")
