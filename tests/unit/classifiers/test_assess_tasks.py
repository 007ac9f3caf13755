"""A whole request is read and judged: what it sends, what it asks for, how far its tools reach; failures err towards caution."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from classifiers.artefacts import Fitted, load
from classifiers.assess import Assessor
from classifiers.sensitivity import engine
from classifiers.sensitivity.kinds.rule import Rule
from router.api.wire import parse
from router.stages.read_task import NO_HEADERS, read_task
from routing_rules.rules import RuleSet
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.task import Endpoint, Part, Provenance, Role, Task, ToolAsk
from routing_rules.vocabulary import Access, Assessment, Capability, Complexity, ScanState, Sensitivity, TaskKind

SECRET = "gh" + "p_" + "k3Jd9sLq2Wx8" + "Vb6Nm4Pz7Rt1" + "Yc5Hf0Gg2Ta9"
PICTURE = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()


@pytest.fixture(scope="module")
def assessor(policy: SensitivityPolicy) -> Assessor:
    return Assessor(policy, b"a key for tests")


def task_of(rules: RuleSet, endpoint: Endpoint, body: dict[str, Any]) -> Task:
    checked = parse(endpoint, json.dumps({"model": "auto", **body}).encode())
    return read_task(endpoint, checked, NO_HEADERS, rules.sensitivity.labels, rules.sensitivity.unmapped_label)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def function(name: str, description: str = "Does a thing.", **properties: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": {"type": "object", "properties": properties}},
    }


CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "push", "arguments": json.dumps({"with": SECRET})}}],
}
FILE = base64.b64encode(f"the deploy key is {SECRET}, keep it".encode()).decode()
HELLO = user("Hello there")

PLACES: list[tuple[str, Endpoint, dict[str, Any]]] = [
    ("user text", Endpoint.CHAT, {"messages": [user(f"use {SECRET}")]}),
    ("text part", Endpoint.CHAT, {"messages": [user([{"type": "text", "text": f"use {SECRET}"}])]}),
    ("system text", Endpoint.CHAT, {"messages": [{"role": "system", "content": f"use {SECRET}"}, HELLO]}),
    ("developer text", Endpoint.CHAT, {"messages": [{"role": "developer", "content": f"use {SECRET}"}, HELLO]}),
    ("earlier answer", Endpoint.CHAT, {"messages": [HELLO, {"role": "assistant", "content": f"use {SECRET}"}, HELLO]}),
    ("tool-call arguments", Endpoint.CHAT, {"messages": [HELLO, CALLED, {"role": "tool", "tool_call_id": "c1", "content": "ok"}]}),
    (
        "tool result",
        Endpoint.CHAT,
        {
            "messages": [
                HELLO,
                {**CALLED, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "push", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": f"use {SECRET}"},
            ]
        },
    ),
    ("tool description", Endpoint.CHAT, {"messages": [HELLO], "tools": [function("push", f"Pushes with {SECRET}")]}),
    (
        "tool schema description",
        Endpoint.CHAT,
        {"messages": [HELLO], "tools": [function("push", key={"type": "string", "description": f"like {SECRET}"})]},
    ),
    ("tool schema default", Endpoint.CHAT, {"messages": [HELLO], "tools": [function("push", key={"default": SECRET})]}),
    ("metadata", Endpoint.CHAT, {"messages": [HELLO], "metadata": {"note": SECRET}}),
    ("end user", Endpoint.CHAT, {"messages": [HELLO], "user": SECRET}),
    ("stop word", Endpoint.CHAT, {"messages": [HELLO], "stop": [SECRET]}),
    (
        "response format",
        Endpoint.CHAT,
        {
            "messages": [HELLO],
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"description": SECRET}}},
        },
    ),
    (
        "file attachment",
        Endpoint.CHAT,
        {
            "messages": [
                user([{"type": "file", "file": {"filename": "notes.txt", "file_data": f"data:text/plain;base64,{FILE}"}}])
            ]
        },
    ),
    ("file name", Endpoint.CHAT, {"messages": [user([{"type": "file", "file": {"filename": SECRET, "file_data": FILE}}])]}),
    ("instructions", Endpoint.RESPONSES, {"input": "Hello", "instructions": f"use {SECRET}"}),
    ("input text", Endpoint.RESPONSES, {"input": f"use {SECRET}"}),
    ("input item", Endpoint.RESPONSES, {"input": [user([{"type": "input_text", "text": SECRET}])]}),
    ("call output", Endpoint.RESPONSES, {"input": [{"type": "function_call_output", "call_id": "c1", "output": SECRET}]}),
    ("embedding input", Endpoint.EMBEDDINGS, {"model": "text-embedding-3-small", "input": ["Hello", f"use {SECRET}"]}),
]  # fmt: skip


@pytest.mark.parametrize(("endpoint", "body"), [place[1:] for place in PLACES], ids=[place[0] for place in PLACES])
def test_a_secret_anywhere_in_a_request_makes_it_restricted(
    assessor: Assessor, rules: RuleSet, endpoint: Endpoint, body: dict[str, Any]
) -> None:
    task = task_of(rules, endpoint, body)
    result = assessor.assess(task, [None] * len(task.tools))
    assert "github_token" in {finding.kind for finding in result.findings}
    assert (result.sensitivity, "credentials" in result.categories) == (Sensitivity.RESTRICTED, True)
    assert SECRET not in repr(result)


def test_a_picture_that_nobody_can_read_counts_as_the_policy_says(assessor: Assessor, rules: RuleSet) -> None:
    task = task_of(rules, Endpoint.CHAT, {"messages": [user([{"type": "image_url", "image_url": {"url": PICTURE}}])]})
    assert assessor.assess(task, []).sensitivity is rules.sensitivity.unreadable["image"]


def ask(assessor: Assessor, text: str, *tools: str, known: frozenset[Capability] | None = None) -> Assessment:
    asked = tuple(ToolAsk(name, "function", f"tools[{number}]") for number, name in enumerate(tools))
    part = Part(Role.USER, Provenance.USER, text, "messages[0].content", 0)
    return assessor.assess(Task(Endpoint.CHAT, "auto", (part,), tools=asked), [known] * len(tools))


@pytest.mark.parametrize(
    ("text", "kinds", "bands"),
    [
        ("Translate to French: Good morning, how are you?", "translation", "simple"),
        ("Translate this sentence into German: The train leaves at nine.", "translation", "simple"),
        ("What is the capital of Peru?", "lookup question_answering", "simple"),
        ("hi, how are you doing today?", "conversation", "simple"),
        ("Extract all dates and names from this text as JSON: On 3 May Anna met Ben.", "extraction", "simple"),
        ("Prove that there are infinitely many primes of the form 4k+3, and give every step rigorously.", "mathematics", "complex"),
        ("Prove rigorously that every continuous function on a compact metric space is uniformly continuous.", "mathematics", "complex"),
        ("Review this Python function for bugs:\n\ndef mean(xs):\n    return sum(xs) / len(xs)\n", "coding", "simple moderate"),
        ("Please do a code review of this pull request and point out bugs:\n```python\ndef f(x):\n    return x+1\n```", "coding", "simple moderate"),
    ],
)  # fmt: skip
def test_a_plain_ask_is_of_the_kind_and_difficulty_that_anybody_would_say(
    assessor: Assessor, text: str, kinds: str, bands: str
) -> None:
    result = ask(assessor, text)
    assert result.task.value in kinds.split()
    assert result.complexity.value in bands.split()
    assert 0.0 <= result.complexity_score <= 1.0
    assert result.confidence.task > 0.5


@pytest.mark.parametrize(
    "text",
    [
        "Plan my trip to Lisbon: find flights, compare hotels, book the cheapest and add everything to my calendar.",
        "Plan the migration of our database to the new cluster step by step.",
    ],
)
def test_planning_with_tools_is_planning_or_agentic_and_not_simple(assessor: Assessor, text: str) -> None:
    result = ask(assessor, text, "search_flights", "book_hotel", "run_query")
    assert result.task in (TaskKind.PLANNING, TaskKind.AGENTIC)
    assert result.complexity > Complexity.SIMPLE


def test_what_the_words_imply_is_read_from_the_ask_alone(assessor: Assessor) -> None:
    booking = ask(assessor, "Find flights to Lisbon, book the cheapest one and add it to my calendar.").intent
    assert {Capability.SPENDS_MONEY, Capability.WRITES_STATE} & booking.capabilities
    assert not ask(assessor, "What is the capital of Peru?").intent.capabilities & {Capability.DESTRUCTIVE, Capability.EGRESS}


def test_embeddings_ask_for_nothing_but_vectors(assessor: Assessor, rules: RuleSet) -> None:
    task = task_of(rules, Endpoint.EMBEDDINGS, {"model": "text-embedding-3-small", "input": "Prove Fermat's last theorem"})
    result = assessor.assess(task, [])
    assert (result.task, result.complexity, result.intent.capabilities) == (TaskKind.OTHER, Complexity.SIMPLE, frozenset())


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (frozenset({Capability.PURE}), Access.READ),
        (frozenset({Capability.READS_PRIVATE, Capability.READS_UNTRUSTED}), Access.READ),
        (frozenset({Capability.READS_PRIVATE, Capability.EGRESS}), Access.ACT),
        (frozenset({Capability.SPENDS_MONEY}), Access.ACT),
        (frozenset({Capability.EXECUTES_CODE}), Access.CONTROL),
        (frozenset({Capability.PURE, Capability.DESTRUCTIVE}), Access.CONTROL),
    ],
)
def test_access_is_that_of_the_registered_capabilities_whatever_the_name_says(
    assessor: Assessor, known: frozenset[Capability], expected: Access
) -> None:
    assert ask(assessor, "Hello", "get_delete_send", known=known).access is expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), Access.NONE),
        (("get_weather",), Access.READ),
        (("send_email",), Access.ACT),
        (("deleteFile",), Access.CONTROL),
        (("xyzzy",), Access.ACT),  # says nothing
        (("get_weather", "run_shell", "send_email"), Access.CONTROL),
    ],
)
def test_access_of_unregistered_tools_is_what_their_names_suggest_and_the_widest_counts(
    assessor: Assessor, names: tuple[str, ...], expected: Access
) -> None:
    assert ask(assessor, "Hello", *names).access is expected


# Failures


def broken() -> Fitted:
    """The shipped model with weights that no norm can be taken of."""
    model = load()
    weights, scale, bias = model.arrays
    return Fitted(msgspec.structs.replace(model.manifest, unknown_weight=-1e9), model.keys, weights, 0 * scale, bias)


def test_a_model_that_fails_makes_a_task_complex_of_no_kind_and_unscanned(policy: SensitivityPolicy) -> None:
    result = ask(Assessor(policy, b"key", broken()), f"Translate to French: {SECRET}")
    assert (result.task, result.complexity, result.complexity_score) == (TaskKind.OTHER, Complexity.COMPLEX, 1.0)
    assert (result.confidence.task, result.confidence.complexity, result.confidence.intent) == (0.0, 0.0, 0.0)
    assert result.state is ScanState.UNSCANNED
    assert result.sensitivity is Sensitivity.RESTRICTED  # what the detectors found still counts
    assert ask(Assessor(policy, b"key", broken()), "Translate to French: hello").sensitivity is policy.unscanned


def test_a_detector_that_fails_counts_as_the_policy_says_of_unscanned_tasks(
    policy: SensitivityPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_value: str) -> bool:
        raise RuntimeError("this check is broken")

    broken = Rule(id="broken", category="pii", kind="broken", pattern=r"\bLisbon\b", check=fails)
    monkeypatch.setattr(engine, "RULES", (broken, *engine.RULES))
    result = ask(Assessor(policy, b"key"), "What is the weather in Lisbon?")
    assert (result.state, result.sensitivity) == (ScanState.UNSCANNED, policy.unscanned)
    assert result.task is not TaskKind.OTHER


@pytest.mark.parametrize("text", ["", " ", "\x00", "\ud800", "a" * 100_000, "é" * 5_000, "?" * 3_000, "字" * 5_000])
def test_any_text_gets_an_assessment(assessor: Assessor, text: str) -> None:
    result = ask(assessor, text, "get_weather")
    assert 0.0 <= result.complexity_score <= 1.0
    assert result.state is ScanState.COMPLETE


def test_the_same_task_gets_the_same_assessment(assessor: Assessor, policy: SensitivityPolicy) -> None:
    text = f"Plan a party for maria.keller@{'kundenwerk'}.de and review the budget"
    assert ask(assessor, text, "send_email") == ask(Assessor(policy, b"a key for tests"), text, "send_email")
