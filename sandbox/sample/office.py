"""Internal talk, private mail, and what strangers write: nothing of it belongs to a customer."""

from __future__ import annotations

from .cast import (
    BEN,
    DANA,
    GRACE,
    HARUTO,
    HELENE,
    JONAS,
    LEILA,
    MATTEO,
    NADIA,
    OREN,
    OWN,
    OWN_ALIAS,
    PRIYA,
    TOMASZ,
    URS,
    USERS,
    YUKI,
    ZOFIA,
    Person,
)
from .desk import Desk
from .mime import Mail

INTERNAL: tuple[tuple[Person, tuple[Person, ...], str, str, float], ...] = (
    (
        OREN,
        (DANA, MATTEO, YUKI, LEILA, TOMASZ),
        "Forecast call moved to nine",
        "All,\n\nthe forecast call is at nine from now on. Bring your three biggest risks, not your three biggest hopes.\n\nOren",
        3,
    ),
    (
        OREN,
        (DANA, MATTEO, YUKI, LEILA),
        "Commission scheme for next year",
        "Please keep this to yourselves until Friday: the draft of next year's scheme is on the drive.",
        20,
    ),
    (
        OREN,
        (DANA, LEILA),
        "Salary review",
        "Dana, Leila,\n\nyour reviews are on the 12th. Please send me your notes before.",
        33,
    ),
    (
        DANA,
        (OREN,),
        "Discount for Dock 7?",
        "Oren, can I go down to 8 percent for the soup people if they sign this month?",
        60,
    ),
    (OREN, (DANA,), "Re: Discount for Dock 7?", "Eight, not a point more, and not in writing before they ask.", 59),
    (
        MATTEO,
        (LEILA, DANA),
        "Who has the demo case?",
        "The demo case is not in the cupboard. The last name on the list is illegible, which narrows it down to Yuki or me.",
        45,
    ),
    (YUKI, (MATTEO, LEILA, DANA), "Re: Who has the demo case?", "It is in Osaka. With me. Sorry!", 44),
    (
        LEILA,
        (DANA, MATTEO, YUKI, TOMASZ),
        "Cake in the kitchen",
        "Somebody turned thirty. There is cake, and there will be no speech.",
        2.5,
    ),
    (
        TOMASZ,
        (DANA,),
        "Question about the price list",
        "Dana, which price list counts for the door sensors, the blue or the green one?",
        3.4,
    ),
    (
        DANA,
        (TOMASZ,),
        "Re: Question about the price list",
        "The green one. The blue one is a trap that we set for our own new people.",
        3.1,
    ),
    (
        PRIYA,
        (DANA, OREN),
        "Notes from the pricing workshop",
        "Dana, Oren,\n\nmy notes from yesterday are in the shared folder. I would drop the smallest package.",
        26,
    ),
    (
        DANA,
        (PRIYA,),
        "Re: Notes from the pricing workshop",
        "Thank you Priya, the smallest package is dropped as of today.",
        25,
    ),
    (YUKI, (OREN,), "Travel request", "May I book the flight for the factory visit? Economy, promised.", 16),
    (
        MATTEO,
        (OREN, LEILA),
        "Vertreterregelung im Februar",
        "Ich bin zwei Wochen weg, Leila übernimmt meine offenen Punkte. Danke dir!",
        18,
    ),
    (
        LEILA,
        (YUKI,),
        "Minutes of the product round",
        "Minutes are attached. The humidity probe gets its third name this year.",
        11,
    ),
)

PRIVATE: tuple[tuple[str, str, Person, str, str, str, float], ...] = (
    ("Praxis Dr. Zahnfee", "praxis@zahnarzt-zahnfee.example", MATTEO, "Ihr Termin zur Kontrolle", "Guten Tag Herr Keller,\n\nIhr Kontrolltermin ist am Montag um 7:30 Uhr. Bitte bringen Sie Ihre Karte mit.", "de", 30),
    ("Whitlock Mum", "mum@whitlock-family.example", DANA, "Sunday lunch", "Darling, are you coming on Sunday? Your brother brings the dog and the new girlfriend, in that order of importance.", "en", 40),
    ("Whitlock Mum", "mum@whitlock-family.example", DANA, "Re: Sunday lunch", "Wonderful. Bring nothing, except perhaps a pudding.", "en", 39),
    ("Ilse Keller", "ilse.keller.invented@gmail.com", MATTEO, "Fotos vom Wochenende", "Schau mal, wie gross die Kleine geworden ist!", "de", 20),
    ("Riverside School", "office@riverside-school.example", LEILA, "Parents' evening", "Dear parents,\n\nthe parents' evening starts at six. Please bring the signed form.", "en", 35),
    ("Karim Haddad", "karim.haddad.invented@gmail.com", LEILA, "Anniversaire de maman", "Tu t'occupes du gâteau ? Je prends les bougies et la surprise.", "fr", 28),
    ("田辺 花子", "hanako@tanabe-family.example", YUKI, "週末の予定", "土曜日は何時に帰りますか。カレーを作って待っています。", "ja", 15),
    ("Dr. Ada Mint, Dentist", "reception@mint-dental.example", DANA, "Your dental appointment", "Hello Dana, your appointment is on Tuesday at 8:15. Please arrive ten minutes early.", "en", 18),
    ("Wspólnota Lipowa 4", "zarzad@wspolnota-lipowa.example", TOMASZ, "Zebranie mieszkańców", "Zapraszamy na zebranie mieszkańców w czwartek o 18:00 w pralni.", "pl", 4),
    ("Brama Wrona", "brama.wrona.invented@gmail.com", TOMASZ, "Obiad w niedzielę", "Synku, będzie rosół. Przyjedź przed drugą.", "pl", 3),
    ("Fitness Eiche", "team@fitness-eiche.example", MATTEO, "Ihre Mitgliedschaft", "Lieber Herr Keller, wir haben Sie drei Wochen nicht gesehen. Alles in Ordnung?", "de", 12),
    ("Landlord Perkins", "perkins@perkins-lettings.example", DANA, "Boiler inspection", "The boiler man comes on Thursday between eight and six. Somebody should be in.", "en", 9),
    ("Hilde Recruits", "hilde@talentharbour.example", LEILA, "A role that might interest you", "Dear Leila, I am looking for a head of sales in Lyon. May I call you?", "en", 22),
    ("Vernon Pitch", "vernon@leadsbyvernon.example", DANA, "Quick question about your pipeline", "Hi Dana, do you want 300 qualified leads a month? Worth 15 minutes?", "en", 14),
    ("Vernon Pitch", "vernon@leadsbyvernon.example", YUKI, "Quick question about your pipeline", "Hi Yuki, do you want 300 qualified leads a month? Worth 15 minutes?", "en", 13),
    ("Oskar Reparatur", "oskar@autohaus-oskar.example", MATTEO, "Ihr Wagen ist fertig", "Die Bremsen sind neu, der Wagen steht im Hof. 412 Franken, bitte.", "de", 8),
)  # fmt: skip

REPLIES: tuple[tuple[Person, str, str, str, str, float], ...] = (
    (
        DANA,
        "Whitlock Mum",
        "mum@whitlock-family.example",
        "Re: Sunday lunch",
        "I will bring a pudding and no questions about the girlfriend.",
        39.4,
    ),
    (
        LEILA,
        "Karim Haddad",
        "karim.haddad.invented@gmail.com",
        "Re: Anniversaire de maman",
        "Gâteau commandé, trois étages.",
        27,
    ),
    (
        MATTEO,
        "Praxis Dr. Zahnfee",
        "praxis@zahnarzt-zahnfee.example",
        "Re: Ihr Termin zur Kontrolle",
        "Könnte ich eine Stunde später kommen?",
        29,
    ),
    (YUKI, "田辺 花子", "hanako@tanabe-family.example", "Re: 週末の予定", "七時には帰ります。", 14.5),
    (
        TOMASZ,
        "Brama Wrona",
        "brama.wrona.invented@gmail.com",
        "Re: Obiad w niedzielę",
        "Będę o pierwszej, z ciastem.",
        2.4,
    ),
)


def _stranger(name: str, address: str, lang: str) -> Person:
    return Person(name, address, "gmail" if "gmail" in address else "apple", 1, lang)


def internal(desk: Desk) -> None:
    """Mail among the team: the own domains, an alias domain, and a contractor who is a user with an address elsewhere."""
    for author, to, subject, text, days in INTERNAL:
        mail = desk.write(author, to, subject, text, desk.at(days, [p.address for p in (author, *to)]))
        desk.post(mail, "internal", "internal talk", "participants.internal")
    alias = Person("Dana at the alias", f"dana@{OWN_ALIAS}")
    note = desk.write(
        DANA, [alias], "Note to myself", "Call the fitters before they call me.", desk.at(10, [DANA.address])
    )
    desk.post(note, "internal", "internal talk", "participants.internal", copies={DANA.address: ("SENT", "INBOX")})
    at_home = Person("Oren at home", "oren.bell.invented@gmail.com", "apple")
    late = desk.write(
        at_home,
        [DANA],
        "Sent from the sofa",
        "Dana, my laptop is at the office. Could you run the forecast for me?",
        desk.at(14, [DANA.address]),
    )
    desk.post(late, "internal", "internal talk", "participants.internal")
    intranet = Person("Tarnbrook Intranet", f"intranet@{OWN}", "plain", shape="html")
    for number, user in enumerate(USERS):
        news = desk.write(
            intranet,
            [user],
            "Weekly digest of the intranet",
            "New: the canteen menu, the parking rules, the parking rules again.",
            desk.at(1.5 + number % 3, [user.address]),
            headers=(("Auto-Submitted", "auto-generated"),),
        )
        desk.post(news, "intranet", "internal talk", "participants.internal")


def private(desk: Desk) -> None:
    """Mail between users and people whom the CRM does not know."""
    for number, (name, address, user, subject, text, lang, days) in enumerate(PRIVATE):
        author = _stranger(name, address, lang)
        mail = desk.write(
            author,
            [user],
            subject,
            text,
            desk.at(days, [user.address]),
            charset="iso-2022-jp" if lang == "ja" else "utf-8",
            cte="7bit" if lang == "ja" else "quoted-printable",
        )
        desk.post(mail, "private", "private mail", "crm.no_match", local_mark=number % 5 == 2)
    for user, name, address, subject, text, days in REPLIES:
        mail = desk.write(user, [_stranger(name, address, user.lang)], subject, text, desk.at(days, [user.address]))
        desk.post(mail, "private-sent", "private mail", "crm.no_match")


def off_stage(desk: Desk) -> None:
    """Drafts, trash, spam and chats, and mail from before a mailbox's window: a first sync never sees them."""
    sides = ((DANA, GRACE), (MATTEO, URS), (YUKI, HARUTO), (LEILA, HELENE), (TOMASZ, ZOFIA), (DANA, BEN))
    for number, (user, customer) in enumerate(sides):
        when = desk.at(1.3 + number * 0.6, [user.address])
        draft = desk.write(
            user,
            [customer],
            "Thoughts on the next step",
            "I am not sure yet how to put this, so this stays a draft.",
            when,
        )
        desk.post(draft, "draft", "draft", copies={user.address: ("DRAFT",)})
        trashed = desk.write(
            customer,
            [user],
            "Please ignore my last mail",
            "I sent you the wrong file, please delete it.",
            desk.at(2 + number * 0.5, [user.address]),
        )
        desk.post(trashed, "trash", "trash", labels=("TRASH",))
        faker = Person(f"Prize Office {number}", f"winner{number}@lucky-prizes.example", "plain", shape="html")
        spam = desk.write(
            faker if number % 2 else customer,
            [user],
            "You have won a forklift",
            "Send us your bank details to collect your forklift.",
            desk.at(1.5 + number * 0.7, [user.address]),
        )
        desk.post(spam, "spam", "spam", labels=("SPAM",))
        chat = Mail(
            customer.box,
            (user.box,),
            "",
            "are you at your desk?",
            desk.at(1.4 + number * 0.4, [user.address]),
            shape="plain",
            client="",
            message_id=f"chat-{number}@chat.{OWN}",
        )
        desk.post(chat, "chat", "chat", copies={user.address: ("CHAT",)})
    for number, (user, customer, days) in enumerate((
        (DANA, GRACE, 95), (DANA, BEN, 110), (MATTEO, URS, 84), (MATTEO, URS, 97), (YUKI, HARUTO, 70), (YUKI, HARUTO, 88), (LEILA, HELENE, 99),
        (LEILA, NADIA, 120), (TOMASZ, ZOFIA, 12), (TOMASZ, ZOFIA, 21), (TOMASZ, JONAS, 30), (TOMASZ, ZOFIA, 45),
    )):  # fmt: skip
        before, after = (customer, user) if number % 3 else (user, customer)
        old = desk.write(
            before,
            [after],
            "From an earlier time",
            "This was said before the deal began, and stays where it is.",
            desk.at(days, [user.address]),
        )
        desk.post(old, "before-window", "older than the window")
