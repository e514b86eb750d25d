"""What the rules for automated mail look for before they look closely misses nothing that a close look would find."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dealmail.transforms import automated_evidence, automated_facts, automated_text_signals, bounce_words
from dealmail.transforms.automated_evidence import Evidence, Fields, own_words, quote_start
from dealmail.transforms.gmail_payload import Header
from dealmail.transforms.headers import decode_fields
from dealmail.transforms.records import MailText, Participant

SAID = ("unsubscribes", "needs_browser", "says_why", "says_program", "has_imprint")
PATTERNS = [pair for name in SAID for pair in getattr(automated_text_signals, name).patterns]
ANY_CASE = st.sampled_from((str.lower, str.upper, str.title, str.swapcase))


def evidence(text: str) -> Evidence:
    sender = Participant("jane@acme.example")
    return Evidence(Fields(()), (), sender, (), (), "Pilot", False, (), frozenset(), text=text, whole=text)


@pytest.mark.parametrize(("hints", "pattern"), PATTERNS, ids=[pattern.pattern for _, pattern in PATTERNS])
def test_no_pattern_matches_without_one_of_its_hints(hints, pattern):
    @given(st.from_regex(pattern))
    def check(text):
        assert any(hint in pattern.search(text)[0] for hint in hints)

    check()


@given(st.from_regex(automated_text_signals._MASS))
def test_nor_does_a_greeting_of_many(text):
    assert any(hint in automated_text_signals._MASS.search(text)[0] for hint in automated_text_signals._MASS_HINTS)


QUOTED = st.lists(
    st.sampled_from(
        ("--", "-- Original Message", "_" * 12, "\nFrom: a", "\nTo: b", "On Monday Jane wrote:", "Am 1.2. schrieb Jane:", "le 3 mai Zoé a écrit :", "El lunes Ana escribió:",
         "jane@acme.example", "on 02/03/04 10:11", "BEGIN FORWARDED MESSAGE", "--- FORWARDED by", "-- ursprüngliche nachricht", "-- mensaje original", "--message d'origine",
         "\n", " ", "hello", "\u017f", "\u0130", "\u212a")
    ),
    max_size=12,
).map("".join)  # fmt: skip


@given(QUOTED, ANY_CASE)
@example("-- Original Me\u017f\u017fage", str.lower)
def test_a_quote_starts_where_the_pattern_says(text, change):
    text = change(text)
    found = automated_evidence._QUOTE_START.search(text)
    assert quote_start(text) == (found.start() if found else -1)


@given(st.text(alphabet=">ab \n\r\x85", max_size=40))
def test_quoted_lines_are_left_out(text):
    kept = [line for line in text.splitlines() if not line.lstrip().startswith(">")]
    has_quote = len(kept) < len(text.splitlines())
    assert own_words(MailText(text)) == ("\n".join(kept) if has_quote else text, has_quote)


MARKED = st.lists(
    st.one_of(
        st.sampled_from((*bounce_words._MARKS, "550 5.1.1", "550-5.1.1", "554 ", " 551 ", "#5.1.1", "#4.2", "5", "4.2.2", "a", " ", "\u0130", "\u212a", "\n", "٤")),
        st.text(max_size=4),
    ),
    max_size=8,
).map("".join)  # fmt: skip


@pytest.mark.parametrize("mark", bounce_words._MARKS)
def test_each_mark_is_seen(mark):
    assert bounce_words.count_marks(f"a {mark.title()}b", code_alone=False) >= 1


@given(MARKED, ANY_CASE)
@example("while tal\u212aing to", str.lower)
@example("\u0130550 ", str)
def test_the_marks_of_a_transcript_are_counted(text, change):
    text = change(text)
    lower = text.lower()
    code = re.search(r"\b[45]\d\d[ -]+[45]\.\d\.\d|\b55[0-4] |#[45]\.[0-7]\.\d", lower)
    assert bounce_words.count_marks(text) == sum(mark in lower for mark in bounce_words._MARKS) + bool(code)


@given(st.text(alphabet="aB é'’-–—…“”.,_|/\\#%ß\u0130\ud800\n", max_size=60))
def test_a_bag_holds_the_words(text):
    mail = evidence(text)
    marks = '.,;:!?()[]{}<>"/=&*_|~+#%$\\-–—…“”'
    words = "".join(" " if char in marks else "'" if char == "’" else char for char in mail.lower).split()
    assert list(mail.bag.elements()) == sorted(words, key=words.index)
    assert mail.words == len(words)


NAMES = st.sampled_from(("Subject", "subject", "BCC", "X-Bcc", "List-Id", "X-A", ""))
VALUES = st.one_of(st.none(), st.text(max_size=12), st.sampled_from(("=?utf-8?q?=41?=", " a\r\n b ")))


@given(st.lists(st.builds(Header, NAMES, VALUES), max_size=6))
def test_fields_are_what_decoding_all_of_them_gives(raw):
    found: dict[str, str] = {}
    for name, value in decode_fields(raw):
        found[name] = f"{found[name]}\n{value}" if name in found else value
    fields = Fields(raw)
    assert dict(fields) == found
    assert len(fields) == len(found)
    assert all(fields.get(name, "?") == found.get(name, "?") for name in ("subject", "bcc", "x-bcc", "list-id", "x-a"))


LINES = st.lists(
    st.sampled_from(
        ("undeliverable", "smtp server", "user unknown", "delivery to x failed", "a@b.example", "550 5.1.1", "Hi Jane,", "I wrote", "from: a", "Jane Doe, CFO", "meeting at noon", "mail from:", "rcpt to:")
    ),
    max_size=6,
).map("\n".join)  # fmt: skip
REPORT = next(fact for fact in automated_facts.FACTS if fact.name == "bounce-report")


@given(
    LINES,
    st.sampled_from(("jane@acme.example", "mail@acme.example", "postmaster@acme.example")),
    st.sampled_from(("Pilot", "Re: Undeliverable: Pilot", "Undeliverable: Pilot")),
    st.sampled_from(("", "<>", "<jane@acme.example>")),
    st.sampled_from((frozenset(), frozenset({"message/rfc822"}))),
)
@example("undeliverable", "jane@acme.example", "Undeliverable: Pilot", "", frozenset())
@example("undeliverable\nuser unknown\nJane Doe, CFO", "jane@acme.example", "Undeliverable: Pilot", "", frozenset())
@example("user unknown\nsmtp server", "jane@acme.example", "Pilot", "", frozenset())
@example("user unknown", "jane@acme.example", "Pilot", "", frozenset({"message/rfc822"}))
@example("user unknown\na@b.example", "jane@acme.example", "Undeliverable: Pilot", "", frozenset())
def test_a_report_is_known_whatever_is_looked_at_first(text, author, subject, path, kinds):
    fields = Fields((Header("Return-Path", path),) if path else ())
    mail = Evidence(
        fields, (), Participant(author), (), (), subject, False, (), kinds, "text/plain", text=text, whole=text
    )
    copy = bounce_words.COPY.search(text)
    own = text[: copy.start()] if copy else text
    says_so = bool(bounce_words.BOUNCE_TEXT.search(text))
    marks = bounce_words.count_marks(text)
    said = own.partition("@")[0] if marks >= 4 else own
    is_letter = (
        bool(mail.greeted)
        or (author.startswith("jane") and "Jane" in own)
        or bool(bounce_words.FIRST_PERSON.search(said))
    )
    is_answer = subject.startswith("Re:")
    if author.startswith("postmaster") or path == "<>":
        expected = ((marks > 0 or says_so) and not mail.greeted) or (marks > 0 and path == "<>")
    elif is_letter or is_answer:
        expected = False
    elif marks >= 4 or (author.startswith("mail@") and marks):
        expected = True
    elif subject.startswith("Undeliverable"):
        expected = says_so and (marks > 0 or bool(kinds) or "@" in own)
    else:
        expected = says_so and (marks >= 2 or bool(kinds))
    assert REPORT.holds(mail) == (expected and bool(text))
