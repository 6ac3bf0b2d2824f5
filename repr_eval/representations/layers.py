"""The layers of a network that features are of, as numbers. Needs no torch: records and tables use it too."""

from typing import NamedTuple


class Layers(NamedTuple):
    """Layers `first` to `last`, counted from 1, of a network that has `in_all`; in words "1-4 of 6" or "2 of 6"."""

    first: int
    last: int
    in_all: int

    @property
    def complete(self) -> bool:
        """Whether these are all the layers of the network."""
        return (self.first, self.last) == (1, self.in_all)

    def __str__(self) -> str:
        layers = str(self.last) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{layers} of {self.in_all}"
