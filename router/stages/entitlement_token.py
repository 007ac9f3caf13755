"""The signed entitlement token: what a session may do with a tool, so that a tool server of ours can see it for itself."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from secrets import token_hex
from typing import Any, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from router import sse
from router.exchange import JsonObject
from router.money import usd
from router.stages.plain import rebuilt
from router.stages.unmask import Path, Placeholders, StreamPlaceholders
from routing_rules.catalogue import Deployment
from routing_rules.decisions import ToolGrant
from routing_rules.server_lists import address_of

HEADER = "x-entitlement-token"
TYPE = "entitlement+jwt"
"""In the token's own header, so that no other token of ours could be taken for one."""

LIFETIME = timedelta(minutes=5)
PERIOD = timedelta(days=7)
"""How long one key signs."""

AHEAD = timedelta(days=1)
"""How long before its first token a key is published: whoever keeps the key set for less has it in time."""

BEHIND = timedelta(hours=1)
"""How long after its last token was made a key stays published: longer than that token lives, whatever the clocks say."""

CACHE_SECONDS = 3600
"""How long the key set may be kept."""

_BEGINNING = urlsafe_b64encode(b'{"alg":"EdDSA","typ":"entitlement+jwt","kid":"'[:45]).decode()
"""What every token of ours begins with, and no other."""

_TOKEN = re.compile(_BEGINNING + r"[A-Za-z0-9_.-]*")
_TOKEN_BYTES = re.compile(_TOKEN.pattern.encode())
_UNFINISHED = re.compile(_TOKEN.pattern + r"\Z")
_NAMED, _BEGUN = HEADER.encode(), _BEGINNING.encode()
REMOVED = "[removed]"
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Right(NamedTuple):
    """One tool that the session may use: the id in the catalogue, the server's own names for what may be called (empty: all of it),
    and how often a person has to approve."""

    tool: str
    actions: Sequence[str] = ()
    approval: str = "none"


class Bearer(NamedTuple):
    """For whom a token speaks: ids only, as a provider that is not ours may pass it on."""

    app: str
    session: str
    purpose: str
    revision: str


def with_tokens(
    keys: TokenKeys,
    bearer: Bearer,
    body: JsonObject,
    grant: ToolGrant,
    deployment: Deployment,
    at: datetime,
    left_nano: int | None,
) -> tuple[JsonObject, dict[str, str]]:
    """The body with a token in the headers of each MCP server that is ours, and the headers for a deployment that is.

    What an app puts there itself is left out. To a provider that is not ours, which passes an MCP server's token on and could read it,
    the session's budget is not told.
    """
    told = left_nano if deployment.internal else None

    def with_token(tool: JsonObject) -> JsonObject:
        label = tool.get("server_label")
        server = next((each for each in grant.servers if each.label == label), None) if tool.get("type") == "mcp" else None
        address = address_of(tool)
        if server is None or not server.internal or address is None:
            return tool
        wanted = tool.get("allowed_tools")
        calls = wanted.get("tool_names") if isinstance(wanted, dict) else wanted
        named = [each for each in server.tools if calls is None or each.name in calls]
        rights = [Right(id, [each.name for each in named if each.entry == id], approval) for id, approval in server.entries]
        rights = [right for right in rights if right.actions or server.whole]
        token = keys.token(bearer, deployment.id, address.rstrip("/"), rights, at, token_hex(8), told)
        kept = {name: value for name, value in (tool.get("headers") or {}).items() if name.lower() != HEADER}
        return {**tool, "headers": {**kept, HEADER: token}}

    if grant.servers and isinstance(tools := body.get("tools"), list):
        body = {**body, "tools": [with_token(tool) for tool in tools]}
    if not deployment.internal:
        return body, {}
    rights = [Right(name) for _, name in grant.granted]
    audience = deployment.base_url or deployment.id
    return body, {HEADER: keys.token(bearer, deployment.id, audience, rights, at, token_hex(8), told)}


def without_tokens(raw: bytes) -> bytes:
    """JSON on its way to an app without tokens of ours and the headers that held them, which providers repeat; the identical bytes where
    there are none. Raises one of UNREADABLE where the bytes are no JSON."""
    if _NAMED not in raw and _BEGUN not in raw:
        return raw
    body = _decode(raw)
    told = _without(body)
    return raw if told == body else _encode(told)


def event_without_tokens(raw: bytes) -> bytes:
    """The same for an event of a stream; one that is no JSON is left to who judges it."""
    if _NAMED not in raw and _BEGUN not in raw:
        return raw
    data = sse.data_of(raw)
    try:
        told = without_tokens(data)
    except (ValueError, RecursionError):
        return _TOKEN.sub(REMOVED, raw.decode(errors="replace")).encode()
    return raw if told is data else rebuilt(raw, told)


def sentence_without_tokens(text: str) -> str:
    """A provider's sentence without tokens of ours."""
    return _TOKEN.sub(REMOVED, text)


class Guard(Placeholders):
    """Takes tokens of ours out of what a model says: a server that tells its model what it was sent would have it recite them."""

    def __init__(self) -> None:
        super().__init__({})

    def whole(self, raw: bytes) -> bytes:
        """See Placeholders."""
        return _TOKEN_BYTES.sub(REMOVED.encode(), raw)

    def text(self, text: str) -> str:
        """See Placeholders."""
        return sentence_without_tokens(text)

    def beginning(self, text: str) -> int:
        """See Placeholders."""
        begun = _UNFINISHED.search(text)
        if begun is not None:
            return begun.start()
        longest = min(len(text), len(_BEGINNING) - 1)
        return len(text) - next((size for size in range(longest, 0, -1) if text.endswith(_BEGINNING[:size])), 0)


class GuardedStream(StreamPlaceholders):
    """The same for a stream, wherever its fragments cut a token."""

    def _told(self, path: Path, number: Any = None) -> bytes:
        self._held[path] = sentence_without_tokens(self._held[path])
        return super()._told(path, number)


def _without(value: Any) -> Any:
    kind = type(value)
    if kind is str:
        return _TOKEN.sub(REMOVED, value)
    if kind is list:
        return [_without(held) for held in value]
    if kind is not dict:
        return value
    return {_TOKEN.sub(REMOVED, name): _without(held) for name, held in value.items() if name.lower() != HEADER}


class TokenKeys:
    """The signing keys, one after the other, all made of the installation's secret: every replica has the same, and none is stored.

    A key signs for one period and stays in the key set until its last token has ended. Whoever has one key has none of the others.
    """

    def __init__(self, secret: bytes, issuer: str) -> None:
        self._secret = secret
        self.issuer = issuer
        self._key = lru_cache(maxsize=8)(self._made)

    def token(
        self,
        bearer: Bearer,
        actor: str,
        audience: str,
        rights: Sequence[Right],
        at: datetime,
        jti: str,
        left_nano: int | None = None,
    ) -> str:
        """A token for one audience (the address of a tool server or a deployment), good for `LIFETIME` from `at`.

        `actor` is the deployment whose model acts for the app; `jti` names the token; `left_nano` is what the session may still spend (None: not told).
        """
        issued = int(at.timestamp())
        details: list[dict[str, Any]] = [
            {"type": "tool", "identifier": right.tool, "locations": [audience], "approval": right.approval}
            | ({"actions": list(right.actions)} if right.actions else {})
            for right in rights
        ]
        if left_nano is not None:
            details.append({"type": "budget", "currency": "USD", "amount": usd(left_nano)})
        claims = {
            "iss": self.issuer,
            "aud": audience,
            "sub": bearer.app,
            "act": {"sub": actor},
            "sid": bearer.session,
            "purpose": bearer.purpose,
            "revision": bearer.revision,
            "authorization_details": details,
            "jti": jti,
            "iat": issued,
            "nbf": issued,
            "exp": issued + int(LIFETIME.total_seconds()),
        }
        private, head = self._key(_period_of(at))
        signed = head + b"." + _encoded(msgspec.json.encode(claims))
        return (signed + b"." + _encoded(private.sign(signed))).decode()

    def key_set(self, at: datetime) -> dict[str, Any]:
        """The public keys (RFC 7517) of every token that can be met now, and of those that will be soon."""
        periods = range(_period_of(at - BEHIND), _period_of(at + AHEAD) + 1)
        return {"keys": [_public(self._key(period)[0]) for period in periods]}

    def _made(self, period: int) -> tuple[Ed25519PrivateKey, bytes]:
        """The private key of a period, and the encoded head of its tokens."""
        derive = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"entitlement-token|%d" % period)
        private = Ed25519PrivateKey.from_private_bytes(derive.derive(self._secret))
        head = {"alg": "EdDSA", "typ": TYPE, "kid": _public(private)["kid"]}
        return private, _encoded(msgspec.json.encode(head))


def _public(private: Ed25519PrivateKey) -> Mapping[str, str]:
    """The public half as a JSON Web Key; its id is its thumbprint (RFC 7638)."""
    x = _encoded(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    thumbprint = sha256(b'{"crv":"Ed25519","kty":"OKP","x":"%s"}' % x.encode()).digest()
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": _encoded(thumbprint).decode(), "alg": "EdDSA", "use": "sig"}


def _period_of(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // PERIOD


def _encoded(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")
