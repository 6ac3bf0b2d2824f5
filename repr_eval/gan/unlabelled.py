"""Images to train a GAN on, without labels: a packed array, a folder of images, or a data set by its name."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repr_eval.datasets import DATASETS, load_dataset
from repr_eval.images.pack import pack
from repr_eval.system.arrays import mapped
from repr_eval.system.files import require_regular
from repr_eval.system.json_text import read_object


@dataclass(frozen=True)
class UnlabelledImages:
    """Images uint8 [N, S, S, 3] (an array or a memory map), what they are in words, and a hash of their bytes."""

    images: np.ndarray
    description: str
    sha256: str


def unlabelled_images(
    data: str, size: int, data_dir: Path | None = None, cache: Path | None = None
) -> UnlabelledImages:
    """The images that `data` names, of `size` x `size` pixels.

    A folder of images is packed once, into `cache`. Of a row of `DATASETS` only the *training* images are used.
    Raises ValueError on what is missing, empty, of another size or not of that form.
    """
    if data in DATASETS:
        return _training_images(data, size, data_dir)
    check_source(data)
    path = Path(data)
    if path.is_dir():
        packed = (cache or path.parent) / f"{path.resolve().name}-{size}.npy"
        pack(path, packed, size)
        return read_packed(packed, size)
    return read_packed(path, size)


def check_source(data: str) -> None:
    """Raise a ValueError where `data` names no images: no data set, file or folder."""
    if data not in DATASETS and not (Path(data).is_dir() or Path(data).is_file()):
        raise ValueError(f"{data}: no such file or folder, nor one of {', '.join(DATASETS)}")


def _training_images(name: str, size: int, data_dir: Path | None) -> UnlabelledImages:
    if size != 32:
        raise ValueError(f"{name} has 32x32 images; this architecture needs {size}x{size}")
    data = load_dataset(name, data_dir, download=False)
    digest = hashlib.sha256(data.train.images.tobytes()).hexdigest()
    return UnlabelledImages(data.train.images, f"{data.name}, training images", digest)


def of_test(name: str, data_dir: Path | None = None) -> UnlabelledImages:
    """The test images of the data set called `name`, a row of `DATASETS`: for a GAN, images never trained on."""
    data = load_dataset(name, data_dir, download=False)
    digest = hashlib.sha256(data.test.images.tobytes()).hexdigest()
    return UnlabelledImages(data.test.images, f"{data.name}, test images", digest)


def parted(data: UnlabelledImages, share: float) -> tuple[UnlabelledImages, UnlabelledImages]:
    """`data` less its last rows, and these: round(N * share) of its N images.

    Raises ValueError unless the share is between 0 and 1 and leaves an image on both sides.
    """
    n = round(len(data.images) * share) if 0 < share < 1 else 0
    if not 0 < n < len(data.images):
        raise ValueError(
            f"share {share:g} of {len(data.images):,} images: needs a share between 0 and 1 that leaves images on "
            "both sides"
        )
    first, last = data.images[:-n], data.images[-n:]
    return (
        UnlabelledImages(first, f"{data.description}, all but the last {n:,}", sha256_of(first)),
        UnlabelledImages(last, f"{data.description}, the last {n:,}", sha256_of(last)),
    )


def read_packed(path: Path, size: int | None = None) -> UnlabelledImages:
    """A packed array uint8 [N, size, size, 3], memory-mapped, described by its sidecar where it has one.

    Of any size where `size` is None.
    """
    require_regular(path)
    if path.is_file() and _begins(path, b"PK"):
        raise ValueError(f"{path}: is an archive of arrays (.npz); needed: one array, as repr-eval pack makes it")
    try:
        images = mapped(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: not a whole .npy array ({error}); make it with repr-eval pack") from error
    side = size or (images.shape[1] if images.ndim == 4 else None)
    if images.dtype != np.uint8 or images.shape[1:] != (side, side, 3):
        needed = f"uint8 [N, {size}, {size}, 3] (pack the images with `size={size}`)" if size else "uint8 [N, S, S, 3]"
        raise ValueError(f"{path}: holds {images.dtype} {list(images.shape)}; needed: {needed}")
    digest = sha256_of(images)
    sidecar = path.with_suffix(".json")
    if sidecar.is_file():
        recorded = _recorded_sha256(sidecar)
        if recorded != digest:
            raise ValueError(
                f"{path}: its content is not what {sidecar.name} records ({digest} != {recorded}); pack it again"
            )
    return UnlabelledImages(images, f"{path.name} ({len(images):,} images)", digest)


def _begins(path: Path, mark: bytes) -> bool:
    with open(path, "rb") as file:
        return file.read(len(mark)) == mark


def _recorded_sha256(sidecar: Path) -> str:
    try:
        return str(read_object(sidecar)["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{sidecar}: not the sidecar of a packed array ({error!r}); pack the images again, or move it away"
        ) from error


def sha256_of(images: np.ndarray, rows: int = 8192) -> str:
    """SHA-256 of the array's bytes in row order, read in blocks."""
    digest = hashlib.sha256()
    for start in range(0, len(images), rows):
        digest.update(np.ascontiguousarray(images[start : start + rows]).data)
    return digest.hexdigest()
