"""What is under way is known from its hold to its settlement, says how far it is, and can be ended with a last word."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from sql_records import admitted, outcome

from router.api.sessions import end_inferences, how_far
from router.exchange import HoldRequest, Outcome, Record, Reservation, Settlement
from router.streaming import ANSWER, Broadcast, Inferences, Pumps
from router.usage import Basis
from routing_rules.facts import Labels
from routing_rules.task import Endpoint


class Ledger:
    """Budgets that hold whatever is asked, and keep what is settled."""

    def __init__(self) -> None:
        self.settled: list[Record] = []

    async def reserve(self, hold: HoldRequest, record: Record) -> Reservation:
        return Reservation(hold.request_id, hold.session_id, 0, hold.owner, 100, 50, 7_000)

    async def extend(self, reservation: Reservation, accrued_nano: int, amount_nano: int) -> Reservation:
        return reservation

    async def settle(self, reservation: Reservation, record: Record) -> Settlement:
        self.settled.append(record)
        return Settlement(0, Basis.REPORTED, None)

    async def retry(self) -> int:
        return 0

    async def report(self, shard: int, record: Record) -> None: ...


class Told:
    """A client that keeps what it is told."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.body = b""
        self.finished = False

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.status = status

    async def send(self, data: bytes) -> None:
        self.body += data

    async def finish(self, data: bytes = b"") -> None:
        self.body += data
        self.finished = True

    async def gone(self) -> None:
        await asyncio.Event().wait()


def hold(request_id: str, session: str = "s1") -> HoldRequest:
    limits: dict[str, Any] = dict.fromkeys(
        ("budget_cost_nano", "budget_requests", "budget_input_tokens", "budget_output_tokens", "budget_idle_seconds"), None
    )
    return HoldRequest(
        request_id=request_id,
        session_id=session,
        shard=0,
        app="desk",
        owner="ana@example.com",
        worker="w",
        now=1_000.0,
        expires=1_120.0,
        label_version=0,
        labels=Labels(),
        fixed_nano=0,
        output_nano=0,
        output_tokens=50,
        min_output_tokens=1,
        input_tokens=1,
        budget_total_seconds=None,
        owner_hard_nano=None,
        new_session_limit=None,
        session_is_new=True,
        **limits,
    )


async def answer(inferences: Inferences, client: Told, request_id: str, pieces: list[bytes], *, session: str = "s1") -> None:
    """The line in small: hold, begin, pass on, wait for what never comes, settle."""
    broadcast = Broadcast(client)
    reservation = await inferences.reserve(hold(request_id, session), admitted(request_id))
    try:
        if pieces:
            await broadcast.start(200, [])
        for piece in pieces:
            await broadcast.send(piece)
        await asyncio.Event().wait()
    finally:
        await inferences.settle(reservation, outcome(request_id))
        broadcast.close()


def test_what_is_ended_gets_a_last_word_and_is_recorded_as_ended() -> None:
    async def run() -> tuple[Ledger, dict[str, Told]]:
        ledger, pumps = Ledger(), Pumps()
        inferences = Inferences(ledger)
        clients = {name: Told() for name in ("begun", "waiting", "other")}
        serving = [
            asyncio.ensure_future(
                pumps.run(answer(inferences, client, name, [b"data: {}\n\n"] * (name == "begun"), session=session))
            )
            for (name, client), session in zip(clients.items(), ("s1", "s1", "s2"), strict=True)
        ]
        for _ in range(100):  # each goes as far as it can: nothing waits for anything but the loop
            await asyncio.sleep(0)
        assert len(list(inferences)) == 3
        assert end_inferences(inferences, pumps, "another", "s1", None, "session_ended") == 0
        assert end_inferences(inferences, pumps, "desk", "s1", None, "session_ended") == 2
        assert end_inferences(inferences, pumps, "desk", "s1", None, "session_ended") in (0, 2)  # twice is once
        await asyncio.gather(*serving[:2])
        assert [one.hold.request_id for one in inferences] == ["other"]
        assert end_inferences(inferences, pumps, "desk", "s2", "unheard of", "inference_ended") == 0
        assert end_inferences(inferences, pumps, "desk", "s2", "other", "inference_ended") == 1
        await serving[2]
        return ledger, clients

    ledger, clients = asyncio.run(run())
    assert clients["begun"].status == 200
    assert b"session_ended" in clients["begun"].body
    assert clients["waiting"].status == clients["other"].status == 403
    assert json.loads(clients["waiting"].body)["error"]["code"] == "session_ended"
    assert json.loads(clients["other"].body)["error"]["code"] == "inference_ended"
    assert all(client.finished for client in clients.values())
    assert sorted((record.outcome, record.code) for record in ledger.settled if isinstance(record, Outcome)) == [
        ("cancelled", "inference_ended"),
        ("cancelled", "session_ended"),
        ("cancelled", "session_ended"),
    ]


def test_the_last_word_is_in_the_words_of_the_wire() -> None:
    async def run() -> Told:
        pumps, client = Pumps(), Told()
        inferences = Inferences(Ledger())
        record = admitted("r1")
        record = msgspec.structs.replace(record, facts=msgspec.structs.replace(record.facts, endpoint=Endpoint.MESSAGES))

        async def work() -> None:
            Broadcast(client)
            await inferences.reserve(hold("r1"), record)
            await asyncio.Event().wait()

        serving = asyncio.ensure_future(pumps.run(work()))
        for _ in range(100):
            await asyncio.sleep(0)
        end_inferences(inferences, pumps, "desk", "s1", None, "session_ended")
        await serving
        return client

    client = asyncio.run(run())
    assert client.status == 403
    assert json.loads(client.body)["error"]["type"] == "permission_error"
    assert json.loads(client.body)["type"] == "error"


def test_work_that_ended_by_itself_is_not_cut_any_more() -> None:
    async def run() -> None:
        pumps = Pumps()
        said: list[str] = []

        async def last_word() -> None:
            said.append("too late")

        async def work() -> None: ...

        task = pumps.start(work())
        await task
        pumps.cut(task, last_word())
        await pumps.run(work())
        assert said == []

    asyncio.run(run())


def test_a_server_that_gives_up_on_a_client_ends_the_waiting_and_not_the_work() -> None:
    async def run() -> None:
        pumps, done = Pumps(), asyncio.Event()

        async def work() -> None:
            await asyncio.sleep(0.01)
            done.set()

        waiting = asyncio.ensure_future(pumps.run(work()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await done.wait()

    asyncio.run(run())


STREAMS: dict[str, tuple[list[Any], tuple[int, int]]] = {
    "chat": (
        [
            {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "x" * 30}}]},
            {"choices": [{"index": 0, "delta": {"reasoning_content": "y" * 20}}]},
            {"choices": [{"index": 0, "delta": {"content": None}}]},
            {"choices": [], "usage": {"completion_tokens": 9}},
        ],
        (13, 5),
    ),
    "responses": (
        [
            {"type": "response.created", "response": {}},
            {"type": "response.output_text.delta", "delta": "x" * 30},
            {"type": "response.reasoning_summary_text.delta", "delta": "y" * 20},
        ],
        (13, 5),
    ),
    "messages": (
        [
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x" * 15}},
            {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "x" * 15}},
            {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "y" * 20}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        ],
        (13, 5),
    ),
    "nonsense": ([[], 7, "x", {"choices": 7}, {"choices": [7]}, {"delta": 7}], (0, 0)),
}


@pytest.mark.parametrize("wire", sorted(STREAMS))
def test_tokens_so_far_are_counted_from_what_was_passed_on(wire: str) -> None:
    events, (tokens, thought) = STREAMS[wire]
    sent = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: {half"

    async def run() -> None:
        inferences = Inferences(Ledger())
        broadcast = Broadcast(Told())
        assert ANSWER.get() is broadcast
        await inferences.reserve(hold("r1"), admitted("r1"))
        (one,) = inferences
        before = how_far(one, 1_010.0)
        assert (before.answering, before.output_tokens, before.reasoning_tokens) == (False, None, None)
        await broadcast.start(200, [])
        await broadcast.send(sent)
        progress = how_far(one, 1_010.0)
        assert (progress.answering, progress.output_tokens, progress.reasoning_tokens) == (True, tokens, thought)
        assert progress.limits_left == {"seconds": 110.0, "output_tokens": 50 - tokens, "session_nano": 7_000}

    asyncio.run(run())
