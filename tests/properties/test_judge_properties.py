"""What always holds of the judgement of a tool call."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from routing_rules.catalogue import Tool
from routing_rules.combinations import Combination
from routing_rules.facts import Labels
from routing_rules.judge import RULES, SURE, CallFacts, Outcome, facts_of_arguments, judge, labels_after
from routing_rules.provenance import Origin, Result, Source, Sources, origins
from routing_rules.suggest import objects_of, suggest
from routing_rules.vocabulary import Capability, Integrity, Intent, Sensitivity

CAPABILITIES = st.frozensets(st.sampled_from(Capability))
LABELS = st.builds(Labels, st.sampled_from(Integrity), st.sampled_from(Sensitivity))
OBJECTS = st.frozensets(st.sampled_from(["email", "file", "payment"]))
ORIGINS = st.builds(Origin, st.sampled_from(["to", "cc"]), st.sampled_from(Source), st.booleans())
TOOLS = st.builds(
    Tool,
    id=st.just("t"),
    owner=st.just("owner@example.org"),
    capabilities=CAPABILITIES.filter(bool),
    highest_read=st.sampled_from(Sensitivity),
    approval_boundary=st.sampled_from(["none", "first_use", "every_call"]),
    destination_arguments=st.sampled_from([(), ("to",)]),
)
COMBINATIONS = st.builds(Combination, st.just("own"), CAPABILITIES, CAPABILITIES)
FACTS = st.builds(
    CallFacts,
    tool=st.none() | TOOLS,
    offered=st.booleans() | st.just(True),
    intent=st.builds(Intent, CAPABILITIES, OBJECTS, st.booleans()),
    confidence=st.sampled_from([0.0, 0.4, SURE, 1.0]),
    labels=LABELS,
    used=CAPABILITIES,
    used_tools=st.sampled_from([frozenset(), frozenset({"t"})]),
    origins=st.lists(ORIGINS, max_size=3).map(tuple),
    objects=OBJECTS,
    third_party=st.booleans(),
    delegate_clearance=st.sampled_from(Sensitivity),
    prohibited=st.lists(COMBINATIONS, max_size=1).map(tuple),
    step_ups=st.lists(COMBINATIONS, max_size=1).map(tuple),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=5), below, max_size=4),
    max_leaves=12,
)
SEVERITY = {Outcome.RELEASED: 0, Outcome.HELD: 1, Outcome.REFUSED: 2}


def risks(facts: CallFacts, labels: Labels, used: frozenset[Capability], more: Combination) -> list[dict[str, Any]]:
    """Changes of which each adds a risk and takes none away."""
    vouched_for = {"origins": (*facts.origins, Origin("cc", Source.MODEL, True))}
    return [
        {"labels": facts.labels.join(labels)},
        {"used": facts.used | used},
        {"intent": msgspec.structs.replace(facts.intent, capabilities=frozenset())},
        {"confidence": 0.0},
        {"offered": False},
        {"arguments_read": False},
        {"arguments_kept": False},
        {"third_party": True},
        {"delegate_clearance": Sensitivity.PUBLIC},
        {"prohibited": (*facts.prohibited, more)},
        {"step_ups": (*facts.step_ups, more)},
        {"used_tools": frozenset()},
        {"tool": None},
        vouched_for,
        {"origins": tuple(msgspec.structs.replace(origin, source=Source.MODEL) for origin in facts.origins)},
    ]


@given(facts=FACTS, order=st.permutations(RULES))
def test_the_order_of_rules_and_of_what_is_given_does_not_matter(facts: CallFacts, order: list[Any]) -> None:
    turned = msgspec.structs.replace(
        facts, origins=facts.origins[::-1], prohibited=facts.prohibited[::-1], step_ups=facts.step_ups[::-1]
    )
    assert judge(facts) == judge(facts, tuple(order)) == judge(turned)


@settings(max_examples=400)
@given(facts=FACTS, labels=LABELS, used=CAPABILITIES, more=COMBINATIONS)
def test_a_further_risk_never_makes_a_call_pass(
    facts: CallFacts, labels: Labels, used: frozenset[Capability], more: Combination
) -> None:
    before = SEVERITY[judge(facts).outcome]
    for change in risks(facts, labels, used, more):
        assert SEVERITY[judge(msgspec.structs.replace(facts, **change)).outcome] >= before, change


@given(facts=FACTS)
def test_leaving_a_rule_out_never_makes_a_call_harder(facts: CallFacts) -> None:
    full = SEVERITY[judge(facts).outcome]
    for left_out in RULES:
        assert SEVERITY[judge(facts, tuple(rule for rule in RULES if rule is not left_out)).outcome] <= full


@given(labels=LABELS, tool=st.none() | TOOLS)
def test_labels_never_fall(labels: Labels, tool: Tool | None) -> None:
    after = labels_after(labels, tool)
    assert after.integrity >= labels.integrity
    assert after.confidentiality >= labels.confidentiality


@given(order=st.permutations([Capability.READS_PRIVATE, Capability.READS_UNTRUSTED, Capability.EGRESS]), asked=CAPABILITIES)
def test_private_untrusted_and_egress_are_never_all_released(order: list[Capability], asked: frozenset[Capability]) -> None:
    used: frozenset[Capability] = frozenset()
    released = 0
    for capability in order:
        tool = Tool(capability.value, "owner@example.org", frozenset({capability}))
        judged = judge(CallFacts(tool, True, Intent(asked), 1.0, Labels(), used=used))
        if judged.outcome is Outcome.RELEASED:
            released += 1
            used |= judged.adds
    assert released < 3


@given(facts=FACTS)
def test_facts_of_a_call_come_back_the_same_from_json(facts: CallFacts) -> None:
    again = msgspec.json.decode(msgspec.json.encode(facts), type=CallFacts)
    assert again == facts
    assert judge(again) == judge(facts)


@given(
    said=st.lists(st.text(), max_size=3),
    allowed=st.lists(st.text(), max_size=3),
    results=st.lists(st.text() | JSON.map(lambda value: msgspec.json.encode(value).decode()), max_size=3),
    arguments=JSON,
    capabilities=CAPABILITIES,
)
def test_no_input_breaks_the_look_for_where_values_come_from(
    said: list[str], allowed: list[str], results: list[str], arguments: Any, capabilities: frozenset[Capability]
) -> None:
    sources = Sources(said, allowed, [Result(text) for text in results])
    names = list(arguments) if isinstance(arguments, dict) else []
    assert isinstance(origins(arguments, names, sources, capabilities), tuple)


@given(raw=st.text() | st.binary(), schema=st.none() | st.text() | JSON.map(lambda value: msgspec.json.encode(value).decode()))
def test_no_arguments_and_no_schema_break_the_judgement(raw: str | bytes, schema: str | None) -> None:
    tool = Tool("t", "owner@example.org", frozenset({Capability.EGRESS}), arguments_schema=schema, destination_arguments=("to",))
    read, kept, found = facts_of_arguments(tool, raw, Sources(["hello"]))
    judge(CallFacts(tool, True, Intent(), 0.0, Labels(), origins=found, arguments_read=read, arguments_kept=kept))


@given(name=st.text(), description=st.text(), schema=JSON, annotations=JSON)
def test_annotations_only_ever_add_to_a_suggestion(name: str, description: str, schema: Any, annotations: Any) -> None:
    plain = suggest(name, description, schema if isinstance(schema, dict) else None)
    hinted = suggest(name, description, schema if isinstance(schema, dict) else None, annotations)
    friendly = suggest(name, description, None, {"readOnlyHint": True, "destructiveHint": False, "openWorldHint": False})
    assert plain.capabilities <= hinted.capabilities
    assert suggest(name, description).capabilities <= friendly.capabilities
    assert plain.capabilities
    assert isinstance(objects_of(name, description), frozenset)
