"""The corner cases: blocklists, groups, role addresses, look-alikes, spoofed names, odd headers, missing and reused ids."""

from __future__ import annotations

import dataclasses

from .cast import (
    BAPTISTE,
    BEN,
    DANA,
    FINLAY,
    GISELA,
    GRACE,
    HELENE,
    INGRID,
    LEILA,
    MAEVE,
    MATTEO,
    NADIA,
    OPHELIA,
    OREN,
    OWN,
    ROWAN,
    SUNITA,
    TOMASZ,
    URS,
    USERS,
    YUKI,
    Person,
)  # fmt: skip
from .desk import MARK, Desk
from .mime import Mail

SINGLE = "customer mail, single"


def blocked(desk: Desk) -> None:
    """A blocked domain: alone, as one of five, as a sub-domain, in Reply-To; and an address that one user blocks."""
    boxes = [DANA.address, LEILA.address]
    clerk = Person("Milo Hart", "m.hart@mail.quillfeather-law.example", "apple")
    for author, to, cc, subject, text, days in (
        (
            OPHELIA,
            [DANA],
            [],
            "Privileged: draft settlement",
            "Dana, please read the draft before we speak. Nothing of it leaves this circle.",
            58,
        ),
        (
            GRACE,
            [DANA],
            [LEILA, BEN, OPHELIA],
            "Contract wording for Dock 7",
            "Dana, Ophelia has looked at the liability paragraph. Her comments are below.",
            50,
        ),
        (
            OPHELIA,
            [GRACE],
            [DANA, LEILA, BEN],
            "Re: Contract wording for Dock 7",
            "My comments stand. Please do not forward them.",
            49,
        ),
        (
            DANA,
            [OPHELIA],
            [GRACE, BEN, LEILA],
            "Re: Contract wording for Dock 7",
            "Understood, and accepted with one change in the second line.",
            48,
        ),
        (
            clerk,
            [LEILA],
            [HELENE],
            "Filing date",
            "The filing date is the 20th. Please let me have the signed copy.",
            31,
        ),
        (clerk, [MATTEO, URS], [], "Aktenzeichen", "Das Aktenzeichen lautet 44 O 12. Bitte vertraulich behandeln.", 25),
    ):
        mail = desk.write(author, to, subject, text, desk.at(days, boxes), cc=cc)
        desk.post(mail, "blocked", "blocked domain", "blocked.team")
    sly = desk.write(
        GRACE,
        [DANA],
        "Answers to my lawyer, please",
        "Dana, please answer to my lawyer directly.",
        desk.at(20, boxes),
        headers=(("Reply-To", f"{OPHELIA.name} <{OPHELIA.address}>"),),
    )
    desk.post(sly, "blocked", "blocked domain", "blocked.team")

    for subject, text, author, to, days in (
        (
            "Persönlich",
            "Lieber Herr Keller, das bleibt bitte unter uns: ich suche eine neue Stelle.",
            GISELA,
            [MATTEO],
            46,
        ),
        ("Re: Persönlich", "Liebe Frau Brandt, natürlich. Ich drücke die Daumen.", MATTEO, [GISELA], 45),
        ("Danke", "Es hat geklappt! Danke fürs Zuhören.", GISELA, [MATTEO], 21),
    ):
        mail = desk.write(author, to, subject, text, desk.at(days, [MATTEO.address]))
        desk.post(mail, "user-blocked", "address blocked by one user", "blocked.user")
    both = desk.write(
        GISELA,
        [LEILA, MATTEO],
        "Papiermuster",
        "Guten Tag, die Papiermuster sind heute an Sie beide rausgegangen.",
        desk.at(35, [MATTEO.address, LEILA.address]),
    )
    desk.post(both, "user-blocked-shared", "address blocked by one user", rules={MATTEO.address: "blocked.user"})


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


def likenesses(desk: Desk) -> None:
    """Who matches by domain or sub-domain, and who only looks like a customer."""
    for name, address, user, text, days in (
        (
            "Yan Liu",
            "yan.liu@meridianfoods.example",
            DANA,
            "Hello Dana,\n\nGrace asked me to send you the floor plan of the annex. It is attached.\n\nYan",
            39,
        ),
        (
            "Depot 3",
            "tilda.moss@depot3.meridianfoods.example",
            DANA,
            "Hi, I run depot 3. Could we have two loggers for a trial week?\n\nTilda Moss",
            33,
        ),
        (
            "Otto Kranz",
            "kranz@werk2.haldenprint.example",
            MATTEO,
            "Guten Tag,\n\nim Werk 2 hätten wir auch gern so einen Fühler. Geht das?\n\nKranz",
            24,
        ),
        (
            "Colette Roy",
            "c.roy@saintclair-verre.example",
            LEILA,
            "Bonjour, je remplace Hélène pendant son congé. Pouvez-vous me renvoyer le plan ?\n\nColette Roy",
            38,
        ),
        (
            "Ines Duarte",
            "ines.duarte@meridian-logistics.example",
            LEILA,
            "Hi Leila, Sunita says you speak French. Our Lyon depot needs an offer.\n\nInes",
            19,
        ),
    ):
        mail = desk.write(
            Person(name, address, "outlook"),
            [user],
            "A question from your customer",
            text,
            desk.at(days, [user.address]),
        )
        desk.post(mail, "by-domain", "match by domain or sub-domain")
    for name, address, user, days in (
        ("Grace Okonjo", "grace.okonjo@notmeridianfoods.example", DANA, 31), ("Grace Okonjo", "grace.okonjo@meridian-foods.example", DANA, 30),
        ("Grace Okonjo", "grace.okonjo@meridianfoods.example.login.test", DANA, 29), ("Urs Zimmerli", "urs.zimmerli@haldenprint.test", MATTEO, 22),
        ("Hélène Marchand", "helene.marchand@saintclair-verre-example.test", LEILA, 20), ("Grace Okonjo", "grace.okonjo.invented@gmail.com", DANA, 17),
    ):  # fmt: skip
        mail = desk.write(
            Person(name, address),
            [user],
            "Updated bank details",
            "Please pay all open invoices to our new account from today.",
            desk.at(days, [user.address]),
        )
        desk.post(mail, "look-alike", "look-alike domain", "crm.no_match", local_mark=days % 2 == 0)
    for shown, user, days in (
        (GRACE.address, DANA, 28),
        (f"{GRACE.name} <{GRACE.address}>", DANA, 26),
        (URS.address, MATTEO, 23),
        (f"{HELENE.address} via Meet", LEILA, 12),
    ):
        mail = desk.write(
            Person(shown, "office@lucky-prizes.example", "plain", shape="html"),
            [user],
            "Shared file",
            "A file was shared with you. Sign in to open it.",
            desk.at(days, [user.address]),
        )
        desk.post(mail, "spoof", "customer's address in the display name", "crm.no_match", local_mark=True)


def hidden(desk: Desk) -> None:
    """Undisclosed recipients, Bcc copies, and mail that names no address at all."""
    open_box = "undisclosed-recipients:;"
    for author, user, text, days in (
        (
            GRACE,
            DANA,
            "Dear suppliers,\n\nour goods-in is closed on the 24th. Please plan your deliveries around it.\n\nGrace",
            45,
        ),
        (
            BAPTISTE,
            LEILA,
            "Bonjour à tous,\n\nle four 1 sera éteint pour entretien la semaine prochaine.\n\nBaptiste",
            30,
        ),
    ):
        mail = desk.write(author, [], "To all suppliers", text, desk.at(days, [user.address]), to_line=open_box)
        desk.post(mail, "undisclosed", "undisclosed recipients", copies={user.address: ("INBOX",)})
    blind = desk.write(
        BEN,
        [GRACE],
        "Who decides about Dock 8?",
        "Grace, I say we ask Tarnbrook before anybody else.\n\nBen",
        desk.at(23, [DANA.address]),
        bcc=[DANA],
    )
    desk.post(blind, "bcc", "Bcc copy")
    copied = desk.write(
        DANA,
        [SUNITA],
        "Figures for Harrow",
        "Sunita, here are the figures for Harrow.\n\nDana",
        desk.at(21, [DANA.address, LEILA.address]),
        bcc=[LEILA],
    )
    desk.post(copied, "bcc", "Bcc copy")
    only = desk.write(
        DANA,
        [OREN],
        "What I would tell Grace",
        "Oren, this is what I would tell Grace if I were braver.",
        desk.at(20, [DANA.address]),
        bcc=[GRACE],
    )
    desk.post(only, "bcc-only", "customer only in Bcc", "participants.internal")
    wide = desk.write(
        MATTEO,
        [],
        "Holiday greetings",
        "Wir wünschen allen schöne Feiertage.",
        desk.at(40, [MATTEO.address]),
        bcc=[URS, INGRID],
        to_line=open_box,
    )
    desk.post(wide, "bcc-only", "customer only in Bcc", "participants.internal", copies={MATTEO.address: ("SENT",)})
    for user, days in ((DANA, 19), (LEILA, 18)):
        ghost = desk.write(
            Person("", "nobody@nowhere.example", "plain", shape="plain"),
            [],
            f"Scan from the copier {MARK}",
            f"The scan is attached. {MARK}",
            desk.at(days, [user.address]),
            sender_line="",
            to_line=open_box,
            headers=(("Reply-To", f"{MARK} <copier@nowhere.example>"),),
        )
        desk.post(
            ghost,
            "no-address",
            "no address in From, To or Cc",
            "participants.none",
            copies={user.address: ("INBOX",)},
            envelope="",
        )


def oddities(desk: Desk) -> None:
    """Missing, reused and repeated Message-IDs, dates that cannot be, and headers that only parsers love."""

    def mail(author: Person, to: list[Person], subject: str, text: str, days: float, **changes: object) -> Mail:
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
            "Both, the fleet list for Harrow is attached.\n\nSunita",
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
    for chapter in (blocked, groups, roles_and_tools, likenesses, hidden, oddities):
        chapter(desk)
