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

from repr_eval.images.decode import FORMATS, SUFFIXES, UnreadableImage, image_files
from repr_eval.images.one_size import check_memory, check_size
from repr_eval.images.own_data import PARTS, Labelled, Source
from repr_eval.images.parallel_decode import decode_blocks
from repr_eval.system.files import open_regular
from repr_eval.system.progress import progress_count

VALIDATION = ("val", "valid", "validation")  # folders beside train/ and test/ that are not used
BLOCK = 64  # images a process decodes at a time
ALONE = 2048  # so many images and fewer are decoded by this process: others take seconds to start


def read_folder(folder: Path, image_size: int | None = None, workers: int | None = None) -> Source:
    """The images below `folder`, by class folder. ValueError on an empty class, or a file that is no image."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    has = _parts(folder)
    if len(has) == 1:
        other = PARTS[1 - PARTS.index(has[0])]
        raise ValueError(f"{folder}: has a folder {has[0]}/ and no {other}/; needs both, or class folders alone")
    files = {part: _by_class(folder / part) for part in has} or {"all": _by_class(folder)}
    others = [name for name in VALIDATION if has and (folder / name).is_dir()]
    paths = {part: [path for path, _ in listed] for part, listed in files.items()}
    images = read_images([path for part in paths.values() for path in part], image_size, folder.name, workers)
    parts, start = {}, 0
    for part, listed in files.items():
        parts[part] = Labelled(images[start : start + len(listed)], [label for _, label in listed])
        start += len(listed)
    remark = f"{others[0]}/ is not used" if others else ""
    return Source(folder.resolve().name, parts, remark=remark)


def _parts(folder: Path) -> list[str]:
    """Those of train/ and test/ that are parts of a set. None where they are classes beside others, called so.

    A class folder has images directly in it, a part has class folders.
    """
    named = [part for part in PARTS if (folder / part).is_dir()]
    others = [entry for entry in _folders(folder) if entry.name not in (*PARTS, *VALIDATION)]
    classes = all(not _folders(folder / part) and _images_in(folder / part) for part in named)
    return [] if others and classes else named


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _images_in(folder: Path) -> bool:
    return any(entry.suffix.lower() in SUFFIXES for entry in folder.iterdir() if not entry.name.startswith("."))


def _by_class(folder: Path) -> list[tuple[Path, str]]:
    """(file, name of its class folder) of every image, by class and name."""
    classes = _folders(folder)
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
    check_memory(len(paths), size, what)
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
        check_size(size, str(path), first, str(paths[0]))
    assert first is not None  # `image_files` raises where there is none
    return first[0]
