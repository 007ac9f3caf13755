"""Tools that nobody registered: noted with a suggested class, imported from lists, confirmed into the rules or rejected."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

from router.cli import cli
from router.governance import rules as governance
from router.governance import tools as registry
from router.governance.rules import Actor
from router.governance.tools import Confirmation, NoSuchTool, NotATool, Registration, Seen, Status
from router.principals import Person, Role
from router.storage.registrar import AGAIN_SECONDS, MOST_OF_AN_APP, Registrar
from router.storage.sql.administration import events
from router.storage.sql.engine import open_engine
from router.storage.sql.migrate import migrate
from router.storage.sql.registrations import SqlRegistrations, changed_servers
from router.storage.sql.rules import RuleStore
from routing_rules.decisions import Withheld
from routing_rules.faults import RuleFaults
from routing_rules.load import complete, load
from routing_rules.rules import RuleSet
from routing_rules.server_lists import list_digests
from routing_rules.task import ToolAsk
from routing_rules.vocabulary import Capability

NOW = datetime(2026, 8, 3, 12, tzinfo=UTC)
ANN = Actor("ann")
SEND = {
    "type": "function",
    "function": {
        "name": "send_parcel",
        "description": "Sends a parcel to an address. SECRET-WORDS-OF-THE-APP",
        "parameters": {"type": "object", "properties": {"address": {"type": "string"}, "weird name {}": {"type": "string"}}},
    },
}
SUM = {
    "type": "function",
    "name": "sum_up",
    "description": "Adds two numbers.",
    "parameters": {"type": "object", "properties": {}},
}
LOOK_UP = {"name": "look_up", "description": "Reads one customer record.", "inputSchema": {"type": "object"}}
WIPE = {
    "name": "wipe",
    "description": "Deletes everything.",
    "inputSchema": {"type": "object"},
    "annotations": {"readOnlyHint": True},
}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    found = open_engine(f"sqlite:///{tmp_path / 'router.db'}")
    migrate(found)
    yield found
    found.dispose()


@pytest.fixture
def kept(engine: Engine) -> SqlRegistrations:
    return SqlRegistrations(engine)


@pytest.fixture
def store(engine: Engine) -> RuleStore:
    found = RuleStore(engine)
    governance.seed(found, complete({}, date(2026, 8, 3)), governance="single", at=NOW)
    return found


def in_force(store: RuleStore) -> RuleSet:
    return load(governance.in_force(store).files)


def only(kept: SqlRegistrations) -> Registration:
    (found,) = kept.all()
    return found


class Asking:
    """A worker's registrar, and a clock that a test sets."""

    def __init__(self, kept: SqlRegistrations) -> None:
        self.now = NOW
        self.registrar = Registrar(kept, lambda: self.now)

    def ask(self, app: str, *tools: dict[str, Any], reason: str = "unregistered") -> None:
        named = [tool.get("function", tool).get("name", tool["type"]) for tool in tools]
        asks = [ToolAsk(name, "function", f"tools[{place}]") for place, name in enumerate(named)]
        withheld = [Withheld(name, "function", reason) for name in named]
        self.registrar.note(app, asks, {"tools": list(tools)}, withheld)


class TestAToolThatIsAskedFor:
    def test_is_registered_once_with_a_class_and_nothing_of_its_words(self, kept: SqlRegistrations) -> None:
        asking = Asking(kept)
        for app in ("shop", "desk", "shop"):
            asking.ask(app, SEND)
        asyncio.run(asking.registrar.write())
        found = only(kept)
        assert (found.kind, found.name, found.status, found.apps) == ("function", "send_parcel", Status.PENDING, ("shop", "desk"))
        assert Capability.EGRESS in found.suggestion.capabilities
        assert found.suggestion.destination_arguments == ("address",)
        assert "SECRET" not in json.dumps(kept._engine.raw_connection().execute("SELECT * FROM tool_registrations").fetchall())

    def test_is_seen_again_after_a_while(self, kept: SqlRegistrations) -> None:
        asking = Asking(kept)
        asking.ask("shop", SEND)
        asyncio.run(asking.registrar.write())
        asking.now += timedelta(seconds=AGAIN_SECONDS - 1)
        asking.ask("shop", SEND)
        asyncio.run(asking.registrar.write())
        assert only(kept).last_seen == NOW
        asking.now += timedelta(seconds=2)
        asking.ask("shop", SEND)
        asyncio.run(asking.registrar.write())
        assert only(kept).last_seen == asking.now
        assert only(kept).first_seen == NOW

    def test_is_not_registered_where_it_is_withheld_for_another_reason(self, kept: SqlRegistrations) -> None:
        asking = Asking(kept)
        asking.ask("shop", SEND, reason="over_ceiling")
        asyncio.run(asking.registrar.write())
        assert kept.all() == []

    def test_that_one_app_makes_up_keeps_no_others_from_being_noted(self, kept: SqlRegistrations) -> None:
        asking = Asking(kept)
        for number in range(MOST_OF_AN_APP + 20):
            asking.ask("noisy", {"type": "function", "name": f"tool_{number}"})
        asking.ask("shop", SEND)
        asyncio.run(asking.registrar.write())
        assert len(kept.all()) == MOST_OF_AN_APP + 1

    def test_waits_while_the_store_is_down(self, kept: SqlRegistrations, engine: Engine, tmp_path: Path) -> None:
        asking = Asking(kept)
        asking.ask("shop", SEND)
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE tool_registrations RENAME TO gone")
        asyncio.run(asking.registrar.write())
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO tool_registrations")
        asyncio.run(asking.registrar.write())
        assert only(kept).name == "send_parcel"

    def test_of_a_server_with_a_list_is_registered_tool_by_tool(self, kept: SqlRegistrations) -> None:
        registrar = Registrar(kept, lambda: NOW)
        body = {"input": [{"type": "mcp_list_tools", "server_label": "crm", "tools": [LOOK_UP]}], "tools": [{"type": "mcp"}]}
        asks = [
            ToolAsk("mcp", "mcp", "input[0]", "crm", listed=list_digests([LOOK_UP])),
            ToolAsk("mcp", "mcp", "tools[0]", "wiki"),
        ]
        registrar.note("shop", asks, body, [Withheld("crm", "mcp", "list_changed"), Withheld("wiki", "mcp", "unregistered")])
        asyncio.run(registrar.write())
        assert {(each.server, each.name, bool(each.digest)) for each in kept.all()} == {
            ("crm", "look_up", True),
            ("wiki", "wiki", False),
        }

    def test_whose_definition_changes_is_suggested_as_both(self, kept: SqlRegistrations) -> None:
        harmless = {**SUM, "name": "helper"}
        kept.note([registry.registration_of(Seen("function", "helper", harmless), NOW)])
        kept.note([registry.registration_of(Seen("function", "helper", {**harmless, "description": "Sends e-mail."}), NOW)])
        assert Capability.EGRESS in only(kept).suggestion.capabilities


def confirm(
    store: RuleStore, kept: SqlRegistrations, *names: str, mode: str = "single", by: Actor = ANN, **said: Any
) -> tuple[bool, list[str]]:
    confirmation = Confirmation(owner="post@example.org", **said)
    _, active, tools = registry.confirm(store, kept, names, confirmation, by=by, governance_mode=mode, at=NOW)
    return active, [tool.id for tool in tools]


class TestAConfirmation:
    def test_makes_a_revision_in_which_the_tool_is_known(self, store: RuleStore, kept: SqlRegistrations) -> None:
        registry.import_tools(kept, in_force(store), registry.listed([SEND, SUM]), at=NOW)
        assert confirm(store, kept, "send_parcel", sets=("agentic",)) == (True, ["send_parcel"])
        rules = in_force(store)
        tool = rules.tools["send_parcel"]
        assert (tool.owner, tool.functions, tool.destination_arguments) == ("post@example.org", ("send_parcel",), ("address",))
        assert rules.tool_index.find(ToolAsk("send_parcel", "function", "")) == tool
        assert "send_parcel" in rules.sets["agentic"].tools
        assert "send_parcel" not in rules.sets["standard"].tools
        assert {each.name: each.status for each in kept.all()} == {"send_parcel": Status.CONFIRMED, "sum_up": Status.PENDING}
        assert next((event.act, event.actor) for event in events(kept._engine)) == ("tool.confirmed", "ann")

    def test_is_only_a_proposal_where_two_people_decide(self, store: RuleStore, kept: SqlRegistrations) -> None:
        registry.import_tools(kept, in_force(store), registry.listed([SEND]), at=NOW)
        owner = Actor("post@example.org", Person("person_1", "post@example.org", (Role.TOOL_OWNER,), "rp-", "post", NOW))
        assert confirm(store, kept, "send_parcel", mode="four_eyes", by=owner) == (False, ["send_parcel"])
        assert "send_parcel" not in in_force(store).tools
        assert only(kept).revision not in (None, in_force(store).revision)
        assert (only(kept).decided_by, store.proposals(limit=1)[0].authors) == ("post@example.org", ("post@example.org",))

    @pytest.mark.parametrize("role", [None, Role.APPROVER])
    def test_is_of_an_editor_or_an_owner_of_tools_there(
        self, store: RuleStore, kept: SqlRegistrations, role: Role | None
    ) -> None:
        registry.import_tools(kept, in_force(store), registry.listed([SEND]), at=NOW)
        person = None if role is None else Person("person_1", "eve@example.org", (role,), "rp-", "eve", NOW)
        with pytest.raises(governance.NotAllowed, match="`editor` and the role `tool-owner`"):
            confirm(store, kept, "send_parcel", mode="four_eyes", by=Actor("eve@example.org", person))
        assert only(kept).status is Status.PENDING

    def test_is_approved_by_whom_the_set_names_too_where_that_is_somebody_here(
        self, store: RuleStore, kept: SqlRegistrations
    ) -> None:
        registry.import_tools(kept, in_force(store), registry.listed([SEND]), at=NOW)
        named = in_force(store).sets["agentic"].approver
        editor, asked = (Person(name, name, (Role.EDITOR,), "rp-", name, NOW) for name in ("ed@example.org", named))
        said = Confirmation(owner="post@example.org", sets=("agentic",))
        by = Actor(editor.email, editor)
        registry.confirm(store, kept, ["send_parcel"], said, by=by, governance_mode="four_eyes", at=NOW, people=[editor, asked])
        assert store.proposals(limit=1)[0].needs == ("approver", named)

    def test_may_say_something_else_than_was_suggested(self, store: RuleStore, kept: SqlRegistrations) -> None:
        registry.import_tools(kept, in_force(store), registry.listed([SEND]), at=NOW)
        confirm(store, kept, "send_parcel", capabilities=frozenset({Capability.WRITES_STATE}), approval="first_use")
        tool = in_force(store).tools["send_parcel"]
        assert (tool.capabilities, tool.approval_boundary) == (frozenset({Capability.WRITES_STATE}), "first_use")

    def test_of_a_grave_act_asks_for_an_approval_of_each_call(self, store: RuleStore, kept: SqlRegistrations) -> None:
        found = registry.listed({"result": {"tools": [LOOK_UP, WIPE]}}, "crm", "https://crm.example.org/mcp")
        registry.import_tools(kept, in_force(store), found, at=NOW)
        confirm(store, kept, "crm.look_up", "wipe", internal=True)
        rules = in_force(store)
        assert rules.tools["crm.wipe"].approval_boundary == "every_call"  # whatever the server says of it
        look_up = rules.tools["crm.look_up"]
        assert look_up.approval_boundary == "none"
        assert (look_up.servers, look_up.server_urls) == (("crm",), ("https://crm.example.org/mcp",))
        assert look_up.pinned == list_digests([LOOK_UP])
        assert look_up.internal

    def test_takes_a_name_with_signs_for_that_name_and_not_for_a_pattern(self, store: RuleStore, kept: SqlRegistrations) -> None:
        kept.note([registry.registration_of(Seen("function", "*", {"name": "*"}), NOW)])
        assert confirm(store, kept, "*") == (True, ["tool"])
        index = in_force(store).tool_index
        assert index.find(ToolAsk("*", "function", "")) is not None
        assert index.find(ToolAsk("anything", "function", "")) is None

    def test_of_an_unknown_name_changes_nothing(self, store: RuleStore, kept: SqlRegistrations) -> None:
        before = in_force(store).revision
        with pytest.raises(NoSuchTool, match="router tools pending"):
            confirm(store, kept, "nothing")
        registry.import_tools(kept, in_force(store), registry.listed([SEND]), at=NOW)
        with pytest.raises(RuleFaults, match="there is no entitlement set `gone`"):
            confirm(store, kept, "send_parcel", sets=("gone",))
        assert in_force(store).revision == before
        assert only(kept).status is Status.PENDING


def test_what_is_rejected_stays_out_until_it_is_imported_again(store: RuleStore, kept: SqlRegistrations) -> None:
    rules = in_force(store)
    registry.import_tools(kept, rules, registry.listed([SEND]), at=NOW)
    registry.reject(kept, ["send_parcel"], actor="ann", at=NOW)
    assert registry.pending(kept) == []
    kept.note([registry.registration_of(Seen("function", "send_parcel", SEND, app="shop"), NOW)])
    assert (only(kept).status, only(kept).apps) == (Status.REJECTED, ("shop",))
    registry.import_tools(kept, rules, registry.listed([SEND]), at=NOW)
    assert only(kept).status is Status.PENDING


def test_a_changed_list_is_unknown_again_and_confirming_it_pins_it_anew(store: RuleStore, kept: SqlRegistrations) -> None:
    def bring(*tools: dict[str, Any]) -> registry.Imported:
        return registry.import_tools(kept, in_force(store), registry.listed(list(tools), "crm", "https://c.example/mcp"), at=NOW)

    assert bring(LOOK_UP, WIPE).pending == ("look_up", "wipe")
    confirm(store, kept, "look_up", "wipe", sets=("agentic",))
    assert bring(LOOK_UP, WIPE) == registry.Imported((), ("look_up", "wipe"))
    changed = {**LOOK_UP, "description": "Sends one customer record by e-mail."}
    assert bring(changed) == registry.Imported(("look_up",), (), ("wipe",))
    (waiting,) = registry.pending(kept)
    assert Capability.EGRESS in waiting.suggestion.capabilities
    assert confirm(store, kept, "look_up") == (True, ["crm.look_up"])
    tool = in_force(store).tools["crm.look_up"]
    assert tool.pinned == list_digests([changed])
    assert Capability.EGRESS in tool.capabilities
    assert "crm.look_up" in in_force(store).sets["agentic"].tools


@pytest.mark.parametrize("document", [7, {"result": {}}, ["x"], [{"type": "function"}], {"tools": [{"description": "no name"}]}])
def test_what_is_no_list_of_tools_is_told(document: Any) -> None:
    with pytest.raises(NotATool):
        registry.listed(document)


def test_the_command_line_does_it_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUTER_DATA_DIR", str(tmp_path / "data"))
    run = CliRunner()

    def done(*arguments: str) -> Any:
        result = run.invoke(cli, ["tools", *arguments, "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.output)

    assert run.invoke(cli, ["keys", "create", "--app", "demo"]).exit_code == 0  # seeds the rules
    (tmp_path / "tools.json").write_text(json.dumps({"tools": [SEND, SUM, {"type": "web_search"}]}))
    assert done("import", str(tmp_path / "tools.json")) == {
        "pending": ["send_parcel", "sum_up"],
        "known": ["web_search"],
        "gone": [],
    }
    assert {each["name"] for each in done("pending")} == {"send_parcel", "sum_up"}
    assert done("reject", "sum_up") == ["sum_up"]
    made = done("confirm", "send_parcel", "--owner", "post@example.org", "--set", "agentic")
    assert made["in_force"]
    assert made["tools"][0]["sets"] == ["agentic"]
    (entry,) = [each for each in done("list") if each["id"] == "send_parcel"]
    assert entry["owner"] == "post@example.org"
    assert done("pending") == []
    refused = run.invoke(cli, ["tools", "confirm", "sum_up", "--owner", "o@example.org"])
    assert refused.exit_code == 1
    assert "no tool `sum_up` is pending" in refused.output


class TestAServerThatAProviderSaysHasChanged:
    def test_is_unknown_at_once_and_until_it_is_decided(self, store: RuleStore, kept: SqlRegistrations) -> None:
        found = registry.listed([LOOK_UP], "crm", "https://c.example/mcp")
        registry.import_tools(kept, in_force(store), found, at=NOW)
        confirm(store, kept, "look_up")
        assert changed_servers(kept._engine) == frozenset()
        registrar = Registrar(kept, lambda: NOW)
        changed = {**LOOK_UP, "description": "Sends customer records."}
        registrar.note_changed("shop", "crm", [changed, "no tool"])
        registrar.looked_at(frozenset())
        assert registrar.changed_servers() == {"crm"}
        assert asyncio.run(registrar.write())
        assert changed_servers(kept._engine) == {"crm"}
        registry.import_tools(kept, in_force(store), registry.listed([changed], "crm"), at=NOW)
        assert changed_servers(kept._engine) == {"crm"}  # to import it is not to have decided
        (waiting,) = registry.pending(kept)
        assert (waiting.status, waiting.address) == (Status.CHANGED, "https://c.example/mcp")
        confirm(store, kept, "look_up")
        assert changed_servers(kept._engine) == frozenset()
        assert in_force(store).tools["crm.look_up"].pinned == list_digests([changed])

    def test_is_no_word_of_an_app(self, kept: SqlRegistrations) -> None:
        registrar = Registrar(kept, lambda: NOW)
        body = {"input": [{"type": "mcp_list_tools", "server_label": "crm", "tools": [LOOK_UP]}]}
        ask = ToolAsk("mcp", "mcp", "input[0]", "crm", listed=list_digests([LOOK_UP]))
        registrar.note("shop", [ask], body, [Withheld("crm", "mcp", "list_changed")])
        assert not asyncio.run(registrar.write())
        assert only(kept).status is Status.PENDING
        assert changed_servers(kept._engine) == registrar.changed_servers() == frozenset()
