"""The refusal table as the official client sees it: status, code, exception, and whether it tries again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import openai
import pytest
from governed import deployment, rule_files
from inspecting import private_redis, rows
from running import Running, running
from stub_provider import StubProvider, serving

from router.errors import CODES

HELLO: Any = [{"role": "user", "content": "Translate: the train leaves at nine."}]
LIMITS = "max_output_tokens: 64, request_seconds: 3, first_token_seconds: 1, inter_token_seconds: 1, connect_seconds: 1"
TOOL: Any = {"type": "function", "function": {"name": "drop_database", "parameters": {"type": "object", "properties": {}}}}
STEP_UPS = "step_ups:\n  - {id: ask-somebody, owner: a@example.org, reason: a test, when: {purpose: regulated-decisions}}\n"
PROHIBITIONS = (
    "prohibitions:\n  - {id: never-this, owner: a@example.org, reason: a test, when: {purpose: back-office}, "
    "code: tool_combination_prohibited}\n"
)
PURPOSES = ("general", "research", "regulated-decisions", "back-office")


@dataclass(frozen=True)
class Case:
    """A cause of a refusal: what is sent, and with which of the keys."""

    code: str
    error: type[openai.APIStatusError]
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    key: str = "app"
    behaviour: str = "ok"


CASES = [
    Case("invalid_request", openai.BadRequestError, {"temperature": 9}),
    Case("unknown_parameter", openai.BadRequestError, {"extra_body": {"no_such_field": 1}}),
    Case("context_length_exceeded", openai.BadRequestError, {"messages": [{"role": "user", "content": "word " * 200_000}]}),
    Case(
        "no_capable_deployment",
        openai.BadRequestError,
        {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "mp3"}},
    ),
    Case("invalid_api_key", openai.AuthenticationError, key="nonsense"),
    Case("key_expired", openai.AuthenticationError, key="expired"),
    Case("session_budget_exceeded", openai.APIStatusError, headers={"x-session-id": "spent"}),
    Case("owner_budget_exceeded", openai.APIStatusError, key="poor"),
    Case("purpose_not_permitted", openai.PermissionDeniedError, headers={"x-router-purpose": "customer-support"}),
    Case("not_permitted_by_rule", openai.PermissionDeniedError, headers={"x-router-purpose": "software-development"}),
    Case("sensitivity_not_permitted", openai.PermissionDeniedError, headers={"x-router-label": "restricted"}),
    Case("no_cleared_deployment", openai.PermissionDeniedError, headers={"x-router-label": "confidential"}),
    Case("tool_not_entitled", openai.PermissionDeniedError, {"tools": [TOOL], "tool_choice": "required"}),
    Case("tool_combination_prohibited", openai.PermissionDeniedError, headers={"x-router-purpose": "back-office"}),
    Case("approval_required", openai.PermissionDeniedError, headers={"x-router-purpose": "regulated-decisions"}),
    Case("session_ended", openai.PermissionDeniedError, headers={"x-session-id": "ended"}),
    Case("model_not_found", openai.NotFoundError, {"model": "nobody-knows-me"}),
    Case("rate_limit_exceeded", openai.RateLimitError, behaviour="status:429:0"),
    Case("upstream_error", openai.InternalServerError, behaviour="status:500"),
    Case("upstream_truncated", openai.InternalServerError, behaviour="half"),
    Case("upstream_timeout", openai.InternalServerError, behaviour="hang"),
]
ELSEWHERE = {
    "role_required": "test_people_api.py",
    "invalid_signature": "test_approvals_api.py",
    "not_found": "test_approvals_api.py",
    "approval_closed": "test_approvals_api.py",
    "change_not_allowed": "test_rules_api.py",
    "rules_changed": "test_rules_api.py",
    "month_held_up": "test_periods_api.py",
    "inference_ended": "test_sessions_api.py",
    "response_not_found": "test_openai_client.py",
    "unknown_path": "test_bad_input.py",
    "method_not_allowed": "test_bad_input.py",
    "request_too_large": "test_bad_input.py",
    "store_unavailable": "faults/test_stores_fail.py",
    "session_changed": "contracts/test_redis_budget.py: two requests must race for it",
    "internal_error": "a mistake of ours: none is known",
    "not_ready": "before the first rules are read; a start serves nothing until they are",
    "classifier_unavailable": "the process for long texts has died",
}
PENDING = {"loop_detected": "loops are not looked for yet"}


def test_every_row_is_here_or_elsewhere_or_pending() -> None:
    assert {case.code for case in CASES} | set(ELSEWHERE) | set(PENDING) == set(CODES)
    assert len(CASES) + len(ELSEWHERE) + len(PENDING) == len(CODES)


class World(NamedTuple):
    service: Running
    stub: StubProvider
    keys: dict[str, str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A service in which every cause exists: apps, keys, a spent and an ended session."""
    with serving() as stub:
        files = rule_files([deployment("m", stub.url)], limits=LIMITS, budget="requests: 1")
        files["budgets.yaml"] += "owner_budgets:\n  - {owner: poor@example.org, hard_usd: 0.000000001}\n"
        route = "    then: {tier: fast, set: standard, budget: test}\n"
        assert route in files["routes.yaml"]
        files["routes.yaml"] = (
            PROHIBITIONS
            + STEP_UPS
            + files["routes.yaml"].replace(
                route, "    when: {purpose: [general, research, regulated-decisions, back-office]}\n" + route
            )
        )
        with running(tmp_path_factory.mktemp("table") / "data", rules=files) as service:
            purposes = [word for name in (*PURPOSES, "software-development") for word in ("--purpose", name)]
            keys = {
                "app": service.key("app", "app@example.org", "--clearance", "confidential", *purposes),
                "poor": service.key("poor", "poor@example.org"),
                "expired": service.key("app", "app@example.org", "--expires", "2020-01-01"),
                "nonsense": "rk-nonsense",
            }
            ask = client(service, keys["app"], 0)
            for name in ("spent", "ended"):
                ask.chat.completions.create(model="auto", messages=HELLO, extra_headers={"x-session-id": name})
            service.cli("session", "end", "ended", "--app", "app")
            yield World(service, stub, keys)


def client(service: Running, key: str, retries: int) -> openai.OpenAI:
    return openai.OpenAI(base_url=service.base_url + "/v1", api_key=key, max_retries=retries)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_the_client_raises_the_right_exception_and_tries_again_only_where_that_can_help(world: World, case: Case) -> None:
    world.stub.script("m", case.behaviour)
    with private_redis(world.service.data_dir) as redis:
        redis.delete("router:cooling")
    attempts: list[int] = []
    asking = client(world.service, world.keys[case.key], 1)
    asking._client.event_hooks["response"].append(lambda answer: attempts.append(answer.status_code))
    body = {"model": "auto", "messages": HELLO, **case.body}
    with pytest.raises(case.error) as raised:
        asking.chat.completions.create(**body, extra_headers=case.headers)
    row = CODES[case.code]
    assert (raised.value.status_code, raised.value.code, raised.value.type) == (row.status, case.code, row.type)
    assert attempts == [row.status] * (2 if row.retry else 1)
    error = json.loads(raised.value.response.text)["error"]
    assert error["message"]
    if case.code in ("approval_required", "tool_combination_prohibited", "no_cleared_deployment"):
        assert raised.value.response.headers["x-router-rule"] in error["message"]


def test_refusals_are_in_evidence_and_hold_no_money(world: World) -> None:
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client(world.service, world.keys["app"], 0).chat.completions.create(
            model="auto", messages=HELLO, extra_headers={"x-router-purpose": "back-office"}
        )
    world.service.settled()
    request_id = refused.value.response.headers["x-request-id"]
    (row,) = rows(world.service.data_dir, f"SELECT kind, code, rule, app FROM evidence WHERE request_id = '{request_id}'")
    assert row == {"kind": "refused", "code": "tool_combination_prohibited", "rule": "never-this", "app": "app"}
    assert not rows(world.service.data_dir, f"SELECT 1 FROM ledger_entries WHERE request_id = '{request_id}'")
