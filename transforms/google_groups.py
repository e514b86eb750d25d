"""Google Groups: the author whom a group hid behind its own address, and whether to believe it.

For domains whose DMARC policy is strict, Groups writes From: "'Jane' via Support" <support@own.example> and keeps the author
in X-Original-From or X-Original-Sender, or in Reply-To alone. All of these fields anybody can write, so what they say is
believed only of a group that could not gain by lying.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import msgspec

from .crm_directory import CrmDirectory
from .domains import company_domain
from .records import NormalizedMessage, Participant

GOOGLE_GROUPS: Final = "googlegroups.com"
_VIA: Final = re.compile(r"^['\"]?(.*?)['\"]?\s+via\s+\S.*$", re.IGNORECASE | re.DOTALL)
_ADDRESS: Final = re.compile(r"(?<![^\s<>:;,@])[^\s<>:;,@]++@[^\s<>:;,@?]+")
"""Tried only where a word begins: at each letter of a long one anew it would take seconds."""


def named_author(
    sender: Participant, marks: Collection[str], originals: Collection[Participant], reply_to: Collection[Participant]
) -> Participant | None:
    """The author whom the fields name behind `sender`, where From is the address of the group that the fields tell of.

    `marks` are the values of the fields that name the group, `originals` the mailboxes of X-Original-From and
    X-Original-Sender in that order. None where there is no such author.
    """
    groups = {found.lower() for value in marks for found in _ADDRESS.findall(value)}
    list_id = f"<{sender.address.replace('@', '.')}>"
    if sender.address not in groups and not any(list_id in value.lower() for value in marks):
        return None
    via = _VIA.match(sender.name)
    name = via[1].strip(" '\"") if via else ""
    author = next((one for one in originals if one.address != sender.address), None)
    if author is None and via is not None:
        others = [one for one in reply_to if one.address not in groups and one.address != sender.address]
        author = others[0] if len(others) == 1 else None
    if author is None or author.name:
        return author
    return Participant(author.address, name)


def unmask(message: NormalizedMessage, directory: CrmDirectory) -> NormalizedMessage:
    """`message` with the author in place of the group that rewrote From, where that group is believed; else as it is.

    Believed are the team's own groups, those at googlegroups.com, and those of the author's own company: a stranger's group
    could make anybody of itself. The group's address stays: where it is external it took part (first in Cc, unless it is
    listed), else it is looked at for blocking.
    """
    author, group = message.behind, message.sender
    if author is None or group is None or not _is_believed(group, author, directory):
        return message
    cc, also_from = message.cc, message.also_from
    if directory.is_internal(group.address):
        also_from = (*also_from, group)
    elif all(one.address != group.address for one in (*message.to, *cc)):
        cc = (group, *cc)
    return msgspec.structs.replace(message, sender=author, behind=None, cc=cc, also_from=also_from)


def _is_believed(group: Participant, author: Participant, directory: CrmDirectory) -> bool:
    if directory.is_internal(group.address) or group.domain == GOOGLE_GROUPS:
        return True
    company = company_domain(group.domain)
    return company is not None and company == company_domain(author.domain)
