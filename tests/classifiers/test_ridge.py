"""Ridge: an answer by hand, scikit-learn's coefficients, the choice of alpha, what is refused."""

from pathlib import Path

import numpy as np
import pytest
from noisy_clusters import noisy_clusters
from scipy.linalg import LinAlgError, cho_factor
from sklearn.linear_model import RidgeClassifier

from repr_eval.classifiers.ridge import ALPHAS, RIDGE, _solved, ridge_path
from repr_eval.classifiers.selection import count_correct


def test_two_points_by_hand() -> None:
    # Less its mean, Y is (1/2, -1/2) and (-1/2, 1/2): X^T Y = (-1, 1), and X^T X + alpha = 2 + 2.
    X, y = np.array([[-1.0], [1.0]]), np.array([7, 9])
    (model,) = ridge_path(X, y, [2.0])
    np.testing.assert_allclose(model.coef_, [[-0.25], [0.25]])
    np.testing.assert_allclose(model.intercept_, [0.5, 0.5])
    assert model.labels_of(np.array([[0.2, 0.8], [0.8, 0.2]])).tolist() == [9, 7]


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize(("n", "d"), [(90, 12), (40, 200)])  # the one matrix, and the other
def test_scikit_learns_coefficients(n: int, d: int, classes: int) -> None:
    data = noisy_clusters(n + 20, d, classes)
    rows = np.random.default_rng(1).permutation(n + 20)[:n]
    X = np.asarray(data.X, float)
    some = ALPHAS[2:]
    for alpha, model in zip(some, ridge_path(data.X, data.y, some, rows), strict=True):
        reference = RidgeClassifier(alpha=alpha).fit(X[rows], data.y[rows])
        last = -len(reference.intercept_)  # of two classes, scikit-learn has the weights of the second
        coef = reference.coef_.reshape(-1, d)
        np.testing.assert_allclose(2 * model.coef_[last:], coef, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(2 * model.intercept_[last:] - 1, reference.intercept_, rtol=1e-6, atol=1e-9)
        expected = int((reference.predict(X) == data.y).sum())
        assert count_correct([model], data.X, data.y) == [expected]


def test_stored_features_are_read_as_they_lie(tmp_path: Path) -> None:
    data = noisy_clusters(60, 100, 3)
    np.save(tmp_path / "X.npy", np.asarray(data.X).astype(np.float16))
    stored = np.load(tmp_path / "X.npy", mmap_mode="r")
    rows = np.arange(0, 60, 2)
    (model,) = ridge_path(stored, data.y, [1.0], rows)
    reference = RidgeClassifier(alpha=1.0).fit(np.asarray(stored, float)[rows], data.y[rows])
    np.testing.assert_allclose(2 * model.coef_, reference.coef_, rtol=1e-6, atol=1e-9)


def test_an_alpha_below_rounding_is_solved_all_the_same() -> None:
    x = np.random.default_rng(0).integers(0, 1000, (30, 3)).astype(float)
    X = np.concatenate([x, 3 * x, 7 * x], 1)
    M, B, alpha = X.T @ X, X.T @ np.ones((30, 1)), 1e-9
    with pytest.raises(LinAlgError):
        cho_factor(M + alpha * np.eye(9))
    expected = X @ np.linalg.lstsq(X, np.ones((30, 1)))[0]
    np.testing.assert_allclose(X @ _solved(M, alpha, B), expected, rtol=1e-3)


def test_alpha_is_chosen_on_the_held_out_rows() -> None:
    data = noisy_clusters(200, 300, 4)
    X = np.asarray(data.X, float)
    rows, held_out = np.arange(60), np.arange(60, 200)
    chosen = RIDGE.select(data, [(rows, held_out)], ALPHAS)
    counts = {}
    for alpha in ALPHAS:
        reference = RidgeClassifier(alpha=alpha).fit(X[rows], data.y[rows])
        counts[alpha] = [int((reference.predict(X[held_out]) == data.y[held_out]).sum())]
    assert chosen.correct == counts
    assert max(ALPHAS, key=counts.__getitem__) == chosen.C  # the smaller on ties
    tested = RIDGE.test(data, [rows, None], chosen.C, data)
    assert tested.largest_gap is None
    assert tested.correct[0] >= counts[chosen.C][0]


def test_what_is_refused() -> None:
    data = noisy_clusters(20, 5, 2)
    with pytest.raises(ValueError, match="alpha 0: must be above 0 and finite"):
        list(ridge_path(data.X, data.y, [1.0, 0.0]))
    with pytest.raises(ValueError, match="the 20 labelled images are all of class 4; ridge needs two classes"):
        list(ridge_path(data.X, np.full(20, 4), [1.0]))
    with pytest.raises(ValueError, match="the grid of alpha is empty"):
        RIDGE.select(data, [(np.arange(10), np.arange(10, 20))], [])
    data.X[13, 2] = np.nan
    with pytest.raises(ValueError, match=r"NaN\. The first is in row 13, column 2"):
        list(ridge_path(data.X, data.y, [1.0], np.arange(3, 20)))
    assert len(list(ridge_path(data.X, data.y, [1.0], np.arange(13)))) == 1
