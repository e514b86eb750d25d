from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from dealmail.console.team_settings import MEANING
from dealmail.transforms.settings import TeamSettings

Run = Callable[..., Result]
Rows = Callable[..., list[dict[str, Any]]]
pytestmark = pytest.mark.usefixtures("stored")


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("retention_days", "365", 365),
        ("automated_threshold", "2.5", 2.5),
        ("automated_threshold", "-1.5", -1.5),
        ("on_opt_out", "erase", "erase"),
        ("rules", "2026.1", "2026.1"),
        ("keep_kinds", "reply, bounce", ["bounce", "reply"]),
        ("signals_off", "copied", ["copied"]),
    ],
)
def test_a_setting_is_set_shown_and_reset(dealmail: Run, jsonl: Rows, name: str, typed: str, value: Any) -> None:
    def shown() -> Any:
        (row,) = [row for row in jsonl("settings", "show") if row["setting"] == name]
        return row["value"]

    default = shown()
    assert dealmail("settings", "set", name, typed).exit_code == 0
    assert shown() == value != default
    assert "already" in dealmail("settings", "set", name, typed).stdout
    assert dealmail("settings", "reset", name).exit_code == 0
    assert shown() == default


@pytest.mark.parametrize(("name", "typed"), [("retention_days", "30"), ("automated_threshold", "-2")])
def test_a_number_is_taken_away_as_it_is_shown(dealmail: Run, name: str, typed: str) -> None:
    assert dealmail("settings", "set", name, typed).exit_code == 0
    assert dealmail("settings", "set", name, "none").stdout.startswith(f"{name} is none now")


@pytest.mark.parametrize(
    ("name", "typed", "told"),
    [
        ("colour", "red", "'colour': the names are automated_threshold"),
        ("on_trash", "burn", "'burn': use one of keep, remove"),
        ("retention_days", "soon", "'soon': use a number of days"),
        ("automated_threshold", "nan", "nan: use a number"),
        ("keep_kinds", "spam", "'spam': use some of bounce"),
        ("rules", "1999.1", "'1999.1': there is no such rule set; use one of 2026.1"),
        ("signals_off", "no-such", "'no-such': `dealmail rules signals`"),
    ],
)
def test_a_bad_value_is_shown_with_the_way_out(dealmail: Run, jsonl: Rows, name: str, typed: str, told: str) -> None:
    before = jsonl("settings", "show")
    result = dealmail("settings", "set", name, typed)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert told in result.stderr
    assert jsonl("settings", "show") == before


def test_every_setting_has_its_meaning() -> None:
    assert list(MEANING) == [field.name for field in dataclasses.fields(TeamSettings)]


def test_tidying_takes_away_what_the_settings_no_longer_keep_and_says_when_the_index_follows(
    dealmail: Run, jsonl: Rows, stored: Any
) -> None:
    assert dealmail("db", "tidy").stdout.splitlines() == [
        "removed: 0 engagements that are too old, 0 copies of users who turned import off"
    ]
    held = sum(len(mail["mailboxes"]) for mail in jsonl("engagements"))
    for mailbox in (stored.alice, stored.bob):
        assert dealmail("import", "off", mailbox).exit_code == 0
    assert dealmail("settings", "set", "on_opt_out", "erase").exit_code == 0
    removed, index = dealmail("db", "tidy").stdout.splitlines()
    assert removed.endswith(f" {held} copies of users who turned import off")
    assert index == "The search index follows with the job's next pass."
    assert held > 0
    assert jsonl("engagements") == []
