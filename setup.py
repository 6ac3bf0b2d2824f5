"""The compiled part and the shipped weights; all else is in pyproject.toml.

Without a C compiler the package installs all the same. The weights lie in pretrained/ of the checkout and become
repr_eval/pretrained/ of a wheel.
"""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py


class BuildWithWeights(build_py):
    """Python modules, and beside them the weights; an editable installation finds those in the checkout."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "repr_eval", "pretrained")
        self.mkpath(str(target))
        for source in (Path("pretrained/manifest.json"), *sorted(Path("pretrained").glob("*.safetensors"))):
            self.copy_file(str(source), str(target / source.name))


setup(
    cmdclass={"build_py": BuildWithWeights},
    ext_modules=[
        Extension(
            "repr_eval.svm._products",
            ["repr_eval/svm/products.c"],
            depends=["repr_eval/svm/products.h", "repr_eval/svm/products_bf16.h"],
            extra_compile_args=["-O3", "-ffp-contract=fast"],
            optional=True,
        )
    ],
)
