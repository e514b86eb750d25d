"""CrmDirectory: one team's people, domains and blocklists in a compact form, and the questions a mail asks of it.

A million contacts take about 32 MB where ids are UUIDs: an address is kept as a digest, never as text. So an old directory and
the one that replaces it fit into 100 MB together, with what building takes.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Final

from .addresses import identity
from .blocklist import Blocklist
from .compact import Index, Numbering, Numbers, Strings
from .domains import company_domain, crm_address, crm_domain, is_free_mail, registrable_domain, suffixes
from .records import Link, LinkKind, Participant
from .settings import TeamSettings

_NONE: Final = 0xFFFFFFFF
_CACHE: Final = 8192


@dataclasses.dataclass(frozen=True, slots=True)
class CrmRows:
    """Rows of the CRM tables as they come, in any order; each iterable is read once.

    users: (user id, address), every address of every user. own_domains: domains. account_domains: (domain, account id).
    contacts: (contact id, address, account id or None). leads: (lead id, address, id of the contact it became or None).
    opportunities: the open ones, (opportunity id, account id, owner's user id or None, day it was opened).
    blocked: (user id or "" for the team, pattern).
    """

    users: Iterable[tuple[str, str]] = ()
    own_domains: Iterable[str] = ()
    account_domains: Iterable[tuple[str, str]] = ()
    contacts: Iterable[tuple[str, str, str | None]] = ()
    leads: Iterable[tuple[str, str, str | None]] = ()
    opportunities: Iterable[tuple[str, str, str | None, dt.date]] = ()
    blocked: Iterable[tuple[str, str]] = ()
    settings: TeamSettings = dataclasses.field(default_factory=TeamSettings)


@dataclasses.dataclass(frozen=True, slots=True)
class Match:
    """One record that an address leads to: by which tier (0 contact, 1 lead, 2 domain) and how good within it (less is better)."""

    tier: int
    grade: int
    kind: LinkKind
    target_id: str
    account_id: str | None
    via: str


class CrmDirectory:
    """One team's CRM at one version. Immutable once built, and safe to share between threads."""

    def __init__(self, team_id: str, version: int, rows: CrmRows) -> None:
        self.team_id = team_id
        self.version = version
        self.settings = rows.settings
        self._users = {own: user_id for user_id, address in rows.users if (own := identity(crm_address(address)))}
        self._own = frozenset(domain for domain in map(crm_domain, rows.own_domains) if can_be_own(domain))
        self._blocklist = Blocklist.build(rows.blocked)
        self._accounts, self._account_numbers = Strings(), Numbering()
        self._load_leads(rows.leads)
        self._load_domains(rows.account_domains)
        self._load_opportunities(rows.opportunities)
        self._load_contacts(rows.contacts)
        self._cache: dict[str, tuple[Match, ...]] = {}
        self._whose: dict[str, tuple[bool, str | None]] = {}

    @classmethod
    def build(cls, team_id: str, version: int, rows: CrmRows) -> CrmDirectory:
        """The directory of `team_id` at CRM `version`, from `rows`."""
        return cls(team_id, version, rows)

    def is_own_domain(self, domain: str) -> bool:
        """Whether a normalized `domain` is one of the team's, or below one. A free-mail domain never is."""
        while domain and domain not in self._own:
            domain = domain.partition(".")[2]
        return bool(domain)

    def user_of(self, address: str) -> str | None:
        """The id of the user whose address (or plus-tagged form of it) `address` is, or None."""
        return self._standing(address)[1]

    def is_internal(self, address: str) -> bool:
        """Whether a normalized `address` belongs to the team: by its domain, or as an address of one of its users.

        A contact of the CRM on an own domain is internal all the same.
        """
        return self._standing(address)[0]

    def _standing(self, address: str) -> tuple[bool, str | None]:
        """Whether `address` is internal, and the user whose it is; remembered, for every gate asks."""
        known = self._whose.get(address)
        if known is None:
            user = self._users.get(identity(address))
            known = (user is not None or self.is_own_domain(address.rpartition("@")[2]), user)
            if len(self._whose) >= _CACHE:
                self._whose.clear()
            self._whose[address] = known
        return known

    @property
    def blocks_nobody(self) -> bool:
        """Whether neither the team nor any user has a blocklist."""
        return self._blocklist.is_empty

    def blocked(self, people: Iterable[Participant], user_id: str | None) -> str | None:
        """The rule by which one of `people` (participants, Reply-To and Sender) keeps the mail out, or None.

        `user_id` is the user whose mailbox holds this copy: their own list counts for it, after the team's.
        """
        if self._blocklist.is_empty:
            return None
        addresses = {person.address for person in people}
        return self._blocklist.rule(((address, self.is_internal(address)) for address in sorted(addresses)), user_id)

    def is_person(self, address: str) -> bool:
        """Whether a normalized `address` is, exactly, that of a contact or lead."""
        return any(match.tier < 2 for match in self._matches(address))

    def has_match(self, participants: Iterable[Participant]) -> bool:
        """Whether an external participant leads to any record of the CRM."""
        return any(self._matches(person.address) for person in participants if not self.is_internal(person.address))

    def links(self, participants: Sequence[Participant]) -> tuple[Link, ...]:
        """Every record that the external ones of `participants` (From, To, Cc in order) lead to; () where none does.

        Exact contacts come before leads before accounts by domain, then the order of the participants decides; of each kind
        the best is primary. Open opportunities of all linked accounts follow: those of the primary account first, then those
        that a user on the mail owns, then the newest opened. `via` is contact, lead, domain or account, with ".ambiguous"
        where the address or domain leads to several records, or lead.converted for the contact that a lead became.
        """
        found: dict[tuple[LinkKind, str], tuple[tuple[int, int, int, str], str]] = {}
        for position, person in enumerate(participants):
            if self.is_internal(person.address):
                continue
            for match in self._matches(person.address):
                order = (match.tier, position, match.grade, match.target_id)
                _keep_best(found, match.kind, match.target_id, order, match.via)
                if match.account_id is not None and match.kind != "account":
                    _keep_best(found, "account", match.account_id, order, match.via)
        if not found:
            return ()
        accounts = sorted((order, target) for (kind, target), (order, _) in found.items() if kind == "account")
        users = {user for person in participants if (user := self.user_of(person.address))}
        opportunities = self._opportunities_of([target for _, target in accounts], users)
        links: list[Link] = []
        for kind in ("account", "contact", "lead"):
            ranked = sorted((order, target, via) for (of, target), (order, via) in found.items() if of == kind)
            links += [Link(kind, target, place == 0, via) for place, (_, target, via) in enumerate(ranked)]  # type: ignore[arg-type]  # kind is a LinkKind
        links += [Link("opportunity", target, place == 0, "account") for place, target in enumerate(opportunities)]
        return tuple(links)

    @property
    def nbytes(self) -> int:
        """Bytes of the large arrays."""
        tables = (
            self._accounts, self._contacts, self._leads, self._opportunities, self._owners, self._by_contact, self._by_lead,
            self._by_domain, self._by_host, self._by_account, self._contact_account, self._domain_account, self._opened, self._owner_of,
        )  # fmt: skip
        return sum(int(table.nbytes) for table in tables)

    # --- building

    def _account(self, account_id: str | None) -> int:
        if not account_id:
            return _NONE
        number, is_new = self._account_numbers.number(account_id)
        if is_new:
            self._accounts.add(account_id)
        return number

    def _load_leads(self, rows: Iterable[tuple[str, str, str | None]]) -> None:
        self._leads, self._by_lead = Strings(), Index()
        self._converted: dict[int, str] = {}
        for lead_id, address, contact_id in rows:
            key = crm_address(address)
            if not key:
                continue
            self._leads.add(lead_id)
            number = self._by_lead.add(key)
            if contact_id:
                self._converted[number] = contact_id
        self._wanted = set(self._converted.values())
        self._account_of_converted: dict[str, int] = {}
        self._by_lead.seal()

    def _load_contacts(self, rows: Iterable[tuple[str, str, str | None]]) -> None:
        self._contacts, self._by_contact = Strings(), Index()
        self._contact_account = Numbers()
        for contact_id, address, account_id in rows:
            key = crm_address(address)
            account = self._account(account_id)
            if contact_id in self._wanted:
                self._account_of_converted[contact_id] = account
            if not key:
                continue
            self._contacts.add(contact_id)
            self._contact_account.append(account)
            self._by_contact.add(key)
        del self._account_numbers, self._wanted
        self._by_contact.seal()

    def _load_domains(self, rows: Iterable[tuple[str, str]]) -> None:
        self._by_domain, self._by_host = Index(), Index()
        self._domain_account = Numbers()
        for domain, account_id in rows:
            host = crm_domain(domain)
            company = company_domain(host)
            if company is None or self.is_own_domain(host) or self.is_own_domain(company):
                continue
            account = self._account(account_id)
            self._by_domain.add(company)
            self._by_host.add(host)
            self._domain_account.append(account)
        self._by_domain.seal()
        self._by_host.seal()

    def _load_opportunities(self, rows: Iterable[tuple[str, str, str | None, dt.date]]) -> None:
        self._opportunities, self._owners, self._by_account = Strings(), Strings(), Index()
        owner_rows: dict[str, int] = {}
        self._opened, self._owner_of = Numbers(), Numbers()
        for opportunity_id, account_id, owner, opened_on in rows:
            self._opportunities.add(opportunity_id)
            self._by_account.add(account_id)
            self._opened.append(opened_on.toordinal())
            if owner and owner not in owner_rows:
                owner_rows[owner] = self._owners.add(owner)
            self._owner_of.append(owner_rows[owner] if owner else _NONE)
        self._by_account.seal()

    # --- asking

    def _matches(self, address: str) -> tuple[Match, ...]:
        """What an external `address` leads to, remembered: the same few people write most of a mailbox."""
        known = self._cache.get(address)
        if known is None:
            known = tuple(self._look_up(address))
            if len(self._cache) >= _CACHE:
                self._cache.clear()
            self._cache[address] = known
        return known

    def _look_up(self, address: str) -> Iterable[Match]:
        address = crm_address(address)
        rows = self._by_contact.get(address)
        via = "contact.ambiguous" if len(rows) > 1 else "contact"
        for row in rows:
            account = self._account_id(self._contact_account[row])
            yield Match(0, 0 if account else 1, "contact", self._contacts[row], account, via)
        leads = self._by_lead.get(address)
        via = "lead.ambiguous" if len(leads) > 1 else "lead"
        for row in leads:
            contact = self._converted.get(row)
            known = contact is not None and contact in self._account_of_converted
            account = self._account_id(self._account_of_converted[contact]) if known and contact else None
            yield Match(1, 0, "lead", self._leads[row], account, via)
            if known and contact:
                yield Match(1, 1, "contact", contact, account, "lead.converted")
        yield from self._look_up_domain(address.rpartition("@")[2])

    def _look_up_domain(self, domain: str) -> Iterable[Match]:
        company = company_domain(domain)
        if company is None:
            return
        rows = self._by_domain.get(company)
        if not rows:
            return
        accounts = sorted({self._accounts[self._domain_account[row]] for row in rows})
        grades: dict[str, int] = {}
        for distance, host in enumerate(suffixes(domain)):
            for row in self._by_host.get(host):
                grades.setdefault(self._accounts[self._domain_account[row]], distance)
            if host == company:
                break
        via = "domain.ambiguous" if len(accounts) > 1 else "domain"
        for account in accounts:
            yield Match(2, grades.get(account, 99), "account", account, account, via)

    def _account_id(self, row: int) -> str | None:
        return None if row == _NONE else self._accounts[row]

    def _opportunities_of(self, accounts: list[str], users: set[str]) -> list[str]:
        ranked: dict[str, tuple[int, int, int, str]] = {}
        for place, account in enumerate(accounts):
            for row in self._by_account.get(account):
                owner = self._owner_of[row]
                is_owner_on = owner != _NONE and self._owners[owner] in users
                target = self._opportunities[row]
                order = (min(place, 1), 0 if is_owner_on else 1, -self._opened[row], target)
                ranked[target] = min(ranked.get(target, order), order)
        return sorted(ranked, key=ranked.__getitem__)


def _keep_best(
    found: dict[tuple[LinkKind, str], tuple[tuple[int, int, int, str], str]],
    kind: LinkKind,
    target: str,
    order: tuple[int, int, int, str],
    via: str,
) -> None:
    if (kind, target) not in found or (order, via) < found[kind, target]:
        found[kind, target] = (order, via)


def can_be_own(domain: str) -> bool:
    """Whether the CRM's own domain `domain` (crm_domain) counts: everybody at gmail.com or below co.uk would be internal otherwise."""
    return bool(domain) and not is_free_mail(domain) and (registrable_domain(domain) is not None or "." not in domain)
