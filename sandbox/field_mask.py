"""Partial responses: the `fields` parameter (Google's guide to performance: `a,b(c,d)`, `a/b`, `*`)."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from googleapiclient import discovery_cache

Mask = dict[str, "Mask"]
_TOKEN = re.compile(r"[A-Za-z0-9_*-]+|[,()/]")


def parse_fields(text: str) -> Mask:
    """The mask as nested names; an empty one below a name means all of it.

    Raises:
        ValueError: brackets do not match or another sign stands in it.
    """
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text.replace(" ", ""):
        raise ValueError(text)
    mask, rest = _selection(tokens)
    if rest:
        raise ValueError(text)
    return mask


def _selection(tokens: list[str]) -> tuple[Mask, list[str]]:
    mask: Mask = {}
    while tokens and tokens[0] != ")":
        name, tokens = tokens[0], tokens[1:]
        if name in {",", "(", "/"}:
            raise ValueError(name)
        below = mask.setdefault(name, {})
        while tokens and tokens[0] == "/":
            if len(tokens) < 2 or tokens[1] in {",", "(", ")", "/"}:
                raise ValueError(name)
            below = below.setdefault(tokens[1], {})
            tokens = tokens[2:]
        if tokens and tokens[0] == "(":
            inner, tokens = _selection(tokens[1:])
            if not tokens:
                raise ValueError(name)
            tokens = tokens[1:]
            below.update(inner)
        if tokens and tokens[0] == ",":
            tokens = tokens[1:]
    return mask, tokens


def apply_fields(value: Any, mask: Mask) -> Any:
    """What of a JSON value the mask lets through; lists are passed through element by element."""
    if not mask:
        return value
    if isinstance(value, list):
        return [apply_fields(item, mask) for item in value]
    if not isinstance(value, dict):
        return value
    every = mask.get("*")
    return {
        key: apply_fields(item, mask.get(key, every or {}))
        for key, item in value.items()
        if key in mask or every is not None
    }


def check_fields(mask: Mask, schema: str) -> None:
    """Refuse names that an answer of this schema of Gmail's discovery document can never have, as Google does.

    Raises:
        ValueError: the name.
    """
    _check(mask, {"$ref": schema})


def _check(mask: Mask, kind: dict[str, Any]) -> None:
    kind = kind.get("items", kind)
    if "$ref" in kind:
        kind = _schemas()[kind["$ref"]]
    properties = kind.get("properties", {})
    for name, below in mask.items():
        if name == "*":
            continue
        if name not in properties:
            raise ValueError(name)
        _check(below, properties[name])


@functools.cache
def _schemas() -> dict[str, dict[str, Any]]:
    document = json.loads(discovery_cache.get_static_doc("gmail", "v1"))
    return dict(document["schemas"])
