"""Bounces, out-of-office notes and calendar mail: machines that speak for a person, or about a mail."""

from __future__ import annotations

from .bulk import calendar_mail
from .cast import (
    ANNIKA,
    BEN,
    DANA,
    FINLAY,
    GRACE,
    HARUTO,
    HELENE,
    LEILA,
    MATTEO,
    MIO,
    NADIA,
    ROWAN,
    SUNITA,
    TOMASZ,
    URS,
    YUKI,
    ZOFIA,
    Person,
)
from .desk import MARK, Desk
from .mime import Mail

BOUNCES: tuple[tuple[str, str, str, Person, str, bool, float], ...] = (
    ("Mail Delivery System", "MAILER-DAEMON@meridianfoods.example", "Undelivered Mail Returned to Sender", DANA, "This is the mail system at host mx1.meridianfoods.example.\n\nI'm sorry to have to inform you that your message could not be delivered to one or more recipients.\n\n<b.ashdwon@meridianfoods.example>: user unknown", True, 38),
    ("Microsoft Outlook", "postmaster@haldenprint.example", "Unzustellbar: Montageplan", MATTEO, "Ihre Nachricht an u.zimmerly@haldenprint.example konnte nicht zugestellt werden.\n\nDer Empfänger wurde nicht gefunden.", True, 36),
    ("Mail Delivery Subsystem", "mailer-daemon@saintclair-verre.example", "Delivery Status Notification (Failure)", LEILA, "Address not found: the message was not delivered to achats2@saintclair-verre.example because the address could not be found.", True, 26),
    ("Mail Delivery Subsystem", "postmaster@northgate-cold.example", "failure notice", DANA, "Hi. This is the delivery program at northgate-cold.example.\nI'm afraid I wasn't able to deliver your message to the following addresses.\nThis is a permanent error; I've given up. Sorry it didn't work out.\n\n<gate3@northgate-cold.example>:\nSorry, no mailbox here by that name.", False, 21),
    ("Mail Delivery System", "mailer-daemon@bursztyn-logistyka.example", "Warning: message delayed 24 hours", TOMASZ, "This is a warning message only. You do not need to resend your message.\n\nDelivery to magazyn@bursztyn-logistyka.example has been delayed.", True, 3.5),
)  # fmt: skip

STRANGE_BOUNCES: tuple[tuple[str, Person, float], ...] = (
    ("postmaster@mailhost.example", DANA, 32),
    ("mailer-daemon@riverside-school.example", LEILA, 17),
)

AWAY: tuple[tuple[Person, Person, str, str, str, str, float, tuple[tuple[str, str], ...]], ...] = (
    (GRACE, DANA, "Readings of December", "Grace, the December readings are in the usual place.", "Automatic reply: {s}", "Thank you for your email. I am out of the office until Monday with no access to email. In urgent cases please contact Ben Ashdown.", 47, (("Auto-Submitted", "auto-replied"), ("X-Auto-Response-Suppress", "All"), ("X-MS-Exchange-Inbox-Rules-Loop", "grace"))),
    (URS, MATTEO, "Schlüssel für Säule 14", "Herr Zimmerli, wer hat den Schlüssel zum Schaltschrank an Säule 14?", "Automatische Antwort: {s}", "Ich bin bis 14. nicht im Büro. Ihre E-Mail wird nicht weitergeleitet. In dringenden Fällen wenden Sie sich an Frau Vögeli.", 44, (("Auto-Submitted", "auto-replied"), ("X-Auto-Response-Suppress", "DR, RN, NRN, OOF, AutoReply"))),
    (HELENE, LEILA, "Plan de pose", "Bonjour Hélène, le plan de pose est joint.", "Réponse automatique : {s}", "Bonjour, je suis absente du bureau jusqu'à lundi. En cas d'urgence, contactez Baptiste Lenoir.", 41, (("Auto-Submitted", "auto-replied (vacation)"), ("Precedence", "auto_reply"))),
    (HARUTO, YUKI, "設置図面の送付", "如月様\n\n設置図面をお送りいたします。", "自動応答: {s}", "ただいま不在にしております。来週月曜日より順次ご返信いたします。", 29, (("Auto-Submitted", "auto-replied"), ("X-Autoreply", "yes"))),
    (ROWAN, DANA, "Calibration dates", "Rowan, would the first week of next month suit you for the calibration?", "Out of Office: {s}", "I am on leave this week and will read your mail when I am back. For emergencies ring the gate house.", 27, (("X-Autoreply", "yes"), ("X-Autorespond", "vacation"), ("Precedence", "bulk"), ("Auto-Submitted", "auto-replied"))),
    (NADIA, LEILA, "Acceptance protocol", "Nadia, the acceptance protocol is attached for your signature.", "Out of office Re: {s}", "I'm away until Sunday with limited access to email and will answer when I return.", 18, (("Auto-Submitted", "auto-replied"), ("X-Auto-Response-Suppress", "OOF"))),
    (ZOFIA, TOMASZ, "Protokół montażu", "Dzień dobry Pani Zofio, w załączeniu protokół montażu.", "Autoodpowiedź: {s}", "Jestem nieobecna w biurze do poniedziałku. W pilnych sprawach proszę o kontakt z Kamilem Dąb.", 3.8, (("Auto-Submitted", "auto-replied"), ("Precedence", "bulk"))),
    (ANNIKA, MATTEO, "Einweisung des Pförtners", "Frau Ostermann, wann darf ich den Pförtner einweisen?", "Abwesenheitsnotiz: {s}", "Ich bin zurzeit nicht im Haus und lese meine E-Mails nur unregelmäßig.", 15, (("Auto-Submitted", "auto-replied"), ("X-Auto-Response-Suppress", "All"))),
)  # fmt: skip

MEETINGS: tuple[tuple[Person, Person, str, str, float], ...] = (
    (GRACE, DANA, "REQUEST", "Dock 7 walk-through", 65), (BEN, DANA, "ACCEPTED", "Interface call", 52), (GRACE, DANA, "CANCEL", "Budget round", 43),
    (SUNITA, DANA, "REQUEST", "Harrow depot visit", 23), (FINLAY, DANA, "DECLINED", "Cellar tasting and tour", 34),
    (URS, MATTEO, "REQUEST", "Montagetermin Säule 12", 63), (URS, MATTEO, "ACCEPTED", "Messwerte besprechen", 58), (ANNIKA, MATTEO, "REQUEST", "Begehung Kassel", 28),
    (MIO, YUKI, "ACCEPTED", "オンライン会議", 30), (HARUTO, YUKI, "REQUEST", "工場見学", 12),
    (HELENE, LEILA, "ACCEPTED", "Visite de Brière", 11), (NADIA, LEILA, "REQUEST", "Vaccine store acceptance", 16), (NADIA, LEILA, "CANCEL", "Weekly call", 10),
    (ZOFIA, TOMASZ, "REQUEST", "Odbiór w Gdyni", 2.8),
)  # fmt: skip


def bounce(
    desk: Desk, name: str, address: str, subject: str, user: Person, text: str, *, report: bool, when_days: float
) -> Mail:
    """A delivery report about a mail of `user`: as multipart/report (RFC 3464) or as plain words of an older mail system."""
    when = desk.at(when_days, [user.address])
    site = address.rpartition("@")[2]
    status = f"Reporting-MTA: dns; mx1.{site}\nArrival-Date: {when:%a, %d %b %Y %H:%M:%S} +0000\n\nFinal-Recipient: rfc822; nobody@{site}\nAction: failed\nStatus: 5.1.1\n"
    original = f"From: {user.name} <{user.address}>\nTo: nobody@{site}\nSubject: {MARK}\n\nThe mail that did not arrive. {MARK}\n"
    mail = Mail(
        (name, address), (user.box,), subject, f"{text}\n\n{MARK}", when, f"{desk.rng.randrange(16**12):X}@mx1.{site}", client="", shape="plain",
        headers=(("Auto-Submitted", "auto-replied"), ("X-Failed-Recipients", f"nobody@{site}")) if report else (),
    )  # fmt: skip
    if report:
        mail.report = (mail.text, status, original)
    return mail


def away(
    desk: Desk,
    answered: Mail,
    author: Person,
    user: Person,
    subject: str,
    text: str,
    headers: tuple[tuple[str, str], ...],
) -> Mail:
    """The out-of-office note that `author`'s server sends in answer to a mail of `user`."""
    when = answered.when.replace(microsecond=0)
    mail = desk.write(
        author, [user], subject.format(s=answered.subject), text, when, signed=False, shape="plain", headers=headers
    )
    mail.answers, mail.quoting = answered, False
    return mail


def post(desk: Desk) -> None:
    """Post all of them."""
    for name, address, subject, user, text, report, days in BOUNCES:
        mail = bounce(desk, name, address, subject, user, text, report=report, when_days=days)
        desk.post(mail, "bounce", "bounce from a customer's domain", "automated.bounce", envelope="")
    for address, user, days in STRANGE_BOUNCES:
        mail = bounce(
            desk,
            "Mail Delivery System",
            address,
            "Undelivered Mail Returned to Sender",
            user,
            "Your message could not be delivered.",
            report=True,
            when_days=days,
        )
        desk.post(mail, "bounce-strange", "bounce from a stranger", "crm.no_match", envelope="")
    for author, user, subject, text, reply_subject, reply, days, headers in AWAY:
        sent = desk.write(user, [author], subject, text, desk.at(days, [user.address]))
        desk.post(sent, "before-away", "customer mail, single")
        desk.post(
            away(desk, sent, author, user, reply_subject, reply, headers),
            "away",
            "out of office",
            "automated.reply",
            envelope="",
        )
    for author, user, kind, title, days in MEETINGS:
        desk.post(
            calendar_mail(desk, author, user, kind, title, days), "calendar", "calendar mail", "automated.calendar"
        )
