"""The customer talks in English: a stock of plots, told again with other products, sites and figures."""

from __future__ import annotations

from .cast import (
    BEN,
    DANA,
    FINLAY,
    GRACE,
    INGRID,
    JONAS,
    LEILA,
    MAEVE,
    MATTEO,
    NADIA,
    OREN,
    ROSALIND,
    ROWAN,
    SUNITA,
    TOMASZ,
    YUKI,
    Person,
)
from .desk import Desk
from .threads import converse

# Every plot is told in turns; "us" and "them" take turns in the order given. {first} is the other side's first name, {me} ours.
PLOTS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "demo": (
        "{product} demo for {site}",
        (
            (
                "us",
                "Hi {first},\n\nthank you for taking the time at the trade fair. I promised you a demo of the {product}; would {day} suit you?\n\nIt takes half an hour, and I will bring the readings of a site much like {site}.\n\nBest,\n{me}",
            ),
            (
                "them",
                "Hello {me},\n\n{day} works, but only after two. Could you show how it behaves when the gateway loses its uplink? That is what broke our last system.\n\n{first}",
            ),
            (
                "us",
                "After two it is, {first}. Yes: the {product} keeps 40 days of readings and hands them in later, in order. I will unplug it in front of you.",
            ),
            (
                "them",
                "Then I look forward to being convinced. I am adding our operations people, they have the awkward questions.",
            ),
            (
                "us",
                "Thank you all for your time today. As promised:\n\n- the readings of the test hour\n- the mounting drawing\n- the list of the {qty} points we counted at {site}\n\nShall I turn that list into an offer?\n\n{me}",
            ),
        ),
    ),
    "offer": (
        "Offer: {qty} x {product} for {site}",
        (
            (
                "us",
                "Dear {first},\n\nattached is our offer for {qty} units of the {product} at {site}, {price} in total, installation included. It holds for 30 days.\n\nKind regards,\n{me}",
            ),
            (
                "them",
                "Hi {me},\n\nthanks. Two things before this goes upstairs: is calibration in the price, and can the payment be split in two?\n\nRegards\n{first}",
            ),
            (
                "us",
                "Hi {first},\n\n> is calibration in the price\n\nThe first one is; after that it is a yearly visit at 4 % of the price.\n\n> can the payment be split in two\n\nHalf at delivery and half at acceptance is fine with us.\n\n{me}",
            ),
            (
                "them",
                "Good. Legal wants the warranty paragraph to say 36 months instead of 24. If you can live with that you will have the order next week.",
            ),
            (
                "us",
                "We can live with 36 months if the calibration visits stay with us. Revised offer attached, nothing else has changed.\n\n{me}",
            ),
            ("them", "Agreed, signature will follow. Good doing business with you.\n\n{first}"),
        ),
    ),
    "trouble": (
        "Readings from {site} look wrong",
        (
            (
                "them",
                "Hi {me},\n\nsince Sunday three of the {product} at {site} report minus 40 all day. The room is at plus 4, I have stood in it.\n\nWhat should we do? Quality is nervous.\n\n{first}",
            ),
            (
                "us",
                "Hi {first},\n\nsorry about that. Minus 40 is what the probe says when its cable is open. Could somebody look at the green plug below the hood of these three? I am copying our technical side.",
            ),
            (
                "them",
                'You were right: the cleaners had pulled them out, all three. Plugged in again, all fine. Can the system say "unplugged" instead of inventing an arctic winter?',
            ),
            (
                "us",
                "It will. The next release shows a broken plug as such; I have put {site} on the list of early sites.\n\nThank you for being so quick, {first}.\n\n{me}",
            ),
        ),
    ),
    "renewal": (
        "Your service plan for {site} ends soon",
        (
            (
                "us",
                "Hello {first},\n\nyour service plan for the {qty} {product} at {site} ends next month. I would like to hear what went well and what did not before we talk about another year.\n\nAre you free on {day}?\n\n{me}",
            ),
            (
                "them",
                "Hello {me},\n\n{day} is fine. In short: the sensors are good, the invoices are a mess. Each site gets its own and our accounts department hates us for it.",
            ),
            (
                "us",
                "Noted with shame. One invoice a quarter for all sites, I have already asked. Anything else that would make the second year better?",
            ),
            (
                "them",
                "A discount is always welcome, of course. But seriously: one invoice, and somebody who picks up the phone on Saturdays.",
            ),
            (
                "us",
                "One invoice, the Saturday line, and {price} for the year. The papers are on their way to you, {first}.",
            ),
        ),
    ),
    "delivery": (
        "Delivery of the {product} to {site}",
        (
            (
                "them",
                "Hi {me}, when will the {qty} units be here? The fitters come on {day} and I do not want them to stand around.",
            ),
            (
                "us",
                "Hi {first}, they left our workshop this morning, on one pallet, and should be at gate 3 of {site} the day before. I will send the name of the driver as soon as I have it.",
            ),
            (
                "them",
                "Gate 3 is closed until the end of the month. Gate 5, please, and they have to report at the weighbridge.",
            ),
            (
                "us",
                "Gate 5 and the weighbridge: passed on, and the haulier has confirmed. Good luck to the fitters!\n\n{me}",
            ),
        ),
    ),
    "integration": (
        "Getting {product} data into our warehouse system",
        (
            (
                "them",
                "Hello {me},\n\nour IT asks how the {product} talks to other systems. They would like readings every five minutes, and alarms at once.\n\nIs there a document that I can forward?\n\n{first}",
            ),
            (
                "us",
                "Hello {first},\n\nthere is. Readings can be fetched over HTTPS, alarms are pushed to an address of your choice. The description is attached; 14 pages, the first two are the ones to read.\n\n{me}",
            ),
            ("them", "They have read it (all 14) and ask: what if our side is down when an alarm is pushed?"),
            (
                "us",
                "It is pushed again, with growing pauses, for three days, and it stays visible in the list of open alarms until somebody acknowledges it.\n\nIf they like, our engineer can join a call with the people of {site}.",
            ),
            (
                "them",
                "They like. {day} at ten? And thank you, that was the first supplier's answer this year which fits on one screen.",
            ),
            ("us", "{day} at ten is booked. I will send the dial-in later today."),
        ),
    ),
    "intro": (
        "Introduction: cold rooms at {site}",
        (
            (
                "them",
                "Hello,\n\na colleague gave me your name. We run {qty} cold rooms at {site} and still write temperatures on paper, twice a day. I would like to stop that before the next audit.\n\nWhat would you need to know from us?\n\n{first}",
            ),
            (
                "us",
                "Hello {first},\n\nwelcome! For a first figure I need very little:\n\n- how many rooms, and how far apart\n- whether there is network in the building\n- what your auditor wants to see\n\nA floor plan with pencil marks is fine.\n\n{me}",
            ),
            (
                "them",
                "Plan attached, pencil marks included. The auditor wants a reading every 15 minutes and proof that nobody can change them afterwards.",
            ),
            (
                "us",
                "Both come with the {product}. From your plan I count {qty} points and two gateways, roughly {price}. Shall we look at it together on {day}?",
            ),
        ),
    ),
}

PRODUCTS = ("TB-40 room sensor", "TB-60 door sensor", "Frostline gateway", "TB-12 pallet logger", "Veil humidity probe")
DAYS = ("Tuesday", "Wednesday", "Thursday", "next Monday", "Friday morning")

# Name, plot, us, them, further people, days ago, site, quantity, price.
TALES: tuple[tuple[str, str, Person, Person, tuple[Person, ...], float, str, int, str], ...] = (
    ("meridian-demo", "demo", DANA, GRACE, (BEN, OREN), 82, "Dock 7", 36, "EUR 21,400"),
    ("meridian-offer", "offer", DANA, GRACE, (BEN, LEILA), 68, "Dock 7", 36, "EUR 21,400"),
    ("meridian-api", "integration", DANA, BEN, (GRACE, YUKI), 55, "Dock 7", 36, "EUR 21,400"),
    ("meridian-delivery", "delivery", DANA, BEN, (GRACE,), 30, "Dock 7", 36, "EUR 21,400"),
    ("meridian-trouble", "trouble", DANA, GRACE, (BEN, OREN, TOMASZ), 4.6, "Dock 7", 36, "EUR 21,400"),
    ("fleet-intro", "intro", DANA, SUNITA, (), 41, "the Harrow depot", 18, "EUR 9,700"),
    ("fleet-demo", "demo", DANA, SUNITA, (GRACE,), 24, "the Harrow depot", 18, "EUR 9,700"),
    ("fleet-offer", "offer", DANA, SUNITA, (GRACE, OREN, LEILA), 14, "the Harrow depot", 18, "EUR 9,700"),
    ("northgate-renewal", "renewal", DANA, ROWAN, (MAEVE,), 71, "Northgate South", 52, "GBP 6,100"),
    ("northgate-trouble", "trouble", LEILA, MAEVE, (ROWAN, DANA), 48, "Northgate South", 52, "GBP 6,100"),
    ("kestrel-intro", "intro", DANA, FINLAY, (), 60, "the lower cellar", 9, "GBP 4,200"),
    ("kestrel-offer", "offer", DANA, FINLAY, (MATTEO,), 37, "the lower cellar", 9, "GBP 4,200"),
    ("alnoor-integration", "integration", LEILA, NADIA, (YUKI,), 44, "the vaccine store", 24, "EUR 17,900"),
    ("alnoor-delivery", "delivery", LEILA, NADIA, (), 19, "the vaccine store", 24, "EUR 17,900"),
    ("alnoor-renewal", "renewal", LEILA, NADIA, (OREN, DANA), 9, "the first pilot", 6, "EUR 1,900"),
    ("fjord-intro", "intro", MATTEO, INGRID, (), 29, "the bakery in Moss", 7, "EUR 3,300"),
    ("fjord-demo", "demo", MATTEO, INGRID, (LEILA,), 17, "the bakery in Moss", 7, "EUR 3,300"),
    ("okafor-intro", "intro", TOMASZ, JONAS, (), 5.2, "the parlour", 4, "GBP 1,500"),
    ("petal-trouble", "trouble", LEILA, ROSALIND, (), 34, "the glass house", 5, "GBP 1,100"),
    ("petal-delivery", "delivery", LEILA, ROSALIND, (TOMASZ,), 5.0, "the glass house", 5, "GBP 1,100"),
)

_SHAPES = ("", "mixed", "", "related", "html", "")


def post(desk: Desk) -> None:
    """Post all English talks."""
    for number, (name, plot, us, them, more, days, site, qty, price) in enumerate(TALES):
        subject, turns = PLOTS[plot]
        words = {
            "product": PRODUCTS[number % 5],
            "site": site,
            "qty": qty,
            "price": price,
            "day": DAYS[number % 4],
            "first": them.first,
            "me": us.first,
        }
        told = [(us if who == "us" else them, text.format(**words)) for who, text in turns]
        people = (them, us, *more) if turns[0][0] == "us" else (us, them, *more)
        shapes = ["" if (number + turn) % 2 else _SHAPES[(number + turn) % 6] for turn in range(len(told))]
        converse(
            desk,
            name,
            subject.format(**words),
            days,
            told,
            people,
            shapes=shapes,
            longest_days=1.0 if days < 8 else 2.5,
        )
