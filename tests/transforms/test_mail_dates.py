"""When a mail was sent."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dealmail.transforms.mail_dates import internal_time, parse_date, sent_time

INTERNAL = dt.datetime(2026, 10, 5, 12, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Mon, 5 Oct 2026 09:00:00 +0200", (2026, 10, 5, 7, 0)),
        ("5 Oct 2026 09:00 GMT", (2026, 10, 5, 9, 0)),
        ("Mon, 05 Oct 2026 09:00:00 -0700 (PDT)", (2026, 10, 5, 16, 0)),
        ("Mon, 5 Oct 2026 09:00:00", (2026, 10, 5, 9, 0)),
        ("Mon, 5 Oct 26 09:00:00 EST", (2026, 10, 5, 14, 0)),
        ("Mon, 5 Oct 2026 09:00:60 +0000", (2026, 10, 5, 9, 0)),
        ("Mon, 5 Oct 126 09:00:00 +0000", (2026, 10, 5, 9, 0)),
    ],
)
def test_case_87_dates_that_can_be_read(value, expected):
    when = parse_date(value)
    assert when is not None
    assert when.tzinfo is dt.UTC
    assert (when.year, when.month, when.day, when.hour, when.minute) == expected


@pytest.mark.parametrize("value", ["", "yesterday", "Mon, 99 Foo 2026", "Mon, 5 Oct 99999 09:00:00 +0000", "31 Feb 2026 10:00:00 +0000",
                                   "Mon, 5 Oct 2026 09:00:00 +9999999999", "0" * 5_000, "\0", "1 Jan 0001 00:00:00 +2359"])  # fmt: skip
def test_case_87_what_cannot_be_read_gives_gmails_own_time(value):
    assert sent_time(value, INTERNAL) == INTERNAL


def test_case_87_a_wrong_clock_is_not_believed():
    never_set = "Thu, 1 Jan 1970 00:00:00 +0000"
    assert sent_time(never_set, INTERNAL, [f"by the.same.example; {never_set}"]) == INTERNAL
    assert sent_time("Thu, 1 Jan 1970 00:00:00 +0000", INTERNAL) == INTERNAL
    assert sent_time("Thu, 8 Oct 2026 00:00:00 +0000", INTERNAL) == INTERNAL
    assert sent_time("Tue, 6 Oct 2026 11:00:00 +0000", INTERNAL) == dt.datetime(2026, 10, 6, 11, tzinfo=dt.UTC)


def test_case_38_old_mail_imported_today_keeps_its_date():
    assert sent_time("Sat, 1 Oct 2022 00:00:00 +0000", INTERNAL).year == 2022


def test_case_38_very_old_mail_needs_a_received_field_as_witness():
    old = "Tue, 4 Apr 2000 10:00:00 +0000"
    assert sent_time(old, INTERNAL) == INTERNAL
    assert (
        sent_time(
            old,
            INTERNAL,
            ["by new.example; 5 Oct 2026 12:00:00 +0000", "by old.example; Tue, 4 Apr 2000 10:01:00 +0000"],
        ).year
        == 2000
    )


def test_internal_time_is_utc_and_bounded():
    assert internal_time(0) == dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    with pytest.raises(OverflowError):
        internal_time(10**18)


@given(
    st.one_of(
        st.text(max_size=80),
        st.from_regex(r"\A[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,6} \d{1,3}:\d\d:\d\d [+-]\d{4,6}\Z"),
    )
)
@settings(max_examples=400, deadline=None)
def test_no_date_raises_and_every_answer_fits_mariadb(value):
    when = sent_time(value, INTERNAL)
    assert when.tzinfo is dt.UTC
    assert 1990 <= when.year <= 2026
