"""Who sees and who decides on what waits for a person, over HTTP, by the command line and by a signed webhook."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
from governed import deployment, rule_files
from governing import admin_key, api, token
from running import Running, running, wait_for

from router.clock import utc_now
from router.exchange import ApprovalState, Held, HeldCall, Taken
from router.secret_key import read_secret
from router.settings import Settings
from router.storage.embedded_redis import redis_url_of
from router.storage.redis_approvals import RedisApprovals
from router.storage.redis_client import RedisClient
from routing_rules.facts import Labels
from routing_rules.task import Endpoint
from routing_rules.vocabulary import Capability, Integrity, Sensitivity

SECRET = "5c" * 32
CALL = HeldCall(
    tool="mail",
    name="send_email",
    owner="mail-owner@example.org",
    capabilities=frozenset({Capability.EGRESS}),
    arguments_digest="d1",
    arguments='{"to":"[EMAIL_ADDRESS_1]"}',
    objections=(("destination_not_vouched", "the user names the destination"),),
)


class World:
    """A service under `four_eyes`, people of each kind, and what waits as the line would ask for it."""

    def __init__(self, service: Running) -> None:
        self.service = service
        self.approver = token(service, "eve@example.org", "approver")
        self.other_approver = token(service, "otto@example.org", "approver")
        self.owner = token(service, "mail-owner@example.org", "tool-owner")
        self.other_owner = token(service, "files@example.org", "tool-owner")
        self.app_owner = token(service, "ann@example.org", "approver", "tool-owner")
        self.viewer = token(service, "vic@example.org", "viewer")
        self.asked = 0

    def ask(self, **changes: Any) -> str:
        self.asked += 1
        now = utc_now()
        values: dict[str, Any] = {
            "request_id": f"req_{self.asked}",
            "app": "assistant",
            "owner": "Ann@example.org",
            "team": "core",
            "key_id": "key_1",
            "purpose": "support",
            "session_id": f"s{self.asked}",
            "endpoint": Endpoint.CHAT,
            "body_digest": f"b{self.asked}",
            "revision": "rev-1",
            "rule": "r-1",
            "message": "the tool's owner approves this call",
            "at": now,
            "expires": now + timedelta(minutes=10),
            "calls": (CALL,),
            "labels": Labels(Integrity.UNTRUSTED, Sensitivity.CONFIDENTIAL),
            "answer": b"the kept answer",
        }
        return str(self._do(lambda approvals: approvals.request(Held(**values | changes))))

    def state(self, approval_id: str) -> ApprovalState:
        state: ApprovalState = self._do(lambda approvals: approvals.state(approval_id, "assistant"))
        return state

    def take(self, approval_id: str) -> Taken | None:
        state = self.state(approval_id)
        taken: Taken | None = self._do(
            lambda approvals: approvals.take(approval_id, "assistant", state.session_id, None, "rev-1", utc_now())
        )
        return taken

    def _do(self, work: Any) -> Any:
        data_dir = self.service.data_dir
        url = redis_url_of(data_dir.absolute())
        assert url is not None

        async def run() -> Any:
            client = RedisClient(url, time_limit=5.0)
            try:
                return await work(RedisApprovals(client, read_secret(Settings(data_dir=data_dir))))  # type: ignore[call-arg]
            finally:
                await client.aclose()

        return asyncio.run(run())

    def decide(self, approval_id: str, secret: str, decision: str = "approve", note: str = "") -> httpx.Response:
        return api(self.service, "POST", f"/api/approvals/{approval_id}/{decision}", secret, {"note": note})

    def hook(
        self, body: dict[str, Any], *, key: str = SECRET, at: float | None = None, raw: bytes | None = None
    ) -> httpx.Response:
        content = raw if raw is not None else json.dumps(body).encode()
        seconds = int(time.time() if at is None else at)
        signature = hmac.new(bytes.fromhex(key), b"%d." % seconds + content, hashlib.sha256).hexdigest()
        headers = {"x-router-signature": f"t={seconds},v1={signature}"}
        return httpx.post(self.service.base_url + "/webhooks/approvals", content=content, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    rules = rule_files([deployment("m", "http://127.0.0.1:9")])
    environment = {"ROUTER_GOVERNANCE": "four_eyes", "ROUTER_WEBHOOK_SECRET": SECRET}
    with running(tmp_path_factory.mktemp("approvals") / "data", rules=rules, environment=environment) as service:
        yield World(service)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_what_waits_is_shown_with_everything_that_is_needed_to_judge_it(world: World) -> None:
    one = world.ask()
    shown = api(world.service, "GET", f"/api/approvals/{one}", world.approver).json()
    assert shown["calls"] == [
        {
            "tool": "mail",
            "name": "send_email",
            "owner": "mail-owner@example.org",
            "capabilities": ["egress"],
            "arguments": {"to": "[EMAIL_ADDRESS_1]"},
            "why": [{"code": "destination_not_vouched", "remedy": "the user names the destination"}],
            "drift": 0.0,
        }
    ]
    assert (shown["app"], shown["owner"], shown["team"], shown["purpose"]) == ("assistant", "Ann@example.org", "core", "support")
    assert (shown["rule"], shown["revision"], shown["status"]) == ("r-1", "rev-1", "pending")
    assert shown["session_so_far"]["integrity"] == "untrusted"
    assert "the kept answer" not in json.dumps(shown)
    listed = api(world.service, "GET", "/api/approvals", world.viewer).json()["data"]
    assert one in [each["id"] for each in listed]
    assert api(world.service, "GET", "/api/approvals?session=none", world.viewer).json() == {"data": []}
    for query, field in (("limit=many", "limit"), ("limit=0", "limit"), ("status=lost", "status")):
        answer = api(world.service, "GET", f"/api/approvals?{query}", world.viewer)
        assert code(answer) == (400, "invalid_request")
        assert answer.json()["error"]["param"] == field
    assert api(world.service, "GET", "/api/approvals?limit=many", None).status_code == 401


def test_the_owner_of_the_tool_or_an_approver_decides(world: World) -> None:
    for secret, name in ((world.owner, "mail-owner@example.org"), (world.approver, "eve@example.org")):
        one = world.ask()
        answer = world.decide(one, secret, note="as agreed").json()
        assert (answer["status"], answer["decided_by"], answer["via"], answer["note"]) == ("approved", name, "api", "as agreed")
        taken = world.take(one)
        assert taken is not None
        assert taken.answer == b"the kept answer"
        assert world.take(one) is None


def test_nobody_else_decides(world: World) -> None:
    one = world.ask()
    refused = [
        (world.other_owner, (404, "not_found")),  # they are not told that it exists
        (world.viewer, (403, "role_required")),
        (world.app_owner, (403, "role_required")),  # the request came from a key of theirs
        (admin_key(world.service), (403, "role_required")),  # no person, under four_eyes
        (world.service.key(), (401, "invalid_api_key")),
    ]
    for secret, expected in refused:
        for decision in ("approve", "reject"):
            assert code(world.decide(one, secret, decision)) == expected
    assert world.state(one).status == "pending"


def test_the_owner_of_one_of_two_tools_does_not_decide_on_both(world: World) -> None:
    other = msgspec.structs.replace(CALL, tool="files", owner="files@example.org")
    one = world.ask(calls=(CALL, other))
    assert code(world.decide(one, world.owner)) == (403, "role_required")
    assert world.decide(one, world.approver).status_code == 200


def test_a_held_task_is_decided_on_by_whom_it_names(world: World) -> None:
    one = world.ask(calls=(), answer=b"", approvers=("Mail-Owner@example.org",))
    assert code(world.decide(one, world.other_owner)) == (404, "not_found")
    assert world.decide(one, world.owner).json()["kind"] == "task"


def test_a_decision_stands(world: World) -> None:
    one = world.ask()
    assert world.decide(one, world.approver, "reject").json()["status"] == "denied"
    answer = world.decide(one, world.other_approver)
    assert code(answer) == (409, "approval_closed")
    assert answer.headers["x-should-retry"] == "false"
    assert world.take(one) is None
    assert code(world.decide("apr_00" + "0" * 24, world.approver)) == (404, "not_found")


def test_a_signed_webhook_decides_for_a_person_once(world: World) -> None:
    one = world.ask()
    body = {"approval": one, "decision": "approve", "by": "Eve@example.org", "note": "ticket 12"}
    answer = world.hook(body)
    assert answer.json() == {"id": one, "status": "approved", "decided_by": "eve@example.org"}
    assert code(world.hook(body)) in [(401, "invalid_signature"), (409, "approval_closed")]


def test_a_webhook_that_is_forged_old_or_repeated_decides_nothing(world: World) -> None:
    one = world.ask()
    body = {"approval": one, "decision": "approve", "by": "eve@example.org"}
    assert code(world.hook(body, key="5d" * 32)) == (401, "invalid_signature")
    assert code(world.hook(body, at=time.time() - 400)) == (401, "invalid_signature")
    assert code(world.hook(body, at=time.time() + 400)) == (401, "invalid_signature")
    for header in (None, "", "t=,v1=", "t=1", "v1=aa", "t=x,v1=é".encode().decode("latin-1")):
        headers = {} if header is None else {"x-router-signature": header.encode("latin-1")}
        answer = httpx.post(world.service.base_url + "/webhooks/approvals", json=body, headers=headers, timeout=30)  # type: ignore[arg-type]
        assert code(answer) == (401, "invalid_signature")
    own = {"approval": one, "decision": "approve", "by": "ann@example.org"}
    now = time.time()
    assert code(world.hook(own, at=now)) == (403, "role_required")
    assert code(world.hook(own, at=now)) == (401, "invalid_signature")  # the same once more
    for nobody in ("vic@example.org", "nobody@example.org", ""):
        assert code(world.hook({**body, "by": nobody})) == (403, "role_required")
    for raw in (b"", b"[]", b"{", b'{"approval": 1}', json.dumps({**body, "decision": "maybe"}).encode()):
        assert code(world.hook({}, raw=raw)) == (400, "invalid_request")
    assert world.state(one).status == "pending"


def test_a_webhook_of_somebody_who_was_ended_decides_nothing(world: World) -> None:
    token(world.service, "gone@example.org", "approver")
    body = {"approval": "apr_00" + "0" * 24, "decision": "approve", "by": "gone@example.org"}
    assert code(world.hook(body)) == (404, "not_found")
    world.service.cli("people", "end", "gone@example.org")
    at = iter(range(1000))
    wait_for(lambda: code(world.hook({**body, "note": str(next(at))})) == (403, "role_required"), 5, "the end of a person")


def test_the_command_line_lists_shows_and_decides_with_a_token(world: World) -> None:
    one, two = world.ask(), world.ask()
    service = world.service
    assert {one, two} <= {each["id"] for each in json.loads(service.cli("approvals", "list", "--json"))}
    assert "send_email" in service.cli("approvals", "show", one)
    assert json.loads(service.cli("approvals", "show", one, "--json"))["calls"][0]["why"]
    assert service.cli("approvals", "approve", one, check=False) == ""  # under four_eyes nobody decides without a token
    assert service.cli("approvals", "approve", one, "--token", world.app_owner, check=False) == ""
    decided = json.loads(service.cli("approvals", "approve", one, "--token", world.approver, "--note", "fine", "--json"))
    assert (decided["status"], decided["decided_by"], decided["via"]) == ("approved", "eve@example.org", "cli")
    decided = json.loads(service.cli("approvals", "reject", two, "--token", world.owner, "--json"))
    assert decided["status"] == "denied"
    assert service.cli("approvals", "reject", two, "--token", world.owner, check=False) == ""
    assert service.cli("approvals", "reject", two, "--token", "rp-nobody", check=False) == ""


def test_what_became_of_them_is_remembered_audited_and_reported(world: World) -> None:
    used, denied = world.ask(), world.ask()
    world.decide(used, world.approver)
    world.decide(denied, world.owner, "reject")
    world.take(used)
    service = world.service

    def remembered() -> bool:
        rows = api(service, "GET", "/api/approvals?status=used", world.viewer).json()["data"]
        return used in [row["id"] for row in rows]

    wait_for(remembered, 10, "the history of an approval")
    wait_for(lambda: json.loads(service.cli("approvals", "list", "--status", "denied", "--json")), 10, "the history")
    report = json.loads(service.cli("report", "approvals", "--format", "json"))
    assert report["total"]["held"] >= 2
    assert report["total"]["approved"] >= 1
    assert report["total"]["denied"] >= 1
    assert report["total"]["seconds_to_decision"]["median"] >= 0
    assert "mail" in [row["tool"] for row in report["by_tool"]]
    assert "approved unchanged" in service.cli("report", "approvals")


def test_on_loopback_whoever_holds_the_data_directory_may_decide(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running(
        tmp_path_factory.mktemp("single") / "data", rules=rule_files([deployment("m", "http://127.0.0.1:9")])
    ) as service:
        world = World(service)
        one, two = world.ask(), world.ask()
        assert json.loads(service.cli("approvals", "approve", one, "--json"))["via"] == "cli"
        assert world.decide(two, admin_key(service)).json()["decided_by"].startswith("admin key rk-")
        assert code(world.hook({"approval": one, "decision": "approve", "by": "eve@example.org"})) == (404, "unknown_path")
