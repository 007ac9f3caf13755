"""What can be said of the Dockerfile without building it: lint, stages, user, and what the build context holds."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from dockerfile import Stage, parse

from router.cli import COMMANDS
from router.settings import Settings

REPOSITORY = Path(__file__).parents[2]
HADOLINT = Path(sys.executable).parent / "hadolint"


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    return parse((REPOSITORY / "Dockerfile").read_text())


@pytest.mark.skipif(not HADOLINT.exists(), reason="no hadolint")
def test_the_linter_finds_nothing() -> None:
    found = subprocess.run([HADOLINT, "--no-color", REPOSITORY / "Dockerfile"], capture_output=True, text=True)
    assert (found.stdout, found.returncode) == ("", 0)


def test_every_stage_is_a_release_of_debian_and_only_the_first_installs_packages_of_ours(stages: list[Stage]) -> None:
    first, last = stages
    assert {stage.image for stage in stages} == {"debian:bookworm-slim"}
    assert "pip install" not in " ".join(instruction.value for instruction in last.instructions)
    assert any("--require-hashes" in instruction.value for instruction in first.instructions)


def test_the_service_runs_as_a_user_without_rights_and_says_whether_it_is_well(stages: list[Stage]) -> None:
    last = stages[-1]
    user = (last.last("USER") or "0").partition(":")[0]
    assert int(user) >= 1000  # a number, so that an orchestrator can tell that it is not root
    named = {word: last.command(word) for word in ("HEALTHCHECK", "ENTRYPOINT", "CMD")}
    assert named["ENTRYPOINT"] == ["router"]
    assert named["CMD"][0] in COMMANDS
    assert named["HEALTHCHECK"][:1] == ["router"]
    assert named["HEALTHCHECK"][1] in COMMANDS


def test_the_image_sets_only_settings_that_exist(stages: list[Stage]) -> None:
    pairs = [pair for each in stages[-1].instructions if each.word == "ENV" for pair in shlex.split(each.value)]
    ours = {name for name, _, _ in (pair.partition("=") for pair in pairs) if name.startswith("ROUTER_")}
    assert ours
    assert ours <= {f"ROUTER_{name.upper()}" for name in Settings.model_fields}


def test_the_build_context_holds_what_is_copied_and_no_more(stages: list[Stage]) -> None:
    copied = {
        source
        for stage in stages
        for each in stage.instructions
        if each.word == "COPY" and "--from=" not in each.value
        for source in shlex.split(each.value)[:-1]
    }
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == copied
    assert all((REPOSITORY / source).exists() for source in copied)
