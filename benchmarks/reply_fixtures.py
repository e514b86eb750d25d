"""Replies with what should be left of them without their quotes, as other projects' tests expect it.

unquotemail has pairs of files. Many of its inputs are the other projects' own (the expectations of those lie in test code that the
corpora do not hold), so for a fixture of theirs with the same words its pair counts. planer's tests hold input and expectation
themselves. talon's mails are told by files beside them, or by unquotemail's pair of that name. A fixture that nothing is known of
is counted, and not measured.
"""

from __future__ import annotations

import pathlib
import re
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

from dealmail.transforms.charsets import decode_text

SAME_INPUTS = {
    "email_reply_parser": "test/emails",
    "crisp-erp": "test/fixtures",
    "zapier-erp": "test/emails",
    "willdurand-erp": "tests/Fixtures",
    "mail-parser-reply": "test/emails",
}


class Fixture(NamedTuple):
    """One reply. `form` is text, html or mail (a whole message); `expected` is text, or HTML if `is_html`; None: not known."""

    kind: str
    name: str
    form: str
    given: bytes
    expected: str | None
    is_html: bool = False


def fixtures(root: pathlib.Path) -> Iterator[Fixture]:
    """All of them, in the corpora at `root`."""
    pairs = {fixture.name: fixture for fixture in _unquotemail(root / "unquotemail" / "tests")}
    yield from pairs.values()
    known = {_words(fixture.given): fixture.expected for fixture in pairs.values() if fixture.form == "text"}
    for kind, folder in SAME_INPUTS.items():
        for path in _files(root / kind / folder):
            yield Fixture(kind, path.stem, "text", path.read_bytes(), known.get(_words(path.read_bytes())))
    yield from _talon(root / "talon" / "tests" / "fixtures", pairs)
    yield from _planer(root / "planer" / "test")


def _unquotemail(folder: pathlib.Path) -> Iterator[Fixture]:
    for place, mark in ((folder / "samples", ""), (folder / "samples" / "failing", ", failing")):
        for path in _files(place):
            is_html = path.suffix == ".html"
            expected = folder / "expecteds" / path.name
            if not expected.is_file() and is_html:
                expected = expected.with_suffix(".txt")
            yield Fixture(
                f"unquotemail {path.suffix[1:]}{mark}",
                path.name,
                "html" if is_html else "text",
                path.read_bytes(),
                _text(expected) if expected.is_file() else None,
                expected.suffix == ".html",
            )


def _talon(folder: pathlib.Path, pairs: dict[str, Fixture]) -> Iterator[Fixture]:
    for path in [*_files(folder), *_files(folder / "standard_replies"), *_files(folder / "html_replies")]:
        if path.suffix not in {".eml", ".html"}:
            continue
        told = path.with_name(f"{path.stem}_reply_text")
        names = (path.name.lower(), f"{path.stem}_dual.txt")
        pair = next((pairs[name] for name in names if name in pairs and pairs[name].expected is not None), None)
        form = "mail" if path.suffix == ".eml" else "html"
        if told.is_file():
            yield Fixture("talon replies", path.name, form, path.read_bytes(), _text(told))
        else:
            expected, is_html = (pair.expected, pair.is_html) if pair else (None, False)
            yield Fixture("talon replies", path.name, form, path.read_bytes(), expected, is_html)


_STRING = r"\"\"\"(?P<{0}block>.*?)\"\"\"|'(?P<{0}single>(?:[^'\\\n]|\\.)*)'|\"(?P<{0}double>(?:[^\"\\\n]|\\.)*)\""
_STEP = re.compile(
    rf"(?P<variable>\w+) ?= ?(?:{_STRING.format('a_')})"
    rf"|expect\(planer\.extractFrom(?P<how>Plain|Html)\((?P<given>\w+)[^)]*\)\)\.to\.equal\((?:{_STRING.format('b_')}|(?P<other>\w+))\)",
    re.DOTALL,
)


def _planer(folder: pathlib.Path) -> Iterator[Fixture]:
    """What the CoffeeScript of the tests says: variables that hold text, and what is expected of them."""
    for path in sorted(folder.glob("*.coffee")):
        values: dict[str, str] = {}
        for number, step in enumerate(_STEP.finditer(path.read_text("utf-8"))):
            found = step.groupdict()
            if found["variable"]:
                values[found["variable"]] = _coffee(found, "a_")
            elif found["given"] in values and (found["other"] is None or found["other"] in values):
                expected = values[found["other"]] if found["other"] else _coffee(found, "b_")
                is_html = found["how"] == "Html"
                kind = f"planer {'html' if is_html else 'txt'}"
                given = values[found["given"]].encode()
                yield Fixture(kind, f"{path.stem}-{number}", "html" if is_html else "text", given, expected, is_html)


def _coffee(found: dict[str, str | None], prefix: str) -> str:
    """A string of CoffeeScript: a block loses the indent of its lines."""
    block = found[f"{prefix}block"]
    if block is not None:
        first, newline, rest = block.partition("\n")
        return first + newline + textwrap.dedent(rest)
    text = found[f"{prefix}single"]
    text = found[f"{prefix}double"] or "" if text is None else text
    return text.replace("\\n", "\n").replace("\\'", "'").replace('\\"', '"')


def _words(data: bytes) -> bytes:
    return b" ".join(data.split())


def _text(path: pathlib.Path) -> str:
    return decode_text(path.read_bytes())[0]


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name != "LICENSE")
