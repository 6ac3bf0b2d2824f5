"""The figures in README and docs are those of the stored records, and the shipped weights those of the manifest."""

import hashlib
import re
from pathlib import Path

import pytest

from repr_eval.datasets import metric_of
from repr_eval.gan.pretrained import folder, manifest
from repr_eval.gan.weights import load_discriminator, weights_hash
from repr_eval.records import read_records
from repr_eval.reporting import ablations, methods, overview
from repr_eval.reporting.rows import table_rows
from repr_eval.reporting.tables import to_csv, to_markdown
from tools import summary
from tools.readme_tables import PAGES, with_tables
from tools.ship import results_of

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def test_readme_holds_the_tables_that_the_records_give() -> None:
    records = read_records(RESULTS)
    everything = []
    for table in ("cifar10", "svhn"):
        rows, lines = table_rows(records, table), methods.compared(records, table)
        assert sum(line.row is not None for line in lines) > 5
        everything += lines
        stored = RESULTS / f"{table}-methods.md"
        assert stored.read_text(encoding="utf-8") == methods.to_markdown(lines, metric_of(table))
        assert stored.with_suffix(".csv").read_text(encoding="utf-8") == methods.to_csv(lines)
        assert (RESULTS / f"{table}.md").read_text(encoding="utf-8") == to_markdown(rows, metric_of(table))
        assert (RESULTS / f"{table}.csv").read_text(encoding="utf-8") == to_csv(rows, metric_of(table))
    assert (RESULTS / "overview.md").read_text(encoding="utf-8") == overview.to_markdown(everything)
    for name, study in ablations.STUDIES.items():
        assert (RESULTS / f"{name}.md").read_text(encoding="utf-8") == ablations.to_markdown(study(records))
    assert (RESULTS / "summary.md").read_text(encoding="utf-8") == summary.to_markdown(records)
    shown = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert with_tables(text) == text, page.name
        shown |= set(re.findall(r"<!-- table ([\w-]+) -->", text))
    assert shown == {"summary", "overview", "batch_norm"}


def test_a_table_that_differs_is_noticed() -> None:
    text = "<!-- table summary -->\n| 99.99 |\n<!-- end -->"
    assert "82.80" in with_tables(text)


def test_the_short_table_wants_each_figure_once() -> None:
    records = [record for record in read_records(RESULTS) if record.method != "raw pixels"]
    with pytest.raises(ValueError, match="0 records are is_pixels"):
        summary.to_markdown(records)


# Runs that go on: the test split is looked at once, when they have ended.
NOT_YET_MEASURED = {"imagenet-contrastive-fast-w0.5", "house-digits-contrastive-fast"}
TO_DRAW = {"faces64-w0.25"}  # of images that no protocol here measures


def test_shipped_files_and_results_are_those_of_the_manifest() -> None:
    for name, model in manifest()["models"].items():
        for file, sha256 in model["files"].items():
            path = folder() / file
            assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
            assert path.stat().st_size < 20_000_000
        network, info = load_discriminator(folder() / f"{name}.safetensors")
        assert weights_hash(network) == model["weights_sha256"]
        assert info.images_seen == model["images_seen"]
        assert model["results"] == results_of(model["weights_sha256"])
        assert bool(model["results"]) == (name not in NOT_YET_MEASURED | TO_DRAW)
