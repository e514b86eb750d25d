"""Connect, switch, retry, audit, preview and rules, against a sandbox Gmail."""

from __future__ import annotations

import base64
import datetime as dt
import json
import pathlib
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result
from kms_standin import KmsStandIn

from dealmail.console import audit
from dealmail.console.preview import Findings, Learning, how_far, look_while_it_lasts
from dealmail.console.rules import evidence_of
from dealmail.console.window import Window
from dealmail.io import cloud_kms, schema
from dealmail.io.audit import MailboxAudit
from dealmail.io.correspondence import DatabaseCorrespondence
from dealmail.io.crm import load_directory
from dealmail.io.database import Database, DatabaseSpec
from dealmail.io.google_signin import GmailAccounts, GoogleSettings
from dealmail.io.mailboxes import Mailboxes, mailbox_id
from dealmail.io.quota import DAY, SLOT_SECONDS, Quota, QuotaLimits, keep_limits
from dealmail.io.vault import Digests, Vault, read_keys
from dealmail.sandbox.client import SandboxClient
from dealmail.sandbox.service import Sandbox, Settings
from dealmail.transforms.crm_directory import CrmDirectory, CrmRows
from dealmail.transforms.normalize_messages import normalize
from dealmail.transforms.records import ClaimedMessage, FetchedMessage, NormalizedMessage

Run = Callable[..., Result]
ALICE = "alice@corp.example"
CRM = f"""kind,id,name,address,domain,account_id,owner,is_open,opened_on
user,u1,Alice,{ALICE},,,,,
own_domain,,,,corp.example,,,,
account,a1,Acme,,acme.example,,,,
contact,c1,Carol,carol@acme.example,,a1,,,
opportunity,o1,Big Deal,,,a1,u1,true,2026-01-05
"""


def mail(sender: str, subject: str, to: str = ALICE) -> bytes:
    return f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@x.example>\r\n\r\nHello\r\n".encode()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    box = Sandbox(Settings(seed=7))
    box.add_mailbox(ALICE)
    box.add_mailbox("bob@corp.example")
    box.start()
    yield box
    box.close()


@pytest.fixture
def admin(sandbox: Sandbox) -> Iterator[SandboxClient]:
    client = SandboxClient(sandbox.base)
    yield client
    client.close()


@pytest.fixture
def at_gmail(dealmail: Run, sandbox: Sandbox, admin: SandboxClient, tmp_path: pathlib.Path) -> Run:
    """Commands that meet the sandbox as Google; the CRM is imported."""
    client = tmp_path / "client.json"
    client.write_text(json.dumps(admin.oauth_client()))
    (tmp_path / "crm.csv").write_text(CRM)
    assert dealmail("crm", "import", str(tmp_path / "crm.csv")).exit_code == 0
    return lambda *arguments: dealmail("--gmail-endpoint", sandbox.base, "--oauth-client", f"file:{client}", *arguments)


@pytest.fixture
def connected(at_gmail: Run, admin: SandboxClient, tmp_path: pathlib.Path) -> Run:
    """As `at_gmail`, with Alice's import on and connected by delegation."""
    key = tmp_path / "key.json"
    key.write_text(json.dumps(admin.service_account()))
    assert at_gmail("import", "on", ALICE).exit_code == 0
    result = at_gmail("connect", ALICE, "--delegated", str(key))
    assert result.exit_code == 0, result.output
    return at_gmail


def states(database: Database) -> dict[str, str]:
    return {box.address: box.state for box in Mailboxes(database, lambda: None).all()}  # type: ignore[arg-type, return-value]  # no time is asked for


def test_consent_in_a_browser_connects_and_off_revokes(
    sqlite_spec: DatabaseSpec, sqlite_database: Database, at_gmail: Run, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    on = at_gmail("import", "on", ALICE)
    assert "dealmail connect" in on.output
    assert states(sqlite_database) == {ALICE: "consent_wanted"}
    command = [
        sys.executable, "-m", "dealmail.console.main", "connect", ALICE, "--no-browser", "--database", sqlite_spec.url,
        "--gmail-endpoint", sandbox.base, "--client-secret", str(tmp_path / "client.json"),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = re.search(r"https?://\S+", process.stdout.readline())
    assert url is not None
    urllib.request.urlopen(url.group(), timeout=10).close()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "is connected; its mail is being read" in out
    assert states(sqlite_database) == {ALICE: "first_sync"}
    assert at_gmail("import", "off", ALICE).exit_code == 0
    assert states(sqlite_database) == {ALICE: "paused"}
    log = Mailboxes(sqlite_database, lambda: None).consents(mailbox_id("default", ALICE))  # type: ignore[arg-type, return-value]  # as above
    assert [entry.action for entry in log] == ["import_on", "granted", "import_off", "revoked"]
    with sqlite_database.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.credential)) == 0


def test_whom_the_whole_crm_no_longer_names_is_no_longer_read(
    sqlite_database: Database, connected: Run, admin: SandboxClient, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "next.csv"
    file.write_text("kind,id,name,address\ncontact,c1,Carol,carol@acme.example\n")
    assert "is off" not in connected("crm", "import", str(file), "--replace").output  # no word about users at all
    assert states(sqlite_database) == {ALICE: "first_sync"}
    file.write_text(CRM.replace("u1,Alice", "u2,Bob").replace(ALICE, "bob@corp.example").replace(",u1,", ",u2,"))
    told = connected("crm", "import", str(file), "--replace")
    assert told.exit_code == 0, told.output
    assert f"Import of {ALICE} is off" in told.output
    assert states(sqlite_database) == {ALICE: "paused"}
    log = Mailboxes(sqlite_database, lambda: None).consents(mailbox_id("default", ALICE))  # type: ignore[arg-type, return-value]  # as above
    assert [(entry.action, entry.actor) for entry in log][-2:-1] == [("import_off", "crm import")]
    with sqlite_database.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.credential)) == 0
    assert "nothing has changed" in connected("crm", "import", str(file), "--replace").output
    connect = ("connect", ALICE, "--delegated", str(tmp_path / "key.json"))
    for arguments in (connect, ("connect", ALICE, "--no-browser"), ("import", "on", ALICE)):
        refused = connected(*arguments)
        assert refused.exit_code == 1, refused.output
        assert "add the user to the CRM file" in refused.output
    assert states(sqlite_database) == {ALICE: "paused"}
    assert connected("crm", "import", str(tmp_path / "crm.csv")).exit_code == 0  # named again
    assert connected(*connect).exit_code == 0
    assert connected("import", "on", ALICE).exit_code == 0
    assert states(sqlite_database) == {ALICE: "first_sync"}


def test_a_mailbox_that_a_file_gives_to_another_user_ends_at_google_at_once(
    sqlite_database: Database, connected: Run, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "next.csv"
    file.write_text(f"kind,id,name,address,user_id\nuser,u2,Bob,bob@corp.example,\nuser_address,,,{ALICE},u2\n")
    told = connected("crm", "import", str(file))
    assert told.exit_code == 0, told.output
    assert states(sqlite_database) == {ALICE: "paused"}
    log = Mailboxes(sqlite_database, lambda: None).consents(mailbox_id("default", ALICE))  # type: ignore[arg-type, return-value]  # as above
    assert [(entry.action, entry.actor) for entry in log][-2:] == [
        ("import_off", "crm import"),
        ("revoked", "crm import"),
    ]
    with sqlite_database.reading() as connection:
        for table in (schema.credential, schema.ended_credential):
            assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0


def test_only_the_crms_users_can_be_connected(at_gmail: Run, tmp_path: pathlib.Path, admin: SandboxClient) -> None:
    key = tmp_path / "key.json"
    key.write_text(json.dumps(admin.service_account()))
    for arguments in (("import", "on", "bob@corp.example"), ("connect", "bob@corp.example", "--delegated", str(key))):
        result = at_gmail(*arguments)
        assert result.exit_code == 2
        assert "crm import" in result.stderr


@pytest.mark.parametrize("typed", ["Max@GoogleMail.com", "max@gmail.com", "eva@münchen.example"])
def test_a_user_is_known_however_the_address_is_spelled(
    dealmail: Run, sqlite_database: Database, tmp_path: pathlib.Path, typed: str
) -> None:
    file = tmp_path / "crm.csv"
    lines = ["kind,id,name,address", "user,u1,Max,max@googlemail.com", "user,u2,Eva,eva@münchen.example"]
    file.write_text("\n".join(lines), encoding="utf-8")
    assert dealmail("crm", "import", str(file)).exit_code == 0
    for address in (typed, typed.upper(), typed):
        result = dealmail("import", "on", address)
        assert (result.exit_code, result.stderr) == (0, "")
    boxes = Mailboxes(sqlite_database, lambda: dt.datetime.now(dt.UTC)).all()
    assert [box.address for box in boxes] == ["eva@xn--mnchen-3ya.example" if "eva" in typed else "max@gmail.com"]
    assert f"Import of {boxes[0].address} is off" in dealmail("import", "off", typed).output


def test_a_mailbox_that_is_known_under_another_spelling_is_not_made_twice(
    dealmail: Run, sqlite_database: Database, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "crm.csv"
    file.write_text("kind,id,name,address\nuser,u1,Max,max@gmail.com\n")
    assert dealmail("crm", "import", str(file)).exit_code == 0
    boxes = Mailboxes(sqlite_database, lambda: dt.datetime.now(dt.UTC))
    boxes.add("default", "u1", "max@googlemail.com")
    assert dealmail("import", "on", "max@gmail.com").exit_code == 0
    assert [(box.address, box.import_on) for box in boxes.all()] == [("max@googlemail.com", True)]


def test_off_for_a_mailbox_that_nobody_consented_to_yet(dealmail: Run, stored: Any) -> None:
    result = dealmail("import", "off", stored.bob)
    assert (result.exit_code, result.stderr) == (0, "")


def test_delegation_that_the_admin_did_not_give_is_one_line(
    at_gmail: Run, admin: SandboxClient, tmp_path: pathlib.Path
) -> None:
    key = tmp_path / "key.json"
    key.write_text(json.dumps(admin.service_account()))
    admin.call("delegation", scopes=[])
    result = at_gmail("connect", ALICE, "--delegated", str(key))
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)


def test_preview_counts_by_rule_and_stores_nothing(
    connected: Run, admin: SandboxClient, sqlite_database: Database
) -> None:
    admin.deliver(ALICE, mail("carol@acme.example", "Order"))
    admin.deliver(ALICE, mail("eve@elsewhere.example", "Weather"))
    admin.deliver(ALICE, mail(ALICE, "Lunch", to="bob@corp.example"), labels=["SENT"])
    result = connected("preview", ALICE, "--format", "jsonl")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["rule"], row["messages"], row["senders"]) for row in sorted(rows, key=lambda row: row["rule"])] == [
        ("crm.no_match", 1, ["eve@elsewhere.example"]),
        ("customer", 1, ["carol@acme.example"]),
        ("participants.internal", 1, [ALICE]),
    ]
    assert list(rows[0]) == ["outcome", "rule", "messages", "senders"]
    shown = connected("preview", ALICE).output
    assert "3 were looked at" in shown
    assert "carol@acme.example: Order" in shown
    with sqlite_database.reading() as connection:
        for table in (
            schema.message,
            schema.engagement,
            schema.participant,
            schema.correspondence,
            schema.message_context,
        ):
            assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0


def test_preview_knows_what_was_erased_and_what_is_too_old_to_be_kept(
    connected: Run, admin: SandboxClient, sqlite_database: Database
) -> None:
    three_days_ago = int((dt.datetime.now(dt.UTC) - dt.timedelta(days=3)).timestamp() * 1000)
    admin.deliver(ALICE, mail("carol@acme.example", "Order"))
    admin.deliver(ALICE, mail("dave@acme.example", "Offer"))
    admin.deliver(ALICE, mail("dave@acme.example", "Old"), ["INBOX"], three_days_ago)
    assert connected("erase", "--person", "carol@acme.example", "--yes").exit_code == 0
    assert connected("settings", "set", "retention_days", "2").exit_code == 0
    rows = [json.loads(line) for line in connected("preview", ALICE, "--format", "jsonl").stdout.splitlines()]
    assert sorted((row["outcome"], row["rule"], row["messages"]) for row in rows) == [
        ("dropped", "erased", 1),
        ("dropped", "retention", 1),
        ("imported", "customer", 1),
    ]


class Minutes:
    """A clock that `sleep` moves, together with the sandbox's; `before_sleep` is asked first."""

    def __init__(self, admin: SandboxClient) -> None:
        self.at, self._admin = dt.datetime.now(dt.UTC), admin
        self.before_sleep: Callable[[], None] = lambda: None
        self.told: list[str] = []

    def __call__(self) -> dt.datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.before_sleep()
        self._admin.advance(seconds)
        self.at += dt.timedelta(seconds=seconds)


@pytest.fixture
def whole_window(
    connected: Run, sandbox: Sandbox, admin: SandboxClient, sqlite_database: Database, tmp_path: pathlib.Path
) -> tuple[Window, Minutes]:
    """Alice's window, of 310 mails of a customer's, read to its end by a clock of the test's own."""
    admin.deliver_many(ALICE, [(mail("carol@acme.example", f"n{n}"), ["INBOX"], None) for n in range(310)])
    minutes = Minutes(admin)
    vault = Vault(read_keys(f"file:{sqlite_database.engine.url.database}.key"))
    google = GoogleSettings(sandbox.base, f"file:{tmp_path / 'client.json'}")
    accounts = GmailAccounts(sqlite_database, vault, google, minutes)
    (box,) = Mailboxes(sqlite_database, minutes).all("default")
    told = minutes.told.append
    return Window(sqlite_database, accounts, box, None, now=minutes, sleep=minutes.sleep, tell=told), minutes


def looked_at(database: Database, window: Window) -> tuple[Findings, object]:
    learning = Learning(DatabaseCorrespondence(database, Digests((b"a key for tests, 32 bytes long..",))))
    return look_while_it_lasts(window, load_directory(database, "default"), learning, dt.datetime.now(dt.UTC))


def test_preview_waits_for_quota_and_goes_on_with_half_of_it(
    whole_window: tuple[Window, Minutes], sqlite_database: Database
) -> None:
    window, minutes = whole_window
    box, quota, began = mailbox_id("default", ALICE), Quota(sqlite_database), minutes()
    quota.debit(box, 2_000, began)  # the job's own

    def spent() -> None:
        with sqlite_database.reading() as connection:
            assert quota.usage(connection, box, minutes()).mailbox <= 3_000

    minutes.before_sleep = spent
    found, stopped = looked_at(sqlite_database, window)
    assert (stopped, window.counts.read, found.rules["imported", "customer"]) == (None, 310, 310)
    assert minutes.told[0] == "49 of about 310 looked at; waiting for Gmail's quota"
    assert 2 <= len(minutes.told) <= (minutes() - began).total_seconds() / 60 + 1


@pytest.mark.parametrize(("minute", "read"), [(220, 4), (190, 0)])
def test_preview_waits_for_room_for_the_large_texts_of_a_mail(
    whole_window: tuple[Window, Minutes], sqlite_database: Database, admin: SandboxClient, minute: int, read: int
) -> None:
    _, minutes = whole_window
    accounts, (box,) = whole_window[0]._accounts, Mailboxes(sqlite_database, minutes).all("default")
    part = "--b\r\nContent-Type: text/plain\r\n\r\n" + "Hello from afar. " * 20_000 + "\r\n"
    head = "From: carol@acme.example\r\nTo: alice@corp.example\r\nMIME-Version: 1.0\r\n"
    for n in range(4):
        large = (
            f"{head}Message-ID: <large{n}@x>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{part * 4}--b--\r\n"
        )
        admin.deliver(ALICE, large.encode())
    limits = QuotaLimits(mailbox_minute=minute)
    window = Window(
        sqlite_database, accounts, box, 4, limits, now=minutes, sleep=minutes.sleep, tell=minutes.told.append
    )
    looked_at(sqlite_database, window)
    assert (window.counts.read, window.counts.unread) == (read, {"NoRoomError": 4 - read} if read < 4 else {})


def test_preview_shows_what_it_has_when_it_is_stopped(
    whole_window: tuple[Window, Minutes], sqlite_database: Database
) -> None:
    def ctrl_c() -> None:
        raise KeyboardInterrupt

    window, minutes = whole_window
    minutes.before_sleep = ctrl_c
    found, stopped = looked_at(sqlite_database, window)
    assert isinstance(stopped, KeyboardInterrupt)
    assert found.rules == {("imported", "customer"): 149}
    assert how_far(window).startswith("ended early: 149 of about 310 messages were looked at, back to 20")


@pytest.mark.parametrize("format_", ["table", "jsonl"])
def test_preview_shows_what_it_has_when_an_error_ends_it(
    connected: Run, admin: SandboxClient, sqlite_database: Database, format_: str
) -> None:
    admin.deliver_many(ALICE, [(mail("carol@acme.example", f"n{n}"), ["INBOX"], None) for n in range(9)])
    today = int(dt.datetime.now(dt.UTC).timestamp()) // 86_400 * (86_400 // SLOT_SECONDS)
    spent = {"scope": DAY, "slot": today, "units": 40_000_000 - 105}  # room for a list call and five messages
    sqlite_database.transaction(
        lambda connection: sqlite_database.upsert(connection, schema.quota_use, [spent], ["units"])
    )
    result = connected("preview", ALICE, "--all", "--format", format_)
    assert result.exit_code == 1
    if format_ == "jsonl":
        assert [json.loads(line)["messages"] for line in result.stdout.splitlines()] == [5]
    else:
        assert "     5  imported  customer" in result.stdout
    how, why = result.stderr.splitlines()
    assert how.startswith("ended early: 5 of about 9 messages were looked at, back to 20")
    assert "quota" in why
    again = connected("preview", ALICE)  # nothing at all was seen: the error alone
    assert (again.exit_code, again.stdout, len(again.stderr.splitlines())) == (1, "", 1)


def test_audit_names_what_is_missing_and_hands_it_over(
    connected: Run, admin: SandboxClient, sqlite_database: Database
) -> None:
    gmail_id = admin.deliver(ALICE, mail("carol@acme.example", "Order"))
    before = connected("audit")
    assert before.exit_code == 1
    assert "has not begun" in before.output
    profile = admin.dump(ALICE)[ALICE]["historyId"]
    began = {"window_from": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "history_id": int(profile), "state": "live"}
    sqlite_database.transaction(lambda connection: connection.execute(sa.update(schema.mailbox).values(**began)))
    found = connected("audit", "--format", "jsonl")
    (row,) = [json.loads(line) for line in found.stdout.splitlines()]
    assert found.exit_code == 1
    assert (row["mailbox"], row["completeness"], row["in_gmail"], row["missing"]) == (ALICE, 0.0, 1, [gmail_id])
    assert list(row) == [
        "mailbox", "completeness", "error", "at", "in_gmail", "pending", "missing", "shut", "stale", "repaired", "unasked", "discarded",
        "unchecked",
    ]  # fmt: skip
    assert connected("audit", "--repair", "--mailbox", ALICE).exit_code == 0
    after = connected("audit")
    assert after.exit_code == 0
    assert "100.0 % of 1 messages" in after.output
    kept = sa.update(schema.message).values(state="decided", outcome="imported", rule="customer")
    sqlite_database.transaction(lambda connection: connection.execute(kept))
    admin.delete(ALICE, gmail_id)
    lost = sa.update(schema.mailbox).values(history_id=2**61)
    sqlite_database.transaction(lambda connection: connection.execute(lost))
    keep_limits(sqlite_database, QuotaLimits(mailbox_minute=200, get=90))
    left = connected("audit", "--repair")
    assert (left.exit_code, "1 kept copies are still to be looked up" in left.stderr) == (1, True)


def test_what_the_console_asks_of_gmail_keeps_to_the_jobs_limits(
    connected: Run, admin: SandboxClient, sqlite_database: Database
) -> None:
    keep_limits(sqlite_database, QuotaLimits(mailbox_minute=100, get=60))
    profile = int(admin.dump(ALICE)[ALICE]["historyId"])
    began = {"window_from": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "history_id": profile, "state": "live"}
    sqlite_database.transaction(lambda connection: connection.execute(sa.update(schema.mailbox).values(**began)))
    assert connected("audit").exit_code == 0
    for n in range(2):
        admin.deliver(ALICE, mail("carol@acme.example", f"n{n}"))
    assert "quota" in connected("preview", ALICE).stderr
    keep_limits(sqlite_database, QuotaLimits(mailbox_minute=100, list=51))
    assert "not audited: audit: paused" in connected("audit").output


def test_an_audit_tells_what_a_first_sync_by_search_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    found = MailboxAudit("m1", dt.datetime(2026, 5, 4, tzinfo=dt.UTC), 90, (), (), (), 0, unasked=70, discarded=("g1",))
    row = audit.audit_row(ALICE, found)
    assert (row["unasked"], row["discarded"]) == (70, ["g1"])
    audit._print(row)
    shown = capsys.readouterr().out
    assert "100.0 % of 90 messages are known, 70 not asked for: first sync by search\n" in shown
    assert "1 kept, but in Gmail's trash or spam, which the team's policy removes: g1" in shown


def test_an_audit_says_100_percent_only_where_nothing_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    def row(missing: int) -> dict[str, Any]:
        ids = tuple(map(str, range(missing)))
        at = dt.datetime(2026, 5, 4, tzinfo=dt.UTC)
        return audit.audit_row(ALICE, MailboxAudit("m1", at, 1_000_000, ids, (), (), 0))

    assert [row(missing)["completeness"] for missing in (0, 1, 2_340)] == [100, 99.999, 99.766]
    audit._print(row(1))
    assert "99.9 % of 1000000" in capsys.readouterr().out


def test_retry_makes_parked_messages_pending(
    dealmail: Run, stored: Any, jsonl: Callable[..., list[dict[str, Any]]]
) -> None:
    assert dealmail("retry", "--message", "a4").exit_code == 2
    unknown = dealmail("retry", "--mailbox", stored.alice, "--message", "a1")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "has no parked message a1" in unknown.stderr
    assert "0 parked" in dealmail("retry", "--mailbox", stored.bob).output
    assert "1 parked" in dealmail("retry", "--mailbox", stored.alice, "--message", "a4").output
    assert jsonl("decisions", "--outcome", "parked") == []


def test_rules_are_shown_and_an_unknown_rule_set_is_refused(connected: Run, admin: SandboxClient) -> None:
    assert "automated.marketing" in connected("rules", "show").output
    signals = [json.loads(line) for line in connected("rules", "signals", "--format", "jsonl").stdout.splitlines()]
    assert list(signals[0]) == ["signal", "kind", "source", "weight"]
    assert connected("rules", "shadow", ALICE, "--new", "nothing").exit_code == 2


def test_a_message_that_cannot_be_read_does_not_end_a_look_at_the_rules() -> None:
    def message(gmail_id: str, payload: bytes) -> NormalizedMessage:
        return normalize(FetchedMessage(ClaimedMessage("t", "m", gmail_id, "", ALICE), payload))

    unread: Counter[str] = Counter()
    broken = b'{"internalDate":"1","payload":{"headers":[],"body":7}}'
    messages = [message("g1", broken), message("g2", b'{"internalDate":"1","payload":{"headers":[]}}')]
    found = evidence_of(messages, CrmDirectory.build("t", 1, CrmRows()), unread)
    assert [gmail_id for gmail_id, _ in found] == ["g2"]
    assert unread == {"MalformedMessageError": 1}


def test_keys_rotate_seals_with_the_newest_key(
    connected: Run, sqlite_database: Database, sqlite_spec: DatabaseSpec
) -> None:
    def sealed() -> bytes:
        with sqlite_database.reading() as connection:
            return bytes(connection.scalar(sa.select(schema.credential.c.ciphertext)) or b"")

    before = sealed()
    file = pathlib.Path(f"{sa.engine.make_url(sqlite_spec.url).database}.key")
    file.write_text(f"a-new-key-of-many-characters {file.read_text()}")
    assert "1 tokens" in connected("keys", "rotate").output
    assert sealed() != before
    file.write_text(file.read_text().split()[0])
    assert connected("preview", ALICE).exit_code == 0


def test_a_key_that_a_kms_has_wrapped_seals_and_opens_tokens(
    at_gmail: Run,
    admin: SandboxClient,
    sqlite_database: Database,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = "projects/corp/locations/global/keyRings/mail/cryptoKeys/tokens"
    (tmp_path / "sa.json").write_text(json.dumps(admin.service_account()))
    with KmsStandIn(key) as kms:
        monkeypatch.setenv(cloud_kms.ENDPOINT, kms.endpoint)
        sealed = cloud_kms._client().encrypt(name=key, plaintext=b"a-key-of-many-characters").ciphertext
        (tmp_path / "wrapped").write_text(base64.b64encode(sealed).decode())
        named = ("--token-key", f"kms:{key}:file:{tmp_path}/wrapped")
        assert at_gmail("import", "on", ALICE).exit_code == 0
        assert at_gmail(*named, "connect", ALICE, "--delegated", str(tmp_path / "sa.json")).exit_code == 0
        admin.deliver(ALICE, mail("carol@acme.example", "Order"))
        assert "carol@acme.example: Order" in at_gmail(*named, "preview", ALICE).output
        with sqlite_database.reading() as connection:
            token = bytes(connection.scalar(sa.select(schema.credential.c.ciphertext)) or b"")
        box = mailbox_id("default", ALICE)
        assert Vault((b"a-key-of-many-characters",)).open(box, token)["subject"] == ALICE
        (tmp_path / "wrapped").write_text(base64.b64encode(sealed[:-1] + b"x").decode())
        refused = at_gmail(*named, "preview", ALICE)
        assert (refused.exit_code, len(refused.stderr.splitlines())) == (1, 1)
    assert kms.asked[0] == "Encrypt"
    assert set(kms.asked[1:]) == {"Decrypt"}


@pytest.mark.parametrize("command", [("preview",), ("rules", "shadow", "--new", "2026.1")])
def test_a_look_at_a_mailbox_that_is_not_connected_adds_none(
    dealmail: Callable[..., Result], sqlite_database: Database, stored: Any, command: tuple[str, ...]
) -> None:
    """One that is known and has no credential, and a user whose mailbox nobody has named yet."""
    new = {"team_id": stored.team, "address": "new@corp.example", "user_id": "u2"}
    sqlite_database.transaction(lambda c: c.execute(sa.insert(schema.user_address), [new]))
    for address in (stored.bob, "new@corp.example"):
        refused = dealmail(*command, address)
        assert refused.exit_code == 2
        assert f"{address} is not connected; `dealmail connect {address}`" in refused.stderr
    assert "no user of team" in dealmail(*command, "who@corp.example").stderr
    with sqlite_database.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.mailbox)) == 2


def test_an_audit_says_that_it_could_not_be_made(dealmail: Callable[..., Result], stored: Any) -> None:
    refused = dealmail("audit")
    assert refused.exit_code == 1
    assert "1 of 1 mailboxes could not be audited" in refused.stderr
    assert "--repair" not in refused.stderr


def held(database: Database) -> tuple[int, int]:
    """Credentials in use, and ended ones that Google has not been told about."""
    with database.reading() as connection:
        use, ended = (
            connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for table in (schema.credential, schema.ended_credential)
        )
    return use, ended


def test_a_left_out_user_who_is_connected_and_off_is_not_looked_at_either(
    sqlite_database: Database, at_gmail: Run, admin: SandboxClient, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "key.json").write_text(json.dumps(admin.service_account()))
    assert at_gmail("connect", ALICE, "--delegated", str(tmp_path / "key.json")).exit_code == 0
    assert at_gmail("preview", ALICE).exit_code == 0  # before import is turned on
    file = tmp_path / "next.csv"
    file.write_text(CRM.replace("u1,Alice", "u2,Bob").replace(ALICE, "bob@corp.example").replace(",u1,", ",u2,"))
    told = at_gmail("crm", "import", str(file), "--replace")
    assert told.exit_code == 0, told.output
    assert held(sqlite_database) == (0, 0)
    assert at_gmail("preview", ALICE).exit_code == 2


@pytest.mark.parametrize("key", ["env:NOT_SET_ANYWHERE", "file:{}/another.key"])
def test_off_holds_without_the_tokens_key_and_leaves_google_to_the_job(
    sqlite_database: Database, connected: Run, tmp_path: pathlib.Path, key: str
) -> None:
    (tmp_path / "another.key").write_text("another-key-that-sealed-nothing")
    told = connected("--token-key", key.format(tmp_path), "import", "off", ALICE)
    assert (told.exit_code, states(sqlite_database)) == (0, {ALICE: "paused"}), told.output
    assert "the job stops the watch" in told.stderr
    assert held(sqlite_database) == (0, 1)


def test_a_crm_file_is_imported_to_its_end_without_the_tokens_key(
    sqlite_database: Database, connected: Run, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "next.csv"
    file.write_text(CRM.replace("u1,Alice", "u2,Bob").replace(ALICE, "bob@corp.example").replace(",u1,", ",u2,"))
    told = connected("--token-key", "env:NOT_SET_ANYWHERE", "crm", "import", str(file), "--replace")
    assert (told.exit_code, states(sqlite_database)) == (0, {ALICE: "paused"}), told.output
    assert "contact: 1 (0 new, 0 changed)" in told.stdout
    assert held(sqlite_database) == (0, 1)


def test_an_audit_of_no_mailbox_prints_no_json(dealmail: Run, stored: Any) -> None:
    assert dealmail("import", "off", stored.alice).exit_code == 0
    empty = dealmail("audit", "--format", "jsonl")
    assert (empty.exit_code, empty.stdout) == (0, "")
