"""The command line that scripts rely on, beside a running service and on its data afterwards."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from governed import deployment, rule_files
from running import CREDENTIALS, Running, free_port, inherited, running
from stub_provider import serving

BODY: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Translate: the train leaves at nine."}]}


def post(service: Running, key: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(service.base_url + "/v1/chat/completions", json=BODY, headers=headers, timeout=30)


def offline(data_dir: Path, **environment: str) -> Running:
    """The command line on a data directory where no service runs."""
    return Running(0, data_dir, {**inherited(), "ROUTER_DATA_DIR": str(data_dir), **environment}, data_dir.parent / "log", ())


def test_keys_are_made_listed_rotated_and_revoked_while_the_service_runs(tmp_path: Path) -> None:
    with running(tmp_path / "data") as service:
        made = json.loads(
            service.cli(
                *("keys", "create", "--app", "shop", "--owner", "shop@example.org", "--team", "web", "--cost-center", "42"),
                *(
                    "--purpose",
                    "general",
                    "--clearance",
                    "confidential",
                    "--ceiling",
                    "standard",
                    "--expires",
                    "2099-12-31",
                    "--json",
                ),
            )
        )
        assert made["key"].startswith(made["prefix"])
        assert post(service, made["key"]).status_code == 200
        listed = json.loads(service.cli("keys", "list", "--json"))
        assert made["key"] not in json.dumps(listed)
        assert {row["id"]: row["state"] for row in listed}[made["id"]] == "active"
        successor = json.loads(service.cli("keys", "rotate", made["id"], "--json"))
        assert post(service, successor["key"]).status_code == post(service, made["key"]).status_code == 200  # the grace
        service.cli("keys", "revoke", made["id"], "--json")
        assert service.cli("keys", "revoke", made["id"], check=False) == ""
        log = json.loads(service.cli("rules", "log", "--json"))
        assert [row["status"] for row in log] == ["active", "superseded"]  # the new app is a revision of its own


def test_classify_answers_each_line_with_one_line(tmp_path: Path) -> None:
    lines = [
        {"id": 1, "text": "Write to jo.doe@acme-corp.io and to no one else."},
        {"id": "b", "messages": [{"role": "user", "content": "Prove that there are infinitely many primes, step by step."}]},
        {"input": "Translate: good morning", "model": "auto"},
    ]
    told = offline(tmp_path).cli("classify", "--jsonl", stdin=b"\n".join(json.dumps(line).encode() for line in lines))
    first, second, third = [json.loads(line) for line in told.splitlines()]
    assert [first["id"], second["id"], third["id"]] == [1, "b", None]
    assert set(first) == {
        *("id", "sensitivity", "categories", "findings", "access", "intent", "task", "complexity", "confidence", "state"),
        *("scanned_bytes", "versions"),
    }
    (finding,) = first["findings"]
    assert set(finding) == {"category", "kind", "rule", "part", "start", "end", "score", "masked"}
    assert lines[0]["text"][finding["start"] : finding["end"]] == "jo.doe@acme-corp.io"  # type: ignore[index]
    assert "jo.doe" not in told
    assert set(first["intent"]) == {"capabilities", "objects", "delegates"}
    assert second["task"] == "mathematics"
    assert set(second["complexity"]) == {"score", "band"}
    assert set(second["confidence"]) == {"sensitivity", "task", "complexity", "intent"}
    assert offline(tmp_path).cli("classify", "--jsonl", stdin=b"not json", check=False) == ""


def test_explain_prints_one_document_with_the_hold_and_the_nearest_rule(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    tool = {"type": "function", "function": {"name": "drop_database", "parameters": {"type": "object"}}}
    file.write_text(json.dumps({**BODY, "tools": [tool]}))
    told = json.loads(offline(tmp_path / "data").cli("explain", str(file), "--json"))
    assert told["decision"]["type"] == "permit"
    assert told["rule"] == told["decision"]["rule"]
    assert told["tools"]["withheld"][0]["name"] == "drop_database"
    assert told["hold"]["nano_usd"] > 0
    assert told["nearest"]


def test_rules_are_checked_exported_proposed_and_put_in_force(tmp_path: Path) -> None:
    with serving() as stub, running(tmp_path / "data", rules=rule_files([deployment("m", stub.url)])) as service:
        key = service.key()
        assert post(service, key).headers["x-router-rule"] == "everything"
        out = tmp_path / "exported"
        service.cli("rules", "export", str(out))
        table = out / "routes.yaml"
        table.write_text(table.read_text().replace("id: everything", "id: all-of-it"))
        assert json.loads(service.cli("rules", "check", "--rules", str(out), "--json")) is not None
        proposal = json.loads(service.cli("rules", "propose", "--from", str(out), "--note", "a better name", "--json"))
        assert post(service, key).headers["x-router-rule"] == "everything"
        service.cli("rules", "activate", proposal["revision"])
        for _ in range(200):
            answer = post(service, key)
            if answer.headers["x-router-rule"] == "all-of-it":
                break
        assert answer.headers["x-router-revision"] == proposal["revision"]
        table.write_text(table.read_text().replace("tier: fast", "tier: fsat"))
        with pytest.raises(AssertionError, match=r"routes\.yaml:"):
            service.cli("rules", "propose", "--from", str(out))


def test_reports_tie_audits_find_an_edit_and_backups_come_back(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with running(data_dir) as service:
        key = service.key()
        costs = [post(service, key).headers["x-router-cost-usd"] for _ in range(5)]
        told = service.settled()
        by_task = json.loads(service.cli("report", "spend", "--by", "owner,model,task,sensitivity", "--format", "json"))
        assert told["total"] == by_task["total"]
        assert told["total"]["requests"] == 5
        spent = told["total"]["cost_nano"]
        assert spent == sum(round(float(cost) * 1e9) for cost in costs)
        assert len(service.cli("report", "spend", "--format", "csv").splitlines()) >= 2
        assert "5" in service.cli("report", "spend")
        service.cli("backup", str(tmp_path / "kept"))
        assert service.cli("session", "show", "nobody", "--app", "demo", check=False) == ""
    after = offline(data_dir)
    assert json.loads(after.cli("audit", "verify", "--json"))["intact"]
    with closing(sqlite3.connect(data_dir / "router.db")) as connection:
        connection.execute(
            "UPDATE ledger_entries SET cost_nano = cost_nano + 1 WHERE request_id IN (SELECT request_id FROM ledger_entries LIMIT 1)"
        )
        connection.commit()
    assert not json.loads(after.cli("audit", "verify", "--json", check=False))["intact"]
    shutil.rmtree(data_dir)
    after.cli("restore", str(tmp_path / "kept"))
    assert json.loads(after.cli("report", "spend", "--format", "json"))["total"]["cost_nano"] == spent
    with running(data_dir) as service:
        assert post(service, key).status_code == 200


def test_the_first_start_prints_keys_once_and_later_ones_keep_the_data(tmp_path: Path) -> None:
    with running(tmp_path / "data") as service:
        first = service.log.read_text()
        shown = [word for word in first.split() if word.startswith("rk-")]
        assert len(shown) == 2
        assert "simulated" in first
        assert post(service, shown[0]).status_code == 200
        service.stop()
        service.start()
        assert "rk-" not in service.log.read_text()[len(first) :]
        assert post(service, shown[0]).status_code == 200
        assert service.settled()["total"]["requests"] == 2


def test_a_rule_directory_that_differs_later_is_a_proposal_and_no_silent_change(tmp_path: Path) -> None:
    with serving() as stub, running(tmp_path / "data", rules=rule_files([deployment("m", stub.url)])) as service:
        key = service.key()
        service.stop()
        table = tmp_path / "data-rules" / "routes.yaml"
        table.write_text(table.read_text().replace("id: everything", "id: all-of-it"))
        service.start()
        assert "proposed as" in service.log.read_text()
        assert post(service, key).headers["x-router-rule"] == "everything"
        assert json.loads(service.cli("rules", "log", "--json"))[0]["status"] == "checked"


def test_a_credential_found_at_a_later_start_adds_deployments_and_retires_the_simulated_ones(tmp_path: Path) -> None:
    with running(tmp_path / "data") as service:
        key = service.key()
        service.stop()
        service.environment |= {CREDENTIALS[0]: "sk-nothing"}
        service.start()
        told = service.log.read_text()
        assert "clearance `internal`" in told
        listed = httpx.get(service.base_url + "/v1/models", headers={"authorization": f"Bearer {key}"}).json()["data"]
        assert not [model for model in listed if model.get("simulated")]
        assert len([model for model in listed if model["owned_by"] != "router"]) >= 2


def test_a_compatible_server_is_all_it_takes(tmp_path: Path) -> None:
    with serving() as stub:
        named = {"ROUTER_UPSTREAM_URL": stub.url, "ROUTER_FAST_MODEL": "small"}
        with running(tmp_path / "data", environment=named) as service:
            answer = post(service, service.key())
            assert answer.status_code == 200, answer.text
            assert stub.requests[0].model == "small"


def test_what_keeps_it_from_starting_is_one_sentence(tmp_path: Path) -> None:
    port = free_port()
    wrong = tmp_path / "rules"
    wrong.mkdir()
    (wrong / "routes.yaml").write_text("routes:\n  - {id: x, ownr: me}\n")
    for arguments, environment, told in (
        (("serve", "--port", str(port), "--rules", str(wrong)), {}, "routes.yaml:2"),
        (("serve", "--port", str(port)), {"ROUTER_WORKERS": "none"}, "ROUTER_WORKERS"),
        (("serve", "--port", str(port)), {"REDIS_URL": "redis://127.0.0.1:1/0"}, "ROUTER_REDIS_URL"),
    ):
        with pytest.raises(AssertionError) as stopped:
            offline(tmp_path / "data", **environment).cli(*arguments)
        assert told in str(stopped.value)
        assert "Traceback" not in str(stopped.value)
