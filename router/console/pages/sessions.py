"""Sessions: what each holds, what happened in it, and its end by a person."""

from __future__ import annotations

from urllib.parse import quote

from router.console.access import ENDING
from router.console.shown import count, dollars, duration, moment
from router.console.site import Answer, Asked, Handler, Move, Page, Site, in_sql
from router.console.view_models import Filter, Session, Sessions
from router.exchange import JsonObject

MOST_SHOWN = 200
DONE = {"ended": "The session has ended everywhere.", "stopped": "The answer was ended; its session goes on."}


async def listed(site: Site, asked: Asked) -> Answer:
    """Sessions by their latest decision, and what is under way."""
    app = asked.query.get("app", "")
    where = {"app": app} if app else {}
    rows = await in_sql(lambda: site.decisions.sessions(where, limit=100))
    running = await site.looking.running.looked_at(app or None)
    filters = (Filter("app", "App", app, tuple(site.directory.rules().apps)),)
    done = DONE.get(asked.query.get("done", ""), "")
    return Page("sessions.html", Sessions(filters, tuple(rows), tuple(running), asked.person.holds(*ENDING), done))


async def show(site: Site, asked: Asked) -> Answer:
    """One session of one app."""
    account = await site.looking.account(asked.names["session_id"], asked.names["app"], MOST_SHOWN)
    labels = account["labels"]
    state = [
        ("confidentiality", labels["confidentiality"]),
        ("integrity", labels["integrity"]),
        ("left us at most", account["forwarded"]),
        ("requests", count(account["requests"])),
        ("tool calls", count(account.get("tool_calls", 0))),
        ("tools used", ", ".join(account.get("tools_used", ())) or "none"),
        ("what its calls could do", ", ".join(account.get("used", ())) or "nothing"),
        ("drift", f"{account.get('drift', 0.0):.2f}"),
        ("spent", dollars(account["spent_nano"])),
        ("held now", dollars(account["held_nano"])),
        ("began", moment(account["created"])),
        ("last seen", moment(account["last_seen"])),
    ]
    model = Session(
        id=account["id"],
        app=account["app"],
        ended=account["ended"] or "",
        state=tuple((name, str(value)) for name, value in state),
        budget=_budget(account),
        running=tuple(account["running"]),
        events=tuple(account["timeline"]),
        may_end=asked.person.holds(*ENDING) and not account["ended"],
        done=DONE.get(asked.query.get("done", ""), ""),
    )
    return Page("session.html", model)


async def end(site: Site, asked: Asked) -> Answer:
    """End a session everywhere."""
    session_id, app = asked.names["session_id"], asked.names["app"]
    await site.looking.end(session_id, app, by=asked.person.email, why=_reason(asked))
    return Move(f"/sessions/{quote(app)}/{quote(session_id)}?done=ended")


async def end_one(site: Site, asked: Asked) -> Answer:
    """End one answer that is under way."""
    await site.looking.end_one(asked.names["request_id"], by=asked.person.email, why=_reason(asked))
    return Move("/sessions?done=stopped")


def _reason(asked: Asked) -> str:
    return " ".join(asked.form.get("reason", "").split())[:200] or "ended by a person"


def _budget(account: JsonObject) -> tuple[tuple[str, str, str, int], ...]:
    """(limit, its value, what is left, percent used) of those limits of which it is known what is left."""
    budget = account["budget"] or {}
    rows = []
    for name, left in budget.get("left", {}).items():
        limit = budget[name]
        told = dollars if name == "cost_nano" else count
        used = 0 if not limit else round(100 * (limit - left) / limit)
        rows.append((name.removesuffix("_nano").replace("_", " "), told(limit), told(left), used))
    for name in ("idle_seconds", "total_seconds"):
        if budget.get(name):
            rows.append((name.replace("_seconds", " time"), duration(budget[name]), "", -1))
    return tuple(rows)


HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/sessions"): listed,
    ("GET", "/sessions/{app}/{session_id}"): show,
    ("POST", "/sessions/{app}/{session_id}/end"): end,
    ("POST", "/running/{request_id}/end"): end_one,
}
