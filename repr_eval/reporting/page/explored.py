"""Studies of `explore` in a folder: their pictures, as far as the page's size allows, and their numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repr_eval.reporting.page.pictures import Sample, embedded, uri_size
from repr_eval.system.json_text import read_object

# Study -> what it shows, in words. `repr_eval.explore` names them.
STUDIES = {
    "samples": "Samples",
    "walk": "A walk through Z",
    "arithmetic": "Samples added and subtracted",
    "turn": "An axis between two poses",
    "forget": "Maps of G that draw an object, dropped",
    "neighbours": "Samples beside the nearest training images",
    "respond": "What features of D respond to",
    "deduplicate": "Near duplicates among training images",
}
BELOW = "explored"  # the folder that `explore` writes to unless told otherwise
MOST = 60  # numbers of a study
LONG = 8  # values of a list that is still written out


@dataclass(frozen=True)
class Study:
    """A study, for the template. `film` moves for ever, so it is shown when it is asked for."""

    name: str
    where: str
    command: str
    facts: tuple[tuple[str, str], ...]
    numbers: tuple[tuple[str, str], ...]
    picture: Sample | None
    film: Sample | None
    left_out: tuple[str, ...]

    @property
    def size(self) -> int:
        """Characters of its pictures."""
        return sum(len(one.uri) for one in (self.picture, self.film) if one)


def studies_of(folders: Sequence[Path], budget: int) -> list[Study]:
    """The studies of these folders, and of explored/ in each: their pictures in about `budget` characters.

    Pictures come before films. A file that is no study's, or is damaged, is told as one without numbers.
    """
    paths = list(dict.fromkeys(path.resolve() for folder in folders for path in _files(folder)))
    kept: set[Path] = set()
    for ending in (".png", ".webp"):
        for path in (path.with_suffix(ending) for path in paths):
            if path.is_file() and uri_size(path) <= budget:
                kept.add(path)
                budget -= uri_size(path)
    return [_study(path, kept) for path in paths]


def _files(folder: Path) -> Iterator[Path]:
    for place in (folder, folder / BELOW):
        yield from (path for name in STUDIES if (path := place / f"{name}.json").is_file())


def _study(path: Path, kept: set[Path]) -> Study:
    left_out: list[str] = []
    try:
        content = read_object(path)
        numbers = list(flat(content["numbers"]))
        facts = [*flat({"seed": content["seed"]}), *_models(content["models"])]
        command = str(content["command"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        left_out.append(f"{path.name} cannot be read as a study's numbers ({error}).")
        numbers, facts, command = [], [], ""
    if len(numbers) > MOST:
        left_out.append(f"{MOST} of {len(numbers)} numbers are shown; {path.name} has them all.")
    picture, film = (_shown(path.with_suffix(ending), kept, left_out) for ending in (".png", ".webp"))
    return Study(
        STUDIES[path.stem], path.parent.name, command, tuple(facts), tuple(numbers[:MOST]), picture, film,
        tuple(left_out),
    )  # fmt: skip


def _models(models: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    """The networks in words: those of a study that has none are none."""
    for network in ("generator", "discriminator"):
        made = (models or {}).get(network)
        if made:
            words = (
                f"{made['arch']}, width {made['width']:g}, {made['images_seen']:,} images seen, {made['trained_on']}"
            )
            yield network, f"{words}; SHA-256 {made['weights_sha256']}"


def flat(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Numbers and words of nested dictionaries by their path, in words; of a long list, its length."""
    for name, value in values.items():
        path = f"{before}{name.replace('_', ' ')}"
        if isinstance(value, dict):
            yield from flat(value, f"{path}: ")
        elif value is not None:
            yield path, _words(value)


def _words(value: Any) -> str:
    if isinstance(value, list):
        if len(value) > LONG or any(isinstance(one, list | dict) for one in value):
            return f"a list of {len(value):,}"
        return ", ".join(map(_words, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _shown(path: Path, kept: set[Path], left_out: list[str]) -> Sample | None:
    if not path.is_file():
        return None
    if path not in kept:
        left_out.append(f"{path.name} is left out: the page's size does not allow it.")
        return None
    try:
        return embedded(path, path.name)
    except OSError as error:
        left_out.append(f"{path.name} cannot be read ({error}).")
        return None
