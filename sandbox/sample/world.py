"""build_world: the whole sample, the same for the same time and seed."""

from __future__ import annotations

import datetime as dt

from . import arriving, autoreplies, bulk, cast, corners, office, outsiders, talks, tongues
from .desk import Desk
from .model import World


def build_world(now: dt.datetime, seed: int = 0) -> World:
    """The sample of the three months before `now` (aware), and what arrives after it.

    The same arguments give the same bytes. Raises ValueError for a `now` without a time zone.
    """
    if now.tzinfo is None:
        message = f"build_world wants a time with a zone, not {now.isoformat()}: hand in datetime.now(UTC)"
        raise ValueError(message)
    desk = Desk(now, seed)
    for chapter in (
        talks.post,
        tongues.post,
        bulk.newsletters,
        bulk.robots,
        office.internal,
        office.private,
        office.off_stage,
        autoreplies.post,
        outsiders.post,
        corners.post,
        arriving.post,
    ):
        chapter(desk)
    return World(
        cast.TEAM_ID, cast.TEAM_NAME, desk.now, {"crm.csv": cast.crm_csv(desk.now)}, cast.MAILBOXES,
        tuple(sorted(desk.messages, key=lambda m: (m.internal_date, m.key))),
        tuple(sorted(desk.arrivals, key=lambda m: (m.delay, m.key))), cast.DEAL_ID,
    )  # fmt: skip
