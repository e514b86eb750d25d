"""When a mail was sent: its Date if that is sane, else Gmail's internalDate. Always aware UTC, always what MariaDB can hold."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from email.utils import parsedate_tz
from functools import lru_cache
from typing import Final

EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
EARLIEST: Final = dt.datetime(1990, 1, 1, tzinfo=dt.UTC)
"""No Date before this is believed: clocks that were never set stand at 1970 or 1980."""
AHEAD: Final = dt.timedelta(days=1)
"""How far Date may lie after Gmail received the mail: a wrong zone, not a wrong clock."""
BEHIND: Final = dt.timedelta(days=3653)
"""How far Date may lie before Gmail received the mail, unless a Received field bears it out (imported old mail)."""
AGREEMENT: Final = dt.timedelta(days=7)
"""How near a Received field must be to bear out an old Date."""

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_MAX_DATE: Final = 200
_COMMON: Final = re.compile(
    r"(?:[A-Za-z]{3}, ?)?(\d{1,2}) ([A-Za-z]{3}) (\d{4}) (\d\d):(\d\d)(?::(\d\d))? (?:([+-]\d{4})|GMT|UTC|UT|Z)(?: ?\([^()]*\))?"
)


def internal_time(milliseconds: int) -> dt.datetime:
    """Gmail's internalDate (epoch milliseconds) as a UTC datetime.

    Raises:
        OverflowError: outside the years 1 to 9998.
    """
    when = EPOCH + dt.timedelta(milliseconds=milliseconds)
    if when.year > 9998:
        msg = "internalDate is beyond the year 9998"
        raise OverflowError(msg)
    return when


def parse_date(value: str) -> dt.datetime | None:
    """The moment an RFC 5322 date-time (section 3.3, obsolete forms of 4.3 too) names, in UTC; None where it names none.

    A date without a zone, or with -0000, is taken as UTC (section 3.3). A year of two digits is the one between 1969 and 2068, one of
    three counts from 1900 (section 4.3), as programs of the last century wrote 2026: 126. Never raises.
    """
    value = value[:_MAX_DATE].strip()
    match = _COMMON.fullmatch(value)
    try:
        if match is not None:
            day, month, year, hour, minute, second, zone = match.groups()
            seconds = min(int(second or 0), 59)
            when = dt.datetime(int(year), _MONTHS[month.lower()], int(day), int(hour), int(minute), seconds, 0, dt.UTC)
            return when if zone is None else when - _offset(zone)
        found = parsedate_tz(value)
        if found is None:
            return None
        year = found[0] + 1900 if 100 <= found[0] < 1000 else found[0]
        when = dt.datetime(year, *found[1:5], min(found[5], 59), tzinfo=dt.UTC)
        return when - dt.timedelta(seconds=found[9] or 0)
    except (ValueError, OverflowError, KeyError, TypeError, IndexError):
        # parsedate_tz answers None for most rubbish, and raises these for some (CPython issues 30681 and 45001).
        return None


@lru_cache(maxsize=512)
def _offset(zone: str) -> dt.timedelta:
    """How far the zone +hhmm or -hhmm is ahead of UTC."""
    ahead = dt.timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
    return ahead if zone[0] == "+" else -ahead


def sent_time(date: str, internal: dt.datetime, received: Iterable[str] = ()) -> dt.datetime:
    """`date` (the Date field) if sane, else `internal`; UTC.

    Sane means: it can be read, is not before 1990, is at most a day after `internal`, and is at most ten years before it
    unless one of the `received` fields (the text after their last semicolon, RFC 5321 section 4.4) is within a week of it.
    """
    when = parse_date(date)
    if when is None or when < EARLIEST or when > internal + AHEAD:
        return internal
    if internal - when <= BEHIND:
        return when
    for field in received:
        stamped = parse_date(field.rpartition(";")[2])
        if stamped is not None and abs(stamped - when) <= AGREEMENT:
            return when
    return internal
