"""The life of a change on two replicas with two workers each: proposed by one, approved by another, in force everywhere, tried, taken back."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from governing import api, token
from running import Running, running, wait_for

from router.storage.embedded_redis import redis_url_of

WITHIN_SECONDS = 2.0
CODING = "task: [mathematics, analysis, planning, agentic]}"
PROHIBITION = "prohibitions:\n"
NO_BRAINSTORMING = (
    "prohibitions:\n  - {id: no-brainstorming, owner: o@example.org, reason: a test says so, when: {task: brainstorming}}\n"
)


class World:
    """Two replicas on one Redis and one store, and people of each kind."""

    def __init__(self, first: Running, second: Running) -> None:
        self.first, self.second = first, second
        self.editor = token(first, "ed@example.org", "editor")
        self.other = token(first, "olga@example.org", "editor")
        self.approver = token(first, "eve@example.org", "approver")
        self.both = token(first, "ann@example.org", "editor", "approver")
        self.viewer = token(first, "vic@example.org", "viewer")
        self.finance = token(first, "fin@example.org", "finance")
        self.key = first.key()

    def get(self, path: str, secret: str | None = None) -> Any:
        answer = api(self.first, "GET", f"/api/rules{path}", secret or self.viewer)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, secret: str, body: Any = None) -> httpx.Response:
        return api(self.first, "POST", f"/api/rules{path}", secret, body or {})

    def done(self, path: str, secret: str, body: Any = None) -> Any:
        answer = self.post(path, secret, body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def files(self) -> dict[str, str]:
        found: dict[str, str] = self.get("")["files"]
        return found

    def edit(self, old: str, new: str, name: str = "routes.yaml") -> dict[str, str]:
        text = self.files()[name]
        assert old in text
        return {name: text.replace(old, new, 1)}

    def propose(self, files: dict[str, str], secret: str = "", **more: Any) -> Any:
        body = {"files": files, "reason": "a test", "beside": True} | more
        return self.done("/proposals", secret or self.editor, body)

    def vote(self, made: Any, how: str, secret: str, note: str = "") -> httpx.Response:
        """Say yes or no to a proposal as it was looked at."""
        return self.post(f"/proposals/{made['id']}/{how}", secret, {"seen": made["revision"], "note": note})

    def voted(self, made: Any, how: str, secret: str, note: str = "") -> Any:
        answer = self.vote(made, how, secret, note)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def in_force(self, files: dict[str, str]) -> Any:
        made = self.propose(files)
        self.voted(made, "approve", self.approver, "fine")
        return self.done(f"/proposals/{made['id']}/activate", self.approver)

    def ask(self, service: Running, session: str | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.key}"} | ({"x-session-id": session} if session else {})
        body = {"model": "auto", "messages": [{"role": "user", "content": "Summarise: the meeting moved to noon."}]}
        return httpx.post(f"{service.base_url}/v1/chat/completions", json=body, headers=headers, timeout=30)

    def everywhere(self, revision: str) -> float:
        """Seconds until every worker of both replicas decides by a revision: twenty answers in a row, each on a connection of its own."""
        began = last = time.monotonic()
        row = 0
        while row < 20:
            service = (self.first, self.second)[row % 2]
            if self.ask(service).headers["x-router-revision"] == revision:
                row += 1
                continue
            row, last = 0, time.monotonic()
            assert last - began < 20, "the revision did not come into force everywhere"
        return last - began


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("rules")
    shared = {"ROUTER_GOVERNANCE": "four_eyes", "ROUTER_SECRET_KEY": "5d" * 32}
    with running(folder / "first", workers=2, environment=shared) as first:
        url = redis_url_of(first.data_dir.absolute())
        assert url is not None
        stores = {"ROUTER_REDIS_URL": url, "ROUTER_DATABASE_URL": f"sqlite:///{first.data_dir.absolute()}/router.db"}
        with running(folder / "second", workers=2, environment=shared | stores) as second:
            yield World(first, second)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_change_goes_from_an_editor_over_an_approver_to_both_replicas_and_back(world: World) -> None:
    before = world.get("")["revision"]
    made = world.propose(world.edit(CODING, CODING.replace("agentic", "agentic, coding")))
    assert made["status"] == "checked"
    assert made["diff"]["widens"]
    assert {"confidential"} == {word for change in made["diff"]["changes"] for word in change["where"]["sensitivity"]}
    assert {"coding"} == {word for change in made["diff"]["changes"] for word in change["where"]["task"]}
    world.first.settled()
    replayed = world.done(f"/proposals/{made['id']}/replay", world.editor, {"days": 7})["replay"]
    assert (replayed["before"], replayed["after"]) == (before, made["revision"])
    for who in (world.editor, world.viewer, world.finance):
        assert code(world.vote(made, "approve", who)) == (403, "change_not_allowed")
    assert code(world.post(f"/proposals/{made['id']}/activate", world.approver)) == (403, "change_not_allowed")
    world.done(f"/proposals/{made['id']}/comment", world.viewer, {"text": "why?"})
    world.voted(made, "approve", world.approver, "it helps")
    world.done(f"/proposals/{made['id']}/activate", world.editor)
    assert world.everywhere(made["revision"]) < WITHIN_SECONDS
    back = world.done("/rollback", world.approver, {"reason": "too dear"})
    assert (back["kind"], back["status"], back["revision"], back["review"]) == ("rollback", "active", before, "pending")
    assert world.everywhere(before) < WITHIN_SECONDS
    history = world.get("/history")["data"]
    assert [row["revision"] for row in history[:2]] == [before, made["revision"]]
    assert history[1]["replay"]["decisions"] == replayed["decisions"]
    assert history[1]["comments"][0]["text"] == "why?"
    assert world.done(f"/proposals/{back['id']}/review", world.both)["review"] == "done"


def test_no_route_puts_anything_in_force_that_is_failing_or_not_approved(world: World, tmp_path: Path) -> None:
    before = world.get("")["revision"]
    failing = {"cases/own.yaml": "cases:\n  - {name: no, facts: {task: summarisation}, expect: {rule: deliberation}}\n"}
    draft = world.propose(failing)
    fine = world.propose(world.edit(PROHIBITION, NO_BRAINSTORMING), world.both)
    assert (draft["status"], fine["status"]) == ("draft", "checked")
    for one in (draft, fine):
        for who in (world.editor, world.both, world.viewer, world.finance, world.approver):
            for path, body in (
                ("activate", {}),
                ("activate", {"emergency": True} if one is draft else {}),
                ("trial", {"kind": "canary", "share": 50}),
            ):
                assert world.post(f"/proposals/{one['id']}/{path}", who, body).status_code == 403
        for arguments in (
            ("rules", "activate", one["id"]),
            ("rules", "activate", one["revision"], "--token", world.both),
            ("rules", "rollback", "--to", one["revision"], "--token", world.approver),
        ):
            assert world.first.cli(*arguments, check=False) == ""
    assert code(world.vote(draft, "approve", world.approver)) == (403, "change_not_allowed")
    assert code(world.vote(fine, "approve", world.both)) == (403, "change_not_allowed")
    assert world.first.cli("rules", "approve", fine["id"], check=False) == ""
    folder = tmp_path / "own"
    (folder / "cases").mkdir(parents=True)
    (folder / "cases" / "own.yaml").write_text(failing["cases/own.yaml"])
    assert world.first.cli("rules", "propose", "--from", str(folder), "--token", world.editor, check=False) == ""
    assert world.first.cli("rules", "propose", "--from", str(folder), "--draft", check=False) == ""
    # Whoever says `single` to a command is not believed.
    alone = world.first.environment | {"ROUTER_GOVERNANCE": "single"}
    world.first.environment, kept = alone, world.first.environment
    try:
        assert world.first.cli("rules", "activate", fine["id"], check=False) == ""
    finally:
        world.first.environment = kept
    assert world.get("")["revision"] == before
    for one in (draft, fine):
        world.voted(one, "reject", world.approver, "no")


def test_of_two_who_edit_at_once_the_second_is_shown_both(world: World) -> None:
    base = world.get("")["revision"]
    first = world.propose(world.edit("a person answers", "somebody answers"), base=base, beside=False)
    mine = world.edit(PROHIBITION, NO_BRAINSTORMING)
    refused = world.post("/proposals", world.other, {"files": mine, "reason": "me too", "base": base})
    assert code(refused) == (409, "rules_changed")
    merge = refused.json()["error"]["merge"]
    [file] = merge["files"]
    assert (merge["by"], merge["proposal"], file["state"]) == ("ed@example.org", first["id"], "merged")
    assert file["yours"] == mine["routes.yaml"]
    assert "somebody answers" in file["merged"]
    assert "no-brainstorming" in file["merged"]
    again = world.done(
        f"/proposals/{first['id']}/revise", world.other, {"files": {"routes.yaml": file["merged"]}, "seen": first["revision"]}
    )
    assert again["authors"] == ["ed@example.org", "olga@example.org"]
    stale = world.post(f"/proposals/{first['id']}/revise", world.editor, {"files": mine, "seen": first["revision"]})
    assert code(stale) == (409, "rules_changed")
    world.done(f"/proposals/{first['id']}/withdraw", world.editor)


def test_detectors_of_ones_own_are_in_force_everywhere_as_soon_as_any_other_change(world: World) -> None:
    before = world.get("")["revision"]
    patterns = "".join(
        f"  - {{id: own-{number}, category: financial, level: confidential, pattern: 'OWN{number}-[0-9]{{6,12}}', "
        f"positive: [OWN{number}-123456, OWN{number}-1234567, OWN{number}-12345678], negative: [OWN, own, none]}}\n"
        for number in range(30)
    )
    text = world.files()["sensitivity.yaml"]
    shown = [f"own{number}_{'a7' * 12}" for number in range(3)]
    files = {
        "sensitivity.yaml": re.sub(r"(?m)^patterns: .*$", lambda _: "patterns:\n" + patterns, text)
        + f"gitleaks_examples: {{positive: {json.dumps(shown)}, negative: [a, b, c]}}\n",
        "gitleaks.toml": "".join(
            f"[[rules]]\nid = 'own-{number}'\nregex = '(?i)own{number}_[a-z0-9]{{20,40}}'\nkeywords = ['own{number}_']\n"
            for number in range(100)
        ),
    }
    made = world.in_force(files)
    assert world.everywhere(made["revision"]) < WITHIN_SECONDS
    back = world.done("/rollback", world.both, {"reason": "no longer", "to": before})
    if back["status"] != "active":
        world.voted(back, "approve", world.approver)
        world.done(f"/proposals/{back['id']}/activate", world.approver)
    assert world.everywhere(before) < WITHIN_SECONDS


def test_a_canary_decides_on_its_share_of_the_sessions_from_first_to_last(world: World) -> None:
    before = world.get("")["revision"]
    made = world.propose(world.edit(PROHIBITION, NO_BRAINSTORMING))
    world.voted(made, "approve", world.approver)
    world.done(f"/proposals/{made['id']}/trial", world.approver, {"kind": "canary", "share": 50})
    sessions = [f"canary-{number}" for number in range(12)]
    wait_for(
        lambda: (
            {
                world.ask(service, each).headers["x-router-revision"]
                for service in (world.first, world.second)
                for each in sessions
            }
            == {before, made["revision"]}
        ),
        what="the canary",
    )
    decided_by: dict[str, set[str]] = {}
    for _ in range(3):
        for number, each in enumerate(sessions):
            answer = world.ask((world.first, world.second)[number % 2], each)
            assert answer.status_code == 200
            decided_by.setdefault(each, set()).add(answer.headers["x-router-revision"])
    assert all(len(seen) == 1 for seen in decided_by.values())
    assert {revision for seen in decided_by.values() for revision in seen} == {before, made["revision"]}
    world.done(f"/proposals/{made['id']}/trial", world.approver, {"kind": None})
    assert world.everywhere(before) < WITHIN_SECONDS
    world.voted(made, "reject", world.approver)


def test_a_shadow_decides_nothing_and_tells_what_it_would_have(world: World) -> None:
    before = world.get("")["revision"]
    stop = NO_BRAINSTORMING.replace("brainstorming}", "summarisation}")
    made = world.propose(world.edit(PROHIBITION, stop) | {"cases/routes.yaml": ""})
    world.done(f"/proposals/{made['id']}/trial", world.editor, {"kind": "shadow"})

    def seen() -> Any:
        answer = world.ask(world.first)
        assert (answer.status_code, answer.headers["x-router-revision"]) == (200, before)
        return world.get(f"/proposals/{made['id']}/differences")["differing"]

    wait_for(seen, what="a difference")
    told = world.get(f"/proposals/{made['id']}/differences")
    assert told["differing"] <= told["compared"]
    assert told["differences"][0]["after"] == "refuse not_permitted_by_rule by no-brainstorming"
    world.voted(made, "reject", world.approver)


def test_any_two_revisions_are_compared_and_replayed_by_command(world: World) -> None:
    newest, *_, oldest = (row["revision"] for row in json.loads(world.first.cli("rules", "log", "--json")))
    figures = json.loads(
        world.first.cli("rules", "replay", "--revision", newest, "--against", oldest, "--days", "2", "--wait", "--json")
    )
    assert (figures["before"], figures["after"]) == (oldest, newest)
    assert figures["decisions"] > 20
    assert json.loads(world.first.cli("rules", "diff", newest, "--against", oldest, "--json"))["before"] == oldest


def test_what_was_decided_comes_out_the_same_until_somebody_touches_it(world: World) -> None:
    # Of what was written after the last checkpoint, the chain alone tells that it was changed.
    held = json.loads(world.first.cli("rules", "reproduce", "--days", "2", "--wait", "--json"))
    assert held["holds"], held["differences"]
    assert held["same"] == held["decisions"] > 20
    with sqlite3.connect(world.first.data_dir / "router.db", timeout=30) as store:
        [(shard, seq, record)] = store.execute(
            "SELECT shard, seq, record FROM evidence WHERE kind = 'admitted' LIMIT 1"
        ).fetchall()
        store.execute(
            "UPDATE evidence SET record = ? WHERE shard = ? AND seq = ?", (record.replace("summarisation", "coding"), shard, seq)
        )
    with pytest.raises(AssertionError, match="exit 1"):
        world.first.cli("rules", "reproduce", "--days", "2")
    told = world.first.cli("rules", "reproduce", "--days", "2", check=False)
    assert "edited: the record is not the one that was written" in told
    with sqlite3.connect(world.first.data_dir / "router.db", timeout=30) as store:
        store.execute("DELETE FROM evidence WHERE shard = ? AND seq = ?", (shard, seq))
    assert "DIFFER" in world.first.cli("rules", "reproduce", "--days", "2", check=False)


def test_only_what_a_pinned_key_signed_is_proposed_from_a_working_tree(world: World, tmp_path: Path) -> None:
    def run(*words: str, **more: Any) -> str:
        done = subprocess.run(words, check=True, capture_output=True, text=True, cwd=tmp_path, **more)
        return str(done.stdout)

    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "gita@example.org", "-f", str(tmp_path / "key"))
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "mallory@example.org", "-f", str(tmp_path / "other"))
    pins = tmp_path / "proposers"
    pins.write_text(f"gita@example.org {(tmp_path / 'key.pub').read_text()}")
    tree = tmp_path / "tree"
    (tree / "rules").mkdir(parents=True)
    text = world.edit(PROHIBITION, NO_BRAINSTORMING)["routes.yaml"]
    (tree / "rules" / "routes.yaml").write_text(text)
    git = ("git", "-C", str(tree), "-c", "user.name=g", "-c", "user.email=g@example.org", "-c", "gpg.format=ssh")
    run("git", "-C", str(tree), "init", "-q")
    run(*git, "add", ".")
    environment, kept = world.first.environment | {"ROUTER_PROPOSERS": str(pins)}, world.first.environment
    propose = ("rules", "propose", "--from", str(tree / "rules"), "--note", "from Git", "--json")
    try:
        world.first.environment = environment
        run(*git, "commit", "-qm", "unsigned")
        assert world.first.cli(*propose, "--token", world.editor, check=False) == ""
        run(*git, "-c", f"user.signingkey={tmp_path / 'other'}", "commit", "-q", "--allow-empty", "-S", "-m", "by another")
        assert world.first.cli(*propose, check=False) == ""
        run(*git, "-c", f"user.signingkey={tmp_path / 'key'}", "commit", "-q", "--allow-empty", "-S", "-m", "signed")
        (tree / "rules" / "routes.yaml").write_text(text + "# more\n")
        assert world.first.cli(*propose, check=False) == ""
        (tree / "rules" / "routes.yaml").write_text(text)
        made = json.loads(world.first.cli(*propose))
        assert json.loads(world.first.cli(*propose))["id"] == made["id"]
    finally:
        world.first.environment = kept
    assert (made["author"], made["via"], made["status"]) == ("gita@example.org", "git", "checked")
    assert made["signed"].startswith("commit ")
    world.voted(made, "reject", world.approver)


def test_a_yes_is_to_what_was_looked_at(world: World) -> None:
    made = world.propose(world.edit(CODING, CODING.replace("agentic", "agentic, coding")))
    later = world.edit(CODING, CODING.replace("agentic", "agentic, coding, brainstorming"))
    revised = world.done(f"/proposals/{made['id']}/revise", world.editor, {"files": later, "seen": made["revision"]})
    for how in ("approve", "reject"):
        answer = world.vote(made, how, world.approver)
        assert code(answer) == (409, "rules_changed")
        assert answer.json()["error"]["merge"]["files"]
        assert world.post(f"/proposals/{made['id']}/{how}", world.approver, {"note": "blind"}).status_code == 400
    assert world.get(f"/proposals/{made['id']}")["status"] == "checked"
    assert (
        world.first.cli("rules", "approve", made["id"], "--seen", made["revision"], "--token", world.approver, check=False) == ""
    )
    assert world.voted(revised, "approve", world.approver)["status"] == "approved"
    stale = world.post(f"/proposals/{made['id']}/activate", world.approver, {"seen": made["revision"]})
    assert code(stale) == (409, "rules_changed")
    world.voted(revised, "reject", world.approver)
