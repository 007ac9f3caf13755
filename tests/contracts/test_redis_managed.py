"""A Redis that somebody else runs is reached by URL: over TCP, with a password and a database, and over TLS."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from router.clock import utc_now
from router.errors import Unavailable
from router.storage.embedded_redis import _binary
from router.storage.redis_client import RedisClient


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(home: Path, port: int, *options: str) -> Iterator[None]:
    binary = str(_binary(home))
    process = subprocess.Popen([binary, "--dir", str(home), "--save", "", "--logfile", str(home / "log"), *options])
    try:
        while process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
        if process.poll() is not None:
            pytest.skip(f"this redis-server does not take {options[0]}")
        yield
    finally:
        process.terminate()
        process.wait()


async def answer(url: str, *words: str) -> object:
    client = RedisClient(url)
    try:
        return await client.call(*words)
    finally:
        await client.aclose()


async def test_a_password_and_a_database_are_taken_from_the_url(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, port, "--port", str(port), "--requirepass", "p@ss"):
        assert await answer(f"redis://:p%40ss@127.0.0.1:{port}/3", "SET", "a", "1") == b"OK"
        assert await answer(f"redis://default:p%40ss@127.0.0.1:{port}/3", "GET", "a") == b"1"
        assert await answer(f"redis://:p%40ss@127.0.0.1:{port}/0", "GET", "a") is None
        with pytest.raises(Unavailable):
            await answer(f"redis://:wrong@127.0.0.1:{port}/3", "PING")
        with pytest.raises(Unavailable):
            await answer(f"redis://127.0.0.1:{port}/3", "PING")


async def test_tls_checks_the_servers_certificate(tmp_path: Path) -> None:
    port = free_port()
    certificate, key = own_certificate(tmp_path)
    options = ("--tls-port", str(port), "--port", "0", "--tls-cert-file", certificate, "--tls-key-file", key)
    with running(tmp_path, port, *options, "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no"):
        assert await answer(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}", "PING") == b"PONG"
        with pytest.raises(Unavailable):
            await answer(f"rediss://127.0.0.1:{port}/0", "PING")


def own_certificate(home: Path) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis of a test")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(utc_now() - datetime.timedelta(hours=1))
        .not_valid_after(utc_now() + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (home / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (home / "tls.key").write_bytes(key.private_bytes(*private))
    return str(home / "tls.crt"), str(home / "tls.key")
