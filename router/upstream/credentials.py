"""Which deployments the credentials in the environment make possible: rows for `models.yaml`, at clearance `internal`. Pure but for the price map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from router.money import usd
from router.upstream.prices import KnownModel, look_up
from routing_rules.catalogue import Price
from routing_rules.task import Feature

CLEARANCE = "internal"
ASSUMED_PRICE = {
    "input_usd_per_million": 1.0,
    "output_usd_per_million": 4.0,
    "source": "assumed: set the real rate of this server",
}
OLD_NAMES = {"max_tokens_field": "max_tokens", "developer_role": "system"}
"""For servers that know the older words of OpenAI's protocol only."""

PLAIN = frozenset({Feature.CHAT_API, Feature.STREAMING})
OPENAI_ONLY = frozenset(
    {
        Feature.RESPONSES_API,
        Feature.CUSTOM_TOOLS,
        Feature.HOSTED_TOOLS,
        Feature.STORED_STATE,
        Feature.BACKGROUND,
        Feature.SEVERAL_CHOICES,
    }
)
ANTHROPIC_ONLY = frozenset({Feature.MESSAGES_API, Feature.SERVER_TOOLS, Feature.STORED_STATE})
SAMPLING = frozenset({Feature.LOGPROBS, Feature.SEED, Feature.PREDICTION})
SERVER = PLAIN | {
    Feature.RESPONSES_API,
    Feature.VISION,
    Feature.TOOLS,
    Feature.PARALLEL_TOOLS,
    Feature.LOGPROBS,
    Feature.SEVERAL_CHOICES,
    Feature.JSON_SCHEMA,
    Feature.JSON_MODE,
    Feature.SEED,
}
"""What a compatible server is taken to do: what vLLM, llama.cpp and Ollama have in common; what one lacks, it refuses itself."""


class Model(NamedTuple):
    """A model by its name in the price map, and what is known of it beyond the map."""

    name: str
    features: frozenset[Feature] = frozenset()
    reasoning: bool = False  # takes `max_completion_tokens` and an effort, not `temperature` or `stop`


class Provider(NamedTuple):
    """How a provider is reached once its credential is there. `base_url` None: by translation. `prefix` is the map's, not the wire's."""

    id: str
    variables: tuple[str, ...]
    base_url: str | None
    fast: Model
    reasoning: Model
    embeddings: tuple[str, ...] = ()
    prefix: str = ""
    params: Mapping[str, str] = {}


PROVIDERS: tuple[Provider, ...] = (
    Provider(
        id="openai",
        variables=("OPENAI_API_KEY",),
        base_url="https://api.openai.com/v1",
        fast=Model("gpt-4.1-mini", OPENAI_ONLY | SAMPLING),
        reasoning=Model("gpt-5.6", OPENAI_ONLY, reasoning=True),
        embeddings=("text-embedding-3-small", "text-embedding-3-large"),
    ),
    Provider(
        id="anthropic",
        variables=("ANTHROPIC_API_KEY",),
        base_url=None,
        fast=Model("claude-haiku-4-5", ANTHROPIC_ONLY),
        reasoning=Model("claude-sonnet-4-6", ANTHROPIC_ONLY),
    ),
    Provider(
        id="gemini",
        variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        base_url=None,
        fast=Model("gemini/gemini-2.5-flash"),
        reasoning=Model("gemini/gemini-2.5-pro"),
        prefix="gemini/",
    ),
    Provider(
        id="mistral",
        variables=("MISTRAL_API_KEY",),
        base_url="https://api.mistral.ai/v1",
        fast=Model("mistral/mistral-small-latest"),
        reasoning=Model("mistral/magistral-medium-latest"),
        embeddings=("mistral/mistral-embed",),
        prefix="mistral/",
        params=OLD_NAMES,
    ),
    Provider(
        id="groq",
        variables=("GROQ_API_KEY",),
        base_url="https://api.groq.com/openai/v1",
        fast=Model("groq/openai/gpt-oss-20b", frozenset({Feature.SEED})),
        reasoning=Model("groq/openai/gpt-oss-120b", frozenset({Feature.SEED})),
        prefix="groq/",
        params={"developer_role": "system"},
    ),
    Provider(
        id="openrouter",
        variables=("OPENROUTER_API_KEY",),
        base_url="https://openrouter.ai/api/v1",
        fast=Model("openrouter/openai/gpt-4.1-mini", frozenset({Feature.SEED})),
        reasoning=Model("openrouter/openai/gpt-5.2", reasoning=True),
        prefix="openrouter/",
        params=OLD_NAMES,
    ),
    Provider(
        id="deepseek",
        variables=("DEEPSEEK_API_KEY",),
        base_url="https://api.deepseek.com/v1",
        fast=Model("deepseek/deepseek-v4-flash"),
        reasoning=Model("deepseek/deepseek-v4-pro"),
        prefix="deepseek/",
        params=OLD_NAMES,
    ),
    Provider(
        id="xai",
        variables=("XAI_API_KEY",),
        base_url="https://api.x.ai/v1",
        fast=Model("xai/grok-4.20-non-reasoning", frozenset({Feature.RESPONSES_API, Feature.SEED})),
        reasoning=Model("xai/grok-4.20-reasoning", frozenset({Feature.RESPONSES_API})),
        prefix="xai/",
    ),
)


def deployments_for(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """Rows for `models.yaml`: a fast and a reasoning deployment per credential found, and those of `ROUTER_UPSTREAM_URL`.

    Raises ValueError where `ROUTER_UPSTREAM_URL` is given without a model.
    """
    found = [(provider, variable) for provider in PROVIDERS if (variable := _first_set(provider.variables, environ))]
    names = [name for provider, _ in found for name in (provider.fast.name, provider.reasoning.name, *provider.embeddings)]
    known = look_up(names)
    rows = _server(environ)
    for provider, variable in found:
        for tier, model in (("fast", provider.fast), ("reasoning", provider.reasoning)):
            rows.append(_row(provider, variable, f"{provider.id}-{tier}", tier, model, known[model.name]))
        for name in provider.embeddings:
            id = name.removeprefix(provider.prefix) if provider.id in name else f"{provider.id}-{name}"
            rows.append(_row(provider, variable, id, "fast", Model(name), known[name]))
    return rows


def _first_set(variables: tuple[str, ...], environ: Mapping[str, str]) -> str | None:
    return next((variable for variable in variables if environ.get(variable)), None)


def _row(provider: Provider, variable: str, id: str, tier: str, model: Model, known: KnownModel) -> dict[str, Any]:
    name = model.name.removeprefix(provider.prefix)
    embeds = known.mode == "embedding"
    features = {Feature.EMBEDDINGS} if embeds else PLAIN | known.features | model.features
    row: dict[str, Any] = {
        "id": id,
        "provider": "openai_compatible" if provider.base_url else provider.id,
        "model": name,
        "tier": tier,
        "clearance": CLEARANCE,
        "api_key": f"env:{variable}",
        "model_names": [name],
        "features": sorted(feature.value for feature in features),
        "context_window": known.context_window,
        "price": _price(known.price),
    }
    if provider.base_url:
        row["base_url"] = provider.base_url
    if not embeds:
        row["max_output_tokens"] = known.max_output_tokens
        if provider.params:
            row["params"] = dict(provider.params)
        if model.reasoning:
            row["reasoning_model"] = True
        elif known.reasoning:
            # It thinks, yet takes `temperature` and the rest as well.
            row["allowed_fields"] = ["reasoning_effort"]
            if Feature.MESSAGES_API in features and tier == "reasoning":
                row["allowed_fields"].append("output_config")  # whose effort the smaller models refuse
    return row


def _price(price: Price) -> dict[str, Any]:
    given = {name: getattr(price, name) for name in ("input", "cached_input", "cache_write", "output", "reasoning")}
    # A float prints as the shortest decimal that reads back the same: exactly the digits of the amount.
    amounts = {f"{name}_usd_per_million": float(usd(nano)) for name, nano in given.items() if nano is not None}
    return {**amounts, "source": "litellm price map"}


def _server(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """Deployments of a compatible server. One model may serve both tiers."""
    url = environ.get("ROUTER_UPSTREAM_URL")
    if not url:
        return []
    fast, reasoning = environ.get("ROUTER_FAST_MODEL"), environ.get("ROUTER_REASONING_MODEL")
    if not (fast or reasoning):
        raise ValueError(
            "ROUTER_UPSTREAM_URL needs ROUTER_FAST_MODEL or ROUTER_REASONING_MODEL: the model that this server serves"
        )
    rows = []
    for tier, model in (("fast", fast or reasoning), ("reasoning", reasoning or fast)):
        row: dict[str, Any] = {
            "id": f"upstream-{tier}",
            "provider": "openai_compatible",
            "model": model,
            "tier": tier,
            "clearance": CLEARANCE,
            "base_url": url.rstrip("/"),
            "model_names": [model],
            "features": sorted(feature.value for feature in SERVER),
            "params": dict(OLD_NAMES),
            "allowed_fields": ["reasoning_effort"],
            "assumed_price": dict(ASSUMED_PRICE),
        }
        if environ.get("ROUTER_UPSTREAM_API_KEY"):
            row["api_key"] = "env:ROUTER_UPSTREAM_API_KEY"
        rows.append(row)
    if model := environ.get("ROUTER_EMBEDDING_MODEL"):
        row = {key: value for key, value in rows[0].items() if key not in ("params", "allowed_fields")}
        row |= {"id": "upstream-embedding", "model": model, "model_names": [model], "features": [Feature.EMBEDDINGS.value]}
        rows.append(row)
    return rows
