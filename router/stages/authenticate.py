"""Who is calling: bearer key → app → what both together allow."""

from __future__ import annotations

import hashlib
from datetime import date, datetime

import msgspec

from router.errors import Refused
from router.ports import Directory
from router.principals import Key
from routing_rules.catalogue import App
from routing_rules.facts import Caller
from routing_rules.vocabulary import Sensitivity


class PurposeNotHeld(Refused):
    """Refused `purpose_not_permitted`; `caller` is who asked, for the evidence."""

    def __init__(self, message: str, caller: Caller) -> None:
        super().__init__("purpose_not_permitted", message, param="x-router-purpose")
        self.caller = caller


def authenticate(directory: Directory, authorization: str | None, purpose: str | None, now: datetime) -> Caller:
    """The caller behind an Authorization header. Raises Refused `invalid_api_key`, `key_expired` or `purpose_not_permitted`."""
    key = key_behind(directory, authorization, now)
    if key.admin:
        raise Refused(
            "invalid_api_key", "an admin key cannot send tasks: use the key of an app (`router keys create --app NAME`)"
        )
    app = directory.rules().apps.get(key.app)
    if app is None:
        raise Refused("invalid_api_key", f"the app `{key.app}` of this key is not in the rules in force")
    return narrowed(app, key, purpose, now.date())


def key_behind(directory: Directory, authorization: str | None, now: datetime) -> Key:
    """The valid key in an Authorization header. Raises Refused `invalid_api_key` or `key_expired`."""
    scheme, _, secret = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise Refused("invalid_api_key", "no API key: send `Authorization: Bearer rk-…`")
    # Keys are 256 random bits: one SHA-256 at rest cannot be searched, a slow hash would only cost time on every request.
    key = directory.key(hashlib.sha256(secret.strip().encode()).hexdigest())
    if key is None:
        raise Refused("invalid_api_key", "this API key is not known: create one with `router keys create --app NAME`")
    if key.revoked is not None and key.revoked <= now:
        raise Refused("invalid_api_key", f"the key `{key.prefix}…` was revoked")
    if key.expires is not None and key.expires <= now:
        raise Refused(
            "key_expired",
            f"the key `{key.prefix}…` expired on {key.expires:%Y-%m-%d}: `router keys rotate {key.id}` makes a new one",
        )
    return key


def under(caller: Caller, before: App | None, after: App | None, today: date) -> Caller:
    """The caller as another revision has its app. Where its key narrowed the app, it still does; where either does not know the app, as is."""
    if before is None or after is None or before is after or before == after:
        return caller
    watched = after.observed_on(today)
    return msgspec.structs.replace(
        caller,
        owner=after.owner,
        team=after.team,
        cost_center=after.cost_center,
        clearance=after.clearance if caller.clearance == before.clearance else min(caller.clearance, after.clearance),
        ceiling=after.ceiling,
        mode="observe" if watched else "enforce",
        observing=after.observing if watched else None,
    )


def narrowed(app: App, key: Key, purpose: str | None, today: date) -> Caller:
    """What the app allows today, narrowed by the key. Raises Refused `purpose_not_permitted` for a purpose that is not held."""
    held = tuple(name for name in key.purposes if name in app.purposes) if key.purposes else app.purposes
    clearance: Sensitivity = app.clearance if key.clearance is None else min(app.clearance, key.clearance)
    watched = app.observed_on(today)
    caller = Caller(
        app=app.id,
        owner=app.owner,
        team=app.team,
        cost_center=app.cost_center,
        key_id=key.id,
        clearance=clearance,
        ceiling=app.ceiling,
        purpose=(held[0] if held else "") if purpose is None else purpose,
        mode="observe" if watched else "enforce",
        key_ceiling=key.ceiling,
        observing=app.observing if watched else None,
    )
    if caller.purpose in held:
        return caller
    if purpose is None:
        raise PurposeNotHeld(f"the app `{app.id}` holds no purpose with this key", caller)
    named = ", ".join(f"`{name}`" for name in held)
    raise PurposeNotHeld(f"the app `{app.id}` does not hold the purpose it named with this key: it holds {named}", caller)
