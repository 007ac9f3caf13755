"""Adopting an app: what was seen of it becomes catalogue entries, a set and a route under which its tasks pass."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from sql_records import admitted
from sqlalchemy import Engine

from router.cli import cli
from router.exchange import Admitted
from router.governance import onboard
from router.governance import rules as governance
from router.governance.tools import Registration, Seen, registration_of
from router.principals import Person, Role
from router.storage.sql.engine import open_engine
from router.storage.sql.migrate import migrate
from router.storage.sql.rules import RuleStore
from routing_rules.catalogue import Observing
from routing_rules.decide import decide
from routing_rules.decisions import Permit
from routing_rules.entitlements import authorise
from routing_rules.facts import Facts
from routing_rules.faults import RuleFaults
from routing_rules.load import complete, load
from routing_rules.rules import RuleSet
from routing_rules.task import ToolAsk
from routing_rules.vocabulary import Sensitivity

NOW = datetime(2026, 8, 3, 12, tzinfo=UTC)
ANN = governance.Actor("ann")
SEND = {"name": "send_parcel", "description": "Sends a parcel.", "parameters": {"type": "object"}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RuleStore]:
    engine: Engine = open_engine(f"sqlite:///{tmp_path / 'router.db'}")
    migrate(engine)
    found = RuleStore(engine)
    files = complete({}, date(2026, 8, 3))
    files["apps.yaml"] = files["apps.yaml"].replace("clearance: restricted", "clearance: confidential")
    governance.seed(found, files, governance="single", at=NOW)
    yield found
    engine.dispose()


def in_force(store: RuleStore) -> RuleSet:
    return load(governance.in_force(store).files)


def started(store: RuleStore, days: int = 14) -> RuleSet:
    onboard.observe(store, "demo", "ann@example.org", days, by=ANN, governance_mode="single", at=NOW)
    return in_force(store)


def record_of(rules: RuleSet, *tools: str, wish: str = "auto", sensitivity: Sensitivity = Sensitivity.PUBLIC) -> Admitted:
    """A task of the app as the line would have recorded it."""
    plain = admitted("req_1")
    app = rules.apps["demo"]
    caller = msgspec.structs.replace(
        plain.facts.caller,
        app=app.id,
        clearance=app.clearance,
        ceiling=app.ceiling,
        purpose="general",
        mode="observe",
        observing=app.observing,
    )
    facts: Facts = msgspec.structs.replace(
        plain.facts,
        now=NOW,
        caller=caller,
        wish=wish,
        wish_known=True,
        detected=sensitivity,
        labels=msgspec.structs.replace(plain.facts.labels, confidentiality=sensitivity),
        tools=tuple(ToolAsk(name, "function", f"tools[{place}]") for place, name in enumerate(tools)),
    )
    decision = decide(rules, facts)
    assert isinstance(decision, Permit)
    return msgspec.structs.replace(plain, facts=facts, decision=decision, grant=authorise(rules, facts, decision))


def seen_parcel() -> list[Registration]:
    return [registration_of(Seen("function", "send_parcel", SEND, app="demo"), NOW)]


def test_an_app_is_watched_from_today_by_somebody_and_for_a_month_at_most(store: RuleStore) -> None:
    app = started(store, days=30).apps["demo"]
    assert app.observing == Observing("ann@example.org", date(2026, 8, 3), date(2026, 9, 2))
    with pytest.raises(governance.NotAllowed, match="1 to 30 days"):
        onboard.observe(store, "demo", "a@example.org", 31, by=ANN, governance_mode="single", at=NOW)
    onboard.enforce(store, "demo", by=ANN, governance_mode="single", at=NOW)
    assert (in_force(store).apps["demo"].mode, in_force(store).apps["demo"].observing) == ("enforce", None)


def test_where_two_people_decide_it_is_only_proposed(store: RuleStore) -> None:
    with pytest.raises(governance.NotAllowed, match="under `four_eyes` a person"):
        onboard.observe(store, "demo", "ann@example.org", 5, by=ANN, governance_mode="four_eyes", at=NOW)
    editor = governance.Actor("ed@example.org", Person("person_1", "ed@example.org", (Role.EDITOR,), "rp-", "ed", NOW))
    _, active, _ = onboard.observe(store, "demo", "ann@example.org", 5, by=editor, governance_mode="four_eyes", at=NOW)
    assert not active
    assert in_force(store).apps["demo"].mode == "enforce"


def test_an_app_that_may_send_restricted_data_cannot_be_only_watched(store: RuleStore) -> None:
    files = dict(governance.in_force(store).files)
    files["apps.yaml"] = files["apps.yaml"].replace("clearance: confidential", "clearance: restricted")
    governance.change(store, files, by=ANN, note="a test", governance="single", at=NOW)
    with pytest.raises(RuleFaults, match="cleared for `confidential` at most"):
        started(store)


def test_what_was_seen_passes_under_what_is_proposed(store: RuleStore) -> None:
    rules = started(store)
    records = [
        record_of(rules, "send_parcel", "calculator", wish="sim-reasoning"),
        record_of(rules, "send_parcel", wish="sim-reasoning", sensitivity=Sensitivity.INTERNAL),
        record_of(rules, wish="sim-reasoning"),
    ]
    seen, facts = onboard.watched(rules, rules.apps["demo"], records, date(2026, 8, 3))
    assert (seen.tasks, seen.highest, seen.models) == (3, Sensitivity.INTERNAL, {"sim-reasoning": 3})
    assert seen.would_refuse == {"tool_not_entitled;send_parcel": 2}
    assert [(tool.name, tool.tasks, tool.entry, tool.reason) for tool in seen.tools] == [
        ("send_parcel", 2, None, "unregistered"),
        ("calculator", 1, "calculator", None),
    ]
    made, files = onboard.proposal(rules, rules.apps["demo"], seen, facts, seen_parcel(), NOW.date())
    assert (made.replayed, made.passing, made.still) == (3, 3, {})
    assert made.entitlement_set.tools == {"send_parcel", "calculator"}
    assert made.entitlement_set.review_by == NOW.date() + timedelta(days=90)
    kept = governance.propose(store, files, by=ANN, note="a test", governance="single", at=NOW)
    governance.activate(store, kept.revision, by=ANN, governance="single", at=NOW)
    after = in_force(store)
    assert (after.apps["demo"].ceiling, after.apps["demo"].mode) == ("demo-tools", "enforce")
    assert after.rules[[rule.id for rule in after.rules].index("demo-adopted")].then is not None


def test_sensitive_data_keeps_to_the_routes_there_are_and_that_is_told(store: RuleStore) -> None:
    rules = started(store)
    records = [record_of(rules, "send_parcel", sensitivity=Sensitivity.CONFIDENTIAL)]
    seen, facts = onboard.watched(rules, rules.apps["demo"], records, date(2026, 8, 3))
    made, _ = onboard.proposal(rules, rules.apps["demo"], seen, facts, seen_parcel(), NOW.date())
    assert (made.replayed, made.passing, made.still) == (1, 0, {"tool_not_entitled;send_parcel": 1})


def test_the_command_starts_tells_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUTER_DATA_DIR", str(tmp_path / "data"))

    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == code, result.output
        return result.output

    run("keys", "create", "--app", "desk", "--owner", "d@example.org", "--clearance", "confidential")
    assert "needs --owner" in run("onboard", "desk", "--observe", code=2)
    assert json.loads(run("onboard", "desk", "--observe", "--owner", "ann@example.org", "--json"))["in_force"]
    told = run("onboard", "desk")
    assert told.startswith("desk: watched on the word of ann@example.org until ")
    assert "look it over, then keep it: --propose" in told
    assert "is in force: `desk` is held to the rules" in run("onboard", "desk", "--enforce")
    assert "there is no app `nobody`" in run("onboard", "nobody", code=1)
