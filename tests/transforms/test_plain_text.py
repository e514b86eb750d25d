"""The body as text: which part, which charset, what is kept, what is marked."""

from __future__ import annotations

import base64
import codecs
import json
import pathlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dealmail.transforms.charsets import clean_text, decode_text, known_charset
from dealmail.transforms.headers import read_subject
from dealmail.transforms.plain_text import FLAGS, MAX_DEPTH, read_text, unflow
from dealmail.transforms.records import MailText


def part(
    kind: str, content: str | bytes = b"", *parts: dict, content_type: str = "", filename: str = "", **headers: str
) -> dict:
    raw = content.encode() if isinstance(content, str) else content
    fields = [{"name": name.replace("_", "-"), "value": value} for name, value in headers.items()]
    fields.append({"name": "Content-Type", "value": content_type or kind})
    node: dict = {"mimeType": kind, "filename": filename, "headers": fields, "body": {"size": len(raw)}}
    if raw:
        node["body"]["data"] = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    if parts:
        node["parts"] = list(parts)
    return node


def read(root: dict, **options: int) -> MailText:
    return read_text(json.dumps({"payload": root}).encode(), **options)


PLAIN = part("text/plain", "Hello in plain text")
HTML = part("text/html", "<p>Hello in <b>HTML</b></p>")


@pytest.mark.parametrize(
    ("root", "text", "flags"),
    [
        (PLAIN, "Hello in plain text", ()),
        (HTML, "Hello in HTML", ()),
        (part("multipart/alternative", b"", PLAIN, HTML), "Hello in plain text", ()),
        (part("multipart/alternative", b"", part("text/plain", " \n"), HTML), "Hello in HTML", ()),
        (part("multipart/mixed", b"", PLAIN, part("application/pdf", b"x", filename="a.pdf"), part("text/plain", "end")),
         "Hello in plain text\n\nend", ()),
        (part("multipart/mixed", b"", PLAIN, part("text/plain", "log", filename="a.txt")), "Hello in plain text", ()),
        (part("multipart/mixed", b"", PLAIN, part("text/plain", "log", Content_Disposition="attachment")), "Hello in plain text", ()),
        (part("multipart/related", b"", HTML, part("image/png", b"x")), "Hello in HTML", ()),
        (part("text/plain"), "", ()),
        (part("application/pdf", b"x", filename="a.pdf"), "", ()),
        (part("text/calendar", "BEGIN:VCALENDAR"), "", ("attached.calendar",)),
        (part("multipart/alternative", b"", PLAIN, HTML, part("text/calendar", "BEGIN")), "Hello in plain text",
         ("attached.calendar",)),
        (part("multipart/signed", b"", PLAIN, part("application/pkcs7-signature", b"x")), "Hello in plain text", ("signed",)),
        (part("multipart/encrypted", b"", part("application/pgp-encrypted", b"Version: 1")), "", ("encrypted",)),
        (part("application/pkcs7-mime", b"x", content_type="application/pkcs7-mime; smime-type=enveloped-data"), "", ("encrypted",)),
        (part("application/pkcs7-mime", b"x", content_type="application/pkcs7-mime; smime-type=signed-data"), "", ("signed.unread",)),
        (part("multipart/mixed", b"", PLAIN, part("application/ms-tnef", b"x", filename="winmail.dat")), "Hello in plain text", ("attached.tnef",)),
        (part("multipart/mixed", b"", PLAIN, part("message/rfc822", b"", part("text/plain", "inner"))), "Hello in plain text", ("attached.message",)),
    ],
)  # fmt: skip
def test_case_78_each_kind_of_mail_has_its_policy(root, text, flags):
    answer = read(root)
    assert answer.text == text
    assert answer.flags == flags
    assert set(flags) <= set(FLAGS)


LONG_HTML = part(
    "text/html", "<p>" + "</p><p>".join(f"Dear customer, this is line {n} of our offer." for n in range(30)) + "</p>"
)


@pytest.mark.parametrize("stub", ["View this email in your browser: https://x.example/1", "Your email client does not support HTML.",
                                  "Bitte im Browser ansehen", "https://x.example/view", "Hi"])  # fmt: skip
def test_case_79_a_stub_gives_way_to_the_html(stub):
    answer = read(part("multipart/alternative", b"", part("text/plain", stub), LONG_HTML))
    assert "line 29 of our offer" in answer.text
    assert answer.flags


def test_case_79_a_short_answer_is_no_stub():
    html = part("text/html", "<p>Yes, please do.</p><p>Jane Doe, Acme</p>")
    assert (
        read(part("multipart/alternative", b"", part("text/plain", "Yes, please do."), html)).text == "Yes, please do."
    )


def test_case_79_an_answer_that_speaks_of_html_says_the_same_either_way():
    root = part(
        "multipart/alternative",
        b"",
        part("text/plain", "Yes, please send the HTML version."),
        part("text/html", "<p>Yes, please send the HTML version.</p>"),
    )
    assert read(root).text == "Yes, please send the HTML version."


@pytest.mark.parametrize(
    ("raw", "declared", "text", "flag"),
    [
        ("Grüße".encode(), "iso-8859-1", "Grüße", None),
        ("テスト".encode(), "iso-2022-jp", "テスト", None),
        ("テスト".encode("iso-2022-jp"), "iso-2022-jp", "テスト", None),
        ("テスト".encode("iso-2022-jp"), "", "テスト", None),
        ("テスト".encode("shift_jis"), "Shift_JIS", "テスト", None),
        ("Grüße €".encode("cp1252"), "iso-8859-1", "Grüße €", None),
        ("Grüße".encode("cp1252"), "", "Grüße", "charset.guessed"),
        ("Grüße".encode("cp1252"), "utf-8", "Grüße", "charset.guessed"),
        ("Привет".encode("koi8-r"), "koi8-r", "Привет", None),
        ("你好".encode("gb18030"), "gb2312", "你好", None),
        ("Grüße".encode("utf-16"), "utf-16", "Grüße", None),
        ("Grüße".encode("utf-16-le"), "utf-16le", "Grüße", None),
        ("Grüße".encode("utf-7"), "utf-7", "Grüße", None),
        (b"\xef\xbb\xbfHi", "", "Hi", None),
        ("Grüße und mehr Grüße ".encode() + b"\xff", "utf-8", "Grüße und mehr Grüße \ufffd", "charset.replaced"),
        (b"plain", "rot13", "plain", None),
        (b"plain", "no-such-charset", "plain", None),
    ],
)
def test_case_80_charsets_declared_and_real(raw, declared, text, flag):
    assert decode_text(raw, declared) == (text, flag)


@pytest.mark.parametrize("raw", [b"hello", "Grüße".encode(), "hello".encode("utf-16"), b"\xff"])
def test_case_80_thousands_of_byte_order_marks_are_read_like_one(raw):
    """In the text as in an encoded word of a field: a sender writes what they like."""

    def subject(marks: int) -> str:
        return f"=?utf-8?B?{base64.b64encode(codecs.BOM_UTF8 * marks + raw).decode()}?="

    assert decode_text(codecs.BOM_UTF8 * 100_000 + raw) == decode_text(codecs.BOM_UTF8 + raw)
    assert read_subject(subject(10_000)) == read_subject(subject(1))


@pytest.mark.parametrize(
    "label",
    ["zlib", "zip", "rot13", "idna", "punycode", "unicode_escape", "hex", "base64", "undefined", "mbcs", "\0", "ü"],
)
def test_case_80_a_sender_cannot_name_a_codec_that_is_no_charset(label):
    assert known_charset(label) is None


def test_case_81_base64url_without_padding_and_with_rubbish():
    for data, text in (
        ("SGk", "Hi"),
        ("SGk=", "Hi"),
        ("SG k", "Hi"),
        ("SGk\n", "Hi"),
        ("4oKs", "€"),
        ("Pz8_Pj4-Pw", "???>>>?"),
    ):
        assert read({"mimeType": "text/plain", "body": {"data": data}}).text == text
    assert read({"mimeType": "text/plain", "body": {"data": "A"}}).text == ""


def test_case_81_a_body_left_at_google_is_empty():
    assert read({"mimeType": "text/plain", "body": {"attachmentId": "x", "size": 9}}).text == ""


def test_case_82_controls_go_and_emoji_and_bidi_marks_stay():
    assert clean_text("a\0b\x07c\rd\r\ne\x85f\u2028g") == "abc\nd\ne\nf\ng"
    assert clean_text("a\xa0b\u200bc\xadd\ufeffe") == "a bcde"
    assert clean_text("\ud800x") == "\ufffdx"
    for kept in ("😀👩\u200d💻", "\u202bשלום\u202c", "می\u200cخواهم", "e\u0301"):
        assert clean_text(kept) == kept


def test_case_85_the_text_is_cut_at_a_character_and_says_so():
    answer = read(part("text/plain", "ü" * 1_000), limit=101)
    assert answer.text == "ü" * 50
    assert answer.truncated
    assert "text.cut" in answer.flags
    assert not read(part("text/plain", "ü" * 50), limit=100).truncated


def test_case_85_deeply_nested_parts_are_cut_and_say_so():
    root = PLAIN
    for _ in range(MAX_DEPTH + 5):
        root = part("multipart/mixed", b"", root)
    assert "parts.cut" in read(root).flags


def test_case_85_thousands_of_parts_are_cut_and_say_so():
    answer = read(part("multipart/mixed", b"", *[PLAIN] * 3_000))
    assert "parts.cut" in answer.flags
    assert 900 < answer.text.count("Hello") <= 1_000


def test_format_flowed_joins_soft_breaks_only():
    assert unflow("a \nb\nc") == "a b\nc"
    assert unflow("a \nb", delsp=True) == "ab"
    assert unflow("> a \n> b\nc") == "> a b\nc"
    assert unflow("> a \nb") == "> a \nb"
    assert unflow("x\n-- \nsig \nend") == "x\n-- \nsig end"
    assert unflow(" From me") == "From me"
    assert unflow(" >a \nb\n  > c\n> d") == "\xa0>a b\n\xa0 > c\n> d"
    flowed = part("text/plain", "one \ntwo", content_type="text/plain; format=flowed; delsp=no")
    assert read(flowed).text == "one two"
    stuffed = part("text/plain", "Mind:\n >not a quote\n> a quote", content_type="text/plain; format=flowed")
    answer = read(stuffed)
    assert [answer.text[span.start : span.end] for span in answer.spans] == ["> a quote"]


@given(
    st.binary(max_size=300),
    st.sampled_from(("", "utf-8", "iso-2022-jp", "utf-16", "utf-7", "gb2312", "hz", "x-user-defined", "big5")),
)
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise_and_all_text_can_be_stored(raw, declared):
    for kind in ("text/plain", "text/html"):
        answer = read(part(kind, raw, content_type=f'{kind}; charset="{declared}"; format=flowed'))
        answer.text.encode("utf-8")
        assert not set(answer.text) & {"\0", "\r", "\x01", "\x02", "\x03"}
        assert all(0 <= span.start < span.end <= len(answer.text) for span in answer.spans)


def test_the_page_names_every_flag_as_it_is():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "rules.md").read_text("utf-8")
    table = page.partition("| flag | means |")[2].partition("\n\n")[0]
    assert dict(re.findall(r"^\| `(\S+)` \| (.+) \|$", table, re.MULTILINE)) == FLAGS
