"""The rooms of docs/architecture.md: which folder may import from which. Arrows point one way."""

from __future__ import annotations

import ast
import pathlib

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "transforms": set(),
    "io": {"transforms"},
    "sandbox": set(),
    "pipeline": {"transforms", "io"},
    "console": {"io", "transforms", "sandbox"},
    "run_pipeline.py": {"pipeline"},
    "setup.py": set(),
}


def rooms_imported(file: pathlib.Path, room: str) -> set[str]:
    """The rooms that `file` imports from, its own left out; imports within functions count too."""
    inside = file.relative_to(CHECKOUT).parent.parts
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ["dealmail", *inside[: len(inside) - node.level + 1]] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            names = [whole] if whole != "dealmail" else [f"dealmail.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("dealmail.")}
    return found - {room}


def files(room: str) -> list[pathlib.Path]:
    return [CHECKOUT / room] if room.endswith(".py") else sorted((CHECKOUT / room).rglob("*.py"))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    assert files(room)
    wrong = {
        str(file.relative_to(CHECKOUT)): sorted(more)
        for file in files(room)
        if (more := rooms_imported(file, room) - MAY_IMPORT[room])
    }
    assert wrong == {}


def test_arrows_are_seen_at_all() -> None:
    """Else the test above could not fail."""
    seen = {room: set().union(*(rooms_imported(file, room) for file in files(room))) for room in MAY_IMPORT}
    assert seen["pipeline"] == {"transforms", "io"}
    assert seen["run_pipeline.py"] == {"pipeline"}


def test_edges_and_console_do_not_know_beam() -> None:
    """Stores, Gmail and the console are used and tested without it; they would not start as quickly with it either."""
    knows = {
        f"{room}/{file.name}"
        for room in ("io", "console", "sandbox")
        for file in files(room)
        if "apache_beam" in file.read_text(encoding="utf-8")
    }
    assert knows == {"io/pubsub.py"}  # a source of the graph
