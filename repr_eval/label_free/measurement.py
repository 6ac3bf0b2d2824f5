"""A measurement: every measure of every layer of a representation, and its likeness to another."""

import hashlib
import json
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from repr_eval.images.labelled import LabelledImages
from repr_eval.label_free.seen import Seen
from repr_eval.measures import (
    alpha_of,
    effective_rank_of,
    rank_me_of,
    similarity_table,
    spectra,
)
from repr_eval.system.parallel import parallel_map
from repr_eval.system.progress import progress_count
from repr_eval.system.provenance import commit, machine, versions

FORMAT = 1
Table = list[list[float | None]]


@dataclass(frozen=True)
class Measurement:
    """Label-free measures of one representation, and its similarity to another one."""

    time: str  # UTC, ISO 8601
    dataset: dict[str, Any]  # name, verified, remark; fingerprint and number of training images
    images: dict[str, Any]  # the split, how many of its images, and the seed that chose them
    representation: dict[str, Any]  # method, trained_on, n_features, settings
    layers: list[dict[str, Any]]  # of every part of `Seen.parts`: name, size and measures
    against: dict[str, Any] | None  # the other representation, and the names of its parts
    cka: Table | None  # linear CKA [parts, parts of the other]; None where it is not defined
    cka_debiased: Table | None
    seconds: dict[str, float]
    versions: dict[str, str]
    machine: str
    commit: str
    command: str
    format: int = FORMAT

    @property
    def id(self) -> str:
        """The first 12 digits of the SHA-256 of the measurement's line."""
        return hashlib.sha256(self.to_line().encode()).hexdigest()[:12]

    @property
    def identity(self) -> str:
        """What was measured: the same for a repetition."""
        what = (self.dataset, self.images, self.representation, self.against)
        return json.dumps(what, sort_keys=True)

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), allow_nan=False)


def measure(
    data: LabelledImages, one: Seen, other: Seen | None = None, *, seed: int | None = None,
    seconds_of_features: float = 0.0, command: str | None = None,
) -> Measurement:  # fmt: skip
    """Measure every part of `one`; with `other`, features of the same images, also linear CKA.

    `seed` is the one that has chosen the images; None where all were taken.
    """
    started = time.perf_counter()
    layers = _by_layer(one)
    cka = debiased = against = None
    if other is not None:
        cka, debiased = _similarity(one, other)
        against = other.identity | {"layers": [name for name, _ in other.parts]}
    devices = [side.device for side in (one, other) if side is not None and side.device != "cpu"]
    return Measurement(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        dataset={
            "name": data.name,
            "verified": data.verified,
            "remark": data.remark,
            "train_fingerprint": data.train.fingerprint,
            "n_train": len(data.train.labels),
        },
        images={"split": "train", "n": len(one.X), "seed": seed},
        representation=one.identity,
        layers=layers,
        against=against,
        cka=cka,
        cka_debiased=debiased,
        seconds={
            "features": round(seconds_of_features, 1),
            "measures": round(time.perf_counter() - started, 1),
        },
        versions=versions(),
        machine=machine(devices[0] if devices else "cpu"),
        commit=commit(),
        command=command or shlex.join(sys.argv),
    )


def _by_layer(one: Seen) -> list[dict[str, Any]]:
    """The measures of every part, as many parts at once as there are cores."""
    with progress_count("measures", len(one.parts), unit="layer") as count:

        def work(part: tuple[str, slice]) -> dict[str, Any]:
            name, columns = part
            found = measures_of(name, one.X[:, columns])
            count.update()
            return found

        return parallel_map(work, one.parts)


def measures_of(name: str, Z: np.ndarray) -> dict[str, Any]:
    """The measures of features Z [n, D]; None where one is not defined, and why: "undefined"."""
    spectrum = spectra(Z)
    undefined: list[str] = []

    def defined(function: Callable[[np.ndarray], Any], values: np.ndarray) -> Any:
        try:
            return function(values)
        except ValueError as error:
            undefined.append(str(error))
            return None

    law = defined(alpha_of, spectrum.variances)
    return {
        "layers": name,
        "n_features": Z.shape[1],
        "rank_me": defined(rank_me_of, spectrum.singular_values),
        "effective_rank": defined(effective_rank_of, spectrum.variances),
        "alpha": law and law.alpha,
        "alpha_ranks": law and [law.first, law.last],
        "alpha_r2": law and law.r2,
        "undefined": undefined,
    }


def _similarity(one: Seen, other: Seen) -> tuple[Table, Table]:
    """Linear CKA [parts, parts of the other], biased and debiased."""
    found = similarity_table(one.layers, other.layers, whole=True)
    rows, columns = len(one.parts), len(other.parts)  # one part alone is the whole as well
    biased, debiased = (
        [[None if np.isnan(value) else float(value) for value in row] for row in values.tolist()]
        for values in (table[:rows, :columns] for table in found)
    )
    return biased, debiased
