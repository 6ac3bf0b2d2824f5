"""One measurement in a process of its own: load the rows, fit, print a line of JSON.

    python -m benchmarks.svm_contenders TASK FOLDER

Every contender but logistic regression is asked for the minimum of the same objective. Its own tolerance (TOLERANCES)
is what brings every class to within 1e-4 of its minimum on these features, and not much nearer; how far it came is
measured here, in float64, and stored.
"""

import json
import resource
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from benchmarks.svm_classes import parted
from repr_eval.svm import L2SVM, fit_path

TOLERANCES = {
    "repr-eval": 1e-3, "LinearSVC dual": 1e-1, "LinearSVC primal": 1e-3, "liblinear-multicore primal": 1e-3,
    "LogisticRegression": 1e-4,
}  # fmt: skip
STRICTER = {("LinearSVC dual", 2_000): 3e-2}  # with 0.1 it ends 3e-4 above the minimum there
CONTENDERS = ("repr-eval", "LinearSVC dual", "LinearSVC primal", "liblinear-multicore primal")
OF_MANY_CLASSES = ("repr-eval", "LinearSVC dual", "LogisticRegression")
COMPARED = ("versus", "classes")  # parts in which contenders are compared
GAP = 1e-3  # where repr-eval is measured on its own

Weights = np.ndarray  # float64 [d + 1, K], the intercepts last


@dataclass(frozen=True)
class Task:
    """`contender` on the first n rows and d columns, k classes, one C after the other."""

    part: str
    contender: str
    n: int
    d: int
    k: int
    Cs: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def is_of(self, result: dict[str, Any]) -> bool:
        """Whether a stored result measured this."""
        return all(result[name] == (list(value) if name == "Cs" else value) for name, value in asdict(self).items())


def loaded(path: Path, n: int, d: int) -> np.ndarray:
    """The first n rows and d columns of a stored matrix, read rather than mapped: mapped pages would count twice."""
    stored = np.load(path, mmap_mode="r")
    X = np.empty((n, d), stored.dtype)
    row_bytes = stored.shape[1] * stored.itemsize
    for start in range(0, n, 1000):
        count = min(1000, n - start)
        offset = stored.offset + start * row_bytes
        block = np.fromfile(path, stored.dtype, count * stored.shape[1], offset=offset)
        X[start : start + count] = block.reshape(count, -1)[:, :d]
    return X


def merged(y: np.ndarray, k: int) -> np.ndarray:
    """Labels of k classes: the k - 1 first, and the others as one."""
    return np.minimum(y, k - 1)


def repr_eval(X: np.ndarray, y: np.ndarray, Cs: Sequence[float], tol: float) -> tuple[list[Weights], dict[str, Any]]:
    """Weights for every C, and what the fits say of themselves."""
    models, seconds, started = [], [], time.perf_counter()
    for model in fit_path(X, y, Cs, tol=tol):
        models.append(model)
        seconds.append(time.perf_counter() - started)
    facts = {
        "n_passes": [m.n_passes_ for m in models], "n_newton": [m.n_iter_ for m in models],
        "gap": [float(m.gap_.max()) for m in models], "until_each": seconds,
    }  # fmt: skip
    return [_weights(m) for m in models], facts


def linear_svc(dual: bool) -> Callable[..., tuple[list[Weights], dict[str, Any]]]:
    def fit(X: np.ndarray, y: np.ndarray, Cs: Sequence[float], tol: float) -> tuple[list[Weights], dict[str, Any]]:
        model = LinearSVC(C=Cs[0], dual=dual, tol=tol, max_iter=10_000, random_state=0).fit(X, y)
        return [_weights(model)], {"n_iter": int(model.n_iter_)}

    return fit


def logistic(X: np.ndarray, y: np.ndarray, Cs: Sequence[float], tol: float) -> tuple[list[Weights], dict[str, Any]]:
    """Multinomial logistic regression by L-BFGS, on float32: of float16 it would make float64, twice the memory."""
    model = LogisticRegression(C=Cs[0], tol=tol, max_iter=1_000).fit(X.astype(np.float32), y)
    return [_weights(model)], {"n_iter": int(np.max(model.n_iter_))}


def multicore(X: np.ndarray, y: np.ndarray, Cs: Sequence[float], tol: float) -> tuple[list[Weights], dict[str, Any]]:
    """liblinear's own package with threads (`pip install liblinear-multicore`), which takes sparse rows."""
    from liblinear.liblinearutil import problem, train
    from scipy.sparse import csr_matrix

    threads = torch.get_num_threads()
    data = problem(y.astype(np.float64), csr_matrix(X.astype(np.float64)), bias=1)
    model = train(data, f"-s 2 -c {Cs[0]} -e {tol} -B 1 -m {threads} -q")
    W = np.ctypeslib.as_array(model.w, (model.nr_feature + 1, model.nr_class)).copy()
    return [W[:, np.argsort(model.get_labels())]], {"threads": threads}


FITS: dict[str, Callable[..., tuple[list[Weights], dict[str, Any]]]] = {
    "repr-eval": repr_eval, "LinearSVC dual": linear_svc(True), "LinearSVC primal": linear_svc(False),
    "liblinear-multicore primal": multicore, "LogisticRegression": logistic,
}  # fmt: skip


def _weights(model: L2SVM | LinearSVC | LogisticRegression) -> Weights:
    return np.column_stack([model.coef_, model.intercept_]).astype(np.float64).T


def scores(X: np.ndarray, W: Weights) -> np.ndarray:
    """X W in float64, in blocks of rows."""
    blocks = [X[start : start + 500].astype(np.float64) @ W[:-1] for start in range(0, len(X), 500)]
    return np.concatenate(blocks) + W[-1]


def objective(X: np.ndarray, y: np.ndarray, C: float, W: Weights) -> np.ndarray:
    """liblinear's objective [K] of weights W, in float64."""
    Y = np.where(y[:, None] == np.unique(y), 1.0, -1.0)
    return 0.5 * (W**2).sum(0) + C * (np.maximum(0, 1 - Y * scores(X, W)) ** 2).sum(0)


def peak_gb() -> float:
    """The most memory that this process has held so far, 1e9 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def limits(X: np.ndarray) -> dict[str, float]:
    """What the machine could do at best: bytes read, products of large matrices; and what a step takes here."""
    from repr_eval.svm.hinge import Masked
    from repr_eval.svm.rows import Rows

    rows, A = Rows(X), torch.randn(8192, 8192, generator=torch.Generator().manual_seed(0))
    V = torch.randn(rows.d, K_LIMIT, generator=torch.Generator().manual_seed(0)) / 1000
    ones = torch.ones(rows.n, K_LIMIT)
    V[-1], B, words = 0, A.bfloat16(), torch.from_numpy(X.view(np.int64))

    def step(rough: bool) -> float:
        return _median(lambda: rows.scores_and_adjoint(V, Masked(ones), rough), 9)

    return {
        "read_gb_per_s": X.nbytes / _median(lambda: words.sum(), 9) / 1e9,
        "float32_gflops": 2 * 8192**3 / min(_median(lambda: A @ A), _median(lambda: A.numpy() @ A.numpy())) / 1e9,
        "bfloat16_gflops": 2 * 8192**3 / _median(lambda: B @ B) / 1e9,
        "step_s": step(False),
        "rough_step_s": step(True),
    }


K_LIMIT = 10  # columns of the step that is timed


def _median(work: Callable[[], object], repeats: int = 3) -> float:
    work()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return sorted(taken)[repeats // 2]


def measure(task: Task, folder: Path) -> dict[str, Any]:
    """The measurement: seconds and peak memory of the fit; then the objective and the test accuracy it reached."""
    X = loaded(folder / "train-X.npy", task.n, task.d)
    many = task.part == "classes"
    y = parted(folder, task.k)[: task.n] if many else merged(np.load(folder / "train-y.npy")[: task.n], task.k)
    before = peak_gb()
    if task.contender == "limits":
        return {**task.as_dict(), "seconds": 0.0, "peak_gb": before, **limits(X)}
    tol = STRICTER.get((task.contender, task.n), TOLERANCES[task.contender]) if task.part in COMPARED else GAP
    started = time.perf_counter()
    weights, facts = FITS[task.contender](X, y, task.Cs, tol)
    seconds, peak = time.perf_counter() - started, peak_gb()
    result = {**task.as_dict(), "tol": tol, "seconds": seconds, "peak_gb": peak, "loaded_gb": before, **facts}
    if task.part in COMPARED:
        if task.contender != "LogisticRegression":  # it has another
            result["objective"] = objective(X, y, task.Cs[0], weights[0]).tolist()
        test = np.load(folder / "test-X.npy", mmap_mode="r")[:, : task.d]
        truth = parted(folder, task.k, "test") if many else np.load(folder / "test-y.npy")
        result["test_correct"] = int((scores(test, weights[0]).argmax(1) == truth).sum())
        result["n_test"] = len(truth)
    return result


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of convergence: how far each came is measured
    given = json.loads(sys.argv[1])
    print(json.dumps(measure(Task(**{**given, "Cs": tuple(given["Cs"])}), Path(sys.argv[2]))))
