"""`GET /v1/models`: the names an app may ask for, and which of them are only simulated."""

from __future__ import annotations

from typing import Any

from router.errors import Refused
from routing_rules.rules import RuleSet

ROUTED = {
    "auto": "the rules choose tier and deployment",
    "auto-fast": "a hint that the fast tier will do",
    "auto-reasoning": "a hint that the reasoning tier is wanted",
}
CREATED = 1_767_225_600  # the format wants a time of creation: the start of 2026, the same for every name


def listed(rules: RuleSet) -> dict[str, Any]:
    """OpenAI's list object over all names."""
    return {"object": "list", "data": [one(rules, name) for name in (*ROUTED, *sorted(set(rules.models) - set(ROUTED)))]}


def one(rules: RuleSet, name: str) -> dict[str, Any]:
    """One model object. Raises Refused `model_not_found`."""
    if name in ROUTED:
        return {"id": name, "object": "model", "created": CREATED, "owned_by": "router", "description": ROUTED[name]}
    ids = rules.models.get(name)
    if not ids:
        raise Refused("model_not_found", f"there is no model `{name[:100]}`: `GET /v1/models` lists the names", param="model")
    simulated = all(rules.deployments[each].provider == "simulated" for each in ids)
    owner = rules.deployments[ids[0]].provider
    model = {"id": name, "object": "model", "created": CREATED, "owned_by": "simulated" if simulated else owner}
    return {**model, "simulated": True} if simulated else model
