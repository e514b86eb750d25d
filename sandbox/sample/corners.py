"""The corner cases of one mail: groups, role addresses, sales tools, odd headers and dates, missing and reused ids."""

from __future__ import annotations

import dataclasses
from typing import Any

from .cast import (
    BAPTISTE,
    BEN,
    DANA,
    FINLAY,
    GRACE,
    HELENE,
    INGRID,
    LEILA,
    MAEVE,
    MATTEO,
    NADIA,
    OWN,
    ROWAN,
    SUNITA,
    TOMASZ,
    URS,
    USERS,
    YUKI,
    Person,
)
from .desk import Desk
from .mime import Mail

SINGLE = "customer mail, single"


_FOOTER = f'\n\n-- \nYou received this message because you are subscribed to the group "Sales".\nTo unsubscribe from this group, write to sales+unsubscribe@{OWN}.'


def group_copy(mail: Mail, author: Person, *, rewritten: bool) -> Mail:
    """`mail` as Google Groups hands it on: list headers, footer, and for strict senders the From rewritten to the group."""
    headers = (
        ("X-Original-Sender", author.address), ("Precedence", "list"), ("Mailing-list", f"list sales@{OWN}; contact sales+owners@{OWN}"),
        ("List-ID", f"<sales.{OWN}>"), ("X-Google-Group-Id", "411870266543"), ("List-Post", f"<mailto:sales@{OWN}>"),
        ("List-Help", f"<mailto:sales+help@{OWN}>"), ("List-Unsubscribe", f"<mailto:googlegroups-manage+411870266543+unsubscribe@{OWN}>"),
    )  # fmt: skip
    changed = dataclasses.replace(mail, subject=f"[sales] {mail.subject}", text=mail.text + _FOOTER, headers=headers)
    if rewritten:
        changed.headers = (
            ("X-Original-From", f"{author.name} <{author.address}>"),
            ("Reply-To", f"{author.name} <{author.address}>"),
            *headers,
        )
        changed.sender = (f"'{author.name}' via Sales", f"sales@{OWN}")
    return changed


def groups(desk: Desk) -> None:
    """Customers who write to the team's Google Group sales@, some of whose mail also comes directly."""
    group = Person("Sales", f"sales@{OWN}")
    for author, text, subject, days, members, direct in (
        (
            ROWAN,
            "Hello team,\n\nwho of you looks after Northgate while Dana travels? We have two more rooms to equip and the fitters ask for dates.\n\nRowan",
            "Two more rooms",
            40,
            (DANA, LEILA),
            (),
        ),
        (
            MAEVE,
            "Hello all,\n\nthe new rooms are cold since yesterday. Please switch on the readings for rooms 11 and 12.\n\nMaeve",
            "Rooms 11 and 12",
            28,
            (DANA, LEILA),
            (MATTEO,),
        ),
        (
            FINLAY,
            "Hi Tarnbrook,\n\nmy phone went into the mash tun together with all your numbers. Could somebody ring me on the landline?\n\nFinlay",
            "My phone is beer now",
            3,
            (DANA, LEILA, TOMASZ),
            (),
        ),
    ):
        mail = desk.write(
            author,
            [group],
            subject,
            text,
            desk.at(days, [m.address for m in members]),
            cc=direct,
            shape="alternative",
            client=author.client,
        )
        listed = group_copy(mail, author, rewritten=author is not FINLAY)
        name = desk.post(
            listed,
            "group",
            "group address",
            copies={m.address: ("INBOX",) for m in members},
            envelope=f"sales+bncBAABB@{OWN}",
            host=f"groups.{OWN}",
        )
        if direct:
            desk.post(mail, "group-direct", "group address", shared=name)


def roles_and_tools(desk: Desk) -> None:
    """People behind role addresses, sales tools and ticket systems: their mail is a person's mail."""
    tool = (("List-Unsubscribe", "<https://t.cadencely.example/u/5512>"), ("X-Mailer", "Cadencely"))
    when = desk.at(26, [MATTEO.address])
    first = desk.write(
        MATTEO,
        [INGRID],
        "The oven room in Moss",
        "Hi Ingrid,\n\nI thought about the steam you described. Could you tell me how hot the wall behind the oven gets?\n\nMatteo\n\nNot for you? Tell me and I stop writing: https://t.cadencely.example/u/5512",
        when,
        headers=tool,
    )
    desk.post(first, "sales-tool", "sales tool, by a person")
    then = desk.later(when, [MATTEO.address], 1)
    if then is not None:
        reply = desk.write(
            INGRID,
            [MATTEO],
            "Re: The oven room in Moss",
            "Hi Matteo,\n\nI measured: 61 degrees at worst. Does your probe live through that?\n\nIngrid\n\nSent with Mailcadence. Unsubscribe: https://m.mailcadence.example/u/81",
            then,
            answers=first,
            headers=(("List-Unsubscribe", "<https://m.mailcadence.example/u/81>"),),
        )
        desk.post(reply, "sales-tool", "sales tool, by a person")
    pitch = desk.write(
        LEILA,
        [NADIA],
        "One more idea for the vaccine store",
        "Hi Nadia,\n\na second gateway would keep the store visible while the first one is serviced. Shall I add it?\n\nLeila\n\nUnsubscribe: https://t.cadencely.example/u/5513",
        desk.at(15, [LEILA.address]),
        headers=tool,
    )
    desk.post(pitch, "sales-tool", "sales tool, by a person")

    desk_person = Person("Northgate Helpdesk", "helpdesk@northgate-cold.example", "plain", shape="plain")
    asked = desk.write(
        DANA,
        [desk_person],
        "Badge for our fitter",
        "Hello,\n\nour fitter Theo comes on Monday to room 11. Could you prepare a badge for him?\n\nDana",
        desk.at(16, [DANA.address]),
    )
    desk.post(asked, "ticket", "reply in a thread the user wrote in")
    then = desk.later(asked.when, [DANA.address], 1)
    if then is not None:
        answer = desk.write(
            desk_person,
            [DANA],
            "Re: Badge for our fitter [NG-2207]",
            "Hi Dana,\n\nthe badge for Theo is ready, he can pick it up from me at gate 5. He should ask for Pat.\n\nPat",
            then,
            answers=asked,
            headers=(("Precedence", "bulk"), ("X-Auto-Response-Suppress", "OOF")),
        )
        desk.post(answer, "ticket", "reply in a thread the user wrote in")
        thanks = desk.write(
            DANA,
            [desk_person],
            "Re: Badge for our fitter [NG-2207]",
            "Thank you Pat, Theo knows.",
            then.replace(second=59),
            answers=answer,
        )
        desk.post(thanks, "ticket", "reply in a thread the user wrote in")
    nobody = Person("Meridian Portal", "portal-robot@meridianfoods.example")
    told = desk.write(
        DANA,
        [nobody],
        "Re: Your invoice was rejected",
        "Hello, whoever reads this: the purchase order number is 4501 and was on the invoice.\n\nDana",
        desk.at(13, [DANA.address]),
    )
    desk.post(told, "to-robot", "sent to a robot by a user")


def oddities(desk: Desk) -> None:
    """Missing, reused and repeated Message-IDs, dates that cannot be, and headers that only parsers love."""

    def mail(author: Person, to: list[Person], subject: str, text: str, days: float, **changes: Any) -> Mail:
        return desk.write(author, to, subject, text, desk.at(days, [p.address for p in to]), **changes)

    desk.post(
        mail(
            BEN,
            [DANA],
            "Scanner readings",
            "Dana, the old scanner sends this without an id, forgive it.\n\nBen",
            36,
            message_id="",
        ),
        "no-id",
        "no Message-ID",
    )
    desk.post(
        mail(
            SUNITA,
            [DANA, LEILA],
            "Fleet list",
            "Both, the fleet list for Harrow is attached.\n\nFrom Monday on we drive nineteen vans.\n\nSunita",
            32,
            message_id="",
        ),
        "no-id",
        "no Message-ID",
    )
    twin = "report.0001@scanner.meridianfoods.example"
    desk.post(
        mail(
            BEN,
            [DANA],
            "Week 4 at Dock 7",
            "Dana, week 4: two alarms, both doors held open by a pallet.\n\nBen",
            25,
            message_id=twin,
        ),
        "reused-id",
        "Message-ID used twice",
    )
    desk.post(
        mail(
            BEN,
            [DANA],
            "Week 5 at Dock 7",
            "Dana, quiet week 5: no alarm at all, people are learning.\n\nBen",
            18,
            message_id=twin,
        ),
        "reused-id",
        "Message-ID used twice",
    )
    for days in (27, 26):
        desk.post(
            mail(
                URS,
                [MATTEO],
                "Bitte um Rückruf",
                "Herr Keller, bitte rufen Sie mich zurück, es eilt.\n\nZimmerli",
                days,
            ),
            "resent",
            SINGLE,
        )
    for date in ("Thu, 01 Jan 1970 00:00:00 +0000", "", "Fri, 31 Dec 2099 23:59:59 +0000", "sometime last week"):
        desk.post(
            mail(
                ROWAN,
                [LEILA],
                "From the clock of the gate house",
                f"Leila, the gate house clock is wrong again. Note {len(date)}.\n\nRowan",
                24,
                date=date,
            ),
            "odd-date",
            "Date that cannot be",
        )
    comma = Person("Tulley, Rowan (Site)", ROWAN.address, "outlook")
    desk.post(
        mail(
            comma,
            [DANA, LEILA],
            "Name with a comma",
            "My new mail program turns my name around. It is still me.\n\nRowan",
            22,
        ),
        "odd-name",
        "odd headers",
    )
    accented = Person("Lenoir, Baptiste – Atelier", BAPTISTE.address, "thunderbird", lang="fr", shape="plain")
    desk.post(
        mail(accented, [LEILA], "Nom à virgule", "Nouvelle adresse d'affichage, même personne.\n\nBaptiste", 21),
        "odd-name",
        "odd headers",
    )
    desk.post(
        mail(
            GRACE,
            [DANA],
            "To a group of people",
            "Dear all, the audit is on the 9th.\n\nGrace",
            17,
            to_line=f'Dock team: {BEN.address}, "Whitlock, Dana" <{DANA.address}>;',
        ),
        "odd-to",
        "odd headers",
    )
    crowd = [Person(f"Guest {n}", f"guest{n}@open-day.example") for n in range(60)]
    desk.post(
        mail(
            FINLAY,
            [DANA, *crowd],
            "Open cellar day",
            "Friends and suppliers, the cellar is open on Saturday, bring a glass.\n\nFinlay",
            16,
        ),
        "crowd",
        "odd headers",
    )
    desk.post(
        mail(NADIA, [LEILA], "", "Leila, this one has no subject, only a question: when do you land?\n\nNadia", 14),
        "no-subject",
        "odd headers",
    )
    desk.post(mail(GRACE, [DANA], "Signed order", "", 12, shape="mixed", signed=False), "no-text", "odd headers")
    desk.post(
        mail(
            BEN,
            [DANA],
            "Fwd: Door 7",
            f"Dana, see below. What do I answer?\n\nBegin forwarded message:\n\nFrom: Night Shift <nights@meridianfoods.example>\nTo: {BEN.address}\nSubject: Door 7\n\nDoor 7 does not close since midnight.",
            11,
        ),
        "forwarded",
        SINGLE,
    )
    bare = f"{HELENE.name} <{HELENE.address}>"
    desk.post(
        mail(
            HELENE,
            [LEILA],
            "Facture d'acompte",
            "Leïla, la facture d'acompte est partie ce matin.\n\nHélène",
            10.5,
            sender_line=bare,
        ),
        "odd-bytes",
        "odd headers",
    )
    stub = "<div>Hi Dana,</div><div><br></div><div>door 3 needs a second sensor, the forklift took the first one with it.</div><div><br></div><div>Ben</div>"
    desk.post(
        mail(
            BEN,
            [DANA],
            "Door 3",
            "Please use an HTML capable program to read this message.",
            10.2,
            html=stub,
            signed=False,
        ),
        "stub",
        "odd headers",
    )
    tagged = Person("Dana", f"dana.whitlock+dock@{OWN}")
    desk.post(
        mail(
            GRACE,
            [tagged],
            "To your tagged address",
            "Dana, I found this address on your old card, does it still work?\n\nGrace",
            10,
        ),
        "plus-tag",
        "odd headers",
        copies={DANA.address: ("INBOX",)},
    )
    everyone = mail(
        GRACE,
        list(USERS),
        "Thank you, all of you",
        "To everybody at Tarnbrook who worked on Dock 7: the audit found nothing. Thank you!\n\nGrace",
        4.4,
    )
    desk.post(everyone, "to-everyone", "same mail in all mailboxes")
    desk.post(
        mail(
            YUKI,
            [GRACE],
            "Greetings from Osaka",
            "Dear Grace, the sensor firmware that you asked about is ready.\n\nYuki",
            9,
        ),
        "sent-single",
        SINGLE,
    )


def post(desk: Desk) -> None:
    """Post all corner cases."""
    for chapter in (groups, roles_and_tools, oddities):
        chapter(desk)
