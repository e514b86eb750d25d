"""Signals of automated mail in the header section: fields, the author, the recipients, the subject."""

from __future__ import annotations

import re
from typing import Final

from .automated_evidence import (
    BULK,
    BULK_HOST,
    DESK,
    NO_REPLY,
    ROBOT,
    ROLE,
    Evidence,
    Signal,
    Signals,
    few,
    is_robot_address,
    is_role_address,
    local_part,
)
from .domains import is_free_mail, registrable_domain

HEADER_SIGNALS: Final = Signals()
_signal = HEADER_SIGNALS.add

# --- header fields ---------------------------------------------------------------------------------------------------


@_signal("list-unsubscribe", "marketing", "RFC 2369 section 3.2", 1.2, "list")
def _(mail: Evidence) -> float:
    return not mail.is_discussion and len(mail.header("list-unsubscribe")) >= 3


@_signal("one-click", "marketing", "RFC 8058", 1.2, "list")
def _(mail: Evidence) -> float:
    return not mail.is_discussion and "one-click" in mail.header("list-unsubscribe-post")


@_signal("list-id", "marketing", "RFC 2919", 0.6, "list")
def _(mail: Evidence) -> float:
    return not mail.is_discussion and bool(mail.header("list-id"))


@_signal("precedence-bulk", "marketing", "RFC 2076 section 3.9", 1.2, "list")
def _(mail: Evidence) -> float:
    found = mail.header("precedence") or mail.header("x-precedence")
    return not mail.is_discussion and found in {"bulk", "junk", "list"}


@_signal("auto-submitted", "transactional", "RFC 3834 section 5", 3.0)
def _(mail: Evidence) -> float:
    return mail.header("auto-submitted").split(";")[0].split("(")[0].strip() not in {"", "no"}


@_signal("feedback-id", "marketing", "Gmail: Feedback Loop", 1.4, "list")
def _(mail: Evidence) -> float:
    return bool(mail.header("feedback-id") or mail.header("x-feedback-id"))


_CAMPAIGN: Final = frozenset((
    "x-mc-user", "x-campaign", "x-campaignid", "x-campaign-id", "x-kmail-account", "x-kmail-message", "x-sfmc-stack", "x-csa-complaints",
    "x-mailin-campaign", "x-mailjet-campaign", "x-roving-id", "x-marketoid", "x-mktomailid", "x-mkto-mailingid", "x-report-abuse",
    "x-mailer-recptid", "x-mailing-id", "x-mailingid", "x-newsletter", "x-bulkmail", "x-job", "x-jobid", "x-list-unsubscribe",
    "x-subscriber-id", "x-cid", "x-emarsys-identify", "x-mailer-info", "x-rpcampaign",
))  # fmt: skip


@_signal(
    "campaign-field", "marketing", "fields that only campaign senders set (Mailchimp, Klaviyo, Marketo, SFMC, ...)", 2.4
)
def _(mail: Evidence) -> float:
    return not _CAMPAIGN.isdisjoint(mail.headers)


_CARRIER: Final = frozenset((
    "x-sg-eid", "x-sg-id", "x-mailgun-sid", "x-mailgun-tag", "x-ses-outgoing", "x-pm-message-id", "x-pm-tag", "x-msfbl", "x-mj-mid",
    "x-sib-id", "x-mandrill-user", "x-amazon-mail-relay-type", "x-sparkpost", "x-postmark",
))  # fmt: skip


@_signal("carrier-field", "transactional", "fields of senders for hire, used for receipts and campaigns alike", 1.3)
def _(mail: Evidence) -> float:
    return not _CARRIER.isdisjoint(mail.headers)


_SCRIPT_MAILER: Final = re.compile(
    r"php|perl|python|mime::|mime-tools|cgi|asp|cdo|java(?!script)|jmail|aspmail|sendmail\.pl|swiftmailer|nodemailer|blat|actionmailer|"
    r"mailchimp|lyris|listmanager|listserv|majordomo|ezmlm|phplist|bulk|campaign|topica|bloglines|drupal|wordpress|exacttarget|accucast|"
    r"unitymail|strongmail|message ?mail|mail ?list|group ?mail|worldmerge|dynamics|responsys|doubleclick|e-?dialog|roving|cheetah|mass"
)


@_signal("program-mailer", "transactional", "X-Mailer of a script or campaign tool", 1.4)
def _(mail: Evidence) -> float:
    named = f"{mail.header('x-mailer')} {mail.header('user-agent')}"
    return (
        bool(_SCRIPT_MAILER.search(named))
        or "x-php-originating-script" in mail.headers
        or "x-php-script" in mail.headers
    )


_PERSON_MAILER: Final = re.compile(
    r"outlook|apple mail|iphone|ipad|thunderbird|mozilla|mutt|eudora|evolution|kmail|pine|gnus|lotus notes|notes release|sylpheed|"
    r"ximian|squirrelmail|horde|imp\b|roundcube|airmail|the bat|pegasus|internet mail service|exmh|vm \d|mh-e|gmail|zimbra|webmail|aol"
)


@_signal("person-mailer", "person", "X-Mailer or User-Agent of a mail client", -1.0)
def _(mail: Evidence) -> float:
    return bool(_PERSON_MAILER.search(f"{mail.header('x-mailer')} {mail.header('user-agent')}"))


@_signal("verp-return-path", "marketing", "envelope sender that names its recipient or a bounce handler (VERP)", 1.2)
def _(mail: Evidence) -> float:
    path = mail.header("return-path").strip("<> ")
    local = local_part(path)
    looks = re.search(r"bounce|return|errors?-|owner-|-request|[0-9a-f]{12}|\d{7}|=", local) is not None
    return bool(local) and local != mail.local and looks and not mail.is_discussion and not local.startswith("srs0")


@_signal("foreign-return-path", "marketing", "envelope sender of another company than From", 0.5)
def _(mail: Evidence) -> float:
    domain = mail.header("return-path").strip("<> ").rpartition("@")[2]
    mine = mail.company
    return bool(domain and mine) and registrable_domain(domain) not in {mine, None} and not mail.is_discussion


@_signal("suppress-replies", "transactional", "X-Auto-Response-Suppress: All (MS-OXPROPS 2.615)", 0.5)
def _(mail: Evidence) -> float:
    return "all" in mail.header("x-auto-response-suppress")


@_signal("threaded", "person", "RFC 5322 section 3.6.4: In-Reply-To or References", -1.5)
def _(mail: Evidence) -> float:
    return mail.has_references


@_signal("discussion-list", "person", "List-Post, Mailing-List or X-Google-Group-Id: people write through it", -0.4)
def _(mail: Evidence) -> float:
    return mail.is_discussion


for _label, _leaning, _prior in (
    ("CATEGORY_PROMOTIONS", "marketing", 2.5), ("CATEGORY_SOCIAL", "marketing", 2.5), ("CATEGORY_UPDATES", "transactional", 1.2),
    ("CATEGORY_PERSONAL", "person", -0.8),
):  # fmt: skip
    HEADER_SIGNALS.append(
        Signal(
            _label.lower().replace("_", "-"),
            _leaning,  # type: ignore[arg-type]  # one of Leaning, as written above
            "Gmail's own category label, where the domain has them on",
            lambda mail, label=_label: label in mail.labels,  # type: ignore[misc]  # the default binds the loop's value
            _prior,
        )
    )


# --- who writes ------------------------------------------------------------------------------------------------------


@_signal("no-reply-address", "transactional", "no-reply forms seen by many (local part only)", 4.0)
def _(mail: Evidence) -> float:
    return is_robot_address(mail.sender.address)


@_signal("robot-address", "transactional", "local parts of programs", 2.0)
def _(mail: Evidence) -> float:
    return bool(ROBOT.search(mail.local))


@_signal("bulk-address", "marketing", "local parts of publishers and campaigns", 1.8)
def _(mail: Evidence) -> float:
    return not mail.is_contact and bool(BULK.search(mail.local))


@_signal("newsletter-address", "marketing", "local parts that say newsletter", 2.5)
def _(mail: Evidence) -> float:
    return re.search(r"news-?letter|^(?:e-?)?news$|^bulletins?$|^marketing$|^promo(?:tion)?s?$", mail.local) is not None


@_signal("desk-address", "transactional", "local parts of order desks and billing", 1.5)
def _(mail: Evidence) -> float:
    return not mail.is_contact and bool(DESK.search(mail.local))


@_signal("role-address", "transactional", "RFC 2142 and its like: a function, not a person", 0.8)
def _(mail: Evidence) -> float:
    return not mail.is_contact and bool(ROLE.match(mail.local))


@_signal("reply-to-robot", "transactional", "answers go to a program", 1.0)
def _(mail: Evidence) -> float:
    other = mail.header("reply-to")
    return bool(other) and bool(NO_REPLY.search(local_part(other.strip("<> ")).rpartition("<")[2]))


@_signal("machine-address", "transactional", "a local part that nobody would choose", 1.0)
def _(mail: Evidence) -> float:
    return len(mail.local) > 24 or "=" in mail.local or re.search(r"\d{5}|[0-9a-f]{10}", mail.local) is not None


@_signal("host-of-campaigns", "marketing", "sub-domains that companies send campaigns from", 1.2)
def _(mail: Evidence) -> float:
    return bool(BULK_HOST.search(mail.sender.domain.removesuffix(mail.company or mail.sender.domain)))


@_signal("host-named-for-news", "marketing", "a registered name that says mail, news or offers", 0.8)
def _(mail: Evidence) -> float:
    mine = mail.company
    named = re.search(r"news|mail|letter|offer|promo|deal|alert|update|reward|market|media", mine.split(".")[0])
    return named is not None and not is_free_mail(mine)


@_signal("name-in-address", "person", "the display name's words make the local part: jane.doe, jdoe, doej", -1.2)
def _(mail: Evidence) -> float:
    words = mail.name_words
    return (
        any(len(word) > 2 and word in mail.local for word in words)
        and not BULK.search(mail.local)
        and not ROLE.match(mail.local)
    )


@_signal("first-last-address", "person", "local part of two names, or one that is a common form", -0.8)
def _(mail: Evidence) -> float:
    return re.fullmatch(
        r"[a-z]{1,12}[._][a-z]{2,16}|[a-z]{1,12}[._][a-z][._][a-z]{2,16}", mail.local
    ) is not None and not is_role_address(mail.sender.address)


@_signal("company-name", "marketing", "the display name is a company's or a function's", 1.0)
def _(mail: Evidence) -> float:
    if not mail.sender.name or "@" in mail.sender.name:
        return 0.0
    return mail.has_company_name or (mail.is_named_as_company and mail.company.split(".")[0] not in mail.local)


@_signal("person-name", "person", "a display name of two or three words that name no company", -0.5)
def _(mail: Evidence) -> float:
    return 2 <= len(mail.name_words) <= 4 and not mail.has_company_name and not mail.is_named_as_company


@_signal("free-mail", "person", "anybody can write from there, campaigns seldom do", -1.0)
def _(mail: Evidence) -> float:
    return is_free_mail(mail.sender.domain)


@_signal("known-contact", "person", "the author is, exactly, a contact or lead of the CRM", -1.5)
def _(mail: Evidence) -> float:
    return mail.is_contact


# --- to whom ---------------------------------------------------------------------------------------------------------


@_signal("hidden-recipients", "marketing", "To and Cc name nobody", 0.8)
def _(mail: Evidence) -> float:
    return not mail.recipients and not mail.copied


@_signal("to-itself", "marketing", "To names the author: everybody else is in Bcc", 0.8)
def _(mail: Evidence) -> float:
    return (
        any(one.address == mail.sender.address for one in mail.recipients)
        and len(mail.recipients) + len(mail.copied) == 1
    )


@_signal("copied", "person", "somebody is in Cc", -0.8)
def _(mail: Evidence) -> float:
    if not 0 < len(mail.copied) <= 15:
        return 0.0
    return 0.4 if is_role_address(mail.sender.address) or ROBOT.search(mail.local) else 1.0


@_signal("several-recipients", "person", "two to fifteen people in To", -0.6)
def _(mail: Evidence) -> float:
    return 2 <= len(mail.recipients) <= 15


@_signal("many-recipients", "marketing", "more than fifteen people in To and Cc", 0.3)
def _(mail: Evidence) -> float:
    return len(mail.recipients) + len(mail.copied) > 15


@_signal("sole-recipient", "transactional", "one person in To, nobody in Cc", 0.3)
def _(mail: Evidence) -> float:
    return len(mail.recipients) == 1 and not mail.copied


# --- subject ---------------------------------------------------------------------------------------------------------


@_signal("reply-subject", "person", "Re:, Fw: and their translations", -1.5)
def _(mail: Evidence) -> float:
    return mail.is_reply


# The alternatives that start at the edge of a word stand behind one \b: so most letters of a subject cost one look.
_BULK_SUBJECT: Final = re.compile(
    r"\b(?:sales?\b|save\b|savings?\b|off\b|free\b|offers?\b|win\b|deals?\b|daily\b|weekly\b|monthly\b|issue\b|vol(?:ume)?\b|register|special|introducing|update\b|news\b|new\b|"
    r"tips?\b|summit\b|discount|bonus|hot\b|gift|holiday|survey|today|event\b|concert|online\b|top \d|how to\b|\d+ (?:ways|reasons|tips|things)|edition\b|reports?\b|research\b|trial\b|"
    r"subscri)|newsletter|webinar|seminar|conference|don.t miss|last chance|exclusive|now available|announc|digest|bulletin|discover|limited|headlines?|angebot|rabatt|gratis|promo|oferta"
)
_DESK_SUBJECT: Final = re.compile(
    r"\b(?:order\b|receipt|invoice|payment|confirm|your .{0,30}(?:account|order|password|subscription|request|registration|statement|bill|trip|purchase|booking|itinerary|profile|ticket)|"
    r"statement\b|track(?:ing)?\b|reminder\b|approv|ticket\b|welcome to\b|alert\b|renew|sign-?in\b|log-?in\b|delivery\b|reset\b|status\b|failed\b|success|request #|pending\b|completed?\b|"
    r"process(?:ed|ing)\b|account\b|cvs\b|commit\b|build\b|lead\b)|password|shipp(?:ed|ing|ment)|itinerary|reservation|verif|access request|notif|thank you for|"
    r"thanks for (?:your|signing|register|order)|expir|activat|security|automat|\[[a-z]+-\d+\]|#\d{3,}|rechnung|bestellung|bestätig|factura|pedido|commande|facture|\[bug \d+\]"
)


@_signal("bulk-subject", "marketing", "words of campaigns in the subject", 1.4)
def _(mail: Evidence) -> float:
    return not mail.is_reply and few(len(set(_BULK_SUBJECT.findall(mail.subject.lower()))), 2)


@_signal("desk-subject", "transactional", "words of receipts, alerts and accounts in the subject", 1.2)
def _(mail: Evidence) -> float:
    return not mail.is_reply and few(len(set(_DESK_SUBJECT.findall(mail.subject.lower()))), 2)


@_signal("loud-subject", "marketing", "exclamation marks, money, percentages, capitals in the subject", 0.8)
def _(mail: Evidence) -> float:
    if mail.is_reply:
        return 0.0
    if re.search(r"[!®™€]|\$\d|\d ?%|\*\*", mail.subject):
        return 1.0
    letters = "".join(filter(str.isalpha, mail.subject))
    return len(letters) > 12 and sum(map(str.isupper, letters)) > 0.7 * len(letters)


@_signal("dated-subject", "marketing", "a date or issue number in the subject", 0.6)
def _(mail: Evidence) -> float:
    pattern = r"\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.? \d{1,2}\b|\b20\d\d\b|\bno\. ?\d|#\d|vol\. ?\d"
    return not mail.is_reply and re.search(pattern, mail.subject.lower()) is not None


@_signal("brief-subject", "person", "at most three plain words, or none", -0.5)
def _(mail: Evidence) -> float:
    says = mail.subject.lower()
    return (
        len(says.split()) <= 3
        and not re.search(r"[!$%]", says)
        and not _BULK_SUBJECT.search(says)
        and not _DESK_SUBJECT.search(says)
    )
