"""What arrives while the job runs: new mail, answers, noise, a draft that is sent, spam moved to the inbox, an old import."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from .autoreplies import away, bounce
from .bulk import CUSTOMER_LETTERS, STRANGER_LETTERS, calendar_mail, letter
from .cast import (
    BEN,
    DANA,
    GRACE,
    HARUTO,
    HELENE,
    JONAS,
    LEILA,
    MATTEO,
    OPHELIA,
    OREN,
    OWN,
    ROWAN,
    TOMASZ,
    URS,
    YUKI,
    Person,
)
from .corners import group_copy
from .desk import CUSTOMER, Desk
from .mime import Mail


def post(desk: Desk) -> None:
    """Post the arrivals, and what must be in the mailboxes before for them."""
    delay = 0

    def arrive(mail: Mail, rule: str = CUSTOMER, **more: Any) -> str:
        nonlocal delay
        delay += 1
        mail.when = desk.now + dt.timedelta(seconds=delay)
        return desk.post(mail, "arrival", "arrival", rule, delay=delay, **more)

    soon = desk.now
    question = desk.write(
        GRACE,
        [DANA],
        "Dock 8 as well?",
        "Hi Dana,\n\nthe board liked Dock 7 so much that they ask about Dock 8. Same doors, a few more. Could I have a figure by Thursday?\n\nGrace",
        soon,
    )
    arrive(question)
    arrive(letter(desk, 901, *CUSTOMER_LETTERS[0][:2], *CUSTOMER_LETTERS[0][2][1], DANA), "automated.marketing")
    answer = desk.write(
        DANA,
        [GRACE],
        "Re: Dock 8 as well?",
        "Hi Grace,\n\nwith pleasure. 44 doors would come to EUR 25,900; the paper follows tomorrow.\n\nDana",
        soon,
        answers=question,
    )
    arrive(answer)
    arrive(
        desk.write(
            HELENE,
            [LEILA, DANA, TOMASZ],
            "Brière : la date",
            "Bonjour à tous,\n\nl'usine de Brière ouvre le 3. Pouvez-vous poser les sondes la veille ?\n\nHélène",
            soon,
        )
    )
    arrive(letter(desk, 902, *STRANGER_LETTERS[2][:2], *STRANGER_LETTERS[2][2][0], MATTEO), "crm.no_match")
    arrive(
        desk.write(
            HARUTO,
            [YUKI],
            "訪問日の確認",
            "田辺様\n\n十日の午後二時でお間違いないでしょうか。正門でお待ちしております。",
            soon,
        )
    )
    sent = desk.write(MATTEO, [URS], "Ersatzfühler", "Herr Zimmerli, der Ersatzfühler geht heute in die Post.", soon)
    arrive(sent)
    arrive(
        away(
            desk,
            sent,
            URS,
            MATTEO,
            "Automatische Antwort: {s}",
            "Ich bin bis Montag nicht im Büro.",
            (("Auto-Submitted", "auto-replied"), ("X-Auto-Response-Suppress", "All")),
        ),
        "automated.reply",
        envelope="",
    )
    arrive(
        bounce(
            desk,
            "Mail Delivery System",
            "MAILER-DAEMON@meridianfoods.example",
            "Undelivered Mail Returned to Sender",
            DANA,
            "Your message could not be delivered.",
            report=True,
            when_days=2,
        ),
        "automated.bounce",
        envelope="",
    )
    arrive(calendar_mail(desk, BEN, DANA, "REQUEST", "Dock 8 walk-through", 2), "automated.calendar")
    arrive(
        Mail(
            ("Meridian Foods Accounts Payable", "no-reply@meridianfoods.example"),
            (DANA.box,),
            "Remittance advice 77120",
            "This is an automated message. Payment for invoice 77120 has been sent to your account.\n\nPlease do not reply to this email.",
            soon,
            "77120@meridianfoods.example",
            client="",
            shape="plain",
            headers=(("Auto-Submitted", "auto-generated"), ("X-Auto-Response-Suppress", "All")),
        ),
        "automated.transactional",
    )
    arrive(
        desk.write(OREN, [DANA, LEILA], "Dock 8!", "Who of you told me last week that soup is a dying business?", soon),
        "participants.internal",
    )
    arrive(
        desk.write(
            Person("Whitlock Mum", "mum@whitlock-family.example", "apple"),
            [DANA],
            "Pudding",
            "The pudding was excellent. Your brother finished it.",
            soon,
        ),
        "crm.no_match",
    )
    arrive(
        desk.write(OPHELIA, [GRACE], "Dock 8 terms", "Grace, Dana, my terms for Dock 8 are attached.", soon, cc=[DANA]),
        "blocked.team",
    )
    arrive(
        desk.write(
            JONAS,
            [TOMASZ],
            "Second parlour",
            "Hi Tomasz,\n\nwe open a second parlour in May. Same sensors again, please!\n\nJonas",
            soon,
        )
    )
    listed = desk.write(
        ROWAN,
        [Person("Sales", f"sales@{OWN}")],
        "Room 13",
        "Hello team,\n\nroom 13 exists after all. One more sensor, please.\n\nRowan",
        soon,
    )
    arrive(
        group_copy(listed, ROWAN, rewritten=True),
        copies={DANA.address: ("INBOX",), LEILA.address: ("INBOX",)},
        envelope=f"sales+bncBAABB@{OWN}",
    )
    arrive(
        desk.write(LEILA, [HELENE], "Brouillon", "Je cherche encore mes mots.", soon),
        "label.draft",
        copies={LEILA.address: ("DRAFT",)},
    )
    arrive(
        desk.write(URS, [MATTEO], "Falscher Anhang", "Bitte löschen, falscher Anhang.", soon),
        "label.trash",
        labels=("TRASH",),
    )
    arrive(
        desk.write(
            Person("Prize Office", "winner@lucky-prizes.example", "plain", shape="html"),
            [YUKI],
            "You have won a second forklift",
            "Send us your bank details.",
            soon,
        ),
        "label.spam",
        labels=("SPAM",),
    )
    old = desk.write(URS, [MATTEO], "Aus dem alten Postfach", "Diese Nachricht kam beim Umzug des Postfachs mit.", soon)
    long_ago = desk.now - dt.timedelta(days=200)
    delay += 1
    old.when = long_ago
    desk.post(old, "arrival-old", "arrival", "window.before", delay=delay, action="import", internal=long_ago)

    draft = desk.write(
        DANA, [BEN], "Door 7, again", "First attempt, far too angry to be sent.", desk.at(1.4, [DANA.address])
    )
    target = desk.post(draft, "draft-to-send", "draft", copies={DANA.address: ("DRAFT",)})
    final = desk.write(
        DANA,
        [BEN],
        "Door 7",
        "Hi Ben,\n\nplease let the fitters look at the hinge of door 7 before we blame the sensor.\n\nDana",
        soon,
    )
    arrive(final, action="send_draft", target=f"{target}@dana")

    rescued = desk.write(
        GRACE,
        [DANA],
        "Purchase order 4501",
        "Dana, the purchase order for Dock 7 is attached. Why do you not answer?\n\nGrace",
        desk.at(2.2, [DANA.address]),
        shape="mixed",
    )
    name = desk.post(rescued, "spam-rescued", "spam", labels=("SPAM",), mark=False)
    delay += 1
    spam = next(m for m in desk.messages if m.key == f"{name}@dana")
    desk.arrivals.append(dataclasses.replace(
        spam, key="arrival-rescued-01@dana", labels=("INBOX",), expected_outcome="imported", expected_rule=CUSTOMER, category="arrival", delay=delay, action="move", target=spam.key,
    ))  # fmt: skip
