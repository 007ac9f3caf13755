"""What the documentation says is what the code does: settings, refusals, headers, commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from router.cli import COMMANDS
from router.cli.settings import page
from router.errors import CODES
from router.settings import SettingsError, load_settings

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_page_of_settings_is_what_the_command_prints() -> None:
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == page()


def test_the_readme_lists_every_code_with_its_status_and_whether_to_retry() -> None:
    rows = [line for line in README.splitlines() if re.match(r"\| `[a-z_]+`", line) and line.count("|") == 6]
    told = {
        code: (int(status), retry.strip() == "yes")
        for codes, status, _, retry, _ in (row.strip("|").split("|") for row in rows)
        for code in re.findall(r"`([a-z_]+)`", codes)
    }
    assert told == {code: (row.status, row.retry) for code, row in CODES.items()}


def test_the_readme_names_every_header_that_an_answer_may_carry() -> None:
    source = (ROOT / "router" / "pipeline.py").read_text(encoding="utf-8")
    sent = set(re.findall(r'b"(x-r[a-z-]+)"', source))
    assert sent
    assert {name for name in sent if f"`{name}`" not in README} == set()


def test_commands_that_the_documentation_calls_exist() -> None:
    text = README + "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    called = set(re.findall(r"(?:`|/)router ([a-z][a-z-]*)", text))
    assert called
    assert called <= set(COMMANDS)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ROUTER_PORT", "seventy", "ROUTER_PORT"),
        ("ROUTER_PROT", "8080", "ROUTER_PROT: unknown setting"),
        ("ROUTER_GOVERNANCE", "nobody", "ROUTER_GOVERNANCE"),
        ("ROUTER_UPSTREAM_URL", "localhost:8000", "ROUTER_UPSTREAM_URL: must start with http"),
        ("ROUTER_CONFIG", "/nowhere/router.toml", "ROUTER_CONFIG: there is no file"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=re.escape(told)):
        load_settings()


def test_a_variable_wins_over_the_file_and_an_argument_over_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "router.toml"
    file.write_text('port = 1111\nworkers = 3\nlog_level = "error"\n')
    monkeypatch.setenv("ROUTER_CONFIG", str(file))
    monkeypatch.setenv("ROUTER_PORT", "2222")
    settings = load_settings(log_level="debug")
    assert (settings.workers, settings.port, settings.log_level) == (3, 2222, "debug")


def test_settings_never_show_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUTER_SECRET_KEY", "ab" * 32)
    monkeypatch.setenv("DATABASE_URL", "postgresql://router:hunter2@db/router")
    shown = repr(load_settings())
    assert "hunter2" not in shown
    assert "abab" not in shown


def test_governance_is_single_on_loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(host="127.0.0.1").governance_mode == "single"
    assert load_settings(host="0.0.0.0").governance_mode == "four_eyes"
    monkeypatch.setenv("ROUTER_GOVERNANCE", "single")
    assert load_settings(host="0.0.0.0").governance_mode == "single"
