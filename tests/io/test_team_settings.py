"""Settings are changed one at a time, and a running job learns of it by the CRM's version."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import relink, schema
from dealmail.io.crm import DatabaseDirectories, crm_stamps
from dealmail.io.team_settings import SettingError, change_setting, read_settings
from dealmail.transforms.settings import TeamSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("on_trash", "remove"),
        ("retention_days", 365),
        ("keep_kinds", ["reply"]),
        ("automated_threshold", 3.5),
        ("rules", "2026.1"),
    ],
)
def test_a_running_job_takes_a_change_up_and_links_nothing_anew(
    database: Any, sales: Any, name: str, value: Any
) -> None:
    directories = DatabaseDirectories(database)
    assert directories.directory("t1", dict(crm_stamps(database))["t1"]).settings == TeamSettings()
    assert change_setting(database, "t1", name, value)
    now = directories.directory("t1", dict(crm_stamps(database))["t1"]).settings
    assert now == read_settings(database, "t1") == TeamSettings.from_json({name: value})
    assert relink.behind(database) == []
    assert not change_setting(database, "t1", name, value)
    assert change_setting(database, "t1", name)
    assert read_settings(database, "t1") == TeamSettings()


def test_mail_that_waits_to_be_linked_anew_goes_on_waiting(database: Any, sales: Any) -> None:
    database.transaction(lambda c: c.execute(sa.update(schema.team).values(crm_version=7, relinked_version=5)))
    change_setting(database, "t1", "on_spam", "remove")
    assert relink.behind(database) == ["t1"]


@pytest.mark.parametrize(
    ("name", "value"), [("colour", "red"), ("colour", None), ("on_trash", "burn"), ("retention_days", 0)]
)
def test_what_cannot_be_changes_nothing(database: Any, sales: Any, name: str, value: Any) -> None:
    before = crm_stamps(database)
    with pytest.raises(SettingError, match=name):
        change_setting(database, "t1", name, value)
    assert crm_stamps(database) == before


def test_a_broken_setting_can_be_taken_away(database: Any, sales: Any) -> None:
    database.transaction(
        lambda c: c.execute(sa.update(schema.team).values(settings={"colour": 1, "on_spam": "remove"}))
    )
    with pytest.raises(SettingError, match="colour"):
        change_setting(database, "t1", "on_trash", "remove")
    assert change_setting(database, "t1", "colour")
    assert read_settings(database, "t1") == TeamSettings(on_spam="remove")
