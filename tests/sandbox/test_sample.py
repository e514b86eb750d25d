"""The sample world is what its expectations say: categories, markers, copies, times, and the same in every run."""

import csv
import datetime as dt
import email
import email.policy
import io
import mailbox as mailboxes
import pathlib
import re
from collections import Counter, defaultdict
from email.header import decode_header, make_header

import pytest
from click.testing import CliRunner

from dealmail.sandbox.process import SandboxProcess
from dealmail.sandbox.sample import cast
from dealmail.sandbox.sample.__main__ import main
from dealmail.sandbox.sample.desk import Desk
from dealmail.sandbox.sample.files import write_files
from dealmail.sandbox.sample.load import arrive, load
from dealmail.sandbox.sample.tables import category_table, mailbox_table
from dealmail.sandbox.sample.world import build_world
from dealmail.transforms.decisions import IMPORTED_CUSTOMER, RULES

NOW = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
WORLD = build_world(NOW)
MARKER = re.compile(r"ZQX\d{4}MARK", re.IGNORECASE)

CATEGORIES = {
    "customer thread", "customer mail, single", "same mail in all mailboxes", "match by domain or sub-domain", "group address", "sales tool, by a person",
    "reply in a thread the user wrote in", "sent to a robot by a user", "undisclosed recipients", "Bcc copy", "customer only in Bcc", "no Message-ID",
    "Message-ID used twice", "Date that cannot be", "odd headers", "internal talk", "private mail", "newsletter from a customer's domain",
    "newsletter from a stranger", "robot of a customer", "receipt or alert from a stranger", "calendar mail", "bounce from a customer's domain",
    "bounce from a stranger", "out of office", "blocked domain", "address blocked by one user", "look-alike domain",
    "customer's address in the display name", "no address in From, To or Cc", "draft", "trash", "spam", "chat", "older than the window", "arrival",
}  # fmt: skip


def parsed(raw):
    return email.message_from_bytes(raw)


def header_text(value):
    return str(make_header(decode_header(str(value)))) if value is not None else ""


def texts(raw):
    """Every text part, decoded by its own charset, strictly."""
    found = []
    for part in parsed(raw).walk():
        if part.get_content_maintype() == "text" and part.get_payload():
            found.append(part.get_payload(decode=True).decode(part.get_content_charset() or "ascii"))
    return found


@pytest.mark.parametrize(
    "now", [NOW, dt.datetime(2025, 12, 31, 0, 5, tzinfo=dt.UTC), dt.datetime(2026, 6, 30, 23, 59, 59, tzinfo=dt.UTC)]
)
@pytest.mark.parametrize("seed", [0, 7])
def test_is_large_enough_and_has_every_category(now, seed):
    world = build_world(now, seed)
    assert len(world.mailboxes) == 5
    assert len(world.messages) >= 500
    assert 15 <= len(world.arrivals) <= 30
    assert {m.category for m in world.everything} == CATEGORIES
    assert min(m.internal_date for m in world.messages) < now - dt.timedelta(days=85)
    assert {m.expected_rule for m in world.everything if m.expected_rule} >= {
        "customer", "crm.no_match", "participants.internal", "participants.none", "blocked.team", "blocked.user", "automated.bounce", "automated.reply",
        "automated.calendar", "automated.marketing", "automated.transactional", "label.draft", "label.trash", "label.spam", "window.before",
    }  # fmt: skip
    assert world.deal_id in world.crm["crm.csv"]


@pytest.mark.parametrize("seed", range(12))
def test_no_message_lies_at_the_edge_of_a_window(seed):
    for m in build_world(NOW, seed).messages:
        age = (NOW - m.internal_date).total_seconds() / 86400
        edge = cast.LOOKBACK_DAYS[m.mailbox]
        assert abs(age - edge) > 1.2, m.key
        if m.expected_outcome is not None:
            assert age < edge, m.key
        elif not {"DRAFT", "TRASH", "SPAM", "CHAT"} & set(m.labels):
            assert age > edge, m.key


@pytest.mark.parametrize("tenths", range(40, 100, 3))
def test_times_keep_clear_of_the_edge_of_a_window(tenths):
    boxes = [cast.TOMASZ.address, cast.DANA.address]
    desk = Desk(NOW, tenths)
    when = desk.at(tenths / 10, boxes)
    then = desk.later(when, boxes, 3)
    for moment in (when, then or NOW):
        assert abs((NOW - moment).total_seconds() / 86400 - 7) >= 1.2


def test_look_back_is_the_oldest_open_opportunity_of_the_crm():
    rows = list(csv.DictReader(io.StringIO(WORLD.crm["crm.csv"])))
    users = {r["id"]: r["address"] for r in rows if r["kind"] == "user"}
    opened = defaultdict(list)
    for row in rows:
        if row["kind"] == "opportunity" and row["is_open"] == "true":
            opened[users.get(row["owner"], row["owner"])].append(dt.date.fromisoformat(row["opened_on"]))
    for mailbox, days in cast.LOOKBACK_DAYS.items():
        week = NOW.date() - dt.timedelta(days=7)
        assert min([week, *opened[mailbox]]) == NOW.date() - dt.timedelta(days=days)


def test_expected_rules_are_known():
    for m in WORLD.everything:
        assert (m.expected_outcome is None) == (m.expected_rule is None)
        if m.expected_rule is not None:
            assert m.expected_rule in RULES
            assert (m.expected_outcome == "imported") == (m.expected_rule == IMPORTED_CUSTOMER)


def test_keys_are_unique():
    assert max(Counter(m.key for m in WORLD.everything).values()) == 1


def test_every_message_parses_with_its_own_charsets():
    seen = Counter()
    for m in WORLD.everything:
        message = parsed(m.raw)
        for part in message.walk():
            assert not part.defects, m.key
            seen[part.get_content_type()] += 1
            seen[str(part.get_content_charset()).lower()] += part.get_content_maintype() == "text"
            seen[str(part["Content-Transfer-Encoding"]).lower()] += 1
            seen["flowed"] += part.get_param("format") == "flowed"
        assert all("\ufffd" not in text for text in texts(m.raw)), m.key
        assert b"\n" not in m.raw.replace(b"\r\n", b""), m.key
    for wanted in (
        "utf-8", "iso-8859-1", "windows-1252", "iso-2022-jp", "koi8-r", "quoted-printable", "base64", "8bit", "flowed", "multipart/alternative",
        "multipart/related", "multipart/mixed", "multipart/report", "text/calendar", "application/pdf", "image/png", "text/html",
    ):  # fmt: skip
        assert seen[wanted] > 0, wanted


def test_html_is_written_as_four_programs_write_it():
    pages = [text for m in WORLD.everything for text in texts(m.raw) if "<" in text]
    for sign in ("class=MsoNormal", 'class="gmail_quote', "-webkit-nbsp-mode", "moz-cite-prefix"):
        assert sum(sign in page for page in pages) >= 5, sign


def test_markers_are_in_every_mail_that_must_stay_out_and_nowhere_else():
    imported = {m.shared_key for m in WORLD.final().values() if m.expected_outcome == "imported"}
    mails_of = defaultdict(set)
    for m in WORLD.everything:
        message = parsed(m.raw)
        subject = header_text(message["Subject"])
        body = "\n".join(texts(m.raw))
        people = " ".join(header_text(v) for n in ("From", "To", "Cc", "Reply-To") for v in message.get_all(n, []))
        everywhere = f"{subject}\n{body}\n{people}\n{m.raw.decode('utf-8', 'replace')}"
        if m.shared_key in imported:
            assert m.marker is None, m.key
            assert not MARKER.search(everywhere), m.key
        else:
            assert m.marker is not None, m.key
            assert m.marker in subject, m.key
            assert m.marker in body, m.key
            assert m.marker in people, m.key
            assert {found.upper() for found in MARKER.findall(everywhere)} == {m.marker}, m.key
            mails_of[m.marker].add(m.shared_key)
    assert len(mails_of) > 200
    assert all(len(mails) == 1 for mails in mails_of.values())


def test_each_text_part_carries_the_marker():
    for m in WORLD.everything:
        if m.marker is not None:
            for text in texts(m.raw):
                assert m.marker in text, m.key


def test_copies_share_their_message_id():
    ids = defaultdict(set)
    holders = Counter()
    for m in WORLD.everything:
        ids[m.shared_key].add(parsed(m.raw)["Message-ID"])
        holders[m.shared_key] += 1
    assert all(len(found) == 1 for found in ids.values())
    assert sum(n > 1 for n in holders.values()) > 60
    assert holders[next(m.shared_key for m in WORLD.messages if m.category == "same mail in all mailboxes")] == 5
    used = Counter(one for found in ids.values() for one in found if one)
    assert [n for n in used.values() if n > 1] == [2]
    assert sum(one is None for found in ids.values() for one in found) == 2


def test_group_copies_and_direct_copy_are_one_mail():
    copies = [m for m in WORLD.messages if m.shared_key == "group-02"]
    assert {m.mailbox for m in copies} == {cast.DANA.address, cast.LEILA.address, cast.MATTEO.address}
    direct = {m.mailbox: parsed(m.raw) for m in copies}
    assert direct[cast.MATTEO.address]["From"].endswith("<maeve.corrigan@northgate-cold.example>")
    assert direct[cast.DANA.address]["From"].endswith("<sales@tarnbrook.example>")
    assert direct[cast.DANA.address]["X-Original-From"]


def test_dates_are_sane_but_for_those_that_cannot_be():
    for m in WORLD.everything:
        date = parsed(m.raw)["Date"]
        if m.category == "Date that cannot be":
            continue
        gap = m.internal_date - email.utils.parsedate_to_datetime(date)
        assert dt.timedelta(0) <= gap < dt.timedelta(minutes=1), m.key
        assert m.internal_date.tzinfo is not None
        if m.delay == 0:
            assert m.internal_date < NOW, m.key
    assert sum(m.category == "Date that cannot be" for m in WORLD.everything) == 4


def test_only_reserved_domains_and_invented_free_mail():
    for m in WORLD.everything:
        for part in parsed(m.raw).values():
            for domain in re.findall(r"@([A-Za-z0-9.-]+\.[A-Za-z]+)", header_text(part)):
                assert domain.endswith((".example", ".test")) or domain in {"gmail.com", "mail.gmail.com"}, (
                    m.key,
                    domain,
                )
        for local in re.findall(
            r"([\w.+-]+)@gmail\.com", "\n".join([*texts(m.raw), header_text(parsed(m.raw)["From"])])
        ):
            assert "invented" in local


def test_bcc_stands_only_on_the_senders_copy():
    with_bcc = [m for m in WORLD.everything if parsed(m.raw)["Bcc"]]
    assert len(with_bcc) >= 3
    assert all("SENT" in m.labels for m in with_bcc)


def test_same_arguments_give_the_same_world_and_another_seed_another():
    assert build_world(NOW) == WORLD
    assert build_world(NOW.astimezone(dt.timezone(dt.timedelta(hours=9)))) == WORLD
    assert build_world(NOW, 1).messages != WORLD.messages


def test_a_time_without_zone_is_refused():
    with pytest.raises(ValueError, match="2026-03-02T12:00:00"):
        build_world(dt.datetime(2026, 3, 2, 12))  # noqa: DTZ001 -- the very thing that is refused


def test_arrivals_act_on_messages_that_are_there():
    keys = {m.key: m for m in WORLD.messages}
    actions = Counter(m.action for m in WORLD.arrivals)
    assert actions["move"] == actions["send_draft"] == actions["import"] == 1
    for m in WORLD.arrivals:
        assert (m.target is not None) == (m.action in {"move", "send_draft"})
        if m.target is not None:
            assert keys[m.target].mailbox == m.mailbox
    final = WORLD.final()
    assert final["spam-rescued-01@dana"].expected_outcome == "imported"
    assert "draft-to-send-01@dana" not in final


def test_engagements_join_the_copies():
    engagements = WORLD.engagements()
    assert len(engagements["to-everyone-01"]) == 5
    assert engagements["user-blocked-shared-01"] == {cast.LEILA.address}
    assert "reused-id-01" in engagements
    assert "reused-id-02" in engagements


def test_crm_file_has_every_kind():
    rows = list(csv.DictReader(io.StringIO(WORLD.crm["crm.csv"])))
    assert {r["kind"] for r in rows} == {
        "user", "user_address", "own_domain", "account", "account_domain", "contact", "lead", "opportunity", "blocked"
    }  # fmt: skip
    accounts = {r["id"] for r in rows if r["kind"] == "account"}
    assert {r["account_id"] for r in rows if r["account_id"]} <= accounts
    assert set(WORLD.mailboxes) <= {r["address"] for r in rows if r["kind"] == "user"}


def test_loads_into_a_sandbox_and_happens_there():
    with SandboxProcess() as sandbox:
        ids = load(WORLD, sandbox.client)
        for m in WORLD.arrivals:
            arrive(m, sandbox.client, ids)
        held = {
            (address, one["id"]): set(one["labels"])
            for address, box in sandbox.client.dump().items()
            for one in box["messages"]
        }
        final = WORLD.final()
        assert len(final) == len(held)
        for key, m in final.items():
            assert set(m.labels) <= held[m.mailbox, ids[key]], key
        probe = final["fleet-offer-01@dana"]
        assert sandbox.client.raw(probe.mailbox, ids[probe.key]) == probe.raw


def test_written_as_files_it_can_be_read_back(tmp_path):
    paths = write_files(WORLD, tmp_path)
    assert {p.name for p in paths} >= {"dana.whitlock.mbox", "crm.csv", "expected.csv"}
    box = mailboxes.mbox(tmp_path / "dana.whitlock.mbox")
    own = [m for m in WORLD.messages if m.mailbox == cast.DANA.address]
    assert len(box) == len(own)
    assert [one["Message-ID"] for one in box] == [parsed(m.raw)["Message-ID"] for m in own]
    assert b"\n>From Monday on" in (tmp_path / "dana.whitlock.mbox").read_bytes()


def test_command_writes_files_or_says_why_not(tmp_path):
    done = CliRunner().invoke(main, ["--out", str(tmp_path / "new"), "--now", "2026-03-02T12:00:00"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "new" / "crm.csv").read_text(encoding="utf-8") == WORLD.crm["crm.csv"]
    (tmp_path / "file").touch()
    refused = CliRunner().invoke(main, ["--out", str(tmp_path / "file" / "below")])
    assert refused.exit_code == 1
    assert "--out" in refused.output


def test_documentation_shows_the_counts():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "sample.md").read_text(encoding="utf-8")
    assert category_table(WORLD) in page
    assert mailbox_table(WORLD) in page
    assert all(person.address in page for person in (*cast.USERS, *cast.CONTACTS, *(lead for lead, _ in cast.LEADS)))
