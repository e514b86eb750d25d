from __future__ import annotations

from typing import Any

import pytest

from dealmail.sandbox.field_mask import apply_fields, parse_fields

VALUE = {"a": 1, "b": [{"c": 1, "d": {"e": 2, "f": 3}}, {"c": 4}], "g": {"h": 5}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("a", {"a": 1}),
        ("a,g", {"a": 1, "g": {"h": 5}}),
        ("b(c,d/e)", {"b": [{"c": 1, "d": {"e": 2}}, {"c": 4}]}),
        ("b/d", {"b": [{"d": {"e": 2, "f": 3}}, {}]}),
        ("*", VALUE),
        ("*/h", {"a": 1, "b": [{}, {}], "g": {"h": 5}}),
        ("nothing", {}),
    ],
)
def test_what_passes(fields: str, expected: Any) -> None:
    assert apply_fields(VALUE, parse_fields(fields)) == expected


@pytest.mark.parametrize("fields", ["a(", "a)", "(a", "a//b", "a/", "a b$", "a,(b)"])
def test_bad_forms(fields: str) -> None:
    with pytest.raises(ValueError):
        parse_fields(fields)
