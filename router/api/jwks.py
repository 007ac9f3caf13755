"""`GET /.well-known/jwks.json`: the public keys with which tool servers check entitlement tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from router.stages.entitlement_token import CACHE_SECONDS, TokenKeys

PATH = "/.well-known/jwks.json"
HEADERS = {"cache-control": f"public, max-age={CACHE_SECONDS}"}


def key_set(keys: TokenKeys, at: datetime) -> dict[str, Any]:
    """The body: a JSON Web Key Set."""
    return keys.key_set(at)
