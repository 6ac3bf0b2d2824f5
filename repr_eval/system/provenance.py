"""What made a number: versions, machine, commit. Records and training runs keep it beside their results."""

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def versions() -> dict[str, str]:
    """The versions that a number may depend on."""
    installed = {"python": platform.python_version()}
    for package in ("repr-eval", "torch", "numpy", "scikit-learn", "scipy", "pillow"):
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            installed[package] = "not installed as a package"
    return installed


def machine(device: str) -> str:
    """Processor, cores and the device used ("cpu", "cuda:0", or words), in words; no host name."""
    if re.fullmatch(r"cuda(:\d+)?", device):
        import torch  # here, for records and tables do without it

        device = f"cuda: {torch.cuda.get_device_name(device)}"
    model = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, {device}"


CODE = ("*.py", "*.c", "*.h", "*.toml", "*.txt", "Makefile")


def commit() -> str:
    """The commit of the checkout that this code runs from, with "+changes" if its code differs; "none" outside one.

    Results that lie in the checkout are no change of the code.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "none"
    try:
        head = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *CODE)
    except (OSError, subprocess.CalledProcessError):
        return "none"
    return head + ("+changes" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    # Without GIT_DIR and its like, which would name another repository (a hook of git's sets them).
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True, env=environment
    ).stdout.strip()
