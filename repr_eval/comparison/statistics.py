"""The tests and intervals behind a comparison, as functions of counts; docs/comparing.md says which
is used when.

scipy is imported late: commands start without it.
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf, sqrt

import numpy as np

from repr_eval.reporting.rows import wilson_interval

Interval = tuple[float, float]


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """McNemar's exact test: the two-sided p-value of the images that exactly one of two classifiers
    gets right.

    If both were as good, each such image would be A's or B's with probability 1/2, so that `only_a`
    of the sum is binomial [McNemar 1947; Dietterich 1998, Neural Computation 10:1895, section 3.1].
    1 where there is none.
    """
    from scipy.special import (
        bdtr,
    )  # here: the import takes half a second, and that of scipy.stats two

    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def newcombe_interval(both: int, only_a: int, only_b: int, neither: int) -> Interval:
    """95% interval of the difference of two paired proportions, A's less B's, in [-1, 1].

    `both` ... `neither`: the numbers of images that both, only A, only B, and neither gets right;
    their sum n >= 1. Two Wilson intervals squared and added, with a correction for the correlation
    phi [Newcombe 1998, Statistics in Medicine 17:2635, method 10].
    """
    n, a, b = both + only_a + only_b + neither, both + only_a, both + only_b
    p, q = a / n, b / n
    (p_low, p_high), (q_low, q_high) = wilson_interval(a, n), wilson_interval(b, n)
    excess: float = both * neither - only_a * only_b
    if excess > 0:
        excess = max(excess - n / 2, 0)  # a correction for continuity
    product = a * (n - a) * b * (n - b)
    phi = excess / sqrt(product) if product else 0.0

    def length(x: float, y: float) -> float:
        return sqrt(max(0.0, x**2 - 2 * phi * x * y + y**2))

    return p - q - length(p - p_low, q_high - q), p - q + length(p_high - p, q - q_low)


def paired_t(differences: np.ndarray) -> tuple[Interval, float]:
    """Student's 95% interval of the mean of `differences` float [n >= 2], and the p-value of 0."""
    n = len(differences)
    return _student(float(differences.mean()), float(differences.std(ddof=1)) / sqrt(n), n - 1)


def _student(mean: float, standard_error: float, freedom: float) -> tuple[Interval, float]:
    """Interval and p-value of an estimate with that standard error and those degrees of freedom."""
    from scipy.special import stdtr, stdtrit

    half = float(stdtrit(freedom, 0.975)) * standard_error
    t = abs(mean) / standard_error if standard_error else inf if mean else 0.0
    return (mean - half, mean + half), min(1.0, 2 * float(stdtr(freedom, -t)))


@dataclass(frozen=True)
class Differences:
    """What A got right and B did not, 1, or B and not A, -1, else 0, over draws and test images,
    summed up.

    `by_draw` int [D] and `by_image` int [N] are the sums of the table [D, N]; `unequal` counts what
    is not 0 in it.
    """

    by_draw: np.ndarray
    by_image: np.ndarray
    unequal: int

    @property
    def mean(self) -> float:
        """The difference of the accuracies, in [-1, 1]."""
        return float(self.by_draw.sum()) / (len(self.by_draw) * len(self.by_image))


def over_draws_and_images(table: Differences) -> tuple[Interval, float]:
    """95% interval of the mean difference, and the p-value of 0, for other draws *and* other test
    images; D, N >= 2.

    Every draw's classifiers see the same test images, so the D * N answers are not independent.
    Two-way analysis of variance, draws and images crossed and both random, one answer a cell: with
    the mean squares MD of draws, MI of images and MR of the rest, the variance of the mean is (MD +
    MI - MR) / (D N), with Satterthwaite's degrees of freedom [Hillis 2007, Statistics in Medicine
    26:596, for readers and cases of diagnostic images, which are crossed as draws and test images
    are here]. Differs from the paper: MD counts as at least MR. So the interval is never narrower
    than that over draws alone or that over images alone would be with as many degrees of freedom.
    """
    D, N, mean = len(table.by_draw), len(table.by_image), table.mean
    if D < 2 or N < 2:
        raise ValueError(f"{D} draws of {N} test images: a test over both needs two of each")
    squares_D = N * float(((table.by_draw / N - mean) ** 2).sum())
    squares_I = D * float(((table.by_image / D - mean) ** 2).sum())
    squares_R = max(0.0, table.unequal - D * N * mean**2 - squares_D - squares_I)
    MD, MI, MR = squares_D / (D - 1), squares_I / (N - 1), squares_R / ((D - 1) * (N - 1))
    of_draws = max(MD, MR)
    total = of_draws + max(MI - MR, 0.0)
    freedom = (D - 1) * (total / of_draws) ** 2 if of_draws else inf
    if total < 1e-12 * abs(mean):  # A is right on every image and B on none, or the other way round
        return (mean, mean), mcnemar_exact(N, 0)
    return _student(mean, sqrt(total / (D * N)), min(freedom, 1e9))


def over_images(table: Differences) -> Interval:
    """95% interval of the mean difference for other test images and the same classifiers: Student's
    t, N >= 2 images.

    An image's difference is the mean over its draws.
    """
    return paired_t(table.by_image / len(table.by_draw))[0]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values of a family of tests, in the same order [Holm 1979, Scandinavian J.
    Statistics 6:65].

    Each may be held against 0.05: the chance that any true hypothesis of the family is rejected is
    then at most 0.05.
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for position, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def letters(n: int, different: set[tuple[int, int]]) -> list[str]:
    """A compact letter display of n ranks: two share a letter if and only if they are not in
    `different`.

    `different` holds pairs (i, j), i < j, from 0. "a" is the first group of the best; insert and
    absorb [Piepho 2004, J. Computational and Graphical Statistics 13:456].
    """
    groups = [frozenset(range(n))]
    for pair in sorted(different):
        split = []
        for group in groups:
            split += [group - {one} for one in pair] if group.issuperset(pair) else [group]
        unique = list(dict.fromkeys(split))
        groups = [group for group in unique if not any(group < other for other in unique)]
    groups.sort(key=sorted)
    names = [_letter(number) for number in range(len(groups))]
    named = list(zip(names, groups, strict=True))
    return ["".join(name for name, group in named if i in group) for i in range(n)]


def _letter(number: int) -> str:
    """a, ..., z, A, ..., Z, a1, ..."""
    turn, place = divmod(number, len(string.ascii_letters))
    return string.ascii_letters[place] + str(turn) * bool(turn)


def pairs(n: int) -> list[tuple[int, int]]:
    """Every pair (i, j), i < j, of n."""
    return list(combinations(range(n), 2))
