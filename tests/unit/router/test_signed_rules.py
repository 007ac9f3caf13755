"""Rule files that a proposer signed: who is believed to have signed what, and who proposes it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from router.cli import cli
from router.governance.rules_signed import SIGNED_TEXT, by_key, digest_of
from router.governance.rules_values import NotAllowed

GITA, MALLORY = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
FILES = {"routes.yaml": "routes: []\n", "cases/own.yaml": "cases: []\n"}


def public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def signature(key: Ed25519PrivateKey, text: bytes) -> str:
    return base64.b64encode(key.sign(text)).decode()


def over(files: dict[str, str], key: Ed25519PrivateKey = GITA) -> str:
    return signature(key, SIGNED_TEXT + digest_of(files).encode())


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    path = tmp_path / "proposers"
    path.write_text(f"# who proposes\n\nsomebody ssh-ed25519 no-key\nGita@Example.org,g ssh-ed25519 {public(GITA).split()[1]}\n")
    return path


def test_whose_pinned_key_signed_the_files_has_proposed_them(pins: Path) -> None:
    signed = by_key(FILES, over(FILES), pins)
    assert (signed.by, signed.proof) == ("gita@example.org", f"an Ed25519 signature over the files, {digest_of(FILES)}")
    assert by_key(dict(reversed(FILES.items())), over(FILES), pins) == signed  # in whatever order they are read


@pytest.mark.parametrize(
    "files",
    [
        FILES | {"routes.yaml": "routes: [] \n"},
        FILES | {"tools.yaml": ""},
        {"routes.yaml": FILES["routes.yaml"]},
        {"routes.yaml": FILES["cases/own.yaml"], "cases/own.yaml": FILES["routes.yaml"]},
        {"routes.yamlroutes: []\n": "", "cases/own.yaml": FILES["cases/own.yaml"]},
        {"routes.yaml": FILES["routes.yaml"], "cases/other.yaml": FILES["cases/own.yaml"]},
        {},
    ],
    ids=["a changed text", "one more", "one less", "texts in each other's place", "a text in a name", "another name", "none"],
)
def test_a_signature_is_of_these_very_files(pins: Path, files: dict[str, str]) -> None:
    with pytest.raises(NotAllowed, match="no key pinned in `proposers` made this signature"):
        by_key(files, over(FILES), pins)


def test_whose_key_is_not_pinned_has_proposed_nothing(pins: Path, tmp_path: Path) -> None:
    bare = signature(GITA, digest_of(FILES).encode())  # made for something else, without our words before it
    for wrong in (over(FILES, MALLORY), bare, base64.b64encode(b"short").decode(), ""):
        with pytest.raises(NotAllowed, match="made this signature"):
            by_key(FILES, wrong, pins)
    with pytest.raises(NotAllowed, match="no base64"):
        by_key(FILES, "%", pins)
    with pytest.raises(NotAllowed, match="look at ROUTER_PROPOSERS"):
        by_key(FILES, over(FILES), tmp_path / "nothing")


class Line:
    """The command line with pinned keys."""

    def __init__(self, folder: Path, pins: Path) -> None:
        self.edited = folder / "edited"
        self.pins = pins
        assert self.asked("keys", "create", "--app", "demo").exit_code == 0  # seeds the rules
        assert self.asked("rules", "export", str(self.edited)).exit_code == 0
        self.write("when: {task: brainstorming}")

    def write(self, condition: str) -> None:
        rule = f"prohibitions:\n  - {{id: mine, owner: o@example.org, reason: a test, {condition}}}\n"
        routes = self.edited / "routes.yaml"
        before = routes.read_text().split("prohibitions:\n")
        rest = "\n".join(line for line in before[1].split("\n") if "id: mine" not in line)
        routes.write_text(before[0] + rule + rest)

    def asked(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments, env={"ROUTER_PROPOSERS": str(self.pins)})

    def signed(self, key: Ed25519PrivateKey = GITA) -> str:
        told = self.asked("rules", "digest", str(self.edited))
        assert told.exit_code == 0, told.output
        return signature(key, told.stdout.encode())

    def propose(self, *more: str) -> Result:
        return self.asked("rules", "propose", "--from", str(self.edited), "--note", "signed", "--json", *more)

    def token(self, email: str, *roles: str) -> str:
        chosen = [word for role in roles for word in ("--role", role)]
        return str(json.loads(self.asked("people", "add", email, *chosen, "--json").stdout)["token"])

    def log(self) -> list[tuple[str, str]]:
        return [(row["author"], row["status"]) for row in json.loads(self.asked("rules", "log", "--json").stdout)]


@pytest.fixture
def line(tmp_path: Path, pins: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setenv("ROUTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ROUTER_GOVERNANCE", "four_eyes")
    return Line(tmp_path, pins)


def test_the_command_proposes_what_the_digest_was_signed_of_and_nothing_else(line: Line) -> None:
    good = line.signed()
    refused = [line.propose(), line.propose("--signature", line.signed(MALLORY))]
    line.write("when: {task: brainstorming, app: demo}")
    refused.append(line.propose("--signature", good))
    assert [(each.exit_code, each.stdout) for each in refused] == [(1, "")] * 3
    assert line.log() == [("router", "active")]
    line.write("when: {task: brainstorming}")
    made = json.loads(line.propose("--signature", good).stdout)
    assert (made["author"], made["via"], made["status"]) == ("gita@example.org", "git", "checked")
    assert made["signed"].startswith("an Ed25519 signature over the files, ")
    assert json.loads(line.propose("--signature", good).stdout)["id"] == made["id"]  # a pipeline that runs again


def test_what_was_signed_once_is_not_proposed_again_after_it_was_decided_on_whatever_base(line: Line) -> None:
    good = line.signed()
    made = json.loads(line.propose("--signature", good).stdout)
    approver = line.token("eve@example.org", "approver")
    assert line.asked("rules", "reject", made["id"], "--token", approver).exit_code == 0
    again = line.propose("--signature", good)
    assert again.exit_code == 1
    assert f"was proposed as `{made['id']}`, which is rejected: sign it anew" in again.stderr
    line.write("when: {task: brainstorming, app: demo}")
    other = json.loads(line.propose("--signature", line.signed()).stdout)
    for step in ("approve", "activate"):
        assert line.asked("rules", step, other["id"], "--token", approver).exit_code == 0
    line.write("when: {task: brainstorming}")
    assert line.propose("--signature", good).exit_code == 1  # and so on another base
    assert [status for _, status in line.log()].count("checked") == 0
