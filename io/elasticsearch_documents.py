"""Elasticsearch's side of documents and queries: the mapping, what is stored of a document, and the body of a search.

Only what Elasticsearch has without plugins, scripts or licences is used.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from . import search
from .search import SearchQuery

_keyword: dict[str, Any] = {"type": "keyword", "ignore_above": 1024}  # longer ones are stored, not indexed
_unindexed: dict[str, Any] = {"type": "object", "enabled": False}
MAPPING: dict[str, Any] = {
    "dynamic": "strict",
    "properties": {
        "team_id": _keyword,
        "engagement_id": _keyword,
        "message_id": _keyword,
        "digest": {"type": "keyword"},
        "sent_at": {"type": "date"},
        "direction": _keyword,
        "subject": {"type": "text", "analyzer": "standard"},
        "text": {"type": "text", "analyzer": "standard"},
        "people": {"type": "text", "analyzer": "standard"},
        "joined": {"type": "text", "analyzer": "standard"},  # see search.joined_words
        "truncated": {"type": "boolean"},
        "sender": _unindexed,
        "to": _unindexed,
        "cc": _unindexed,
        "addresses": _keyword,
        "domains": _keyword,
        "mailboxes": _keyword,
        "account_ids": _keyword,
        "contact_ids": _keyword,
        "lead_ids": _keyword,
        "opportunity_ids": _keyword,
    },
}
SEARCHED = ["subject^3", "text"]
SEARCHED_BY_WORDS = [*SEARCHED, "people^2", "joined"]
"""Where a query that is taken apart at its punctuation can match."""
MAX_EXPANSIONS = 1000
"""So many words that begin so are looked at where the last word of a phrase is one; Elasticsearch's own limit is 50."""
_ONE_TOKEN = re.compile(r"[^\W_\u2e80-\ua4cf\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]{1,255}")
"""What the standard analyzer takes for one word: letters and digits, none of them of a script without spaces."""
SHOWN = ["engagement_id", "sent_at", "direction", "subject", "sender"]


def document_id(team_id: str, engagement_id: str) -> str:
    """The document's _id: a digest, so it is never too long (Elasticsearch's limit: 512 bytes) and never another team's."""
    return hashlib.sha256(f"{team_id}\0{engagement_id}".encode()).hexdigest()[:40]


def source(made: search.Document) -> search.Document:
    """What is stored of a document: itself, and the words that the standard analyzer does not find in it."""
    return made | {"joined": search.joined_words(made)}


def search_body(team_id: str, query: SearchQuery) -> dict[str, Any]:
    """The search request: the team's filter always, then what the query asks for."""
    filters: list[dict[str, Any]] = [{"term": {"team_id": team_id}}]
    must: list[dict[str, Any]] = []
    found_terms = search.terms(query.text)
    for term in found_terms:
        must.append({"dis_max": {"queries": _ways(term)}})
    who = search.person(query.person)
    if who is not None and who.address:
        filters.append({"term": {"addresses": who.address}})
    elif who is not None and who.domain:
        filters.append({"term": {"domains": who.domain}})
    elif who is not None:
        filters += [{"match_phrase": {"people": word}} for word in who.words]
    if query.deal:
        filters.append({"term": {"opportunity_ids": query.deal}})
    sent = {name: time for name, time in (("gte", query.after), ("lt", query.before)) if time is not None}
    if sent:
        filters.append({"range": {"sent_at": {name: int(time.timestamp() * 1000) for name, time in sent.items()}}})
        filters[-1]["range"]["sent_at"]["format"] = "epoch_millis"
    newest: list[Any] = [{"sent_at": "desc"}, {"engagement_id": "asc"}]
    body: dict[str, Any] = {
        "query": filtered(filters, must),
        "size": query.limit,
        "source": SHOWN,
        "track_total_hits": False,
    }
    if not found_terms:
        return body | {"sort": newest}
    marks = {"pre_tags": [search.MARK_START], "post_tags": [search.MARK_END]}
    fields = {"subject": {"number_of_fragments": 0}, "text": {"number_of_fragments": 2, "fragment_size": 160}}
    return body | {"sort": ["_score", *newest], "track_scores": True, "highlight": {**marks, "fields": fields}}


def _ways(term: search.Term) -> list[dict[str, Any]]:
    """The queries by which `term` may be found: as it is written, and taken apart at its punctuation."""
    by_words = " ".join(search.words(term.text))
    if term.prefix and _ONE_TOKEN.fullmatch(by_words):  # no limit to how many words begin so, of all teams
        return [{"multi_match": {"query": by_words, "type": "bool_prefix", "fields": SEARCHED_BY_WORDS}}]
    how = {"type": "phrase_prefix", "max_expansions": MAX_EXPANSIONS} if term.prefix else {"type": "phrase"}
    written = {"query": term.text, "type": "phrase_prefix" if term.prefix else "phrase", "fields": SEARCHED}
    return [{"multi_match": written}, {"multi_match": {"query": by_words, "fields": SEARCHED_BY_WORDS, **how}}]


def filtered(filters: list[dict[str, Any]], must: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """A query of conditions that do not count for the score, and such that do; everything where there are none."""
    return {"bool": {"filter": filters, "must": list(must)}} if filters or must else {"match_all": {}}
