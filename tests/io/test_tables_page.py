"""docs/tables.md names every table of the schema, and of each every column and its key."""

import pathlib
import re

from dealmail.io import schema

PAGE = (pathlib.Path(__file__).parents[2] / "docs/tables.md").read_text(encoding="utf-8")


def section(title: str) -> list[list[str]]:
    """The cells of each row of the table in that section of the page."""
    text = re.split(r"^#", PAGE.partition(f" {title}\n")[2], maxsplit=1, flags=re.M)[0]
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert rows, f"docs/tables.md has no section {title} with a table"
    return rows


def test_every_table_says_what_it_holds():
    named = [name for cells in section("Tables") for name in re.findall(r"`(\w+)`", cells[0])]
    assert sorted(named) == sorted(schema.metadata.tables)


def test_every_column_is_named_and_the_key_is_bold():
    told = {cells[0].strip(" `"): cells[1] for cells in section("Columns")}
    assert sorted(told) == sorted(schema.metadata.tables)
    for name, table in schema.metadata.tables.items():
        assert sorted(re.findall(r"`(\w+)`", told[name])) == sorted(column.name for column in table.columns), name
        assert re.findall(r"\*\*`(\w+)`\*\*", told[name]) == [column.name for column in table.primary_key], name
