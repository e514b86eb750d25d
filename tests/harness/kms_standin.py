"""A stand-in for Google Cloud KMS: Encrypt and Decrypt of the real gRPC API, with real encryption and keys of its own."""

from __future__ import annotations

import secrets
from concurrent import futures
from typing import Any

import grpc
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.cloud.kms_v1 import types

SERVICE = "google.cloud.kms.v1.KeyManagementService"


class KmsStandIn:
    """Listens on loopback while the block lasts. Keys are those of `key_names`; `asked` counts calls by method."""

    def __init__(self, *key_names: str) -> None:
        self._keys = {name: AESGCM(AESGCM.generate_key(256)) for name in key_names}
        self.asked: list[str] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        handlers = {
            "Encrypt": _unary(self._encrypt, types.EncryptRequest, types.EncryptResponse),
            "Decrypt": _unary(self._decrypt, types.DecryptRequest, types.DecryptResponse),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> KmsStandIn:
        self._server.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._server.stop(None).wait()

    def _key(self, name: str, context: grpc.ServicerContext) -> AESGCM:
        if name not in self._keys:
            context.abort(grpc.StatusCode.NOT_FOUND, f"CryptoKey {name} not found.")
        return self._keys[name]

    def _encrypt(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.asked.append("Encrypt")
        nonce = secrets.token_bytes(12)
        sealed = nonce + self._key(request.name, context).encrypt(nonce, request.plaintext, None)
        return types.EncryptResponse(name=f"{request.name}/cryptoKeyVersions/1", ciphertext=sealed)

    def _decrypt(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.asked.append("Decrypt")
        key = self._key(request.name, context)
        try:
            opened = key.decrypt(request.ciphertext[:12], request.ciphertext[12:], None)
        except (InvalidTag, ValueError):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Decryption failed: the ciphertext is invalid.")
        return types.DecryptResponse(plaintext=opened)


def _unary(method: Any, request: Any, response: Any) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(
        method, request_deserializer=request.deserialize, response_serializer=response.serialize
    )
