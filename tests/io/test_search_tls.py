"""A cluster whose certificate is from an authority of its own, as Elasticsearch makes one when it is installed."""

from __future__ import annotations

import datetime as dt
import http.server
import ipaddress
import pathlib
import ssl
import threading
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dealmail.io.search import SearchSpec, open_index
from dealmail.transforms.errors import StoreUnavailableError


class Cluster(http.server.BaseHTTPRequestHandler):
    """Says that all is well and that the alias is there."""

    def answer(self) -> None:
        body = b'{"status": "green"}'
        self.send_response(200)
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = answer

    def log_message(self, *unused: object) -> None:
        pass


def write_certificate(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """A key and the certificate that it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a cluster")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(pem))
    return folder / "key.pem", folder / "ca.pem"


@pytest.fixture
def cluster(tmp_path: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    key, certificate = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cluster)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}", certificate
    server.shutdown()
    server.server_close()


def test_the_clusters_own_authority_is_trusted_where_it_is_named(cluster: tuple[str, pathlib.Path]) -> None:
    url, certificate = cluster
    index = open_index(SearchSpec(url, ca_certs=str(certificate)))
    index.ensure()
    index.close()


def test_an_unknown_authority_is_not(cluster: tuple[str, pathlib.Path]) -> None:
    index = open_index(SearchSpec(cluster[0]))
    with pytest.raises(StoreUnavailableError):
        index.ensure()
    index.close()


def test_a_file_that_is_not_there_is_named(cluster: tuple[str, pathlib.Path]) -> None:
    with pytest.raises(StoreUnavailableError, match=r"there is no file /nowhere/ca\.pem"):
        open_index(SearchSpec(cluster[0], ca_certs="/nowhere/ca.pem"))


def test_certificates_without_tls_are_refused() -> None:
    with pytest.raises(ValueError, match="https://"):
        SearchSpec("http://127.0.0.1:9200", ca_certs="ca.pem")
