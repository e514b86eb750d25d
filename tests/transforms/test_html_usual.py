"""The fast reader of usual HTML gives what the parser gives, or leaves the page to it."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.modern_html import apple, campaign, outlook, webmail
from benchmarks.modern_mail import EUROPEAN, Writer
from dealmail.transforms import html_usual
from dealmail.transforms.html_text import html_to_text, parse_html
from dealmail.transforms.html_usual import read_usual

WORDS = st.sampled_from(
    ("a", "b c", " x", "y ", "  ", "\n", "&nbsp;", "w\nv", "é", "&amp; &lt;b&gt;", " (u:v) ", "z.", "\xa0", "\u200b", "&#8364;", "<!-- c -->", "")
)  # fmt: skip
LINKS = st.sampled_from(
    (
        "href=u",
        "href='http://x.example/'",
        'href="mailto:q@x.example"',
        "name=n",
        'href="?a=1&amp;b=2" style="color:red"',
    )
)


def inline(inside: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """What may stand within a line."""
    pairs = st.sampled_from(("span", "b", "i", "font color=red", "o:p"))
    return st.one_of(
        WORDS,
        st.just("<br>"),
        st.just("<img src=x>"),
        st.builds(lambda tag, text: f"<{tag}>{text}</{tag.split()[0]}>", pairs, inside),
    )


LINE = st.lists(st.recursive(WORDS, inline, max_leaves=6), max_size=3).map("".join)
LINE_WITH_LINK = st.lists(
    st.one_of(LINE, st.builds(lambda link, text: f"<a {link}>{text}</a>", LINKS, LINE)), max_size=3
).map("".join)


def blocks(inside: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """What begins a line, and tables."""
    wide = st.sampled_from(
        ("div", "center", "blockquote", "blockquote type=cite", 'div style="display:none"', "font", "span")
    )
    narrow = st.sampled_from(("p", "h1", "h5", "p hidden"))
    cells = st.lists(st.builds(lambda text: f"<td>{text}</td>", inside), max_size=3)
    blank = st.sampled_from(("", "\n"))
    row = st.builds(lambda texts, space: f"<tr>{space}{space.join(texts)}</tr>", cells, blank)
    table = st.builds(
        lambda rows, space: f"<table>{space}{space.join(rows)}{space}</table>", st.lists(row, max_size=3), blank
    )
    return st.one_of(
        st.builds(lambda tag, text: f"<{tag}>{text}</{tag.split()[0]}>", wide, inside),
        st.builds(lambda tag, text: f"<{tag}>{text}</{tag.split()[0]}>", narrow, LINE_WITH_LINK),
        table,
        st.lists(inside, max_size=3).map("".join),
    )


PAGES = st.recursive(LINE_WITH_LINK, blocks, max_leaves=12)


def same(page: str) -> None:
    """Both readers agree, where both read."""
    if "<" in page and read_usual(page) is not None:
        assert html_to_text(page) == parse_html(page)


@given(PAGES)
@settings(max_examples=600, deadline=None)
@example("x<table><tr><td><br></td></tr><tr><td>y</td></tr></table>")
@example("<font>x\n<br><br></font> <div>y</div>")
@example("<table><tr><td>q<table><tr></tr></table></td><td>z</td></tr></table>")
@example("<h1>y <i></i></h1><table><tr><td><a href=u><div></div></a></td></tr></table>")
def test_well_formed_pages(page):
    same(page)


@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                ("<p>", "</p>", "<br>", "<br/>", "</br>", "<b>", "</b>", "<table>", "<tr>", "<td>", "</td>", "</tr>", "</table>", "<tbody>", "<div>", "</div>",
                 "<span hidden>", "</span>", "<a href='x'>", "<a name=y>", "</a>", "<!-- c -->", "<!--", "-->", "<!-->", "<style>.x{display:none}</style>",
                 "<style><!-- p > b{} --></style>", "<title>t</title>", "<html>", "<head>", "</head>", "<body>", "</body>", "<p style='display:none'>",
                 "<p class=x>", "<img src='x>y'>", "<hr>", "<center>", "</center>", "<blockquote>", "</blockquote>", "<h1>", "</h1>", "&nbsp;", "&copy;", "&copy",
                 "&#10;", "&#1;", "&", "<", "<![if x]>", "<!doctype html>", "<pre>", "<li>", "<td hidden>", "<div a='\"'>", '<div a=">">', "<P>", "</P>",
                 "<a href='?a&lt=3&amp;b&#9;'>", "<a hidden href=x>", " (x)", "\x01", "\x1f", "\x0c", "\xa0")
            ),
            st.text(max_size=6),
        ),
        max_size=12,
    ).map("".join)
)  # fmt: skip
@settings(max_examples=1_000, deadline=None)
def test_pages_of_any_tags(page):
    same(page)


@pytest.mark.parametrize("make", [webmail, outlook, apple, campaign])
def test_what_mail_programs_write_is_usual(make):
    page = make(Writer(random.Random(7), EUROPEAN), "one two\r\n\r\nthree\r\n\r\n-- \r\nAnna")
    assert read_usual(page) is not None
    assert html_to_text(page) == parse_html(page)


@pytest.mark.parametrize(
    "page",
    ["<p>a<p>b", "<b><i>x</b></i>", "<ul><li>x</ul>", "<table>x</table>", "<pre> x</pre>", "<p>x<div>y</div></p>", "a < b<br>", "<form>x</form>",
     "<svg>x</svg>", "<a href=x><a href=y>z</a></a>", "<style>.x{display:none}</style><p class=x>y</p>", "<p title='>'>x</p>", "</p>x<br>", "x<br>&copy y"],
)  # fmt: skip
def test_what_only_a_parser_can_tell_is_left_to_it(page):
    assert read_usual(page) is None


def test_the_caches_stay_small_whatever_senders_write():
    html_usual.forget_cached()
    for number in range(6_000):
        read_usual(f"<div class=c{number}>" + "<div><b>" * (number % 40) + f"<i id=i{'i' * 1_000}{number}>x")
    assert len(html_usual._places) <= html_usual._MAX_PLACES
    assert sum(len(run) for place in html_usual._places.values() for run in place.runs) <= html_usual._MAX_KEPT
    assert len(html_usual.known) <= 4_096


def test_forgetting_in_the_middle_of_a_page_changes_nothing(monkeypatch):
    page = "<div>a</div> <p>b <a href='http://x.example/y'>c</a></p><table><tr><td>d</td><td>e </td></tr></table>" * 20
    expected = html_to_text(page)
    monkeypatch.setattr(html_usual, "_MAX_PLACES", 3)
    html_usual.forget_cached()
    assert html_to_text(page) == expected == parse_html(page)


def test_links_are_not_kept():
    html_usual.forget_cached()
    read_usual("<div>a <a href='https://secret.example/token'>b</a> <img src='https://secret.example/pixel'> c</div>")
    kept = [*html_usual.known, *(run for place in html_usual._places.values() for run in place.runs)]
    assert kept
    assert not any(re.search(b"secret", one) for one in kept)


def test_what_is_all_new_is_left_to_the_parser_and_learnt_by_and_by():
    page = "".join(f"<div class=c{number}><b>{number}</b></div> " for number in range(40))
    html_usual.forget_cached()
    assert read_usual(page) is None
    for _ in range(5):
        read_usual(page)
    assert read_usual(page) is not None
    same(page)
