"""Redis or SQL gone: nothing is let through unrecorded, nothing that happened is lost, and the service resumes by itself."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from governed import deployment, rule_files
from inspecting import admitted, entries, held, redis_pid
from running import Running, running, wait_for
from stub_provider import StubProvider

BODY: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Translate: the train leaves at nine."}]}


def post(service: Running, key: str) -> httpx.Response:
    return httpx.post(
        service.base_url + "/v1/chat/completions", json=BODY, headers={"authorization": f"Bearer {key}"}, timeout=30
    )


def known(service: Running, key: str) -> None:
    """Wait until every worker has read the new key: who cannot look again takes it for unknown."""
    told = {"authorization": f"Bearer {key}", "connection": "close"}
    wait_for(lambda: {service.get("/v1/models", told)[0] for _ in range(8)} == {200}, what="every worker knows the key")


def timed(service: Running, key: str, count: int) -> list[tuple[float, int, str]]:
    """(seconds, status, code) of refused requests, each on a connection of its own and thus in whichever worker."""
    found = []
    with httpx.Client(timeout=30, headers={"authorization": f"Bearer {key}", "connection": "close"}) as client:
        for _ in range(count):
            began = time.monotonic()
            answer = client.post(service.base_url + "/v1/chat/completions", json=BODY)
            found.append((time.monotonic() - began, answer.status_code, answer.json()["error"]["code"]))
    return found


def balanced(service: Running, requests: int) -> None:
    service.settled()
    assert len(admitted(service.data_dir)) == requests
    assert [bool(entry["closed_at"]) for entry in entries(service.data_dir)] == [True] * requests
    assert held(service.data_dir) == {}


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["hangs", "dies"])
def test_without_redis_requests_are_refused_within_a_second_and_service_resumes(
    data_dir: Path, stub: StubProvider, how: signal.Signals
) -> None:
    with running(data_dir, rules=rule_files([deployment("m", stub.url)]), workers=2) as service:
        key = service.key()
        known(service, key)
        assert post(service, key).status_code == 200
        redis = redis_pid(data_dir)
        # The supervisor starts a Redis that died again at once: it, too, is stopped, so that the outage can be looked at.
        assert service.process is not None
        os.kill(service.process.pid, signal.SIGSTOP)
        os.kill(redis, how)
        try:
            refusals = timed(service, key, 7)
            assert {(status, code) for _, status, code in refusals} == {(503, "store_unavailable")}
            seconds = sorted(taken for taken, _, _ in refusals)
            assert seconds[-1] < 5.0, seconds  # many time limits: a busy machine may answer late, but nobody is kept waiting
            assert service.get("/healthz")[0] == 200
            assert service.get("/readyz")[0] == 503
        finally:
            if how is signal.SIGSTOP:
                os.kill(redis, signal.SIGCONT)
            os.kill(service.process.pid, signal.SIGCONT)
        wait_for(lambda: service.get("/readyz")[0] == 200, 30, "service resumes")
        assert post(service, key).status_code == 200
        balanced(service, 2)


def test_unknown_keys_are_told_so_together_while_redis_hangs(data_dir: Path, stub: StubProvider) -> None:
    with running(data_dir, rules=rule_files([deployment("m", stub.url)])) as service:
        answers: list[int] = []
        askers = [threading.Thread(target=lambda: answers.append(post(service, "rk-unknown").status_code)) for _ in range(20)]
        redis = redis_pid(data_dir)
        os.kill(redis, signal.SIGSTOP)
        try:
            began = time.monotonic()
            for asker in askers:
                asker.start()
            for asker in askers:
                asker.join(60)
            # Each looks again, since its key may be new; but they look together and not one after the other.
            assert answers == [401] * 20
            assert time.monotonic() - began < 10
        finally:
            os.kill(redis, signal.SIGCONT)


def test_an_answer_that_comes_while_redis_is_gone_reaches_the_app_and_is_settled_later(
    data_dir: Path, stub: StubProvider
) -> None:
    stub.script("m", "barrier")
    with running(data_dir, rules=rule_files([deployment("m", stub.url)])) as service:
        key = service.key()
        answers: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: answers.append(post(service, key)))
        asking.start()
        wait_for(lambda: stub.waiting, what="the provider was asked")
        redis = redis_pid(data_dir)
        os.kill(redis, signal.SIGSTOP)
        try:
            stub.release()
            asking.join(20)
            assert answers[0].status_code == 200
            assert "x-router-cost-usd" not in answers[0].headers
        finally:
            os.kill(redis, signal.SIGCONT)
        balanced(service, 1)
        assert entries(data_dir)[0]["basis"] == "reported"


def test_without_sql_requests_go_on_and_the_backlog_drains_when_it_is_back(data_dir: Path, stub: StubProvider) -> None:
    with running(data_dir, rules=rule_files([deployment("m", stub.url)])) as service:
        key = service.key()
        assert post(service, key).status_code == 200
        service.settled()
        # A writer that does not let go is what a database looks like that does not answer.
        with closing(sqlite3.connect(data_dir / "router.db", isolation_level=None)) as greedy:
            greedy.execute("BEGIN EXCLUSIVE")
            for _ in range(20):
                assert post(service, key).status_code == 200
            assert len(admitted(data_dir)) == 1
            greedy.execute("ROLLBACK")
        balanced(service, 21)


def test_a_stop_under_load_loses_no_settlement(data_dir: Path, stub: StubProvider) -> None:
    stub.script("m", "slow:0.5")
    service_rules = rule_files([deployment("m", stub.url)])
    with running(data_dir, rules=service_rules, workers=2) as service:
        key = service.key()
        answers: list[int] = []
        askers = [threading.Thread(target=lambda: answers.append(post(service, key).status_code)) for _ in range(12)]
        for asker in askers:
            asker.start()
        wait_for(lambda: len(stub.requests) == 12, what="all are under way")
        assert service.stop() == 0
        for asker in askers:
            asker.join(20)
        assert answers == [200] * 12
        assert len(entries(data_dir)) == 12
        assert all(entry["closed_at"] and entry["basis"] == "reported" for entry in entries(data_dir))
        # Started again, it keeps its data: the key works, and the ledger goes on.
        service.start()
        assert post(service, key).status_code == 200
        balanced(service, 13)


def test_a_revoked_key_is_refused_by_every_worker_within_a_second(data_dir: Path, stub: StubProvider) -> None:
    with running(data_dir, rules=rule_files([deployment("m", stub.url)]), workers=2) as service:
        key = service.key()
        (row,) = [row for row in json.loads(service.cli("keys", "list", "--json")) if row["prefix"] == key[:9]]
        assert {post(service, key).status_code for _ in range(8)} == {200}
        service.cli("keys", "revoke", row["id"])
        wait_for(lambda: {post(service, key).status_code for _ in range(8)} == {401}, 5, "every worker knows")
