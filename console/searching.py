"""Finding stored mail by its words, and keeping the search index equal to the database."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ..transforms.clock import utc_now
from .context import BadInputError, FailedError, Settings, with_settings
from .looking import chosen_links
from .tables import Format, format_option, iso, short, shown, write_jsonl

if TYPE_CHECKING:
    from ..io.database import Database
    from ..io.index_check import Report as IndexReport
    from ..io.outbox import Outbox
    from ..io.search import Hit, SearchIndex

DRAIN = 5000


@contextlib.contextmanager
def open_search(settings: Settings) -> Iterator[SearchIndex]:
    """The search index that the settings name, made where it is missing."""
    from ..io.search import open_index

    index = open_index(settings.search_spec())
    try:
        index.ensure()
        yield index
    finally:
        index.close()


def a_time(text: str | None, option: str) -> dt.datetime | None:
    """A day (2026-05-04: its beginning, UTC) or an RFC 3339 time, as UTC; without a zone it is UTC.

    Raises:
        BadInputError: neither, or outside the years 1 to 9999.
    """
    if text is None:
        return None
    try:
        time = dt.datetime.fromisoformat(text)
        return time.astimezone(dt.UTC) if time.tzinfo is not None else time.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        raise BadInputError(f"{option} {text}: say a day or a time, such as 2026-05-04 or 2026-05-04T10:30Z") from None


def hit_row(hit: Hit) -> dict[str, Any]:
    """A hit as `dealmail search --format jsonl` shows it; the fields of docs/console.md."""
    return {
        "engagement": hit.engagement_id,
        "score": hit.score,
        "timestamp": iso(hit.sent_at),
        "direction": hit.direction,
        "subject": hit.subject,
        "sender": {"address": hit.sender_address, "name": hit.sender_name},
        "highlights": [
            {"field": part.field, "text": part.text, "spans": [list(span) for span in part.spans]}
            for part in hit.fragments
        ],
    }


def people(person: str) -> list[str]:
    """How the index may write whom --person means: an address in each spelling of its account, an @domain, or a name as it is."""
    from ..io.account_names import spellings
    from ..transforms.addresses import normalize_address, normalize_domain

    local, at, domain = person.strip().rpartition("@")
    if at and not local:
        return [f"@{normalize_domain(domain) or domain}"]
    address = normalize_address(person)
    return spellings(address) if address else [person]


@click.command()
@click.argument("text", nargs=-1)
@click.option("--person", default="", help="Only mail with this address, @domain, or name.")
@click.option("--deal", help="Only mail of this opportunity (id or name).")
@click.option("--after", help="Only mail sent then or later: 2026-05-04 or a time.")
@click.option("--before", help="Only mail sent earlier.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Hits at the most.")
@format_option
@with_settings
def search(
    settings: Settings,
    text: tuple[str, ...],
    person: str,
    deal: str | None,
    after: str | None,
    before: str | None,
    limit: int,
    format_: Format,
) -> None:
    """Find mail that holds all these words, "exact phrases" and beginnings*, best first."""
    from ..io.search import SearchQuery, terms

    with settings.open_database() as database:
        team_id = settings.team_id(database)
        deals = [target for _, target in chosen_links(database, team_id, "opportunity", deal)] if deal else [""]
    words = " ".join(text).strip()
    if not (words or person or deal or after or before):
        raise BadInputError("say what to look for: words, --person, --deal, --after or --before")
    if words and not terms(words) and not (person or deal or after or before):  # it would list all there is
        raise BadInputError(f"nothing in {words} can be searched for: say a word, a number or a phrase")
    found: dict[str, Hit] = {}
    with open_search(settings) as index:
        for who, one in itertools.product(people(person), deals):
            query = SearchQuery(words, who, one, a_time(after, "--after"), a_time(before, "--before"), limit)
            found.update({hit.engagement_id: hit for hit in index.search(team_id, query)})
    hits = sorted(found.values(), key=lambda hit: (hit.score, hit.sent_at), reverse=True)[:limit]
    if format_ == "jsonl":
        write_jsonl(hit_row(hit) for hit in hits)
        return
    _print_hits(hits)


def _print_hits(hits: list[Hit]) -> None:
    from rich.console import Console
    from rich.text import Text

    screen = Console(highlight=False, soft_wrap=True)
    for hit in hits:
        line = Text(f"{short(iso(hit.sent_at))}  ", style="dim")
        line.append(shown(hit.sender_name or hit.sender_address), style="not dim")
        line.append(f"  {shown(hit.subject)}", style="not dim bold")
        screen.print(line)
        screen.print(Text(f"    engagement {hit.engagement_id}", style="dim"))
        for part in hit.fragments:
            line = Text(shown(part.text))
            for start, end in part.spans:
                line.stylize("bold yellow" if screen.is_terminal else "bold", start, end)
            if not screen.is_terminal:
                line = Text(_marked(shown(part.text), part.spans))
            screen.print(Text("    … ") + Text(" ").join(line.split()) if line.plain.strip() else Text(""))
    if not hits:
        click.echo("nothing is found")


def _marked(text: str, spans: tuple[tuple[int, int], ...]) -> str:
    for start, end in sorted(spans, reverse=True):
        text = f"{text[:start]}[{text[start:end]}]{text[end:]}"
    return text


@click.group()
def index() -> None:
    """Compare, mend or rebuild the search index."""


@index.command()
@click.option("--repair", is_flag=True, help="Put what differs on the outbox and index it now.")
@format_option
@with_settings
def check(settings: Settings, repair: bool, format_: Format) -> None:
    """Compare database and index by id, version and content; exit code 1 where they differ and are not mended."""
    from ..io import index_check

    with settings.open_database() as database, open_search(settings) as opened:
        team_id = settings.team_id(database)
        if repair:
            report = index_check.repair(database, opened, now=utc_now, team_id=team_id)
            outbox = open_outbox(database, opened)
            outbox.release(team_id)  # what the index has refused is tried once more
            while outbox.drain(DRAIN):
                pass
            opened.refresh()
            left = index_check.check(database, opened, team_id)
        else:
            report = left = index_check.check(database, opened, team_id)
        shown = report_row(report, left)
        if format_ == "jsonl":
            write_jsonl([shown])
        else:
            click.echo(f"{report.engagements} engagements in the database, {report.indexed} in the index")
            click.echo(f"{report.waiting} wait on the outbox, {report.parked} are refused by the index")
            for kind, number in sorted(report.differences.items()):
                click.echo(f"{number} differ: {index_check.KINDS[kind]}")
            for one in report.examples:
                click.echo(f"  {one.engagement_id}  {one.kind}")
            click.echo(
                "they agree" if report.equal else "mended" if left.equal else "they differ; --repair mends what can be"
            )
    if not left.equal:
        raise FailedError("database and search index differ")


def report_row(report: IndexReport, left: IndexReport) -> dict[str, Any]:
    """A comparison as `dealmail index check --format jsonl` shows it; `left` is how it is after a repair."""
    return {
        "engagements": report.engagements,
        "indexed": report.indexed,
        "waiting": report.waiting,
        "refused": report.parked,
        "differences": dict(report.differences),
        "mended": report.mended,
        "equal": left.equal,
    }


@index.command()
@with_settings
def rebuild(settings: Settings) -> None:
    """Fill a fresh index from the database, of all teams, and let it take the old one's place without a gap in search."""
    from ..io import index_check

    with settings.open_database() as database, open_search(settings) as opened:
        count = index_check.rebuild(database, opened, open_outbox(database, opened), now=utc_now)
    click.echo(f"{count} engagements are in the fresh index, which answers from now on")


def open_outbox(database: Database, opened: SearchIndex) -> Outbox:
    """The search outbox over these two stores."""
    from ..io.outbox import Outbox

    return Outbox(database, opened, now=utc_now)
