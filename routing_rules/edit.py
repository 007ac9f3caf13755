"""Changes to governed files that keep the author's comments and order: the text is edited, and nothing else in it moves."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from routing_rules.catalogue import App, Deployment, Price, Review
from routing_rules.faults import Fault, RuleFaults, Severity
from routing_rules.load import COMPATIBLE_FEATURES, TRANSLATED_FEATURES, UNASSIGNED
from routing_rules.reading import NANO_DIGITS, NANO_PER_USD

WIDEST_LINE = 100_000
"""Lines are never broken, because a broken line would show up as a change."""

Files = Mapping[str, str]


def add_app(files: Files, app: App) -> dict[str, str]:
    """The files with one more app. Raises RuleFaults where it is there already, or where apps.yaml cannot be read."""
    row: dict[str, Any] = {"id": app.id, "owner": app.owner}
    row |= {key: value for key, value in (("team", app.team), ("cost_center", app.cost_center)) if value not in ("", UNASSIGNED)}
    row |= {"clearance": str(app.clearance), "ceiling": app.ceiling, "purposes": _flow(app.purposes)}
    return _edited(files, "apps.yaml", lambda top: _append(top, "apps.yaml", "apps", [row]))


def add_deployments(files: Files, deployments: Iterable[Deployment]) -> dict[str, str]:
    """The files with these deployments at the end of models.yaml. Raises RuleFaults as `add_app` does.

    A key reference is written as it is (`env:NAME`); what a deployment has by default is left out.
    """
    rows = [_deployment_row(deployment) for deployment in deployments]
    return _edited(files, "models.yaml", lambda top: _append(top, "models.yaml", "deployments", rows))


def add_deployment_rows(files: Files, rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The files with these rows, in the words of models.yaml, at the end of it. Raises RuleFaults as `add_app` does."""
    return _edited(files, "models.yaml", lambda top: _append(top, "models.yaml", "deployments", rows))


def set_deployment_enabled(files: Files, deployment: str, enabled: bool) -> dict[str, str]:
    """The files with this deployment in service or out of it. Raises RuleFaults where there is none."""

    def change(top: CommentedMap) -> None:
        row = next((row for row in _rows(top, "deployments") if row.get("id") == deployment), None)
        if row is None:
            raise _fault("models.yaml", "unknown_word", f"there is no deployment `{deployment}`")
        _switch(row, enabled)

    return _edited(files, "models.yaml", change)


def disable_simulated(files: Files) -> dict[str, str]:
    """The files with every simulated deployment out of service, for when there is a real provider."""

    def change(top: CommentedMap) -> None:
        for row in _rows(top, "deployments"):
            if row.get("provider") == "simulated":
                _switch(row, enabled=False)

    return _edited(files, "models.yaml", change)


def _switch(row: CommentedMap, enabled: bool) -> None:
    """Out of service is said right after the id, in service by saying nothing."""
    if "enabled" in row:
        row["enabled"] = enabled
    elif not enabled:
        row.insert(1, "enabled", False)


def _edited(files: Files, name: str, change: Callable[[CommentedMap], None]) -> dict[str, str]:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = WIDEST_LINE
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        top = yaml.load(files.get(name, ""))
    except YAMLError:
        raise _fault(name, "syntax", "not valid YAML") from None
    if top is None:
        top = CommentedMap()
    if not isinstance(top, CommentedMap):
        raise _fault(name, "wrong_type", "expected a mapping at the top of the file")
    change(top)
    out = io.StringIO()
    yaml.dump(top, out)
    return {**files, name: out.getvalue()}


def _append(top: CommentedMap, file: str, key: str, rows: Iterable[Mapping[str, Any]]) -> None:
    items = top.get(key)
    if not isinstance(items, CommentedSeq):
        items = top[key] = CommentedSeq()
    elif not items:
        items.fa.set_block_style()
    taken = {row.get("id") for row in _rows(top, key)}
    for row in rows:
        if row["id"] in taken:
            raise _fault(file, "duplicate_id", f"`{row['id']}` is defined already")
        taken.add(row["id"])
        items.append(CommentedMap(row))


def _rows(top: CommentedMap, key: str) -> list[CommentedMap]:
    items = top.get(key)
    return [row for row in items if isinstance(row, CommentedMap)] if isinstance(items, CommentedSeq) else []


def _deployment_row(deployment: Deployment) -> dict[str, Any]:
    plain = Deployment(id="", provider="", model="", tier="", clearance=deployment.clearance)
    usual = COMPATIBLE_FEATURES if deployment.provider in ("openai_compatible", "simulated") else TRANSLATED_FEATURES
    row: dict[str, Any] = {
        "id": deployment.id,
        "provider": deployment.provider,
        "model": deployment.model,
        "tier": deployment.tier,
        "clearance": str(deployment.clearance),
        "region": _unless(deployment.region, plain.region),
        "base_url": deployment.base_url,
        "api_key": deployment.api_key,
        "params": dict(deployment.params) or None,
        "model_names": _flow(deployment.model_names),
        "features": _flow(sorted(deployment.features)) if deployment.features and deployment.features != usual else None,
        "allowed_fields": _flow(sorted(deployment.allowed_fields)),
        "context_window": _unless(deployment.context_window, plain.context_window),
        "max_output_tokens": _unless(deployment.max_output_tokens, plain.max_output_tokens),
        "reasoning_model": _unless(deployment.reasoning_model, False),
        "fixed_params": dict(deployment.fixed_params) or None,
        **_price_row(deployment.price),
        "internal": _unless(deployment.internal, False),
        "capability_review": _review_row(deployment.capability_review),
        "access_review": _review_row(deployment.access_review),
    }
    return {key: value for key, value in row.items() if value is not None and value != []}


def _price_row(price: Price) -> dict[str, Any]:
    classes = (
        ("input", price.input),
        ("cached_input", price.cached_input),
        ("cache_write", price.cache_write),
        ("output", price.output),
        ("reasoning", price.reasoning),
    )
    row = {f"{name}_usd_per_million": _dollars(nano) for name, nano in classes if nano is not None}
    if not row:
        return {}
    if price.source == "assumed":
        return {"assumed_price": _flow_map(row)}
    return {"price": _flow_map(row | {"source": price.source})}


def _review_row(review: Review | None) -> CommentedMap | None:
    return (
        None
        if review is None
        else _flow_map(
            {"reviewer": review.reviewer, "expires": date(review.expires.year, review.expires.month, review.expires.day)}
        )
    )


def _dollars(nano: int) -> float | str:
    """An amount as YAML writes it: a number where that keeps every digit, else a text, which is read as exactly."""
    whole, fraction = divmod(nano, NANO_PER_USD)
    digits = f"{whole}." + (f"{fraction:0{NANO_DIGITS}d}".rstrip("0") or "0")
    return float(digits) if repr(float(digits)) == digits else digits


def _unless(value: Any, default: Any) -> Any:
    return None if value == default else value


def _flow(words: Iterable[str]) -> CommentedSeq:
    found = CommentedSeq([str(word) for word in words])
    found.fa.set_flow_style()
    return found


def _flow_map(row: Mapping[str, Any]) -> CommentedMap:
    found = CommentedMap(row)
    found.fa.set_flow_style()
    return found


def _fault(file: str, code: str, message: str) -> RuleFaults:
    return RuleFaults([Fault(Severity.ERROR, code, file, 0, 0, message)])
