"""Every public function of a package through which rows can be read or written, found by looking, so that none is forgotten."""

from __future__ import annotations

import importlib
import inspect
import pathlib
import types
from collections.abc import Iterator
from typing import Any

STORES = (
    "Database",
    "Connection",
    "SearchIndex",
    "Outbox",
    "GmailAccounts",
    "SearchSpec",
    "EngagementStore",
    "Mailboxes",
)
"""Who has one of these in hand can reach rows."""


def reaching_rows(package: types.ModuleType) -> list[str]:
    """`module.function` and `module.Class.method` of all that take a store, or belong to a class whose objects hold one."""
    found = []
    for module in _modules(package):
        short = module.__name__.rpartition(".")[2]
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", "") != module.__name__:
                continue
            if inspect.isfunction(thing) and _takes_a_store(thing):
                found.append(f"{short}.{name}")
            elif inspect.isclass(thing):
                holds = _takes_a_store(vars(thing).get("__init__")) or getattr(thing, "_is_protocol", False)
                methods = ((n, _function(m)) for n, m in vars(thing).items() if not n.startswith("_"))
                found += [f"{short}.{name}.{n}" for n, m in methods if m and (holds or _takes_a_store(m))]
    return sorted(found)


def _modules(package: types.ModuleType) -> Iterator[types.ModuleType]:
    for folder in package.__path__:
        for path in sorted(pathlib.Path(folder).glob("*.py")):
            if path.stem != "__init__":
                yield importlib.import_module(f"{package.__name__}.{path.stem}")


def _function(thing: Any) -> Any:
    if isinstance(thing, staticmethod | classmethod):
        return thing.__func__
    return thing if inspect.isfunction(thing) else None


def _takes_a_store(function: Any) -> bool:
    if not inspect.isfunction(function):
        return False
    hints = [str(hint) for name, hint in function.__annotations__.items() if name != "return"]
    return any(store in hint for hint in hints for store in STORES)
