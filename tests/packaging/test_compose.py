"""deploy/compose.yaml: what it sets is what the service and its stores understand."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from running import inherited, wait_for

from router.settings import Settings, load_settings
from router.storage.redis_client import RedisClient, durability_faults
from router.upstream.credentials import PROVIDERS, deployments_for

REPOSITORY = Path(__file__).parents[2]
GIVEN = {"POSTGRES_PASSWORD": "0123456789abcdef", "ROUTER_SECRET_KEY": "ab" * 32}
"""What the comment at the top of the file asks to be exported."""


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    parsed = YAML(typ="safe").load((REPOSITORY / "deploy/compose.yaml").read_text())
    assert set(parsed) == {"services", "volumes"}
    named = {volume.partition(":")[0] for service in parsed["services"].values() for volume in service["volumes"]}
    assert named == set(parsed["volumes"])
    found: dict[str, Any] = parsed["services"]
    return found


def filled(value: str) -> str:
    """The value with `${NAME}`, `${NAME:-default}` and `${NAME:?message}` as Compose fills them in, from GIVEN."""

    def one(match: re.Match[str]) -> str:
        name, how, rest = match["name"], match["how"], match["rest"]
        if how == ":?":
            return GIVEN[name]
        return GIVEN.get(name) or rest or ""

    return re.sub(r"\$\{(?P<name>\w+)(?:(?P<how>:[-?])(?P<rest>[^}]*))?\}", one, value)


def test_the_service_takes_the_environment_that_it_is_given(services: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {name: filled(value) for name, value in services["router"]["environment"].items()}
    settings_of_ours = {f"ROUTER_{name.upper()}" for name in Settings.model_fields}
    credentials = {variable for provider in PROVIDERS for variable in provider.variables}
    assert set(environment) <= settings_of_ours | credentials
    for name in set(settings_of_ours) - set(environment):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(host="0.0.0.0")
    assert settings.governance_mode == "four_eyes"
    assert settings.sql_url == f"postgresql+psycopg://router:{GIVEN['POSTGRES_PASSWORD']}@postgres:5432/router"
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://redis:6379/0"
    assert deployments_for({name: value for name, value in environment.items() if name in credentials}) == []


def test_it_waits_for_stores_that_exist_and_say_when_they_are_well(services: dict[str, Any]) -> None:
    for name, how in services["router"]["depends_on"].items():
        assert how == {"condition": "service_healthy"}
        assert services[name]["healthcheck"]["test"]


def test_a_stop_gives_the_service_the_time_to_settle_what_is_under_way(services: dict[str, Any]) -> None:
    patience = int(services["router"]["stop_grace_period"].removesuffix("s"))
    assert patience > 2 * Settings.model_fields["drain_seconds"].default


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server")
def test_its_redis_is_one_that_the_service_trusts_with_balances(services: dict[str, Any], tmp_path: Path) -> None:
    socket = tmp_path / "s"
    started = subprocess.Popen(
        [*services["redis"]["command"], "--dir", str(tmp_path), "--port", "0", "--unixsocket", str(socket)],
        stdout=subprocess.DEVNULL,
        env=inherited(),
    )
    try:
        wait_for(socket.exists, what="the socket of Redis")

        async def faults() -> list[str]:
            client = RedisClient(f"unix://{socket}")
            try:
                return await durability_faults(client)
            finally:
                await client.aclose()

        assert asyncio.run(faults()) == []
    finally:
        started.terminate()
        started.wait(10)
