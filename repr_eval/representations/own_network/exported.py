"""What may stand in the program of a torch.export file: checked before torch reads it.

torch evaluates parts of that JSON as Python: expressions of sizes go to `sympy.sympify`, names and guards into source
that is compiled, names of operators and of types to `getattr` and imports. Here everything is refused but what an
exported network of torch's operators has: numbers, plain names, those operators, and sums and products of sizes.
"""

import ast
import re
from collections.abc import Iterator
from typing import Any

from repr_eval.system.json_text import from_json

_NAME = re.compile(r"[A-Za-z0-9_.]*")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINES = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]*")  # text, tabs and newlines
_OPERATOR = re.compile(
    r"torch\.ops\.(?!load_library|import_module|loaded_libraries)[a-z]\w*\.\w+(\.\w+)?|torch\.(sym_\w+|_sym_sqrt)|"
    r"math\.(ceil|floor|trunc|sqrt)|"
    r"_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|lt|le|gt|ge|eq|ne|and_|or_|not_|getitem)",
    re.ASCII,
)
_FILES = re.compile(r"torch\.ops\.\w+\.from_file\b")  # reads, or makes, a file that its argument names
# Fields that torch keeps, prints or hands to an operator as text, and evaluates nowhere.
_TEXT = {"as_string", "as_strings", "stack_trace", "torch_fn", "nn_module_stack", "torch_version"}
_SIZES = {
    "Integer", "Symbol", "Rational", "Float", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod", "FloorDiv",
    "CeilDiv", "CleanDiv", "CeilToInt", "FloorToInt", "TruncToInt", "RoundToInt", "IntTrueDiv", "ToFloat", "Identity",
    "ModularIndexing", "PowByNatural", "Equality", "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan",
    "GreaterThan", "And", "Or", "Not",
}  # fmt: skip
_MOST = 8  # the largest exponent of a size
_CHARACTERS = 10_000  # of an expression of a size
_CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}


def check_program(content: bytes) -> None:
    """ValueError in one line on anything in a `models/NAME.json` that is more than a graph of torch's operators."""
    program = from_json(content)
    if not isinstance(program, dict) or program.get("guards_code"):
        raise ValueError("it has guards, which torch compiles as Python; export the network without them")
    for field, value in _strings(program, ""):
        _check(field, value)


def _strings(node: Any, field: str) -> Iterator[tuple[str, str]]:
    """Each string of the JSON with the name of the field that it is in; keys are in the field "key"."""
    if isinstance(node, str):
        yield field, node
    elif isinstance(node, list):
        for part in node:
            yield from _strings(part, field)
    elif isinstance(node, dict):
        for key, value in node.items():
            if field not in _TEXT:
                yield "key", key
            yield from _strings(value, key)


def _check(field: str, value: str) -> None:
    if field == "expr_str":
        fine = is_size(value)
    elif field == "target":
        fine = _OPERATOR.fullmatch(value) is not None and "__" not in value and not _FILES.match(value)
    elif field in ("in_spec", "out_spec"):
        fine = _is_nest(from_json(value), _IDENTIFIER if field == "in_spec" else _NAME)
    elif field == "forward_arg_names":
        fine = _IDENTIFIER.fullmatch(value) is not None
    else:
        fine = (_LINES if field in _TEXT else _NAME).fullmatch(value) is not None
    if not fine:
        raise ValueError(f"its {field} {value!r:.60} is nothing that an exported network needs")


def is_size(expression: str) -> bool:
    """Whether the text is an expression of sizes as `sympy.srepr` writes it: sums, products, ... of whole symbols."""
    if len(expression) > _CHARACTERS or not expression.isascii():
        return False
    try:
        tree = ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return _is_size(tree)


def _is_size(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _is_number(node.operand)
    if isinstance(node, ast.Name):
        return _IDENTIFIER.fullmatch(node.id) is not None and re.fullmatch(r"[suz]f?\d+", node.id) is not None
    if not isinstance(node, ast.Call):
        return _is_number(node)
    function = node.func.id if isinstance(node.func, ast.Name) else ""
    flags = [keyword.value for keyword in node.keywords if keyword.arg in ("integer", "positive", "nonnegative")]
    if function == "Symbol":
        given = [arg.value if isinstance(arg, ast.Constant) else None for arg in node.args]
        return (
            len(given) == 1
            and isinstance(given[0], str)
            and _IDENTIFIER.fullmatch(given[0]) is not None
            and len(flags) == len(node.keywords)
            and all(isinstance(flag, ast.Constant) and isinstance(flag.value, bool) for flag in flags)
        )
    if function not in _SIZES or node.keywords:
        return False
    if function in ("Pow", "PowByNatural") and not _is_small_power(node):
        return False
    return all(_is_size(argument) for argument in node.args)


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int


def _is_small_power(node: ast.Call) -> bool:
    """Of a symbol itself: of other powers, whose exponents multiply, sympy might work out numbers of any length."""
    if len(node.args) != 2:
        return False
    base, exponent = node.args
    if isinstance(exponent, ast.Call) and len(exponent.args) == 1:  # Integer(n)
        exponent = exponent.args[0]
    if isinstance(exponent, ast.UnaryOp):
        exponent = exponent.operand
    symbol = isinstance(base, ast.Call) and isinstance(base.func, ast.Name) and base.func.id == "Symbol"
    return symbol and isinstance(exponent, ast.Constant) and type(exponent.value) is int and exponent.value <= _MOST


def _is_nest(node: Any, names: re.Pattern[str]) -> bool:
    """Whether a pytree's JSON is of plain containers alone, their keys numbers or `names`."""
    if isinstance(node, list):  # [1, {...}]: the format's version first
        return all(type(part) is int or _is_nest(part, names) for part in node)
    if not isinstance(node, dict) or node.keys() != {"type", "context", "children_spec"}:
        return False
    context = node["context"]
    keys = from_json(context) if isinstance(context, str) else context
    return (
        node["type"] in _CONTAINERS
        and (keys is None or isinstance(keys, list))
        and all(type(key) is int or (isinstance(key, str) and names.fullmatch(key)) for key in keys or [])
        and isinstance(node["children_spec"], list)
        and all(_is_nest(child, names) for child in node["children_spec"])
    )
