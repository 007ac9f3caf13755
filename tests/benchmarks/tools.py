"""`python -m tests.benchmarks.tools`: what thirty tools add to a request, authorising and enforcing together, and to each chunk of a stream.

Best of many runs on one core, without a network: the store's part is one more field of a round trip that is made anyway, and one more
round trip for an answer that calls tools.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from time import process_time_ns

from router.exchange import CallState
from router.pipeline import runs_tools
from router.stages.enforce import StreamEnforcer, enforce_json
from router.stages.judge_calls import Asked, CallJudge
from routing_rules.budgets import CallLimits, SessionBudget
from routing_rules.decisions import Permit, ToolGrant
from routing_rules.entitlements import authorise
from routing_rules.facts import Caller, Facts, Labels
from routing_rules.load import complete, load
from routing_rules.offered import within_session
from routing_rules.task import Endpoint, Part, Provenance, Role, Task, ToolAsk
from routing_rules.vocabulary import (
    Access,
    Assessment,
    Complexity,
    Confidence,
    Integrity,
    Intent,
    ScanState,
    Sensitivity,
    TaskKind,
)

TOOLS = 30
CHUNKS = 200
REQUEST_US, CHUNK_US = 150.0, 10.0
RUNS = 400

NAMES = [f"get_record_{number}" for number in range(TOOLS - 1)] + ["send_email"]
RULES = load(
    complete(
        {
            "tools.yaml": "tools:\n"
            + "".join(
                f"  - {{id: t{n}, owner: o@example.org, capabilities: [reads_private], functions: [{name}]}}\n"
                for n, name in enumerate(NAMES[:-1])
            )
            + "  - {id: mail, owner: o@example.org, capabilities: [egress], functions: [send_email], destination_arguments: [to]}\n",
            "entitlements.yaml": "sets:\n  - {id: all, owner: o@example.org, business_purpose: p, approver: o@example.org, review_by: 2099-01-01, "
            f"tools: [{', '.join(f't{n}' for n in range(TOOLS - 1))}, mail]}}\n",
            "routes.yaml": "routes: [{id: r, owner: o@example.org, reason: r, then: {tier: fast, set: all, budget: default}}]\n",
            "apps.yaml": "apps: [{id: app, owner: o@example.org, clearance: restricted, ceiling: all, purposes: [general]}]\n",
        },
        date(2026, 11, 23),
    )
)
LABELS = Labels(Integrity.UNTRUSTED, Sensitivity.CONFIDENTIAL)
ASK = "Look up record 7 of the customer and send an email with the summary to bob@example.org, please; the report of last week is attached."
RESULT = json.dumps(
    {"records": [{"id": number, "name": f"Customer {number}", "mail": f"c{number}@example.org"} for number in range(20)]}
)
PERMIT = Permit("r", "rev", "fast", (), "all", SessionBudget("default", tool_calls=200, identical_calls=5), CallLimits())
BODY = {
    "tools": [{"type": "function", "function": {"name": name, "description": "Gets a record of a customer."}} for name in NAMES]
}
TASK = Task(
    Endpoint.CHAT,
    "auto",
    (
        Part(Role.USER, Provenance.USER, ASK, "messages[0].content", 0),
        Part(Role.TOOL, Provenance.TOOL_RESULT, RESULT, "messages[2].content", 2, "call_1"),
    ),
    tools=tuple(ToolAsk(name, "function", f"tools[{place}]") for place, name in enumerate(NAMES)),
)
FACTS = Facts(
    now=datetime(2026, 11, 23, tzinfo=UTC),
    endpoint=Endpoint.CHAT,
    caller=Caller("app", "o", "t", "c", "k", Sensitivity.RESTRICTED, "all", "general"),
    wish="auto",
    wish_known=True,
    detected=Sensitivity.PUBLIC,
    declared=None,
    labels=LABELS,
    categories=frozenset(),
    access=Access.ACT,
    intent=frozenset(),
    task=TaskKind.AGENTIC,
    complexity=Complexity.SIMPLE,
    complexity_score=0.1,
    state=ScanState.COMPLETE,
    tools=TASK.tools,
)
ASSESSMENT = Assessment(
    sensitivity=Sensitivity.PUBLIC,
    categories=frozenset(),
    findings=(),
    access=Access.ACT,
    intent=Intent(),
    task=TaskKind.AGENTIC,
    complexity_score=0.1,
    complexity=Complexity.SIMPLE,
    confidence=Confidence(),
    state=ScanState.COMPLETE,
    scanned_bytes=0,
    versions={},
)
STATE = CallState(labels=LABELS)


def answer(*calls: tuple[str, str]) -> bytes:
    made = [
        {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": args}}
        for n, (name, args) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": None if calls else "All of it is done. " * 20} | (
        {"tool_calls": made} if made else {}
    )
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    return json.dumps(
        {"id": "c", "model": "m", "choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    ).encode()


TEXT = answer()
CALL = answer(("send_email", json.dumps({"to": "bob@example.org", "body": "The summary of record 7."})))
LOOK = answer(("get_record_7", json.dumps({"number": 7})))


def granted() -> tuple[ToolGrant, CallJudge]:
    grant = authorise(RULES, FACTS, PERMIT)
    if runs_tools(grant):
        grant = within_session(RULES, FACTS, PERMIT, grant, LABELS, frozenset(), frozenset()).grant
    return grant, CallJudge(Asked(RULES, PERMIT, grant, TASK, ASSESSMENT, BODY, "app", "s", b"secret"), STATE)


def request(raw: bytes) -> None:
    """Authorise thirty tools and enforce the grant on an answer, its calls judged."""
    grant, judge = granted()
    enforced = enforce_json(Endpoint.CHAT, raw, grant, denial_is_error=False, judge=judge)
    if enforced.error is not None:
        raise enforced.error
    judge.release()


def plain(raw: bytes) -> None:
    """The same answer of a request without tools."""
    enforce_json(Endpoint.CHAT, raw, ToolGrant(), denial_is_error=False)


def chunks(endpoint: Endpoint) -> list[bytes]:
    """Fragments of an answer in words, as the official servers send them."""
    if endpoint is Endpoint.CHAT:
        head = {"id": "c", "object": "chat.completion.chunk", "model": "m"}
        return [
            b"data: %b\n\n"
            % json.dumps(
                {
                    **head,
                    "choices": [{"index": 0, "delta": {"content": f"words {n} "}, "finish_reason": None}],
                    "obfuscation": "x" * (n % 9),
                }
            ).encode()
            for n in range(CHUNKS)
        ]
    if endpoint is Endpoint.MESSAGES:
        started = named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        delta = {"type": "content_block_delta", "index": 0}
        return [started, *(named({**delta, "delta": {"type": "text_delta", "text": f"words {n} "}}) for n in range(CHUNKS))]
    where = {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0}
    return [named({**where, "sequence_number": n, "delta": f"words {n} ", "obfuscation": "x" * (n % 9)}) for n in range(CHUNKS)]


def named(event: dict[str, object]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def streamed(endpoint: Endpoint, events: list[bytes], grant: ToolGrant, judge: CallJudge) -> None:
    enforcer = StreamEnforcer(endpoint, grant, strip_usage=True, denial_is_error=False, judge=judge)
    for event in events:
        enforcer.feed(event)


def best(work: Callable[[], object], times: int = RUNS) -> float:
    """The least CPU time of one run, in microseconds."""
    least = float("inf")
    for _ in range(times):
        began = process_time_ns()
        for _ in range(5):
            work()
        least = min(least, (process_time_ns() - began) / 5000)
    return least


def measured() -> dict[str, float]:
    """Microseconds by what was measured."""
    streams = {endpoint: chunks(endpoint) for endpoint in (Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.MESSAGES)}
    grant, judge = granted()
    authorised = best(granted)
    without = best(lambda: plain(TEXT))
    return {
        "authorise 30 tools": authorised,
        "authorise + enforce, an answer in words": best(lambda: request(TEXT)) - without,
        "authorise + enforce, a call that looks": best(lambda: request(LOOK)) - without,
        "authorise + enforce, a call that acts": best(lambda: request(CALL)) - without,
        **{
            f"a chunk of a stream, {endpoint.value}": best(partial(streamed, endpoint, events, grant, judge), 60) / CHUNKS
            for endpoint, events in streams.items()
        },
    }


def main() -> int:
    found = measured()
    for name, value in found.items():
        sys.stdout.write(f"{name:45} {value:8.1f} µs\n")
    over = [name for name, value in found.items() if value > (CHUNK_US if "chunk" in name else REQUEST_US)]
    for name in over:
        sys.stdout.write(f"above its bar: {name}\n")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
