"""Shapes, sums and exit statuses of the command line: what a script finds on standard output, and what on standard error."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from governed import deployment, rule_files
from governing import token
from running import Running, inherited, running, wait_for
from stub_provider import StubProvider, serving

HELLO: Any = [{"role": "user", "content": "Translate: the train leaves at nine."}]
DIMENSIONS = (
    "owner", "app", "team", "cost_center", "purpose", "model", "deployment", "provider", "task", "sensitivity", "complexity",
    "rule", "tier", "session", "day",
)  # fmt: skip
REVOKED_SECONDS = 1.0


def command(data_dir: Path, *arguments: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A `router` command on a data directory, whatever comes of it."""
    return subprocess.run(
        [sys.executable, "-m", "router", *arguments],
        env={**inherited(), "ROUTER_DATA_DIR": str(data_dir), **environment},
        input=stdin,
        capture_output=True,
        timeout=120,
    )


def chat(service: Running, key: str, *, stream: bool = False, **headers: str) -> httpx.Response:
    told = {"authorization": f"Bearer {key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    body = {"model": "auto", "messages": HELLO, "stream": stream}
    return httpx.post(service.base_url + "/v1/chat/completions", json=body, headers=told, timeout=30)


@pytest.fixture(scope="module")
def stub() -> Iterator[StubProvider]:
    with serving() as provider:
        yield provider


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, stub: StubProvider) -> Iterator[Running]:
    rules = rule_files([deployment("m", stub.url), deployment("n", stub.url, more="model_names: [named]")], then="wish: honour")
    with running(tmp_path_factory.mktemp("contract") / "data", rules=rules, workers=2) as started:
        yield started


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_revoked_key_is_refused_by_every_worker_within_a_second(service: Running) -> None:
    made = json.loads(service.cli("keys", "create", "--app", "demo", "--json"))
    with httpx.Client(limits=httpx.Limits(max_keepalive_connections=0)) as asking:
        # A new connection each time, so that both workers are met.

        def ask() -> httpx.Response:
            return asking.get(service.base_url + "/v1/models", headers={"authorization": f"Bearer {made['key']}"})

        assert {ask().status_code for _ in range(20)} == {200}
        service.cli("keys", "revoke", made["id"])
        wait_for(lambda: {ask().status_code for _ in range(10)} == {401}, REVOKED_SECONDS, "the revocation")
        assert ask().json()["error"]["code"] == "invalid_api_key"


def test_a_key_narrows_its_app_and_never_widens_it(service: Running) -> None:
    narrow = json.loads(
        service.cli(
            "keys", "create", "--app", "demo", "--clearance", "public", "--ceiling", "none", "--purpose", "trial", "--json"
        )
    )
    assert (narrow["clearance"], narrow["ceiling"], narrow["purposes"]) == ("public", "none", ["trial"])
    refused = chat(service, narrow["key"], x_router_label="internal")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "sensitivity_not_permitted")
    refused = chat(service, narrow["key"], x_router_purpose="general")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "purpose_not_permitted")
    assert chat(service, narrow["key"]).status_code == 200


def test_a_rotated_key_without_grace_ends_at_once_and_its_successor_may_do_the_same(service: Running) -> None:
    made = json.loads(service.cli("keys", "create", "--app", "demo", "--clearance", "internal", "--json"))
    successor = json.loads(service.cli("keys", "rotate", made["id"], "--grace-hours", "0", "--json"))
    assert successor["clearance"] == "internal"
    assert successor["id"] != made["id"]
    wait_for(lambda: chat(service, made["key"]).status_code == 401, what="the end of the old key")
    assert chat(service, successor["key"]).status_code == 200
    listed = {row["id"]: row for row in json.loads(service.cli("keys", "list", "--json"))}
    assert (listed[made["id"]]["state"], listed[successor["id"]]["state"]) == ("expired", "active")


def test_no_key_is_stored_in_a_form_that_could_be_used(service: Running) -> None:
    made = json.loads(service.cli("keys", "create", "--app", "demo", "--json"))
    assert chat(service, made["key"]).status_code == 200
    service.settled()
    for file in service.data_dir.rglob("*"):
        if file.is_file():
            assert made["key"].encode() not in file.read_bytes(), file.name
    assert made["key"] not in service.log.read_text()


def test_under_four_eyes_a_key_of_an_unknown_app_waits_for_the_proposal(tmp_path: Path, stub: StubProvider) -> None:
    with running(
        tmp_path / "data", rules=rule_files([deployment("m", stub.url)]), environment={"ROUTER_GOVERNANCE": "four_eyes"}
    ) as service:
        new = ("keys", "create", "--app", "new", "--owner", "new@example.org", "--json")
        nobody = command(service.data_dir, *new, ROUTER_GOVERNANCE="four_eyes")
        assert (nobody.returncode, nobody.stdout) == (1, b"")
        assert b"`new` is new: under `four_eyes` a person may propose a change of the rules" in nobody.stderr
        editor = token(service, "ed@example.org", "editor")
        made = json.loads(service.cli(*new, "--token", editor))
        assert made["app_in_force"] is False
        refused = chat(service, made["key"])
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        log = json.loads(service.cli("rules", "log", "--json"))
        assert [(row["status"], row["author"]) for row in log] == [("checked", "ed@example.org"), ("active", "router")]
        assert service.cli("rules", "activate", check=False) == ""
        assert json.loads(service.cli("keys", "create", "--app", "demo", "--json"))["app_in_force"] is True


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("keys", "create", "--app", "unheard-of"), "--owner"),
        (("keys", "create", "--app", "demo", "--owner", "thief@example.org"), "demo@example.org"),
        (("keys", "create", "--app", "demo", "--purpose", "world-domination"), "world-domination"),
        (("keys", "create", "--app", "demo", "--ceiling", "everything"), "standard"),
        (("keys", "create", "--app", "demo", "--clearance", "cosmic"), "confidential"),
        (("keys", "rotate", "key_nobody"), "key_nobody"),
        (("keys", "revoke", "key_nobody", "--json"), "key_nobody"),
        (("report", "spend", "--by", "weather"), "cost_center"),
        (("rules", "activate", "r-nothing"), "rules log"),
        (("session", "show", "nobody", "--app", "demo"), "nobody"),
        (("session", "end", "nobody", "--app", "demo"), "nobody"),
        (("explain", "no-such-file.json", "--json"), "no-such-file.json"),
        (("explain", "-", "--json"), "messages"),
        (("restore", "no-such-backup"), "no-such-backup"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_done_is_said_on_standard_error_and_nothing_on_standard_output(
    service: Running, arguments: tuple[str, ...], told: str
) -> None:
    done = command(service.data_dir, *arguments, stdin=b'{"nothing": 1}')
    said = done.stderr.decode()
    assert (done.returncode in (1, 2), done.stdout) == (True, b"")
    assert told in said
    assert "Traceback" not in said


# ── classify, explain ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_classify_reads_every_part_of_a_whole_request(tmp_path: Path) -> None:
    mail = "jo.doe@acme-corp.io"
    arguments = json.dumps({"to": mail})
    tool = {
        "type": "function",
        "function": {"name": "search_web", "description": f"Ask {mail}.", "parameters": {"type": "object"}},
    }
    call = {"id": "c", "type": "function", "function": {"name": "send_email", "arguments": arguments}}
    lines: dict[str, dict[str, Any]] = {
        "text": {"text": mail},
        "system": {"messages": [{"role": "system", "content": mail}, *HELLO]},
        "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": mail}]}]},
        "call": {"messages": [*HELLO, {"role": "assistant", "tool_calls": [call]}]},
        "result": {"messages": [*HELLO, {"role": "tool", "tool_call_id": "c", "content": mail}]},
        "schema": {"messages": HELLO, "tools": [tool]},
        "instructions": {"input": "Hello", "instructions": mail},
        "metadata": {"messages": HELLO, "metadata": {"ticket": mail}},
        "embedding": {"model": "text-embedding-3-small", "input": ["one", mail]},
    }
    done = command(
        tmp_path,
        "classify",
        "--jsonl",
        stdin=b"\n\n".join(json.dumps({"id": name, **line}).encode() for name, line in lines.items()),
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["id"] for each in told] == list(lines)
    assert {each["id"] for each in told if "email_address" not in {one["kind"] for one in each["findings"]}} == set()
    assert all(each["state"] == "complete" and each["scanned_bytes"] > 0 for each in told)
    (schema,) = [each for each in told if each["id"] == "schema"]
    assert schema["access"] == "act"  # what is searched for leaves the house
    assert mail.encode() not in done.stdout


def test_classify_names_the_line_that_it_cannot_read(tmp_path: Path) -> None:
    done = command(tmp_path, "classify", "--jsonl", stdin=b'{"text":"a"}\n{"text":1}\n')
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    assert b"line 2" in done.stderr


@pytest.mark.parametrize(
    ("body", "decision"),
    [
        ({"messages": HELLO}, "permit"),
        ({"input": "Translate: good day.", "stream": True}, "permit"),
        ({"messages": [{"role": "user", "content": "aws_access_key_id = " + "AKIA" + "Q3EGT5PLXW7ZB2NK"}]}, "refuse"),
        ({"messages": HELLO, "model": "nobody-knows-me"}, "refuse"),
    ],
    ids=["chat", "response", "secret", "model"],
)
def test_explain_prints_one_document_and_agrees_with_the_service(tmp_path: Path, body: dict[str, Any], decision: str) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(body))
    done = command(tmp_path / "data", "explain", str(file), "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    told = json.loads(done.stdout)
    assert told["decision"]["type"] == decision
    assert {"revision", "sensitivity", "categories", "complexity", "task", "rule", "nearest"} <= set(told)
    assert ("hold" in told) == (decision == "permit")
    assert b"Q3EGT5PLXW7ZB2NK" not in done.stdout
    assert command(tmp_path / "data", "explain", "-", stdin=file.read_bytes()).stdout.decode().startswith(f"{decision} by rule")


# ── reports ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_way_to_cut_and_print_the_spend_report_ties_to_the_nano(service: Running, stub: StubProvider) -> None:
    key = service.key("tied", "tied@example.org", "--team", "=cmd()", "--cost-center", "77")
    costs = [Decimal(chat(service, key, x_session_id=f"s-{number}").headers["x-router-cost-usd"]) for number in range(3)]
    stub.script("m", "no_usage", "status:500", "ok")
    assert chat(service, key, stream=True).status_code == 200  # an estimate, and no cost in its headers
    assert chat(service, key).status_code == 200  # the second attempt answers
    service.settled()

    def told(form: str, by: str) -> str:
        return service.cli("report", "spend", "--format", form, "--by", by)

    whole = json.loads(told("json", "app"))
    (mine,) = [row for row in whole["rows"] if row["app"] == "tied"]
    assert mine["requests"] == 5
    assert mine["estimated_nano"] > 0
    assert Decimal(mine["cost_usd"]) > sum(costs)
    for by in (*DIMENSIONS, "owner,team,model,day", ",".join(DIMENSIONS)):
        document = json.loads(told("json", by))
        assert document["total"] == whole["total"], by
        for field in ("requests", "cost_nano", "output_tokens"):
            assert sum(row[field] for row in document["rows"]) == whole["total"][field], (by, field)
        rows = list(csv.DictReader(io.StringIO(told("csv", by))))
        assert sum(Decimal(row["cost_usd"]) for row in rows) == Decimal(whole["total"]["cost_usd"])
        assert sum(int(row["cost_nano"]) for row in rows) == whole["total"]["cost_nano"]
    assert all(Decimal(row["cost_usd"]) * 10**9 == row["cost_nano"] for row in whole["rows"])
    assert whole["total"]["cost_usd"] in told("table", "owner").splitlines()[-1]
    assert "'=cmd()" in told("csv", "team")  # a spreadsheet must not run it


def test_a_report_of_a_time_without_requests_is_empty_and_whole(service: Running) -> None:
    document = json.loads(service.cli("report", "spend", "--format", "json", "--since", "2001-01-01", "--until", "2001-02-01"))
    assert document["rows"] == []
    assert document["total"]["cost_nano"] == 0


# ── the audit chain ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, stub: StubProvider) -> Path:
    """The data directory of a service that has served a few requests and was stopped."""
    data_dir = tmp_path_factory.mktemp("audited") / "data"
    stub.scripts.clear()
    with running(data_dir, rules=rule_files([deployment("m", stub.url)])) as service:
        key = service.key()
        for _ in range(3):
            assert chat(service, key, x_session_id="one").status_code == 200
        assert chat(service, key, x_router_label="restricted").status_code == 403
        service.settled()
    return data_dir


TAMPERINGS = {
    "a cost lowered": "UPDATE ledger_entries SET cost_nano = cost_nano - 1 WHERE cost_nano > 0",
    "an owner changed": "UPDATE ledger_entries SET owner = 'someone@example.org'",
    "an entry removed": "DELETE FROM ledger_entries",
    "a line removed": "DELETE FROM ledger_lines WHERE token_class = 'output'",
    "a refusal removed": "DELETE FROM evidence WHERE kind = 'refused'",
    "a decision edited": "UPDATE evidence SET record = replace(record, 'everything', 'something')",
    "a column beside its record": "UPDATE evidence SET sensitivity = 'public', owner = 'x'",
    "the tail cut off": "DELETE FROM evidence WHERE (shard, seq) IN (SELECT shard, max(seq) FROM evidence GROUP BY shard)",
    "all evidence removed": "DELETE FROM evidence; DELETE FROM chain_heads",
    "rules edited": "UPDATE revisions SET files = replace(files, 'restricted', 'public')",
    "a key brought back": "UPDATE keys SET clearance = 'public'",
    "an act removed": "DELETE FROM admin_events WHERE seq = (SELECT max(seq) FROM admin_events)",
}


@pytest.mark.parametrize("statement", TAMPERINGS.values(), ids=TAMPERINGS)
def test_an_edit_of_the_store_is_found(written: Path, tmp_path: Path, statement: str) -> None:
    data_dir = tmp_path / "data"
    shutil.copytree(written, data_dir)
    before = command(data_dir, "audit", "verify", "--json")
    assert (before.returncode, json.loads(before.stdout)["intact"]) == (0, True), before
    with closing(sqlite3.connect(data_dir / "router.db")) as connection:
        changed = connection.total_changes
        connection.executescript(f"BEGIN; {statement}; COMMIT;")
        assert connection.total_changes > changed
    after = command(data_dir, "audit", "verify", "--json")
    document = json.loads(after.stdout)
    assert (after.returncode, document["intact"]) == (1, False)
    assert document["faults"]


# ── settings ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("ROUTER_PORT", "eighty"),
        ("ROUTER_WORKERS", "0"),
        ("ROUTER_GOVERNANCE", "anarchy"),
        ("ROUTER_MAX_BODY_BYTES", "1"),
        ("ROUTER_LOG_LEVEL", "loud"),
        ("ROUTER_UPSTREAM_URL", "localhost:11434"),
        ("ROUTER_TLS_CERT", "/nowhere.pem"),
        ("ROUTER_CONFIG", "/nowhere.toml"),
        ("ROUTER_SPELT_WRONG", "1"),
        ("ROUTER_SECRET_KEY", "too-short"),
        ("DATABASE_URL", "mysql://localhost/router"),
        ("REDIS_URL", "http://localhost"),
    ],
)
def test_a_wrong_setting_is_named_at_start_and_its_value_is_not(tmp_path: Path, setting: str, value: str) -> None:
    done = command(tmp_path / "data", "serve", stdin=b"", **{"ROUTER_PORT": "0", setting: value})
    said = done.stderr.decode()
    assert done.returncode in (1, 2)
    assert setting.removeprefix("ROUTER_") in said
    assert "Traceback" not in said
    if setting == "ROUTER_SECRET_KEY":
        assert value not in said


def test_no_password_is_sent_to_a_mail_server_in_clear(tmp_path: Path) -> None:
    mail = {"ROUTER_SMTP_HOST": "mail.example.org", "ROUTER_SMTP_FROM": "router@example.org", "ROUTER_SMTP_USER": "router"}
    mail |= {"ROUTER_SMTP_PASSWORD": "not to be told", "ROUTER_SMTP_SECURITY": "none"}
    done = command(tmp_path / "data", "serve", stdin=b"", **mail)
    assert done.returncode in (1, 2)
    assert b"ROUTER_SMTP_SECURITY" in done.stderr
    assert b"not to be told" not in done.stderr


def test_a_settings_file_is_read_and_a_variable_wins_over_it(tmp_path: Path) -> None:
    file = tmp_path / "router.toml"
    file.write_text('governance = "anarchy"\nworkers = 2\n')
    refused = command(tmp_path / "data", "serve", ROUTER_CONFIG=str(file))
    assert b"ROUTER_GOVERNANCE" in refused.stderr
    file.write_text("workerz = 2\n")
    assert b"ROUTER_WORKERZ" in command(tmp_path / "data", "serve", ROUTER_CONFIG=str(file)).stderr
    file.write_text('governance = "anarchy"\n')
    assert command(tmp_path / "data", "keys", "list", ROUTER_CONFIG=str(file), ROUTER_GOVERNANCE="single").returncode == 0
