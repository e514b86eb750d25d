"""Header fields of RFC 822 bytes, however broken, and their values as Gmail's API shows them."""

from __future__ import annotations

import base64
import binascii
import codecs
import re

_FIELD = re.compile(rb"^([!-9;-~]+)[ \t]*:")
_MESSAGE_ID = re.compile(r"<\s*([^<>]+?)\s*>")
_WORD = re.compile(r"=\?([^?\s]*)\?([bBqQ])\?([^?]*)\?=")
_RUN = re.compile(r"=\?[^?\s]*\?[bBqQ]\?[^?]*\?=(?:[ \t\r\n]*=\?[^?\s]*\?[bBqQ]\?[^?]*\?=)*")
_SPECIALS = re.compile(r'[()<>@,;:\\".\[\]]')
ADDRESS_HEADERS = frozenset({
    "from", "sender", "reply-to", "to", "cc", "bcc", "resent-from", "resent-to", "resent-cc", "delivered-to", "return-path",
})  # fmt: skip


def split_head(raw: bytes) -> tuple[bytes, bytes]:
    """Header block and body. A leading mbox `From ` line is skipped; without an empty line all of it may be header."""
    start = 0
    if raw.startswith(b"From "):
        start = raw.find(b"\n") + 1
        if start == 0:
            return b"", b""
    position = start
    while position < len(raw):
        end = raw.find(b"\n", position)
        end = len(raw) if end < 0 else end + 1
        line = raw[position:end]
        if not line.strip(b"\r\n"):
            return raw[start:position], raw[end:]
        if line[:1] not in {b" ", b"\t"} and not _FIELD.match(line):
            return raw[start:position], raw[position:]
        position = end
    return raw[start:], b""


def read_headers(raw: bytes) -> list[tuple[str, str]]:
    """The fields in order, names as sent, values unfolded (line breaks taken out, white space kept) and not yet decoded."""
    return read_fields(split_head(raw)[0])


def read_fields(head: bytes) -> list[tuple[str, str]]:
    """The same, of a header block."""
    fields: list[tuple[str, str]] = []
    name, value = "", b""
    for line in head.splitlines():
        if line[:1] in {b" ", b"\t"}:
            value += line
            continue
        if name:
            fields.append((name, to_text(value).strip()))
        name_bytes, _, value = line.partition(b":")
        name = name_bytes.strip().decode("ascii", "replace")
    if name:
        fields.append((name, to_text(value).strip()))
    return fields


def to_text(data: bytes, charset: str = "") -> str:
    """Bytes as text that always encodes to UTF-8: the charset named, else UTF-8, else Windows-1252 with Latin-1's gaps."""
    if not charset and data.isascii():
        return data.decode("ascii")
    for name in (charset, "utf-8", "cp1252"):
        if not name:
            continue
        try:
            return _clean(codecs.decode(data, python_charset(name)))
        except (LookupError, ValueError, TypeError, AttributeError):
            continue
    return data.decode("latin-1")


def python_charset(name: str) -> str:
    """Python's name for a MIME charset, in the wider form browsers and Gmail read it as; non-text codecs are refused.

    Raises:
        LookupError: not a charset.
    """
    plain = name.strip().strip("'\"").lower().split("*")[0]
    wider = {
        "iso-8859-1": "cp1252", "latin1": "cp1252", "us-ascii": "cp1252", "ascii": "cp1252", "ks_c_5601-1987": "cp949",
        "gb2312": "gb18030", "gbk": "gb18030", "x-gbk": "gb18030", "iso-8859-8-i": "iso-8859-8", "x-sjis": "cp932",
        "shift_jis": "cp932", "iso-2022-jp": "iso2022_jp_ext", "windows-874": "cp874", "unicode-1-1-utf-7": "utf-7",
        "cp-850": "cp850", "utf8": "utf-8", "big5": "big5hkscs",
    }.get(plain, plain)  # fmt: skip
    if not plain.isascii() or "\0" in plain or not codecs.lookup(wider)._is_text_encoding:
        raise LookupError(name)
    return wider


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def decode_value(value: str) -> str:
    """RFC 2047 encoded words decoded, as Gmail gives subjects and other text; what cannot be decoded stays as it was."""
    return _RUN.sub(lambda run: _decode_run(run.group(0)), value) if "=?" in value else value


def decode_addresses(value: str) -> str:
    """The same for a field with addresses: a name that needs quotes after decoding gets them."""
    if "=?" not in value or '"' in value:
        return decode_value(value)

    def one(run: re.Match[str]) -> str:
        words = _decode_run(run.group(0))
        if words == run.group(0) or not _SPECIALS.search(words):
            return words
        return '"' + words.replace("\\", "\\\\").replace('"', '\\"') + '"'

    return _RUN.sub(one, value)


def _decode_run(run: str) -> str:
    """Encoded words side by side; the bytes of those in one charset belong together, for some senders cut inside a letter."""
    pieces: list[tuple[str, bytes]] = []
    for charset, encoding, text in _WORD.findall(run):
        try:
            if encoding in "bB":
                data = base64.b64decode(text + "=" * (-len(text) % 4))
            else:
                data = binascii.a2b_qp(text.encode("ascii"), header=True)
        except (ValueError, binascii.Error):
            return run
        if pieces and pieces[-1][0] == charset.lower():
            pieces[-1] = (charset.lower(), pieces[-1][1] + data)
        else:
            pieces.append((charset.lower(), data))
    try:
        decoded = "".join(codecs.decode(data, python_charset(charset)) for charset, data in pieces)
    except (LookupError, ValueError, TypeError, AttributeError):
        return run
    return _clean(decoded).replace("\r", " ").replace("\n", " ")


def shown_value(name: str, value: str) -> str:
    """A field's value as `payload.headers` shows it."""
    return decode_addresses(value) if name.lower() in ADDRESS_HEADERS else decode_value(value)


def message_ids(value: str) -> list[str]:
    """The ids in Message-ID, References or In-Reply-To, without their angle brackets."""
    return _MESSAGE_ID.findall(value) or ([value.strip()] if value.strip() and " " not in value.strip() else [])
