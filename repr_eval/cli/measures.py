"""The command measures: what can be said of stored features without labels.

What needs torch is imported once the command runs and its options are checked.
"""

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from repr_eval.cli import options
from repr_eval.cli.checks import check_any_data, check_representation
from repr_eval.cli.evaluation_options import (
    HEADINGS_OF_ANY_DATA,
    METHODS,
    OWN_NETWORK,
    READING,
    REPRESENTATION,
    SPEC_HELP,
    WHERE,
)
from repr_eval.cli.headings import HeadedCommand
from repr_eval.gan.pretrained import is_untrained

HEADINGS = {
    "Data": HEADINGS_OF_ANY_DATA["Data"],
    "Representation": ("weights", "arch", "width", "bn", "views"),
    "Own network": ("encoder", "pool", "image_size", "mean", "std"),
    "Measures": ("rows", "against", "seed"),
    "Where": HEADINGS_OF_ANY_DATA["Where"],
}
UNTRAINED_SHAPE = {"arch": "dcgan32", "width": 1.0}  # the defaults of --arch and --width

MEASURES = (
    click.option("--data", default="cifar10", show_default=True, help=SPEC_HELP),
    click.option("--rows", type=click.IntRange(2), default=2048, show_default=True,
                 help="Training images that are measured, drawn by --seed; all, if there are not more."),
    click.option("--against",
                 help="Another representation, to tell how alike the two are: what --weights takes, or an "
                 ".npy file of features, a row for each training image in the data set's order."),
)  # fmt: skip


@click.command("measures", cls=HeadedCommand, headings=HEADINGS)
@options.given(*MEASURES, *READING, *REPRESENTATION, *OWN_NETWORK, options.seed, *WHERE)
@options.shared_by_ranks
def measures(rows: int, against: str | None, **settings: Any) -> None:
    """RankMe, effective rank and alpha-ReQ by layer; linear CKA with another. Needs no labels.

    The features are those that the evaluations store and use; training images alone are looked at.
    Adds a line to measures.jsonl in --out and writes measures.csv; with --against, cka.csv and a
    heat map.

    \b
    Examples:
      repr-eval measures
      repr-eval measures --data digits --weights random --against pixels
    """
    sides = _sides(settings, against)
    for side in sides:
        check_representation(side)
    file = Path(against) if against is not None and len(sides) == 1 else None
    if file is not None and not file.is_file():
        raise ValueError(f"--against {file}: no such file")
    check_any_data(settings)
    _run(rows, sides, file)


def _sides(settings: dict[str, Any], against: str | None) -> list[dict[str, Any]]:
    """The settings of one representation or of two; one only where the other is a file of features.

    --arch and --width are those of untrained networks, on either side; --bn is that of networks, and
    --views is for both.
    """
    one = dict(settings)
    if against is None or against.endswith(".npy"):
        return [one]
    own_network = ("encoder", "pool", "image_size", "mean", "std")
    other = one | dict.fromkeys(own_network) | {"weights": against}
    if not is_untrained(against):
        other |= UNTRAINED_SHAPE
    elif not is_untrained(settings["weights"]):
        one |= UNTRAINED_SHAPE
    if against in METHODS:
        other["bn"] = "recomputed"
    return [one, other]


def _run(rows: int, sides: list[dict[str, Any]], file: Path | None) -> None:
    """Extract, measure, store and print."""
    from repr_eval.cli import jobs
    from repr_eval.evaluation import features_of
    from repr_eval.label_free import files, words
    from repr_eval.label_free.measurement import measure
    from repr_eval.label_free.seen import chosen_rows, seen, seen_in_file
    from repr_eval.system.ranks import current, leave

    settings = sides[0]
    out, seed = settings["out"], settings["seed"]
    options.make_folder(out, "--out")
    files.read(out)  # what is wrong with it is said before anything is computed
    store, precision = jobs.store_of(settings), settings["store_as"]
    representations = [jobs.representation_of(side) for side in sides]
    images, ranks = jobs.loaded_any(settings), current()
    chosen = chosen_rows(len(images.train.labels), rows, seed)
    in_file = [] if file is None else [seen_in_file(file, images, chosen)]
    extracted = [features_of(images, one, store, precision, ranks=ranks) for one in representations]
    ranks.wait()
    leave()
    if not ranks.first:
        return  # it has shared the extraction; the first goes on alone
    measured = measure(
        images,
        *(seen(features, chosen) for features in extracted),
        *in_file,
        seed=None if chosen is None else seed,
        seconds_of_features=sum(features.seconds for features in extracted),
        command=shlex.join(["repr-eval", *sys.argv[1:]]),
    )
    written = files.save(out, measured)
    click.echo(words.in_words(measured))
    for remark in words.remarks(measured):
        click.echo(f"note: {remark}", err=True)
    for path in written:
        click.echo(f"wrote {path}", err=True)
