"""A wheel outside the checkout: it has its modules, weights and licence, and its commands find them.

The wheel is built from a source distribution, in a folder without git. It is installed into a new environment that
borrows the dependencies of the one that the tests run in, but not its repr-eval. Needs a package index, for setuptools.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import repr_eval

ROOT = Path(__file__).resolve().parents[1]
MODULES = {path.relative_to(ROOT).as_posix() for path in (ROOT / "repr_eval").rglob("*.py")}
WEIGHTS = {path.name for path in (ROOT / "pretrained").glob("*.safetensors")} | {"manifest.json"}
BUILD_SDIST = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"

pytestmark = pytest.mark.slow


def call(*command: object, cwd: Path, status: int = 0, environment: dict[str, str] | None = None) -> str:
    """stdout and stderr of the command, run outside the checkout's paths; fails unless it ends with `status`."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "REPR_EVAL_DATA")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=kept | (environment or {}),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == status, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


@dataclass(frozen=True)
class Built:
    """A source distribution, unpacked, and the Python that has setuptools."""

    sdist: Path
    source: Path
    python: Path

    def wheel(self, folder: Path, environment: dict[str, str] | None = None) -> Path:
        """A wheel of it in `folder`."""
        pip = [self.python, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
        call(*pip, self.sdist, cwd=folder, environment=environment)
        (wheel,) = folder.glob("*.whl")
        return wheel


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and a folder to work in."""

    wheel: Path
    environment: Path
    folder: Path

    def run(self, *arguments: object, status: int = 0) -> str:
        """What `repr-eval` prints."""
        command, cache = self.environment / "bin" / "repr-eval", {"XDG_CACHE_HOME": str(self.folder / "cache")}
        return call(command, *arguments, cwd=self.folder, status=status, environment=cache)

    def evaluate(self, code: str) -> str:
        """What the Python of the environment prints."""
        return call(self.environment / "bin" / "python", "-c", code, cwd=self.folder).strip()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("built")
    checkout = folder / "checkout"  # what git tracks, and nothing that a build left
    for name in call("git", "ls-files", "-z", cwd=ROOT).split("\0"):
        if name and (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).write_bytes((ROOT / name).read_bytes())
    call(sys.executable, "-m", "venv", folder / "tools", cwd=folder)
    python = folder / "tools" / "bin" / "python"
    call(python, "-m", "pip", "install", "--quiet", "setuptools>=77", "wheel", cwd=folder)
    call(python, "-c", BUILD_SDIST, folder, cwd=checkout)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    return Built(sdist, source, python)


def install(wheel: Path, folder: Path) -> Installed:
    """A new environment with the wheel; the dependencies are those of the tests' environment."""
    environment = folder / "environment"
    call(sys.executable, "-m", "venv", "--without-pip", environment, cwd=folder)
    python = environment / "bin" / "python"
    call(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel, cwd=folder)
    own = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    # Folders named in a .pth file come after the environment's own, and the .pth files in them are not read: so the
    # editable repr-eval there is not found.
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(wheel, environment, folder)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    return install(built.wheel(folder), folder)


def test_the_source_distribution_has_what_a_wheel_is_built_from(built: Built) -> None:
    names = {path.relative_to(built.source).as_posix() for path in built.source.rglob("*") if path.is_file()}
    sources = {f"repr_eval/svm/{name}" for name in ("products.c", "products.h", "products_bf16.h")}
    assert names >= MODULES | sources | {f"pretrained/{name}" for name in WEIGHTS} | {"LICENSE", "setup.py"}
    assert not (built.source / ".git").exists()


def test_the_wheel_holds_modules_weights_and_licence(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        names = set(archive.namelist())
        (licence,) = (name for name in names if name.endswith("LICENSE"))
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
        for name in WEIGHTS:
            assert archive.read(f"repr_eval/pretrained/{name}") == (ROOT / "pretrained" / name).read_bytes()
    assert {name for name in names if name.endswith(".py")} == MODULES
    size = installed.wheel.stat().st_size
    print(f"{installed.wheel.name}: {size / 1e6:.1f} MB")
    assert size < 40e6  # nearly all of it weights, 1 to 5 MB a network


def test_what_runs_is_the_wheel(installed: Installed) -> None:
    path = installed.evaluate("import repr_eval; print(repr_eval.__file__)")
    assert Path(path).is_relative_to(installed.environment)
    assert installed.run("--version") == f"repr-eval, version {repr_eval.__version__}\n"
    assert installed.evaluate("from repr_eval.system.provenance import commit; print(commit())") == "none"


def test_commands_find_the_shipped_weights(installed: Installed) -> None:
    manifest = json.loads((ROOT / "pretrained" / "manifest.json").read_text())
    report = installed.run("doctor")
    assert f"{manifest['best']} (best)" in report
    text = installed.run("digits", "--draws", 1, "--labels-per-class", 5, "--C", "1e-3", "--device", "cpu")
    assert "test accuracy" in text
    record = json.loads((installed.folder / "results" / "records.jsonl").read_text())
    sha256 = manifest["models"][manifest["best"]]["weights_sha256"]
    assert sha256 in json.dumps(record)
    empty = installed.folder / "empty"
    empty.mkdir()
    refused = installed.run("cifar10-svm", "--data-dir", empty, status=1)
    assert f"CIFAR-10 not found in {empty}" in refused


def test_the_compiled_part_is_built_or_done_without(built: Built, installed: Installed, tmp_path: Path) -> None:
    compiler = str(sysconfig.get_config_var("CC")).split()[0]
    assert has_compiled_part(installed.wheel) is bool(shutil.which(compiler))
    plain = install(built.wheel(tmp_path, {"CC": "false"}), tmp_path)
    assert not has_compiled_part(plain.wheel)
    assert plain.evaluate("from repr_eval.svm.products import library; print(library())") == "None"
    few = ("--weights", "pixels", "--draws", 1, "--C", "1e-3", "--device", "cpu")
    assert "test accuracy" in plain.run("digits", *few)


def has_compiled_part(wheel: Path) -> bool:
    with zipfile.ZipFile(wheel) as archive:
        return any(name.startswith("repr_eval/svm/_products") for name in archive.namelist())
