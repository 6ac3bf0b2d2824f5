"""Logistic regression: scikit-learn's answer, the certificate by hand and against the truth, what is told."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from noisy_clusters import noisy_clusters
from scipy.optimize import minimize_scalar
from sklearn import linear_model
from sklearn.exceptions import ConvergenceWarning

from repr_eval.classifiers import linear, selection
from repr_eval.classifiers.base import TOL, Features
from repr_eval.classifiers.logistic import CS, LogisticRegression, logistic_path, relative_gap
from repr_eval.classifiers.selection import count_correct, select_value
from repr_eval.reporting.render import setting_words


def scikit_learns(X: np.ndarray, y: np.ndarray, C: float) -> linear_model.LogisticRegression:
    return linear_model.LogisticRegression(C=C, tol=1e-10, max_iter=100_000).fit(X, y)


def objective(model: Any, X: np.ndarray, y: np.ndarray, C: float) -> float:
    """P of fitted coefficients, by the formula."""
    scores = X @ model.coef_.T + model.intercept_
    if scores.shape[1] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], 1)
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    own = p[np.arange(len(y)), np.searchsorted(np.unique(y), y)]
    return float(0.5 * (model.coef_**2).sum() - C * np.log(own).sum())


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(("n", "d"), [(90, 12), (40, 150)])  # rows as they are, and their coordinates
def test_scikit_learns_answer_and_a_bound_on_the_distance(n: int, d: int, classes: int) -> None:
    data = noisy_clusters(n + 20, d, classes)
    rows = np.random.default_rng(1).permutation(n + 20)[:n]
    X, some = np.asarray(data.X, float), (1e-4, 1e-2, 1.0)
    exact = logistic_path(data.X, data.y, some, rows, tol=1e-10)
    usual = logistic_path(data.X, data.y, some, rows)
    for C, close, model in zip(some, exact, usual, strict=True):
        reference = scikit_learns(X[rows], data.y[rows], C)
        np.testing.assert_allclose(close.coef_, reference.coef_, atol=2e-5)
        np.testing.assert_allclose(close.intercept_, reference.intercept_, atol=2e-4)
        assert count_correct([close], data.X, data.y) == [int((reference.predict(X) == data.y).sum())]
        least = objective(reference, X[rows], data.y[rows], C)
        above = objective(model, X[rows], data.y[rows], C) / least - 1
        assert model.gap is not None
        assert above - 1e-9 <= model.gap <= TOL
        assert model.gap <= 30 * above + 1e-9  # a bound that says something


def test_the_gap_by_hand() -> None:
    # p is 1/2 for both: P = 2 log 2 and G = (-1) (1/2) + (1) (-1/2) = -1.
    Z, labels, zero = np.array([[-1.0], [1.0]]), np.array([0, 1]), np.zeros(1)
    gap = relative_gap(Z, labels, np.zeros((1, 1)), zero, 1.0)
    assert gap == pytest.approx(0.5 / (2 * np.log(2)))
    least = minimize_scalar(lambda w: 0.5 * w**2 + 2 * np.log1p(np.exp(-w))).fun
    assert gap > (2 * np.log(2) - least) / (2 * np.log(2)) > 0
    # The wrong intercept costs the loss that the right one, 0, would save.
    off = relative_gap(Z, labels, np.zeros((1, 1)), np.array([1.0]), 1.0)
    P = np.log1p(np.exp(1)) + np.log1p(np.exp(-1))
    assert off == pytest.approx((P - 2 * np.log(2) + 0.5) / P)


def test_the_gap_of_three_classes_by_hand() -> None:
    # Three unit vectors, W = 0: p is 1/3, G = 1/3 - identity, |G|^2 = 3 (4/9) + 6 (1/9) = 2.
    gap = relative_gap(np.eye(3), np.arange(3), np.zeros((3, 3)), np.full(3, 5.0), 1.0)
    assert gap == pytest.approx(1 / (3 * np.log(3)))


def test_rows_and_their_coordinates_give_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    data = noisy_clusters(40, 60, 3)
    (short,) = logistic_path(data.X, data.y, [0.1], tol=1e-10)
    monkeypatch.setattr(linear, "ROTATED_UP_TO", 39)
    (whole,) = logistic_path(data.X, data.y, [0.1], tol=1e-10)
    np.testing.assert_allclose(short.coef_, whole.coef_, atol=1e-6)


def test_features_that_are_all_alike_tell_nothing() -> None:
    y = np.array([0, 1, 1, 1])
    (model,) = logistic_path(np.full((4, 9), 2.0, np.float32), y, [1.0], tol=1e-10)
    np.testing.assert_allclose(model.coef_, 0, atol=1e-12)
    assert model.intercept_[0] == pytest.approx(np.log(3), abs=1e-3)  # the odds


def test_what_did_not_converge_is_told() -> None:
    data = noisy_clusters(90, 12, 4)
    hurried = LogisticRegression(max_iter=2)
    with pytest.warns(
        ConvergenceWarning, match=r"choosing C: 1 of 2 fits stopped after 2 iterations .* raise max_iter"
    ):
        hurried.select(data, [(np.arange(60), np.arange(60, 90))], [1e-9, 1.0])
    with pytest.warns(ConvergenceWarning, match="the fits that are tested: 1 of 1 fits"):
        tested = hurried.test(data, [None], 1.0, data)
    assert tested.largest_gap is not None
    assert tested.largest_gap > TOL
    row: Any = SimpleNamespace(C=1.0, largest_gap=tested.largest_gap, C_at_edge=False)
    assert "NOT CONVERGED" in setting_words(row)
    assert hurried.settings["max_iter"] == 2


def test_draws_are_fitted_each_by_itself() -> None:
    data = noisy_clusters(90, 12, 3)
    draws = [np.arange(30), np.arange(30, 90), None]
    tested = LogisticRegression().test(data, draws, 0.1, data)
    X = np.asarray(data.X, float)
    expected = []
    for rows in draws:
        some = slice(None) if rows is None else rows
        expected.append(int((scikit_learns(X[some], data.y[some], 0.1).predict(X) == data.y).sum()))
    np.testing.assert_allclose(tested.correct, expected, atol=1)  # to a gap of 1e-3
    assert tested.largest_gap is not None
    assert tested.largest_gap <= TOL


def test_with_one_fold_values_that_are_clearly_worse_end_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of 100 the best has 50: a standard error is 5.
    correct, tried = {1: 50, 2: 46, 3: 45, 4: 44, 5: 45, 6: 44, 7: 44, 8: 99}, list[float]()

    def path(rows: np.ndarray | None, values: Sequence[float]) -> Any:
        for value in values:
            tried.append(value)
            yield SimpleNamespace(count=correct[int(value)])

    monkeypatch.setattr(selection, "count_correct", lambda models, X, y, index: [model.count for model in models])
    nothing, fold = Features(np.zeros((101, 1)), np.zeros(101)), (np.arange(1), np.arange(1, 101))
    grid = tuple(map(float, correct))
    chosen = select_value(path, nothing, [fold], grid, "C", 1.0)
    assert tried == [1, 2, 3, 4, 5, 6, 7]
    assert (chosen.C, chosen.at_edge) == (1, True)
    assert select_value(path, nothing, [fold], grid, "C", None).C == 8


def test_what_is_refused() -> None:
    data = noisy_clusters(20, 5, 2)
    with pytest.raises(ValueError, match="C -1: must be above 0 and finite"):
        list(logistic_path(data.X, data.y, [-1.0]))
    with pytest.raises(ValueError, match="all of class 4; logistic regression needs two classes"):
        list(logistic_path(data.X, np.full(20, 4), CS))
    for max_iter in (0, 1.5, True):
        with pytest.raises(ValueError, match=f"max_iter {max_iter}: must be a whole number"):
            LogisticRegression(max_iter)  # type: ignore[arg-type]
    data.X[4, 3] = np.inf
    with pytest.raises(ValueError, match=r"infinity or a value too large .* row 4, column 3"):
        list(logistic_path(data.X, data.y, [1.0]))
