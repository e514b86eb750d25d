"""Where there is a fast way for the usual and a slow one for the rest, both give the same answer."""

from __future__ import annotations

import base64
import datetime as dt
import re
import unicodedata
from email.utils import parsedate_to_datetime

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dealmail.transforms import (
    addresses,
    charsets,
    engagement_id,
    gmail_payload,
    headers,
    html_hidden,
    html_marks,
    html_text,
    mail_dates,
    normalize_messages,
    plain_text,
    quotes,
)
from dealmail.transforms.gmail_payload import Body, Header, Part
from dealmail.transforms.html_text import html_to_text

TEXTS = st.one_of(st.text(max_size=300), st.text(alphabet="ab -_\n\t=éÄß\u0130\ufb01\u212a", max_size=1_500))
BASE64 = st.one_of(
    st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode()),
    st.text(alphabet="AQgw09-_+/= \né", max_size=60),
)


@given(BASE64, st.integers(0, 2))
@example("QUJD=REVG", 0)
@example("QUJDR", 0)
@example("", 0)
def test_base64(data, cut):
    data = data[: len(data) - cut]
    assert gmail_payload.read_bytes(data) == gmail_payload.read_leniently(data)


@given(st.text(alphabet="Re: =?utf-8qQ_aé \t\n\x00", max_size=80))
def test_subjects(value):
    assert headers.read_subject(value) == headers._read_subject(value)


@given(
    st.integers(631_152_000, 13_000_000_000).map(lambda seconds: dt.datetime.fromtimestamp(seconds, dt.UTC)),
    st.sampled_from(("%a, %d %b %Y %H:%M:%S", "%d %b %Y %H:%M:%S", "%a, %d %b %Y %H:%M")),
    st.one_of(
        st.from_regex(r"[+-](?:0\d|1[0-4])[0-5]\d", fullmatch=True), st.sampled_from(("GMT", "UT", "Z", "+0000 (UTC)"))
    ),
)
def test_dates(when, form, zone):
    value = f"{when.strftime(form)} {zone}"
    assert mail_dates._COMMON.fullmatch(value)
    found = parsedate_to_datetime(value.replace(" Z", " GMT"))  # the obsolete Z is not known there
    assert mail_dates.parse_date(value) == found.replace(tzinfo=found.tzinfo or dt.UTC)


HOSTS = st.text(alphabet="ab-_.", min_size=1, max_size=12)


@given(HOSTS)
def test_the_hosts_of_common_addresses_are_those_whose_labels_have_letters_at_both_ends(host):
    labels = host.split(".")
    well_formed = all(label and label[0] != "-" and label[-1] != "-" for label in labels)
    assert (addresses._parse_common(f"x@{host}") is not None) == well_formed


@given(TEXTS, st.integers(0, 200))
def test_letters(text, limit):
    slow = "".join(char for one in text for char in unicodedata.normalize("NFKD", one.casefold()) if char.isalnum())
    assert engagement_id._letters(text, limit) == slow[:limit]


LINES = st.lists(
    st.sampled_from(
        (
            "--",
            "-- ",
            "___________________________",
            "words " * 40,
            "+ " * 300,
            "a",
            "",
            "--~--~--",
            "CAUTION: external",
        )
    ),
    max_size=60,
)


@given(LINES)
@example(["a", "+ " * 300, "+ " * 300, "words " * 40])
def test_the_beginning_of_a_text_is_enough_for_the_guard(lines):
    text = "\n".join(lines)
    own = engagement_id.without_footer(engagement_id.without_banner(text))
    slow = engagement_id._letters(own, engagement_id.GUARD_LETTERS)
    assert engagement_id.guard("a@x.example", "Hi", text) == f"a@x.example\nhi\n{slow}"


@given(st.text(alphabet="abc \n\t@é\r\x1f\u2028", max_size=80))
def test_message_ids_that_can_be_used_hold_no_blank(value):
    assert engagement_id.usable(value) == (bool(value) and not any(char.isspace() for char in value))


@given(st.text(alphabet="BbCc fFrROoMm\t-", max_size=12))
def test_names_of_fields(name):
    found = normalize_messages._Understood()[name]
    assert found == (headers.field_name(name) if headers.field_name(name) in normalize_messages._UNDERSTOOD else "")
    assert "bcc" not in found


MARKUP = st.lists(
    st.one_of(
        st.sampled_from(("<p>", "</p>", "<b title='>'>", "<br>", "<li>", "<ol>", "<td>", "<a href=ftp://x.example/y>", "</a>", "<xmp>", "</xmp>", "<!--", "-->", "<", "< b >",
                         "<blockquote type=cite>", "<textarea>", "<style>", "</style>", "&nbsp;", "&amp;", "<img alt=words>", "<i", ">", "<p hidden>")),
        st.text(alphabet="abcé\xa0 \n", max_size=120),
        st.sampled_from(("words " * 50, "é" * 199, "b" * 990)),
    ),
    max_size=40,
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@example(["<blockquote type=cite>", "b" * 990], "a" * 99)  # the mark is no letter
@given(MARKUP, st.sampled_from(("hi", "see you", "Words of a short note.", "open this in your browser", "a" * 99)))
def test_what_cannot_make_a_stub_is_told_without_converting_it(bits, plain):
    html = "".join(bits)
    part = Part("text/html", body=Body(base64.urlsafe_b64encode(html.encode()).decode()))
    if plain_text.is_stub(plain, html_to_text(html)[0]):
        assert plain_text._says_more([part], plain)


def test_most_notes_are_told_apart_without_converting_the_html_beside_them():
    html = "<html><body>" + "<div style='color:red'>See you on Monday</div>" * 3 + "</body></html>"
    part = Part(
        "text/html", [Header("Content-Type", "text/html")], body=Body(base64.urlsafe_b64encode(html.encode()).decode())
    )
    assert not plain_text._says_more([part], "See you on Monday")


@given(st.one_of(st.text(max_size=100), st.text(alphabet="ab é\xa0\xad\x85\u200b\n\t\r\0\ud800\ufeff", max_size=60)))
def test_clean_text(text):
    slow = charsets._UNWANTED.sub(charsets._replace, text.replace("\r\n", "\n"))
    assert charsets.clean_text(text) == slow


@given(st.text(alphabet="ab é\n\xa0\u200b\x01\x02\x03\x04", max_size=60))
def test_cleaning_keeps_the_marks_of_quotes(text):
    slow = re.split("([\x01-\x03])", text)
    assert html_marks.clean_marked(text) == "".join(
        one if one in html_marks.MARKS else charsets.clean_text(one) for one in slow
    )


@settings(deadline=None)
@given(st.text(alphabet="ab; \n\t\r\x0b\x0c\x1c\0'\"#>/", max_size=80))
def test_html_without_tags(words):
    slow = html_text._tidy(charsets.clean_text(html_text._convert(words, [])), spaced=False, preformatted=False)
    assert html_text.html_to_text(words)[0].split() == slow.split()


@given(
    st.lists(
        st.sampled_from(
            (
                "<blockquote>",
                "<blockquote class='gmail_quote'>",
                "</blockquote>",
                "</blockquote >",
                "<blockquote",
                "blockquote>",
                "<blockquotes>",
                "</blockquote",
                "<BLOCKQUOTE type=cite>",
                "</Blockquote>",
                "<",
                "/",
                ">",
                " ",
                "x",
            )
        ),
        max_size=20,
    ).map("".join)
)
def test_marks_of_quotes(html):
    assert html_marks.mark_quotes(html) == html_marks._BLOCKQUOTE.sub(html_marks._mark_quote, html)


@given(st.sampled_from(sorted(html_text._FORMATTING)), st.booleans(), st.sampled_from("> \n/"))
def test_tags_that_format_are_among_those_that_might(name, upper, after):
    assert html_text._MIGHT_FORMAT.match(f"<{name.upper() if upper else name}{after}")


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            (
                "<p hidden>",
                "<p HIDDEN=''>",
                '<p class="a"hidden>',
                "<p style='overflow:hidden'>",
                "<p style='overflow: hidden'>",
                "<p hidden-x>",
                "<p/hidden>",
                "<p\nhidden\n>",
                "</p>",
                "words ",
                "hidden ",
                ": hidden>",
                "<p data-hidden=1>",
                "<div aria-hidden=true>",
                "</div>",
            )
        ),
        max_size=12,
    ).map("".join)
)
def test_nothing_is_hidden_where_no_attribute_says_so(html):
    if not html_hidden.has_hidden_attribute(html):
        assert html_text._convert(html, ["[hidden]"]) == html_text._convert(html, [])


def test_most_html_is_told_to_hide_nothing():
    html = "<html><body><p class=x style='color:red' aria-label=hidden>That no attribute of these hides is seen at once.</p></body></html>"
    assert not html_hidden.has_hidden_attribute(html)
    assert html_hidden.has_hidden_attribute(html.replace("class=x", "hidden"))


@given(st.text(alphabet="On ,12<b@x>", max_size=40))
def test_attributions_in_english(start):
    if start.strip():
        assert quotes._WROTE.search(f"{start} wrote:")
    assert quotes._has_verb(f"{start} wrote:")
