"""Measure a function of images: the mean colour of each cell of a 4x4 grid.

python examples/own_function.py

It runs on scikit-learn's digits, so that it needs no data set. For CIFAR-10, exchange the protocol for
`rv.CIFAR10PerClass(400, draws=10)`.
"""

import numpy as np

import repr_eval as rv


def cell_means(images: np.ndarray) -> np.ndarray:
    """Images uint8 [N, 32, 32, 3] -> features float [N, 48]; each row depends on its own image only."""
    return images.reshape(-1, 4, 8, 4, 8, 3).mean((2, 4)).reshape(len(images), -1)


if __name__ == "__main__":
    print(rv.evaluate(cell_means, rv.Digits(10, draws=10), out="results"))
    print(rv.evaluate("pixels", rv.Digits(10, draws=10), out="results"))
    for path in rv.report("results"):
        print(path)
