"""The command line: help that works, one pass from images to tables, and one line for everything that goes wrong."""

import csv
import dataclasses
import errno
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import Result
from factories import no_file_larger_than, run
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.io import savemat

import repr_eval
from repr_eval.classifiers.named import CLASSIFIERS
from repr_eval.classifiers.neighbours import NearestNeighbours
from repr_eval.cli import COMMANDS, jobs, main
from repr_eval.gan.architectures import architecture_named
from repr_eval.gan.networks import Discriminator, Generator, initialise
from repr_eval.gan.settings import read_settings
from repr_eval.gan.weights import WeightsInfo, save_weights
from repr_eval.images.house_numbers import write_svhn_layout
from repr_eval.records import append_record, read_records
from repr_eval.reporting import tables, write
from repr_eval.reporting.rows import Row
from repr_eval.reporting.write import write_reports
from repr_eval.representations import named
from repr_eval.representations.autoencoders import Training
from repr_eval.representations.dae import DenoisingFeatures, DenoisingSettings
from repr_eval.representations.methods import METHODS
from repr_eval.representations.pixels import WhitenedPixels

pytestmark = pytest.mark.usefixtures("own_cache")

CHECKOUT = Path(repr_eval.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(CHECKOUT)}


def succeed(*arguments: object) -> Result:
    result = run(*arguments)
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return result


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# Help.


def command_named(name: str) -> click.Command:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return command


def parse(line: str) -> None:
    """Raises click's UsageError unless `line` is a command with options that exist and values of their kind."""
    program, name, *arguments = shlex.split(line, comments=True)
    assert program == "repr-eval"
    with suppress(click.exceptions.Exit):  # --help
        command_named(name).make_context(name, arguments).close()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_that_parses(name: str) -> None:
    text = succeed(name, "--help").stdout
    assert text.startswith(f"Usage: main {name} ")
    assert re.search(r"^ *Examples?:$", text, re.MULTILINE)
    examples = [line.strip() for line in text.splitlines() if line.strip().startswith("repr-eval ")]
    assert examples
    for example in examples:
        assert shlex.split(example)[1] == name
        parse(example)


def test_an_example_that_does_not_parse_would_be_noticed() -> None:
    for wrong in ("repr-eval digits --drafts 3", "repr-eval train-gan --data x --epochs many", "repr-eval pack a"):
        with pytest.raises(click.UsageError):
            parse(wrong)


def makefile_commands() -> list[str]:
    text = (CHECKOUT / "Makefile").read_text()
    variables = dict(re.findall(r"^(\w+) [:?]?= ?(.*)$", text, re.MULTILINE))
    lines = [line.strip() for line in text.splitlines() if line.startswith("\t$(RUN) ")]
    for _ in range(2):  # a variable may hold variables
        lines = [re.sub(r"\$\((\w+)\)", lambda match: variables[match[1]], line) for line in lines]
    return [line.replace(".venv/bin/repr-eval", "repr-eval") for line in lines]


def test_the_demo_runs_commands_that_exist() -> None:
    commands = makefile_commands()
    assert len(commands) >= 5
    for line in commands:
        parse(line)


def test_the_readme_shows_commands_that_exist() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)
    lines = (line for block in blocks for line in block.replace("\\\n", " ").splitlines())
    commands = [line for line in lines if line.startswith("repr-eval ")]
    assert commands
    for line in commands:
        parse(line)


def test_the_group_lists_every_command_with_a_line_of_help() -> None:
    text = succeed("--help").stdout
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\w", text, re.MULTILINE), name
    assert succeed("-h").stdout == text
    assert succeed("--version").stdout.strip().endswith(repr_eval.__version__)


@pytest.mark.parametrize("option", ["--seed", "--device", "--data-dir", "--out", "--bn", "--weights", "--C"])
def test_an_option_means_the_same_in_every_command(option: str) -> None:
    meanings: dict[tuple[Any, ...], list[str]] = {}
    for name in COMMANDS:
        for parameter in command_named(name).params:
            if isinstance(parameter, click.Option) and option in parameter.opts:
                meaning = (parameter.help, parameter.type.name, str(parameter.default), parameter.is_flag)
                meanings.setdefault(meaning, []).append(name)
    assert all(help_text for help_text, *_ in meanings)
    # A training run and extracted features have a folder of their own, a grid of samples is one file and needs a
    # generator; all else goes to the folder of records and tables, and needs a discriminator.
    own_folders = [["train-gan"], ["finish-gan"], ["samples"], ["extract"]]
    own = {"--out": own_folders, "--weights": [["samples"]]}.get(option, [])
    shared = [names for names in meanings.values() if names not in own]
    assert len(shared) == 1
    assert len(shared[0]) > 1


# From images to tables.


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The main job at a small size: digits drawn, a GAN trained on them, three representations evaluated."""
    folder = tmp_path_factory.mktemp("job")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        data, out = folder / "digits", folder / "results"
        succeed("make-digits", data, "--train", 300, "--test", 100, "--seed", 4)
        gan = ["--arch", "dcgan32-svhn", "--width", 0.05, "--batch-size", 16, "--max-steps", 8, "--epochs", 1]
        succeed("train-gan", "--data", "svhn", "--data-dir", data, *gan, "--out", folder / "gan", "--device", "cpu")
        few = ["svhn", "--labels", 20, "--draws", 3, "--data-dir", data, "--out", out, "--device", "cpu"]
        random = ["--weights", "random", "--arch", "dcgan32-svhn", "--width", 0.05]
        for options in (["--weights", folder / "gan" / "discriminator.safetensors"], random, ["--weights", "pixels"]):
            result = succeed(*few, *options)
            assert result.stderr.startswith(
                "note: the data is house-numbers-generated (SVHN layout): in SVHN's layout, not SVHN\n"
            )
            assert "test error" in result.stdout
        succeed("digits", "--weights", "pixels", "--draws", 2, "--out", out)
    return folder


def test_the_study_of_layers_is_a_record_each_a_table_and_a_plot(tmp_path: Path) -> None:
    model = ["--weights", "random", "--arch", "dcgan32-svhn", "--width", 0.05, "--store", tmp_path / "store"]
    few = ["--labels-per-class", 4, "--draws", 2, "--device", "cpu", "--C", "1e-3,1e-2", "--out", tmp_path]
    text = succeed("layers", "--data", "digits", *model, *few).stdout
    records = read_records(tmp_path)
    assert [record.layers for record in records] == ["1 of 3", "1-2 of 3", "1-3 of 3", "2 of 3", "3 of 3"]
    assert [record.n_features for record in records] == [48, 144, 352, 96, 208]
    assert len(list((tmp_path / "store").glob("*.npy"))) == 1  # one extraction, both splits
    assert len(text.splitlines()) == 5
    assert [record.seconds["features"] for record in records[1:]] == [0, 0, 0, 0]
    succeed("digits", *model, *few, "--layers", "2")
    assert read_records(tmp_path)[-1].test_correct == records[3].test_correct
    assert read_records(tmp_path)[-1].layers == "2 of 3"
    rows = rows_of(tmp_path / "layers.csv")
    assert [(row["first_layer"], row["last_layer"]) for row in rows] == [
        ("1", "1"), ("1", "2"), ("1", "3"), ("2", "2"), ("3", "3"),
    ]  # fmt: skip
    assert (tmp_path / "layers.md").is_file()
    with Image.open(tmp_path / "layers.png") as picture:
        assert picture.size[0] > 500
    # The main table has whole networks only.
    assert [row["layers"] for row in rows_of(tmp_path / "digits.csv") if row["source"] == "measured"] == ["1-3 of 3"]


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_job_leaves_a_run_a_record_a_measurement_and_tables(job: Path) -> None:
    assert {name for name in files(job / "gan") if not name.startswith((".", "checkpoint"))} == {
        "discriminator.safetensors", "generator.safetensors", "log.jsonl", "losses.csv",
        "samples/epoch-001.png", "settings.json",
    }  # fmt: skip
    assert [name for name in files(job / "results") if not name.startswith("draws/")] == [
        "digits-methods.csv", "digits-methods.md", "digits-methods.png", "digits.csv", "digits.md", "overview.md",
        "records.jsonl",
        "svhn-methods.csv", "svhn-methods.md", "svhn-methods.png", "svhn.csv", "svhn.md",
    ]  # fmt: skip
    assert len(read_records(job / "results")) == 4


def test_records_say_what_was_measured(job: Path) -> None:
    trained, untrained, pixels, digits = read_records(job / "results")
    assert trained.method == "DCGAN (dcgan32-svhn, width 0.05, 128 images seen)"
    assert trained.trained_on == "house-numbers-generated (SVHN layout), training images"
    assert untrained.method == "untrained discriminator (dcgan32-svhn, width 0.05, seed 0)"
    assert untrained.trained_on == pixels.trained_on == "nothing"
    # Layers of 3, 6 and 13 maps; pixels of 32 x 32 x 3.
    assert (trained.n_features, untrained.n_features, pixels.n_features) == (352, 352, 3072)
    assert trained.representation["weights_sha256"] != untrained.representation["weights_sha256"]
    for record in (trained, untrained, pixels):
        assert record.protocol == "svhn/few-labels/1"
        assert record.dataset["name"] == "house-numbers-generated (SVHN layout)"
        assert (record.dataset["verified"], record.dataset["n_train"], record.dataset["n_test"]) == (False, 300, 100)
        assert (record.labels, len(record.test_correct), record.test_n) == (20, 3, 100)
        assert record.lists_sha256 == trained.lists_sha256  # the same draws for all
    assert (digits.protocol, digits.labels, len(digits.test_correct)) == ("digits/per-class/1", 100, 2)
    assert (digits.dataset["name"], digits.test_n) == ("handwritten digits", 797)
    # Ten labels a class are enough for raw pixels to read most handwritten digits.
    assert min(digits.test_correct) / 797 > 0.6


def test_tables_are_the_records_and_the_papers_rows(job: Path) -> None:
    rows = rows_of(job / "results" / "svhn.csv")
    assert list(rows[0])[:6] == ["protocol", "data", "method", "classifier", "source", "trained_on"]
    assert {"features", "labels", "draws", "error", "std_of_draws", "ci95_low", "ci95_high", "C", "seconds"} < set(
        rows[0]
    )
    paper, measured = ([row for row in rows if row["source"] == source] for source in ("paper", "measured"))
    assert len(rows) == len(paper) + len(measured) == 11 + 3
    assert {row["method"]: float(row["error"]) for row in paper}["DCGAN + L2-SVM"] == 0.2248
    assert not any(row["record"] or row["C"] for row in paper)
    by_id = {record.id: record for record in read_records(job / "results")}
    for row in measured:
        record = by_id[row["record"]]
        errors = 1 - np.array(record.test_correct) / record.test_n
        assert row["data"] == "house-numbers-generated (SVHN layout)"
        assert row["method"] == record.method
        assert float(row["error"]) == pytest.approx(errors.mean(), abs=1e-6)
        assert float(row["std_of_draws"]) == pytest.approx(errors.std(ddof=1), rel=1e-4)
        assert (float(row["C"]), int(row["draws"]), int(row["labels"])) == (record.C, 3, 20)
    assert [float(row["error"]) for row in measured] == sorted(float(row["error"]) for row in measured)

    (row,) = rows_of(job / "results" / "digits.csv")
    assert (row["source"], row["method"], row["data"]) == ("measured", "raw pixels", "handwritten digits")
    assert "accuracy" in row


def test_markdown_has_the_rows_of_the_csv(job: Path) -> None:
    text = (job / "results" / "svhn.md").read_text()
    assert text.startswith("### svhn/few-labels/1\n")
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    rows = rows_of(job / "results" / "svhn.csv")
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[:3] == [row["method"], row["source"], row["data"]]
        assert cells[8] == f"{100 * float(row['error']):.2f}"


def test_table_rebuilds_the_same_tables_from_the_records_alone(job: Path, tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_bytes((job / "results" / "records.jsonl").read_bytes())
    printed = succeed("table", "--out", tmp_path).stdout
    for name in ("svhn.csv", "svhn.md", "digits.csv", "digits.md"):
        content = (tmp_path / name).read_text()
        assert content == (job / "results" / name).read_text()
        assert str(tmp_path / name) in printed
        assert (content in printed) is name.endswith(".md")


def test_a_second_evaluation_of_the_same_features_agrees_and_is_one_row(job: Path, tmp_path: Path) -> None:
    for _ in range(2):
        succeed("digits", "--weights", "pixels", "--draws", 2, "--C", "1e-3,1e-5", "--out", tmp_path / "out")
    first, second = read_records(tmp_path / "out")
    assert first.test_correct == second.test_correct
    assert first.validation_correct == second.validation_correct
    assert set(first.validation_correct) == {"1e-05", "0.001"}
    assert len(rows_of(tmp_path / "out" / "digits.csv")) == 1


def test_ones_own_network_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(8))\n"
    )
    few = ["digits", "--draws", 2, "--C", "1e-2", "--out", tmp_path / "out", "--device", "cpu"]
    own = ["--encoder", f"{tmp_path / 'mine.py'}:build"]
    succeed(*few, *own)
    succeed(*few, *own, "--pool", "0,1", "--mean", "0,0,0", "--std", "1,1,1")
    plain, pooled = read_records(tmp_path / "out")
    assert (plain.n_features, pooled.n_features) == (4 * 16, 2 * 4 * 16)
    assert plain.method == pooled.method == "build"
    assert min(plain.test_correct) / 797 > 0.3  # chance is 0.1


def test_ones_own_weights_in_a_network_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 3, 1, bias=False))\n"
    )
    weights = tmp_path / "double.safetensors"
    save_file({"1.weight": 2 * torch.eye(3)[..., None, None]}, weights)
    few = ["digits", "--draws", 2, "--C", "1e-2", "--out", tmp_path / "out", "--device", "cpu"]
    succeed(*few, "--encoder", f"{weights}@{tmp_path / 'mine.py'}:build")
    (record,) = read_records(tmp_path / "out")
    assert (record.method, record.representation["kind"]) == ("build, double", "safetensors")
    assert min(record.test_correct) / 797 > 0.5  # chance is 0.1


def test_everything_is_compared_but_for_what_is_recorded(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = (("pixels", "svm"), ("pixels", "knn"), ("random:1", "svm"))
    monkeypatch.setattr(jobs, "COMPARED", everything)
    for module in (jobs, named):
        monkeypatch.setattr(module, "best", lambda: str(job / "gan" / "discriminator.safetensors"))
    few = ["svhn", "--labels", 20, "--draws", 2, "--data-dir", job / "digits", "--out", tmp_path, "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["repr-eval", *map(str, few), "--all"])
    succeed(*few, "--weights", "pixels")
    text = succeed(*few, "--all").stdout
    assert text.startswith("recorded: house-numbers-generated")
    first, *rest = read_records(tmp_path)
    assert [(one.method, one.classifier) for one in (first, *rest)] == [
        ("raw pixels", "L2-SVM"),
        ("raw pixels", "kNN"),
        ("untrained discriminator (dcgan32-svhn, width 0.05, seed 1)", "L2-SVM"),
    ]
    assert {one.lists_sha256 for one in rest} == {first.lists_sha256}
    assert rest[1].command.endswith(
        "--device cpu --labels 20 --draws 2 --weights random:1 --arch dcgan32-svhn --width 0.05 --classifier svm"
    )
    assert rest[1].command.count("--draws") == 1
    assert len(succeed(*few, "--all").stdout.splitlines()) == 3
    assert len(read_records(tmp_path)) == 3
    succeed(*few, "--all", "--seed", 1)
    assert len(read_records(tmp_path)) == 6
    rows = rows_of(tmp_path / "svhn-methods.csv")
    assert sum(bool(row["record"]) for row in rows) == 6


def test_what_cannot_be_measured_is_told_at_the_end_of_the_comparison(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "COMPARED", (("exemplar-small", "svm"), ("pixels", "svm")))
    few = ["svhn", "--labels", 20, "--draws", 2, "--data-dir", job / "digits", "--out", tmp_path, "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["repr-eval", *map(str, few), "--all"])
    done = run(*few, "--all")
    assert done.exit_code == 1
    assert "1 measurements failed, the others are recorded: exemplar-small with svm: 2,000 patches" in done.stderr
    assert [one.method for one in read_records(tmp_path)] == ["raw pixels"]


def test_a_comparison_goes_on_when_memory_or_the_disk_is_full(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(*_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory:\nyou tried to allocate 9 bytes")

    def too_many(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", "features")

    monkeypatch.setitem(METHODS, "pixels-pca", too_much)
    monkeypatch.setitem(METHODS, "pixels-zca", too_many)
    monkeypatch.setattr(
        jobs, "COMPARED", (("pixels", "svm"), ("pixels-pca", "svm"), ("pixels-zca", "svm"), ("pixels", "knn"))
    )
    few = ["svhn", "--labels", 20, "--draws", 2, "--data-dir", job / "digits", "--out", tmp_path, "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["repr-eval", *map(str, few), "--all"])
    done = run(*few, "--all")
    assert done.exit_code == 1
    assert "2 measurements failed, the others are recorded: pixels-pca with svm: DefaultCPUAllocator" in done.stderr
    assert "pixels-zca with svm: [Errno 28] No space left on device: 'features'" in done.stderr
    assert [one.classifier for one in read_records(tmp_path)] == ["L2-SVM", "kNN"]
    refused = run(*few, "--weights", "pixels-pca")
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (1, 1)
    assert "can't allocate memory" in refused.stderr


def test_a_comparison_stops_at_a_file_of_records_that_cannot_be_read(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ["svhn", "--labels", 20, "--draws", 2, "--data-dir", job / "digits", "--out", tmp_path, "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["repr-eval", *map(str, few), "--all"])
    (tmp_path / "records.jsonl").write_text('{"format"')
    done = run(*few, "--all")
    assert done.exit_code == 1
    assert re.fullmatch(r"repr-eval svhn: \S+records.jsonl, line 1: cannot be read .*\n", done.stderr)


def test_a_comparison_trains_a_supervised_network_on_fewer_draws(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "COMPARED", (("pixels", "knn"), ("pixels", "cnn-small")))
    network = NearestNeighbours()
    network.name = "network"
    monkeypatch.setitem(CLASSIFIERS, "cnn-small", lambda *_: network)
    few = ["svhn", "--labels", 20, "--draws", 12, "--data-dir", job / "digits", "--out", tmp_path, "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["repr-eval", *map(str, few), "--all"])
    succeed(*few, "--all")
    plain, trained = read_records(tmp_path)
    assert (len(plain.test_correct), len(trained.test_correct)) == (12, 10)
    assert trained.command.endswith("--labels 20 --draws 10 --weights pixels --classifier cnn-small")
    assert [line[:8] for line in succeed(*few, "--all").stdout.splitlines()] == ["recorded"] * 2


def test_layers_of_a_learned_method_have_their_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = DenoisingSettings(
        maps=(4, 6),
        kernel=3,
        corruption="masking",
        level=0.25,
        training=Training(images_seen=64, batch=16, learning_rate=1e-3),
    )
    monkeypatch.setitem(METHODS, "dae-small", lambda seed, device: DenoisingFeatures(settings, "tiny", seed))
    few = ["--labels-per-class", 5, "--draws", 2, "--C", "1e-2", "--device", "cpu"]
    succeed("layers", "--data", "digits", "--weights", "dae-small", *few, "--out", tmp_path)
    found = [(row["first_layer"], row["last_layer"]) for row in rows_of(tmp_path / "layers.csv")]
    assert found == [("1", "1"), ("1", "2"), ("2", "2")]


@pytest.mark.slow
def test_of_a_learned_method_both_splits_are_of_one_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[int] = []
    learn = WhitenedPixels.fit

    def counted(self: WhitenedPixels, images: np.ndarray) -> WhitenedPixels:
        learned.append(len(images))
        return learn(self, images)

    monkeypatch.setattr(WhitenedPixels, "fit", counted)
    few = ["--labels-per-class", 5, "--draws", 2, "--C", "1e-2", "--device", "cpu", "--store", tmp_path / "store"]
    measure = ["digits", "--weights", "pixels-pca", *few, "--out", tmp_path]
    succeed(*measure)
    succeed(*measure)
    assert learned == [1000]
    (entry,) = (tmp_path / "store").glob("*.npy")
    assert len(np.load(entry)) == 1000 + 797
    entry.unlink()
    succeed(*measure)
    assert learned == [1000, 1000]
    assert list((tmp_path / "store").glob("*.npy")) == [entry]


def test_export_and_doctor_and_dry_run_report(job: Path, tmp_path: Path) -> None:
    source = job / "gan" / "discriminator.safetensors"
    succeed("export-weights", source, tmp_path / "half.safetensors")
    assert (tmp_path / "half.safetensors").stat().st_size < 0.7 * source.stat().st_size

    lines = succeed("doctor", "--data-dir", job / "digits", "--out", tmp_path).stdout.splitlines()
    assert lines[0].startswith("versions: python ")
    assert f"data: looked for in {job / 'digits'} (--data-dir)" in lines
    assert f"  SVHN layout: in {job / 'digits'}" in lines
    assert any(line.startswith("  CIFAR-10: not found (cifar-10-batches-py/ or") for line in lines)
    assert any(line.startswith("cifar10-svm with 28,672 features: 3.4 GB of disk") for line in lines)

    result = succeed("train-gan", "--data", "digits", "--width", 0.5, "--dry-run", "--out", tmp_path / "run")
    settings = json.loads(result.stdout)
    assert settings["lr"] == 2e-4
    assert (settings["arch"], settings["z_dim"], settings["width"]) == ("dcgan32", 256, 0.5)
    assert (settings["n_images"], settings["total_steps"]) == (1000, 30 * 7)
    assert not (tmp_path / "run").exists()


def test_auto_precision_is_what_the_device_has_units_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = tmp_path / "images.npy"
    np.save(images, np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8))
    command = ["train-gan", "--data", images, "--out", tmp_path / "run", "--width", 0.02, "--arch", "dcgan32-svhn"]
    command += ["--batch-size", 4, "--max-steps", 1, "--device", "cpu"]

    def chosen(*options: object) -> tuple[str, str]:
        result = succeed(*command, *options, "--dry-run")
        return json.loads(result.stdout)["precision"], result.stderr

    units = {"avx512_bf16": True, "avx2": True}
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: units)
    assert chosen() == ("bf16", "")
    assert chosen("--precision", "fp32") == ("fp32", "")
    units["avx512_bf16"] = False
    assert chosen() == ("fp32", "")
    slow = "cpu has no units for bfloat16: 10 to 50 times slower than --precision fp32\n"
    assert chosen("--precision", "bf16") == ("bf16", slow)
    # A run that goes on keeps its type.
    succeed(*command)
    units["avx512_bf16"] = True
    command[command.index("--max-steps") + 1] = 2
    assert "2 of 2 steps" in succeed(*command, "--resume").stdout
    assert read_settings(tmp_path / "run" / "settings.json").precision == "fp32"


def test_a_folder_of_images_is_packed_and_trained_on(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures" / "n01"
    pictures.mkdir(parents=True)
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (8, 40, 50, 3), dtype=np.uint8)):
        Image.fromarray(image).save(pictures / f"{number}.JPEG")
    command = ["train-gan", "--data", tmp_path / "pictures", "--out", tmp_path / "run", "--width", 0.02]
    command += ["--arch", "dcgan32-svhn", "--batch-size", 4, "--epochs", 1, "--device", "cpu"]
    assert "2 of 2 steps, 8 images seen" in succeed(*command).stdout
    packed = succeed("pack", tmp_path / "pictures", tmp_path / "packed.npy").stdout
    assert np.array_equal(np.load(tmp_path / "packed.npy"), np.load(tmp_path / "run" / "pictures-32.npy"))
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())["settings"]
    assert settings["data_sha256"] in packed


# What goes wrong.


def save_spoilt(folder: Path) -> None:
    """Weights of every wrong kind, data sets and records that are none."""
    arch = architecture_named("dcgan32-svhn")
    rng = torch.Generator().manual_seed(0)
    discriminator, generator = Discriminator(arch, 0.05), Generator(arch, 0.05)
    for network in (discriminator, generator):
        initialise(network, rng)
    info = WeightsInfo("discriminator", arch.name, 0.05)
    good = folder / "good.safetensors"
    save_weights(good, discriminator, info)
    (folder / "cut.safetensors").write_bytes(good.read_bytes()[:-100])
    save_weights(folder / "generator.safetensors", generator, WeightsInfo("generator", arch.name, 0.05))
    save_weights(folder / "other.safetensors", discriminator, WeightsInfo("discriminator", "dcgan32", 0.05))
    torch.save(discriminator.state_dict(), folder / "pickle.safetensors")
    save_file(load_file(good), folder / "foreign.safetensors")
    discriminator.state_dict()["convs.1.weight"].view(-1)[0] = float("nan")
    save_weights(folder / "nan.safetensors", discriminator, info)

    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    np.save(folder / "good.npy", images)
    (folder / "cut.npy").write_bytes((folder / "good.npy").read_bytes()[:-1])
    (folder / "leaves.py").write_text("import sys\ndef build():\n    sys.exit(3)\n")
    np.save(folder / "floats.npy", images.astype(np.float32))
    (folder / "empty").mkdir()
    (folder / "texts").mkdir()
    (folder / "texts" / "notes.txt").write_text("no image")
    (folder / "pictures").mkdir()
    Image.fromarray(images[0]).save(folder / "pictures" / "0.jpg")
    (folder / "pictures" / "1.jpg").write_bytes((folder / "pictures" / "0.jpg").read_bytes()[:300])
    (folder / "archive").mkdir()
    (folder / "archive" / "cifar-10-python.tar.gz").write_bytes(b"half of it")

    write_svhn_layout(folder / "digits", n_train=300, n_test=30, seed=0)
    for name in ("cut-digits", "foreign-digits"):
        write_svhn_layout(folder / name, n_train=5, n_test=5, seed=0)
    mat = folder / "cut-digits" / "test_32x32.mat"
    mat.write_bytes(mat.read_bytes()[:-100])
    savemat(folder / "foreign-digits" / "train_32x32.mat", {"spectra": np.zeros((3, 3))})


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spoilt")
    save_spoilt(folder)
    return folder


TRAIN = "train-gan --out {out} --arch dcgan32-svhn --width 0.02 --batch-size 8 --max-steps 1 --device cpu "
DIGITS = "digits --out {out} --draws 1 "
SVHN = "svhn --out {out} --draws 1 --weights pixels "
CIFAR = "cifar10-svm --out {out} --weights pixels "
NO_CUDA = [] if torch.cuda.is_available() else [
    (TRAIN + "--data {in}/good.npy --device cuda", "'cuda' is not available here .*; try --device cpu"),
    (DIGITS + "--weights random --device cuda", "'cuda' is not available here .*; try --device cpu"),
]  # fmt: skip
BAD = [
    # Images to train on.
    (TRAIN + "--data {in}/nothing", "{in}/nothing: no such file or folder, nor one of cifar10, svhn, digits"),
    (TRAIN + "--data {in}/empty", "{in}/empty: has no images"),
    (TRAIN + "--data {in}/texts", "{in}/texts: has no images"),
    (TRAIN + "--data {in}/cut.npy", "{in}/cut.npy: not a whole .npy array"),
    (TRAIN + "--data {in}/floats.npy", "{in}/floats.npy: holds float32"),
    (TRAIN + "--data {in}/good.npy --arch dcgan64", "good.npy: holds uint8 .*--size 64"),
    (TRAIN + "--data digits --arch dcgan64", "digits has 32x32 images"),
    (TRAIN + "--data svhn --data-dir {in}/empty", "SVHN not found in {in}/empty .--data-dir.: looked for train_32x32"),
    (TRAIN + "--data cifar10 --data-dir {in}/nothing", "{in}/nothing .--data-dir.: no such folder"),
    (TRAIN + "--data {in}/good.npy --batch-size 41", "40 images are fewer than one batch of 41"),
    (TRAIN + "--data {in}/good.npy --width 0", "width 0.0"),
    (TRAIN + "--data {in}/good.npy --lr -1", "lr -1.0"),
    (TRAIN + "--data {in}/good.npy --z-dim 0", "z_dim 0"),
    (TRAIN + "--data {in}/good.npy --checkpoint-every 0", "--checkpoint-every 0 is less than 1"),
    (TRAIN + "--data {in}/good.npy --device gpu", "device 'gpu' is not available here"),
    *NO_CUDA,
    # Packing.
    ("pack {in}/nothing {out}/a.npy", "{in}/nothing: does not exist"),
    ("pack {in}/texts {out}/a.npy", "{in}/texts: has no images"),
    ("pack {in}/pictures {out}/a.npz", "{out}/a.npz: the name of a packed array must end in .npy"),
    ("make-digits {in}/digits", "{in}/digits already holds test_32x32.mat, train_32x32.mat"),
    ("make-digits {out} --train 0", "n_train must be at least 1, not 0"),
    # Weights.
    (DIGITS + "--weights {in}/no.safetensors", "{in}/no.safetensors: no such weights file"),
    (DIGITS + "--weights {in}/cut.safetensors", "{in}/cut.safetensors: not a whole safetensors file"),
    (DIGITS + "--weights {in}/pickle.safetensors", "{in}/pickle.safetensors: is a pickle"),
    (DIGITS + "--weights {in}/nan.safetensors", "{in}/nan.safetensors: tensor convs.1.weight holds NaN"),
    (DIGITS + "--weights {in}/foreign.safetensors", "{in}/foreign.safetensors: .* not one of repr-eval's"),
    (DIGITS + "--weights random --layers 5-7", "layers 5-7: untrained discriminator .* has layers 1 to 6"),
    (DIGITS + "--weights pixels --layers 1", "layers 1-1: raw pixels has no layers to choose from"),
    (DIGITS + "--weights random --layers 3-1", "--layers '3-1': needs a range of layers such as 1-4, or one layer"),
    (DIGITS + "--weights pixels --bn running", "--bn running: pixels has no batch norm"),
    (DIGITS + "--weights pixels --encoder x.py:f", "--encoder and --weights both name"),
    (DIGITS + "--encoder nothing.py:f", "nothing.py"),
    (DIGITS + "--weights pixels --pool a", "--pool describes the network of --encoder"),
    (DIGITS + "--encoder x.py:f --mean 1,2", "--mean '1,2': needs three numbers"),
    ("digits --out {out} --classifier fine-tuned --weights pixels", "trains a discriminator: .*; pixels is none"),
    ("digits --out {out} --classifier fine-tuned --encoder timm:resnet18", "trains a discriminator: .* --encoder"),
    (
        "digits --out {out} --classifier fine-tuned --weights random --bn at-hand",
        "from the labelled images: leave out --bn at-hand",
    ),
    (
        "digits --out {out} --classifier fine-tuned --weights random --views mirror",
        "images as they are: leave out --views mirror",
    ),
    (
        "digits --out {out} --classifier fine-tuned --weights random --layers 1-2",
        "trains the whole network: leave out --layers 1-2",
    ),
    (
        "digits --out {out} --classifier fine-tuned-small --weights random --width 0.02 --C 0,4",
        r"configuration 4: fine-tuned \(4 configurations, small, unmirrored\) has 0 to 3",
    ),
    ("digits --out {out} --classifier cnn --weights random", "--classifier cnn is trained on the images themselves"),
    (SVHN + "--all --data-dir {in}/digits", "--all compares everything; leave out --weights"),
    ("svhn --all --out {out} --C 1 --data-dir {in}/digits", "--all compares everything; leave out --C"),
    ("svhn --all --out {out} --pool a --data-dir {in}/nowhere", "--pool describes the network of --encoder"),
    ("digits --weights pixels --out {out} --store {in}/cut.npy", "--store {in}/cut.npy: not a folder"),
    ("digits --weights pixels --out {out} --classifier knn --C 0", "every value must be above 0"),
    ("digits --weights pixels --out {out} --classifier cnn-small --C -1", "every value must be 0 or more"),
    ("digits --encoder {in}/leaves.py:build --out {out}", "leaves.py:build: 3 .SystemExit."),
    (DIGITS + "--weights pixels --classifier knn --C 2.5", "--C 2.5: must be a whole number of neighbours"),
    (DIGITS + "--weights pixels --classifier weighted-knn --C 2.5", "--C 2.5: must be a whole number of neighbours"),
    (DIGITS + "--weights pixels --classifier ridge --C 0", "--C '0': every value must be above 0"),
    (DIGITS + "--weights kmeans-1600 --bn running", "--bn running: kmeans-1600 has no batch norm"),
    ("layers --data digits --weights pixels", "--weights pixels: raw pixels have no layers"),
    (DIGITS + "--weights {in}/generator.safetensors", "{in}/generator.safetensors: holds a generator"),
    (DIGITS + "--weights {in}/other.safetensors", "{in}/other.safetensors: tensor convs.0.weight is "),
    (DIGITS + "--weights {in}/empty", "{in}/empty: no such weights file"),
    (DIGITS + "--weights brilliant", "no weights called 'brilliant'"),
    ("export-weights {in}/cut.safetensors {out}/a.safetensors", "{in}/cut.safetensors: not a whole safetensors file"),
    ("export-weights {in}/nan.safetensors {out}/a.safetensors", "{in}/nan.safetensors: tensor convs.1.weight"),
    # Options of an evaluation.
    (DIGITS + "--weights random --bn at-hand --views mirror", "--bn at-hand takes statistics of the images at hand"),
    (DIGITS + "--weights pixels --classifier cnn-small --views shifts", "images themselves: leave out --views shifts"),
    (DIGITS + "--weights random --bn running", "--bn running: untrained weights have no statistics of their own"),
    (DIGITS + "--weights random --width 17", "width 17.0"),
    (DIGITS + "--weights pixels --width 0.5", "--arch and --width apply only to --weights random"),
    (DIGITS + "--weights pixels --device gpu", "device 'gpu' is not available here"),
    (DIGITS + "--weights pixels --labels-per-class 200", "class . has \\d+ images, too few for a draw of 200 a class"),
    *((DIGITS + f"--weights pixels --C {C}", f"--C '{C}'") for C in ("ten", "0", "1e-4,-1", "nan", "inf", "1,", ",")),
    (SVHN + "--labels 1001 --data-dir {in}/digits", "--labels 1001: .* multiple of 10"),
    (SVHN + "--labels 0 --data-dir {in}/digits", "--labels 0: "),
    (SVHN + "--labels 1000 --data-dir {in}/digits", "class . has \\d+ images, too few for a draw of 100 a class"),
    (CIFAR + "--draws 2", "--draws needs --labels-per-class"),
    # Options are looked at first: the data may be a download.
    *((command + "--C 0 --data-dir {in}/empty", "--C '0'") for command in (CIFAR, SVHN)),
    ("layers --weights pixels --data-dir {in}/empty", "raw pixels have no layers"),
    # Data to evaluate on.
    (SVHN + "--data-dir {in}/empty", "SVHN not found in {in}/empty .--data-dir.: .*repr-eval svhn .*--download"),
    (SVHN + "--data-dir {in}/cut-digits", "{in}/cut-digits/test_32x32.mat: .*remove it and fetch it again"),
    (SVHN + "--data-dir {in}/foreign-digits", "{in}/foreign-digits/train_32x32.mat: a .mat file without X and y"),
    (CIFAR + "--data-dir {in}/empty", "CIFAR-10 not found in {in}/empty .*repr-eval cifar10-svm --download"),
    (CIFAR + "--data-dir {in}/archive", "{in}/archive/cifar-10-python.tar.gz: an archive that is not unpacked"),
    # Records.
    ("table --out {out}", "{out}/records.jsonl: no records"),
]


@pytest.mark.parametrize(("command", "message"), BAD, ids=[command.replace("{in}/", "") for command, _ in BAD])
def test_bad_input_is_one_line_and_no_damage(spoilt: Path, tmp_path: Path, command: str, message: str) -> None:
    out = tmp_path / "out"
    before = files(spoilt)
    arguments = [part.replace("{in}", str(spoilt)).replace("{out}", str(out)) for part in shlex.split(command)]
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
    assert line.startswith(f"repr-eval {arguments[0]}: ")
    assert re.search(message.replace("{in}", str(spoilt)).replace("{out}", str(out)), line), line
    assert not out.exists() or not files(out)
    assert files(spoilt) == before


def test_a_truncated_jpeg_is_named_and_can_be_skipped(spoilt: Path, tmp_path: Path) -> None:
    for command in (["pack", spoilt / "pictures", tmp_path / "a.npy"],
                    ["train-gan", "--data", spoilt / "pictures", "--out", tmp_path / "run"]):  # fmt: skip
        result = run(*command)
        assert result.exit_code == 1
        line = result.stderr.replace("\r", "\n").splitlines()[-1]
        assert line.startswith(f"repr-eval {command[0]}: {spoilt}/pictures/1.jpg: cannot be read as an image")
        assert line.endswith("; remove it or pass --skip-unreadable")
    assert not (tmp_path / "a.npy").exists()
    result = succeed("pack", spoilt / "pictures", tmp_path / "a.npy", "--skip-unreadable")
    assert "1 images, 1 skipped" in result.stdout
    assert "skipped 1.jpg: " in result.stderr
    assert len(np.load(tmp_path / "a.npy")) == 1
    claimed = "was there and has that hash; its images have the names and lengths that they had (content unread)"
    assert claimed not in result.stderr
    assert claimed in succeed("pack", spoilt / "pictures", tmp_path / "a.npy", "--skip-unreadable").stderr


def test_a_real_process_ends_with_one_line_too(spoilt: Path, tmp_path: Path) -> None:
    ended = repr_eval_process("pack", str(spoilt / "texts"), str(tmp_path / "a.npy"))
    out, err = ended.communicate(timeout=60)
    assert (ended.returncode, out) == (1, "")
    assert err.startswith(f"repr-eval pack: {spoilt}/texts: has no images")
    assert err.count("\n") == 1


def repr_eval_process(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "repr_eval", *arguments],
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_records_without_a_table_are_named(job: Path, tmp_path: Path) -> None:
    append_record(
        tmp_path, dataclasses.replace(read_records(job / "results")[0], protocol="elsewhere/own/1", facts=None)
    )
    result = run("table", "--out", tmp_path)
    assert result.exit_code == 1, result.output
    assert f"{tmp_path}: holds no record of a protocol that has a table" in result.stderr


def test_the_traceback_can_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REPR_EVAL_DEBUG", "1")
    result = run("table", "--out", tmp_path)
    assert isinstance(result.exception, ValueError)
    assert "no records" in str(result.exception)


def test_a_reader_that_has_seen_enough_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def printing(*_: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(write, "write_reports", printing)
    result = run("table", "--out", tmp_path)
    assert (result.exit_code, result.stderr) == (1, "")


def test_an_unknown_command_or_option_is_clicks_usage_error() -> None:
    for arguments in (["evaluate"], ["digits", "--drafts", "3"], ["train-gan"]):
        result = run(*arguments)
        assert result.exit_code == 2
        assert "Usage: " in result.stderr


# A full disk, and two at once.


def last_line(stderr: str) -> str:
    """What stands on the terminal at the end: a progress bar has wiped itself out."""
    return stderr.removesuffix("\n").replace("\r", "\n").splitlines()[-1]


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    out, store = tmp_path / "out", tmp_path / "store"
    command = ["digits", "--weights", "pixels", "--draws", 1, "--C", "1e-4", "--store", store, "--out", out]

    def fail(limit: int, seed: int) -> str:
        with no_file_larger_than(limit):
            result = run(*command, "--seed", seed)
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit)  # not one that a traceback would be shown of
        return last_line(result.stderr)

    too_large = "repr-eval digits: [Errno 27] File too large: "
    assert fail(10_000, 0).startswith(f"{too_large}'{store}/")  # the features: megabytes
    assert not files(store)
    assert not files(out)
    succeed(*command, "--seed", 0)  # a record of about 1,200 bytes, index lists of about 700
    before = {name: (out / name).read_bytes() for name in files(out)}
    assert fail(500, 1).startswith(f"{too_large}'{out}/draws/")
    assert {name: (out / name).read_bytes() for name in files(out)} == before
    assert fail(2000, 1) == f"repr-eval digits: {out}/records.jsonl: the disk is full; the record was not written"
    after = {name: (out / name).read_bytes() for name in files(out)}
    arrays = [set(np.load(out / name)) for name in sorted(set(after) - set(before))]
    assert len(arrays) == 2
    assert {"draws", "held_out"} in arrays
    assert {"right", "predicted", "labels"} in arrays
    assert {name: after[name] for name in before} == before
    succeed(*command, "--seed", 1)
    assert len(read_records(out)) == len(rows_of(out / "digits.csv")) == 2


@pytest.mark.slow
def test_two_evaluations_at_once_leave_both_records_and_both_rows(tmp_path: Path) -> None:
    out, environment = tmp_path / "out", {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = ["digits", "--weights", "pixels", "--draws", "2", "--C", "1e-4,1e-3", "--out", str(out), "--seed"]
    running = [repr_eval_process(*command, seed, **environment) for seed in ("0", "1")]
    for process in running:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    found = read_records(out)
    assert {record.seed for record in found} == {0, 1}
    assert {record.command for record in found} == {shlex.join(["repr-eval", *command, seed]) for seed in ("0", "1")}
    assert {row["record"] for row in rows_of(out / "digits.csv")} == {record.id for record in found}
    assert not [name for name in files(tmp_path) if ".partial" in name]


def test_tables_written_at_once_miss_no_record(job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run adds its record and writes its tables while the first has read the records and not yet written."""
    first, second = [record for record in read_records(job / "results") if record.protocol.startswith("svhn")][:2]
    append_record(tmp_path, first)
    others: list[threading.Thread] = []

    def other_run() -> None:
        append_record(tmp_path, second)
        write_reports(tmp_path)

    def interrupted(rows: list[Row], measure: str) -> str:
        if not others:
            others.append(threading.Thread(target=other_run))
            others[0].start()
            others[0].join(timeout=0.3)  # it has to wait for this one, or else would be done by then
        return to_csv(rows, measure)

    to_csv = tables.to_csv
    monkeypatch.setattr(tables, "to_csv", interrupted)
    write_reports(tmp_path)
    others[0].join()
    assert {row["record"] for row in rows_of(tmp_path / "svhn.csv")} == {first.id, second.id, ""}
