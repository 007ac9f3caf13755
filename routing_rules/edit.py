"""Changes to governed files that keep the author's comments and order: the text is edited, and nothing else in it moves."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from routing_rules.catalogue import App, EntitlementSet, Observing, Tool
from routing_rules.faults import Fault, RuleFaults, Severity
from routing_rules.layers import layers_of
from routing_rules.load import UNASSIGNED

WIDEST_LINE = 100_000
"""Lines are never broken, because a broken line would show up as a change."""

Files = Mapping[str, str]


def add_app(files: Files, app: App) -> dict[str, str]:
    """The files with one more app. Raises RuleFaults where it is there already, or where apps.yaml cannot be read."""
    row: dict[str, Any] = {"id": app.id, "owner": app.owner}
    row |= {key: value for key, value in (("team", app.team), ("cost_center", app.cost_center)) if value not in ("", UNASSIGNED)}
    row |= {"clearance": str(app.clearance), "ceiling": app.ceiling, "purposes": _flow(app.purposes)}
    return _edited(files, "apps.yaml", lambda top: _append(top, "apps.yaml", "apps", [row]))


def add_tools(files: Files, tools: Iterable[Tool]) -> dict[str, str]:
    """The files with these tools, at the end of tools.yaml. Raises RuleFaults as `add_app` does."""
    return _edited(files, "tools.yaml", lambda top: _append(top, "tools.yaml", "tools", [_tool_row(tool) for tool in tools]))


def _tool_row(tool: Tool) -> dict[str, Any]:
    row: dict[str, Any] = {"id": tool.id, "owner": tool.owner, "capabilities": _flow(sorted(tool.capabilities))}
    for key, words in (
        ("functions", map(_literal, tool.functions)),
        ("hosted", map(_literal, tool.hosted)),
        ("servers", map(_literal, tool.servers)),
        ("server_urls", tool.server_urls),
    ):
        if found := _flow(words):
            row[key] = found
    if tool.pinned:
        row["pinned"] = CommentedMap(tool.pinned)
    row["highest_read"] = str(tool.highest_read)
    if tool.approval_boundary != "none":
        row["approval_boundary"] = tool.approval_boundary
    if tool.destination_arguments:
        row["destination_arguments"] = _flow(tool.destination_arguments)
    if tool.internal:
        row["internal"] = True
    return row


def _literal(name: str) -> str:
    """The pattern that means this very name: a name that somebody else chose must not become a glob."""
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)


def set_pins(files: Files, tool: str, pinned: Iterable[tuple[str, str]], capabilities: Iterable[str]) -> dict[str, str]:
    """The files with a tool that is pinned with these digests and has these capabilities. Raises RuleFaults where there is none."""

    def change(top: CommentedMap) -> None:
        row = _row(top, "tools.yaml", "tools", tool, "tool")
        row["pinned"] = CommentedMap(pinned)
        row["capabilities"] = _flow(sorted(capabilities))

    return _edited(files, _holder(files, "tools.yaml", "tools", tool), change)


def add_tools_to_set(files: Files, entitlement_set: str, tools: Iterable[str]) -> dict[str, str]:
    """The files with these tools in an entitlement set; those that it holds stay once. Raises RuleFaults where there is no such set."""

    def change(top: CommentedMap) -> None:
        row = _row(top, "entitlements.yaml", "sets", entitlement_set, "entitlement set")
        held = row.get("tools")
        if not isinstance(held, CommentedSeq):
            held = row["tools"] = _flow(() if held is None else (str(held),))
        for each in tools:
            if each not in held:
                held.append(each)

    return _edited(files, _holder(files, "entitlements.yaml", "sets", entitlement_set), change)


def add_set(files: Files, entitlement_set: EntitlementSet) -> dict[str, str]:
    """The files with one more entitlement set. Raises RuleFaults as `add_app` does."""
    row = {
        "id": entitlement_set.id,
        "owner": entitlement_set.owner,
        "business_purpose": entitlement_set.business_purpose,
        "approver": entitlement_set.approver,
        "review_by": entitlement_set.review_by.isoformat(),
        "tools": _flow(sorted(entitlement_set.tools)),
    }
    return _edited(files, "entitlements.yaml", lambda top: _append(top, "entitlements.yaml", "sets", [row]))


def set_ceiling(files: Files, app: str, entitlement_set: str) -> dict[str, str]:
    """The files with another ceiling for an app. Raises RuleFaults where there is none."""

    def change(top: CommentedMap) -> None:
        _row(top, "apps.yaml", "apps", app, "app")["ceiling"] = entitlement_set

    return _edited(files, _holder(files, "apps.yaml", "apps", app), change)


def put_route_first(files: Files, route: Mapping[str, Any]) -> dict[str, str]:
    """The files with one more route, which is asked before the others. Raises RuleFaults where its id is taken."""

    def change(top: CommentedMap) -> None:
        if any(row.get("id") == route["id"] for row in _rows(top, "routes")):
            raise _fault("routes.yaml", "duplicate_id", f"`{route['id']}` is defined already")
        top["routes"].insert(0, CommentedMap(route))

    return _edited(files, "routes.yaml", change)


def add_case(files: Files, name: str, case: str, given: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, str]:
    """The files with one more case at the end of the case file `name`, which is made where there is none. Raises RuleFaults where it
    has a case of that name, or cannot be read."""

    def change(top: CommentedMap) -> None:
        items = top.get("cases")
        if not isinstance(items, CommentedSeq):
            items = top["cases"] = CommentedSeq()
        elif not items:
            items.fa.set_block_style()
        if any(row.get("name") == case for row in _rows(top, "cases")):
            raise _fault(name, "duplicate_id", f"there is a case `{case}` already")
        items.append(CommentedMap(name=case, facts=_flow_map(given), expect=_flow_map(expected)))

    return _edited(files, name, change)


def observe_app(files: Files, app: str, observing: Observing | None) -> dict[str, str]:
    """The files with an app that is only watched for a while, or (None) held to the rules. Raises RuleFaults where there is none."""

    def change(top: CommentedMap) -> None:
        row = _row(top, "apps.yaml", "apps", app, "app")
        row.pop("observe", None)
        if observing is None:
            row.pop("mode", None)
        else:
            row["mode"] = "observe"
            row["observe"] = CommentedMap(
                owner=observing.owner, **{"from": observing.start.isoformat(), "until": observing.end.isoformat()}
            )

    return _edited(files, _holder(files, "apps.yaml", "apps", app), change)


def add_deployment_rows(files: Files, rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The files with these deployments, in the words of models.yaml, at the end of it. Raises RuleFaults as `add_app` does.

    Nothing else is checked here: `load` does. Amounts are best given as texts, which are read exactly.
    """
    return _edited(files, "models.yaml", lambda top: _append(top, "models.yaml", "deployments", rows))


def put_prices(files: Files, rows: Iterable[Mapping[str, Any]], today: date, seeded: str) -> dict[str, str]:
    """The files with these rows in prices.yaml. An open row about the same whose source begins with `seeded` ends the day before, or is
    only noted as read again where its amounts are the same; a row that a person wrote stays, and the new one is left out."""

    def change(top: CommentedMap) -> None:
        new = []
        for row in rows:
            scope = [row.get(key) for key in PRICE_SCOPE]
            same = [
                each for each in _rows(top, "prices") if [each.get(key) for key in PRICE_SCOPE] == scope and "until" not in each
            ]
            old = next((each for each in same if not each.get("assumed")), None)
            if old is None:
                new.append(row)
            elif str(old.get("source", "")).startswith(seeded):
                if all(old.get(key) == row.get(key) for key in PRICE_AMOUNTS):
                    old["read"] = row["read"]
                elif str(old.get("from")) == row["from"]:
                    old.update({key: row[key] for key in row if key != "id"})
                else:
                    old["until"] = (today - timedelta(days=1)).isoformat()
                    new.append(row)
        _append(top, "prices.yaml", "prices", new)

    return _edited(files, "prices.yaml", change)


PRICE_SCOPE = ("deployment", "provider", "model")
PRICE_AMOUNTS = ("per_million", "per_thousand_calls", "above", "service_tiers")


def set_deployment_enabled(files: Files, deployment: str, enabled: bool) -> dict[str, str]:
    """The files with this deployment in service or out of it. Raises RuleFaults where there is none."""

    def change(top: CommentedMap) -> None:
        _switch(_row(top, "models.yaml", "deployments", deployment, "deployment"), enabled)

    return _edited(files, _holder(files, "models.yaml", "deployments", deployment), change)


def disable_simulated(files: Files) -> dict[str, str]:
    """The files with every simulated deployment out of service, for when there is a real provider."""

    def change(top: CommentedMap) -> None:
        for row in _rows(top, "deployments"):
            if row.get("provider") == "simulated":
                _switch(row, enabled=False)

    changed = dict(files)
    for name in layers_of(files, "models.yaml"):
        changed = _edited(changed, name, change)
    return changed


def _switch(row: CommentedMap, enabled: bool) -> None:
    """Out of service is said right after the id, in service by saying nothing."""
    if "enabled" in row:
        row["enabled"] = enabled
    elif not enabled:
        row.insert(1, "enabled", False)


def _holder(files: Files, name: str, key: str, id: str) -> str:
    """Where an entry stands: in the overlay, in the file, or in one of its parts; the file itself where it is nowhere."""
    layers = layers_of(files, name)
    if len(layers) == 1:
        return name
    return next((each for each in layers if any(row.get("id") == id for row in _rows(_read(_yaml(), files, each), key))), name)


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = WIDEST_LINE
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.ignore_aliases = lambda _: True  # rows may share a list, and aliases are not read
    return yaml


def _read(yaml: YAML, files: Files, name: str) -> CommentedMap:
    try:
        top = yaml.load(files.get(name, ""))
    except YAMLError:
        raise _fault(name, "syntax", "not valid YAML") from None
    if top is None:
        top = CommentedMap()
    if not isinstance(top, CommentedMap):
        raise _fault(name, "wrong_type", "expected a mapping at the top of the file")
    return top


def _edited(files: Files, name: str, change: Callable[[CommentedMap], None]) -> dict[str, str]:
    yaml = _yaml()
    top = _read(yaml, files, name)
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


def _row(top: CommentedMap, file: str, key: str, id: str, kind: str) -> CommentedMap:
    row = next((row for row in _rows(top, key) if row.get("id") == id), None)
    if row is None:
        raise _fault(file, "unknown_word", f"there is no {kind} `{id}`")
    return row


def _flow(words: Iterable[str]) -> CommentedSeq:
    found = CommentedSeq([str(word) for word in words])
    found.fa.set_flow_style()
    return found


def _flow_map(values: Mapping[str, Any]) -> CommentedMap:
    found = CommentedMap({key: _flow(value) if isinstance(value, tuple) else value for key, value in values.items()})
    found.fa.set_flow_style()
    return found


def _fault(file: str, code: str, message: str) -> RuleFaults:
    return RuleFaults([Fault(Severity.ERROR, code, file, 0, 0, message)])
