"""Mail from files: an mbox (Google Takeout), a Maildir, a folder of .eml files, or one .eml; nothing is copied.

Labels come from `X-Gmail-Labels` (Takeout) where there is one, else from Maildir flags, folder names, and whether the owner
wrote the mail. The internal date comes from Takeout's From_ line, else the newest Received, else Date, else the file's time.
"""

from __future__ import annotations

import email.utils
import mmap
import pathlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from .headers import decode_value
from .mailbox import NewMail
from .raw_mail import FileSlice, RawMail, index_mail, unquote_mboxrd

_TAKEOUT_FROM = re.compile(rb"From (\d{15,20})@xxx (.+)")
_MBOX_MARK = re.compile(rb"(?m)^From [^\r\n]*\d\d:\d\d[^\r\n]*\r?$")
_MBOX_DATE = re.compile(
    rb"([A-Z][a-z]{2} [A-Z][a-z]{2} +\d{1,2} \d\d:\d\d(?::\d\d)?(?: [+-]\d{4}| [A-Z]{3,4})? \d{4}(?: [+-]\d{4})?)"
)
_HEAD_BYTES = 256 * 1024
EARLIEST_MS = 0
_FOLDERS = {
    "sent": "SENT", "sent items": "SENT", "sent mail": "SENT", "sent messages": "SENT", "outbox": "SENT", "drafts": "DRAFT",
    "draft": "DRAFT", "trash": "TRASH", "bin": "TRASH", "deleted items": "TRASH", "deleted messages": "TRASH", "spam": "SPAM",
    "junk": "SPAM", "junk e-mail": "SPAM", "junk email": "SPAM", "bulk mail": "SPAM", "chats": "CHAT", "inbox": "INBOX",
}  # fmt: skip
# Takeout writes the labels as the account's language shows them; these are the names in the commonest ones.
_TAKEOUT_LABELS = {
    "inbox": "INBOX", "posteingang": "INBOX", "boîte de réception": "INBOX", "recibidos": "INBOX", "postvak in": "INBOX",
    "sent": "SENT", "gesendet": "SENT", "messages envoyés": "SENT", "enviados": "SENT", "verzonden": "SENT",
    "drafts": "DRAFT", "draft": "DRAFT", "entwürfe": "DRAFT", "brouillons": "DRAFT", "borradores": "DRAFT",
    "trash": "TRASH", "papierkorb": "TRASH", "corbeille": "TRASH", "papelera": "TRASH",
    "spam": "SPAM", "chat": "CHAT", "chats": "CHAT", "unread": "UNREAD", "ungelesen": "UNREAD", "non lus": "UNREAD",
    "starred": "STARRED", "important": "IMPORTANT", "wichtig": "IMPORTANT", "category personal": "CATEGORY_PERSONAL",
    "category social": "CATEGORY_SOCIAL", "category promotions": "CATEGORY_PROMOTIONS",
    "category updates": "CATEGORY_UPDATES", "category forums": "CATEGORY_FORUMS", "category purchases": "CATEGORY_UPDATES",
}  # fmt: skip
_TAKEOUT_IGNORED = frozenset(
    {"opened", "geöffnet", "ouvert", "abierto", "archived", "archiviert", "archivés", "archivados"}
)


class MailSourceError(Exception):
    """The path holds no mail that can be served. The text names the path."""


def read_mail(path: pathlib.Path, owner: str) -> Iterator[NewMail]:
    """Every message under `path`, for the mailbox of `owner` (its address).

    Raises:
        MailSourceError: there is nothing at `path`, or nothing in it.
    """
    if path.is_file():
        yield from _read_file(path, owner)
        return
    if not path.is_dir():
        msg = f"no mail at {path}: give an mbox file, a Maildir, a folder of .eml files or an .eml file"
        raise MailSourceError(msg)
    files = sorted(one for one in path.rglob("*") if one.is_file() and not one.name.startswith("."))
    if any(one.parent.name in {"cur", "new"} for one in files):
        for one in files:
            if one.parent.name in {"cur", "new"}:
                yield _from_maildir(one, path, owner)
        return
    known = [one for one in files if one.suffix.lower() in {".eml", ".mbox", ".mbx"}]
    for one in known or files:
        yield from _read_file(one, owner, path)


def parse_mail_option(text: str) -> list[tuple[str, pathlib.Path | None]]:
    """`ADDR=PATH,ADDR=PATH` as pairs; `ADDR=` is an empty mailbox.

    Raises:
        MailSourceError: a pair has another form.
    """
    pairs: list[tuple[str, pathlib.Path | None]] = []
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        address, equals, path = piece.partition("=")
        if not equals or "@" not in address:
            msg = f"{piece!r} is no ADDRESS=PATH"
            raise MailSourceError(msg)
        pairs.append((address.strip(), pathlib.Path(path).expanduser() if path else None))
    return pairs


def _read_file(path: pathlib.Path, owner: str, root: pathlib.Path | None = None) -> Iterator[NewMail]:
    with path.open("rb") as file:
        start = file.read(5)
    if start == b"From " and path.suffix.lower() != ".eml":
        yield from _read_mbox(path, owner)
        return
    raw = FileSlice(path, 0, path.stat().st_size)
    labels = _folder_labels(path, root) if root else frozenset()
    yield _new_mail(raw, raw.read(), owner, labels, path)


def _read_mbox(path: pathlib.Path, owner: str) -> Iterator[NewMail]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        marks = [
            mark.span() for mark in _MBOX_MARK.finditer(data) if not mark.start() or _blank_before(data, mark.start())
        ]
        for number, (start, end) in enumerate(marks):
            stop = marks[number + 1][0] if number + 1 < len(marks) else len(data)
            mail = unquote_mboxrd(data[end + 1 : stop])
            raw = FileSlice(path, end + 1, stop, unquote_from=True)
            yield _new_mail(raw, mail, owner, frozenset(), path, data[start:end].strip())


def _blank_before(data: mmap.mmap, position: int) -> bool:
    return data[max(0, position - 2) : position] == b"\n\n" or data[max(0, position - 4) : position] == b"\r\n\r\n"


def _from_maildir(path: pathlib.Path, root: pathlib.Path, owner: str) -> NewMail:
    flags = path.name.rpartition(":2,")[2] if ":2," in path.name else ""
    labels = set(_folder_labels(path.parent, root))
    labels |= {label for flag, label in (("D", "DRAFT"), ("T", "TRASH"), ("F", "STARRED")) if flag in flags}
    if "S" not in flags:
        labels.add("UNREAD")
    raw = FileSlice(path, 0, path.stat().st_size)
    return _new_mail(raw, raw.read(), owner, frozenset(labels), path)


def _folder_labels(path: pathlib.Path, root: pathlib.Path) -> frozenset[str]:
    """The label that a folder's name stands for; Maildir++ writes `.Sent`, others `_sent_mail` or `Sent Items`."""
    for name in reversed(path.relative_to(root).parent.parts):
        plain = re.sub(r"[_\s]+", " ", name.rpartition(".")[2].lower()).strip()
        if plain in _FOLDERS:
            return frozenset({_FOLDERS[plain]})
    return frozenset()


def _new_mail(
    raw: RawMail, data: bytes, owner: str, labels: frozenset[str], path: pathlib.Path, from_line: bytes = b""
) -> NewMail:
    index = index_mail(data)
    headers = index.headers
    takeout = _TAKEOUT_FROM.match(from_line)
    gmail_id = f"{int(takeout.group(1)):016x}" if takeout and int(takeout.group(1)) < 1 << 64 else ""
    thread = headers.get("x-gm-thrid", "")
    thread_id = f"{int(thread):016x}" if thread.isascii() and thread.isdigit() and int(thread) < 1 << 64 else ""
    if "x-gmail-labels" in headers:
        labels = labels_from_takeout(headers["x-gmail-labels"])
    elif not labels & {"SENT", "DRAFT", "TRASH", "SPAM", "CHAT", "INBOX"}:
        labels |= {"SENT" if _is_from(headers.get("from", ""), owner) else "INBOX"}
    moment = None
    if takeout or ("received" not in headers and from_line):
        moment = _from_line_date(from_line)
    return NewMail(raw, labels, moment or internal_date(headers, path.stat().st_mtime), gmail_id, thread_id, index)


def labels_from_takeout(value: str) -> frozenset[str]:
    """Label names of an `X-Gmail-Labels` value: system labels by id, the user's own by name."""
    labels = set()
    for piece in decode_value(value).split(","):
        name = piece.strip().strip('"')
        lower = name.lower()
        if name and lower not in _TAKEOUT_IGNORED:
            labels.add(_TAKEOUT_LABELS.get(lower, name))
    return frozenset(labels)


def internal_date(headers: dict[str, str], fallback: float) -> int:
    """Milliseconds since 1970: when the last server received the mail, else Date, else `fallback` (seconds since 1970)."""
    received = headers.get("received", "").rpartition(";")[2]
    return parse_date(received) or parse_date(headers.get("date", "")) or int(fallback * 1000)


def parse_date(text: str) -> int | None:
    """A date of RFC 5322, or what looks like one, in ms since 1970; None where it is none or lies outside 1970 to 9999."""
    fields = email.utils.parsedate_tz(text.strip()[:200]) if text.strip() else None
    if fields is None:
        return None
    try:
        seconds = datetime(*fields[:6], tzinfo=UTC).timestamp() - (fields[9] or 0)
    except (ValueError, OverflowError, TypeError):
        return None
    milliseconds = int(seconds * 1000)
    return milliseconds if milliseconds > EARLIEST_MS else None


def _from_line_date(line: bytes) -> int | None:
    match = _MBOX_DATE.search(line)
    if not match:
        return None
    words = match.group(1).decode("ascii").split()
    day_name, month, day, clock, *rest = words
    year = next((word for word in rest if re.fullmatch(r"\d{4}", word)), "")
    zone = next((word for word in rest if re.fullmatch(r"[+-]\d{4}", word)), "+0000")
    return parse_date(f"{day_name}, {day} {month} {year} {clock} {zone}")


def _is_from(value: str, owner: str) -> bool:
    return owner.lower() in value.lower()
