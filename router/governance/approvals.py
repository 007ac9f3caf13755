"""What waits for a person, who may decide on it, and what comes of that. Every surface calls this."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from router.errors import Refused
from router.exchange import ApprovalHistory, Held, JsonObject
from router.principals import SINGLE, Person, Role

PENDING, APPROVED, DENIED, EXPIRED, USED = "pending", "approved", "denied", "expired", "used"
DECIDERS = (Role.APPROVER, Role.TOOL_OWNER)
LONGEST_NOTE = 500


class Waiting(msgspec.Struct, frozen=True):
    """An approval with what is needed to judge it. `held` has no answer; its calls' arguments are masked."""

    history: ApprovalHistory
    held: Held


class Decider(msgspec.Struct, frozen=True):
    """Who decides: a person, or (None) whoever holds the admin key or the data directory. `name` is what records say."""

    name: str
    person: Person | None = None


class Approvals(Protocol):
    """Where approvals wait. Down: Unavailable(`store_unavailable`), and nothing was decided."""

    async def waiting(self, approval_id: str) -> Waiting | None: ...
    async def pending(self, now: datetime) -> Sequence[Waiting]: ...
    async def decide(self, approval_id: str, *, approve: bool, by: str, via: str, note: str, now: datetime) -> str | None: ...


def history_of(approval_id: str, held: Held) -> ApprovalHistory:
    """What is remembered of an approval that was just asked for."""
    return ApprovalHistory(
        id=approval_id,
        kind="call" if held.calls else "task",
        app=held.app,
        owner=held.owner,
        session=held.session_id,
        request_id=held.request_id,
        purpose=held.purpose,
        tools=tuple(dict.fromkeys(call.tool for call in held.calls)),
        reasons=tuple(dict.fromkeys(code for call in held.calls for code, _ in call.objections)),
        rule=held.rule,
        revision=held.revision,
        sensitivity=held.labels.confidentiality.value,
        asked=held.at,
        expires=held.expires,
    )


def concerns(person: Person | None, held: Held) -> bool:
    """Whether somebody may see what waits: everybody who looks after all of it, and owners of its tools."""
    if person is None or person.holds(Role.VIEWER, Role.APPROVER, Role.ADMIN):
        return True
    return person.email in _addresses(held.approvers) | _addresses(call.owner for call in held.calls)


def may_recall(person: Person | None, row: ApprovalHistory) -> bool:
    """Whether somebody may see an approval of which only the history is left: owners of tools see what they decided on."""
    return person is None or person.holds(Role.VIEWER, Role.APPROVER, Role.ADMIN) or row.decided_by == person.email


def check_decider(decider: Decider, held: Held, asked_by: Sequence[str], governance: str) -> None:
    """Whether this person may decide. Raises Refused(`role_required`).

    `asked_by`: everybody whose request it is: the app's owner and whoever made the key that asked.
    """
    person = decider.person
    if person is None:
        if governance != SINGLE:
            raise Refused(
                "role_required", "under `four_eyes` a person decides: send the token of an approver or of the tool's owner"
            )
        return
    if person.email in _addresses(asked_by):
        raise Refused("role_required", "the request came from a key of yours: somebody else decides")
    if person.holds(Role.APPROVER):
        return
    owners = _addresses(call.owner for call in held.calls)
    named = person.email in _addresses(held.approvers) - owners or owners == {person.email}
    if person.holds(Role.TOOL_OWNER) and named:
        return
    raise Refused("role_required", "the owner of every tool in it decides, or an approver")


async def decide(
    approvals: Approvals,
    approval_id: str,
    decider: Decider,
    *,
    approve: bool,
    via: str,
    note: str,
    now: datetime,
    governance: str,
    made_by: str | None = None,
) -> Waiting:
    """Approve or deny, once. `made_by` is who made the key that asked. Raises Refused: `not_found`,
    `role_required`, `approval_closed`."""
    found = await approvals.waiting(approval_id)
    if found is None or not concerns(decider.person, found.held):
        raise Refused("not_found", "there is no such approval")
    if len(note) > LONGEST_NOTE:
        raise Refused("invalid_request", f"the note is longer than {LONGEST_NOTE} characters")
    asked_by = [found.held.owner, *([made_by] if made_by else [])]
    check_decider(decider, found.held, asked_by, governance)
    instead = await approvals.decide(approval_id, approve=approve, by=decider.name, via=via, note=note, now=now)
    if instead is not None:
        raise Refused("approval_closed", CLOSED.get(instead, f"it does not wait any more: it is {instead}"))
    decided = APPROVED if approve else DENIED
    return Waiting(
        msgspec.structs.replace(found.history, status=decided, decided=now, decided_by=decider.name, via=via, note=note or None),
        found.held,
    )


CLOSED = {"ended": "its session has ended", EXPIRED: "it has expired: the app asks anew"}


def shown(waiting: Waiting) -> JsonObject:
    """What a person is shown of it, in plain JSON values."""
    held, history = waiting.held, waiting.history
    document: JsonObject = msgspec.to_builtins(history)
    document["team"] = held.team
    document["key_id"] = held.key_id
    document["end_user"] = held.end_user
    document["endpoint"] = held.endpoint.value
    document["message"] = held.message
    document["approvers"] = list(held.approvers)
    document["session_so_far"] = {
        "integrity": held.labels.integrity.value,
        "confidentiality": held.labels.confidentiality.value,
        "used": sorted(capability.value for capability in held.used),
        "requests": held.requests,
        "tool_calls": held.tool_calls,
        "spent_nano": held.spent_nano,
        "drift": held.drift,
    }
    document["calls"] = [
        {
            "tool": call.tool,
            "name": call.name,
            "owner": call.owner,
            "capabilities": sorted(capability.value for capability in call.capabilities),
            "arguments": _read(call.arguments),
            "why": [{"code": code, "remedy": remedy} for code, remedy in call.objections],
            "drift": call.drift,
        }
        for call in held.calls
    ]
    return document


def _read(arguments: str) -> object:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return arguments


def _addresses(names: object) -> set[str]:
    return {str(name).strip().lower() for name in names}  # type: ignore[attr-defined]
