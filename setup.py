"""The one compiled part; all else is in pyproject.toml. Without a C compiler the package installs all the same."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "repr_eval.svm._products",
            ["repr_eval/svm/products.c"],
            depends=["repr_eval/svm/products.h", "repr_eval/svm/products_bf16.h"],
            extra_compile_args=["-O3", "-ffp-contract=fast"],
            optional=True,
        )
    ]
)
