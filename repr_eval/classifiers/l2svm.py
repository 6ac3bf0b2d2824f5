"""The protocols' own classifier: one-vs-rest L2-SVMs, with C chosen on held-out training images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from repr_eval.classifiers.base import TOL, Features, Fold, Tested, Validation
from repr_eval.classifiers.selection import fit_draws, judged, select_C


class LinearSVM:
    """One-vs-rest L2-SVMs [paper, section 5.1]; C is chosen."""

    name, setting = "L2-SVM", "C"
    grid: tuple[float, ...] | None = None
    needs = "features"

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def select(self, train: Features, folds: Sequence[Fold], grid: Sequence[float]) -> Validation:
        return select_C(train.X, train.y, folds, grid, TOL)

    def test(self, train: Features, draws: Sequence[np.ndarray | None], value: float, test: Features) -> Tested:
        models = fit_draws(train.X, train.y, draws, value, TOL)
        return judged(models, test, max(float(m.gap_.max()) for m in models))


L2_SVM = LinearSVM()
