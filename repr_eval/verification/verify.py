"""All checks of files and folders, and the removal of what can be made again."""

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from repr_eval.images.data_dir import cache_folder
from repr_eval.representations.feature_folder import SIDECAR, is_feature_folder
from repr_eval.system.files import is_left, sweep, temporary
from repr_eval.system.parallel import parallel_map
from repr_eval.system.progress import progress_count
from repr_eval.verification import features, results, training
from repr_eval.verification.base import Check, Checked

LEFT = "temporary file"


def default_paths() -> list[Path]:
    """What is verified unless something is named: shipped weights, results/ and the stored features."""
    places = (training.shipped(), Path("results"), cache_folder() / "features")
    return [path for path in places if path is not None and path.is_dir()]


def verify(paths: Sequence[str | Path]) -> list[Checked]:
    """Check files and folders, these with all that is below them, but for names that begin with a dot.

    What is read is hashed as fast as it can be read, a file on each core. ValueError where a path
    is not there, or holds nothing that could be checked.
    """
    checks: dict[Path, Check] = {}
    left: list[Checked] = []
    for path in map(Path, paths):
        found = list(_of_folder(path) if path.is_dir() else _of_file(path))
        unfinished = list(_leftovers(path)) if path.is_dir() else []
        if not found and not unfinished:
            raise ValueError(f"{path}: {'holds' if path.exists() else 'is not there:'} nothing to verify")
        checks |= {check.path.absolute(): check for check in found}
        left += unfinished
    with progress_count("verify", len(checks), unit="file") as bar:

        def made(check: Check) -> Checked:
            checked = check.made()
            bar.update()
            return checked

        return [*parallel_map(made, list(checks.values())), *dict.fromkeys(left)]


def _of_file(path: Path) -> Iterator[Check]:
    """The check of a single file; none of what repr-eval does not write."""
    if path.name in results.FILES and path.is_file():
        yield from results.checks(path.parent)
    elif path.stem in (features.entries(path.parent) if path.parent.is_dir() else ()):
        yield from (check for check in features.checks(path.parent) if check.path.stem == path.stem)
    elif path.name == SIDECAR and path.is_file():
        yield from features.folder_checks(path.parent)
    elif path.name == training.MANIFEST and path.is_file():
        yield from training.manifest_checks(path.parent)
    elif path.suffix == ".npy" and path.is_file():
        yield training.pack_check(path)
    elif path.suffix == ".safetensors" and path.is_file():
        run = training.run_checks(path.parent) if training.is_run(path.parent) else ()
        own = [check for check in run if check.path == path]
        yield from own or [training.weights_check(path)]


def _folders(folder: Path) -> Iterator[Path]:
    """The folder and all below it; links are not followed."""
    for name, below, _ in os.walk(folder):
        below[:] = sorted(one for one in below if not one.startswith("."))
        yield Path(name)


def _of_folder(folder: Path) -> Iterator[Check]:
    for one in _folders(folder):
        if results.is_results(one):
            yield from results.checks(one)
        if is_feature_folder(one):
            yield from features.folder_checks(one)
        if training.is_manifest_folder(one):
            yield from training.manifest_checks(one)
        if training.is_run(one):
            yield from training.run_checks(one)
        yield from features.checks(one)
        keys = set(features.entries(one))
        for path in sorted(one.glob("*.npy")):
            if path.stem not in keys and training.is_pack(path):
                yield training.pack_check(path)


def _leftovers(folder: Path) -> Iterator[Checked]:
    """The temporary files of this package, and whether `system.files.sweep` would remove them."""
    for one in _folders(folder):
        for path in temporary(one):
            left = is_left(path)
            words = "left by a process that was killed" if left else "may be in use"
            yield Checked(path, LEFT, remark=words, again=(path,) if left else ())


def repair(checked: Iterable[Checked]) -> list[Path]:
    """Remove what can be made again, and nothing else: the paths removed.

    These are stored features in which something is wrong, looked at once more under the store's lock,
    and temporary files of killed processes. Whatever holds a measurement stays.
    """
    removed: list[Path] = []
    for one in checked:
        if one.what == LEFT and one.again:
            sweep(one.path.parent)
            removed += [path for path in one.again if not os.path.lexists(path)]
        elif one.wrong and one.again:
            removed += _removed(one)
    return removed


def _removed(one: Checked) -> Iterator[Path]:
    handle = os.open(one.path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if not _still_wrong(one):
            return
        for path in one.again:
            with suppress(FileNotFoundError):
                path.unlink()
                yield path
    finally:
        os.close(handle)


def _still_wrong(one: Checked) -> bool:
    return any(check.made().wrong for check in _of_file(one.path))
