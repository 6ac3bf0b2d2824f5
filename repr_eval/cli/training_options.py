"""The options of train-gan, and the headings under which its help lists them."""

from pathlib import Path

import click

from repr_eval.cli import options
from repr_eval.gan.architectures import ARCHITECTURES
from repr_eval.gan.recipes import RECIPES
from repr_eval.gan.watched import LOGS

CHECKPOINT_EVERY = click.option(
    "--checkpoint-every", default=500, show_default=True, help="Steps between two checkpoints."
)
RESUME = click.option(
    "--resume", is_flag=True, help="Go on from the last checkpoint in --out; start where there is none."
)
LOG = click.option(
    "--log", type=click.Choice(LOGS),
    help="Write TensorBoard's event files too, to tensorboard/ in --out. JSON lines, log.jsonl, are always written.",
)  # fmt: skip

HEADINGS = {
    "Data": ("data", "data_name", "data_dir"),
    "Networks": ("arch", "width", "z_dim", "z", "sources", "widen"),
    "Recipe": ("recipe", "batch_size", "lr", "beta1", "epochs", "max_steps"),
    "Run": ("out", "checkpoint_every", "log", "resume", "dry_run", "seed", "device", "precision"),
}
TRAINING = (
    click.option("--data", required=True,
                 help="Images to train on: a packed array, a folder of images, or cifar10, svhn, digits."),
    click.option("--data-name",
                 help="What the data is, in words, for records. Default: the name of the file or the data set."),
    click.option("--arch", type=click.Choice(list(ARCHITECTURES)), default="dcgan32", show_default=True,
                 help="Architecture of both networks."),
    click.option("--width", default=1.0, show_default=True, help="Factor on every layer's maps."),
    click.option("--epochs", default=30, show_default=True, help="Passes over the images."),
    click.option("--max-steps", type=int, help="Stop after this many steps, if the epochs have not ended before."),
    click.option("--recipe", type=click.Choice(list(RECIPES)), default="paper", show_default=True,
                 help="How the networks are trained: losses, views, tasks, rates."),
    click.option("--batch-size", type=int, help="Real images in a step. Default: the recipe's (the paper's: 128)."),
    click.option("--lr", type=float, help="Adam's step size. Default: the recipe's (the paper's: 2e-4)."),
    click.option("--beta1", type=float, help="Adam's first decay. Default: the recipe's (the paper's: 0.5)."),
    click.option("--z-dim", type=int, help="Length of the noise. Default: the architecture's."),
    click.option("--z", type=click.Choice(["uniform", "normal"]),
                 help="Distribution of the noise. Default: the architecture's."),
    click.option("--from", "sources", multiple=True, metavar="WEIGHTS",
                 help="Start from these weights instead of random ones: a discriminator's file and perhaps a "
                 "generator's, or a name from pretrained/. Repeatable."),
    click.option("--widen", is_flag=True,
                 help="Start from networks twice as wide as those of --from, which compute the same."),
    options.seed,
    options.device,
    click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True,
                 help="Type in which the networks compute; weights stay in fp32. auto: bf16 where the device has units "
                 "for it; with --resume, the run's own."),
    click.option("--out", type=click.Path(path_type=Path), default=Path("runs/gan"), show_default=True,
                 help="Run folder."),
    CHECKPOINT_EVERY,
    LOG,
    RESUME,
    click.option("--dry-run", is_flag=True, help="Print the resolved settings as JSON and stop."),
    options.data_dir,
)  # fmt: skip
