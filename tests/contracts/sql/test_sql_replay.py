"""What a change would have done to recorded requests, and that recorded decisions come out the same again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
from sql_records import admitted, outcome, raw
from sqlalchemy import Engine, text

from router.exchange import Turned
from router.governance import rules as governance
from router.governance.rules_replay import Reproduced, replay, reproduce
from router.governance.rules_values import Actor, NoSuchProposal, Replay
from router.money import cost_nano
from router.storage.sql.recorded import Recorded
from router.storage.sql.records import SqlRecords
from router.storage.sql.rules import RuleStore
from router.usage import Usage, lines
from routing_rules.decide import decide
from routing_rules.decisions import Permit, Refuse
from routing_rules.entitlements import authorise
from routing_rules.facts import Facts, Labels
from routing_rules.load import load, shipped
from routing_rules.task import ToolAsk
from routing_rules.vocabulary import Access, Sensitivity, TaskKind

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
FILES = shipped(date(2026, 11, 23))
RULES = load(FILES)
USED = Usage(input=1_000, output=500)


class World:
    """A store with the shipped rules in force and some requests of theirs."""

    def __init__(self, store: Engine) -> None:
        self.store = store
        self.rules = RuleStore(store)
        self.recorded = Recorded(store)
        governance.seed(self.rules, FILES, governance="single", at=NOON)

    def asked(
        self, request_id: str, task: TaskKind, level: Sensitivity, *, session: str = "s1", days: float = 1, **more: object
    ) -> None:
        at = NOON - timedelta(days=days)
        plain = admitted(request_id, at=at, session=session)
        caller = msgspec.structs.replace(
            plain.facts.caller,
            app="demo",
            ceiling=RULES.apps["demo"].ceiling,
            purpose="general",
            clearance=RULES.apps["demo"].clearance,
        )
        facts: Facts = msgspec.structs.replace(
            plain.facts,
            **{
                "now": at,
                "caller": caller,
                "wish": "auto",
                "labels": Labels(confidentiality=level),
                "categories": frozenset(),
                "access": Access.NONE,
                "task": task,
                "tools": (),
                **more,
            },
        )
        decision = decide(RULES, facts)
        if isinstance(decision, Refuse):
            told = Turned(
                request_id, at, session, facts, decision, "demo", "o", decision.code, decision.rule, "", {}, {}, "single", "b", {}
            )
            SqlRecords(self.store).write([(0, raw(told))])
            return
        assert isinstance(decision, Permit)
        deployment = RULES.deployments[decision.candidates[0]]
        booked = lines(1, deployment.id, "simulated", deployment.model, USED, deployment.price, "completed")
        record = msgspec.structs.replace(
            plain, facts=facts, decision=decision, grant=authorise(RULES, facts, decision), deployment=deployment.id
        )
        done = outcome(request_id, booked, at=at, deployment=deployment.id)
        SqlRecords(self.store).write([(0, raw(record)), (0, raw(done))])

    def changed(self, *edits: tuple[str, str, str]) -> str:
        files = dict(FILES)
        for name, old, new in edits:
            assert old in files[name]
            files[name] = files[name].replace(old, new, 1)
        return governance.save(self.rules, files, by=Actor("ann"), reason="a test", governance="single", at=NOON).revision

    def replay(self, before: str, after: str, days: int = 7) -> Replay:
        return replay(self.rules, self.recorded, before, after, days=days, at=NOON)

    def reproduce(self) -> Reproduced:
        return reproduce(self.rules, self.recorded, days=7, at=NOON)


@pytest.fixture
def world(store: Engine) -> World:
    made = World(store)
    made.asked("req_1", TaskKind.CODING, Sensitivity.CONFIDENTIAL, session="a")
    made.asked("req_2", TaskKind.CODING, Sensitivity.CONFIDENTIAL, session="a", days=2)
    made.asked("req_3", TaskKind.SUMMARISATION, Sensitivity.CONFIDENTIAL, session="a")
    made.asked("req_4", TaskKind.SUMMARISATION, Sensitivity.PUBLIC, session="b")
    made.asked("req_5", TaskKind.LOOKUP, Sensitivity.PUBLIC, session="c", tools=(ToolAsk("calculator", "function", "tools[0]"),))
    made.asked("req_6", TaskKind.LOOKUP, Sensitivity.PUBLIC, session="c", wish="gpt-4p", wish_known=False)
    made.asked("req_7", TaskKind.CODING, Sensitivity.CONFIDENTIAL, session="old", days=30)
    return made


CODING = (
    "routes.yaml",
    "task: [mathematics, analysis, planning, agentic]}",
    "task: [mathematics, analysis, planning, agentic, coding]}",
)


def test_what_would_have_gone_elsewhere_is_counted_with_its_sessions_and_its_spend(world: World) -> None:
    found = world.replay(RULES.revision, world.changed(CODING))
    assert (found.decisions, found.changed, found.sessions, found.sessions_changed) == (6, 2, 3, 1)
    assert found.tiers == {"fast → reasoning": 2}
    assert found.outcomes == {}
    assert [(app.app, app.requests, app.changed) for app in found.apps] == [("demo", 6, 2)]
    assert [each[1:] for each in found.by_day] == [(1, 1), (5, 1)]
    assert {example.request_id for example in found.examples} == {"req_1", "req_2"}
    moved = [RULES.deployments[name].price for name in ("sim-fast-private", "sim-reasoning")]
    costs = [cost_nano(USED.input, price.input or 0) + cost_nano(USED.output, price.output or 0) for price in moved]
    assert found.spend_after - found.spend_before == 2 * (costs[1] - costs[0])


def test_any_two_revisions_are_replayed_and_the_same_one_changes_nothing(world: World) -> None:
    other = world.changed(CODING)
    assert world.replay(other, other).changed == 0
    back = world.replay(other, RULES.revision)
    assert back.tiers == {"reasoning → fast": 2}
    with pytest.raises(NoSuchProposal):
        world.replay("r-nothing", other)


def test_what_would_have_been_refused_costs_nothing_and_tools_that_go_are_named(world: World) -> None:
    stop = "prohibitions:\n  - {id: stop, owner: o@example.org, reason: a test, when: {task: lookup}}\n"
    found = world.replay(RULES.revision, world.changed(("routes.yaml", "prohibitions:\n", stop)))
    assert found.outcomes == {"permit → refuse not_permitted_by_rule": 1}
    assert found.tools_lost == {"calculator": 1}
    assert found.spend_after < found.spend_before
    assert found.apps[0].refused == 1


def test_what_apps_yaml_says_of_the_caller_is_taken_from_either_revision(world: World) -> None:
    found = world.replay(RULES.revision, world.changed(("apps.yaml", "clearance: restricted", "clearance: internal")))
    assert found.outcomes == {"permit → refuse sensitivity_not_permitted": 3}


def test_every_recorded_decision_comes_out_the_same(world: World) -> None:
    found = world.reproduce()
    assert (found.decisions, found.same, found.differing) == (6, 6, 0)
    assert found.holds


@pytest.mark.parametrize("forged", ["facts", "decision", "files", "revision"])
def test_a_stored_fact_that_was_changed_is_told(world: World, store: Engine, forged: str) -> None:
    with store.begin() as connection:
        if forged == "facts":
            connection.execute(text('UPDATE evidence SET record = replace(record, \'"task":"coding"\', \'"task":"analysis"\')'))
        elif forged == "decision":
            connection.execute(
                text("UPDATE evidence SET record = replace(record, 'confidential-routine', 'confidential-demanding')")
            )
        elif forged == "files":
            connection.execute(text("UPDATE revisions SET files = '{}'"))
        else:
            connection.execute(text("UPDATE revisions SET revision = 'r-gone'"))
    found = world.reproduce()
    assert not found.holds
    assert found.differing == len(found.differences) > 0
