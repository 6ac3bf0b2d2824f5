"""Labelled images from folders: one folder a class, below train/ and test/ or directly below the folder named.

An image may lie at any depth below its class folder. Names that begin with a dot are passed over. Images are read by
`images.decode`; they keep their size where all are square and alike, and else need a size to be brought to.
"""

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from repr_eval.images.decode import FORMATS, UnreadableImage, image_files
from repr_eval.images.own_data import PARTS, Labelled, Source
from repr_eval.images.parallel_decode import decode_blocks
from repr_eval.system.files import open_regular
from repr_eval.system.progress import progress_count

BLOCK = 64  # images a process decodes at a time
ALONE = 2048  # so many images and fewer are decoded by this process: others take seconds to start


def read_folder(folder: Path, image_size: int | None = None, workers: int | None = None) -> Source:
    """The images below `folder`, by class folder. ValueError on an empty class, or a file that is no image."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    has = [part for part in PARTS if (folder / part).is_dir()]
    if len(has) == 1:
        other = PARTS[1 - PARTS.index(has[0])]
        raise ValueError(f"{folder}: has a folder {has[0]}/ and no {other}/; needs both, or class folders alone")
    files = {part: _by_class(folder / part) for part in has} or {"all": _by_class(folder)}
    others = [name for name in ("val", "valid", "validation") if has and (folder / name).is_dir()]
    paths = {part: [path for path, _ in listed] for part, listed in files.items()}
    images = read_images([path for part in paths.values() for path in part], image_size, folder.name, workers)
    parts, start = {}, 0
    for part, listed in files.items():
        parts[part] = Labelled(images[start : start + len(listed)], [label for _, label in listed])
        start += len(listed)
    remark = f"{others[0]}/ is not used" if others else ""
    return Source(folder.resolve().name, parts, remark=remark)


def _by_class(folder: Path) -> list[tuple[Path, str]]:
    """(file, name of its class folder) of every image, by class and name."""
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise ValueError(f"{folder}: has no class folders; needs {folder.name}/CLASS/IMAGE.png and the like")
    real: dict[Path, Path] = {}
    for entry in classes:
        if (other := real.setdefault(entry.resolve(), entry)) is not entry:
            raise ValueError(f"{entry} is the same folder as {other}; a class has one folder")
    loose = [entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    if any(path.suffix.lower() in (".png", ".jpg", ".jpeg") for path in loose):
        raise ValueError(f"{loose[0]}: an image beside the class folders, of no class; move it into one")
    return [(path, name.name) for name in classes for path in image_files(name)]


def read_images(paths: Sequence[Path], image_size: int | None, what: str, workers: int | None = None) -> np.ndarray:
    """The image files as uint8 [N, S, S, 3]: S is `image_size` or, with None, the side that all of them have.

    ValueError on a file that is no image, images of several sizes without `image_size`, and an array that would not fit
    into memory.
    """
    size = image_size or _common_side(paths)
    _check_memory(len(paths), size, what)
    images = np.empty((len(paths), size, size, 3), np.uint8)
    blocks = range(-(-len(paths) // BLOCK))
    count = workers or (1 if len(paths) <= ALONE else os.cpu_count() or 1)

    def paths_of(block: int) -> list[str]:
        return [str(path) for path in paths[BLOCK * block : BLOCK * (block + 1)]]

    decoded = decode_blocks(list(blocks), paths_of, size, count)
    with closing(decoded), progress_count(what, total=len(paths), unit="image") as bar:
        for block, (rows, unreadable) in decoded:
            for row, reason in unreadable.items():
                raise UnreadableImage(paths[BLOCK * block + row], reason)
            images[BLOCK * block : BLOCK * block + len(rows)] = rows
            bar.update(len(rows))
    return images


def _common_side(paths: Sequence[Path]) -> int:
    """The side of the images, if all are square and alike; headers alone are read."""
    first: tuple[int, int] | None = None
    for path in paths:
        try:
            with open_regular(path) as file, Image.open(file, formats=FORMATS) as image:
                size = image.size
        except MemoryError:
            raise
        except Exception as error:  # Pillow's readers raise nearly anything on broken bytes.
            raise UnreadableImage(path, str(error) or type(error).__name__) from error
        first = first or size
        if size != first or size[0] != size[1]:
            words = f"{path} is {size[0]}x{size[1]}" + f", {paths[0]} {first[0]}x{first[1]}" * (size != first)
            raise ValueError(f"{words}: say a size to bring all images to (`image_size=64`: shorter side, then centre)")
    assert first is not None  # `image_files` raises where there is none
    return first[0]


def _check_memory(n: int, size: int, what: str) -> None:
    needed = n * size * size * 3
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there / 2:
        raise ValueError(
            f"{what}: {n:,} images of {size}x{size} take {needed / 1e9:.1f} GB and this machine has "
            f"{there / 1e9:.1f}; choose a smaller image_size"
        )
