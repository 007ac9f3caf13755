"""`router blast-radius` on a store with revisions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from router.cli import cli

TOOL = {
    "type": "function",
    "function": {"name": "send_parcel", "description": "Sends a parcel.", "parameters": {"type": "object"}},
}


def test_the_command_tells_what_is_reached_and_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUTER_DATA_DIR", str(tmp_path / "data"))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments)

    def document(*arguments: str) -> Any:
        result = run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.output)

    first = document("keys", "create", "--app", "demo")["revision"]
    before = document("blast-radius", "demo")
    assert (before["kind"], before["changed"], before["revision"]) == ("app", None, first)
    assert "send_parcel" not in {tool["id"] for tool in before["tools"]}

    (tmp_path / "tools.json").write_text(json.dumps([TOOL]))
    document("tools", "import", str(tmp_path / "tools.json"))
    document("tools", "confirm", "send_parcel", "--owner", "post@example.org", "--set", "standard")
    after = document("blast-radius", "demo", "--since", first)
    assert {"tool send_parcel", "tool send_parcel can egress"} <= set(after["changed"]["gained"])
    assert after["changed"]["lost"] == []
    assert document("blast-radius", "standard", "--since", first)["kind"] == "set"
    assert "  + tool send_parcel\n" in run("blast-radius", "demo", "--since", first).output
    assert run("blast-radius", "demo", "--since", after["revision"]).output.endswith("  nothing has changed\n")

    for wrong in (["nobody"], ["demo", "--since", "r-0"]):
        result = run("blast-radius", *wrong)
        assert result.exit_code == 1
        assert "there is no" in result.output
