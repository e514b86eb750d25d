"""HTML to text: what is visible stays and reads well, what is hidden goes, nothing takes long."""

from __future__ import annotations

import re
import tracemalloc

import pytest
from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.process_seconds import excess
from dealmail.transforms.html_hidden import is_hidden
from dealmail.transforms.html_text import html_to_text, is_hostile, reduce_html, slow_text


def text(html: str) -> str:
    return re.sub("[\x01-\x03]", "", html_to_text(html)[0])


@pytest.mark.parametrize(
    "html",
    [
        '<div style="display:none">HIDDEN</div>seen', '<div style="color:red; DISPLAY : none">HIDDEN</div>seen',
        "<div style='display:none !important;'>HIDDEN</div>seen", '<DIV STYLE="DISPLAY: none">HIDDEN</DIV>seen',
        '<span hidden>HIDDEN</span>seen', '<div style="visibility:hidden">HIDDEN</div>seen',
        '<div style="max-height:0px;overflow:hidden;opacity:0">HIDDEN</div>seen', "<script>HIDDEN</script>seen",
        "<style>.HIDDEN{}</style>seen", "<title>HIDDEN</title>seen", "<!-- HIDDEN -->seen",
        '<img src="https://track.example/HIDDEN.gif" width="1" height="1" alt="HIDDEN">seen',
        "<style>.pre{display:none!important}</style><div class=\"pre\">HIDDEN</div>seen",
        "<!--[if mso]>HIDDEN<![endif]-->seen", "seen<!-- HIDDEN", 'seen<img alt="HIDDEN',
        '<div style="display : none">HIDDEN</div>seen', '<div style="display:  none">HIDDEN</div>seen',
        '<div style="Display:None">HIDDEN</div>seen', '<div style="display:\nnone">HIDDEN</div>seen',
        "<div style=display:none>HIDDEN</div>seen", '<div title="a>b" style="display:none">HIDDEN</div>seen',
        '<div title="a<b" style="display:none">HIDDEN</div>seen', '<div class="a"style="display:none">HIDDEN</div>seen',
        '<div style="display:none !important;display:block">HIDDEN</div>seen', '<DIV STYLE="VISIBILITY:HIDDEN">HIDDEN</DIV>seen',
        '<STYLE>.pre{DISPLAY:none}</STYLE><div class="pre">HIDDEN</div>seen', "<style>#pre{display:none}</style><p id=pre>HIDDEN</p>seen",
        '<style media=screen>.pre{visibility:hidden;opacity:0}</style><p class="pre">HIDDEN</p>seen',
        '<!--[if !mso]><!--><style>.pre{display:none}</style><!--<![endif]--><p class="pre">HIDDEN</p>seen',
        '<style>.pre{display:none}</style><p class="pre" style="color:red">HIDDEN</p>seen',
        '<style>td.pre{display:none}</style><table><tr><td class="pre">HIDDEN</td><td>seen</td></tr></table>',
    ],
)  # fmt: skip
def test_case_83_what_is_hidden_goes(html):
    assert text(html) == "seen"


@pytest.mark.parametrize(
    "html",
    [
        '<p style="font-size:0.9em">seen</p>', '<td style="font-size:0px"><span style="font-size:12px">seen</span></td>',
        '<p style="max-height:0.5em">seen</p>', '<p style="line-height:0;display:block">seen</p>',
        '<a style="mso-hide:all">seen</a>', '<p style="opacity:0.9">seen</p>', "<p>display:none</p>", "<p>hidden</p>",
        "<style>@media print{.x{display:none}}</style><p class=x>seen</p>",
        "<style>.x{display:none}.x{display:block}</style><p class=x>seen</p>",
        '<p class="hidden-xs">seen</p>', '<p title="display:none">seen</p>', '<p style="height:0;overflow:visible">seen</p>',
        '<p title="x>y" style="color:red">seen</p>',
        '<!--[if mso]><style>.hide-outlook{display:none !important}</style><![endif]--><p class="hide-outlook">seen</p>',
        '<style media="print">.noprint{display:none}</style><p class="noprint">seen</p>',
        '<style media="screen and (max-width:480px)">.wide{display:none}</style><table class="wide"><tr><td>seen</td></tr></table>',
        '<style>.m{display:none}</style><p class="m" style="display:block!important">seen</p>',
        '<style>.m{visibility:hidden}</style><p class="m" style="Visibility:visible">seen</p>',
        '<style>td.m{display:none}</style><p class="m">seen</p>', '<styled>.m{display:none}</styled><p class="m">seen</p>',
        "<style>.m{display:none}</style><STYLE>.m{DISPLAY:block}</STYLE><p class=m>seen</p>",
        '<p data-style="display:none">seen</p>', '<p data-mce-style="display:none" style="color:red">seen</p>',
        '<p title="style=display:none">seen</p>', "<p title=' style=\"display:none\"'>seen</p>",
        '<p style="height:0;min-height:100%;overflow:hidden">seen</p>', '<p style="max-height:0;min-height:1px;overflow:hidden">seen</p>',
        '<p style="display:block!important;display:none">seen</p>', '<p style="color:red" style="display:none">seen</p>',
    ],
)  # fmt: skip
def test_case_83_what_is_visible_stays(html):
    assert text(html) in {"seen", "display:none", "hidden", ".m{display:none}\n\nseen", ".m{display:none}seen"}


def test_case_83_blocks_lists_tables_and_links_read_well():
    html = (
        "<h1>Offer</h1><p>Dear <b>A</b>nn,<br>see&nbsp;below.</p><ul><li>one</li><li>two<ul><li>deep</li></ul></li></ul>"
        "<ol><li>first</li><li>second</li></ol><table><tr><td>Price</td><td>5 €</td></tr><tr><td>Tax</td><td>1 €</td></tr></table>"
        '<p><a href="https://x.example/offer">our site</a>, <a href="mailto:a@x.example">a@x.example</a>, '
        '<a href="https://x.example/">x.example</a></p><pre>  kept\n    as is</pre>'
    )
    assert text(html).split("\n") == [
        "Offer", "", "Dear Ann,", "see below.", "", "  • one", "  • two", "    • deep", "  1. first", "  2. second",
        "Price\t5 €", "Tax\t1 €", "", "our site (https://x.example/offer), a@x.example, x.example", "", "  kept", "    as is",
    ]  # fmt: skip


def test_case_83_a_page_long_tracking_link_is_shortened():
    assert text(f'<a href="https://click.example/{"x" * 500}">Read</a>') == "Read (https://click.example/…)"


@pytest.mark.parametrize(
    ("style", "hidden"),
    [("display:none", True), ("DISPLAY: NONE !important", True), ("display:none-such", False), ("", False), (";;:;", False),
     ("max-height:0;overflow:hidden", True), ("max-height:0", False), ("height:0px;overflow:hidden", True), ("font-size:0", False)],
)  # fmt: skip
def test_is_hidden_compares_whole_declarations(style, hidden):
    assert is_hidden(style) is hidden


ATTRIBUTES = st.lists(
    st.sampled_from(("style=display:none", 'style="display : None"', "STYLE='color:red;Display:\nnone'", 'style="color:red"', "style='display:block'",
                     'style="" ', 'data-style="display:none"', "data-mce-style='display:none'", 'title="a>b"', "title='style=\"display:none\"'",
                     'alt="<p style=display:none>"', "href=/style=display:none", "checked", "/", 'x="display:none"', "my.style=display:none")),
    max_size=5,
)  # fmt: skip


@given(ATTRIBUTES, st.sampled_from((" ", "\n", "  ")))
@settings(max_examples=500, deadline=None)
def test_case_83_only_the_first_style_attribute_of_a_tag_speaks(attributes, between):
    html = f"<p>one</p><p {between.join(attributes)} >word</p>"
    tag = BeautifulSoup(html, "html.parser", on_duplicate_attribute="ignore").find_all("p")[1]
    assert text(html) == ("one" if is_hidden(str(tag.get("style", ""))) else "one\n\nword")


def numbered(count: int, item: str) -> str:
    return " ".join(item.format(n) for n in range(count))


HOSTILE = {
    "attributes": "<p " + numbered(100_000, "a{}=1") + ">x",
    "attributes behind >": "<p " + numbered(80_000, 'a{}="<>"') + ">x",
    "many long tags": ("<p " + numbered(150, "{:x}") + ">x") * 1_500,
    "attributes of slashes": '<p ="data:;base64,' + "a/" * 300_000 + '">x',
    "open formatting": "<p>" + numbered(2_000, "<b id={}>") + "</p>" + "<p>x</p>" * 2_000,
    "open fonts": numbered(10_000, "<p><font size={}>x"),
    "formatting closed late": "<p>" + numbered(3_000, "<b id={}>") + "</p>" + "<p>x</p>" * 3_000 + "</b>" * 3_000,
    "nesting": "<div>" * 200_000 + "x",
    "nested lists": "<ul><li>" * 40_000 + "x",
    "lists in lists, each with text": "<ul>\xa0" * 200_000,
    "items in lists, each with text": "<ol><li>x" * 110_000,
    "lists whose ends are hidden": "<ul>x<!--</ul>-->" * 60_000,
    "end tags that close nothing": "<x></y>" * 140_000,
    "end tags that close nothing, in ordinary text": ("<span>" * 3_000 + "</y>" * 3_000) * 20,
    "options in blocks": "<div><option>" * 80_000,
    "options in blocks, with ends too early": "</option></div>" * 30_000 + "<div><option>" * 30_000,
    "ends of lists in blocks": "<div><object>" * 38_000 + "<mi></ul>" * 55_000,
    "titles in a title": "&#x</p><title>" * 36_000 + "&amp;<x>" * 62_000,
    "elements in SVG": "</h2><mi><svg>" * 70_000,
    "elements in styles of SVG": "<svg><style>" + "<x></y>" * 140_000,
    "nested tables": "<table><tr><td>" * 40_000 + "x",
    "nested quotes": "<blockquote type=cite>x\n" * 40_000,
    "small tags": "<p>" * 1_700_000,
    "less-than": "<" * 2_000_000,
    "comments": "<!--" * 400_000,
    "spaces": "<pre>" + " " * 1_000_000 + "x",
    "a cut tag": "<p>" + "<a href='" * 200_000,
    "data image": '<img src="data:image/png;base64,' + "aB/+" * 500_000 + '">x',
    "hidden tags": '<p style="display:none;max-height:0">x' * 26_000,
    "style rules": "<style>" + ".a{display:none}" * 60_000,
    "declarations that hide nothing": "display:none " * 90_000,
    "declarations in a quoted value": '<p title="' + "<p style=display:none " * 50_000 + '">x',
    "tags cut in their style": '<p style="display:none ' * 45_000,
    "declarations far from their tag": ("<p " + "a=b " * 900 + "display:none>x") * 280,
    "declarations behind many quoted tags": ("<p title='" + "<" * 3_000 + "' style='display:none'>x") * 300,
    "style sheets without end": "<style>.a{display:none}" * 45_000,
    "sheets without braces": ("<style>" + "display}" * 6_000 + "</style>") * 20,
    "sheets in open comments": "<!--" + "<style>.a{visibility:hidden}</style>" * 28_000,
    "classes that sheets hide": "<style>"
    + numbered(20, ".a{}{{display:none}}")
    + "</style>"
    + '<p class="a1 a2 a3" style="color:red">x' * 20_000,
    "links": "<a href=https://x.example/>x</a> " * 30_000,
    "parentheses": " (http:" * 150_000,
    "scripts": "<script " * 130_000,
    "ends with attributes that close nothing": "old</blo b=c>" * 80_000,
    "rows with attributes and no table": "old<tr b=c>" * 95_000,
    "tags with attributes in a select": "<select>" + "old<x b=c>" * 100_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_case_85_hostile_html_is_bounded_in_time(name):
    assert not excess(lambda: html_to_text(HOSTILE[name]))


@pytest.mark.parametrize(
    "page",
    [
        "<p>one <b>two</b><br>" * 20_000,
        "<table>" + "<tr><td><div><span>x</span></div></td></tr>" * 10_000 + "</table>",
        "<ul>" + "<li>x" * 20_000 + "</ul>",
        "<div><a href=https://x.example/>x</a></p></center></div>" * 6_000,
        "<table>" + "<tr class=a><td class=b>words of a cell</td></tr>" * 3_500 + "</table>",
    ],
)
def test_case_85_long_ordinary_pages_are_not_taken_for_hostile(page):
    assert not is_hostile(page)


def test_case_85_lists_beyond_reason_lose_their_indent_and_keep_their_items():
    lines = text("<ul><li>one<ol><li>two</ol></ul>" * 40 + "<p>end").split("\n")
    assert [line.strip() for line in lines if line.strip()][-1] == "end"
    assert sum("one" in line for line in lines) == sum("two" in line for line in lines) == 40


def test_case_85_a_body_with_a_few_long_tags_is_not_taken_for_hostile():
    page = (
        "<p>Hello</p>" * 3_000
        + '<img src="data:image/png;base64,'
        + "aB/+" * 20_000
        + '"><p style="'
        + "a:b;" * 300
        + '">x</p>'
    )
    assert not is_hostile(page)
    assert "Hello" in text(page)


def test_case_85_the_reduced_form_keeps_text_and_blocks():
    html = 'a < b <p id="1" style="color:red">one</p><div style="display:none">HIDDEN</div><script>HIDDEN</script><ul><li>two</ul>'
    reduced = reduce_html(html)
    assert "id=" not in reduced
    assert text(reduced).split() == ["a", "<", "b", "one", "•", "two"]


def test_the_slow_reader_gives_the_same_words():
    html = "<p>one <b>two</b></p><script>HIDDEN</script><p>three</p>"
    assert slow_text(html).split() == text(html).split()


TAGS = st.lists(
    st.one_of(
        st.sampled_from(("<p>", "</p>", "<br>", "<b>", "</b>", "<table>", "<tr>", "<td>", "</table>", "<li>", "<ul>", "</ul>", "<blockquote>",
                         "</blockquote>", "<!--", "-->", "<script>", "</script>", '<p style="display:none">', "<a href='x'>", "</a>", "&#0;", "&nbsp;",
                         "&#xD800;", "<", ">", '"', "'", "<pre>", "</pre>", "<style>", "</style>", "<svg>", "<template>", "\x01")),
        st.text(max_size=15),
    ),
    max_size=40,
).map("".join)  # fmt: skip


@given(TAGS)
@settings(max_examples=400, deadline=None)
def test_no_html_raises_and_all_text_can_be_stored(html):
    for answer in (html_to_text(html)[0], html_to_text(reduce_html(html))[0]):
        answer.encode("utf-8")
        assert not set(answer) & {"\0", "\r", "\xa0", "\x04", "\x05"}


@given(st.lists(st.text(alphabet="abcdefgh", min_size=1, max_size=8), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_words_in_plain_markup_are_those_beautifulsoup_finds(words):
    html = "<html><body>" + "".join(f"<div><p>{word}</p></div>" for word in words) + "</body></html>"
    assert text(html).split() == slow_text(html).split()


def test_case_85_memory_stays_small():
    tracemalloc.start()
    html_to_text("<p>word</p>" * 90_000)
    html_to_text("<ul>x" * 200_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64_000_000
