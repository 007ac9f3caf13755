"""People who act on a running service: their tokens, and `/api` over HTTP."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
from running import Running


def admin_key(service: Running) -> str:
    """The admin key that the first start showed."""
    found = re.search(r"admin key\s+(rk-\S+)", service.log.read_text())
    assert found is not None, "the start showed no admin key"
    return found[1]


def token(service: Running, email: str, *roles: str) -> str:
    """The token of a new person."""
    chosen = [word for role in roles for word in ("--role", role)]
    return str(json.loads(service.cli("people", "add", email, *chosen, "--json"))["token"])


def api(service: Running, method: str, path: str, secret: str | None, body: Any = None, **headers: str) -> httpx.Response:
    """One request under `/api`, with a token or a key."""
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    if secret is not None:
        told["authorization"] = f"Bearer {secret}"
    return httpx.request(method, service.base_url + path, json=body, headers=told, timeout=30)
