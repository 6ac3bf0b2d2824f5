"""The command pack."""

from pathlib import Path

import click

from repr_eval.cli import options
from repr_eval.cli.explore import command_line, tell

SIDE = 32  # that the codes are made of


@click.command("pack")
@click.argument("images", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--size", default=32, show_default=True, type=click.IntRange(1), help="Side of the packed images.")
@click.option("--workers", type=click.IntRange(1), help="Processes. Default: one a core.")
@click.option("--skip-unreadable", is_flag=True, help="List files that cannot be read instead of stopping at them.")
@click.option("--deduplicate", is_flag=True, help="Write OUT-unique.npy too, without near duplicates (needs torch).")
@click.option(
    "--threshold", type=click.FloatRange(0), help="As in explore deduplicate; for --deduplicate.  [default: 0.0]"
)
@click.option("--confirm", is_flag=True, help="As in explore deduplicate; for --deduplicate.")
@click.option("--steps", type=click.IntRange(1), help="As in explore deduplicate; for --deduplicate.  [default: 2000]")
@options.seed
def pack_images(
    images: Path, out: Path, size: int, workers: int | None, skip_unreadable: bool, deduplicate: bool,
    threshold: float | None, confirm: bool, steps: int | None, seed: int,
) -> None:  # fmt: skip
    """Pack a folder of images into one uint8 array OUT.npy, with a sidecar OUT.json.

    An interrupted run goes on where it was. Of a finished one, the array is hashed; names and lengths of the images
    are compared, not their content.

    With --deduplicate, OUT.npy has every image as before; OUT-unique.npy has, of images with the same code of
    the paper's autoencoder, the first (explore deduplicate), and OUT-unique.json says what that did to
    planted duplicates.

    \b
    Examples:
      repr-eval pack imagenet/train imagenet32.npy --size 32
      repr-eval pack bedrooms bedrooms64.npy --size 64 --deduplicate
    """
    for option, given in (
        ("--threshold", threshold is not None),
        ("--confirm", confirm),
        ("--steps", steps is not None),
    ):
        if given and not deduplicate:
            raise ValueError(f"{option} is for --deduplicate, which is not given")
    if deduplicate and size < SIDE:
        raise ValueError(f"--size {size}: --deduplicate needs images of {SIDE}x{SIDE} or more")
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
    if deduplicate:
        from repr_eval.explore import duplicates
        from repr_eval.gan.unlabelled import read_packed

        numbers, written = duplicates.write_unique(
            read_packed(out), out.with_name(f"{out.stem}-unique.npy"), seed, command_line(),
            steps=steps or 2000, threshold=threshold or 0.0, confirm=confirm,
        )  # fmt: skip
        tell(duplicates.in_words(numbers).splitlines(), written)
