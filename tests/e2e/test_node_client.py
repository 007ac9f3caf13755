"""The official client for Node, unmodified, against a running service: what it parses, gathers, raises and does not retry."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest
from running import inherited, running

SUITE = Path(__file__).parent / "node"
NAMES = re.findall(r'^test\("(.+?)"', (SUITE / "suite.mjs").read_text(), re.MULTILINE)
INSTALL_SECONDS = 240
SUITE_SECONDS = 120
UNREACHABLE = re.compile(
    r"E(NOTFOUND|AI_AGAIN|CONNREFUSED|CONNRESET|TIMEDOUT|HOSTUNREACH|NETUNREACH|NOTCACHED)\b|ERR_SOCKET_TIMEOUT"
)

pytestmark = [
    pytest.mark.node,
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(shutil.which, ("npm", "node"))), reason="no npm, or no Node.js for it to run on"),
]


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """A directory with the suite, the client and the Node.js that the lock file names; npm keeps what it fetched."""
    with tempfile.TemporaryDirectory(prefix="node-client-") as made:
        directory = Path(made) / "node"
        shutil.copytree(SUITE, directory, ignore=shutil.ignore_patterns("node_modules"))
        command = ["npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--fetch-retries=1"]
        try:
            done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm did not end within {INSTALL_SECONDS} s")
        if done.returncode and (reason := UNREACHABLE.search(done.stderr)):
            pytest.skip(f"npm cannot reach its registry: {reason.group()}")
        assert done.returncode == 0, done.stderr
        yield directory


@pytest.fixture(scope="module")
def outcomes(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Test name → why it failed, empty where it held."""
    with running(tmp_path_factory.mktemp("node-client") / "data") as service:
        clean = {name: value for name, value in inherited().items() if not name.startswith(("OPENAI_", "NODE_"))}
        environment = {**clean, "OPENAI_BASE_URL": f"{service.base_url}/v1", "OPENAI_API_KEY": service.key()}
        node = installed / "node_modules" / ".bin" / "node"
        done = subprocess.run(
            [node, "--test-reporter=junit", "suite.mjs"],
            cwd=installed,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SUITE_SECONDS,
        )
    assert done.stdout.startswith("<?xml"), done.stdout + done.stderr
    cases = ElementTree.fromstring(done.stdout).iter("testcase")  # noqa: S314 - written by the process above
    return {str(case.get("name")): "\n".join(failure.text or "" for failure in case.iter("failure")) for case in cases}


@pytest.mark.parametrize("name", NAMES)
def test_the_client_for_node_finds_that(name: str, outcomes: Mapping[str, str]) -> None:
    assert name in outcomes
    assert not outcomes[name], outcomes[name]


def test_every_outcome_of_the_suite_is_asked_for(outcomes: Mapping[str, str]) -> None:
    assert sorted(outcomes) == sorted(NAMES)


def test_the_lock_file_names_no_registry() -> None:
    assert '"resolved"' not in (SUITE / "package-lock.json").read_text()
