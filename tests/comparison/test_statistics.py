"""Tests and intervals against published figures, scipy, statsmodels 0.15.0 and answers by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from repr_eval.comparison.statistics import (
    Differences,
    holm,
    letters,
    mcnemar_exact,
    newcombe_interval,
    over_draws_and_images,
    over_images,
    paired_t,
    pairs,
)


def differences(table: np.ndarray) -> Differences:
    """Of a table int [D, N] of -1, 0 and 1."""
    return Differences(table.sum(1), table.sum(0), int((table != 0).sum()))


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 1), (5, 5), (5, 15), (121, 59), (900, 700)])
def test_mcnemar_is_scipys_binomial_test(only_a: int, only_b: int) -> None:
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar_exact(only_a, only_b) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_exact(only_b, only_a) == mcnemar_exact(only_a, only_b)


def test_mcnemar_by_hand_and_by_statsmodels() -> None:
    assert mcnemar_exact(1, 7) == 2 * (1 + 8) / 2**8  # by hand
    # statsmodels.stats.contingency_tables.mcnemar(table, exact=True).pvalue
    assert mcnemar_exact(121, 59) == pytest.approx(4.4344492637551645e-06)
    assert mcnemar_exact(6, 16) == pytest.approx(0.052478790283203125)


@pytest.mark.parametrize(
    ("table", "published"),
    [
        # Fagerland, Lydersen & Laake 2014, Statistics in Medicine 33:2850 (airway hyper-responsiveness).
        ((1, 1, 7, 12), (-0.507, -0.026)),
        # Altman, Machin, Bryant & Gardner 2000, Statistics with Confidence, table 6.2.
        ((14, 5, 0, 22), (0.011, 0.226)),
    ],
)
def test_newcombes_interval_as_published(table: tuple[int, int, int, int], published: tuple[float, float]) -> None:
    assert newcombe_interval(*table) == pytest.approx(published, abs=5e-4)


def test_newcombes_interval_is_symmetric_and_bounded() -> None:
    low, high = newcombe_interval(70, 12, 5, 13)
    assert newcombe_interval(70, 5, 12, 13) == pytest.approx((-high, -low))
    assert low < 0.07 < high
    assert newcombe_interval(10, 0, 0, 0) == pytest.approx((-0.2775, 0.2775), abs=1e-4)  # Wilson: 0.7225 to 1
    assert newcombe_interval(0, 10, 0, 0)[1] == pytest.approx(1)


def test_newcombes_interval_of_many_images_is_walds() -> None:
    both, only_a, only_b, neither = 7_000, 900, 700, 1_400
    n, d = 10_000, 0.02
    half = 1.959964 * math.sqrt((only_a + only_b) / n - d**2) / math.sqrt(n)
    assert newcombe_interval(both, only_a, only_b, neither) == pytest.approx((d - half, d + half), abs=1e-4)


def test_paired_t_is_scipys() -> None:
    a, b = np.array([0.70, 0.74, 0.72, 0.71]), np.array([0.69, 0.70, 0.715, 0.70])
    interval, p = paired_t(a - b)
    expected = stats.ttest_rel(a, b)
    assert p == pytest.approx(expected.pvalue)
    assert interval == pytest.approx(tuple(expected.confidence_interval()))


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.25, 0.0)])
def test_paired_t_of_equal_differences(value: float, p: float) -> None:
    assert paired_t(np.full(3, value)) == ((value, value), p)


def test_draws_and_images_by_hand() -> None:
    # Means: of draws 2/3 and 1/3; of images 1, 1/2, 0; of all 1/2. Sums of squares: draws
    # 3 (1/36 + 1/36) = 1/6, images 2 (1/4 + 1/4) = 1, all 3 - 6/4 = 3/2, the rest 1/3. Mean
    # squares: 1/6, 1/2, 1/6. So the variance of the mean is (1/6 + 1/2 - 1/6) / 6 = 1/12, with
    # (2 - 1) (1/2)^2 / (1/6)^2 = 9 degrees of freedom.
    interval, p = over_draws_and_images(differences(np.array([[1, 1, 0], [1, 0, 0]])))
    t = 0.5 / math.sqrt(1 / 12)
    half = stats.t.ppf(0.975, 9) * math.sqrt(1 / 12)
    assert interval == pytest.approx((0.5 - half, 0.5 + half))
    assert p == pytest.approx(2 * stats.t.sf(t, 9))


def test_draws_count_for_no_less_than_chance_by_hand() -> None:
    # All means are 1/3: mean squares of draws and of images are 0, of the rest (3 - 9/9) / 4 = 1/2.
    # That of draws counts as 1/2: the variance of the mean is 1/18, with 2 degrees of freedom;
    # t = sqrt(2), p = 1 - t / sqrt(2 + t^2).
    p = over_draws_and_images(differences(np.eye(3, dtype=int)))[1]
    assert p == pytest.approx(1 - math.sqrt(0.5))


def test_without_differences_between_images_it_is_the_paired_t_test_of_draws() -> None:
    # Every image has the same sum over draws; draws differ: 1 more of the first, and so on.
    table = np.array([[1, 1, 1, 0], [1, 1, 0, 1], [0, 1, 1, 1], [1, 0, 1, 1], [-1, -1, -1, -1]])
    assert len(set(table.sum(0))) == 1
    interval, p = over_draws_and_images(differences(table))
    expected = stats.ttest_1samp(table.mean(1), 0)
    assert p == pytest.approx(expected.pvalue)
    assert interval == pytest.approx(tuple(expected.confidence_interval()))


def test_draws_that_agree_are_as_one() -> None:
    """Ten copies of one draw tell no more of other images than one does."""
    row = np.random.default_rng(0).integers(-1, 2, 400)
    interval, p = over_draws_and_images(differences(np.tile(row, (10, 1))))
    expected = stats.ttest_1samp(row, 0)
    assert p == pytest.approx(expected.pvalue, rel=0.02)  # its 399 degrees of freedom are as good as infinitely many
    assert interval == pytest.approx(tuple(expected.confidence_interval()), abs=1e-3)


def test_images_are_averaged_over_draws() -> None:
    table = np.random.default_rng(1).integers(-1, 2, (4, 60))
    expected = stats.ttest_1samp(table.mean(0), 0).confidence_interval()
    assert over_images(differences(table)) == pytest.approx(tuple(expected))


def test_right_everywhere_against_wrong_everywhere() -> None:
    interval, p = over_draws_and_images(differences(np.ones((3, 5), int)))
    assert (interval, p) == ((1.0, 1.0), 2 / 2**5)
    assert over_draws_and_images(differences(np.zeros((3, 5), int)))[1] == 1


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_one_draw_or_one_image_is_too_few(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{shape[0]} draws of {shape[1]} test images: .* needs two of each"):
        over_draws_and_images(differences(np.ones(shape, int)))


def test_only_the_test_over_both_keeps_its_level_when_images_are_shared() -> None:
    """Two methods that are as good over all draws and images: how often each test says p < 0.05."""
    rng, runs, rejected = np.random.default_rng(0), 400, np.zeros(4)
    for _ in range(runs):
        shared, own = rng.normal(1, 1.5, 300), rng.normal(0, 1.2, (2, 1, 300))  # of images
        logits = shared + own + rng.normal(0, 0.2, (2, 10, 1))  # of draws
        a, b = rng.random((2, 10, 300)) < 1 / (1 + np.exp(-logits))
        table = a.astype(int) - b
        rejected += [
            over_draws_and_images(differences(table))[1] < 0.05,
            paired_t(table.mean(1))[1] < 0.05,
            paired_t(table.mean(0))[1] < 0.05,
            mcnemar_exact(int((table > 0).sum()), int((table < 0).sum())) < 0.05,
        ]
    both, draws, images, pooled = rejected / runs
    assert 0.02 < both < 0.07
    assert draws > 0.07  # says nothing of other images
    assert images > 0.07  # says nothing of other draws
    assert pooled > 0.25  # 3,000 answers, taken for independent


# Several at once.


def test_holm_by_hand_and_by_statsmodels() -> None:
    # 4 x 0.005, 3 x 0.01, 2 x 0.03, and not below the one before: 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # statsmodels.stats.multitest.multipletests(p, method="holm")[1]
    assert holm([0.02, 0.02, 0.5, 0.9, 0.001]) == pytest.approx([0.08, 0.08, 1, 1, 0.005])
    assert holm([]) == []


def test_letters_by_hand() -> None:
    assert letters(3, set()) == ["a", "a", "a"]
    assert letters(3, {(0, 1), (0, 2), (1, 2)}) == ["a", "b", "c"]
    assert letters(4, {(0, 2), (0, 3), (1, 3)}) == ["a", "ab", "bc", "c"]
    assert letters(3, {(0, 1)}) == ["a", "b", "ab"]  # the third was measured less exactly
    assert letters(1, set()) == ["a"]


def test_two_share_a_letter_unless_they_differ() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 5, 9, 12):
        different = {pair for pair in pairs(n) if rng.random() < 0.4}
        shown = letters(n, different)
        assert {(i, j) for i, j in pairs(n) if not set(shown[i]) & set(shown[j])} == different
        assert all(shown)


def test_letters_go_on_after_z() -> None:
    shown = letters(60, set(pairs(60)))
    assert (shown[0], shown[25], shown[26], shown[51], shown[52]) == ("a", "z", "A", "Z", "a1")
    assert len(set(shown)) == 60
