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

    An interrupted run goes on where it was. Of a finished one, the array is hashed; names and lengths of the images
    are compared, not their content.

    \b
    Example:
      repr-eval pack imagenet/train imagenet32.npy --size 32
    """
    from repr_eval.images.pack import pack

    finished = out.exists()
    report = pack(images, out, size, workers=workers, skip_unreadable=skip_unreadable)
    click.echo(f"{out}: {report.count:,} images, {len(report.skipped)} skipped, sha256 {report.sha256}")
    if finished:
        click.echo(
            f"{out}: was there and has that hash; its images have the names and lengths that they had (content unread)",
            err=True,
        )
    for name, reason in report.skipped:
        click.echo(f"skipped {name}: {reason}", err=True)
