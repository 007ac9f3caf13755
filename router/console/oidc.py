"""Signing in by an OpenID provider: authorization code with PKCE, and an identity token that is checked here. Imported where one is set up."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from datetime import datetime
from secrets import token_urlsafe
from typing import Any

import msgspec
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from httpx import HTTPError
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from router.console.site import Visits
from router.errors import Refused, Unavailable

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
STATE_SECONDS = 600
KNOWN_SECONDS = 3600
CALL_SECONDS = 10.0
LEEWAY_SECONDS = 60


class _Begun(msgspec.Struct, frozen=True):
    """What is remembered of a sign-in until the provider sends the browser back."""

    verifier: str
    nonce: str
    browser: str
    next: str


class Provider:
    """An OpenID provider. `here` is the address of the console, to which it sends browsers back."""

    def __init__(
        self, issuer: str, client_id: str, client_secret: str, here: str, visits: Visits, clock: Callable[[], datetime]
    ) -> None:
        self._issuer = issuer.rstrip("/")
        self._client_id = client_id
        self._client_secret = client_secret
        self._back = f"{here}/oidc/back"
        self._visits = visits
        self._clock = clock
        self._about: tuple[datetime, Mapping[str, Any]] | None = None
        self._keys: KeySet | None = None

    async def begin(self, onto: str) -> tuple[str, str]:
        """(where to send the browser, what it must bring back as a cookie). Raises Unavailable where the provider does not answer."""
        about = await self._known()
        begun = _Begun(token_urlsafe(48), token_urlsafe(24), token_urlsafe(24), onto)
        async with self._client() as client:
            url, state = client.create_authorization_url(
                about["authorization_endpoint"], nonce=begun.nonce, code_verifier=begun.verifier
            )
        await self._visits.keep_once(f"oidc:{state}", msgspec.json.encode(begun), STATE_SECONDS)
        return str(url), begun.browser

    async def finish(self, state: str, code: str, browser: str) -> tuple[str, str]:
        """(the e-mail address that the provider vouches for, where to go on). Raises Refused, Unavailable."""
        raw = await self._visits.take_once(f"oidc:{state}") if state else None
        begun = msgspec.json.decode(raw, type=_Begun) if raw is not None else None
        if begun is None or not hmac.compare_digest(begun.browser.encode(), browser.encode()):
            raise Refused("invalid_request", "this sign-in was not begun in this browser, or too long ago: begin it again")
        about = await self._known()
        try:
            async with self._client() as client:
                token = await client.fetch_token(
                    about["token_endpoint"], code=code, code_verifier=begun.verifier, grant_type="authorization_code"
                )
        except (AuthlibBaseError, HTTPError, ValueError) as error:
            raise _failed(error) from None
        claims = await self._checked(str(token.get("id_token", "")), begun.nonce)
        if claims.get("email_verified") is not True or not isinstance(claims.get("email"), str):
            raise Refused("role_required", "your identity provider does not vouch for your e-mail address")
        return claims["email"].strip().lower(), begun.next

    async def _checked(self, token: str, nonce: str) -> Mapping[str, Any]:
        """The claims of an identity token that is signed by the provider and meant for this sign-in. Raises Refused."""
        registry = jwt.JWTClaimsRegistry(
            now=lambda: int(self._clock().timestamp()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self._issuer_named()},
            aud={"essential": True, "value": self._client_id},
            exp={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        for attempt in ("known keys", "keys of now"):
            try:
                decoded = jwt.decode(token, await self._key_set(anew=attempt == "keys of now"), algorithms=list(ALGORITHMS))
                registry.validate(decoded.claims)
            except (JoseError, ValueError, KeyError):
                continue
            several = isinstance(decoded.claims.get("aud"), list) and len(decoded.claims["aud"]) > 1
            if several and decoded.claims.get("azp") != self._client_id:
                break
            return decoded.claims
        raise Refused("invalid_signature", "the identity token does not fit this sign-in")

    def _issuer_named(self) -> str:
        """The issuer as it writes itself: with a slash at its end, or without."""
        return str(self._about[1]["issuer"]) if self._about is not None else self._issuer

    async def _known(self) -> Mapping[str, Any]:
        """What the provider says of itself, read once an hour."""
        now = self._clock()
        if self._about is not None and (now - self._about[0]).total_seconds() < KNOWN_SECONDS:
            return self._about[1]
        about = await self._read(f"{self._issuer}/.well-known/openid-configuration")
        if str(about.get("issuer", "")).rstrip("/") != self._issuer:
            raise Unavailable(
                "store_unavailable", "the OpenID provider says that it is somebody else: look at ROUTER_OIDC_ISSUER"
            )
        self._about = (now, about)
        return about

    async def _key_set(self, anew: bool) -> KeySet:
        if self._keys is None or anew:
            about = await self._known()
            self._keys = KeySet.import_key_set(await self._read(about["jwks_uri"]))  # type: ignore[arg-type]
        return self._keys

    async def _read(self, address: str) -> dict[str, Any]:
        try:
            async with self._client() as client:
                answer = await client.request("GET", address, withhold_token=True)
                answer.raise_for_status()
                document = answer.json()
        except (HTTPError, ValueError) as error:
            raise _failed(error) from None
        return document if isinstance(document, dict) else {}

    def _client(self) -> Any:
        return AsyncOAuth2Client(
            self._client_id,
            self._client_secret,
            scope="openid email",
            redirect_uri=self._back,
            code_challenge_method="S256",
            timeout=CALL_SECONDS,
        )


def _failed(error: Exception) -> Unavailable:
    return Unavailable(
        "store_unavailable", "the OpenID provider did not answer as it should: try again shortly", detail=type(error).__name__
    )
