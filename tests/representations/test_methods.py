"""What a name stands for: methods and their settings, what is compared, the architecture of a supervised network."""

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from repr_eval.cli import main
from repr_eval.datasets import DATASETS
from repr_eval.representations.methods import COMPARED, METHODS

SEED = 7


def kmeans(centroids: int) -> dict[str, Any]:
    return {
        "representation": "kmeans", "centroids": centroids, "patch": 6, "patches": 400_000, "iterations": 50,
        "activation": "triangle", "pooling": "sum 2x2", "whitening": 0.1, "contrast": 10.0, "seed": SEED,
    }  # fmt: skip


def fields(**settings: Any) -> dict[str, Any]:
    return {"representation": "receptive-fields", "patch": 6, "threshold": 0.25, "seed": SEED, **settings}


def kernels(**settings: Any) -> dict[str, Any]:
    return {
        "representation": "kernel-network", "patch": 3, "sigma": 0.6, "subsampling": [2, 6],
        "whitening_window": 5, "whitening": 0.01, "inverse": 1e-3, "seed": SEED, **settings,
    }  # fmt: skip


def patches(**settings: Any) -> dict[str, Any]:
    return {
        "representation": "patches", "patch": 6, "near": 0.4, "whitening": 1e-3, "block": 5,
        "stride": 3, "whitened_by": 400_000, "seed": SEED, **settings,
    }  # fmt: skip


def trained(images_seen: int, batch: int) -> dict[str, Any]:
    return {"images_seen": images_seen, "batch": batch, "learning_rate": 1e-3, "precision": "fp32"}


def denoising(maps: list[int], training: dict[str, Any]) -> dict[str, Any]:
    return {
        "representation": "denoising", "maps": maps, "kernel": 5, "corruption": "masking", "level": 0.25,
        "training": training, "seed": SEED,
    }  # fmt: skip


def what_where(dropout: float, maps: int, training: dict[str, Any]) -> dict[str, Any]:
    return {
        "representation": "what-where", "dropout": dropout, "lambda_m": 0.2, "lambda_rec": 1.0,
        "stages": [[[maps, 5]], [[maps, 3], [2 * maps, 3]], [[2 * maps, 3]]],
        "training": training, "seed": SEED,
    }  # fmt: skip


def exemplar(**settings: Any) -> dict[str, Any]:
    return {"representation": "exemplar", "maps": [64, 64], "units": 128, "views": 150, "seed": SEED, **settings}


THREE_LAYERS: dict[str, Any] = {"field": 200, "field_maps": 100, "pooling": [3, 2], "neighbourhoods": 8}

# name -> the method in tables, its number of features, what its settings must say
NAMED: dict[str, tuple[str, int, dict[str, Any]]] = {
    "pixels": ("raw pixels", 3072, {"representation": "pixels", "scale": "x / 127.5 - 1"}),
    "pixels-zca": (
        "pixels whitened (ZCA)", 3072, {"representation": "whitened pixels", "components": None, "ridge": 0.01},
    ),
    "pixels-pca": (
        "pixels whitened (PCA, 256 directions)", 256,
        {"representation": "whitened pixels", "components": 256, "ridge": 0.01},
    ),
    "kmeans-1600": ("1-layer K-means, 1,600 centroids", 6400, kmeans(1600)),
    "kmeans-4800": ("1-layer K-means, 4,800 centroids", 19_200, kmeans(4800)),
    "kmeans-4800-gain-shape": (
        "1-layer K-means, gain-shape, 4,800 maps, 19,200 features", 19_200,
        fields(maps=4800, patches=400_000, iterations=50, pooling=[], fields=0),
    ),
    "kmeans-3layer": (
        "3-layer K-means, learned RF, 1,600 + 3,200 + 3,200 maps, 32,000 features", 32_000,
        fields(maps=1600, fields=32, images=5000, patches=400_000, iterations=50, **THREE_LAYERS),
    ),
    "kmeans-3layer-small": (
        "3-layer K-means, learned RF, 800 + 1,600 + 1,600 maps, 16,000 features", 16_000,
        fields(maps=800, fields=16, images=4000, patches=200_000, iterations=25, **THREE_LAYERS),
    ),
    "ckn": (
        "2-layer kernel network, 256 + 1,024 maps, 9,216 features", 9216,
        kernels(maps=[256, 1024], images=10_000, patches=100_000, rounds=10),
    ),
    "ckn-small": (
        "2-layer kernel network, 64 + 256 maps, 2,304 features", 2304,
        kernels(maps=[64, 256], images=10_000, patches=100_000, rounds=10),
    ),
    "patches": (
        "2,048 whitened patches, 147,456 features", 147_456, patches(patches=2048, cells=6),
    ),
    "patches-small": (
        "1,024 whitened patches, 18,432 features", 18_432, patches(patches=1024, cells=3),
    ),
    "dae": ("denoising autoencoder, published", 14_336, denoising([128, 256, 512], trained(2_500_000, 128))),
    "dae-small": ("denoising autoencoder, small", 7168, denoising([64, 128, 256], trained(100_000, 64))),
    "swwae": (
        "SWWAE without dropout, without labels, published", 12_288, what_where(0.0, 128, trained(2_500_000, 128)),
    ),
    "swwae-small": ("SWWAE without dropout, without labels, small", 6144, what_where(0.0, 64, trained(50_000, 64))),
    "swwae-dropout": (
        "SWWAE with dropout, without labels, published", 12_288, what_where(0.5, 128, trained(2_500_000, 128)),
    ),
    "swwae-dropout-small": (
        "SWWAE with dropout, without labels, small", 6144, what_where(0.5, 64, trained(50_000, 64)),
    ),
    "exemplar": (
        "Exemplar CNN 64c5-64c5-128f (published: 8,000 classes)", 1024,
        exemplar(size="published", classes=8000, side=64, batch=128, dropout=0.5, decay=0.004),
    ),
    "exemplar-small": (
        "Exemplar CNN 64c5-64c5-128f (small: 2,000 classes)", 640,
        exemplar(size="small", classes=2000, side=32, batch=32, dropout=0.5, decay=0.0005),
    ),
}  # fmt: skip


def test_every_method_is_in_the_table() -> None:
    assert set(METHODS) == set(NAMED)


@pytest.mark.parametrize("name", NAMED)
def test_a_name_stands_for_its_settings(name: str) -> None:
    method, n_features, settings = NAMED[name]
    said = METHODS[name](SEED, torch.device("cpu")).description
    assert (said.method, said.n_features) == (method, n_features)
    assert {key: said.settings.get(key) for key in settings} == settings


def test_what_is_compared() -> None:
    by_both = {
        "pixels", "pixels-zca", "pixels-pca", "random:0", "random:1", "random:2", None, "dae-small", "swwae-small",
        "swwae-dropout-small", "exemplar-small", "kmeans-1600", "kmeans-4800", "kmeans-4800-gain-shape",
        "kmeans-3layer", "patches-small", "ckn-small", "ckn",
    }  # fmt: skip
    assert sorted(COMPARED, key=str) == sorted(
        [(weights, by) for weights in by_both for by in ("svm", "knn")] + [("pixels", "cnn-small")], key=str
    )


def test_a_table_has_its_supervised_networks_architecture() -> None:
    archs = {key: row.arch for key, row in DATASETS.items()}
    assert archs == {"cifar10": "dcgan32", "svhn": "dcgan32-svhn", "digits": "dcgan32-svhn"}


@pytest.mark.parametrize("command", ["cifar10-svm", "svhn"])
@pytest.mark.parametrize("classifier", ["knn", "cnn", "cnn-small"])
def test_a_classifier_cannot_be_chosen_where_every_one_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, classifier: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    where = ["--data-dir", str(tmp_path), "--out", str(tmp_path / "out"), "--device", "cpu"]
    result = CliRunner().invoke(main, [command, "--all", "--classifier", classifier, *where])
    assert result.exit_code == 1
    assert result.stderr == f"repr-eval {command}: --all compares every classifier; leave out --classifier\n"
