"""Secrets at rest: sealed tokens, and keyed digests for what may be recognised but not kept.

One secret (a secret ref, see io/secret_refs.py) holds the key material: one key or several, separated by white space or
commas, newest first. From each key HKDF (RFC 5869) derives one key for sealing and another for digests, by label.

Rotation: put the new key in front, run `rotate`, and everything is sealed with it. Keep the old keys in the list: the digests of
tombstones cannot be made anew, because what they were made from is gone; they stay keyed by the last key of the list.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..transforms.errors import DealmailError
from . import cloud_kms, schema, secret_refs
from .database import Database

_SEALING: Final = b"dealmail: sealing tokens, v1"
_DIGESTS: Final = b"dealmail: digests, v1"
_SHORTEST: Final = 16

KMS: Final = "kms:"

Unwrap = Callable[[str], str]
"""A KMS hook: what the secret ref holds in, the key material out. It runs once, when the vault is opened."""


class VaultError(DealmailError):
    """The key is missing, too short, or not the one that sealed this. The text never holds a key or a secret."""


def read_keys(ref: str, unwrap: Unwrap | None = None) -> tuple[bytes, ...]:
    """The key material that `ref` names, newest first; `unwrap` opens it where a KMS wrapped it.

    A ref `kms:KEY:REF` is opened by Google Cloud KMS (io/cloud_kms.py): KEY is its key, REF names what it wrapped.

    Raises:
        VaultError: no key, one of fewer than 16 characters, or the KMS does not open it.
        SecretNotFoundError: `ref` cannot be read.
    """
    if ref.startswith(KMS):
        key_name, _, ref = ref.removeprefix(KMS).partition(":")
        unwrap = cloud_kms.unwrapper(key_name)
    held = secret_refs.resolve(ref)
    try:
        material = unwrap(held) if unwrap else held
    except cloud_kms.KmsError as error:
        raise VaultError(f"{ref} is not opened by its KMS: {error}") from None
    keys = tuple(key.encode() for key in re.split(r"[\s,]+", material) if key)
    if not keys:
        raise VaultError(f"{ref} holds no key; write 32 random bytes as base64 there")
    if short := next((len(key) for key in keys if len(key) < _SHORTEST), None):
        raise VaultError(f"{ref} holds a key of {short} characters; the least is {_SHORTEST}")
    return keys


class Vault:
    """Seals and opens small secrets with authenticated encryption (Fernet). Safe to share between threads."""

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        """`keys` is key material, newest first."""
        self._fernets = MultiFernet([Fernet(base64.urlsafe_b64encode(_derive(key, _SEALING))) for key in keys])

    def seal(self, owner: str, values: Mapping[str, Any]) -> bytes:
        """`values` (JSON-like) sealed for `owner`: opened for anybody else, they are refused."""
        return self._fernets.encrypt(msgspec.json.encode({"owner": owner, "values": dict(values)}))

    def open(self, owner: str, sealed: bytes) -> dict[str, Any]:
        """What `seal` was given.

        Raises:
            VaultError: sealed with a key that is not in the list, changed since, or sealed for another owner.
        """
        try:
            opened = msgspec.json.decode(self._fernets.decrypt(sealed))
        except InvalidToken:
            raise VaultError("a sealed token cannot be opened: is its key still in the list?") from None
        if opened["owner"] != owner:
            raise VaultError("a sealed token belongs to another mailbox")
        return opened["values"]

    def renew(self, sealed: bytes) -> bytes:
        """The same secret sealed with the newest key.

        Raises:
            VaultError: sealed with a key that is not in the list, or changed since.
        """
        try:
            return self._fernets.rotate(sealed)
        except InvalidToken:
            raise VaultError("a sealed token cannot be opened: is its key still in the list?") from None


def rotate(database: Database, vault: Vault) -> int:
    """Seal every stored credential with the newest key; how many.

    Raises:
        VaultError: one cannot be opened; none is changed then.
        StoreUnavailableError: the database cannot be reached.
    """
    tables = (
        (schema.credential, schema.credential.c.mailbox_id),
        (schema.ended_credential, schema.ended_credential.c.id),
    )

    def work(connection: sa.Connection) -> int:
        count = 0
        for table, key in tables:
            for row, sealed in connection.execute(sa.select(key, table.c.ciphertext).with_for_update()).all():
                connection.execute(sa.update(table).where(key == row).values(ciphertext=vault.renew(sealed)))
                count += 1
        return count

    return database.transaction(work)


class Digests:
    """Keyed digests (HMAC-SHA256): to recognise an address or a Message-ID later without keeping it."""

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        """`keys` is key material, newest first; the last one keys the digests, so that they outlive a rotation."""
        self._key = _derive(keys[-1], _DIGESTS)

    def digest(self, *parts: str, length: int = 64) -> str:
        """`length` hex letters (up to 64) that stand for `parts`; parts are told apart, so ("a", "b") is not ("ab",)."""
        mac = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in parts:
            encoded = part.encode("utf-8", "surrogatepass")
            mac.update(len(encoded).to_bytes(8, "big") + encoded)
        return mac.hexdigest()[:length]


def _derive(key: bytes, label: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=label).derive(key)
