"""Arrays of whole numbers in a file named by their hash: index lists of draws, predictions."""

import hashlib
from pathlib import Path

import numpy as np

from repr_eval.system.files import replacing


def digest_of(lists: dict[str, np.ndarray]) -> str:
    """SHA-256 over the names and values of index lists."""
    digest = hashlib.sha256()
    for name, indices in sorted(lists.items()):
        digest.update(f"{name}{list(indices.shape)}".encode())
        digest.update(np.ascontiguousarray(indices, dtype="<i8").tobytes())
    return digest.hexdigest()


def save_lists(folder: Path, lists: dict[str, np.ndarray]) -> str:
    """Write the lists to `folder`/DIGEST.npz, unless they are there, and return their digest."""
    digest = digest_of(lists)
    path = folder / f"{digest[:16]}.npz"
    if not path.exists():
        with replacing(path) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, **lists)  # type: ignore[arg-type]
    return digest
