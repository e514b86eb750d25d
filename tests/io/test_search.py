"""What every search index does: FTS5 and Elasticsearch answer the same."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealmail.io import search
from dealmail.io.search import DONE, STALE, IndexedVersion, IndexEntry, SearchQuery, SearchSpec, Term

DAY = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def made(
    engagement_id="e1", team_id="t1", *, subject="Renewal offer", text="Please sign.", days=0, people=None, deals=()
):
    people = people or [("from", "Zoë Ångström", "zoe@acme.example"), ("to", "Ann Rep", "ann@team.example")]
    row = {
        "team_id": team_id, "id": engagement_id, "message_id": f"{engagement_id}@acme.example", "direction": "inbound",
        "sent_at": DAY + dt.timedelta(days=days), "sender_address": people[0][2], "sender_name": people[0][1],
        "subject": subject, "text": text, "truncated": False,
    }  # fmt: skip
    rows = [{"role": r, "position": i, "name": n, "address": a} for i, (r, n, a) in enumerate(people)]
    return search.document(row, rows, [{"kind": "opportunity", "target_id": d} for d in deals], ["m1"])


def entry(engagement_id="e1", version=1, team_id="t1", **content):
    return IndexEntry(team_id, engagement_id, version, made(engagement_id, team_id, **content))


def found(index, team_id="t1", **query):
    return [hit.engagement_id for hit in index.search(team_id, SearchQuery(**query))]


class TestEveryIndex:
    """The contract, for each implementation."""

    def test_ensure_twice_keeps_what_is_there(self, search_index):
        search_index.put([entry()])
        search_index.ensure()
        search_index.refresh()
        assert found(search_index, text="renewal") == ["e1"]

    def test_put_answers_each_entry_in_order(self, search_index):
        assert search_index.put([entry("e1", 5), entry("e2", 5)]) == [DONE, DONE]
        assert search_index.put([entry("e2", 6), entry("e1", 4), entry("e3", 1)]) == [DONE, STALE, DONE]
        assert search_index.put([]) == []

    def test_older_version_stays_out_and_same_version_rewrites(self, search_index):
        search_index.put([entry(version=5, subject="five")])
        assert search_index.put([entry(version=4, subject="four")]) == [STALE]
        assert search_index.put([entry(version=5, subject="fifth")]) == [DONE]
        search_index.refresh()
        assert [found(search_index, text=t) for t in ("four", "five", "fifth")] == [[], [], ["e1"]]

    def test_delete_keeps_late_writes_out(self, search_index):
        search_index.put([entry(version=5)])
        assert search_index.put([IndexEntry("t1", "e1", 4)]) == [STALE]
        assert search_index.put([IndexEntry("t1", "e1", 6)]) == [DONE]
        assert search_index.put([entry(version=5)]) == [STALE]
        search_index.refresh()
        assert found(search_index, text="renewal") == []
        assert list(search_index.scan()) == []
        assert search_index.put([entry(version=7)]) == [DONE]
        search_index.refresh()
        assert found(search_index, text="renewal") == ["e1"]

    def test_the_beginning_of_a_word_finds_all_that_begin_so(self, search_index):
        """However many words do, and whosever mail they stand in; a phrase in Elasticsearch looks at fifty."""
        for team in ("t1", "t0"):
            search_index.put(
                [entry(f"e{n:03d}", team_id=team, text=f"order con{n:03d}{team} a.b{n:03d}") for n in range(150)]
            )
        search_index.refresh()
        everything = [f"e{n:03d}" for n in range(150)]
        assert sorted(found(search_index, text="con*", limit=1000)) == everything
        assert sorted(found(search_index, text="CON* nonsense*", limit=1000)) == []
        assert sorted(found(search_index, text="order CON*", limit=1000)) == everything
        assert sorted(found(search_index, text="a.b*", limit=1000)) == everything
        assert found(search_index, text="con149*", limit=1000) == ["e149"]

    def test_delete_of_what_is_not_there_is_done_and_keeps_late_writes_out(self, search_index):
        assert search_index.put([IndexEntry("t1", "e9", 6)]) == [DONE]
        assert search_index.put([entry("e9", 5)]) == [STALE]

    def test_replaced_words_are_no_longer_found(self, search_index):
        search_index.put([entry(version=1, text="first wording", deals=["o1"])])
        search_index.put([entry(version=2, text="second wording")])
        search_index.refresh()
        assert found(search_index, text="first") == []
        assert found(search_index, text="second") == ["e1"]
        assert found(search_index, deal="o1") == []

    @pytest.mark.parametrize(
        ("text", "hits"),
        [
            ("renewal", ["e1"]),
            ("RENEWAL sign", ["e1"]),  # words of subject and text together
            ("renewal nonsense", []),
            ('"sign the wi-fi"', ["e1"]),
            ('"sign wi-fi"', []),
            ("wi-fi", ["e1"]),
            ("contr*", ["e1", "e2"]),
            ("contr", []),
            ("zoë", ["e1"]),
            ("見積書", ["e2"]),
            ('"の見積"', ["e2"]),
            ("積見", []),
            ("ångström renewal", ["e1"]),
            ('contract "', ["e1", "e2"]),
            ("contract AND", []),  # operators are words
            ("contract -", ["e1", "e2"]),
            ("subject:contract", []),
            ("(contract", ["e1", "e2"]),
            ("can't", ["e2"]),
            ("4,711.50", ["e2"]),
        ],
    )
    def test_words_phrases_and_beginnings(self, search_index, text, hits):
        search_index.put(
            [
                entry("e1", text="Please sign the Wi-Fi contract."),
                entry(
                    "e2", subject="Contract: 来週の見積書です", text="We can't pay 4,711.50", days=-1,
                    people=[("from", "Bo", "bo@other.example")],
                ),
            ]
        )  # fmt: skip
        search_index.refresh()
        assert sorted(found(search_index, text=text)) == hits

    @pytest.mark.parametrize(
        ("person", "hits"),
        [
            ("zoe@acme.example", ["e1"]),
            ("ZOE@Acme.Example", ["e1"]),
            ("@acme.example", ["e1"]),
            ("@example", []),
            ("ann rep", ["e1"]),
            ("Ångström", ["e1"]),
            ("other", ["e2"]),
            ("o'neil", ["e2"]),
            ("zoe bo", []),
            ("renewal", []),  # a word of the subject names nobody
        ],
    )
    def test_person_is_address_domain_or_name(self, search_index, person, hits):
        search_index.put([entry("e1"), entry("e2", people=[("from", "Bo O'Neil", "bo@other.example")])])
        search_index.refresh()
        assert found(search_index, person=person) == hits

    def test_deal_and_dates_narrow(self, search_index):
        search_index.put([entry(f"e{n}", days=n, deals=["o1"] if n % 2 else ["o2", "o3"]) for n in range(6)])
        search_index.refresh()
        assert found(search_index) == ["e5", "e4", "e3", "e2", "e1", "e0"]
        assert found(search_index, deal="o3") == ["e4", "e2", "e0"]
        span = {"after": DAY + dt.timedelta(days=1), "before": DAY + dt.timedelta(days=4)}
        assert found(search_index, **span) == ["e3", "e2", "e1"]
        assert found(search_index, deal="o1", text="renewal", **span) == ["e3", "e1"]
        assert found(search_index, limit=2) == ["e5", "e4"]

    def test_hit_shows_what_matched(self, search_index):
        words = "Filler words go here. " * 100
        search_index.put(
            [entry("e1", text=f"{words} the Renewal <b>contract</b> {words}"), entry("e2", subject="Renewal", text="-")]
        )
        search_index.refresh()
        hits = {hit.engagement_id: hit for hit in search_index.search("t1", SearchQuery("renewal contract"))}
        assert list(hits) == ["e1"]
        hit = hits["e1"]
        assert (hit.sent_at, hit.direction, hit.subject) == (DAY, "inbound", "Renewal offer")
        assert (hit.sender_address, hit.sender_name) == ("zoe@acme.example", "Zoë Ångström")
        assert hit.score > 0
        by_field = {part.field: part for part in hit.fragments}
        assert [by_field["subject"].text[a:b] for a, b in by_field["subject"].spans] == ["Renewal"]
        text = by_field["text"]
        assert [text.text[a:b] for a, b in text.spans] == ["Renewal", "contract"]
        assert len(text.text) < 400

    def test_subject_counts_more_than_text(self, search_index):
        search_index.put(
            [entry("e1", subject="Hello", text="about the merger"), entry("e2", subject="Merger", text="about that")]
        )
        search_index.refresh()
        assert found(search_index, text="merger") == ["e2", "e1"]

    def test_marks_in_mail_do_no_harm(self, search_index):
        search_index.put([entry(subject=f"bad {search.MARK_START}renewal{search.MARK_END} {search.MARK_END}")])
        search_index.refresh()
        (hit,) = search_index.search("t1", SearchQuery("renewal"))
        assert [f.text[a:b] for f in hit.fragments for a, b in f.spans] == ["renewal"]

    def test_team_sees_only_its_own(self, search_index):
        search_index.put([entry("e1", team_id="t1", deals=["o1"]), entry("e1", 9, team_id="t2", deals=["o1"])])
        search_index.refresh()
        assert [h.engagement_id for h in search_index.search("t1", SearchQuery("renewal"))] == ["e1"]
        assert found(search_index, "t3", text="renewal") == []
        for query in ({}, {"person": "@acme.example"}, {"deal": "o1"}, {"person": "zoe"}):
            assert found(search_index, "t3", **query) == []
        assert [one.team_id for one in search_index.scan("t2")] == ["t2"]
        assert set(search_index.lookup([("t1", "e1"), ("t3", "e1")])) == {("t1", "e1")}
        search_index.put([IndexEntry("t2", "e1", 10)])
        search_index.refresh()
        assert found(search_index, "t1", text="renewal") == ["e1"]

    def test_scan_is_in_order_and_complete_over_many_pages(self, search_index):
        teams = ["a", "a b", "a-", "é", "b"]
        entries = [entry(f"{n:05d}", n + 1, team_id=teams[n % 5], text="x") for n in range(2600)]
        search_index.put(entries)
        expected = sorted((e.team_id, e.engagement_id, e.version, e.document["digest"]) for e in entries)
        assert [(i.team_id, i.engagement_id, i.version, i.digest) for i in search_index.scan()] == expected
        assert [i.engagement_id for i in search_index.scan("a b")] == [e[1] for e in expected if e[0] == "a b"]

    def test_lookup_sees_writes_at_once(self, search_index):
        one = entry(version=3)
        search_index.put([one, entry("e2")])
        held = search_index.lookup([("t1", "e1"), ("t1", "none")])
        assert held == {("t1", "e1"): IndexedVersion("t1", "e1", 3, one.document["digest"])}
        assert search_index.lookup([]) == {}

    def test_rebuilt_index_takes_over_at_once_and_whole(self, search_index):
        search_index.put([entry("old"), entry("both", 2)])
        search_index.refresh()
        with search_index.rebuilding() as fresh:
            fresh.put([entry("new"), entry("both", 2)])
            fresh.refresh()
            assert found(search_index, text="renewal") != []
            assert [one.engagement_id for one in search_index.scan()] == ["both", "old"]
            assert [one.engagement_id for one in fresh.scan()] == ["both", "new"]
        assert [one.engagement_id for one in search_index.scan()] == ["both", "new"]
        assert sorted(found(search_index, text="renewal")) == ["both", "new"]
        assert search_index.put([entry("later")]) == [DONE]

    def test_what_is_deleted_during_a_rebuild_stays_deleted(self, search_index):
        search_index.put([entry("e1", 2), entry("e2", 2)])
        with search_index.rebuilding() as fresh:
            fresh.put([entry("e1", 2)])
            search_index.put([IndexEntry("t1", "e1", 3), IndexEntry("t1", "e2", 3)])
            assert fresh.put([entry("e2", 2)]) == [STALE]  # read before it was deleted
        assert list(search_index.scan()) == []

    def test_what_is_put_during_a_rebuild_is_there_when_it_takes_over(self, search_index):
        with search_index.rebuilding() as fresh:
            search_index.put([entry("e1", 2), entry("e2")])
            assert fresh.put([entry("e1", 1)]) == [STALE]  # read before it was changed
            search_index.put([entry("e3")])
        assert {one.engagement_id: one.version for one in search_index.scan()} == {"e1": 2, "e2": 1, "e3": 1}

    def test_what_is_put_during_a_rebuild_is_there_at_once_afterwards(self, search_index):
        with search_index.rebuilding() as fresh:
            assert search_index.put([entry("new", 2)]) == [DONE]
            assert fresh.put([entry("new", 1)]) == [STALE]  # read before it changed
        assert [(one.engagement_id, one.version) for one in search_index.scan()] == [("new", 2)]

    def test_failed_rebuild_changes_nothing(self, search_index):
        search_index.put([entry("e1")])
        with pytest.raises(ZeroDivisionError), search_index.rebuilding() as fresh:  # noqa: PT012 (fails inside)
            fresh.put([entry("e2")])
            raise ZeroDivisionError
        assert [one.engagement_id for one in search_index.scan()] == ["e1"]
        assert search_index.put([IndexEntry("t1", "e1", 9)]) == [DONE]
        with search_index.rebuilding():
            pass
        assert list(search_index.scan()) == []

    def test_threads_writing_in_any_order_end_with_the_newest(self, search_index):
        def write(seed):
            for version in range(1, 8):
                search_index.put(
                    [
                        entry(f"e{n}", (version * 5 + seed) % 8 + 1, text=f"v{(version * 5 + seed) % 8 + 1}")
                        for n in range(5)
                    ]
                )

        threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {one.version for one in search_index.scan()} == {8}
        assert len(found(search_index, text="v8")) == 5

    def test_long_fields_are_taken(self, search_index):
        long = entry("e1", subject="word " * 20_000, text=("lorem ipsum " * 80_000)[:990_000] + " needle",
                     people=[("from", "N" * 5000, "a" * 310 + "@b.example")])  # fmt: skip
        assert search_index.put([long]) == [DONE]
        search_index.refresh()
        assert found(search_index, text="needle") == ["e1"]

    @pytest.mark.slow  # it waits for a timer of Elasticsearch's own
    def test_compact_keeps_what_is_there(self, search_index):
        search_index.put([entry("e1"), entry("e2")])
        search_index.put([IndexEntry("t1", "e2", 2)])
        search_index.compact()
        search_index.refresh()
        assert found(search_index, text="renewal") == ["e1"]
        assert search_index.put([entry("e2", 1)]) == [STALE]


class TestQuery:
    def test_terms(self):
        assert search.terms('plain "two words" begin* - "" "!" "open') == [
            Term("plain"), Term("two words"), Term("begin", prefix=True), Term("open"),
        ]  # fmt: skip

    @given(st.text())
    def test_any_text_is_taken_apart(self, text):
        for term in search.terms(text):
            assert any(c.isalnum() for c in term.text)

    @given(
        st.text(alphabet=st.characters(exclude_characters=[search.MARK_START, search.MARK_END])),
        st.text("abc "),
        st.text("xyz"),
    )
    def test_fragment_takes_the_marks_out(self, before, match, after):
        part = search.fragment("text", f"{before}{search.MARK_START}{match}{search.MARK_END}{after}")
        assert part.text == before + match + after
        assert [part.text[a:b] for a, b in part.spans] == [match]

    @pytest.mark.parametrize("bad", [{"limit": 0}, {"limit": 1001}, {"after": dt.datetime(2026, 1, 1)}])  # noqa: DTZ001
    def test_query_without_an_answer_is_refused(self, bad):
        with pytest.raises(ValueError):
            SearchQuery(**bad)


class TestDocument:
    def test_same_rows_in_any_order_give_the_same_document(self):
        one = made(people=[("from", "A", "a@x.example"), ("to", "B", "b@x.example")], deals=["o1", "o2"])
        row = {"team_id": "t1", "id": "e1", "message_id": "e1@acme.example", "direction": "inbound", "sent_at": DAY.astimezone(
            dt.timezone(dt.timedelta(hours=5))), "sender_address": "a@x.example", "sender_name": "A", "subject": "Renewal offer",
            "text": "Please sign.", "truncated": 0}  # fmt: skip
        people = [{"role": "to", "position": 1, "name": "B", "address": "b@x.example"},
                  {"role": "from", "position": 0, "name": "A", "address": "a@x.example"}]  # fmt: skip
        links = [{"kind": "opportunity", "target_id": "o2"}, {"kind": "opportunity", "target_id": "o1"}]
        assert search.document(row, people, links, ["m1", "m1"]) == one

    @pytest.mark.parametrize(
        "other", [{"subject": "x"}, {"text": "x"}, {"days": 1}, {"deals": ["o1"]}, {"team_id": "t2"}]
    )
    def test_any_change_changes_the_digest(self, other):
        assert made(**other)["digest"] != made()["digest"]

    def test_the_digest_stays_what_it_was(self):
        """Another one would have every document of every index written anew."""
        row = {"team_id": "t1", "id": "e1", "message_id": "<1@x>", "sent_at": DAY.replace(microsecond=7), "direction": "inbound",
               "sender_address": "Zoe@Acme.example", "sender_name": 'Zoë "Å"', "subject": "Grüße \ufdd0😀",
               "text": "a\n\\b\x7f\u2028", "truncated": False}  # fmt: skip
        people = [{"role": "to", "position": 1, "address": "B@x.example", "name": "B"},
                  {"role": "cc", "position": 0, "address": "c", "name": ""},
                  {"role": "from", "position": 0, "address": "Zoe@Acme.example", "name": "Zoë"}]  # fmt: skip
        kinds = ("lead", "opportunity", "account", "contact")
        links = [{"kind": kind, "target_id": one} for kind in kinds for one in "21"]
        document = search.document(row, people, links, ["m2", "m1", "m2"])
        assert (
            document["digest"]
            == search.digest(document)
            == "c4176abe1bbd9460561fb20d701475b4a4cba0ce714eb7bc5d37956ea6f1b317"
        )


JOINED = st.text("ab1é語 \n\t\u2003\x1c.,:;'_·\u00ad-", max_size=30)


class TestJoinedWords:
    @given(JOINED, JOINED)
    def test_each_piece_with_a_joint_and_no_other(self, subject, text):
        pieces = [piece for piece in f"{subject} {text}".split() if search._JOINED.search(piece)]
        assert search.joined_words({"subject": subject, "text": text}) == sorted(
            {" ".join(search.words(piece)) for piece in pieces} - {""}
        )

    def test_what_they_are(self):
        text = "See acme.com, a_b and can't; 10:30. No: not. _ Zoë.Å x."
        assert search.joined_words({"text": text}) == ["10 30", "Zoë Å", "a b", "acme com", "can t"]


class TestSpec:
    @pytest.mark.parametrize(
        "bad",
        ["postgresql://h/x", "https://user:secret@host", "https://user@host"],
    )
    def test_bad_url_is_refused_without_showing_a_secret(self, bad):
        with pytest.raises(ValueError) as caught:
            SearchSpec(bad)
        assert "secret@" not in str(caught.value)

    @pytest.mark.parametrize("bad", ["Upper", "-x", "a*", "", "x" * 101])
    def test_bad_index_name_is_refused(self, bad):
        with pytest.raises(ValueError, match="search index"):
            SearchSpec("http://localhost:9200", index=bad)
