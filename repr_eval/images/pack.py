"""A folder of images to one memory-mapped uint8 array, `pack`; made for ImageNet-1k's 1.28 million JPEGs.

The order of work: list the files, go on from what a killed run left (`partial_array`), decode the remaining blocks in
several processes (`parallel_decode`), leave out the rows of skipped files, hash, write the sidecar, and only then give
the array its name. An array under its final name is whole and has its sidecar.
"""

import hashlib
import json
import logging
import os
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from repr_eval.images.decode import UnreadableImage, image_names, resampler
from repr_eval.images.parallel_decode import decode_blocks
from repr_eval.images.partial_array import PartialArray, create_array, remove_leftovers
from repr_eval.system.arrays import mapped
from repr_eval.system.files import naming, rename, write_text
from repr_eval.system.json_text import read_object
from repr_eval.system.progress import progress_count

FORMAT = "repr-eval image pack"
FORMAT_VERSION = 1
# A block is the unit of work and of resuming: at most so many images and so many bytes.
BLOCK_ROWS = 64
BLOCK_BYTES = 1 << 23

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackReport:
    """What lies in a packed array. The sidecar holds the same, less `out` and `decoded_now`."""

    out: Path  # uint8 [count, size, size, 3], RGB
    source: str  # the folder's name, not its path
    source_count: int  # images found
    count: int  # rows: the images found less the skipped
    size: int
    resampler: dict[str, Any]  # as decode.resampler tells it
    skipped: tuple[tuple[str, str], ...]  # relative path, reason
    files_sha256: str  # of every relative path and its file's length
    sha256: str  # of the rows' bytes in order, without the .npy header
    decoded_now: int  # images decoded by this call: fewer than source_count when it went on from another


def pack(
    source: Path,
    out: Path,
    size: int,
    *,
    workers: int | None = None,
    skip_unreadable: bool = False,
) -> PackReport:
    """Pack the images under `source` into `out`, a .npy of uint8 [N, size, size, 3], and a .json sidecar beside it.

    Rows are in the order of `decode.image_names` (relative POSIX paths, sorted as strings); each is made by the
    rule in `decode`. `workers` processes decode (default: one for every usable core; 1: this one).
    The same call again goes on from where a killed one was or, once `out` is finished, hashes its rows and returns its
    report; of `source`, names and lengths of the files are compared then, not what is in them. If the files or the
    settings have changed, an unfinished pack is started over, with a warning in the log.

    Raises ValueError for a bad argument, a folder without images, and a file that is not a whole image; with
    `skip_unreadable` such files are left out and listed. FileExistsError where `out` is anything but this pack, or
    other rows than its sidecar says.
    OSError where a file cannot be read or written; a full disk is noticed before any image is decoded.
    """
    source, out = Path(source), Path(out)
    workers = _usable_cores() if workers is None else workers
    for name, value in (("size", size), ("workers", workers)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if out.suffix != ".npy":
        raise ValueError(f"{out}: the name of a packed array must end in .npy")
    job = _job(source, size)
    _refuse_foreign_files(out)
    if out.exists():
        report = _finished(job, out)
        if report.skipped and not skip_unreadable:
            raise _unreadable(source, *report.skipped[0])
        remove_leftovers(out)
        return report
    with PartialArray(out, (len(job.names), size, size, 3), job.key) as partial:
        decoded_now = _fill(partial, job, workers, skip_unreadable)
        return _publish(partial, job, decoded_now)


@dataclass(frozen=True)
class _Job:
    """Which files become which rows, in blocks of `block_rows`."""

    source: Path
    names: list[str]
    size: int
    files_sha256: str
    block_rows: int

    @property
    def blocks(self) -> range:
        return range(-(-len(self.names) // self.block_rows))

    @property
    def key(self) -> dict[str, Any]:
        """Everything that decides the bytes of the unfinished array and the meaning of its journal."""
        return {
            "format_version": FORMAT_VERSION,
            "files_sha256": self.files_sha256,
            "size": self.size,
            "resampler": resampler(),
            "block_rows": self.block_rows,
        }

    def paths(self, block: int) -> list[str]:
        start = block * self.block_rows
        return [os.path.join(self.source, name) for name in self.names[start : start + self.block_rows]]


def _job(source: Path, size: int) -> _Job:
    names = image_names(source)
    digest = hashlib.sha256()
    for name in names:
        length = os.stat(os.path.join(source, name)).st_size
        digest.update(f"{name}\0{length}\0".encode(errors="surrogateescape"))
    block_rows = max(1, min(BLOCK_ROWS, BLOCK_BYTES // (3 * size**2)))
    return _Job(source=source, names=names, size=size, files_sha256=digest.hexdigest(), block_rows=block_rows)


def _fill(partial: PartialArray, job: _Job, workers: int, skip_unreadable: bool) -> int:
    """Decode every block that is not done; returns how many images that were."""
    # A block with unreadable files is done only where skipping is allowed: else they are tried again, and named.
    todo = [block for block in job.blocks if block not in partial.done or (partial.done[block] and not skip_unreadable)]
    missing, total = sum(len(job.paths(block)) for block in todo), len(job.names)
    if not todo:
        return 0
    with (
        progress_count("pack", total=total, initial=total - missing, unit="image", keep=True) as bar,
        closing(decode_blocks(todo, job.paths, job.size, min(workers, len(todo)))) as decoded,
    ):
        for block, (rows, unreadable) in decoded:
            start = block * job.block_rows
            skipped = [(start + row, reason) for row, reason in unreadable.items()]
            if skipped and not skip_unreadable:
                row, reason = skipped[0]
                raise _unreadable(job.source, job.names[row], reason)
            partial.write(block, start, rows, skipped)
            bar.update(len(rows))
    partial.sync()
    return missing


def _publish(partial: PartialArray, job: _Job, decoded_now: int) -> PackReport:
    """Write the sidecar, then give the filled array its final name."""
    skipped = sorted((row, reason) for note in partial.done.values() for row, reason in note)
    if len(skipped) == len(job.names):
        raise ValueError(f"{job.source}: none of its {len(skipped)} images can be read (the first: {skipped[0][1]})")
    path, rows = partial.path, partial.array
    if skipped:
        path, rows = _without(partial, [row for row, _ in skipped], job.block_rows)
    report = PackReport(
        out=partial.out,
        source=Path(os.path.abspath(job.source)).name,
        source_count=len(job.names),
        count=len(rows),
        size=job.size,
        resampler=resampler(),
        skipped=tuple((job.names[row], reason) for row, reason in skipped),
        files_sha256=job.files_sha256,
        sha256=_sha256(rows, job.block_rows),
        decoded_now=decoded_now,
    )
    with open(path, "rb") as file, naming(path):
        os.fsync(file.fileno())
    write_text(_sidecar_path(report.out), _sidecar(report))
    rename(path, report.out)
    remove_leftovers(report.out)
    return report


def _without(partial: PartialArray, skipped: list[int], block_rows: int) -> tuple[Path, np.memmap[Any, Any]]:
    """A copy of the array less the rows `skipped`: a copy, so that a kill here too costs nothing that is done."""
    kept = np.delete(np.arange(len(partial.array)), skipped)
    path = partial.compact_path
    rows = create_array(path, (len(kept), *partial.array.shape[1:]))
    for start in range(0, len(kept), block_rows):
        rows[start : start + block_rows] = partial.array[kept[start : start + block_rows]]
    rows.flush()
    return path, rows


def _sha256(rows: npt.NDArray[np.uint8], block_rows: int) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(rows), block_rows):
        digest.update(rows[start : start + block_rows].data)
    return digest.hexdigest()


def _sidecar_path(out: Path) -> Path:
    return out.with_suffix(".json")


def _sidecar(report: PackReport) -> str:
    content = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(report)}
    del content["out"], content["decoded_now"]
    return json.dumps(content, indent=2) + "\n"


def _read_sidecar(out: Path) -> dict[str, Any] | None:
    """The sidecar of `out`, or None where there is none or the file is something else."""
    try:
        content = read_object(_sidecar_path(out))
    except (FileNotFoundError, ValueError):
        return None
    return content if content.get("format") == FORMAT else None


def _is_whole(sidecar: dict[str, Any]) -> bool:
    """Whether a sidecar has what a report is made of, of the right types."""
    kinds = {"source": str, "source_count": int, "count": int, "size": int, "resampler": dict, "skipped": list,
             "files_sha256": str, "sha256": str}  # fmt: skip
    return (
        set(sidecar) == {"format", "format_version", *kinds}
        and all(isinstance(sidecar[name], kind) for name, kind in kinds.items())
        and all(isinstance(one, list) and len(one) == 2 for one in sidecar["skipped"])
    )


def _refuse_foreign_files(out: Path) -> None:
    """Raise FileExistsError where packing would overwrite something that is not a pack."""
    for path in (out, _sidecar_path(out)):
        if path.exists() and _read_sidecar(out) is None:
            raise FileExistsError(f"{path}: exists and is not of a pack; remove it or choose another name")


def _finished(job: _Job, out: Path) -> PackReport:
    """The report of the finished `out`, or FileExistsError where it is not a pack of these files and settings."""
    sidecar = _read_sidecar(out) or {}
    if not _is_whole(sidecar):
        raise FileExistsError(f"{out}: exists, and its sidecar is not that of a pack; remove both")
    wanted = {**job.key, "resampler": {**resampler(), "decoder": None}}
    del wanted["block_rows"]
    # Another version of the decoder is no reason to refuse a finished pack: the sidecar says which it was.
    has = {**sidecar, "resampler": {**sidecar.get("resampler", {}), "decoder": None}}
    changed = [name for name in wanted if has.get(name) != wanted[name]]
    if changed:
        raise FileExistsError(
            f"{out}: exists, packed with other {', '.join(changed)}; remove it or choose another name"
        )
    _check_rows(job, out, sidecar)
    del sidecar["format"], sidecar["format_version"]
    skipped = tuple((name, reason) for name, reason in sidecar.pop("skipped"))
    return PackReport(out=out, skipped=skipped, decoded_now=0, **sidecar)


def _check_rows(job: _Job, out: Path, sidecar: dict[str, Any]) -> None:
    """FileExistsError unless `out` holds the rows that were packed."""
    try:
        rows = mapped(out)
    except ValueError as error:
        raise FileExistsError(f"{out}: exists, but is no whole array ({error}); remove it") from error
    if (rows.dtype, rows.shape) != (np.dtype(np.uint8), (sidecar.get("count"), job.size, job.size, 3)):
        raise FileExistsError(
            f"{out}: exists, but is {rows.dtype} {list(rows.shape)}, which its sidecar does not say; remove it"
        )
    if _sha256(rows, job.block_rows) != sidecar.get("sha256"):
        raise FileExistsError(f"{out}: exists, but its rows are not those that were packed (their SHA-256); remove it")


def _unreadable(source: Path, name: str, reason: str) -> ValueError:
    return ValueError(f"{UnreadableImage(source / name, reason)}; remove it or pass `skip_unreadable=True`")


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
