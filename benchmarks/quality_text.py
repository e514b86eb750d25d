"""How faithful the text is, on fixtures with expected outputs that others wrote.

    python -m benchmarks.quality_text [--show]

soundasleep and postmark-templates: HTML and its text (the latter's authors put the hidden preheader into the text: it is taken out).
Replies (reply_fixtures.py): what is left of them without quotes; here that is the text with the quotes folded. talon's signatures:
what is left of a text without its signature. Exact ignores white space, punctuation and link targets; similarity is difflib's
ratio over words.
Addresses: what getaddresses finds and dealmail does not, and the reverse, over the real headers of the torture sets.
"""

from __future__ import annotations

import argparse
import collections
import difflib
import email.utils
import json
import os
import pathlib
import re
from collections.abc import Iterator

from bs4 import BeautifulSoup

from dealmail.sandbox import payload as gmail_form
from dealmail.transforms.addresses import normalize_address, parse_addresses
from dealmail.transforms.charsets import clean_text, decode_text
from dealmail.transforms.html_text import html_to_text
from dealmail.transforms.plain_text import read_text
from dealmail.transforms.quotes import find_spans

from .reply_fixtures import Fixture, fixtures

_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)|\(\s*(?:https?://|\{\{)[^)]*\)")
TORTURE = (
    "cpython-test-email",
    "enmime",
    "imap_tools",
    "k9",
    "mikel-mail",
    "mime-tools",
    "mime4j",
    "mimekit",
    "parsedmarc",
    "django-helpdesk",
)


def words(text: str) -> list[str]:
    """The words of `text`: no punctuation, no link targets."""
    return re.findall(r"\w+", _LINK.sub(r"\1", text))


def folded(text: str, kind: str = "quote") -> str:
    """`text` without its quotes; signatures stay, for the fixtures keep them. Or without its signature."""
    whole, spans = find_spans(text)
    for span in reversed([one for one in spans if one.kind == kind]):
        whole = whole[: span.start] + whole[span.end :]
    return whole


def from_html(html: str) -> str:
    """The text of `html` without the marks."""
    return find_spans(html_to_text(html)[0])[0]


def pairs(root: pathlib.Path) -> Iterator[tuple[str, str, str, str]]:
    """Fixture set, name, our text, expected text."""
    for path in sorted((root / "soundasleep-html2text").rglob("*.html")):
        expected = path.parent.parent / "txt" / f"{path.stem}.txt"
        if expected.is_file():
            yield (
                "soundasleep",
                path.stem,
                from_html(decode_text(path.read_bytes())[0]),
                decode_text(expected.read_bytes())[0],
            )
    for path in sorted((root / "postmark-templates").rglob("*.html")):
        expected = path.with_suffix(".txt")
        if expected.is_file():
            page, text = path.read_text(), expected.read_text()
            for hidden in BeautifulSoup(page, "html.parser").select(".preheader"):
                text = text.replace(hidden.get_text().strip(), "", 1)
            yield "postmark-templates", path.parent.name, from_html(page), text
    for path in sorted((root / "talon" / "tests" / "fixtures" / "signature" / "emails" / "stripped").glob("*_body")):
        body = decode_text(path.read_bytes())[0]
        signature = decode_text(path.with_name(path.name.replace("_body", "_signature")).read_bytes())[0]
        yield (
            "talon signatures",
            path.name,
            folded(clean_text(body), "signature"),
            body.rstrip().removesuffix(signature.rstrip()),
        )
    for fixture in fixtures(root):
        if fixture.expected is not None:
            expected = from_html(fixture.expected) if fixture.is_html else fixture.expected
            yield fixture.kind, fixture.name, reply(fixture), expected


def reply(fixture: Fixture) -> str:
    """Our text of it, quotes folded."""
    if fixture.form == "mail":
        part = gmail_form.resource(gmail_form.parse(fixture.given), lambda part: part)
        body = read_text(json.dumps({"payload": part}).encode())
        text = body.text
        for span in reversed([one for one in body.spans if one.kind == "quote"]):
            text = text[: span.start] + text[span.end :]
        return text
    text = decode_text(fixture.given)[0]
    return folded(html_to_text(text)[0] if fixture.form == "html" else clean_text(text))


def addresses(root: pathlib.Path) -> tuple[int, int, int, int]:
    """Fields read, addresses in common, only getaddresses', only dealmail's."""
    fields = common = theirs = ours = 0
    for folder in TORTURE:
        for path in sorted(
            one for one in (root / folder).rglob("*") if one.is_file() and one.stat().st_size < 1_000_000
        ):
            for name, value in gmail_form.parse(path.read_bytes()).headers:
                if name.lower() in {"from", "to", "cc", "reply-to"} and "@" in value:
                    mine = {one.address for one in parse_addresses(value)}
                    other = {normalize_address(address) for _, address in email.utils.getaddresses([value])} - {""}
                    fields += 1
                    common, theirs, ours = (
                        common + len(mine & other),
                        theirs + len(other - mine),
                        ours + len(mine - other),
                    )
    return fields, common, theirs, ours


def main() -> int:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="name the fixtures that differ, with their similarity")
    options = parser.parse_args()
    root = pathlib.Path(os.environ.get("DEALMAIL_CORPORA", ""))
    if not (root / "labels.tsv").is_file():
        print("text fidelity: not measured, DEALMAIL_CORPORA does not name the corpora")
        return 0
    results: dict[str, list[tuple[str, float, int]]] = {}
    for kind, name, got, expected in pairs(root):
        mine, other = words(got), words(expected)
        ratio = difflib.SequenceMatcher(None, mine, other, autojunk=False).ratio()
        results.setdefault(kind, []).append((name, ratio, len(mine) - len(other)))
    unknown = collections.Counter(fixture.kind for fixture in fixtures(root) if fixture.expected is None)
    for kind, rows in results.items():
        exact = sum(ratio == 1 for _, ratio, _ in rows)
        more, less = sum(r < 1 and d > 0 for _, r, d in rows), sum(r < 1 and d < 0 for _, r, d in rows)
        mean = sum(ratio for _, ratio, _ in rows) / len(rows)
        print(
            f"{kind:26} {len(rows):4} fixtures  exact {exact / len(rows):6.1%}  mean similarity {mean:.3f}  keeps more {more}  less {less}"
            + (f"  ({unknown[kind]} without an expected output)" if unknown[kind] else "")
        )
        if options.show:
            for name, ratio, difference in rows:
                if ratio < 1:
                    print(f"    {name:40} {ratio:.3f}  words {difference:+d}")
    fields, common, theirs, ours = addresses(root)
    print(
        f"addresses on the torture sets: {fields} fields, {common} alike, {theirs} only getaddresses, {ours} only dealmail"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
