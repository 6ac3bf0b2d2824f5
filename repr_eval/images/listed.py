"""Labelled images from a CSV file that lists them: columns `path` and `label`, and `split` where there is one.

Paths are relative to the file's folder. `split` is train or test in every line. Spaces around a value do not count,
nor do other columns.
"""

import csv
from pathlib import Path

from repr_eval.images.class_folders import read_images
from repr_eval.images.own_data import PARTS, Labelled, Source

COLUMNS = ("path", "label", "split")


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
            header, *rows = [row for row in csv.reader(file, strict=True, skipinitialspace=True) if row] or [[]]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    columns = [name.strip() for name in header]
    twice = [name for name in COLUMNS if columns.count(name) > 1]
    if twice:
        raise ValueError(f"{path}: has two columns called {twice[0]}; needs one")
    if not {"path", "label"} <= set(columns):
        raise ValueError(f"{path}: has columns {', '.join(columns) or 'none'}; needs path and label, and perhaps split")
    if not rows:
        raise ValueError(f"{path}: lists no images")
    lines = []
    for number, row in enumerate(rows, 2):
        if any(row[len(columns) :]):
            raise ValueError(f"{path}, line {number}: has {len(row)} values for {len(columns)} columns; quote commas")
        line = dict.fromkeys(columns, "") | dict(zip(columns, map(str.strip, row), strict=False))
        for column in COLUMNS:
            if column in columns and not line[column]:
                raise ValueError(f"{path}, line {number}: has no {column}")
        if "split" in columns and line["split"] not in PARTS:
            raise ValueError(f"{path}, line {number}: split is {line['split']!r}; needs train or test")
        if not (path.parent / line["path"]).is_file():
            raise ValueError(f"{path}, line {number}: {line['path']}: no such file")
        lines.append(line)
    return lines
