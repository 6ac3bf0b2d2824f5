"""Puts a training run's networks into pretrained/, in float16, and writes or completes their entry in manifest.json.

    python -m tools.ship runs/imagenet imagenet-w0.5 --command "repr-eval train-gan ..." --commit HASH --hours 1.0

Run it again after an evaluation: the records in benchmarks/results whose features came from these weights are entered
as the model's results.
"""

import json
from pathlib import Path
from typing import Any

import click

from repr_eval.classifiers.named import setting_of
from repr_eval.gan.run_folder import DISCRIMINATOR, GENERATOR
from repr_eval.gan.settings import SETTINGS, read_history, read_settings
from repr_eval.gan.weights import export, load_discriminator, read_tensors, weights_hash
from repr_eval.records import known_records
from repr_eval.reporting.rows import whole
from repr_eval.system.files import sha256_of_file, write_text
from repr_eval.system.provenance import machine, versions

ROOT = Path(__file__).resolve().parent.parent
PRETRAINED, RESULTS = ROOT / "pretrained", ROOT / "benchmarks" / "results"


def results_of(weights_sha256: str) -> list[dict[str, Any]]:
    """What the records say of all layers of these weights, validation included."""
    return [
        {
            "protocol": record.protocol, "dataset": record.dataset["name"], "labels": record.labels,
            "draws": len(record.test_correct), "bn": record.representation["bn"],
            "classifier": record.classifier, setting_of(record.classifier): record.C,
            "validation_accuracy": round(record.validation_accuracy, 6),
            "test_accuracy": round(sum(record.test_correct) / record.test_n / len(record.test_correct), 6),
            "record": record.id,
        }
        for record in known_records(RESULTS)
        if record.representation.get("weights_sha256") == weights_sha256 and whole(record)
    ]  # fmt: skip


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.argument("name")
@click.option("--command", required=True, help="The command that trained it.")
@click.option("--commit", required=True, help="The commit that it was trained with.")
@click.option("--hours", type=float, required=True, help="Hours of training.")
@click.option("--best/--not-best", default=True, help="Whether it becomes the default of the evaluations.")
def main(run: Path, name: str, command: str, commit: str, hours: float, best: bool) -> None:
    """Ship the run's networks under NAME."""
    files = {f"{name}.safetensors": run / DISCRIMINATOR, f"{name}-generator.safetensors": run / GENERATOR}
    for file, source in files.items():
        export(source, PRETRAINED / file)
    _, info = read_tensors(run / DISCRIMINATOR)
    sha256 = weights_hash(load_discriminator(PRETRAINED / f"{name}.safetensors")[0])
    settings, past = read_settings(run / SETTINGS), read_history(run / SETTINGS)
    trained_on = past[-1] if past else {"machine": machine("no GPU"), "versions": versions()}
    path = PRETRAINED / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"best": name, "models": {}}
    manifest["models"][name] = {
        "files": {file: sha256_of_file(PRETRAINED / file) for file in files},
        "weights_sha256": sha256,
        "command": command,
        "data": settings.data, "data_sha256": settings.data_sha256, "n_images": settings.n_images,
        "seed": settings.seed, "commit": commit,
        "hardware": trained_on["machine"], "versions": trained_on["versions"],
        "hours": hours, "steps": info.settings["steps"], "images_seen": info.images_seen,
        "results": results_of(sha256),
    }  # fmt: skip
    if best:
        manifest["best"] = name
    write_text(path, json.dumps(manifest, indent=2) + "\n")
    click.echo(f"{path}: {name}, {info.images_seen:,} images seen, {len(results_of(sha256))} results")


if __name__ == "__main__":
    main()
