"""Deployments for the credentials that were found."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from router.upstream.credentials import PROVIDERS, deployments_for
from routing_rules.edit import add_deployment_rows
from routing_rules.load import load, shipped
from routing_rules.task import Feature
from routing_rules.vocabulary import Sensitivity

EVERY_KEY = {provider.variables[0]: "secret" for provider in PROVIDERS}
SERVER = {"ROUTER_UPSTREAM_URL": "http://localhost:8000/v1/"}


def by_id(environ: dict[str, str]) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in deployments_for(environ)}


def test_nothing_found_makes_nothing() -> None:
    assert deployments_for({}) == []
    assert deployments_for({"OPENAI_API_KEY": ""}) == []


def test_each_credential_adds_a_fast_and_a_reasoning_deployment_at_internal() -> None:
    rows = by_id(EVERY_KEY)
    for provider in PROVIDERS:
        for tier in ("fast", "reasoning"):
            row = rows[f"{provider.id}-{tier}"]
            assert row["tier"] == tier
            assert row["clearance"] == "internal"
            assert row["api_key"] == f"env:{provider.variables[0]}"
            assert row["price"]["input_usd_per_million"] > 0
            assert row["price"]["output_usd_per_million"] > 0
    assert len({row["id"] for row in rows.values()}) == len(deployments_for(EVERY_KEY))


def test_no_row_ever_holds_a_secret() -> None:
    assert "secret" not in repr(
        deployments_for(EVERY_KEY | SERVER | {"ROUTER_FAST_MODEL": "m", "ROUTER_UPSTREAM_API_KEY": "secret"})
    )


def test_those_who_speak_the_protocol_are_called_directly_and_the_others_by_translation() -> None:
    rows = by_id(EVERY_KEY)
    assert rows["openai-fast"]["provider"] == "openai_compatible"
    assert rows["openai-fast"]["base_url"] == "https://api.openai.com/v1"
    assert rows["mistral-fast"]["model"] == "mistral-small-latest"
    assert rows["anthropic-fast"]["provider"] == "anthropic"
    assert "base_url" not in rows["anthropic-fast"]
    assert rows["gemini-fast"]["model"] == "gemini-2.5-flash"


def test_either_name_of_a_key_counts() -> None:
    assert by_id({"GOOGLE_API_KEY": "x"})["gemini-fast"]["api_key"] == "env:GOOGLE_API_KEY"


def test_embedding_models_only_embed() -> None:
    row = by_id({"OPENAI_API_KEY": "x"})["openai-text-embedding-3-small"]
    assert row["features"] == [Feature.EMBEDDINGS]
    assert row["model_names"] == ["text-embedding-3-small"]


def test_a_compatible_server_may_serve_both_tiers_with_one_model() -> None:
    rows = by_id(SERVER | {"ROUTER_FAST_MODEL": "qwen"})
    assert list(rows) == ["upstream-fast", "upstream-reasoning"]
    assert {row["model"] for row in rows.values()} == {"qwen"}
    assert {row["base_url"] for row in rows.values()} == {"http://localhost:8000/v1"}
    assert all("api_key" not in row for row in rows.values())


def test_a_compatible_server_may_have_a_model_for_each_tier_and_one_that_embeds() -> None:
    rows = by_id(
        SERVER
        | {
            "ROUTER_FAST_MODEL": "small",
            "ROUTER_REASONING_MODEL": "large",
            "ROUTER_EMBEDDING_MODEL": "vectors",
            "ROUTER_UPSTREAM_API_KEY": "k",
        }
    )
    assert [row["model"] for row in rows.values()] == ["small", "large", "vectors"]
    assert {row["api_key"] for row in rows.values()} == {"env:ROUTER_UPSTREAM_API_KEY"}
    assert rows["upstream-embedding"]["features"] == [Feature.EMBEDDINGS]


def test_a_server_without_a_model_is_an_error_that_names_the_variables() -> None:
    with pytest.raises(ValueError, match="ROUTER_FAST_MODEL or ROUTER_REASONING_MODEL"):
        deployments_for(SERVER)


def test_the_rule_loader_takes_every_row_as_it_is() -> None:
    rows = deployments_for(EVERY_KEY | SERVER | {"ROUTER_FAST_MODEL": "m", "ROUTER_EMBEDDING_MODEL": "e"})
    files = {name: text for name, text in shipped(date(2026, 1, 2)).items() if not name.startswith("cases")}
    rules = load(add_deployment_rows(files, rows))
    for row in rows:
        deployment = rules.deployments[row["id"]]
        assert deployment.clearance is Sensitivity.INTERNAL
        assert deployment.price.known
        assert deployment.model == row["model"]
    assert rules.deployments["openai-fast"].price.cached_input == 100_000_000
