"""Signing in by an OpenID provider: who it vouches for gets in as one of our people, and every answer that does not fit is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from console_visits import Browser
from governing import token
from joserfc import jwt
from joserfc.jwk import RSAKey
from running import Running, free_port, running

from router.clock import utc_now

CLIENT, SECRET = "console", "not much of one"


class Issuer:
    """A provider on loopback. `claims` are laid over those of the tokens it gives, `key` signs them."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self.published = self.key
        self.claims: dict[str, Any] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.asked: list[dict[str, str]] = []
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/jwks":
                    return self.answer({"keys": [issuer.published.as_dict(private=False)]})
                told = {
                    "issuer": issuer.url,
                    "authorization_endpoint": f"{issuer.url}/login",
                    "token_endpoint": f"{issuer.url}/token",
                    "jwks_uri": f"{issuer.url}/jwks",
                }
                return self.answer(told)

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"])).decode()
                sent = {name: values[0] for name, values in parse_qs(raw).items()}
                login = issuer.codes.pop(sent.get("code", ""), None)
                challenge = (
                    base64.urlsafe_b64encode(hashlib.sha256(sent.get("code_verifier", "").encode()).digest())
                    .rstrip(b"=")
                    .decode()
                )
                credentials = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
                if (
                    login is None
                    or challenge != login["code_challenge"]
                    or self.headers["authorization"] != f"Basic {credentials}"
                ):
                    return self.answer({"error": "invalid_grant"}, 400)
                now = int(utc_now().timestamp())
                claims = {
                    "iss": issuer.url,
                    "aud": CLIENT,
                    "exp": now + 300,
                    "iat": now,
                    "sub": "1",
                    "nonce": login["nonce"],
                    "email_verified": True,
                    **issuer.claims,
                }
                signed = jwt.encode({"alg": "RS256", "kid": "one"}, claims, issuer.key)
                return self.answer({"access_token": "a", "token_type": "Bearer", "id_token": signed})

            def answer(self, document: dict[str, Any], status: int = 200) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def log_in(self, browser: Browser, **claims: Any) -> str:
        """Go to the provider and back: the path of the console to which it sends the browser."""
        self.claims = claims
        to = urlsplit(browser.get("/oidc?next=/console/account").headers["location"])
        query = {name: values[0] for name, values in parse_qs(to.query).items()}
        assert (query["client_id"], query["response_type"], query["code_challenge_method"]) == (CLIENT, "code", "S256")
        assert "openid" in query["scope"].split()
        code = f"code-{len(self.asked)}"
        self.codes[code] = query
        self.asked.append(query)
        back = urlsplit(query["redirect_uri"]).path.removeprefix("/console")
        return f"{back}?code={code}&state={query['state']}"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.server.shutdown()
    issuer.thread.join()
    issuer.server.server_close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Running]:
    environment = {"ROUTER_OIDC_ISSUER": issuer.url, "ROUTER_OIDC_CLIENT_ID": CLIENT, "ROUTER_OIDC_CLIENT_SECRET": SECRET, "ROUTER_OIDC_NAME": "Example Ltd"}  # fmt: skip
    directory: Path = tmp_path_factory.mktemp("oidc") / "data"
    with running(directory, environment=environment, port=free_port()) as service:
        token(service, "ann@example.org", "viewer")
        token(service, "gone@example.org", "viewer")
        service.cli("people", "end", "gone@example.org")
        yield service


def test_whom_the_provider_vouches_for_is_signed_in_with_the_roles_they_have_here(service: Running, issuer: Issuer) -> None:
    browser = Browser(service)
    assert "Sign in with Example Ltd" in browser.get("/sign-in").text
    answer = browser.get(issuer.log_in(browser, email="Ann@Example.org"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/account")
    account = browser.get("/account").text
    assert "ann@example.org" in account
    assert "identity provider" in account
    assert browser.get("/keys").status_code == 403


def test_a_key_that_the_provider_has_changed_is_read_anew(service: Running, issuer: Issuer) -> None:
    issuer.key = issuer.published = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
    browser = Browser(service)
    assert browser.get(issuer.log_in(browser, email="ann@example.org")).status_code == 303


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"email": "nobody@example.org"}, 403),
        ({"email": "gone@example.org"}, 403),
        ({"email": "ann@example.org", "email_verified": False}, 403),
        ({}, 403),
        ({"email": "ann@example.org", "aud": "another"}, 401),
        ({"email": "ann@example.org", "aud": [CLIENT, "another"], "azp": "another"}, 401),
        ({"email": "ann@example.org", "iss": "https://another.example"}, 401),
        ({"email": "ann@example.org", "exp": 1_000_000_000}, 401),
        ({"email": "ann@example.org", "nonce": "another"}, 401),
    ],
)
def test_a_token_that_does_not_fit_lets_nobody_in(service: Running, issuer: Issuer, claims: dict[str, Any], status: int) -> None:
    browser = Browser(service)
    assert browser.get(issuer.log_in(browser, **claims)).status_code == status
    assert browser.get("/account").status_code == 303


def test_a_token_of_another_key_lets_nobody_in(service: Running, issuer: Issuer) -> None:
    issuer.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
    browser = Browser(service)
    assert browser.get(issuer.log_in(browser, email="ann@example.org")).status_code == 401
    issuer.key = issuer.published


def test_what_one_browser_began_no_other_ends_and_nothing_twice(service: Running, issuer: Issuer) -> None:
    browser, other = Browser(service), Browser(service)
    assert other.get(issuer.log_in(browser, email="ann@example.org")).status_code == 400
    back = issuer.log_in(browser, email="ann@example.org")
    assert browser.get(back).status_code == 303
    assert browser.get(back).status_code == 400
    assert browser.get("/oidc/back?error=access_denied").status_code == 403
    assert Browser(service).get("/oidc/back?state=x&code=y").status_code == 400
