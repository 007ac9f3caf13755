"""Changes to governed files that keep the author's comments and order: the text is edited, and nothing else in it moves."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from routing_rules.catalogue import App
from routing_rules.faults import Fault, RuleFaults, Severity
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


def add_deployment_rows(files: Files, rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The files with these deployments, in the words of models.yaml, at the end of it. Raises RuleFaults as `add_app` does.

    Nothing else is checked here: `load` does. Amounts are best given as texts, which are read exactly.
    """
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


def _flow(words: Iterable[str]) -> CommentedSeq:
    found = CommentedSeq([str(word) for word in words])
    found.fa.set_flow_style()
    return found


def _fault(file: str, code: str, message: str) -> RuleFaults:
    return RuleFaults([Fault(Severity.ERROR, code, file, 0, 0, message)])
