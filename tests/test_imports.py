"""Who may import whom: data flows one way, and so do imports."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import repr_eval

PACKAGE = Path(repr_eval.__file__).parent
LEFT_TO_RIGHT = [
    "measures",
    "images",
    "datasets",
    "gan",
    "representations",
    "svm",
    "classifiers",
    "protocols",
    "records",
    "predictions",
    "reporting",
    "comparison",
]
FREE = {"system"}  # anyone may import it; it imports nothing but itself
# Each may import those before it, and all of the above.
ON_TOP = ["doctor", "evaluation", "label_free", "verification", "explore", "cli", "__main__"]
# Within it:
REPORTING = ["published", "rows", "render", "tables", "methods", "overview", "ablations", "figures", "write"]
PAGE = [  # after all of that
    "svg", "words", "charts", "table", "evidence", "agreement", "studies", "pictures", "hardest", "training",
    "explored", "write",
]  # fmt: skip
SVM_MAY_NOT_KNOW = {"images", "gan", "representations"}


def may_import(importer: str, imported: str) -> bool:
    """Whether the part `importer` of the package (a module or a folder) may import the part `imported`."""
    if importer == imported:
        return True
    if importer == "__init__":
        return True  # the table of contents, which imports a name when it is used
    if importer in FREE:
        return False
    if imported in FREE:
        return True
    if importer == "svm" and imported in SVM_MAY_NOT_KNOW:
        return False
    if imported == "__init__":
        return importer in ON_TOP  # the version
    order = LEFT_TO_RIGHT + ON_TOP
    return order.index(imported) < order.index(importer)


def imports_of(source: str) -> Iterator[str]:
    """The parts of the package that a module's source imports, wherever in it; "." for a relative import."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [
                "." if node.level else f"{module}.{a.name}" if module == "repr_eval" else module for a in node.names
            ]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            if name == ".":
                yield name
            elif first == "repr_eval":
                part = rest.split(".")[0] or "__init__"
                yield part if (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").is_file() else "__init__"


def test_imports_point_one_way() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        importer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for imported in imports_of(path.read_text(encoding="utf-8")):
            if imported == "." or not may_import(importer, imported):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {imported}")
    assert wrong == []


def test_imports_within_reporting_point_one_way() -> None:
    for number, name in enumerate(REPORTING):
        source = (PACKAGE / "reporting" / f"{name}.py").read_text(encoding="utf-8")
        imported = set(re.findall(r"from repr_eval\.reporting\.(\w+) import", source))
        for names in re.findall(r"from repr_eval\.reporting import ([\w, ]+)", source):
            imported |= set(names.split(", "))
        assert imported <= set(REPORTING[:number]), name
    assert {path.stem for path in (PACKAGE / "reporting").glob("*.py")} == {"__init__", *REPORTING}


def test_imports_within_the_page_point_one_way() -> None:
    for number, name in enumerate(PAGE):
        source = (PACKAGE / "reporting" / "page" / f"{name}.py").read_text(encoding="utf-8")
        imported = set(re.findall(r"from repr_eval\.reporting\.page\.(\w+) import", source))
        for names in re.findall(r"from repr_eval\.reporting\.page import ([\w, ]+)", source):
            imported |= set(names.split(", "))
        assert imported <= set(PAGE[:number]), name
    assert {path.stem for path in (PACKAGE / "reporting" / "page").glob("*.py")} == {"__init__", *PAGE}


def test_the_rule_of_imports_can_fail() -> None:
    source = "import repr_eval.svm.rows\ndef f():\n    from repr_eval import reporting, __version__\nfrom . import x\n"
    assert sorted(imports_of(source)) == [".", "__init__", "reporting", "svm"]
    assert not may_import("images", "svm")
    assert not may_import("svm", "images")
    assert not may_import("system", "images")
    assert not may_import("evaluation", "cli")
    assert not may_import("measures", "images")
    assert not may_import("datasets", "protocols")
    assert may_import("evaluation", "reporting")
    assert may_import("protocols", "svm")


@pytest.mark.parametrize(
    "module",
    [
        "records",
        "predictions",
        "comparison.pair",
        "comparison.ranking",
        "comparison.for_page",
        "reporting.page.write",
        *(f"reporting.{name}" for name in REPORTING),
    ],
)
def test_records_and_tables_do_without_torch(module: str) -> None:
    code = f"import sys, repr_eval.{module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("module", ["cli.report", "reporting.write"])
def test_what_takes_long_to_import_waits_until_a_table_needs_it(module: str) -> None:
    slow = ("torch", "pandas", "matplotlib", "scipy", "sklearn")
    code = f"import sys, repr_eval.{module}; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
