"""explore samples, which is the command samples as well: a grid of a generator's images, and their fidelity.

What needs torch is imported once the command runs and its options are checked.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from repr_eval.cli import options
from repr_eval.cli.explore import command_line, tell
from repr_eval.gan.pretrained import find_both

if TYPE_CHECKING:
    from repr_eval.gan.networks import Generator
    from repr_eval.gan.weights import WeightsInfo


@click.command("samples")
@click.option("--weights", required=True, help="A generator's .safetensors file, or a name from pretrained/.")
@click.option(
    "--n",
    default=64,
    show_default=True,
    type=click.IntRange(2, 10_000),
    help="Images; one batch, which batch norm sees.",
)
@click.option(
    "--z", type=click.Choice(["uniform", "normal"]), help="The noise. Default: what the weights were trained with."
)
@click.option(
    "--fidelity",
    is_flag=True,
    help="FID, KID and Inception score too, by torch-fidelity (repr-eval[fidelity]), against --data.",
)
@click.option("--data", metavar="DATA", help="Real images for --fidelity: a packed .npy, a folder or a data set.")
@click.option(
    "--images", type=click.IntRange(2), default=5000, show_default=True,
    help="Samples, and random real images, that --fidelity compares.",
)  # fmt: skip
@options.data_dir
@options.seed
@options.device
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("samples.png"), show_default=True, help="The picture."
)
def samples(
    weights: str, n: int, z: str | None, fidelity: bool, data: str | None, images: int, data_dir: Path | None,
    seed: int, device: str, out: Path,
) -> None:  # fmt: skip
    """Draw a grid of images with a generator: a PNG.

    With --fidelity also a JSON of the same name.

    \b
    Examples:
      repr-eval samples --weights runs/gan/generator.safetensors --n 64 --out samples.png
      repr-eval samples --weights faces64-w0.25 --fidelity --data faces64.npy
    """
    path = find_both(weights)[-1]  # of a name that stands for both, the generator
    if fidelity != (data is not None):
        given, missing = ("--fidelity", "--data, the real images") if fidelity else (f"--data {data}", "--fidelity")
        raise ValueError(f"{given} needs {missing} too")
    from repr_eval.gan.unlabelled import check_source

    if data is not None:
        check_source(data)
    from repr_eval.gan.samples import generate, save_grid
    from repr_eval.gan.weights import load_generator
    from repr_eval.system.devices import chosen_device
    from repr_eval.system.random_streams import draw_noise, generator_for

    generator, info = load_generator(path)
    z = z or info.z or generator.arch.z
    noise = draw_noise(n, generator.z_dim, z, generator_for(seed, "samples"))
    chosen = chosen_device(device)
    save_grid(out, generate(generator.to(chosen), noise.to(chosen)))
    click.echo(f"{out}: {n} images, {z} noise, seed {seed}")
    if data is not None:
        _measure(generator, info, z, data, images, data_dir, seed, out)


def _measure(
    generator: "Generator", info: "WeightsInfo", z: str, data: str, n: int, data_dir: Path | None, seed: int,
    out: Path,
) -> None:  # fmt: skip
    from repr_eval.explore import fidelity
    from repr_eval.explore.output import save_numbers
    from repr_eval.gan.unlabelled import unlabelled_images
    from repr_eval.gan.weights import weights_hash

    fidelity.package()  # before any work for it
    real = unlabelled_images(data, generator.arch.image_size, data_dir, cache=out.parent)
    cuda = next(generator.parameters()).device.type == "cuda"
    samples = fidelity.drawn(generator, n, z, seed)
    numbers = fidelity.measure(samples, fidelity.chosen(real.images, n, seed), cuda) | {
        "generator_sha256": weights_hash(generator),
        "trained_on": info.trained_on,
        "noise": z,
        "data": real.description,
        "data_sha256": real.sha256,
    }
    file = out.with_suffix(".json")
    save_numbers(file, "fidelity", None, seed, command_line(), numbers)
    tell(fidelity.in_words(numbers), [file])
