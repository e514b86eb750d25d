from __future__ import annotations

import base64
import json
import pathlib
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealmail.sandbox import payload
from dealmail.sandbox.headers import decode_addresses, decode_value, read_headers, to_text

TORTURE = (
    "cpython-test-email", "enmime", "gmail-archive-fixtures", "imap_tools", "k9", "mail-deduplicate", "mikel-mail", "mime-tools",
    "mime4j", "mimekit", "parsedmarc", "sisimai", "django-helpdesk", "talon",
)  # fmt: skip


def resource(raw: bytes, limit: int = payload.DEFAULT_INLINE_LIMIT) -> dict[str, Any]:
    return payload.resource(payload.parse(raw), lambda part_id: f"token-{part_id}", limit)


def data(node: dict[str, Any]) -> bytes:
    return base64.urlsafe_b64decode(node["body"]["data"])


@pytest.mark.corpus
@pytest.mark.parametrize("folder", TORTURE)
def test_every_torture_mail_gets_a_payload(corpora: pathlib.Path, folder: str) -> None:
    files = [one for one in (corpora / folder).rglob("*") if one.is_file()]
    assert files
    for file in files:
        raw = file.read_bytes()
        root = payload.parse(raw)
        text = json.dumps(payload.resource(root, lambda part_id: part_id), ensure_ascii=False)
        assert text.encode("utf-8")
        assert len(payload.snippet(root)) <= 1200
        ids = [part.part_id for part in root.walk()]
        assert len(ids) == len(set(ids))


@given(st.binary(max_size=400))
def test_no_bytes_raise(raw: bytes) -> None:
    json.dumps(resource(raw), ensure_ascii=False).encode("utf-8")


PIECES = st.sampled_from([
    b"Content-Type: multipart/mixed; boundary=b\n", b"Content-Type: message/rfc822\r\n", b"\n", b"\r\n", b"--b\n", b"--b--\n",
    b"Content-Transfer-Encoding: base64\n", b"Content-Transfer-Encoding: x-uuencode\n", b"begin 644 x\n", b"#0V%T\n", b"Zm9v\n",
    b"Content-Type: text/plain; charset=utf-7\n", b"Subject: =?utf-8?b?4pg=?= =?x?q?=E9?=\n", b" folded\n", b"From \xff\n",
    b"Content-Disposition: attachment; filename*0*=utf-8''%E9; filename*1=\"x\"\n", b"Content-Type: multipart/digest; boundary=\"\"\n",
])  # fmt: skip


@given(st.lists(PIECES, max_size=30))
def test_no_order_of_mime_pieces_raises(pieces: list[bytes]) -> None:
    json.dumps(resource(b"".join(pieces)), ensure_ascii=False).encode("utf-8")


def test_nesting_and_number_of_parts_are_bounded() -> None:
    raw = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(5000))
    assert len(list(payload.parse(raw).walk())) <= payload.MAX_DEPTH + 1
    wide = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 5000
    assert len(list(payload.parse(wide).walk())) <= payload.MAX_PARTS


@pytest.mark.parametrize("charset", ["iso-8859-1", "windows-1252", "iso-2022-jp", "utf-8", "gb2312", "koi8-r", "utf-7"])
@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "8bit"])
def test_text_is_given_in_utf8_and_its_header_is_left_as_it_was(charset: str, encoding: str) -> None:
    text = {"iso-2022-jp": "日本語", "gb2312": "中文", "koi8-r": "Привет"}.get(charset, "Grüße")
    encoded = text.encode(charset)
    if encoding == "base64":
        encoded = base64.encodebytes(encoded)
    elif encoding == "quoted-printable":
        encoded = b"".join(b"=%02X" % byte for byte in encoded)
    raw = f"Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: {encoding}\n\n".encode() + encoded
    node = resource(raw)
    assert data(node).decode("utf-8").strip() == text
    assert node["headers"][0] == {"name": "Content-Type", "value": f"text/plain; charset={charset}"}


def test_a_wrong_charset_does_not_lose_the_text() -> None:
    assert data(resource(b"Content-Type: text/plain; charset=nonsense\n\n\xe9")) == "é".encode()
    assert data(resource(b"Content-Type: text/plain; charset=rot13\n\nabc")) == b"abc"
    assert data(resource("Content-Type: text/plain; charset=us-ascii\n\né".encode())) == "Ã©".encode()


def test_attached_files_come_by_attachment_id_and_text_inline() -> None:
    message = EmailMessage()
    message["Subject"] = "x"
    message.set_content("plain")
    message.add_alternative("<p>html</p>", subtype="html")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="Angebot für Sie.pdf")
    message.add_attachment("text as file", filename="a.txt")
    root = resource(message.as_bytes())
    assert (root["partId"], root["mimeType"], root["body"]) == ("", "multipart/mixed", {"size": 0})
    alternative, pdf, text = root["parts"]
    assert [part["partId"] for part in alternative["parts"]] == ["0.0", "0.1"]
    assert data(alternative["parts"][0]) == b"plain\n"
    assert (pdf["filename"], pdf["body"]) == ("Angebot für Sie.pdf", {"attachmentId": "token-1", "size": 4})
    assert text["body"] == {"attachmentId": "token-2", "size": 13}
    found = payload.find_part(payload.parse(message.as_bytes()), "1")
    assert found is not None
    assert found.content == b"%PDF"


def test_long_text_comes_by_attachment_id_with_its_own_bytes() -> None:
    raw = b"Content-Type: text/plain; charset=iso-8859-1\n\n" + b"\xe9" * 600
    assert resource(raw, 1000)["body"] == {"attachmentId": "token-", "size": 600}
    assert resource(raw, 1200)["body"]["size"] == 1200
    part = payload.find_part(payload.parse(raw), "")
    assert part is not None
    assert part.content == b"\xe9" * 600


def test_a_forwarded_message_shows_its_parts_below() -> None:
    inner = EmailMessage()
    inner["Subject"] = "inside"
    inner.set_content("deep")
    outer = EmailMessage()
    outer.set_content("see below")
    outer.add_attachment(inner)
    node = resource(outer.as_bytes())["parts"][1]
    assert node["mimeType"] == "message/rfc822"
    assert "attachmentId" in node["body"]
    assert data(node["parts"][0]) == b"deep\n"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        ("=?utf-8?q?a?= b =?iso-8859-1?q?=E9?=", "a b é"),
        ("=?utf-8?b?4oI=?= =?utf-8?b?rA==?=", "€"),
        ("=?nonsense?q?a?=", "=?nonsense?q?a?="),
        ("=?utf-8?q?=FF=FE?=", "=?utf-8?q?=FF=FE?="),
        ("a =? b", "a =? b"),
        ("=?utf-8?q?x=0D=0ABcc:_y?=", "x  Bcc: y"),
    ],
)
def test_encoded_words(written: str, shown: str) -> None:
    assert decode_value(written) == shown


def test_a_decoded_name_with_a_comma_is_quoted() -> None:
    assert decode_addresses("=?utf-8?q?M=C3=BCller=2C_Max?= <m@x.example>") == '"Müller, Max" <m@x.example>'
    assert decode_addresses("=?utf-8?q?J=C3=B6rg?= <j@x.example>") == "Jörg <j@x.example>"


def test_headers_are_unfolded_and_keep_their_order_and_case() -> None:
    raw = b"From x@y Mon Jan 1 00:00:00 2024\nRECEIVED: a\n\tb\nreceived: c\nno header line\n\nbody"
    assert read_headers(raw) == [("RECEIVED", "a\tb"), ("received", "c")]


def test_raw_eight_bit_headers_become_text() -> None:
    assert to_text("ü".encode()) == "ü"
    assert to_text(b"\xfc") == "ü"


def test_the_snippet_is_escaped_and_short() -> None:
    root = payload.parse(b"Content-Type: text/html\n\n<style>p{}</style><p>1 &lt; 2 &amp; 'so'</p>" + b"x " * 500)
    assert payload.snippet(root).startswith("1 &lt; 2 &amp; &#39;so&#39; x")
    assert len(payload.snippet(root)) < 260
