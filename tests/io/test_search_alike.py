"""One corpus in both indexes: every query finds the same mail in Elasticsearch as in FTS5, and marks the same words."""

from __future__ import annotations

import datetime as dt
import random
import re
from typing import Any

import pytest

from dealmail.io import search
from dealmail.io.search import IndexEntry, SearchQuery

pytestmark = pytest.mark.elasticsearch

AT = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
TEXTS = (
    "Please sign the Wi-Fi contract; it's at https://www.acme.com/a/b?x=1&y=2.",
    "Größe und Maß: 4,711.50 € — naïve café, Ångström. ﬁnal",
    "来週の見積書です。よろしくお願いします。ABC見積 カタログ確認 v2.0見積",
    "Σίσυφος ΣΊΣΥΦΟΣ İstanbul ISTANBUL ıstanbul straße STRASSE",
    "Mail zoe.quint+deal@acme.example or bob_the_builder@sub.acme.co.uk, not __init__ or a_b",
    "can't won’t O'Neil rock'n'roll e.g. U.S.A. node.js C++ C# .NET 10.0.0.1 2026-03-01",
    'AND OR NOT NEAR(a b) "quoted phrase" subject:contract (bracket [square] {curly} ^caret ~tilde *star ?mark',
    "'; DROP TABLE engagement; -- \\ \" ' % _ /regex/ <b>bold</b> &amp; ${jndi:x} {{template}}",
    "שלום עולם مرحبا بالعالم 한국어 문장 Привет мир",
    "emoji 😀 family 👨‍👩‍👧 flag 🇩🇪 zero\u200bwidth soft\u00adhyphen nb\u00a0space tab\there\nnewline",
    "x" * 300 + " long " + "y.z" * 60,
    "",
)
PEOPLE = (
    [("from", "Zoë Ångström", "zoe@acme.example"), ("to", "Ann Rep", "ann@team.example")],
    [("from", "O'Neil, Bo", "bo.oneil@other.example"), ("cc", "李 小龍", "li@example.cn")],
    [("from", "", "no-reply+x_y@sub.acme.example")],
)
ASKED = (
    "", "wi-fi", '"sign the wi-fi"', '"the sign"', "contr*", "CONTRACT", "acme", "acme.com", "com", "www.acme.com", "zoe", "quint",
    "bob_the_builder", "builder", "init", "a_b", "it's", "it", "O'Neil", "neil", "rock", "node", "node.js", "js", "10.0.0.1",
    "4711", "711", "4,711.50", "größe", "groesse", "GRÖSSE", "naive", "naïve", "café", "cafe", "見積書", "見積", "積見", "abc", "確認", "カタログ",
    "カタ*", "よろしく", "αβγ", "σίσυφος", "istanbul", "İstanbul", "strasse", "straße", "привет", "한국어", "한*", "שלום", "مرحبا", "😀", "👨‍👩‍👧",
    "AND", "OR NOT", "NEAR(a b)", '"quoted phrase"', '"quoted', "subject:contract", "-contract", "+contract", "(bracket", "[square]",
    "^caret", "~tilde", "*star", "?mark", "*", '"', '""', "''", "'; DROP TABLE engagement; --", "drop table", "\\", "%", "_",
    "/regex/", "<b>bold</b>", "${jndi:x}", "{{template}}", "a OR 1=1", "text:*", "_exists_:text", "widt*", "zero", "soft", "hyphen",
    "contract " * 300, "2026-03-01", "2026", "v2", "ﬁnal", "final", "\0", "\ud800".encode("utf-8", "replace").decode(),
)  # fmt: skip
PERSONS = (
    "zoe@acme.example", "ZOE@ACME.EXAMPLE", "@acme.example", "@sub.acme.example", "@example", "@", "zoe", "acme", "ångström zoë", "o'neil",
    "neil bo", "小龍", "李", "no-reply", "x_y", "zoe@*", "* OR 1=1", '"zoe"', "people:zoe", "ann rep zoe", "'", "zoe) OR (ann",
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus() -> list[IndexEntry]:
    made = []
    for number, (text, people) in enumerate((text, people) for text in TEXTS for people in PEOPLE):
        row = {
            "team_id": "t1", "id": f"{number:032x}", "message_id": f"{number}@x.example", "direction": "inbound",
            "sent_at": AT + dt.timedelta(days=number), "sender_address": people[0][2], "sender_name": people[0][1],
            "subject": " ".join(TEXTS[(number * 7 + 1) % len(TEXTS)].split()[:6]), "text": text, "truncated": False,
        }  # fmt: skip
        rows = [{"role": r, "position": i, "name": n, "address": a} for i, (r, n, a) in enumerate(people)]
        document = search.document(row, rows, [{"kind": "opportunity", "target_id": f"o{number % 3}"}], ["m1"])
        made.append(IndexEntry("t1", row["id"], 1, document))
    return made


@pytest.fixture
def both(fts_search_index: Any, elasticsearch_search_index: Any, corpus: list[IndexEntry]) -> tuple[Any, Any]:
    for index in (fts_search_index, elasticsearch_search_index):
        assert {outcome.status for outcome in index.put(corpus)} == {"done"}
        index.refresh()
    return fts_search_index, elasticsearch_search_index


def hits(index: Any, **query: Any) -> set[str]:
    return {hit.engagement_id for hit in index.search("t1", SearchQuery(limit=1000, **query))}


def differing(both: tuple[Any, Any], queries: list[dict[str, Any]]) -> list[Any]:
    found = []
    for query in queries:
        fts, elastic = (hits(index, **query) for index in both)
        if fts != elastic:
            found.append((query, len(fts), len(elastic)))
    return found


def test_every_query_finds_the_same(both: tuple[Any, Any], corpus: list[IndexEntry]) -> None:
    queries: list[dict[str, Any]] = [{"text": text} for text in ASKED] + [{"person": person} for person in PERSONS]
    queries += [{"deal": deal} for deal in ("o0", "o1", "o9", "", "*", "o0 OR o1")]
    queries += [{"text": "contract", "person": "zoe", "deal": "o0", "after": AT, "before": AT + dt.timedelta(days=20)}]
    assert differing(both, queries) == []
    assert hits(both[0]) == {entry.engagement_id for entry in corpus}
    assert hits(both[0], text="acme com")
    assert not hits(both[0], text="積見")


def test_queries_made_of_the_mail_itself_find_the_same(both: tuple[Any, Any], corpus: list[IndexEntry]) -> None:
    """Words, neighbours as a phrase, beginnings, and several at once, out of the texts."""
    chance = random.Random(2026)
    queries = []
    for _ in range(400):
        document = chance.choice(corpus).document
        assert document is not None
        text = document[chance.choice(["text", "subject"])]
        pieces = text.split() or ["none"]
        at = chance.randrange(len(pieces))
        queries.append({
            "text": chance.choice([
                pieces[at], f'"{" ".join(pieces[at : at + 3])}"', f"{pieces[at][:4]}*",
                " ".join(pieces[at : at + 5]), " ".join(chance.sample(pieces, min(2, len(pieces)))), chance.choice(re.findall(r"[^\W_]+", text) or ["none"]),
            ])
        })  # fmt: skip
    assert differing(both, queries) == []


@pytest.mark.parametrize("text", ["bracket", "größe", "見積書", "wi-fi", "привет"])
def test_the_same_words_are_marked(both: tuple[Any, Any], text: str) -> None:
    def marked(index: Any) -> dict[str, str]:
        return {
            hit.engagement_id: "".join(
                part.text[start:end] for part in hit.fragments if part.field == "subject" for start, end in part.spans
            )
            for hit in index.search("t1", SearchQuery(text, limit=1000))
        }

    fts, elastic = (
        {name: re.sub(r"[\W_]", "", words).lower() for name, words in marked(index).items()} for index in both
    )
    assert fts == elastic
