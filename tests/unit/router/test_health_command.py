"""`router health`, as an orchestrator runs it."""

from __future__ import annotations

import datetime
import http.server
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from running import free_port, inherited

from router.clock import utc_now


class Ready(http.server.BaseHTTPRequestHandler):
    """Answers like a service that is ready."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on standard error."""


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Certificate and key for the name that clients use, signed by nobody that is known."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "router.example")])
    now = utc_now()
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    chain, secret = tmp_path / "cert.pem", tmp_path / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, secret


@pytest.fixture
def https_port(certificate: tuple[Path, Path]) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ready)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def health(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "router", "health", *arguments],
        env={**inherited(), **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_service_with_a_certificate_for_its_public_name_is_healthy(https_port: int, certificate: tuple[Path, Path]) -> None:
    chain, secret = map(str, certificate)
    proxy = f"http://127.0.0.1:{free_port()}"  # for providers; nothing answers there
    done = health(ROUTER_PORT=str(https_port), ROUTER_TLS_CERT=chain, ROUTER_TLS_KEY=secret, https_proxy=proxy)
    assert done.returncode == 0, done.stderr


def test_a_service_that_is_named_by_url_must_show_a_certificate_that_is_trusted(https_port: int) -> None:
    done = health("--url", f"https://127.0.0.1:{https_port}")
    assert done.returncode == 1
    assert "certificate" in done.stderr.lower()


def test_where_nothing_answers_it_says_so() -> None:
    done = health(ROUTER_PORT=str(free_port()))
    assert done.returncode == 1
    assert "no answer at http://127.0.0.1:" in done.stderr
