"""Newsletters, campaigns, receipts, alerts and robots: from strangers, and from the customers' own domains."""

from __future__ import annotations

from email.utils import format_datetime

from .cast import DANA, LEILA, MATTEO, TOMASZ, USERS, YUKI, Person
from .desk import MARK, Desk
from .mime import Mail

Headers = tuple[tuple[str, str], ...]

# Sender's name and address, language, issues: subject and three lines.
Letter = tuple[str, str, tuple[tuple[str, tuple[str, str, str]], ...]]

CUSTOMER_LETTERS: tuple[Letter, ...] = (
    ("Meridian Foods", "newsletter@news.meridianfoods.example", (
        ("What is cooking at Meridian: the winter issue", ("Twelve new soups leave our kitchens this month.", "Read how the Dock 7 team halved its waste.", "Meet us at the food fair in hall 4.")),
        ("Meridian monthly: new year, new recipes", ("Our chefs looked into 40 family cook books for you.", "Webinar: shelf life without preservatives.", "Download the free trend report.")),
        ("Save 20% on all Meridian catering boxes", ("Only until Sunday: every box is a fifth cheaper.", "Use the code SOUP20 when you order.", "Free delivery from 100 euros.")),
        ("Last chance: early bird tickets for Meridian Open Day", ("The early bird ends on Friday.", "Thirty talks, two stages, one very large pie.", "Register now and save 40 euros.")),
    )),
    ("Haldenprint Magazin", "magazin@haldenprint.example", (
        ("Der Bogen 1: Papier, das atmet", ("Warum Recyclingpapier im Winter mehr Feuchte braucht.", "Neu im Programm: Faltschachteln ab 500 Stück.", "Jetzt anmelden: Hausmesse im Mai.")),
        ("Der Bogen 2: Farben ohne Öl", ("Unsere neue Farbreihe kommt ohne Mineralöl aus.", "Rabattaktion: 15 % auf Broschüren.", "Jobs: wir suchen Drucktechnologen.")),
        ("Jetzt 15 % sparen: Broschüren-Aktion", ("Nur diese Woche: Broschüren zum Aktionspreis.", "Einfach den Code BOGEN15 eingeben.", "Gültig bis Sonntag.")),
    )),
    ("Verrerie Saint-Clair", "lettre@saintclair-verre.example", (
        ("La lettre du verre : nos nouveautés", ("Découvrez la collection de printemps.", "Portes ouvertes à Brière : inscrivez-vous.", "Offre spéciale sur les bocaux.")),
        ("Offre exclusive : -25 % sur les bocaux", ("Jusqu'à dimanche seulement.", "Livraison offerte dès 150 euros.", "Profitez-en dès maintenant.")),
    )),
    ("如月精密 ニュース", "news@kisaragi-seimitsu.example", (
        ("【メールマガジン】春の展示会のご案内", ("春の展示会に出展いたします。", "新製品カタログを公開しました。", "セミナー参加者募集中。")),
        ("【メールマガジン】新製品キャンペーン", ("期間限定のキャンペーンを実施中です。", "お申し込みは今月末まで。", "詳しくはこちらをご覧ください。")),
    )),
    ("Kestrel Breweries", "hello@club.kestrelbrew.example", (
        ("New in the taproom: three winter ales", ("Smoked plum porter is back.", "Book a brewery tour for two.", "Members save 10% all month.")),
        ("Your Kestrel club news for the month", ("Vote for the next small batch.", "Shop the gift boxes before they are gone.", "Brewery run: sign up now.")),
    )),
    ("Northgate Cold Storage", "marketing@northgate-cold.example", (
        ("Webinar: five ways to cut your cold store bill", ("Join our experts for a free webinar.", "Save your seat: places are limited.", "Download the checklist.")),
        ("Northgate news: our new hub is open", ("Take the virtual tour of Northgate North.", "Special offer for new pallets.", "Follow us for more stories.")),
    )),
)  # fmt: skip

STRANGER_LETTERS: tuple[Letter, ...] = (
    ("Pipeline Weekly", "weekly@pipelineweekly.example", (
        ("Seven cold openings that are not cold at all", ("The best openers of the week.", "Podcast: selling to people who hate calls.", "Template of the week.")),
        ("Your forecast is a weather report", ("Why forecasts fail in quarter four.", "A worksheet for honest numbers.", "Ask us anything.")),
        ("The quiet art of the second follow-up", ("When to write again, and when to let go.", "Reader letters.", "Events near you.")),
    )),
    ("Brightcart Deals", "offers@brightcart.example", (
        ("48 hours only: office chairs at half price", ("Sit better for less.", "Free delivery this weekend.", "Shop now.")),
        ("Your basket misses you", ("You left something behind.", "Complete your order and save 5 euros.", "Shop now.")),
        ("Black week starts today", ("Up to 70% off.", "New deals every hour.", "Shop now.")),
    )),
    ("Logistikbrief", "redaktion@logistikbrief.example", (
        ("Logistikbrief: Mautsätze, Palettenpreise, Personal", ("Die neuen Mautsätze im Überblick.", "Palettenpreise steigen wieder.", "Termine der Woche.")),
        ("Logistikbrief: Kühlketten im Test", ("Zehn Anbieter im Vergleich.", "Interview der Woche.", "Termine der Woche.")),
    )),
    ("La Gazette du froid", "gazette@gazettedufroid.example", (
        ("Le froid industriel en dix chiffres", ("Dix chiffres pour comprendre le marché.", "Agenda des salons.", "Abonnez un collègue.")),
    )),
    ("Skylark Airlines", "miles@skylark-air.example", (
        ("Double miles to twelve cities", ("Book by Sunday.", "Twelve cities, double miles.", "Terms apply.")),
        ("Your lounge voucher is waiting", ("A voucher for you.", "Valid until the end of the quarter.", "See all benefits.")),
    )),
    ("Cafe Lindqvist", "club@cafelindqvist.example", (("A free cinnamon bun for you", ("Show this mail at the counter.", "One bun a person.", "See you soon.")),)),
)  # fmt: skip

_UNSUBSCRIBE = {
    "de": "Sie erhalten diese E-Mail, weil Sie unseren Newsletter abonniert haben. Newsletter abbestellen",
    "fr": "Vous recevez cet e-mail car vous êtes abonné à notre lettre. Se désabonner",
    "ja": "このメールは配信登録をされた方にお送りしています。配信停止はこちら",
    "en": "You are receiving this email because you subscribed to our newsletter. Unsubscribe | Update your preferences",
}
_BROWSER = {
    "de": "Im Browser ansehen",
    "fr": "Voir dans le navigateur",
    "ja": "ブラウザで表示",
    "en": "View this email in your browser",
}


def _language(text: str) -> str:
    if any("\u3040" <= letter <= "\u9fff" for letter in text):
        return "ja"
    words = set(text.lower().replace(":", " ").split())
    if words & {"der", "die", "und", "ist", "neuen", "im", "zum", "jetzt"}:
        return "de"
    return "fr" if words & {"le", "la", "les", "offre", "des", "du"} else "en"


def _campaign_headers(desk: Desk, number: int, site: str) -> Headers:
    token = "".join(desk.rng.choices("0123456789abcdef", k=12))
    unsubscribe = ("List-Unsubscribe", f"<https://{site}/u/{token}>, <mailto:unsubscribe-{token}@{site}>")
    return (
        (unsubscribe, ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"), ("Feedback-ID", f"{token[:5]}:campaign:{site}:esp"), ("X-Report-Abuse", f"https://{site}/abuse/{token}")),
        (unsubscribe, ("Precedence", "bulk"), ("X-Campaign-ID", token), ("X-Mailer", "Postrider Campaigns 4.1")),
        (unsubscribe, ("X-SG-EID", token * 3), ("X-SG-ID", token * 2), ("List-ID", f"<news.{site}>")),
        (unsubscribe, ("X-MC-User", token), ("X-Mandrill-User", "md_1001"), ("X-CSA-Complaints", f"csa-complaints@{site}")),
        (("Precedence", "bulk"), ("Auto-Submitted", "auto-generated"), ("Errors-To", f"bounce-{token}@{site}"), ("X-Campaign", f"issue-{number}")),
    )[number % 5]  # fmt: skip


def letter(
    desk: Desk, number: int, name: str, address: str, subject: str, lines: tuple[str, str, str], to: Person
) -> Mail:
    """Issue `number` of a newsletter, as a campaign service writes it."""
    lang = _language(f"{subject} {lines[0]}")
    site = address.rpartition("@")[2]
    rows = "".join(
        f'<tr><td style="padding:12px 24px;font-family:Arial,sans-serif"><h2>{line}</h2><img src="https://{site}/i/{number}-{i}.jpg" width="560" alt="">'
        f'<p><a href="https://{site}/c/{number}/{i}?utm_source=newsletter&amp;utm_medium=email" style="background:#0a7;color:#fff;padding:8px 16px">&rarr;</a></p></td></tr>'
        for i, line in enumerate(lines)
    )
    page = (
        f'<!DOCTYPE html><html><head><meta charset="utf-8"><title>{subject}</title></head><body style="margin:0;background:#f4f4f4">'
        f'<div style="display:none;max-height:0;overflow:hidden">{lines[0]}</div><table width="100%" role="presentation"><tr><td align="center">'
        f'<a href="https://{site}/view/{number}">{_BROWSER[lang]}</a></td></tr>{rows}<tr><td style="font-size:11px;color:#777">{MARK}<br>'
        f'<a href="https://{site}/unsubscribe/{number}">{_UNSUBSCRIBE[lang]}</a><br>&copy; {name}. 1 Example Way</td></tr></table>'
        f'<img src="https://{site}/open/{number}.gif" width="1" height="1" alt=""></body></html>'
    )
    text = "\n\n".join(
        (
            _BROWSER[lang] + f": https://{site}/view/{number}",
            *lines,
            MARK,
            f"{_UNSUBSCRIBE[lang]}: https://{site}/unsubscribe/{number}",
            f"© {name}",
        )
    )
    when = desk.at(desk.rng.uniform(1.2, 4.5) if to is TOMASZ else desk.rng.uniform(1.2, 55), [to.address])
    return Mail(
        (name, address), (to.box,), subject, text, when, f"{number}.{desk.rng.randrange(16**10):x}@{site}", client="", lang=lang,
        headers=_campaign_headers(desk, number, site), html=page, shape="alternative" if number % 3 else "html",
        cte="base64" if number % 4 == 1 else "quoted-printable",
    )  # fmt: skip


def newsletters(desk: Desk) -> None:
    """Campaigns from customers' own domains (to be dropped though the domain matches), and from strangers."""
    number = 0
    for letters, name, rule, copies in (
        (CUSTOMER_LETTERS, "campaign", "automated.marketing", 2),
        (STRANGER_LETTERS, "newsletter", "crm.no_match", 4),
    ):
        category = "newsletter from a customer's domain" if copies == 2 else "newsletter from a stranger"
        for sender, address, issues in letters:
            for subject, lines in issues:
                for one in range(copies):
                    number += 1
                    mail = letter(desk, number, sender, address, subject, lines, USERS[(number + one) % 5])
                    bounce = f"bounces+{number}-{desk.rng.randrange(16**6):x}@mta.{address.rpartition('@')[2]}"
                    labels = ("INBOX", "CATEGORY_PROMOTIONS") if number % 3 else ("INBOX", "UNREAD")
                    desk.post(
                        mail,
                        name,
                        category,
                        rule,
                        labels=labels,
                        envelope=bounce,
                        local_mark=copies == 4 and number % 4 == 0,
                    )


# Sender's name and address, subject, text, headers.
ROBOTS: tuple[tuple[str, str, str, str, Headers], ...] = (
    ("Meridian Foods Accounts Payable", "no-reply@meridianfoods.example", "Remittance advice {n}", "Dear supplier,\n\nthis is an automated message. Payment of EUR 4,280.00 for invoice {n} has been sent to your account.\n\nPlease do not reply to this email.", (("Auto-Submitted", "auto-generated"), ("X-Auto-Response-Suppress", "All"))),
    ("Meridian Supplier Portal", "noreply@portal.meridianfoods.example", "Your password was changed", "The password of your supplier account was changed on {n}.\n\nIf this was not you, reset it in the portal.\n\nThis is an automatically generated email, please do not reply.", (("Auto-Submitted", "auto-generated"),)),
    ("Haldenprint Ticketsystem", "noreply@tickets.haldenprint.example", "[#{n}] Ihre Anfrage ist eingegangen", "Ihre Anfrage ist unter der Nummer {n} eingegangen.\n\nDies ist eine automatisch erzeugte Nachricht. Bitte antworten Sie nicht auf diese E-Mail.", (("Auto-Submitted", "auto-generated"), ("Precedence", "bulk"), ("X-Auto-Response-Suppress", "All"))),
    ("Haldenprint Buchhaltung", "no-reply@haldenprint.example", "Zahlungseingang zu Rechnung {n}", "Zahlungsbestätigung\n\nWir haben Ihre Zahlung zu Rechnung {n} erhalten.\n\nDiese E-Mail wurde automatisch erstellt, bitte nicht antworten.", (("Auto-Submitted", "auto-generated"), ("X-Mailer", "Faktura Robot 2.2"))),
    ("Ostermann Avisierung", "noreply@ostermann-kuehl.example", "Avis: Sendung {n} unterwegs", "Ihre Sendung {n} ist unterwegs.\n\nVoraussichtliche Zustellung: morgen zwischen 8 und 12 Uhr.\n\nAutomatische Benachrichtigung, bitte nicht antworten.", (("Auto-Submitted", "auto-generated"), ("Precedence", "bulk"))),
    ("Northgate Monitoring", "alerts@monitor.northgate-cold.example", "[ALERT] Gate 5 sensor offline ({n})", "ALERT: sensor {n} at gate 5 went offline.\n\nSeverity: warning\nAcknowledge: https://monitor.northgate-cold.example/a/{n}\n\nThis is an automated notification. Do not reply.", (("Auto-Submitted", "auto-generated"), ("X-Priority", "1"), ("Precedence", "bulk"))),
    ("Kestrel Shop", "no-reply@shop.kestrelbrew.example", "Your order {n} has shipped", "Order confirmation {n}\n\nThank you for your order. 1 x winter ale gift box, GBP 24.00. Track your parcel in the shop.\n\nThis is an automated message, please do not reply.", (("Auto-Submitted", "auto-generated"), ("Feedback-ID", "{n}:orders:kestrel:esp"))),
    ("購買システム", "no-reply@kisaragi-seimitsu.example", "【自動送信】発注番号 {n} を受け付けました", "発注番号 {n} を受け付けました。\n\nこのメールは自動送信されています。ご返信いただいてもお答えできません。", (("Auto-Submitted", "auto-generated"), ("X-Auto-Response-Suppress", "All"))),
)  # fmt: skip

STRANGER_ROBOTS: tuple[tuple[str, str, str, str, Headers], ...] = (
    ("Cabwise", "receipts@cabwise.example", "Your trip receipt {n}", "Thanks for riding. Total GBP 18.40, paid by card.", (("Feedback-ID", "{n}:receipt:cabwise"),)),
    ("Skylark Airlines", "no-reply@skylark-air.example", "E-ticket {n}", "Your booking {n} is confirmed. Check-in opens a day before.", (("Auto-Submitted", "auto-generated"),)),
    ("Hotel Auerhahn", "buchung@hotel-auerhahn.example", "Buchungsbestätigung {n}", "Wir bestätigen Ihre Buchung {n}. Frühstück ab 6:30 Uhr.", ()),
    ("Codeyard", "notifications@codeyard.example", "[codeyard] Build {n} failed", "Build {n} of firmware/main failed after 4 minutes.", (("Precedence", "list"), ("List-ID", "firmware <firmware.codeyard.example>"))),
    ("Paperlane", "no-reply@paperlane.example", "Document {n} is ready to sign", "A document waits for your signature.", (("Auto-Submitted", "auto-generated"),)),
    ("Bank of Ambleford", "alerts@bankofambleford.example", "Card payment of GBP {n}", "A card payment was made. If it was not you, call us.", (("X-Auto-Response-Suppress", "All"),)),
    ("Parcelhop", "tracking@parcelhop.example", "Parcel {n} arrives today", "Your parcel arrives between 10 and 12.", (("Auto-Submitted", "auto-generated"),)),
)  # fmt: skip


def robots(desk: Desk) -> None:
    """Receipts, alerts and notifications: from customers' systems and from strangers."""
    pairs = ((ROBOTS, "robot", "automated.transactional", 3), (STRANGER_ROBOTS, "receipt", "crm.no_match", 4))
    for table, key, rule, times in pairs:
        category = "robot of a customer" if times == 3 else "receipt or alert from a stranger"
        for row, (name, address, subject, text, headers) in enumerate(table):
            for one in range(times):
                to = (DANA, MATTEO, YUKI, LEILA, TOMASZ)[(row + one * 2) % 5]
                number = str(desk.rng.randrange(10000, 99999))
                when = desk.at(desk.rng.uniform(1.2, 4.8) if to is TOMASZ else desk.rng.uniform(1.2, 55), [to.address])
                site = address.rpartition("@")[2]
                mail = Mail(
                    (name, address), (to.box,), subject.format(n=number), text.format(n=number), when, f"{number}.{desk.rng.randrange(16**9):x}@{site}",
                    client="", headers=tuple((h, v.format(n=number)) for h, v in headers), shape=("plain", "alternative", "html")[(row + one) % 3],
                )  # fmt: skip
                labels = ("INBOX", "CATEGORY_UPDATES") if one else ("INBOX",)
                desk.post(
                    mail,
                    key,
                    category,
                    rule,
                    labels=labels,
                    envelope=f"bounce@{site}" if one else "",
                    local_mark=times == 4 and one == 1,
                )


def _calendar(desk: Desk, method: str, who: Person, title: str, to: Person, state: str = "NEEDS-ACTION") -> str:
    stamp = f"{desk.now:%Y%m%dT%H%M%SZ}"
    return (
        "BEGIN:VCALENDAR\nPRODID:-//Example Calendar//EN\nVERSION:2.0\nMETHOD:{m}\nBEGIN:VEVENT\nDTSTART:{s}\nDTEND:{s}\nDTSTAMP:{s}\n"
        "ORGANIZER;CN={o}:mailto:{oa}\nUID:{u}@calendar.{d}\nATTENDEE;PARTSTAT={p};CN={t}:mailto:{ta}\nSUMMARY:{x} {k}\nEND:VEVENT\nEND:VCALENDAR\n"
    ).format(
        m=method, s=stamp, o=who.name, oa=who.address, u=f"{desk.rng.randrange(16**12):x}", d=who.address.rpartition("@")[2], p=state,
        t=to.name, ta=to.address, x=title, k=MARK,
    )  # fmt: skip


def calendar_mail(desk: Desk, author: Person, user: Person, kind: str, title: str, days: float) -> Mail:
    """What the author's calendar sends: `kind` is REQUEST, ACCEPTED, DECLINED or CANCEL (RFC 6047)."""
    words = {
        "REQUEST": "Invitation: ",
        "ACCEPTED": "Accepted: ",
        "DECLINED": "Declined: ",
        "CANCEL": "Canceled event: ",
    }
    method = "REPLY" if kind in {"ACCEPTED", "DECLINED"} else kind
    text = f"{title}\n\nWhen: half past ten\nWho: {author.name}, {user.name}\n\n{MARK}"
    entry = _calendar(desk, method, author, title, user, kind if method == "REPLY" else "NEEDS-ACTION")
    when = desk.at(days, [user.address])
    headers: Headers = (("Content-Class", "urn:content-classes:calendarmessage"),)
    if author.client != "outlook":
        headers = (("Sender", f"Calendar <calendar-notification@{author.address.rpartition('@')[2]}>"),)
    subject = f"{words[kind]}{title} @ {format_datetime(when)[:16]}"
    return desk.write(
        author, [user], subject, text, when, signed=False, shape="alternative", calendar=(method, entry), headers=headers
    )  # fmt: skip
