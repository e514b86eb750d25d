"""Header fields as text, Message-IDs, references, subjects."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dealmail.transforms.headers import (
    MAX_REFERENCES,
    MAX_SUBJECT,
    choose_message_id,
    decode_value,
    decode_words,
    normalize_message_id,
    read_references,
    read_subject,
    subject_was_cut,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("<a@x.example>", "a@x.example"),
        (" <a@x.example> ", "a@x.example"),
        ("\r\n <a@x.example>", "a@x.example"),
        ("<a@\r\n x.example>", "a@x.example"),
        ("< a @x.example >", "a@x.example"),
        ("<a@x.example> (a comment)", "a@x.example"),
        ("(comment) <a@x.example>", "a@x.example"),
        ("a@x.example", "a@x.example"),
        ("<no-at-sign>", "no-at-sign"),
        ("<>", ""),
        ("", ""),
        ("   ", ""),
        ("no id at all", ""),
        ("<" + "a" * 999 + "@x.example>", ""),
        ("<X@x.example>", "X@x.example"),
        ("<5e1b.SMTPIN_ADDED_MISSING@mx.google.com>", ""),
        ("<5e1b.SMTPIN_ADDED_BROKEN@mx.google.com>", ""),
        ("<CA123@mx.google.com>", "CA123@mx.google.com"),
    ],
)
def test_case_68_message_ids_of_every_shape(value, expected):
    assert normalize_message_id(value) == expected


def test_case_68_the_senders_own_id_wins_over_the_one_smtp_gmail_com_made():
    assert choose_message_id("<made@mx.google.com>", "<own@x.example>") == "own@x.example"
    assert choose_message_id("<made@mx.google.com>", "<>") == "made@mx.google.com"


def test_references_are_normalized_each_once_and_bounded():
    assert read_references(["<a@x> <b@x>\r\n <a@x>", "<c@x>"]) == ("a@x", "b@x", "c@x")
    assert read_references(["your mail of Monday"]) == ()
    many = read_references([" ".join(f"<{n}@x>" for n in range(500))])
    assert len(many) == MAX_REFERENCES
    assert (many[0], many[-1]) == ("0@x", "499@x")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Hello", "Hello"),
        ("", ""),
        ("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("=?utf-8?b?R3LDvA==?= =?utf-8?b?w59l?=", "Grüße"),
        ("=?utf-8?q?Gr=C3?= =?utf-8?q?=BC=C3=9Fe?=", "Grüße"),
        ("=?utf-8?q?a?=\r\n =?utf-8?q?b?=", "ab"),
        ("a\r\n b", "a b"),
        ("a\n\tb", "a b"),
        ("Gru\u0308n", "Grün"),
        ("nul\0 and bell\a", "nul and bell"),
        ("=?x-unknown?q?abc?=", "abc"),
        ("=?utf-8?b?!!!?=", ""),
        ("=?iso-2022-jp?b?GyRCJUYlOSVIGyhC?=", "テスト"),
        ("=?utf-8*en?q?abc?=", "abc"),
        ("half =?utf-8?q?open", "half =?utf-8?q?open"),
        ("\ud83d\ude00 smile", "\ufffd\ufffd smile"),
    ],
)
def test_case_86_subjects_of_every_shape(value, expected):
    assert read_subject(value) == (expected, False)


def test_case_86_a_long_subject_is_cut_and_says_so():
    subject, cut = read_subject("ü" * 70_000)
    assert cut
    assert len(subject) == MAX_SUBJECT
    assert subject_was_cut(subject)
    assert not subject_was_cut(read_subject("x" * 300)[0])


@given(st.one_of(st.text(max_size=300), st.text(alphabet="=?utf-8qQbB_ \r\n\0\ud800é", max_size=100)))
@settings(max_examples=400, deadline=None)
def test_no_value_raises_and_all_that_comes_out_can_be_stored(value):
    for text in (read_subject(value)[0], decode_value(value), normalize_message_id(value), *read_references([value])):
        text.encode("utf-8")
        assert not set(text) & {"\0", "\r", "\n"}
    decode_words(value)
