"""Registrations of tools keep what was seen and what was decided, on either database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from router.governance.tools import Seen, Status, registration_of
from router.storage.sql.registrations import SqlRegistrations, changed_servers

NOW = datetime(2026, 8, 3, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=2)
TOOL = {"name": "look_up", "description": "Looks a customer up.", "inputSchema": {"type": "object"}}


def test_what_is_noted_decided_and_seen_again_is_kept(store: Engine) -> None:
    kept = SqlRegistrations(store)
    first = registration_of(Seen("mcp", "look_up", TOOL, "crm", "https://crm.example.org/mcp", "shop"), NOW)
    kept.note([first])
    assert kept.all() == [first]
    kept.decide([first.id, "tool_unknown"], Status.REJECTED, actor="ann", at=NOW, revision=None)
    kept.note([registration_of(Seen("mcp", "look_up", TOOL, "crm", app="desk"), LATER)])
    (again,) = kept.all()
    assert (again.status, again.decided_by, again.decided) == (Status.REJECTED, "ann", NOW)
    assert (again.first_seen, again.last_seen, again.apps) == (NOW, LATER, ("shop", "desk"))
    kept.note([registration_of(Seen("mcp", "look_up", {**TOOL, "description": "Else."}, "crm", changed=True), LATER)])
    assert changed_servers(store) == {"crm"}
    (again,) = kept.all()
    assert (again.status, again.first_seen, again.address) == (Status.CHANGED, NOW, "https://crm.example.org/mcp")
