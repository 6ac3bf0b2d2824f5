"""Types of a dataclass's fields."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from repr_eval.system.field_types import check_types


@dataclass(frozen=True)
class Fields:
    n: int = 1
    share: float = 0.5
    word: str | None = None
    sides: tuple[int, int] = (1, 2)
    many: tuple[int, ...] = ()
    more: dict[str, Any] | None = None


def test_values_of_the_types_are_fine() -> None:
    check_types(Fields())
    check_types(Fields(share=1, word="", many=(1, 2, 3), more={"a": [1]}))


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 1.0}, {"n": True}, {"n": None}, {"share": "0.5"}, {"share": float("nan")},
        {"share": 10**400}, {"share": float("inf")}, {"share": False},
        {"word": 1}, {"sides": (1, 2, 3)}, {"sides": [1, 2]}, {"sides": (1, "2")}, {"many": (1, None)}, {"many": 1},
        {"more": []},
    ],
)  # fmt: skip
def test_another_type_is_told_with_its_field(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{min(changes)} is "):
        check_types(replace(Fields(), **changes))
