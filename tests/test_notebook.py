"""examples/first_steps.ipynb: its cells run in order and give the outputs that it stores."""

import ast
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

import repr_eval

NOTEBOOK = Path(repr_eval.__file__).resolve().parents[1] / "examples" / "first_steps.ipynb"


def run_cell(source: str, namespace: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a cell as a notebook does; what it prints and the value of a last expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    value = None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, "cell", "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)
    outputs: list[dict[str, Any]] = [{"text": printed.getvalue()}] if printed.getvalue() else []
    if value is not None:
        html = getattr(value, "_repr_html_", lambda: None)()
        shown = {"text/plain": repr(value), "text/html": html}
        outputs.append({"data": {kind: text for kind, text in shown.items() if text is not None}})
    return outputs


def stored(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """The outputs that a notebook stores for a cell, lines joined, in the form of `run_cell`."""
    return [
        {"text": "".join(output["text"])}
        if output["output_type"] == "stream"
        else {"data": {kind: "".join(lines) for kind, lines in output["data"].items()}}
        for output in cell["outputs"]
    ]


def test_a_cell_gives_what_it_prints_and_its_last_value() -> None:
    namespace: dict[str, Any] = {}
    assert run_cell("a = 2\nprint('x')\na + 1", namespace) == [
        {"text": "x\n"},
        {"data": {"text/plain": "3"}},
    ]
    assert run_cell("b = a", namespace) == []
    assert namespace["b"] == 2


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_the_notebook_gives_what_it_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) == 7
    for number, cell in enumerate(code, 1):
        assert cell["execution_count"] == number
        assert run_cell("".join(cell["source"]), namespace) == stored(cell), number
