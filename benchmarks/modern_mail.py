"""A fixed mix of today's business mail as Gmail's JSON, generated: 24 kB mean, 60 % with HTML, ARC, DKIM and Received headers.

The same seed gives the same bytes. What it is made of (a guess at today's mail, written down so that others can guess otherwise):

* header section: 3 to 6 Received fields, one or two ARC sets, DKIM signatures of 2,048-bit keys, X- fields; about 6 kB. Up to five
  recipients in To, four in Cc; references in half. 400 companies of which four people write, and 40 colleagues.
* 40 % plain text alone; 30 % plain text with HTML beside it; 30 % HTML alone. Two in five end in a quoted reply.
* the HTML, by weight: 35 % replies from webmail, 30 % Outlook, 10 % Apple Mail, 25 % campaigns (benchmarks/modern_html.py).
* two in five mails have letters beyond ASCII in their text.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence

from benchmarks.modern_html import page

ENGLISH = [
    "about",
    "account",
    "after",
    "agree",
    "answer",
    "available",
    "before",
    "begin",
    "budget",
    "call",
    "change",
    "close",
    "colleague",
    "comment",
    "confirm",
    "contract",
    "copy",
    "customer",
    "date",
    "deadline",
    "delivery",
    "detail",
    "document",
    "draft",
    "early",
    "effort",
    "estimate",
    "feedback",
    "figure",
    "final",
    "follow",
    "forward",
    "friday",
    "good",
    "happy",
    "help",
    "hour",
    "idea",
    "important",
    "include",
    "invoice",
    "issue",
    "join",
    "kind",
    "launch",
    "list",
    "look",
    "market",
    "meeting",
    "minute",
    "monday",
    "month",
    "morning",
    "need",
    "next",
    "number",
    "offer",
    "open",
    "order",
    "other",
    "partner",
    "payment",
    "people",
    "phone",
    "plan",
    "please",
    "point",
    "possible",
    "present",
    "price",
    "problem",
    "process",
    "product",
    "project",
    "proposal",
    "quarter",
    "question",
    "quote",
    "ready",
    "reason",
    "receive",
    "regards",
    "release",
    "report",
    "request",
    "result",
    "review",
    "sales",
    "schedule",
    "send",
    "service",
    "share",
    "short",
    "site",
    "start",
    "status",
    "support",
    "team",
    "thanks",
    "thursday",
    "time",
    "today",
    "tomorrow",
    "update",
    "version",
    "visit",
    "week",
    "welcome",
    "work",
    "year",
]
EUROPEAN = [
    *ENGLISH,
    *["für", "Größe", "über", "Änderung", "été", "réunion", "prévu", "señor", "mañana", "don’t", "we’ll", "–", "…"],
]
FIRST = [
    "Anna",
    "Bruno",
    "Chloé",
    "Deniz",
    "Erik",
    "Fatima",
    "Giulia",
    "Hans",
    "Ines",
    "Jürgen",
    "Kofi",
    "Lena",
    "Marta",
    "Noor",
]
LAST = [
    "Abel",
    "Brandt",
    "Costa",
    "Dubois",
    "Eriksen",
    "Fischer",
    "García",
    "Hoang",
    "Ivanov",
    "Jensen",
    "Kowalski",
    "Lopez",
]
HEX = "0123456789abcdef"
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class Writer:
    """Says words, phrases and paragraphs of one vocabulary, and random tokens, from one generator."""

    def __init__(self, rng: random.Random, words: Sequence[str]) -> None:
        self.rng, self.words = rng, words

    def phrase(self, least: int = 3, most: int = 9) -> str:
        """A few words."""
        return " ".join(self.rng.choices(self.words, k=self.rng.randint(least, most)))

    def paragraph(self) -> str:
        """18 to 70 words and a full stop."""
        return f"{self.phrase(18, 70).capitalize()}."

    def blob(self, length: int) -> str:
        """What signatures and tracking links are made of."""
        return "".join(self.rng.choices(BASE64, k=length))


def modern_mix(count: int = 1_200, seed: int = 24) -> list[bytes]:
    """`count` messages as messages.get answers them in format full."""
    rng = random.Random(seed)
    return [_message(rng, number) for number in range(count)]


def _message(rng: random.Random, number: int) -> bytes:
    write = Writer(rng, EUROPEAN if rng.random() < 0.4 else ENGLISH)
    text = "\r\n\r\n".join(write.paragraph() for _ in range(rng.randint(1, 6)))
    if rng.random() < 0.4:
        quoted = "".join(f"\r\n> {write.phrase(8, 12)}" for _ in range(rng.randint(3, 20)))
        text += f"\r\n\r\nOn Mon, 5 Oct 2026 at 09:12, Anna Abel <anna@customer.example> wrote:\r\n{quoted}"
    draw = rng.random()
    if draw >= 0.6:
        kind, root = "text/plain", {"mimeType": "text/plain", "filename": "", "body": _body(text)}
    else:
        html = {"partId": "1", "mimeType": "text/html", "filename": "", "body": _body(page(write, text))}
        html["headers"] = [{"name": "Content-Type", "value": 'text/html; charset="UTF-8"'}]
        if draw < 0.3:
            kind, root = "text/html", {**html, "partId": ""}
        else:
            kind = "multipart/alternative"
            plain = {"partId": "0", "mimeType": "text/plain", "filename": "", "body": _body(text)}
            plain["headers"] = [{"name": "Content-Type", "value": 'text/plain; charset="UTF-8"'}]
            root = {"mimeType": kind, "filename": "", "body": {"size": 0}, "parts": [plain, html]}
    root["headers"] = _headers(write, number, kind)
    document = {
        "id": f"{rng.getrandbits(64):016x}", "threadId": f"{rng.getrandbits(64):016x}", "labelIds": ["UNREAD", "INBOX"],
        "snippet": text[:180], "sizeEstimate": 24_000, "historyId": str(900_000 + number),
        "internalDate": str(1_790_000_000_000 + number * 60_000), "payload": root,
    }  # fmt: skip
    return json.dumps(document, ensure_ascii=False).encode()


def _body(text: str) -> dict[str, object]:
    raw = text.encode()
    return {"size": len(raw), "data": base64.urlsafe_b64encode(raw).decode()}


def _person(rng: random.Random, domain: str) -> str:
    place = rng.randrange(40 if domain == "mycorp.example" else 4) + len(domain)
    first, last = FIRST[place % len(FIRST)], LAST[place % len(LAST)]
    name = f'"{last}, {first}"' if place % 5 == 0 else f"{first} {last}"
    return f"{name} <{first[0].lower()}{last.lower().encode('ascii', 'ignore').decode()}@{domain}>"


def _headers(write: Writer, number: int, kind: str) -> list[dict[str, str]]:
    rng, blob = write.rng, write.blob
    sender = f"company{number % 400}.example"
    host = f"mail-{rng.choice(HEX)}{rng.randint(10, 99)}.{sender}"
    fields: list[tuple[str, str]] = [("Delivered-To", "me@mycorp.example")]
    for hop in range(rng.randint(3, 6)):
        fields.append(
            ("Received", f"from {host} ({host}. [203.0.113.{hop}]) by mx.google.com with ESMTPS id {blob(20)} for "
             "<me@mycorp.example> (version=TLS1_3 cipher=TLS_AES_256_GCM_SHA384 bits=256/256); Mon, 05 Oct 2026 02:14:0"
             f"{hop} -0700 (PDT)")
        )  # fmt: skip
    for instance in range(1, rng.randint(2, 4)):
        fields += [
            ("ARC-Seal", f"i={instance}; a=rsa-sha256; t=1790000000; cv=none; d=google.com; s=arc-20240605; b={blob(344)}"),
            ("ARC-Message-Signature", f"i={instance}; a=rsa-sha256; c=relaxed/relaxed; d=google.com; s=arc-20240605; "
             f"h=to:subject:message-id:date:from:mime-version:dkim-signature; bh={blob(44)}; b={blob(344)}; dara=google.com"),
            ("ARC-Authentication-Results", f"i={instance}; mx.google.com; dkim=pass header.i=@{sender} header.s=s1; spf=pass "
             f"(google.com: domain of bounce@{sender} designates 203.0.113.9 as permitted sender) smtp.mailfrom=bounce@{sender}"),
        ]  # fmt: skip
    fields += [
        ("Authentication-Results", f"mx.google.com; dkim=pass header.i=@{sender}; spf=pass smtp.mailfrom=bounce@{sender}; dmarc=pass"),
        ("Return-Path", f"<bounce+{blob(24)}@{sender}>"),
        ("DKIM-Signature", f"v=1; a=rsa-sha256; c=relaxed/relaxed; d={sender}; s=s1; t=1790000000; bh={blob(44)}; b={blob(344)}"),
        ("X-Google-DKIM-Signature", f"v=1; a=rsa-sha256; c=relaxed/relaxed; d=1e100.net; s=20230601; b={blob(344)}"),
        ("X-Gm-Message-State", blob(160)), ("X-Received", f"by 2002:a05:6402 with SMTP id {blob(60)}; Mon, 05 Oct 2026"),
        ("MIME-Version", "1.0"), ("Date", f"Mon, 05 Oct 2026 09:{number % 60:02d}:11 +0200"),
        ("Message-ID", f"<{blob(32).replace('/', 'x')}@{sender}>"), ("From", _person(rng, sender)),
        ("To", ", ".join(["Me <me@mycorp.example>", *(_person(rng, rng.choice((sender, "mycorp.example"))) for _ in range(rng.randint(0, 5)))])),
        ("Subject", write.phrase(6, 6).capitalize()), ("Content-Type", f'{kind}; charset="UTF-8"; boundary="{blob(28)}"'),
    ]  # fmt: skip
    if rng.random() < 0.4:
        fields.append(("Cc", ", ".join(_person(rng, "mycorp.example") for _ in range(rng.randint(1, 4)))))
    if rng.random() < 0.5:
        fields += [("References", " ".join(f"<{blob(30).replace('/', 'x')}@{sender}>" for _ in range(rng.randint(1, 6)))),
                   ("In-Reply-To", f"<{blob(30).replace('/', 'x')}@{sender}>")]  # fmt: skip
    return [{"name": name, "value": value} for name, value in fields]
