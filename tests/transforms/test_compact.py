"""Compact tables keep exactly what was put in, whatever its shape."""

from __future__ import annotations

import collections
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealmail.transforms import compact
from dealmail.transforms.compact import Block, Index, Numbering, Numbers, Strings

IDS = st.one_of(
    st.uuids().map(str), st.uuids().map(lambda one: str(one).upper()), st.from_regex("[a-zA-Z0-9]{18}", fullmatch=True), st.text(max_size=40)
)  # fmt: skip


@given(st.lists(IDS, max_size=40))
def test_strings_come_back_as_they_were(texts):
    table = Strings()
    assert [table.add(text) for text in texts] == list(range(len(texts)))
    assert [table[number] for number in range(len(texts))] == texts


@pytest.mark.parametrize(
    ("texts", "size"),
    [
        ([str(uuid.UUID(int=n)) for n in range(100)], 1600),
        ([f"{n:018d}" for n in range(100)], 1800),
        ([str(n) for n in range(10)] + ["10"], 12 + 44),
        ([str(uuid.UUID(int=n)) for n in range(5)] + ["x"], 181 + 24),
        (["", "", "ab"], 2 + 12),
    ],
)
def test_uuids_and_strings_of_one_length_take_no_more_than_they_must(texts, size):
    table = Strings()
    for text in texts:
        table.add(text)
    assert [table[number] for number in range(len(texts))] == texts
    assert table.nbytes == size


@given(st.lists(st.sampled_from(["a", "b", "", "ä@b.example", "\ud800"]) | st.text(max_size=5), max_size=60))
def test_an_index_leads_to_every_entry_of_a_key_and_to_no_other(keys):
    index, wanted = Index(), collections.defaultdict(list)
    for number, key in enumerate(keys):
        assert index.add(key) == number
        wanted[key].append(number)
    index.seal()
    assert {key: index.get(key) for key in wanted} == dict(wanted)
    assert index.get("never added") == []


def test_entries_whose_first_bits_agree_are_told_apart_by_the_rest(monkeypatch):
    digests = {"a": (7, 1), "b": (7, 2), "c": (8, 1)}
    monkeypatch.setattr(compact, "_halves", digests.__getitem__)
    index = Index()
    for key in ("b", "a", "c", "b"):
        index.add(key)
    index.seal()
    assert [index.get(key) for key in "abc"] == [[1], [0, 3], [2]]


def test_numbering_counts_each_text_once_however_many_there_are():
    texts = [str(n % 3000) for n in range(7000)]
    numbering = Numbering()
    assert [numbering.number(text) for text in texts] == [(n % 3000, n < 3000) for n in range(7000)]


def test_numbering_tells_texts_apart_whose_place_or_first_bits_agree(monkeypatch):
    digests = {"a": (7, 1), "b": (7, 2), "c": (8, 1), "d": (7, 1 + (1 << 20))}
    monkeypatch.setattr(compact, "_halves", digests.__getitem__)
    numbering = Numbering()
    assert [numbering.number(text)[0] for text in "abcdabcd"] == [0, 1, 2, 3, 0, 1, 2, 3]


@given(st.lists(st.binary(max_size=70_000), max_size=6))
def test_a_block_grows_without_losing_a_byte(pieces):
    block = Block()
    for piece in pieces:
        block.append(piece)
    whole = b"".join(pieces)
    assert (block[0 : block.size], block.size) == (whole, len(whole))


def test_numbers_reach_to_32_bits():
    numbers = Numbers()
    for number in (0, 1, 0xFFFFFFFF):
        numbers.append(number)
    assert [numbers[place] for place in range(len(numbers))] == [0, 1, 0xFFFFFFFF]
    with pytest.raises(OverflowError):
        numbers.append(1 << 32)
