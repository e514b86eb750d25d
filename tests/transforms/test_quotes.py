"""Quoted history and signatures, as spans."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dealmail.transforms.html_text import html_to_text
from dealmail.transforms.quotes import find_spans


def spans(text: str) -> list[tuple[str, str]]:
    whole, found = find_spans(text)
    return [(span.kind, whole[span.start : span.end]) for span in found]


def fresh(text: str) -> str:
    """What a reader sees with all spans folded."""
    whole, found = find_spans(text)
    for span in reversed(found):
        whole = whole[: span.start] + whole[span.end :]
    return whole.strip()


ATTRIBUTIONS = (
    "On Tue, 3 Jan 2023 at 10:00, Bob <b@x.example> wrote:", "On 3 January 2023, Bob\n<b@x.example> wrote:",
    "Am 03.01.2023 um 10:00 schrieb Bob <b@x.example>:", "Le mar. 3 janv. 2023 à 10:00, Bob <b@x.example> a écrit :",
    "El mar, 3 ene 2023 a las 10:00, Bob (<b@x.example>) escribió:", "Il giorno mar 3 gen 2023 alle 10:00 Bob <b@x.example> ha scritto:",
    "Op di 3 jan. 2023 om 10:00 schreef Bob <b@x.example>:", "Em ter., 3 de jan. de 2023 às 10:00, Bob <b@x.example> escreveu:",
    "Den tis 3 jan. 2023 kl 10:00 skrev Bob <b@x.example>:", "W dniu wt., 3.01.2023 o 10:00 Bob <b@x.example> napisał(a):",
    "Dne út 3. 1. 2023 10:00 Bob <b@x.example> napsal:", "вт, 3 янв. 2023 г. в 10:00, Bob <b@x.example> написал:",
    "3 Oca 2023 Sal 10:00 tarihinde Bob <b@x.example> yazdı:", "2023年1月3日(火) 10:00 Bob <b@x.example> さんは書きました:",
    "2023-01-03 10:00, Bob <b@x.example> 写道：",
)  # fmt: skip


@pytest.mark.parametrize("attribution", ATTRIBUTIONS)
def test_case_84_wrote_lines_of_many_languages(attribution):
    assert fresh(f"My answer\n\n{attribution}\n\n> old one\n> old two") == "My answer"
    assert fresh(f"My answer\n\n{attribution}\nold one\nold two") == "My answer"


@pytest.mark.parametrize(
    "history",
    [
        "-----Original Message-----\nFrom: Bob\nSubject: x\n\nold", "-----Ursprüngliche Nachricht-----\nVon: Bob\n\nold",
        "________________________________\nFrom: Bob\nSent: Monday\nTo: Me\nSubject: x\n\nold", "From: Bob\nSent: Monday\nTo: Me\nSubject: x\n\nold",
        "Von: Bob\nGesendet: Montag\nAn: Mich\nBetreff: x\n\nold", "De : Bob\nEnvoyé : lundi\nÀ : Moi\nObjet : x\n\nold", "> old\n> older",
    ],
)  # fmt: skip
def test_case_84_histories_of_many_clients(history):
    assert fresh(f"My answer\n\n{history}") == "My answer"


def test_case_84_inline_answers_stay():
    text = "On Tue, 3 Jan 2023, Bob <b@x.example> wrote:\n> first question\n\nfirst answer\n\n> second question\n\nsecond answer"
    assert fresh(text).split("\n\n") == ["first answer", "", "second answer"]


@pytest.mark.parametrize(
    "mark",
    [
        "---------- Forwarded message ---------",
        "Begin forwarded message:",
        "-------- Weitergeleitete Nachricht --------",
    ],
)
def test_case_84_forwarded_mail_is_the_message_itself(mark):
    text = f"See below\n\n{mark}\nFrom: Bob <b@x.example>\nDate: Monday\nSubject: x\nTo: me\n\nthe news"
    assert "the news" in fresh(text)


@pytest.mark.parametrize(
    "text", ["> all\n> quoted", "On Monday, 3 Jan, Bob wrote:\n> old", "--\nJoe", "From: a\nTo: b\nSubject: c\nDate: d"]
)
def test_case_84_what_would_leave_nothing_is_not_folded(text):
    assert fresh(text) == text


def test_case_84_nothing_is_cut_away():
    text = "Hi\n\n-- \nJoe\n\nOn Mon, 2 Jan 2023, Bob wrote:\n> old"
    assert find_spans(text)[0] == text


def test_signatures_are_found_before_the_history():
    assert spans("Hi\n\n-- \nJoe\n555\n\n> old\n")[0] == ("signature", "-- \nJoe\n555")
    assert spans("Hi\n\nSent from my iPhone") == [("signature", "Sent from my iPhone")]
    assert spans("Hi\n\nVon meinem iPhone gesendet") == [("signature", "Von meinem iPhone gesendet")]


@pytest.mark.parametrize(
    "text",
    [
        "Prices:\n5 > 4",
        "I wrote:\nthis",
        "a -- b",
        "To: be or not",
        "He asked me:\n\nwhy?",
        "Dear Ann,\nplease note:\nthanks",
    ],
)
def test_running_text_is_no_quote(text):
    assert spans(text) == []


def test_case_84_blockquotes_that_mail_clients_mark_are_quotes_and_others_are_not():
    html = '<div>New</div><div>On Mon, Bob wrote:<br></div><blockquote class="gmail_quote"><p>old</p><blockquote type="cite">older</blockquote></blockquote><p>after</p>'
    assert fresh(html_to_text(html)[0]).split() == ["New", "after"]
    assert spans(html_to_text("<p>New</p><blockquote><p>just indented</p></blockquote>")[0]) == []
    forwarded = '<p>See</p><div>Begin forwarded message:</div><blockquote type="cite"><p>news</p></blockquote>'
    assert "news" in fresh(html_to_text(forwarded)[0])


LINES = st.lists(
    st.one_of(st.sampled_from(("", "> q", ">> qq", "-- ", "On Mon, 1 Jan, A <a@x> wrote:", "From: a", "To: b", "Subject: c", "-----Original Message-----", "\x01", "\x02x",
                               "\x03", "Forwarded message:", "Sent from my phone", "__________________", ":", "：", " ")), st.text(max_size=12)),
    max_size=25,
).map("\n".join)  # fmt: skip


@given(LINES)
@settings(max_examples=500, deadline=None)
def test_spans_lie_in_order_inside_the_text(text):
    whole, found = find_spans(text)
    assert "\x01" not in whole
    position = 0
    for span in found:
        assert position <= span.start < span.end <= len(whole)
        position = span.end
    if found:
        assert fresh(text)
