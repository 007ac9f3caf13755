"""Keys of apps: made and shown once, rotated, revoked; and when each was used last."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import msgspec

from router.console.site import Answer, Asked, Handler, Move, Page, Site, in_sql, not_found
from router.console.view_models import Keys
from router.errors import Refused
from router.principals import Key
from routing_rules.rules import DIMENSIONS
from routing_rules.vocabulary import Sensitivity

DONE = {"revoked": "Revoked: every worker refuses it within a second."}
MOST_GRACE_HOURS = 24 * 90


class KeyShown(msgspec.Struct, frozen=True):
    """A key without its secret. `used`: when it was seen last in what its app asked lately."""

    id: str
    prefix: str
    app: str
    state: str
    created: datetime
    expires: datetime | None
    used: datetime | None
    narrowed: str
    admin: bool


async def show(site: Site, asked: Asked) -> Answer:
    """All keys."""
    return await _page(site, asked)


async def create(site: Site, asked: Asked) -> Answer:
    """Make a key of an app that the rules know."""
    form, rules = asked.form, site.directory.rules()
    app, level = form.get("app", ""), form.get("clearance", "")
    if app not in rules.apps:
        raise Refused(
            "invalid_request", "choose an app: new ones are registered by a change of the rules, or by `router keys create`"
        )
    if level and level not in DIMENSIONS["sensitivity"]:
        raise Refused("invalid_request", "a clearance is a level of sensitivity")
    expires = _end_of(form.get("expires", ""), asked.at)
    clearance = Sensitivity(level) if level else None
    made = await in_sql(
        lambda: site.keys.create(app, actor=asked.person.email, at=asked.at, expires=expires, clearance=clearance)
    )
    await site.changed(None)
    return await _page(site, asked, made.secret, app)


async def rotate(site: Site, asked: Asked) -> Answer:
    """Make a successor; the old key works for a while longer."""
    try:
        hours = float(asked.form.get("grace_hours", "24") or 24)
    except ValueError:
        hours = -1.0
    if not 0 <= hours <= MOST_GRACE_HOURS:
        raise Refused("invalid_request", f"the grace is from 0 to {MOST_GRACE_HOURS} hours")
    key = await _usable(site, asked)
    grace = timedelta(hours=hours)
    made = await in_sql(lambda: site.keys.rotate(key.id, actor=asked.person.email, at=asked.at, grace=grace))
    await site.changed(None)
    return await _page(site, asked, made.secret, key.app or "administration")


async def revoke(site: Site, asked: Asked) -> Answer:
    """End a key at once."""
    key = await _usable(site, asked)
    await in_sql(lambda: site.keys.revoke(key.id, actor=asked.person.email, at=asked.at))
    await site.changed(key.id)
    return Move("/keys?done=revoked")


async def _usable(site: Site, asked: Asked) -> Key:
    keys = await in_sql(site.keys.all)
    found = next((key for key in keys if key.id == asked.names["key_id"] and _state(key, asked.at) == "active"), None)
    if found is None:
        raise not_found("key in use")
    return found


async def _page(site: Site, asked: Asked, made: str = "", made_for: str = "") -> Page:
    def work() -> tuple[list[Key], dict[str, datetime]]:
        keys = site.keys.all()
        return keys, site.decisions.last_use({key.id: key.app for key in keys if not key.admin})

    keys, used = await in_sql(work)
    rows = [
        KeyShown(
            id=key.id,
            prefix=key.prefix,
            app=key.app,
            state=_state(key, asked.at),
            created=key.created,
            expires=key.expires,
            used=used.get(key.id),
            narrowed=", ".join(
                [*([str(key.clearance)] if key.clearance else []), *([key.ceiling] if key.ceiling else []), *key.purposes]
            ),
            admin=key.admin,
        )
        for key in reversed(keys)
    ]
    rows.sort(key=lambda row: row.state != "active")
    rules = site.directory.rules()
    done = DONE.get(asked.query.get("done", ""), "")
    return Page("keys.html", Keys(tuple(rows), tuple(rules.apps), "", DIMENSIONS["sensitivity"], made, made_for, done))


def _state(key: Key, now: datetime) -> str:
    if key.revoked is not None:
        return "revoked"
    return "expired" if key.expires is not None and key.expires <= now else "active"


def _end_of(day: str, now: datetime) -> datetime | None:
    if not day.strip():
        return None
    try:
        end = datetime.combine(date.fromisoformat(day.strip()), time(), UTC) + timedelta(days=1)
    except ValueError:
        raise Refused("invalid_request", "a day is written as 2027-01-31") from None
    if end <= now:
        raise Refused("invalid_request", "the key would have expired already")
    return end


HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/keys"): show,
    ("POST", "/keys"): create,
    ("POST", "/keys/{key_id}/rotate"): rotate,
    ("POST", "/keys/{key_id}/revoke"): revoke,
}
