"""Mail: one mail as its author's program writes it, and its bytes as one mailbox holds them (RFC 5322, 2045 to 2047, 3676)."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import datetime as dt
import email.utils
import quopri
import random
import textwrap
import zlib
from email.header import Header

from . import markup

Box = tuple[str, str]


@dataclasses.dataclass(slots=True)
class Mail:
    """One mail. `text` is what its author wrote (paragraphs parted by blank lines), without the quote of `answers`.

    `shape` is plain, flowed, html, alternative, related (inline image) or mixed (PDF attached); `html` replaces the HTML that
    the author's program would make of `text`. `headers` come after the usual ones. `date` replaces the Date header ("" leaves
    it out), as does `sender_line` the From header and `to_line` the To header.
    """

    sender: Box
    to: tuple[Box, ...]
    subject: str
    text: str
    when: dt.datetime
    message_id: str = ""
    cc: tuple[Box, ...] = ()
    bcc: tuple[Box, ...] = ()
    client: str = "gmail"
    zone: float = 0
    lang: str = "en"
    charset: str = "utf-8"
    cte: str = "quoted-printable"
    shape: str = "alternative"
    answers: Mail | None = None
    quoting: bool = True
    headers: tuple[tuple[str, str], ...] = ()
    html: str | None = None
    date: str | None = None
    sender_line: str | None = None
    to_line: str | None = None
    calendar: tuple[str, str] | None = None
    report: tuple[str, str, str] | None = None

    @property
    def local_time(self) -> dt.datetime:
        """When it was written, on its author's clock."""
        return self.when.astimezone(dt.timezone(dt.timedelta(hours=self.zone)))

    @property
    def references(self) -> tuple[str, ...]:
        """The Message-IDs of the mails before it."""
        return () if self.answers is None else (*self.answers.references, self.answers.message_id)

    def plain(self) -> str:
        """The whole text with the quoted history."""
        return markup.with_plain_quote(self.text, self)


def encoded(text: str, charset: str = "utf-8") -> str:
    """`text` for an unstructured header: as it is where ASCII, else in encoded words (RFC 2047)."""
    if text.isascii():
        return "\r\n ".join(textwrap.wrap(text, 200, break_long_words=False)) if len(text) > 200 else text
    return Header(text, _able(text, charset), maxlinelen=74).encode(linesep="\r\n")


def address(box: Box, charset: str = "utf-8") -> str:
    """A mailbox as header text; the name is quoted or encoded where it must be."""
    name, addr = box
    if not name:
        return addr
    if name.isascii():
        return email.utils.formataddr((name, addr))
    return f"{Header(name, _able(name, charset), maxlinelen=60).encode(linesep=chr(13) + chr(10))} <{addr}>"


def _able(text: str, charset: str) -> str:
    try:
        text.encode(charset)
    except UnicodeEncodeError:
        return "utf-8"
    return charset


def flowed(text: str) -> str:
    """`text` as format=flowed (RFC 3676): soft breaks end in a space, and lines that need it are space-stuffed."""
    lines: list[str] = []
    for line in text.split("\n"):
        if line.startswith(">") or line == "-- ":
            lines.append(line)
            continue
        pieces = textwrap.wrap(line, 70, break_long_words=False, break_on_hyphens=False) or [""]
        stuffed = [f" {p}" if p.startswith((" ", "From ", ">")) else p for p in pieces]
        lines += [f"{p} " for p in stuffed[:-1]] + stuffed[-1:]
    return "\n".join(lines)


def _leaf(kind: str, text: str, charset: str, cte: str, params: str = "") -> tuple[list[str], bytes]:
    charset = _able(text, charset)
    data = text.replace("\r\n", "\n").encode(charset)
    if cte in {"7bit", "8bit"} and charset != "iso-2022-jp":
        cte = "7bit" if data.isascii() else "8bit"
    elif charset == "iso-2022-jp" and cte != "base64":
        cte = "7bit"
    if cte == "quoted-printable":
        data = quopri.encodestring(data)
    elif cte == "base64":
        data = base64.encodebytes(data.replace(b"\n", b"\r\n"))
    shown = {"utf-8": "UTF-8", "iso-2022-jp": "ISO-2022-JP"}.get(charset, charset)
    head = [f'Content-Type: {kind}; charset="{shown}"{params}', f"Content-Transfer-Encoding: {cte}"]
    return head, data.replace(b"\n", b"\r\n") if b"\r\n" not in data else data


def _binary(head: list[str], data: bytes) -> tuple[list[str], bytes]:
    return [*head, "Content-Transfer-Encoding: base64"], base64.encodebytes(data).replace(b"\n", b"\r\n")


def _multi(kind: str, boundary: str, parts: list[tuple[list[str], bytes]], params: str = "") -> tuple[list[str], bytes]:
    out = b""
    for head, data in parts:
        out += f"--{boundary}\r\n".encode() + "\r\n".join(head).encode() + b"\r\n\r\n" + data.rstrip(b"\r\n") + b"\r\n"
    return [f'Content-Type: multipart/{kind}; boundary="{boundary}"{params}'], out + f"--{boundary}--\r\n".encode()


def tiny_png(shade: int) -> bytes:
    """A grey picture of one pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + binascii.crc32(name + data).to_bytes(4, "big")

    header = b"\0\0\0\1\0\0\0\1\x08\0\0\0\0"
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes([0, shade])))
        + chunk(b"IEND", b"")
    )


def tiny_pdf(title: str) -> bytes:
    """A PDF of one empty page."""
    return (
        "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        "3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]>>endobj\n"
        f"trailer<</Root 1 0 R/Info<</Title({title})>>>>\n%%EOF\n"
    ).encode("ascii", "replace")


def _body(mail: Mail, rng: random.Random) -> tuple[list[str], bytes]:
    edge = {"outlook": "_000_", "apple": "Apple-Mail=_", "thunderbird": "------------", "gmail": "000000000000"}.get(
        mail.client, "=_b"
    )

    def boundary() -> str:
        return edge + "".join(rng.choices("0123456789abcdef", k=24))

    text = mail.plain()
    if mail.report is not None:
        notice, status, original = mail.report
        parts = [_leaf("text/plain", notice, "utf-8", "8bit")]
        parts.append((["Content-Type: message/delivery-status"], status.replace("\n", "\r\n").encode()))
        parts.append((["Content-Type: message/rfc822"], original.replace("\n", "\r\n").encode()))
        return _multi("report", boundary(), parts, "; report-type=delivery-status")
    if mail.shape == "plain":
        return _leaf("text/plain", text, mail.charset, mail.cte)
    if mail.shape == "flowed":
        return _leaf("text/plain", flowed(text), mail.charset, mail.cte, "; format=flowed")
    page = mail.html or markup.page(mail)
    if mail.shape == "html":
        return _leaf("text/html", page, mail.charset, mail.cte)
    if mail.shape == "related":
        cid = f"image001.png@01{rng.randrange(16**6):06X}.{rng.randrange(16**8):08X}"
        page = page.replace("</body>", f'<p><img width="1" height="1" src="cid:{cid}" alt="logo"></p></body>')
        if "cid:" not in page:
            page += f'<img src="cid:{cid}" alt="logo">'
    plain_part = _leaf("text/plain", text, mail.charset, mail.cte)
    both = [plain_part, _leaf("text/html", page, mail.charset, mail.cte)]
    if mail.calendar is not None:
        method, entry = mail.calendar
        both.append(_leaf("text/calendar", entry, "utf-8", mail.cte, f"; method={method}"))
    body = _multi("alternative", boundary(), both)
    if mail.calendar is not None:
        attached = _binary(
            [
                'Content-Type: application/ics; name="invite.ics"',
                'Content-Disposition: attachment; filename="invite.ics"',
            ],
            mail.calendar[1].encode(),
        )
        return _multi("mixed", boundary(), [body, attached])
    if mail.shape == "related":
        image = _binary(
            [
                'Content-Type: image/png; name="image001.png"',
                f"Content-ID: <{cid}>",
                'Content-Disposition: inline; filename="image001.png"',
            ],
            tiny_png(rng.randrange(256)),
        )
        return _multi("related", boundary(), [body, image], '; type="multipart/alternative"')
    if mail.shape == "mixed":
        name = f"offer-{rng.randrange(1000, 9999)}.pdf"
        pdf = _binary(
            [f'Content-Type: application/pdf; name="{name}"', f'Content-Disposition: attachment; filename="{name}"'],
            tiny_pdf(name),
        )
        return _multi("mixed", boundary(), [body, pdf])
    return body


AGENTS = {
    "outlook": (
        ("X-Mailer", "Microsoft Outlook 16.0"),
        ("Thread-Index", ""),
        ("Accept-Language", "en-GB, en-US"),
        ("X-MS-Has-Attach", ""),
    ),
    "apple": (("X-Mailer", "Apple Mail (2.3774.300.61.1.2)"),),
    "thunderbird": (("User-Agent", "Mozilla Thunderbird"),),
}


def rendered(mail: Mail, rng: random.Random) -> bytes:
    """The mail as its author's program hands it over: header section without trace fields and without Bcc, and body."""
    head: list[str] = []

    def add(name: str, value: str) -> None:
        head.append(f"{name}: {value}".rstrip())

    add("From", mail.sender_line if mail.sender_line is not None else address(mail.sender, mail.charset))
    if mail.to_line is not None:
        add("To", mail.to_line)
    elif mail.to:
        add("To", ",\r\n ".join(address(box, mail.charset) for box in mail.to))
    if mail.cc:
        add("Cc", ",\r\n ".join(address(box, mail.charset) for box in mail.cc))
    add("Subject", encoded(mail.subject, mail.charset))
    if mail.date != "":
        add("Date", mail.date or email.utils.format_datetime(mail.local_time.replace(microsecond=0)))
    if mail.message_id:
        add("Message-ID" if mail.client != "apple" else "Message-Id", f"<{mail.message_id}>")
    if mail.references and mail.references[-1]:
        add("In-Reply-To", f"<{mail.references[-1]}>")
        add("References", "\r\n ".join(f"<{one}>" for one in mail.references if one))
    for name, value in AGENTS.get(mail.client, ()):
        if name == "Thread-Index":
            value = base64.b64encode(rng.randbytes(22)).decode()  # noqa: PLW2901 -- the table's place holder is filled in
        add(name, value)
    for name, value in mail.headers:
        add(name, value)
    add("MIME-Version", "1.0")
    body_head, body = _body(mail, rng)
    return "\r\n".join([*head, *body_head]).encode("utf-8") + b"\r\n\r\n" + body


def received(raw: bytes, mailbox: str, envelope_from: str, host: str, at: dt.datetime, rng: random.Random) -> bytes:
    """`raw` as the mailbox's provider stores it: with the trace fields that delivery adds on top."""
    stamp = email.utils.format_datetime(at.replace(microsecond=0))
    token = "".join(rng.choices("0123456789abcdef", k=16))
    trace = (
        f"Delivered-To: {mailbox}\r\n"
        f"Received: by 2002:a05:6504:{token[:4]}:b0:{token[4:7]} with SMTP id {token};\r\n        {stamp}\r\n"
        f"Return-Path: <{envelope_from}>\r\n"
        f"Received: from {host} ({host} [192.0.2.{rng.randrange(1, 255)}])\r\n        by mx.mailhost.example with ESMTPS id {token[::-1]}\r\n"
        f"        for <{mailbox}>; {stamp}\r\n"
        f"Authentication-Results: mx.mailhost.example; dkim=pass header.i=@{host.partition('.')[2]}; spf=pass smtp.mailfrom={envelope_from or host}\r\n"
    )
    return trace.encode() + raw
