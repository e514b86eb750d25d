"""Blocklist: whose mail is never processed, on two levels: the team's list and each user's own."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
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
        """Take one line of the list; what is no pattern says nothing."""
        text = normal_pattern(pattern)
        local = text.rpartition("@")[0]
        if not is_wildcard(text):
            (self.addresses if local else self.domains).update({text} - {""})
        elif local:
            self.address_wildcards.append((not local.strip("*"), _regex(text)))
        else:
            self.domain_wildcards.append(_regex(text))

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


def is_wildcard(pattern: str) -> bool:
    """Whether * or ? stands in it."""
    return "*" in pattern or "?" in pattern


def normal_pattern(pattern: str) -> str:
    """A line of a blocklist as it is compared: an address, a domain (it counts with its sub-domains), or either with * and ?.

    "" where it is none of these, or has a wildcard inside an international label: what stands for it in mail has other letters.
    """
    text = unicodedata.normalize("NFC", pattern.strip().lower())
    if "//" in text:  # a web address: its ? is no wildcard
        text = re.split("[/?]", text.partition("//")[2])[0]
    local, _, domain = text.rpartition("@")
    if not is_wildcard(text):
        return crm_address(text) if local else _one_gmail(crm_domain(domain))
    domain = _wildcard_domain(domain.partition("/")[0])
    if not domain:
        return ""
    if not local or (not local.strip("*") and domain.startswith("*.")):  # *.acme.com, *@*.acme.com
        bare = domain.removeprefix("*.")
        return domain if is_wildcard(bare) else _one_gmail(bare)
    return f"{local}@{_one_gmail(domain)}"


def _wildcard_domain(domain: str) -> str:
    """The normal form label by label, for IDNA knows no wildcards."""
    labels = domain.strip(".").split(".")
    if not all(label.isascii() for label in labels if is_wildcard(label)):
        return ""
    return ".".join(label if is_wildcard(label) else normalize_domain(label) for label in labels)


def _one_gmail(domain: str) -> str:
    return "gmail.com" if domain == "googlemail.com" else domain  # as crm_address has it


def _regex(pattern: str) -> re.Pattern[str]:
    """A wildcard as a pattern for the whole text: of a domain a leading `*.` means the domain itself too."""
    local, at, domain = pattern.rpartition("@")
    bare = domain.removeprefix("*.")
    meant = dict.fromkeys((pattern, f"{local}{at}{bare}"))
    return re.compile("|".join(map(_glob, meant)))


def _glob(pattern: str) -> str:
    """What stands between two stars is looked for once, at its first place, which is as good as any later one.

    Without the atomic groups the time would grow with the length of an address to the power of the stars.
    """
    first, *others = (
        "".join("." if one == "?" else re.escape(one) for one in part) for part in re.split(r"\*+", pattern)
    )
    if not others:
        return first
    return first + "".join(f"(?>.*?{part})" for part in others[:-1]) + ".*" + others[-1]
