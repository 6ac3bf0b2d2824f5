"""Two measurements compared: numbers known by hand or from scipy, and what cannot be compared."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison_records import BASE, one_draw, stored
from scipy import stats

import repr_eval as rv
from repr_eval.comparison.pair import BOTH, DRAWS, MCNEMAR, compare, compare_with_first
from repr_eval.comparison.statistics import holm, newcombe_interval
from repr_eval.records import Record


def several_draws(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Right answers bool [4, 50] of A, who is better, and of B."""
    rng = np.random.default_rng(seed)
    return rng.random((4, 50)) < 0.8, rng.random((4, 50)) < 0.6


# Numbers.


def test_one_classifier_each(tmp_path: Path) -> None:
    a, b = one_draw(both=70, only_a=5, only_b=15, neither=10)
    first, second = stored(tmp_path, "a", a), stored(tmp_path, "b", b)
    result = compare(first, second, out=tmp_path)
    assert result.difference == pytest.approx(-0.10)
    assert (result.test, result.p_holm) == (MCNEMAR, None)
    assert result.p == pytest.approx(stats.binomtest(5, 20).pvalue)
    assert result.over_images == newcombe_interval(70, 5, 15, 10)
    assert result.over_draws is result.over_both is result.over_seeds is None
    assert result.only_a is not None
    assert result.only_b is not None
    assert result.only_a.tolist() == list(range(70, 75))
    assert result.only_b.tolist() == list(range(75, 90))
    assert result.notes == ()


def test_several_draws_each(tmp_path: Path) -> None:
    a, b = several_draws()
    result = compare(stored(tmp_path, "a", a), stored(tmp_path, "b", b), out=tmp_path)
    table = a.astype(int) - b
    assert result.difference == pytest.approx(table.mean())
    by_draw = stats.ttest_rel(a.mean(1), b.mean(1)).confidence_interval()
    by_image = stats.ttest_1samp(table.mean(0), 0).confidence_interval()
    assert result.over_draws == pytest.approx(tuple(by_draw))
    assert result.over_images == pytest.approx(tuple(by_image))
    assert result.test == BOTH
    assert result.over_both is not None
    low, high = result.over_both
    assert low < table.mean() < high
    assert result.p is not None
    assert (result.p < 0.05) == (low > 0)
    assert result.only_a is not None
    assert result.only_a.tolist() == [i for i in range(50) if a[:, i].sum() > 2 >= b[:, i].sum()]


def test_the_second_against_the_first_has_the_other_sign(tmp_path: Path) -> None:
    a, b = several_draws()
    ids = [stored(tmp_path, "a", a).id, stored(tmp_path, "b", b).id]
    one, other = compare(*ids, out=tmp_path), compare(*ids[::-1], out=tmp_path)
    assert other.difference == -one.difference
    assert other.p == pytest.approx(one.p)
    assert one.over_both is not None
    assert other.over_both == pytest.approx((-one.over_both[1], -one.over_both[0]))


def test_several_pairs_have_holms_correction(tmp_path: Path) -> None:
    a, b = one_draw(70, 5, 15, 10)
    _, c = one_draw(75, 0, 3, 22)
    records = [stored(tmp_path, name, right) for name, right in (("a", a), ("b", b), ("c", c))]
    results = compare_with_first(records, out=tmp_path)
    p = [stats.binomtest(5, 20).pvalue, stats.binomtest(0, 3).pvalue]
    assert [result.b.method for result in results] == ["b", "c"]
    assert [result.p for result in results] == pytest.approx(p)
    assert [result.p_holm for result in results] == pytest.approx(holm(p))


def test_words(tmp_path: Path) -> None:
    a, b = one_draw(70, 5, 15, 10)
    first, second = stored(tmp_path, "a", a), stored(tmp_path, "<b>", b, classifier="kNN")
    result = compare(first, second, out=tmp_path)
    low, high = newcombe_interval(70, 5, 15, 10)
    assert str(result).splitlines() == [
        "cifar10/all-labels/1: CIFAR-10, 50,000 labels, 1 draw, 100 test images",
        f"  A: a: 75.00% (record {first.id})",
        f"  B: <b>, kNN: 85.00% (record {second.id})",
        "  accuracy of A minus that of B: -10.00 percentage points",
        f"  95% interval over test images: {100 * low:+.2f} to {100 * high:+.2f}",
        "  test images right: only A 5, only B 15",
        "  McNemar's exact test: p = 0.0414",
    ]
    assert "&lt;b&gt;, kNN" in result._repr_html_()
    assert "<b>" not in result._repr_html_()


# Without predictions.


def test_counts_of_draws_alone(tmp_path: Path) -> None:
    a, b = several_draws()
    first, second = stored(tmp_path, "a", a), stored(tmp_path, "b", b, keep=False)
    result = compare(first, second, out=tmp_path)
    expected = stats.ttest_rel(a.mean(1), b.mean(1))
    assert result.p == pytest.approx(expected.pvalue)
    assert result.over_draws == pytest.approx(tuple(expected.confidence_interval()))
    assert (result.test, result.over_images, result.over_both, result.only_a) == (
        DRAWS,
        None,
        None,
        None,
    )
    assert result.notes == (
        f"no predictions of {second.id}: nothing is said image by image; measure again to store them",
    )


def test_one_count_each_is_a_difference_and_no_more(tmp_path: Path) -> None:
    a, b = one_draw(70, 5, 15, 10)
    first, second = (stored(tmp_path, name, right, keep=False) for name, right in (("a", a), ("b", b)))
    result = compare(first, second)
    assert result.difference == pytest.approx(-0.10)
    assert (result.p, result.test) == (None, "")
    assert f"no predictions of {first.id} and {second.id}" in str(result)


def test_records_without_a_folder_have_their_counts_alone(tmp_path: Path) -> None:
    a, b = one_draw(70, 5, 15, 10)
    assert compare(stored(tmp_path, "a", a), stored(tmp_path, "b", b)).p is None


# Seeds.


def seeds(folder: Path, differences: list[float], **changes: Any) -> tuple[Record, Record]:
    """Records of two methods with each seed; A's accuracy less B's is as given. Those of the first."""
    made = []
    for seed, difference in enumerate(differences):
        n = round(100 * difference)
        pair = one_draw(60, n, 0, 40 - n)
        for name, right in zip(("net", "pixels"), pair, strict=True):
            settings = {"representation": name} | ({"weights_sha256": f"{seed}"} if name == "net" else {})
            method = f"{name} (seed {seed})" if name == "net" else name
            about: dict[str, Any] = {
                "method": method,
                "representation": settings,
                "seed": seed,
                "lists_sha256": f"{seed}",
            }
            made.append(stored(folder, name, right, **(about | changes)))
    return made[0], made[1]


def test_seeds_that_both_have(tmp_path: Path) -> None:
    a, b = seeds(tmp_path, [0.10, 0.12, 0.17])
    stored(tmp_path, "pixels", one_draw(1, 0, 0, 99)[0], seed=3)  # one that only B has
    result = compare(a, b, out=tmp_path)
    expected = stats.ttest_1samp([0.10, 0.12, 0.17], 0).confidence_interval()
    assert result.seeds == (0, 1, 2)
    assert result.over_seeds == pytest.approx(tuple(expected))
    assert "95% interval over 3 seeds: " in str(result)


def test_a_seed_counts_only_with_one_record_each(tmp_path: Path) -> None:
    a, b = seeds(tmp_path, [0.10, 0.12, 0.17])
    right = one_draw(1, 0, 0, 99)[0]
    about: dict[str, Any] = {"method": "net (seed 1)", "seed": 1, "lists_sha256": "1"}
    stored(
        tmp_path,
        "net",
        right,
        representation={"representation": "net", "weights_sha256": "x"},
        **about,
    )
    assert compare(a, b, out=tmp_path).seeds == (0, 2)


def test_a_seed_counts_only_on_the_same_draws(tmp_path: Path) -> None:
    a, b = seeds(tmp_path, [0.10, 0.12])
    right = one_draw(60, 17, 0, 23)
    for name, answers, lists in zip(("net (seed 2)", "pixels"), right, ("2", "other"), strict=True):
        kind = {"representation": name.partition(" ")[0]}
        stored(tmp_path, name, answers, seed=2, lists_sha256=lists, representation=kind)
    assert compare(a, b, out=tmp_path).seeds == (0, 1)


def test_another_setting_is_no_other_seed(tmp_path: Path) -> None:
    a, b = seeds(tmp_path, [0.10])
    right = one_draw(60, 5, 0, 35)[0]
    for name in ("net", "pixels"):
        wider = {"representation": name, "width": 2}
        stored(tmp_path, f"{name} (seed 1)", right, seed=1, lists_sha256="1", representation=wider)
    assert compare(a, b, out=tmp_path).over_seeds is None


# What cannot be compared.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"protocol": "cifar10/per-class/1"},
            "protocol cifar10/all-labels/1 and cifar10/per-class/1",
        ),
        (
            {"labels": 4_000, "seed": 1, "lists_sha256": "x"},
            "labels 50,000 and 4,000; seed 0 and 1",
        ),
        ({"lists_sha256": "e" * 64}, "draws' lists dd and eeeeeeeeeeee"),
        (
            {"dataset": BASE["dataset"] | {"test_fingerprint": "cc"}},
            "test images' fingerprint bb and cc",
        ),
        (
            {"dataset": {"name": "mine", "train_fingerprint": "cc", "test_fingerprint": "bb"}},
            "data CIFAR-10 and mine; training images' fingerprint aa and cc",
        ),
    ],
)
def test_what_differs_is_said(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    a, b = one_draw(70, 5, 15, 10)
    first, second = stored(tmp_path, "a", a), stored(tmp_path, "b", b, **changes)
    with pytest.raises(ValueError, match="are not of the same test") as raised:
        compare(first, second, out=tmp_path)
    assert str(raised.value) == f"records {first.id} and {second.id} are not of the same test: {message}"


def test_another_number_of_draws_is_another_test(tmp_path: Path) -> None:
    a, b = several_draws()
    with pytest.raises(ValueError, match=r"not of the same test: draws 4 and 3$"):
        compare(stored(tmp_path, "a", a), stored(tmp_path, "b", b[:3]), out=tmp_path)


def test_another_grid_of_C_is_the_same_test(tmp_path: Path) -> None:
    a, b = one_draw(70, 5, 15, 10)
    wider = stored(tmp_path, "b", b, protocol="cifar10/all-labels/1/own-C")
    assert compare(stored(tmp_path, "a", a), wider, out=tmp_path).p is not None


def test_names_of_records(tmp_path: Path) -> None:
    a, b = one_draw(70, 5, 15, 10)
    records = [stored(tmp_path, f"method {number}", a) for number in range(17)]
    last = stored(tmp_path, "b", b)
    assert compare(records[0].id[:10].upper(), last.id[:10], out=tmp_path).b == last
    shared = next(one.id[0] for one in records if sum(one.id[0] == other.id[0] for other in records) > 1)
    with pytest.raises(ValueError, match=rf"'{shared}' begins the ids of \d+ records \({shared}.*\); give more"):
        compare(shared, last.id, out=tmp_path)
    for missing in ("nonsense", ""):
        with pytest.raises(ValueError, match=f"no record's id begins with '{missing}' in .*records.jsonl"):
            compare(missing, last.id, out=tmp_path)
    with pytest.raises(ValueError, match=f"record {last.id} is compared with itself"):
        compare(last.id, last, out=tmp_path)
    with pytest.raises(ValueError, match=f"'{last.id}': give the folder of records as well, as out"):
        compare(last.id, records[0])
    with pytest.raises(ValueError, match="3: needs a result of evaluate, a record, or a record's id"):
        compare(3, last)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 measurement: a comparison needs two"):
        compare_with_first([last])
    with pytest.raises(ValueError, match="no records; run an evaluation"):
        compare("a", "b", out=tmp_path / "nowhere")


def test_a_line_that_stands_twice_is_one_record(tmp_path: Path) -> None:
    a, b = one_draw(70, 5, 15, 10)
    stored(tmp_path, "a", a)
    first, second = stored(tmp_path, "a", a), stored(tmp_path, "b", b)
    assert compare(first.id, second.id, out=tmp_path).p is not None


# Results of evaluations, in memory.


def test_results_need_no_folder() -> None:
    def squares(images: np.ndarray) -> np.ndarray:
        return images.reshape(-1, 8, 4, 8, 4, 3).mean((2, 4)).reshape(len(images), -1)

    def rows(images: np.ndarray) -> np.ndarray:
        return images.mean((2, 3))

    protocol = rv.Digits(10, draws=3)
    a, b = rv.evaluate(squares, protocol), rv.evaluate(rows, protocol)
    result = rv.compare(a, b)
    assert result.test == BOTH
    assert result.difference == pytest.approx(a.accuracy - b.accuracy)
    assert result.difference > 0.1
    assert result.p is not None
    assert result.p < 0.01
