"""Four real mailboxes of one company, 8,963 mails: the job runs to its end, and each mail is one engagement however many hold it."""

import collections
import dataclasses

import pytest
from enron_mail import ADDRESSES, OPENED, TEAM, EnronMail, crm_csv, frequent_domains, is_own, read_mails, registered
from job_rig import FAST, USERS_WITHOUT_LIMIT, JobRig

from dealmail.io.mailboxes import mailbox_id
from dealmail.sandbox.process import SandboxProcess
from dealmail.transforms.domains import company_domain

pytestmark = [pytest.mark.corpus, pytest.mark.slow, pytest.mark.timeout(1200)]
BATCH = 500

Copy = tuple[str, str]


@dataclasses.dataclass
class EnronRun:
    """The mailboxes after a run; `mails` by mailbox id and Gmail id."""

    rig: JobRig
    mails: dict[Copy, EnronMail]
    companies: set[str]

    def expected_rules(self, mail: EnronMail) -> tuple[str, ...]:
        """By which rules `mail` may be decided, from its headers alone; `automated.*` depends on what it says."""
        outside = {domain for domain in mail.domains if not is_own(domain)}
        if not mail.domains:
            return ("participants.none",)
        if not outside:
            return ("participants.internal",)
        if not {registered(domain) for domain in outside} & self.companies:
            return ("crm.no_match",)
        return ("customer", "automated.")


@pytest.fixture(scope="module")
def enron_run(corpora, tmp_path_factory):
    folder = tmp_path_factory.mktemp("enron")
    every = read_mails(corpora)
    domains = frequent_domains(every)
    with SandboxProcess(arguments=USERS_WITHOUT_LIMIT) as sandbox:
        for address in ADDRESSES.values():
            sandbox.client.add_mailbox(address)
            own = [mail.as_json() for mail in every if mail.owner == address]
            for start in range(0, len(own), BATCH):
                batch = own[start : start + BATCH]
                sandbox.client.call("deliver_many", mailbox=address, messages=batch, loaded=True)
        rig = JobRig(folder, sandbox)
        rig.opt_in(TEAM, [crm_csv(domains)], list(ADDRESSES.values()))
        rig.once(*FAST, timeout=1000)
        mails = {(mailbox_id(TEAM, mail.owner), mail.gmail_id): mail for mail in every}
        assert len(mails) == len(every)
        yield EnronRun(rig, mails, {registered(domain) for domain in domains if company_domain(domain)})
        rig.close()


def test_every_mail_of_the_window_is_decided(enron_run):
    decided = enron_run.rig.decisions()
    in_window = {copy for copy, mail in enron_run.mails.items() if mail.at.date() >= OPENED}
    assert set(decided) == in_window
    assert collections.Counter(outcome for outcome, _ in decided.values()).keys() == {"imported", "dropped"}


def test_the_gates_decide_as_the_headers_say(enron_run):
    wrong = {}
    for copy, (_, rule) in enron_run.rig.decisions().items():
        expected = enron_run.expected_rules(enron_run.mails[copy])
        if not rule.startswith(expected):
            wrong[enron_run.mails[copy].path] = (rule, expected)
    assert wrong == {}


def test_engagements_of_several_mailboxes_are_the_groups_whose_mail_qualifies(enron_run):
    imported = collections.defaultdict(set)
    for copy, (outcome, _) in enron_run.rig.decisions().items():
        if outcome == "imported":
            imported[enron_run.mails[copy].group].add(copy)
    expected = {group: copies for group, copies in imported.items() if len({mailbox for mailbox, _ in copies}) > 1}

    held = collections.defaultdict(set)
    for mailbox, gmail_id, _team, engagement, _digest in enron_run.rig.rows()["engagement_copy"]:
        held[engagement].add((mailbox, gmail_id))
    found = {}
    for copies in held.values():
        if len({mailbox for mailbox, _ in copies}) > 1:
            (group,) = {enron_run.mails[copy].group for copy in copies}
            assert group not in found, "one mail became two engagements"
            found[group] = copies
    assert found == expected
    assert len(found) >= 10  # else this test shows nothing


def test_copies_within_one_mailbox_are_one_engagement_too(enron_run):
    groups = collections.defaultdict(set)
    for mailbox, gmail_id, _team, engagement, _digest in enron_run.rig.rows()["engagement_copy"]:
        groups[enron_run.mails[mailbox, gmail_id].group].add(engagement)
    assert {group: ids for group, ids in groups.items() if len(ids) > 1} == {}


def test_a_second_run_changes_no_row(enron_run):
    before = enron_run.rig.rows()
    enron_run.rig.once("--poll_minutes=0.001", *FAST)
    assert enron_run.rig.rows() == before
