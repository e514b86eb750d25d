"""Four real mailboxes of one company, 8,963 mails: the job runs to its end, and each mail is one engagement however many hold it.

All mail that several of the four hold is internal, so with enron.com as the company's own domain none of it qualifies. What
joining copies does to it is seen in a second run over these mails alone, in which enron.com is a customer.
"""

import collections
import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import pytest
from enron_mail import (
    ADDRESSES,
    OPENED,
    OWN_DOMAIN,
    TEAM,
    EnronMail,
    crm_csv,
    frequent_domains,
    is_own,
    read_mails,
    registered,
)
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


@contextlib.contextmanager
def run_over(folder, mails: Sequence[EnronMail], crm: str, domains: Iterable[str]) -> Iterator[EnronRun]:
    """A whole run over `mails`, to its end."""
    with SandboxProcess(arguments=USERS_WITHOUT_LIMIT) as sandbox:
        for address in ADDRESSES.values():
            sandbox.client.add_mailbox(address)
            own = [mail.as_json() for mail in mails if mail.owner == address]
            for start in range(0, len(own), BATCH):
                batch = own[start : start + BATCH]
                sandbox.client.call("deliver_many", mailbox=address, messages=batch, loaded=True)
        rig = JobRig(folder, sandbox)
        rig.opt_in(TEAM, [crm], list(ADDRESSES.values()))
        rig.once(*FAST, timeout=1000)
        known = {(mailbox_id(TEAM, mail.owner), mail.gmail_id): mail for mail in mails}
        assert len(known) == len(mails)
        yield EnronRun(rig, known, {registered(domain) for domain in domains if company_domain(domain)})
        rig.close()


@pytest.fixture(scope="module")
def every_mail(corpora) -> list[EnronMail]:
    return read_mails(corpora)


@pytest.fixture(scope="module")
def enron_run(every_mail, tmp_path_factory) -> Iterator[EnronRun]:
    domains = frequent_domains(every_mail)
    with run_over(tmp_path_factory.mktemp("enron"), every_mail, crm_csv(domains), domains) as run:
        yield run


@pytest.fixture(scope="module")
def shared_run(every_mail, tmp_path_factory) -> Iterator[EnronRun]:
    """The mails that several mailboxes hold, with Enron for a customer of these four."""
    holders = collections.defaultdict(set)
    for mail in every_mail:
        holders[mail.group].add(mail.owner)
    shared = [mail for mail in every_mail if len(holders[mail.group]) > 1]
    crm = crm_csv([OWN_DOMAIN], own_domain="")
    with run_over(tmp_path_factory.mktemp("shared"), shared, crm, [OWN_DOMAIN]) as run:
        yield run


def expected_shared(run: EnronRun) -> dict[str, set[Copy]]:
    """By the file's groups: the imported copies of the mails that several mailboxes hold."""
    imported = collections.defaultdict(set)
    for copy, (outcome, _) in run.rig.decisions().items():
        if outcome == "imported":
            imported[run.mails[copy].group].add(copy)
    return {group: copies for group, copies in imported.items() if len({mailbox for mailbox, _ in copies}) > 1}


def found_shared(run: EnronRun) -> dict[str, set[Copy]]:
    """By the engagements' copies: the same."""
    held = collections.defaultdict(set)
    for mailbox, gmail_id, _team, engagement, _digest in run.rig.rows()["engagement_copy"]:
        held[engagement].add((mailbox, gmail_id))
    found: dict[str, set[Copy]] = {}
    for copies in held.values():
        if len({mailbox for mailbox, _ in copies}) > 1:
            (group,) = {run.mails[copy].group for copy in copies}
            assert group not in found, "one mail became two engagements"
            found[group] = copies
    return found


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
    assert found_shared(enron_run) == expected_shared(enron_run)


def test_each_group_of_copies_is_one_engagement_with_all_its_mailboxes(shared_run):
    found = found_shared(shared_run)
    assert found == expected_shared(shared_run)
    assert len(found) >= 80  # of 125; the rest is mail that no copy or only one is imported of


def test_copies_within_one_mailbox_are_one_engagement_too(enron_run):
    groups = collections.defaultdict(set)
    for mailbox, gmail_id, _team, engagement, _digest in enron_run.rig.rows()["engagement_copy"]:
        groups[enron_run.mails[mailbox, gmail_id].group].add(engagement)
    assert {group: ids for group, ids in groups.items() if len(ids) > 1} == {}


def test_a_second_run_changes_no_row(enron_run):
    before = enron_run.rig.rows()
    enron_run.rig.feed_again()
    assert enron_run.rig.rows() == before
