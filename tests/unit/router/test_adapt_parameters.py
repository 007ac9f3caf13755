"""What a deployment gets of a request that was written for another model."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from router.upstream.adapt import Adapted, adapt
from routing_rules.catalogue import Deployment
from routing_rules.task import Endpoint
from routing_rules.vocabulary import Sensitivity

MESSAGES = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hi"}]
SAMPLING: dict[str, Any] = {
    "temperature": 0.2,
    "top_p": 0.9,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "logit_bias": {"1": 1},
    "logprobs": True,
    "top_logprobs": 2,
    "stop": ["\n"],
}


def deployment(**fields: Any) -> Deployment:
    return Deployment(id="d", provider="openai_compatible", model="m", tier="fast", clearance=Sensitivity.PUBLIC, **fields)


def adapted(to: Deployment, endpoint: Endpoint = Endpoint.CHAT, **fields: Any) -> Adapted:
    body = {"model": "m", "messages": MESSAGES, **fields}
    before = deepcopy(body)
    made = adapt(to, endpoint, body)
    assert body == before, "the given body is never changed"
    return made


def test_a_plain_model_gets_what_was_asked() -> None:
    made = adapted(deployment(), **SAMPLING, max_completion_tokens=9)
    assert made == ({"model": "m", "messages": MESSAGES, **SAMPLING, "max_completion_tokens": 9}, ())


def test_a_reasoning_model_gets_no_sampling_parameters_and_the_app_is_told_which() -> None:
    made = adapted(deployment(reasoning_model=True), **SAMPLING, max_completion_tokens=9, reasoning_effort="low")
    assert made.body == {"model": "m", "messages": MESSAGES, "max_completion_tokens": 9, "reasoning_effort": "low"}
    assert set(made.dropped) == SAMPLING.keys()


def test_what_asked_for_nothing_is_left_out_without_a_word() -> None:
    neutral: dict[str, Any] = {
        "temperature": 1.0,
        "top_p": 1,
        "presence_penalty": 0,
        "logprobs": False,
        "stop": None,
        "logit_bias": {},
    }
    made = adapted(deployment(reasoning_model=True), **neutral)
    assert made == ({"model": "m", "messages": MESSAGES}, ())


def test_a_field_that_the_catalogue_allows_passes_to_a_reasoning_model() -> None:
    made = adapted(
        deployment(reasoning_model=True, allowed_fields=frozenset({"temperature", "top_k"})), temperature=0.2, top_k=5, top_p=0.9
    )
    assert (made.body["temperature"], made.body["top_k"], made.dropped) == (0.2, 5, ("top_p",))


@pytest.mark.parametrize(
    ("endpoint", "field", "value"),
    [(Endpoint.CHAT, "reasoning_effort", "high"), (Endpoint.RESPONSES, "reasoning", {"effort": "high"})],
)
def test_a_plain_model_gets_no_reasoning_effort(endpoint: Endpoint, field: str, value: Any) -> None:
    made = adapted(deployment(), endpoint, **{field: value})
    assert field not in made.body
    assert made.dropped == (field,)
    assert adapted(deployment(reasoning_model=True), endpoint, **{field: value}).body[field] == value


def test_a_server_that_knows_only_the_old_name_gets_the_output_limit_by_it() -> None:
    made = adapted(deployment(params={"max_tokens_field": "max_tokens"}), max_completion_tokens=9)
    assert made == ({"model": "m", "messages": MESSAGES, "max_tokens": 9}, ())


@pytest.mark.parametrize(("endpoint", "field"), [(Endpoint.CHAT, "messages"), (Endpoint.RESPONSES, "input")])
def test_a_server_that_knows_no_developer_hears_the_system(endpoint: Endpoint, field: str) -> None:
    made = adapt(deployment(params={"developer_role": "system"}), endpoint, {field: MESSAGES})
    assert made.body[field] == [{"role": "system", "content": "be brief"}, MESSAGES[1]]
    assert MESSAGES[0]["role"] == "developer"
    assert adapt(deployment(), endpoint, {field: MESSAGES}).body[field] is MESSAGES


def test_a_text_for_input_has_no_roles_to_rename() -> None:
    assert adapt(deployment(params={"developer_role": "system"}), Endpoint.RESPONSES, {"input": "hi"}).body == {"input": "hi"}


def test_what_a_deployment_has_fixed_wins_and_the_app_is_told() -> None:
    made = adapted(deployment(fixed_params={"temperature": 0.0, "enable_thinking": False}), temperature=0.7)
    assert (made.body["temperature"], made.body["enable_thinking"], made.dropped) == (0.0, False, ("temperature",))
    assert adapted(deployment(fixed_params={"temperature": 0.7}), temperature=0.7).dropped == ()


def test_a_hybrid_model_may_have_its_effort_fixed_in_both_formats() -> None:
    hybrid = deployment(fixed_params={"reasoning_effort": "none"}, reasoning_model=True)
    assert adapted(hybrid, reasoning_effort="high") == (
        {"model": "m", "messages": MESSAGES, "reasoning_effort": "none"},
        ("reasoning_effort",),
    )
    assert adapt(hybrid, Endpoint.RESPONSES, {"reasoning": {"summary": "auto"}}).body == {
        "reasoning": {"summary": "auto", "effort": "none"}
    }


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_a_fixed_output_limit_only_lowers_what_was_reserved(field: str) -> None:
    for fixed, sent in ((5, 5), (50, 9)):
        assert adapted(deployment(fixed_params={field: fixed}), max_completion_tokens=9).body["max_completion_tokens"] == sent
        assert adapt(deployment(fixed_params={field: fixed}), Endpoint.RESPONSES, {"max_output_tokens": 9}).body == {
            "max_output_tokens": sent
        }


def test_what_the_rules_decided_cannot_be_fixed_away() -> None:
    fixed = deployment(fixed_params={"model": "other", "store": True, "tool_choice": "required", "stream": False})
    assert adapted(fixed, store=False, stream=True).body == {"model": "m", "messages": MESSAGES, "store": False, "stream": True}


def test_embeddings_go_as_they_are() -> None:
    body = {"model": "e", "input": "x"}
    assert adapt(deployment(reasoning_model=True, fixed_params={"a": 1}), Endpoint.EMBEDDINGS, body).body is body
