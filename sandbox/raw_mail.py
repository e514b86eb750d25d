"""A message's bytes: where they are, and what a mailbox needs to know of them."""

from __future__ import annotations

import hashlib
import pathlib
import re
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .headers import read_headers

_QUOTED_FROM = re.compile(rb"(?m)^>(>*From )")


class RawMail(Protocol):
    """Where a message's bytes are."""

    def read(self) -> bytes:
        """The whole message, RFC 822 bytes as they arrived."""


@dataclass(frozen=True, slots=True)
class InMemory:
    """Bytes that were delivered while the sandbox runs."""

    data: bytes

    def read(self) -> bytes:
        """The bytes."""
        return self.data


@dataclass(frozen=True, slots=True)
class FileSlice:
    """A message inside a file, read when it is asked for: a whole mbox of years need not fit in memory."""

    path: pathlib.Path
    start: int
    end: int
    unquote_from: bool = False

    def read(self) -> bytes:
        """The bytes; in an mbox one `>` before a quoted `From ` at the start of a line is taken away (mboxrd)."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            data = file.read(self.end - self.start)
        return unquote_mboxrd(data) if self.unquote_from else data


def unquote_mboxrd(data: bytes) -> bytes:
    """A message as it was before it was put in an mbox: one `>` less before each quoted `From `."""
    return _QUOTED_FROM.sub(rb"\1", data) if b">From " in data else data


class MailIndex(NamedTuple):
    """What a mailbox needs to know of a message's bytes: first value of each header (lower-case names), size, digest."""

    headers: dict[str, str]
    size: int
    digest: bytes


def index_mail(data: bytes) -> MailIndex:
    """The index of a message's bytes."""
    headers: dict[str, str] = {}
    for name, value in read_headers(data):
        headers.setdefault(name.lower(), value)
    return MailIndex(headers, len(data), hashlib.sha256(data).digest())
