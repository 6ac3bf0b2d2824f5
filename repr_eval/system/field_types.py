"""Whether what a file gave a dataclass is of the types that its fields are said to have."""

import types
from dataclasses import fields
from sys import float_info
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def check_types(made: "DataclassInstance") -> None:
    """ValueError for the first field of a dataclass's object whose value is not of its type.

    A whole number will do for a float, which has to be finite; of dictionaries and lists the
    contents are not looked at.
    """
    hints = get_type_hints(type(made))
    for field in fields(made):
        value = getattr(made, field.name)
        if not _is_of(value, hints[field.name]):
            raise ValueError(f"{field.name} is {value!r:.60}")


def _is_of(value: Any, kind: Any) -> bool:
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_is_of(value, part) for part in parts)
    if origin is tuple:
        wanted = parts[:1] * len(value) if parts[1:] == (...,) and isinstance(value, tuple) else parts
        fits = isinstance(value, tuple) and len(value) == len(wanted)
        return fits and all(map(_is_of, value, wanted))
    if kind is float:
        return type(value) in (float, int) and abs(value) <= float_info.max
    if kind is int:
        return type(value) is int
    return isinstance(value, origin or kind)
