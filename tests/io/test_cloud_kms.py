"""Key material wrapped by Google Cloud KMS: Google's own client against a stand-in that speaks its gRPC API."""

from __future__ import annotations

import base64
import pathlib
from collections.abc import Iterator

import pytest
from kms_standin import KmsStandIn

from dealmail.io import cloud_kms
from dealmail.io.vault import Vault, VaultError, read_keys

KEY = "projects/corp/locations/global/keyRings/mail/cryptoKeys/tokens"
OTHER = KEY + "-of-others"
MATERIAL = "a-new-key-of-many-letters an-old-key-of-many-letters"


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[KmsStandIn]:
    with KmsStandIn(KEY, OTHER) as standin:
        monkeypatch.setenv(cloud_kms.ENDPOINT, standin.endpoint)
        yield standin


def wrap(folder: pathlib.Path, key: str = KEY, text: str = MATERIAL) -> pathlib.Path:
    """What an operator does once, with Google's own tool."""
    sealed = cloud_kms._client().encrypt(name=key, plaintext=text.encode()).ciphertext
    file = folder / "wrapped"
    file.write_text(base64.encodebytes(sealed).decode())  # in lines, as `base64` writes it
    return file


def test_the_kms_opens_the_key_material_once(kms: KmsStandIn, tmp_path: pathlib.Path) -> None:
    file = wrap(tmp_path)
    assert b"letters" not in file.read_bytes()
    keys = read_keys(f"kms:{KEY}:file:{file}")
    assert keys == tuple(key.encode() for key in MATERIAL.split())
    sealed = Vault(keys[1:]).seal("m1", {"refresh_token": "secret"})
    assert Vault(keys).open("m1", Vault(keys).renew(sealed)) == {"refresh_token": "secret"}
    assert kms.asked == ["Encrypt", "Decrypt"]


def test_what_it_does_not_open_is_said_without_a_secret(
    kms: KmsStandIn, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = wrap(tmp_path, OTHER)
    plain = tmp_path / "plain"
    plain.write_text(MATERIAL)
    for ref, problem in (
        (f"kms:{KEY}:file:{file}", "InvalidArgument"),  # another key wrapped it
        (f"kms:{KEY}-gone:file:{file}", "NotFound"),
        (f"kms:{KEY}:file:{plain}", "no base64"),  # nobody wrapped it
    ):
        with pytest.raises(VaultError, match=problem) as refusal:
            read_keys(ref)
        assert "letters" not in str(refusal.value)
    short = wrap(tmp_path, KEY, "short")
    with pytest.raises(VaultError, match="5 characters"):
        read_keys(f"kms:{KEY}:file:{short}")
    monkeypatch.setenv(cloud_kms.ENDPOINT, "kms.elsewhere.example:443")
    with pytest.raises(VaultError, match="another machine"):
        read_keys(f"kms:{KEY}:file:{file}")


def test_a_kms_that_is_down_is_said(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with KmsStandIn(KEY) as gone:
        monkeypatch.setenv(cloud_kms.ENDPOINT, gone.endpoint)
        file = wrap(tmp_path)
    monkeypatch.setattr(cloud_kms, "_TIMEOUT_S", 0.5)
    with pytest.raises(VaultError, match=r"not opened by its KMS.*(ServiceUnavailable|DeadlineExceeded)"):
        read_keys(f"kms:{KEY}:file:{file}")
