"""Conversations with customers and prospects: hand-written turns, told by the people of the cast, copied to colleagues."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .cast import Person
from .desk import Desk
from .mime import Mail

Turn = tuple[Person, str]

_PREFIX = {"de": "AW: ", "pl": "Odp: ", "fr": "RE : "}


def answer_subject(subject: str, author: Person) -> str:
    """`subject` as the author's program answers it: the prefix once, in the program's own word."""
    prefix = _PREFIX.get(author.lang, "RE: ") if author.client == "outlook" else "Re: "
    return subject if subject.startswith(("Re: ", "RE: ", "RE : ", "AW: ", "Odp: ")) else prefix + subject


def converse(
    desk: Desk, name: str, subject: str, days: float, turns: Iterable[Turn], people: Sequence[Person], *,
    shapes: Sequence[str] = (), longest_days: float = 2.5,
) -> list[Mail]:  # fmt: skip
    """Post a thread that began about `days` ago: each turn goes to the person who spoke before, and to all others as Cc.

    `shapes` replaces the authors' usual shape, turn by turn ("" keeps it). Ends early where the next turn is not past yet.
    """
    mails: list[Mail] = []
    boxes = [p.address for p in people]
    when = desk.at(days, boxes)
    before: Mail | None = None
    for number, (author, text) in enumerate(turns):
        if before is not None:
            then = desk.later(when, boxes, longest_days)
            if then is None:
                break
            when = then
        others = [p for p in people if p.address != author.address]
        to = next((p for p in others if before is not None and p.address == before.sender[1]), others[0])
        shape = shapes[number] if number < len(shapes) else ""
        mail = desk.write(
            author, [to], subject if before is None else answer_subject(subject, author), text, when,
            cc=[p for p in others if p is not to], answers=before, shape=shape or author.shape,
        )  # fmt: skip
        desk.post(mail, name, "customer thread")
        mails.append(mail)
        before = mail
    return mails
