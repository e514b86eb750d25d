"""docs/edge-cases.md stays true: every case stands there once, and what it names exists."""

from __future__ import annotations

import pathlib
import re

import pytest

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "edge-cases.md"
ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \|$", re.MULTILINE)
NAMED = re.compile(r"`([\w/]+\.py)::(\w+\*?)`")
TESTS = {
    file.relative_to(HERE).as_posix(): re.findall(r"^ *def (test_\w+)", file.read_text(), re.MULTILINE)
    for file in HERE.rglob("test_*.py")
}


def cases() -> list[tuple[int, str, str]]:
    return [(int(number), holds, tests) for number, holds, tests in ROW.findall(PAGE.read_text())]


def named(cell: str) -> list[tuple[str, str]]:
    """(file, name) of each test in the cell; a name may end in `*`."""
    return NAMED.findall(cell)


def fits(name: str, wanted: str) -> bool:
    return name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted


def test_every_case_stands_there_once_in_order() -> None:
    assert [number for number, _, _ in cases()] == list(range(1, 111))


@pytest.mark.parametrize(("number", "cell"), [(number, tests) for number, _, tests in cases()])
def test_each_has_a_test_that_exists_or_a_reason(number: int, cell: str) -> None:
    if cell.startswith("none: "):
        assert len(cell) > 40
        return
    assert re.sub(r"[,\s]", "", NAMED.sub("", cell)) == "", f"case {number} names something that is no test"
    for file, wanted in named(cell):
        assert any(fits(name, wanted) for name in TESTS.get(file, [])), f"case {number}: no test {file}::{wanted}"


def test_every_test_named_after_a_case_is_named_in_its_line() -> None:
    page = {number: named(tests) for number, _, tests in cases()}
    missing = [
        f"{number}: {file}::{name}"
        for file, names in sorted(TESTS.items())
        for name in names
        if (found := re.match(r"test_case_((?:\d+_)+)", name))
        for number in map(int, found[1].split("_")[:-1])
        if not any(file == there and fits(name, wanted) for there, wanted in page[number])
    ]
    assert missing == [], "write these tests into docs/edge-cases.md"
