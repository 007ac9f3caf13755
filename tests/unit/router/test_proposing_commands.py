"""Commands that propose a change on the way to something else: under `four_eyes` they do so in the name of a person, and of nobody else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from router.cli import cli

SEND = {"type": "function", "function": {"name": "send_parcel", "description": "Sends a parcel."}}
PROPOSING = {
    "a new app": ("keys", "create", "--app", "new", "--owner", "new@example.org"),
    "a tool": ("tools", "confirm", "send_parcel", "--owner", "post@example.org", "--set", "standard"),
    "an app that is watched": ("onboard", "desk", "--observe", "--owner", "ann@example.org"),
    "what an app was seen to need": ("onboard", "desk", "--propose"),
}


class Line:
    """The command line on a store under `four_eyes`, and tokens of people."""

    def __init__(self, folder: Path) -> None:
        (folder / "tools.json").write_text(json.dumps([SEND]))
        desk = ("--app", "desk", "--owner", "desk@example.org")
        assert self.asked("keys", "create", *desk, "--clearance", "internal", mode="single").exit_code == 0
        self.app_key = self.run("keys", "create", *desk, "--json")
        self.run("tools", "import", str(folder / "tools.json"))
        self.both = self.token("ann@example.org", "editor", "approver")
        self.viewer = self.token("vic@example.org", "viewer")

    def asked(self, *arguments: str, token: str | None = None, mode: str = "four_eyes") -> Result:
        return CliRunner().invoke(cli, arguments, env={"ROUTER_TOKEN": token, "ROUTER_GOVERNANCE": mode})

    def run(self, *arguments: str, token: str | None = None) -> str:
        result = self.asked(*arguments, token=token)
        assert result.exit_code == 0, result.output
        return result.stdout

    def token(self, email: str, *roles: str) -> str:
        chosen = [word for role in roles for word in ("--role", role)]
        return str(json.loads(self.run("people", "add", email, *chosen, "--json"))["token"])

    def log(self) -> list[tuple[str, str]]:
        return [(row["author"], row["status"]) for row in json.loads(self.run("rules", "log", "--json"))]


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setenv("ROUTER_DATA_DIR", str(tmp_path / "data"))
    return Line(tmp_path)


@pytest.mark.parametrize("arguments", PROPOSING.values(), ids=PROPOSING)
def test_a_command_proposes_for_the_person_of_the_token_who_cannot_approve_it(line: Line, arguments: tuple[str, ...]) -> None:
    before = line.log()
    for token, told in (
        (None, "under `four_eyes` a person may propose"),
        (line.viewer, "takes"),
        ("rp-nobody", "nobody signs in"),
    ):
        refused = line.asked(*arguments, token=token)
        assert refused.exit_code == 1
        assert told in refused.stderr
        assert refused.stdout == ""
        assert line.log() == before
    line.run(*arguments, token=line.both)
    assert line.log() == [("ann@example.org", "checked"), *before]
    made = json.loads(line.run("rules", "log", "--json"))[0]["id"]
    alone = line.asked("rules", "approve", made, token=line.both)
    assert alone.exit_code == 1
    assert "you proposed it" in alone.stderr


def test_an_app_that_is_there_gets_a_key_without_a_token(line: Line) -> None:
    assert json.loads(line.app_key)["app_in_force"] is True
    assert "checked" not in [status for _, status in line.log()]
