"""Settings of claims that cannot work are refused."""

from __future__ import annotations

import datetime as dt

import pytest

from dealmail.io.claim_settings import ClaimSettings


def test_settings_are_checked() -> None:
    for wrong in (
        {"batch": 0},
        {"backfill_share": 0},
        {"topic": "gmail"},
        {"poll_interval": dt.timedelta(0)},
        {"lease_seconds": 0},
    ):
        with pytest.raises(ValueError):
            ClaimSettings(**wrong)
