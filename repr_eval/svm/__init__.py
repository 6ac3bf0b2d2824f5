"""The L2-SVM: liblinear's objective on large dense features. Knows nothing of images."""

from repr_eval.svm.estimator import L2SVM, fit_path

__all__ = ["L2SVM", "fit_path"]
