"""Sealed tokens, rotation and keyed digests."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from dealmail.io import schema, scrub
from dealmail.io.vault import Digests, Vault, VaultError, read_keys, rotate

OLD, NEW = b"the old key material", b"the new key material"


def test_opens_only_for_its_owner_with_its_key() -> None:
    sealed = Vault((OLD,)).seal("m1", {"refresh_token": "secret"})
    assert Vault((NEW, OLD)).open("m1", sealed) == {"refresh_token": "secret"}
    assert b"secret" not in sealed
    for vault, owner in ((Vault((NEW,)), "m1"), (Vault((OLD,)), "m2")):
        with pytest.raises(VaultError):
            vault.open(owner, sealed)


def test_rotation_seals_everything_with_the_newest_key(sales: Any) -> None:
    rows = [
        {
            "mailbox_id": f"m{n}",
            "team_id": "t1",
            "kind": "oauth",
            "ciphertext": Vault((OLD,)).seal(f"m{n}", {"n": n}),
            "updated_at": sales.clock(),
        }
        for n in range(3)
    ]
    sales.database.transaction(lambda c: c.execute(sa.insert(schema.credential), rows))
    assert rotate(sales.database, Vault((NEW, OLD))) == 3
    with sales.database.reading() as connection:
        for mailbox, sealed in connection.execute(
            sa.select(schema.credential.c.mailbox_id, schema.credential.c.ciphertext)
        ):
            assert Vault((NEW,)).open(mailbox, sealed) == {"n": int(mailbox[1:])}
    with pytest.raises(VaultError):
        rotate(sales.database, Vault((OLD,)))


def test_keys_come_from_a_secret_ref_or_through_a_kms(tmp_path: Any) -> None:
    file = tmp_path / "key"
    file.write_text(f"{NEW.decode().replace(' ', '-')}\n{OLD.decode().replace(' ', '-')}\n")
    assert read_keys(f"file:{file}") == (NEW.replace(b" ", b"-"), OLD.replace(b" ", b"-"))
    wrapped = tmp_path / "wrapped"  # Cloud KMS is in test_cloud_kms.py; any other hook is a function
    wrapped.write_text(base64.b64encode(b"0123456789abcdef").decode())
    assert read_keys(f"file:{wrapped}", lambda held: base64.b64decode(held).decode()) == (b"0123456789abcdef",)
    for text, problem in (("", "no key"), ("short", "5 characters")):
        file.write_text(text)
        with pytest.raises(VaultError, match=problem):
            read_keys(f"file:{file}")


@settings(deadline=None)
@given(st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_digests_tell_apart_what_differs(one: list[str], other: list[str]) -> None:
    digests = Digests((OLD,))
    assert (digests.digest(*one) == digests.digest(*other)) == (one == other)


def test_digests_outlive_a_rotation_and_need_the_key() -> None:
    assert Digests((NEW, OLD)).digest("a") == Digests((OLD,)).digest("a") != Digests((NEW,)).digest("a")
    assert len(Digests((OLD,)).digest("a", length=32)) == 32


def test_scrubbing_rewrites_the_tables_in_which_an_old_key_sealed_something() -> None:
    sealed = {table.name for table in schema.metadata.tables.values() if "ciphertext" in table.c}
    assert len(sealed) == 2
    assert sealed <= {table.name for table in scrub.TABLES}
