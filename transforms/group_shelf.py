"""Shelves: how mail that came through a Google Group is found again when its author gets into the CRM.

Google Groups writes its own address in From and keeps the author where Gmail's search does not look. A decision about
such mail therefore names one of 256 shelves, by the author's domain. Millions of domains share them: which shelf it was says
nothing about who wrote, but a new contact has one in 256 of such mail read again, and not all of it.
"""

from __future__ import annotations

import hashlib
from typing import Final

from .domains import crm_address, registrable_domain

_PREFIX: Final = "group-"


def shelf_of(term: str) -> str:
    """The shelf of a normalized address or domain: that of the domain which somebody registered."""
    domain = (crm_address(term) or term).rpartition("@")[2]
    digest = hashlib.sha256((registrable_domain(domain) or domain).encode())
    return f"{_PREFIX}{digest.digest()[0]:02x}"


def is_shelf(name: str) -> bool:
    """Whether `name` is a shelf's, and not a digest's or a rule's."""
    return name.startswith(_PREFIX)
