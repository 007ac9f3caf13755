"""What a held call or task asks a person, what the app is told meanwhile, and how its answer is kept until somebody has decided."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from router.errors import Refused
from router.exchange import ApprovalState, CallState, Held, HeldCall, SessionState
from routing_rules.decisions import Decision, Hold, Permit, ToolGrant
from routing_rules.facts import Caller, Labels
from routing_rules.rules import RuleSet
from routing_rules.task import Endpoint, Part, Provenance, Role, Task, ToolAsk
from routing_rules.vocabulary import Assessment, Finding

LIFETIME = timedelta(hours=4)
"""How long something waits for a person, and its answer is kept."""

MOST_SHOWN = 4_000
"""Characters of the arguments of a call that a person is shown."""

PENDING, APPROVED, DENIED = "pending", "approved", "denied"


class Kept(NamedTuple):
    """An answer as it is kept: as the provider gave it, and which deployment that was."""

    stream: bool
    deployment: str
    body: bytes

    def packed(self) -> bytes:
        """One text of bytes, for the store."""
        return f"{'s' if self.stream else 'j'} {self.deployment}\n".encode() + self.body

    @classmethod
    def unpacked(cls, packed: bytes) -> Kept:
        """The same again. Raises ValueError where it is none."""
        head, _, body = packed.partition(b"\n")
        kind, _, deployment = head.decode().partition(" ")
        if kind not in ("s", "j"):
            raise ValueError("no kept answer")
        return cls(kind == "s", deployment, body)


def held(
    *,
    rules: RuleSet,
    request_id: str,
    caller: Caller,
    session: SessionState,
    labels: Labels,
    state: CallState,
    endpoint: Endpoint,
    body_digest: str,
    permit: Permit,
    rule: str,
    message: str,
    now: datetime,
    calls: tuple[HeldCall, ...] = (),
    answer: bytes = b"",
    stream: bool = False,
    end_user: str | None = None,
) -> Held:
    """What a person is asked."""
    own = rules.sets.get(permit.entitlement_set)
    approvers = [call.owner for call in calls if call.owner]
    if own is not None:
        approvers.append(own.approver)
    if not calls:
        approvers += [each.owner for each in rules.rules if each.id == rule]
    return Held(
        request_id=request_id,
        app=caller.app,
        owner=caller.owner,
        team=caller.team,
        key_id=caller.key_id,
        purpose=caller.purpose,
        session_id=session.id,
        endpoint=endpoint,
        body_digest=body_digest,
        revision=permit.revision,
        rule=rule,
        message=message,
        at=now,
        expires=now + LIFETIME,
        calls=calls,
        approvers=tuple(dict.fromkeys(approvers)),
        labels=labels,
        used=state.used,
        spent_nano=session.spent_nano,
        requests=session.requests,
        tool_calls=state.count,
        drift=max([state.drift, *(call.drift for call in calls)]),
        stream=stream,
        answer=answer,
        end_user=end_user,
    )


async def shown(
    calls: Iterable[tuple[HeldCall, str]], assess: Callable[[Task, tuple[()]], Awaitable[Assessment]]
) -> tuple[HeldCall, ...]:
    """The calls with their arguments as a person may see them: what the classifiers find in them is masked."""
    found = []
    for call, written in calls:
        text = written[:MOST_SHOWN]
        part = Part(Role.ASSISTANT, Provenance.MODEL, text, "arguments", 0)
        assessment = await assess(Task(Endpoint.CHAT, "auto", (part,), input_bytes=len(text)), ())
        masked = masked_text(text, assessment.findings)
        found.append(msgspec.structs.replace(call, arguments=masked if len(written) <= MOST_SHOWN else masked + "…"))
    return tuple(found)


def masked_text(text: str, findings: Iterable[Finding]) -> str:
    """A text with what was found in it replaced by what kind of thing it is."""
    told: list[str] = []
    end = 0
    for finding in sorted(findings, key=lambda each: (each.start, -each.end)):
        if finding.part != 0 or finding.end <= end:
            continue
        if finding.start >= end:
            told += [text[end : finding.start], f"[{finding.kind}]"]
        end = finding.end
    return "".join([*told, text[end:]])


def fits(approval: ApprovalState, decision: Decision, task: Task, body_digest: str, *, named: bool) -> bool:
    """Whether an approval that was given is of use for this request: a held task's for that very task; a held answer's for the same
    body, or where the app has `named` it for any of the session, under the same rules. Raises Refused where it is named at an endpoint
    that its answer is not for."""
    if approval.is_task:
        bound = isinstance(decision, Hold) and approval.body_digest == body_digest
    else:
        bound = named or approval.body_digest == body_digest
        shape = (approval.endpoint or task.endpoint, approval.stream)
        if named and shape != (task.endpoint, task.stream):
            how = "as a stream" if approval.stream else "in one piece"
            message = f"approval `{approval.id}` is for an answer of `{shape[0].value}`, {how}: ask for it there, in the same way"
            raise Refused("invalid_request", message, param="x-router-approval")
        bound = bound and shape == (task.endpoint, task.stream)
    return bound and approval.revision == decision.revision


def check_grant(approval: ApprovalState, rules: RuleSet, grant: ToolGrant) -> None:
    """Raises Refused `tool_not_entitled` where this request may not use what the approval was given for; it stays for one that may."""
    functions = (rules.tool_index.find(ToolAsk(name, kind, "")) for kind, name in grant.granted if kind != "mcp")
    granted = {tool.id for tool in functions if tool is not None}
    granted |= {entry for server in grant.servers for entry, _ in server.entries}
    lacking = sorted(approval.tools - granted)
    if lacking:
        told = ", ".join(f"`{tool}`" for tool in lacking)
        message = (
            f"approval `{approval.id}` is for a call of {told}, which this request may not use: send it as it was sent before"
        )
        raise Refused("tool_not_entitled", message, param="tools")


def waits(approval_id: str, address: str, request: Held, expires: datetime, status: str = PENDING) -> Refused:
    """What the app is told of something that is held: the id, where it is decided, and what is missing (RFC 9396)."""
    return Refused(
        "approval_required",
        f"{request.message}; approval `{approval_id}` has been asked for: send the same request again, or with the header "
        f"`x-router-approval: {approval_id}`, once it is given",
        rule=request.rule,
        details=_details(approval_id, address, status, expires, request),
    )


def refused(state: ApprovalState, address: str) -> Refused:
    """What the app is told while nobody has decided, and once somebody has decided against it."""
    details = _details(state.id, address, state.status, state.expires, None)
    if state.status == PENDING:
        return Refused("approval_required", f"approval `{state.id}` is not decided yet: ask again later", details=details)
    if state.status == DENIED:
        code = "not_permitted_by_rule" if state.is_task else "tool_not_entitled"
        return Refused(code, f"approval `{state.id}` was denied: ask for something else", details=details)
    message = f"approval `{state.id}` cannot be used any more ({state.status}): send the request without it"
    return Refused("approval_required", message, param="x-router-approval", details=details)


def unknown() -> Refused:
    """What the app is told of an id that is none of its approvals."""
    return Refused("invalid_request", "`x-router-approval` names no approval of this app", param="x-router-approval")


def spent(approval_id: str) -> Refused:
    """What the app is told of an approval that was given, and does not fit this request (any more)."""
    message = f"approval `{approval_id}` is not for this: it was used, or the session or the rules have changed since; send the request without it"
    return Refused("approval_required", message, param="x-router-approval")


def _details(approval_id: str, address: str, status: str, expires: datetime, request: Held | None) -> dict[str, Any]:
    approval: dict[str, Any] = {
        "id": approval_id,
        "url": f"{address}/api/approvals/{approval_id}",
        "status": status,
        "expires": expires.isoformat(),
    }
    if request is not None:
        approval["authorization_details"] = [
            {
                "type": "tool_call",
                "actions": ["call"],
                "identifier": call.tool,
                "datatypes": sorted(call.capabilities),
                "reasons": [{"code": code, "remedy": remedy} for code, remedy in call.objections],
            }
            for call in request.calls
        ] or [{"type": "task", "actions": ["forward"], "identifier": request.rule}]
    return {"approval": approval}
