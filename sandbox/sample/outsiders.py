"""Who takes part: blocklists, look-alike domains, spoofed names, hidden recipients; each a trap for a rule about addresses."""

from __future__ import annotations

from .cast import (
    BAPTISTE,
    BEN,
    DANA,
    GISELA,
    GRACE,
    HELENE,
    INGRID,
    LEILA,
    MATTEO,
    OPHELIA,
    OREN,
    SUNITA,
    URS,
    Person,
)
from .desk import MARK, Desk


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


def post(desk: Desk) -> None:
    """Post all cases about who takes part."""
    for chapter in (blocked, likenesses, hidden):
        chapter(desk)
