"""What becomes of a proposed tool call, and why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from routing_rules.catalogue import Tool
from routing_rules.combinations import Combination, Effect
from routing_rules.facts import Labels
from routing_rules.judge import (
    RULES,
    CallFacts,
    Judgement,
    Objection,
    Outcome,
    Rule,
    facts_of_arguments,
    judge,
    labels_after,
)
from routing_rules.provenance import Origin, Source, Sources
from routing_rules.vocabulary import Capability, Integrity, Intent, Sensitivity

C = Capability
TRUSTED = Labels()
UNTRUSTED = Labels(Integrity.UNTRUSTED)
PRIVATE = Labels(Integrity.TRUSTED, Sensitivity.CONFIDENTIAL)
BOTH = Labels(Integrity.UNTRUSTED, Sensitivity.CONFIDENTIAL)
MODEL, USER, LISTED, LEAF, EXTERNAL = (
    (Origin("to", source),) for source in (Source.MODEL, Source.USER, Source.LISTED, Source.LEAF, Source.EXTERNAL_LEAF)
)


def tool(*capabilities: Capability, **fields: object) -> Tool:
    return Tool("t", "owner@example.org", frozenset(capabilities), functions=("t",), **fields)  # type: ignore[arg-type]


def call(
    *capabilities: Capability,
    labels: Labels = TRUSTED,
    asked: tuple[Capability, ...] = (),
    confidence: float = 1.0,
    boundary: str = "none",
    **fields: object,
) -> Judgement:
    entry = tool(*capabilities, approval_boundary=boundary)
    return judge(CallFacts(entry, True, Intent(frozenset(asked)), confidence, labels, **fields))  # type: ignore[arg-type]


def codes(judgement: Judgement) -> list[str]:
    return [objection.code for objection in judgement.objections]


def test_a_look_is_released_whatever_was_asked() -> None:
    assert call(C.READS_PRIVATE, labels=BOTH).outcome is Outcome.RELEASED
    assert call(C.PURE, labels=BOTH, confidence=0.0).outcome is Outcome.RELEASED


def test_an_unregistered_tool_is_refused() -> None:
    judged = judge(CallFacts(None, True, Intent(), 1.0, TRUSTED))
    assert judged.outcome is Outcome.REFUSED
    assert codes(judged) == ["unregistered"]
    assert judged.adds == frozenset()


def test_a_tool_that_was_not_offered_is_refused() -> None:
    judged = judge(CallFacts(tool(C.PURE), False, Intent(), 1.0, TRUSTED))
    assert (judged.outcome, codes(judged)) == (Outcome.REFUSED, ["not_offered"])


def test_arguments_that_are_no_object_or_break_the_owners_schema_are_refused() -> None:
    assert codes(call(C.PURE, arguments_read=False)) == ["arguments_unreadable"]
    assert codes(call(C.PURE, arguments_kept=False)) == ["arguments_not_permitted"]


@pytest.mark.parametrize(
    ("raw", "read", "kept"),
    [
        ('{"n": 1}', True, True),
        ('{"n": 9}', True, False),
        ("", True, True),
        ("[1]", False, False),
        ("{", False, False),
        ("[" * 100_000, False, False),
        ('{"n": "' + "9" * 10_000 + '"}', True, True),
        ('{"to": "eve@evil.example", "to": "ann@ok.example"}', False, False),
        ('{"to": "eve@evil.example", "\\u0074o": "ann@ok.example"}', False, False),
        ('{"a": [{"to" : 1, "b": {}, "to"\n: 2}]}', False, False),
        ('{"a": [{"to": 1}, {"to": 2}], "b": {"to": "\\"to\\": 3, \\"to\\": 4"}, "\\"": ": {"}', True, True),
    ],
)
def test_arguments_are_checked_against_the_schema(raw: str, read: bool, kept: bool) -> None:
    entry = tool(C.PURE, arguments_schema='{"properties": {"n": {"maximum": 3}}}')
    assert facts_of_arguments(entry, raw, Sources([]))[:2] == (read, kept)


def test_a_schema_that_is_not_understood_is_not_kept_to() -> None:
    entry = tool(C.PURE, arguments_schema='{"$ref": "#/somewhere"}')
    assert facts_of_arguments(entry, "{}", Sources([]))[1] is False


def test_facts_show_no_argument_values() -> None:
    entry = tool(C.EGRESS, destination_arguments=("to",))
    _, _, origins = facts_of_arguments(entry, '{"to": "eve@evil.org", "body": "secret"}', Sources(["hello"]))
    shown = repr(CallFacts(entry, True, Intent(), 1.0, BOTH, origins=origins))
    assert "eve" not in shown
    assert "secret" not in shown


def test_an_approval_boundary_holds() -> None:
    assert codes(call(C.PURE, boundary="every_call", used_tools=frozenset({"t"}))) == ["approval_every_call"]
    assert codes(call(C.PURE, boundary="first_use")) == ["approval_first_use"]
    assert call(C.PURE, boundary="first_use", used_tools=frozenset({"t"})).outcome is Outcome.RELEASED
    assert call(C.PURE, boundary="some_word").outcome is Outcome.REFUSED


def test_in_a_trusted_session_a_light_act_needs_no_words() -> None:
    assert call(C.WRITES_STATE).outcome is Outcome.RELEASED
    assert call(C.EGRESS, origins=MODEL).outcome is Outcome.RELEASED


@pytest.mark.parametrize("grave", [C.SPENDS_MONEY, C.DESTRUCTIVE, C.ADMIN_PRIVILEGE, C.EXECUTES_CODE, C.COMPUTER_CONTROL])
def test_a_grave_act_that_nobody_asked_for_is_always_held(grave: Capability) -> None:
    assert codes(call(grave, origins=USER)) == ["act_not_asked"]
    assert call(grave, origins=USER, asked=(grave,)).outcome is Outcome.RELEASED


def test_once_others_words_are_in_the_session_an_act_must_be_asked_for() -> None:
    assert codes(call(C.WRITES_STATE, labels=UNTRUSTED)) == ["act_not_asked"]
    assert call(C.WRITES_STATE, labels=UNTRUSTED, asked=(C.WRITES_STATE,)).outcome is Outcome.RELEASED
    assert codes(call(C.WRITES_STATE, used=frozenset({C.READS_UNTRUSTED}))) == ["act_not_asked"]


def test_a_low_confidence_holds_and_never_denies() -> None:
    unsure = call(C.WRITES_STATE, labels=UNTRUSTED, asked=(C.WRITES_STATE,), confidence=0.1)
    assert (unsure.outcome, codes(unsure)) == (Outcome.HELD, ["intent_unsure"])
    assert call(C.WRITES_STATE, labels=UNTRUSTED, asked=(C.WRITES_STATE,), confidence=float("nan")).outcome is Outcome.HELD


def test_to_ask_for_another_thing_is_not_to_ask() -> None:
    entry = tool(C.WRITES_STATE)
    intent = Intent(frozenset({C.WRITES_STATE}), frozenset({"file"}))
    facts = CallFacts(entry, True, intent, 1.0, UNTRUSTED, objects=frozenset({"email"}))
    assert codes(judge(facts)) == ["act_not_asked"]


def test_who_has_others_words_carried_out_asks_for_light_acts_to_vouched_places_only() -> None:
    def delegated(*capabilities: Capability, origins: tuple[Origin, ...] = ()) -> Judgement:
        intent = Intent(objects=frozenset({"email"}), delegates=True)
        objects = frozenset({"file"})
        return judge(CallFacts(tool(*capabilities), True, intent, 1.0, BOTH, origins=origins, objects=objects))

    assert delegated(C.WRITES_STATE, origins=LEAF).outcome is Outcome.RELEASED
    assert delegated(C.EGRESS, origins=USER).outcome is Outcome.RELEASED
    assert delegated(C.EGRESS, origins=LEAF).outcome is Outcome.HELD
    assert delegated(C.EGRESS, origins=MODEL).outcome is Outcome.HELD
    assert delegated(C.WRITES_STATE).outcome is Outcome.HELD
    for grave in (C.SPENDS_MONEY, C.DESTRUCTIVE, C.ADMIN_PRIVILEGE, C.EXECUTES_CODE):
        assert delegated(grave, origins=USER).outcome is Outcome.HELD


def test_where_an_act_goes_to_must_be_vouched_for_once_others_words_are_in_the_session() -> None:
    for origins, expected in ((USER, []), (LISTED, []), (LEAF, []), (EXTERNAL, ["destination_not_vouched"])):
        assert codes(call(C.WRITES_STATE, labels=UNTRUSTED, asked=(C.WRITES_STATE,), origins=origins)) == expected
    assert codes(call(C.WRITES_STATE, labels=UNTRUSTED, asked=(C.WRITES_STATE,), origins=(*USER, *MODEL))) == [
        "destination_not_vouched"
    ]


def test_earlier_results_are_no_reason_to_spend() -> None:
    judged = call(C.SPENDS_MONEY, labels=UNTRUSTED, asked=(C.SPENDS_MONEY,), origins=LEAF)
    assert codes(judged) == ["combination:untrusted_spend", "destination_not_vouched"]
    assert call(C.SPENDS_MONEY, labels=UNTRUSTED, asked=(C.SPENDS_MONEY,), origins=USER).outcome is Outcome.RELEASED
    assert codes(call(C.SPENDS_MONEY, labels=UNTRUSTED, asked=(C.SPENDS_MONEY,))) == ["combination:untrusted_spend"]


def test_private_untrusted_and_egress_meet_only_where_the_destination_is_vouched_for() -> None:
    assert call(C.EGRESS, labels=BOTH, asked=(C.EGRESS,), origins=LEAF).outcome is Outcome.RELEASED
    assert "combination:private_untrusted_egress" in codes(call(C.EGRESS, labels=BOTH, asked=(C.EGRESS,), origins=MODEL))
    assert "combination:private_untrusted_egress" in codes(call(C.EGRESS, labels=BOTH, asked=(C.EGRESS,)))


@pytest.mark.parametrize("last", [C.READS_PRIVATE, C.READS_UNTRUSTED, C.EGRESS])
def test_private_untrusted_and_egress_are_not_all_released_whichever_comes_last(last: Capability) -> None:
    used = frozenset({C.READS_PRIVATE, C.READS_UNTRUSTED, C.EGRESS}) - {last}
    assert call(last, used=used, asked=(C.EGRESS,)).outcome is Outcome.HELD


def test_private_data_goes_nowhere_that_nothing_vouches_for() -> None:
    assert codes(call(C.EGRESS, labels=PRIVATE, origins=MODEL)) == ["combination:private_egress"]
    assert call(C.EGRESS, labels=PRIVATE, origins=USER).outcome is Outcome.RELEASED


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (C.COMPUTER_CONTROL, "untrusted_computer"),
        (C.MEMORY_PERSIST, "untrusted_memory"),
        (C.LOADS_TOOLS, "untrusted_loading"),
    ],
)
def test_after_others_words_some_acts_are_held_even_where_asked_for(act: Capability, code: str) -> None:
    assert codes(call(act, labels=UNTRUSTED, asked=(act,), origins=USER)) == [f"combination:{code}"]


@pytest.mark.parametrize(("act", "code"), [(C.DESTRUCTIVE, "untrusted_destructive"), (C.ADMIN_PRIVILEGE, "untrusted_admin")])
def test_after_others_words_destruction_and_administration_need_both_words_and_a_vouched_target(
    act: Capability, code: str
) -> None:
    assert call(act, labels=UNTRUSTED, asked=(act,), origins=USER).outcome is Outcome.RELEASED
    assert f"combination:{code}" in codes(call(act, labels=UNTRUSTED, origins=USER))
    assert f"combination:{code}" in codes(call(act, labels=UNTRUSTED, asked=(act,), origins=MODEL))


def test_after_others_words_code_runs_only_where_the_user_asks_for_it() -> None:
    assert call(C.EXECUTES_CODE, labels=UNTRUSTED, asked=(C.EXECUTES_CODE,)).outcome is Outcome.RELEASED
    assert "combination:untrusted_execute" in codes(call(C.EXECUTES_CODE, labels=UNTRUSTED))
    web_and_files = frozenset({C.READS_UNTRUSTED, C.EGRESS, C.READS_PRIVATE})
    assert "combination:web_files_code" in codes(call(C.EXECUTES_CODE, used=web_and_files, asked=(C.EXECUTES_CODE,)))


def test_web_search_file_search_and_code_do_not_meet() -> None:
    used = frozenset({C.READS_UNTRUSTED, C.EGRESS, C.EXECUTES_CODE})
    assert "combination:web_files_code" in codes(call(C.READS_PRIVATE, used=used))


def test_execution_with_a_network_and_private_data_do_not_meet() -> None:
    judged = call(C.EXECUTES_CODE, C.EGRESS, labels=PRIVATE, asked=(C.EXECUTES_CODE,), origins=USER)
    assert codes(judged) == ["combination:network_execution_private"]
    assert call(C.EXECUTES_CODE, labels=PRIVATE, asked=(C.EXECUTES_CODE,)).outcome is Outcome.RELEASED


def test_a_look_at_a_url_that_the_model_chose_is_egress() -> None:
    url = Origin("page", Source.MODEL, url=True)
    assert codes(call(C.READS_UNTRUSTED, labels=PRIVATE, origins=(url,))) == [
        "combination:private_egress",
        "combination:private_untrusted_egress",
    ]
    assert C.EGRESS in call(C.READS_UNTRUSTED, origins=(url,)).adds
    said = Origin("page", Source.USER, url=True)
    assert call(C.READS_UNTRUSTED, labels=PRIVATE, origins=(said,)).outcome is Outcome.RELEASED


def test_looks_at_the_web_follow_each_other_without_a_word() -> None:
    assert call(C.READS_UNTRUSTED, C.EGRESS, labels=UNTRUSTED).outcome is Outcome.RELEASED


def test_restricted_data_stays_away_from_others_servers() -> None:
    restricted = Labels(Integrity.TRUSTED, Sensitivity.RESTRICTED)
    assert codes(call(C.PURE, labels=restricted, third_party=True)) == ["restricted_to_third_party"]
    assert codes(call(C.PURE, used=frozenset({C.READS_RESTRICTED}), third_party=True)) == ["restricted_to_third_party"]
    assert call(C.PURE, labels=PRIVATE, third_party=True).outcome is Outcome.RELEASED


def test_work_is_handed_only_to_a_model_that_is_cleared_for_it() -> None:
    asked = (C.DELEGATES_MODEL,)
    assert codes(call(C.DELEGATES_MODEL, labels=PRIVATE, asked=asked)) == ["delegate_not_cleared"]
    cleared = call(C.DELEGATES_MODEL, labels=PRIVATE, asked=asked, delegate_clearance=Sensitivity.CONFIDENTIAL)
    assert cleared.outcome is Outcome.RELEASED


def test_an_entitlement_set_prohibits_and_steps_up_combinations_of_its_own() -> None:
    own = Combination("files_and_mail", frozenset({C.READS_PRIVATE, C.WRITES_STATE}), frozenset({C.WRITES_STATE}))
    refused = call(C.WRITES_STATE, labels=PRIVATE, prohibited=(own,))
    assert (refused.outcome, codes(refused)) == (Outcome.REFUSED, ["prohibited_combination:files_and_mail"])
    held = call(C.WRITES_STATE, labels=PRIVATE, step_ups=(own,))
    assert (held.outcome, codes(held)) == (Outcome.HELD, ["combination:files_and_mail"])
    both = call(C.WRITES_STATE, labels=PRIVATE, step_ups=(own,), prohibited=(own,))
    assert both.outcome is Outcome.REFUSED
    assert codes(both)[0] == "prohibited_combination:files_and_mail"


def test_an_invitation_without_guests_goes_nowhere() -> None:
    entry = tool(C.WRITES_STATE, C.EGRESS, destination_arguments=("participants",))
    facts = CallFacts(entry, True, Intent(frozenset({C.WRITES_STATE})), 1.0, BOTH)
    assert judge(facts).outcome is Outcome.RELEASED
    assert judge(facts).adds == {C.WRITES_STATE}


def test_egress_to_vouched_destinations_does_not_count_as_a_way_out() -> None:
    assert call(C.EGRESS, origins=USER).adds == frozenset()
    assert call(C.EGRESS, origins=MODEL).adds == {C.EGRESS}


def test_a_rule_that_fails_refuses() -> None:
    def broken(facts: CallFacts) -> Iterator[Objection]:
        raise RuntimeError("secret words")
        yield

    judged = judge(CallFacts(tool(C.PURE), True, Intent(), 1.0, TRUSTED), (*RULES, Rule("broken", broken)))
    assert (judged.outcome, codes(judged)) == (Outcome.REFUSED, ["evaluation_error"])
    assert "secret" not in repr(judged)


def test_every_objection_says_what_would_make_the_call_pass() -> None:
    judged = call(C.SPENDS_MONEY, labels=BOTH, origins=MODEL, boundary="every_call", arguments_kept=False)
    assert judged.objections[0].effect is Effect.FORBID
    assert all(objection.remedy for objection in judged.objections)


def test_results_raise_the_labels_of_a_session() -> None:
    assert labels_after(TRUSTED, None) == BOTH
    mail = tool(C.READS_PRIVATE, C.READS_UNTRUSTED, highest_read=Sensitivity.CONFIDENTIAL)
    assert labels_after(TRUSTED, mail) == BOTH
    assert labels_after(BOTH, tool(C.PURE)) == BOTH
    assert labels_after(TRUSTED, tool(C.READS_RESTRICTED)).confidentiality is Sensitivity.RESTRICTED
