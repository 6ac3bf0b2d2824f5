"""Labelled images from a CSV file that lists them: columns `path` and `label`, and `split` where there is one.

Paths are relative to the file's folder. `split` is train or test in every line.
"""

import csv
from pathlib import Path

from repr_eval.images.class_folders import read_images
from repr_eval.images.own_data import PARTS, Labelled, Source


def read_csv(path: Path, image_size: int | None = None) -> Source:
    """The images that the file lists. ValueError names the line of what is missing, or no image."""
    lines = _lines(path)
    names = PARTS if "split" in lines[0] else ("all",)
    lists = {name: [line for line in lines if line.get("split", "all") == name] for name in names}
    for name, listed in lists.items():
        if not listed:
            raise ValueError(f"{path}: lists no image with split {name}; needs train and test, or no column split")
    ordered = [line for listed in lists.values() for line in listed]
    images = read_images([path.parent / line["path"] for line in ordered], image_size, path.name)
    parts, start = {}, 0
    for name, listed in lists.items():
        parts[name] = Labelled(images[start : start + len(listed)], [line["label"] for line in listed])
        start += len(listed)
    return Source(path.stem, parts)


def _lines(path: Path) -> list[dict[str, str]]:
    """The lines as they are, checked."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            lines = list(reader)
            columns = reader.fieldnames or []
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    if not {"path", "label"} <= set(columns):
        raise ValueError(f"{path}: has columns {', '.join(columns) or 'none'}; needs path and label, and perhaps split")
    if not lines:
        raise ValueError(f"{path}: lists no images")
    for number, line in enumerate(lines, 2):
        for column in ("path", "label", "split"):
            if column in columns and not line[column]:
                raise ValueError(f"{path}, line {number}: has no {column}")
        if "split" in columns and line["split"] not in PARTS:
            raise ValueError(f"{path}, line {number}: split is {line['split']!r}; needs train or test")
        if not (path.parent / line["path"]).is_file():
            raise ValueError(f"{path}, line {number}: {line['path']}: no such file")
    return lines
