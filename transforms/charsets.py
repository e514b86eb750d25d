"""Bytes of a text part to characters, whatever the part's header claims; and characters that no store chokes on.

Gmail re-encodes text bodies to UTF-8 in format full but leaves the sender's charset parameter in place, while bytes of
attachments.get are the sender's own. So: what is valid UTF-8 is UTF-8, unless it carries the escapes of a 7-bit charset.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache
from typing import Final

CHARSET_REPLACED: Final = "charset.replaced"
"""Flag: some bytes made no sense in any charset tried and stand as U+FFFD."""
CHARSET_GUESSED: Final = "charset.guessed"
"""Flag: neither UTF-8 nor the declared charset fitted; the bytes were read as Windows-1252."""

# Python's registry also holds codecs that are no charsets (zlib, rot13, unicode_escape) or that take quadratic time (idna,
# punycode): a sender must not be able to name them.
_CHARSETS: Final = frozenset(
    """ascii big5 big5hkscs cp037 cp273 cp424 cp437 cp500 cp720 cp737 cp775 cp850 cp852 cp855 cp856 cp857 cp858 cp860 cp861
    cp862 cp863 cp864 cp865 cp866 cp869 cp874 cp932 cp949 cp950 cp1006 cp1026 cp1125 cp1140 cp1250 cp1251 cp1252 cp1253 cp1254
    cp1255 cp1256 cp1257 cp1258 euc_jp euc_jis_2004 euc_jisx0213 euc_kr gb18030 gb2312 gbk hz iso2022_jp iso2022_jp_1
    iso2022_jp_2 iso2022_jp_2004 iso2022_jp_3 iso2022_jp_ext iso2022_kr iso8859-1 iso8859-2 iso8859-3 iso8859-4 iso8859-5
    iso8859-6 iso8859-7 iso8859-8 iso8859-9 iso8859-10 iso8859-11 iso8859-13 iso8859-14 iso8859-15 iso8859-16 johab koi8-r koi8-t
    koi8-u kz1048 mac-cyrillic mac-greek mac-iceland mac-latin2 mac-roman mac-turkish ptcp154 shift_jis shift_jis_2004
    shift_jisx0213 tis-620 utf-7 utf-8 utf-8-sig utf-16 utf-16-be utf-16-le utf-32 utf-32-be utf-32-le""".split()  # noqa: SIM905 (a list of quoted words would be three times as long)
)
# What senders declare, and the superset that they in fact send (WHATWG Encoding Standard, section 4.2, does the same).
_SUPERSETS: Final = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949",
    "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874", "big5": "big5hkscs", "iso2022_jp": "iso2022_jp_ext",
    "utf-8-sig": "utf-8",
}  # fmt: skip
_SPELLINGS: Final = {
    "iso-8859-8-i": "iso8859-8", "iso-8859-8-e": "iso8859-8", "iso-8859-6-i": "iso8859-6", "x-sjis": "cp932",
    "windows-31j": "cp932", "x-euc-jp": "euc_jp", "x-gbk": "gb18030", "gb_2312-80": "gb18030", "chinesebig5": "big5hkscs",
    "x-x-big5": "big5hkscs", "ks_c_5601-1987": "cp949", "ks_c_5601": "cp949", "ks_c_5601-1989": "cp949", "korean": "cp949",
    "windows-949": "cp949", "windows-874": "cp874", "dos-874": "cp874", "x-mac-roman": "mac-roman", "macintosh": "mac-roman",
    "x-mac-cyrillic": "mac-cyrillic", "unicode-1-1-utf-7": "utf-7", "unicode-1-1-utf-8": "utf-8", "utf8mb4": "utf-8",
    "x-utf-8": "utf-8", "hz-gb-2312": "hz", "x-cp1250": "cp1250", "x-cp1251": "cp1251", "x-cp1252": "cp1252", "ansi": "cp1252",
    "x-ansi": "cp1252", "x-windows-949": "cp949",
}  # fmt: skip
_SEVEN_BIT: Final = re.compile(rb"\x1b[$(&.N]|\x0e")
_HZ: Final = re.compile(rb"~\{")
_UTF7: Final = re.compile(rb"\+[A-Za-z0-9+/]{2,}")
_MULTI_BYTE: Final = frozenset({"big5hkscs", "cp932", "cp949", "euc_jp", "gb18030", "cp950", "johab"})


@lru_cache(maxsize=512)
def known_charset(label: str) -> str | None:
    """Python's name for the charset a sender calls `label`, or None where it names no charset."""
    name = label.strip().strip("\"'").lower().partition("*")[0][:64]
    if not name.isascii():
        return None
    name = _SPELLINGS.get(name, name)
    try:
        name = codecs.lookup(name).name
    except (LookupError, ValueError):
        return None
    if name not in _CHARSETS:
        return None
    return _SUPERSETS.get(name, name)


def decode_text(data: bytes, declared: str = "") -> tuple[str, str | None]:
    """The characters of `data`, whose sender declared the charset `declared` ("" for none), and a flag or None. Never raises.

    Order: byte order mark; the declared charset where its 7-bit escapes (RFC 1468, 1557, 1843, 2152) or UTF-16's NULs are
    still there; strict UTF-8; the declared charset; UTF-8 with replacements where most of it is UTF-8; Windows-1252.
    """
    if data[:1] in _MARK_STARTS:
        marked = _byte_order(data)
        if marked is not None:
            return marked
    charset = known_charset(declared) if declared else None
    if charset is not None:
        text = _still_encoded(data, charset) if charset in _TRANSPARENT else None
        if text is not None:
            return text, None
    elif b"\x1b$" in data:
        text = _strict(data, "iso2022_jp_ext")
        if text is not None:
            return text, None
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError:
        pass
    if charset is not None and charset not in {"utf-8", "utf-7"}:
        text = _strict(data, charset)
        if text is not None:
            return text, None
        if charset in _MULTI_BYTE:
            text = data.decode(charset, "replace")
            if text.count("\ufffd") <= len(text) // 20:
                return text, CHARSET_REPLACED
    text = data.decode("utf-8", "replace")
    beyond_ascii = sum(1 for character in text if character > "\x7f")
    if text.count("\ufffd") * 2 < beyond_ascii:
        return text, CHARSET_REPLACED
    text = data.decode("cp1252", "replace")
    return text, CHARSET_REPLACED if "\ufffd" in text else CHARSET_GUESSED


_MARK_STARTS: Final = frozenset({codecs.BOM_UTF8[:1], codecs.BOM_UTF16_LE[:1], codecs.BOM_UTF16_BE[:1]})
_MARKS_UTF8: Final = re.compile(b"(?:%s)++" % codecs.BOM_UTF8)
"""All that stand in a row: joined files have several, and a sender can write thousands."""


def _byte_order(data: bytes) -> tuple[str, str | None] | None:
    """The text where a byte order mark says what it is (Unicode 15.0, section 23.8)."""
    for mark, charset in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if data.startswith(mark):
            text = data[2:].decode(charset, "replace")
            return text, CHARSET_REPLACED if "\ufffd" in text else None
    if marks := _MARKS_UTF8.match(data):
        return decode_text(data[marks.end() :], "utf-8")
    return None


_EBCDIC: Final = frozenset({"cp037", "cp273", "cp424", "cp500", "cp1026", "cp1140"})
_TRANSPARENT: Final = _EBCDIC | {
    one
    for one in _CHARSETS | set(_SUPERSETS.values())
    if one.startswith(("iso2022", "utf-16", "utf-32", "hz", "utf-7"))
}
"""Charsets whose bytes can be valid UTF-8 and still mean something else."""


def _still_encoded(data: bytes, charset: str) -> str | None:
    """The text where `data`, though valid UTF-8, is plainly still in `charset`."""
    if charset.startswith("iso2022"):
        return _strict(data, charset) if _SEVEN_BIT.search(data) else None
    if charset.startswith(("utf-16", "utf-32")):
        return _strict(data, charset) if b"\0" in data else None
    if charset == "hz":
        return _strict(data, charset) if _HZ.search(data) else None
    if charset == "utf-7":
        return _strict(data, charset) if data.isascii() and _UTF7.search(data) else None
    if charset in _EBCDIC:
        return None if b"\n" in data or b" " in data else _strict(data, charset)
    return None


def _strict(data: bytes, charset: str) -> str | None:
    try:
        return data.decode(charset)
    except (UnicodeDecodeError, UnicodeError):
        return None


_UNWANTED: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\xa0\xad\u034f\u2007\u200b\u2028\u2029\u202f\u2060\ud800-\udfff\ufeff\ufffe\uffff]"
)
_REPLACEMENTS: Final[dict[int, str | None]] = {
    **dict.fromkeys(range(0x20)), **dict.fromkeys(range(0x7F, 0xA0)), **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
    0x09: "\t", 0x0A: "\n", 0x0B: "\n", 0x0C: "\n", 0x0D: "\n", 0x85: "\n", 0x2028: "\n", 0x2029: "\n",
    0xA0: " ", 0x2007: " ", 0x202F: " ",
    0xAD: None, 0x034F: None, 0x200B: None, 0x2060: None, 0xFEFF: None, 0xFFFE: None, 0xFFFF: None,
}  # fmt: skip


_WANTED: Final = bytes(code for code in range(256) if not _UNWANTED.match(chr(code)))


def clean_text(text: str) -> str:
    """`text` fit for every store: lines end in a line feed; no NUL or other control but tab; no lone surrogate (U+FFFD instead).

    No-break spaces become spaces; soft hyphens, zero-width spaces and joiners that only pad (preheaders are full of them) go.
    Bidirectional marks and the zero-width (non-)joiner stay: Hebrew, Arabic, Persian and emoji need them.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    if text.isascii():
        return text.translate(_REPLACEMENTS) if text.encode().translate(None, _WANTED) else text
    if "\xa0" in text:
        text = text.replace("\xa0", " ")
    try:
        if not text.encode("latin-1").translate(None, _WANTED):
            return text
    except UnicodeEncodeError:
        if text.replace("\n", "").replace("\t", "").isprintable():
            return text
    return _UNWANTED.sub(_replace, text)


def _replace(match: re.Match[str]) -> str:
    return _REPLACEMENTS[ord(match[0])] or ""
