"""Blocklist: whose mail is never processed, on two levels: the team's list and each user's own."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from . import decisions
from .addresses import normalize_domain
from .domains import crm_address, crm_domain, suffixes


@dataclasses.dataclass(slots=True)
class _Patterns:
    """One list. Domains count with their sub-domains; wildcards (* and ?) span label boundaries."""

    addresses: set[str] = dataclasses.field(default_factory=set)
    domains: set[str] = dataclasses.field(default_factory=set)
    address_wildcards: list[tuple[bool, re.Pattern[str]]] = dataclasses.field(default_factory=list)
    domain_wildcards: list[re.Pattern[str]] = dataclasses.field(default_factory=list)

    def add(self, pattern: str) -> None:
        """Take one line of the list; an empty one says nothing."""
        text = pattern.strip().lower()
        local, _, domain = text.rpartition("@")
        if not local:  # acme.com, @acme.com, *.acme.com
            domain = crm_domain(domain) if "?" not in domain else normalize_domain(domain)
            if "*" not in domain and "?" not in domain:
                self.domains |= {domain} - {""}
                return
            bare = domain.removeprefix("*.")
            if bare != domain and "*" not in bare and "?" not in bare:
                self.domains.add(bare)
            else:
                self.domain_wildcards.append(_regex(domain))
        elif "*" in text or "?" in text:
            self.address_wildcards.append((not local.strip("*"), _regex(f"{local}@{normalize_domain(domain)}")))
        else:
            self.addresses |= {crm_address(text)} - {""}

    def hits(self, address: str, *, is_internal: bool) -> bool:
        """Whether a normalized `address` is on the list.

        A person of the team only by their address, or a wildcard that names some local part: a blocked own domain would
        otherwise keep out everything.
        """
        address = crm_address(address)
        if address in self.addresses:
            return True
        if any(
            regex.fullmatch(address)
            for is_whole_domain, regex in self.address_wildcards
            if not (is_internal and is_whole_domain)
        ):
            return True
        if is_internal:
            return False
        domain = address.rpartition("@")[2]
        if self.domains and any(suffix in self.domains for suffix in suffixes(domain)):
            return True
        return any(regex.fullmatch(domain) for regex in self.domain_wildcards)


@dataclasses.dataclass(frozen=True, slots=True)
class Blocklist:
    """The team's list under "", each user's own under their id."""

    lists: dict[str, _Patterns]

    @property
    def is_empty(self) -> bool:
        """Whether nobody is on it."""
        return not self.lists

    @classmethod
    def build(cls, rows: Iterable[tuple[str, str]]) -> Blocklist:
        """From (user id or "", pattern). A pattern is an address, a domain (with its sub-domains), or holds * or ?.

        `*.acme.com` is the domain acme.com with its sub-domains too: whoever writes it means the company.
        """
        lists: dict[str, _Patterns] = {}
        for user_id, pattern in rows:
            lists.setdefault(user_id, _Patterns()).add(pattern)
        return cls(lists)

    def rule(self, people: Iterable[tuple[str, bool]], user_id: str | None) -> str | None:
        """The first rule that hits one of `people`, (normalized address, whether internal): the team's list, then the user's."""
        known = list(people)
        for owner, rule in (("", decisions.BLOCKED_TEAM), (user_id, decisions.BLOCKED_USER)):
            patterns = self.lists.get(owner) if owner is not None else None
            if patterns and any(patterns.hits(address, is_internal=is_internal) for address, is_internal in known):
                return rule
        return None


def _regex(pattern: str) -> re.Pattern[str]:
    """A wildcard as a pattern for the whole text; runs of * are one, so that matching stays linear in practice."""
    parts = re.split(r"(\*+|\?)", pattern)
    return re.compile(
        "".join(".*" if part.startswith("*") else "." if part == "?" else re.escape(part) for part in parts)
    )
