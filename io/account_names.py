"""How Google spells the name of an account: googlemail.com and gmail.com are one."""

from __future__ import annotations


def same_account(address: str) -> str:
    """`address` as Google compares accounts: in lower case, googlemail.com as gmail.com."""
    local, at, domain = address.strip().lower().rpartition("@")
    return f"{local}{at}{'gmail.com' if domain == 'googlemail.com' else domain}"


def spellings(address: str) -> list[str]:
    """How the mailbox of the account of `address` may be written here, and by Google: one address, or two."""
    one = same_account(address)
    return sorted({one, one.removesuffix("@gmail.com") + "@googlemail.com" if one.endswith("@gmail.com") else one})
