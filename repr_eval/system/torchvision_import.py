"""Imports torchvision beside any torch, a CPU-only one included.

torchvision's wheel on the package index is built against a CUDA torch. Beside a CPU-only torch its compiled
library does not load, and `import torchvision` then fails while it registers shape functions for operators that
were never declared ("operator torchvision::nms does not exist"). Declaring the schemas of those operators first is
enough: the import succeeds, and everything that needs no compiled operator (data sets, transforms, model
definitions) works. repr-eval uses the data sets and networks alone. A compiled operator that is called nevertheless
raises torch's usual NotImplementedError.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# The operators whose shape functions torchvision registers at import without checking that its library is loaded
# (torchvision/_meta_registrations.py), as torchvision declares them.
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_libraries: "list[torch.library.Library]" = []  # a Library's declarations live as long as the object


def torchvision_datasets() -> ModuleType:
    """The module `torchvision.datasets`."""
    try:
        return importlib.import_module("torchvision.datasets")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _libraries.append(library)
    return importlib.import_module("torchvision.datasets")
