"""Google Cloud KMS: opens key material that it has wrapped, so that whoever reads the secret alone has nothing."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..transforms.errors import DealmailError

if TYPE_CHECKING:
    from google.cloud.kms import KeyManagementServiceClient

ENDPOINT: Final = "DEALMAIL_KMS_ENDPOINT"
"""Environment variable: HOST:PORT of a KMS on this machine, without TLS, for tests."""

_TIMEOUT_S: Final = 20.0
"""How long it is asked in all, again and again where it does not answer: whoever starts a job waits for it."""


class KmsError(DealmailError):
    """The KMS did not open it. The text never holds key material."""


def unwrapper(key_name: str) -> Callable[[str], str]:
    """A function from base64 of what `key_name` has encrypted to the text inside.

    `key_name` is projects/P/locations/L/keyRings/R/cryptoKeys/K. The function raises KmsError.
    """

    def unwrap(wrapped: str) -> str:
        from google.api_core import exceptions, retry
        from google.auth.exceptions import GoogleAuthError

        try:
            ciphertext = base64.b64decode("".join(wrapped.split()), validate=True)
        except binascii.Error:
            raise KmsError("it is no base64") from None
        silent = retry.if_exception_type(exceptions.DeadlineExceeded, exceptions.ServiceUnavailable)
        again = retry.Retry(silent, timeout=_TIMEOUT_S)  # the client's own goes on for a minute
        try:
            answer = _client().decrypt(
                request={"name": key_name, "ciphertext": ciphertext}, retry=again, timeout=_TIMEOUT_S
            )
            return answer.plaintext.decode("ascii")
        except (exceptions.GoogleAPIError, GoogleAuthError) as error:
            cause = error.cause if isinstance(error, exceptions.RetryError) else error
            raise KmsError(f"{type(cause).__name__} for {key_name}") from None
        except UnicodeDecodeError:
            raise KmsError("what it holds is no text") from None

    return unwrap


def _client() -> KeyManagementServiceClient:
    from google.cloud import kms

    endpoint = os.environ.get(ENDPOINT, "")
    if not endpoint:
        return kms.KeyManagementServiceClient()
    if endpoint.rpartition(":")[0] not in {"127.0.0.1", "localhost"}:
        raise KmsError(f"{ENDPOINT}={endpoint} is another machine; it is for stand-ins on this one")
    import grpc
    from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport

    transport = KeyManagementServiceGrpcTransport(channel=grpc.insecure_channel(endpoint))
    return kms.KeyManagementServiceClient(transport=transport)
