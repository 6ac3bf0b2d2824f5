"""The command pack."""

from pathlib import Path

import click


@click.command("pack")
@click.argument("images", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--size", default=32, show_default=True, type=click.IntRange(1), help="Side of the packed images.")
@click.option("--workers", type=click.IntRange(1), help="Processes. Default: one a core.")
@click.option("--skip-unreadable", is_flag=True, help="List files that cannot be read instead of stopping at them.")
def pack_images(images: Path, out: Path, size: int, workers: int | None, skip_unreadable: bool) -> None:
    """Pack a folder of images into one uint8 array OUT.npy, with a sidecar OUT.json.

    An interrupted run goes on where it was.

    \b
    Example:
      repr-eval pack imagenet/train imagenet32.npy --size 32
    """
    from repr_eval.images.pack import pack

    report = pack(images, out, size, workers=workers, skip_unreadable=skip_unreadable)
    click.echo(f"{out}: {report.count:,} images, {len(report.skipped)} skipped, sha256 {report.sha256}")
    for name, reason in report.skipped:
        click.echo(f"skipped {name}: {reason}", err=True)
