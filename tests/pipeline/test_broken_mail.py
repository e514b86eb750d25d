"""Mail that other projects keep because it once broke a parser: none of it stops a pass, and each gets a decision with its rule."""

from __future__ import annotations

import base64
import collections
import dataclasses
import pathlib
import random
import re
from collections.abc import Iterator

import pytest
from job_rig import FAST, USERS_WITHOUT_LIMIT, JobRig

from dealmail.io.mailboxes import mailbox_id
from dealmail.sandbox.process import SandboxProcess
from dealmail.transforms.decisions import RULES
from dealmail.transforms.domains import company_domain

pytestmark = [pytest.mark.corpus, pytest.mark.slow, pytest.mark.timeout(600)]

FOLDERS = (
    "cpython-test-email", "django-helpdesk", "enmime", "imap_tools", "k9", "mikel-mail", "mime-tools", "mime4j", "mimekit",
    "parsedmarc",
)  # fmt: skip
BOUNCES = "sisimai"
SAMPLE = 80
LARGEST = 2_000_000
TEAM, OWNER = "default", "owner@team.example"
LARGE_PASSES = ("--claim_batch=300", "--fetch_batch=100")
BATCH = 100
FIRST_DAY_MS = 1_600_000_000_000
_FIELD = re.compile(rb"^(?:From|To|Cc)[ \t]*:.*@", re.IGNORECASE | re.MULTILINE)
_ADDRESS = re.compile(rb"[A-Za-z0-9._%+=-]{1,64}@([A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,5})")


@dataclasses.dataclass
class TortureRun:
    """What became of the files: `files` by Gmail id, and what the job told on its way."""

    rig: JobRig
    files: dict[str, pathlib.Path]
    log: str


def torture(corpora: pathlib.Path) -> list[pathlib.Path]:
    """Every file of the torture sets, mail or not, and some bounces."""
    files = [file for name in FOLDERS for file in sorted((corpora / name).rglob("*")) if file.is_file()]
    bounces = sorted((corpora / BOUNCES).rglob("*.eml"))
    files += random.Random(5).sample(bounces, SAMPLE)
    return [file for file in files if file.stat().st_size <= LARGEST]


def as_mail(number: int, file: pathlib.Path) -> bytes:
    """The file as it is; most of those that name nobody get an author first, so that the rest of them is read, too."""
    raw = file.read_bytes()
    if _FIELD.search(raw[:20_000]) or number % 10 == 0:
        return raw
    kind = b"Content-Type: text/html; charset=utf-8\r\n\r\n" if file.suffix == ".html" else b""
    return b"From: Somebody <somebody@customer.example>\r\nTo: other@customer.example\r\n" + kind + raw


def crm(raws: list[bytes]) -> str:
    """An account for every domain in the head of any of the files that can be a company's: so most bodies are read."""
    seen = {match.decode("ascii").lower() for raw in raws for match in _ADDRESS.findall(raw[:20_000])} | {
        "customer.example"
    }
    companies = sorted({company for domain in seen if (company := company_domain(domain))})
    lines = ["kind,id,name,address,domain,owner,account_id,is_open,opened_on", f"user,u,Owner,{OWNER},,,,,"]
    lines += [f"account,a{n},,,{domain},,,," for n, domain in enumerate(companies)]
    lines += ["opportunity,o,,,,u,a0,true,1990-01-01"]
    return "\n".join([*lines, ""])


@pytest.fixture(scope="module")
def torture_run(corpora, tmp_path_factory) -> Iterator[TortureRun]:
    folder = tmp_path_factory.mktemp("torture")
    files = torture(corpora)
    raws = [as_mail(number, file) for number, file in enumerate(files)]
    known: dict[str, pathlib.Path] = {}
    with SandboxProcess(arguments=USERS_WITHOUT_LIMIT) as sandbox:
        sandbox.client.add_mailbox(OWNER)
        messages = []
        for number, (file, raw) in enumerate(zip(files, raws, strict=True)):
            at = FIRST_DAY_MS + number * 1000
            gmail_id = f"{at << 20:016x}"
            known[gmail_id] = file
            labels = ["SENT"] if number % 4 == 0 else ["INBOX"]  # what is sent is imported, whatever it looks like
            body = base64.b64encode(raw).decode("ascii")
            messages.append({"raw": body, "labels": labels, "internal_date": at, "id": gmail_id})
        for start in range(0, len(messages), BATCH):
            sandbox.client.call("deliver_many", mailbox=OWNER, messages=messages[start : start + BATCH], loaded=True)
        rig = JobRig(folder, sandbox)
        rig.opt_in(TEAM, [crm(raws)], [OWNER])
        done = rig.once(*FAST, *LARGE_PASSES)
        yield TortureRun(rig, known, done.stderr)
        rig.close()


def test_every_file_is_decided_in_one_run(torture_run):
    decided = torture_run.rig.decisions()
    box = mailbox_id(TEAM, OWNER)
    assert set(decided) == {(box, gmail_id) for gmail_id in torture_run.files}
    assert torture_run.rig.is_settled()


def test_each_is_imported_dropped_or_parked_by_a_rule_that_is_written_down(torture_run):
    counts = collections.Counter(torture_run.rig.decisions().values())
    print("\n".join(f"{count:5} {outcome} {rule}" for (outcome, rule), count in counts.most_common()))  # noqa: T201
    assert {outcome for outcome, _ in counts} <= {"imported", "dropped", "parked"}
    assert {rule for _, rule in counts} <= set(RULES)
    assert sum(count for (outcome, _), count in counts.items() if outcome == "imported") >= 900  # bodies were read


def test_none_is_parked(torture_run):
    rows = torture_run.rig.decisions()
    parked = [torture_run.files[gmail_id].name for (_, gmail_id), (outcome, _) in rows.items() if outcome == "parked"]
    assert parked == []


def test_what_was_imported_can_be_found(torture_run):
    rows = torture_run.rig.rows()
    assert len(rows["index"]) == len(rows["engagement"]) > 0


def test_the_job_told_no_trouble(torture_run):
    assert [line for line in torture_run.log.splitlines() if " ERROR " in line or "Traceback" in line] == []


def test_a_second_run_changes_no_row(torture_run):
    before = torture_run.rig.rows()
    torture_run.rig.feed_again(*LARGE_PASSES)
    assert torture_run.rig.rows() == before
