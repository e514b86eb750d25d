"""A fixed mix of today's business mail as Gmail's JSON, generated: 24 kB mean, 60 % with HTML, ARC, DKIM and Received headers.

Tags per kB and the share of visible text are set near those of real HTML mail (measured on the test corpus: 26 tags a kB, a
quarter of it text). Half of the HTML mails have no plain alternative. The HTML is of three makes: webmail replies, Outlook's Word HTML, and tables
within tables as campaign tools write them. The same seed gives the same bytes.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator

WORDS = [
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
    "für",
    "Größe",
    "über",
    "Änderung",
    "été",
    "réunion",
    "prévu",
    "señor",
    "mañana",
]
FIRST = (
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
)
LAST = (
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
)
HEX = "0123456789abcdef"
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def modern_mix(count: int = 1_200, seed: int = 24) -> list[bytes]:
    """`count` messages as messages.get answers them in format full."""
    rng = random.Random(seed)
    return [_message(rng, number) for number in range(count)]


def _message(rng: random.Random, number: int) -> bytes:
    text = "\r\n\r\n".join(_paragraph(rng) for _ in range(rng.randint(1, 6)))
    if rng.random() < 0.4:
        text += "\r\n\r\nOn Mon, 5 Oct 2026 at 09:12, Anna Abel <anna@customer.example> wrote:\r\n> " + _paragraph(rng)
    draw = rng.random()
    if draw >= 0.6:
        kind, body = "text/plain", {"mimeType": "text/plain", "filename": "", "body": _body(text)}
    else:
        page = rng.choice((_webmail, _outlook, _campaign))(rng, text)
        html = {"partId": "1", "mimeType": "text/html", "filename": "", "body": _body(page)}
        html["headers"] = [{"name": "Content-Type", "value": 'text/html; charset="UTF-8"'}]
        if draw < 0.3:
            kind, body = "text/html", {**html, "partId": ""}
        else:
            kind = "multipart/alternative"
            plain = {"partId": "0", "mimeType": "text/plain", "filename": "", "body": _body(text)}
            plain["headers"] = [{"name": "Content-Type", "value": 'text/plain; charset="UTF-8"'}]
            body = {"mimeType": kind, "filename": "", "body": {"size": 0}, "parts": [plain, html]}
    body["headers"] = _headers(rng, number, kind)
    document = {
        "id": f"{rng.getrandbits(64):016x}", "threadId": f"{rng.getrandbits(64):016x}", "labelIds": ["UNREAD", "INBOX"],
        "snippet": text[:180], "sizeEstimate": 24_000, "historyId": str(900_000 + number),
        "internalDate": str(1_790_000_000_000 + number * 60_000), "payload": body,
    }  # fmt: skip
    return json.dumps(document, ensure_ascii=False).encode()


def _body(text: str) -> dict[str, object]:
    raw = text.encode()
    return {"size": len(raw), "data": base64.urlsafe_b64encode(raw).decode()}


def _paragraph(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(18, 70))).capitalize() + "."


def _phrase(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(3, 9)))


def _person(rng: random.Random, domain: str) -> str:
    first, last = rng.choice(FIRST), rng.choice(LAST)
    name = f'"{last}, {first}"' if rng.random() < 0.2 else f"{first} {last}"
    return f"{name} <{rng.choice(HEX)}{last.lower().encode('ascii', 'ignore').decode()}@{domain}>"


def _blob(rng: random.Random, length: int) -> str:
    return "".join(rng.choices(BASE64, k=length))


def _headers(rng: random.Random, number: int, kind: str) -> list[dict[str, str]]:
    sender = f"company{number % 400}.example"
    host = f"mail-{rng.choice(HEX)}{rng.randint(10, 99)}.{sender}"
    fields: list[tuple[str, str]] = [("Delivered-To", "me@mycorp.example")]
    for hop in range(rng.randint(3, 6)):
        fields.append(
            ("Received", f"from {host} ({host}. [203.0.113.{hop}]) by mx.google.com with ESMTPS id {_blob(rng, 20)} for "
             "<me@mycorp.example> (version=TLS1_3 cipher=TLS_AES_256_GCM_SHA384 bits=256/256); Mon, 05 Oct 2026 02:14:0"
             f"{hop} -0700 (PDT)")
        )  # fmt: skip
    for instance in range(1, rng.randint(2, 4)):
        fields += [
            ("ARC-Seal", f"i={instance}; a=rsa-sha256; t=1790000000; cv=none; d=google.com; s=arc-20240605; b={_blob(rng, 344)}"),
            ("ARC-Message-Signature", f"i={instance}; a=rsa-sha256; c=relaxed/relaxed; d=google.com; s=arc-20240605; "
             f"h=to:subject:message-id:date:from:mime-version:dkim-signature; bh={_blob(rng, 44)}; b={_blob(rng, 344)}; dara=google.com"),
            ("ARC-Authentication-Results", f"i={instance}; mx.google.com; dkim=pass header.i=@{sender} header.s=s1; spf=pass "
             f"(google.com: domain of bounce@{sender} designates 203.0.113.9 as permitted sender) smtp.mailfrom=bounce@{sender}"),
        ]  # fmt: skip
    fields += [
        ("Authentication-Results", f"mx.google.com; dkim=pass header.i=@{sender}; spf=pass smtp.mailfrom=bounce@{sender}; dmarc=pass"),
        ("Return-Path", f"<bounce+{_blob(rng, 24)}@{sender}>"),
        ("DKIM-Signature", f"v=1; a=rsa-sha256; c=relaxed/relaxed; d={sender}; s=s1; t=1790000000; bh={_blob(rng, 44)}; b={_blob(rng, 344)}"),
        ("X-Google-DKIM-Signature", f"v=1; a=rsa-sha256; c=relaxed/relaxed; d=1e100.net; s=20230601; b={_blob(rng, 344)}"),
        ("X-Gm-Message-State", _blob(rng, 160)), ("X-Received", f"by 2002:a05:6402 with SMTP id {_blob(rng, 60)}; Mon, 05 Oct 2026"),
        ("MIME-Version", "1.0"), ("Date", f"Mon, 05 Oct 2026 09:{number % 60:02d}:11 +0200"),
        ("Message-ID", f"<{_blob(rng, 32).replace('/', 'x')}@{sender}>"), ("From", _person(rng, sender)),
        ("To", ", ".join(["Me <me@mycorp.example>", *(_person(rng, rng.choice((sender, "mycorp.example"))) for _ in range(rng.randint(0, 5)))])),
        ("Subject", " ".join(rng.choices(WORDS, k=6)).capitalize()), ("Content-Type", f'{kind}; boundary="{_blob(rng, 28)}"'),
    ]  # fmt: skip
    if rng.random() < 0.4:
        fields.append(("Cc", ", ".join(_person(rng, "mycorp.example") for _ in range(rng.randint(1, 4)))))
    if rng.random() < 0.5:
        fields += [("References", " ".join(f"<{_blob(rng, 30).replace('/', 'x')}@{sender}>" for _ in range(rng.randint(1, 6)))),
                   ("In-Reply-To", f"<{_blob(rng, 30).replace('/', 'x')}@{sender}>")]  # fmt: skip
    return [{"name": name, "value": value} for name, value in fields]


def _paragraphs(text: str) -> Iterator[str]:
    return (one.replace("&", "&amp;").replace("<", "&lt;").replace("\r\n", "<br>") for one in text.split("\r\n\r\n"))


def _webmail(rng: random.Random, text: str) -> str:
    body = "".join(f"<div>{one}</div><div><br></div>" for one in _paragraphs(text))
    history = ""
    for depth in range(rng.randint(2, 6)):
        lines = "".join(
            f'<div style="font-size:13px"><span style="color:rgb(34,34,34)">{_phrase(rng)}</span> <b>{_phrase(rng)}</b></div><div><br></div>'
            for _ in range(rng.randint(4, 14))
        )
        history = (
            f'<div class="gmail_quote gmail_quote_container"><div dir="ltr" class="gmail_attr">On Mon, Oct {depth + 1}, 2026 at 9:1{depth} AM '
            'Anna Abel &lt;<a href="mailto:anna@customer.example">anna@customer.example</a>&gt; wrote:<br></div><blockquote '
            'class="gmail_quote" style="margin:0px 0px 0px 0.8ex;border-left:1px solid rgb(204,204,204);padding-left:1ex">'
            f"{lines}{history}</blockquote></div>"
        )
    return f'<div dir="ltr">{body}</div><br>{history}'


def _outlook(rng: random.Random, text: str) -> str:
    style = (
        "@font-face {font-family:Calibri; panose-1:2 15 5 2 2 2 4 3 2 4;} p.MsoNormal, li.MsoNormal {margin:0cm; font-size:11.0pt; "
        'font-family:"Calibri",sans-serif; mso-fareast-language:EN-US;} a:link, span.MsoHyperlink {color:#0563C1;} '
    ) * 5
    span = '<span lang="EN-US" style="font-size:11.0pt;color:#1F497D">'
    body = "".join(
        f'<p class="MsoNormal">{span}{one}<o:p></o:p></span></p><p class="MsoNormal">{span}<o:p>&nbsp;</o:p></span></p>'
        for one in (*_paragraphs(text), *(_phrase(rng) for _ in range(rng.randint(5, 30))))
    )
    older = "".join(
        f'<p class="MsoNormal">{span}<b>{_phrase(rng)}</b> {_phrase(rng)}<o:p></o:p></span></p>'
        for _ in range(rng.randint(5, 40))
    )
    return (
        '<html xmlns:v="urn:schemas-microsoft-com:vml" xmlns:o="urn:schemas-microsoft-com:office:office"><head><meta http-equiv='
        f'"Content-Type" content="text/html; charset=utf-8"><style><!-- {style} --></style></head><body lang="EN-GB" link="#0563C1">'
        f'<div class="WordSection1">{body}<div style="border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0cm 0cm 0cm"><p '
        'class="MsoNormal"><b><span>From:</span></b> Anna Abel &lt;anna@customer.example&gt;<br><b>Sent:</b> 5 October 2026 09:12<br>'
        f"<b>To:</b> Me<br><b>Subject:</b> Offer</p></div>{older}</div></body></html>"
    )


def _campaign(rng: random.Random, text: str) -> str:
    cell = "padding:10px 25px;font-family:Helvetica,Arial,sans-serif;font-size:14px;color:#333333;"
    table = '<table border="0" cellpadding="0" cellspacing="0" width="100%"><tbody>'
    rows = "".join(
        f'{table}<tr><td style="font-size:0px;padding:20px 0;text-align:center;"><div style="display:inline-block;width:100%;">'
        f'{table}<tr><td align="left" style="{cell}"><div><b>{_phrase(rng)}</b><br>{one}</div></td></tr><tr><td align="center">'
        f'<a href="https://click.company.example/u/{_blob(rng, 60)}" target="_blank"><span>{_phrase(rng)}</span></a></td><td><img '
        'src="https://images.company.example/1.png" alt="" width="20"></td></tr></tbody></table></div></td></tr></tbody></table>'
        for one in (*_paragraphs(text), *(_phrase(rng) for _ in range(rng.randint(6, 34))))
    )
    return (
        '<!doctype html><html><head><title>News</title><style type="text/css">#outlook a { padding:0; } body { margin:0;padding:0; } '
        "table, td { border-collapse:collapse; } @media only screen and (min-width:480px) { .mj-column-per-100 { width:100% !important; } }"
        '</style></head><body style="word-spacing:normal;background-color:#f4f4f4;"><div style="display:none;font-size:1px;color:#ffffff;'
        f'max-height:0px;opacity:0;overflow:hidden;">{_paragraph(rng)}</div><div style="background-color:#f4f4f4;">{rows}</div><img '
        f'src="https://click.company.example/o/{_blob(rng, 60)}" width="1" height="1" alt=""></body></html>'
    )
