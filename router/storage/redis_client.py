"""Commands to Redis at the price of a dictionary look-up: one connection, everything asked in one tick sent in one write.

redis-py's commands cost 100 µs of CPU and more, each with a connection of its own from the pool. Here all requests of a worker share
one connection: commands are packed at once, written together at the end of the event-loop tick, and answered in order. redis-py
parses the URL, and speaks to a Redis Cluster (`cluster=True`), where each command travels alone.

Down: whatever goes wrong (no connection, no answer within the time limit, a server that loads, only reads or is full) raises
Unavailable(`store_unavailable`). The connection is then given up, so that no late answer meets the wrong question, and the next
command makes a new one.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.resources
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import hiredis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import parse_url
from redis.exceptions import RedisError

from router.errors import Unavailable

Word = str | bytes | int
Reply = Any  # bytes, int, None, or a list of replies

TIME_LIMIT = 0.8  # seconds from the question to the answer: a request is to be refused within one
CLUSTER_CONNECTIONS = 64  # commands under way at once; redis-py raises an error beyond a hundred

# First words of error replies that tell of the server's state, not of a mistake in the command.
_SERVER_STATES = frozenset(
    {
        *("LOADING", "READONLY", "OOM", "MISCONF", "MASTERDOWN", "NOREPLICAS", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "UNBLOCKED"),
        *("NOAUTH", "WRONGPASS", "NOPERM", "DENIED", "EXECABORT"),
    }
)
_INCOMPLETE = object()
_pack = cast("Callable[[tuple[Word, ...]], bytes]", hiredis.pack_command)  # its stub knows tuples of one word only


class Script(NamedTuple):
    """A Lua script and the digest under which Redis knows it."""

    name: str
    text: bytes
    sha1: str


def script(name: str, *files: str) -> Script:
    """The script made of the named files of `lua/`, in this order."""
    folder = importlib.resources.files("router.storage") / "lua"
    text = b"".join((folder / file).read_bytes() for file in files)
    return Script(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest())


class RedisClient:
    """Shared by everything in one event loop. `time_limit` in seconds bounds each command, the connecting included."""

    def __init__(self, url: str, *, cluster: bool = False, time_limit: float = TIME_LIMIT) -> None:
        self.cluster = cluster
        self._url = url
        self._time_limit = time_limit
        self._link: _Link | None = None
        self._connecting: asyncio.Task[_Link] | None = None
        self._options: dict[str, Any] = {} if cluster else dict(parse_url(url))
        self._tls = _tls(self._options) if url.startswith("rediss:") and not cluster else None
        self._nodes: RedisCluster | None = None
        self._cluster_connections = asyncio.Semaphore(CLUSTER_CONNECTIONS)

    async def call(self, *words: Word) -> Reply:
        """The reply to one command. Raises Unavailable, or RedisError where the command itself is wrong."""
        if self.cluster:
            return await self._call_cluster(words)
        link = self._link
        if link is None or link.closed:
            link = await self._connected()
        reply = await link.ask(_pack(words))
        if isinstance(reply, hiredis.ReplyError):
            raise _raised(reply)
        return reply

    async def run(self, script: Script, keys: Sequence[Word], words: Sequence[Word]) -> Reply:
        """The reply of a script. A server that does not know it (new, restarted, flushed) is taught it on the way."""
        try:
            return await self.call("EVALSHA", script.sha1, len(keys), *keys, *words)
        except UnknownScript:
            return await self.call("EVAL", script.text, len(keys), *keys, *words)

    async def many(self, commands: Sequence[Sequence[Word]]) -> list[Reply]:
        """The replies to several commands, sent together, not as a transaction. The first failure is raised."""
        if self.cluster:
            return await asyncio.gather(*(self._call_cluster(words) for words in commands))
        link = self._link
        if link is None or link.closed:
            link = await self._connected()
        replies = [await answer for answer in [link.ask(_pack(tuple(words))) for words in commands]]
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise _raised(reply)
        return replies

    async def scan(self, pattern: str) -> list[str]:
        """All keys that match a glob; looks through the whole of Redis, so never on the line."""
        if self.cluster:
            return [key.decode() async for key in self._cluster().scan_iter(match=pattern, count=1000)]
        found, cursor = [], b"0"
        while True:
            cursor, names = await self.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            found += [name.decode() for name in names]
            if cursor == b"0":
                return found

    async def aclose(self) -> None:
        """Give up the connection; commands under way raise Unavailable."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._link is not None:
            self._link.give_up("the connection was closed")
            await self._link.gone
        if self._nodes is not None:
            await self._nodes.aclose()

    async def _connected(self) -> _Link:
        """The one connection; whoever comes while it is being made waits for the same attempt."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(_seen)  # those who waited may all have left
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> _Link:
        options = self._options
        loop = asyncio.get_running_loop()
        link = _Link(loop, self._time_limit)
        try:
            async with asyncio.timeout(self._time_limit):
                if "path" in options:
                    await loop.create_unix_connection(lambda: link, options["path"])
                else:
                    host, port = options.get("host", "localhost"), options.get("port", 6379)
                    await loop.create_connection(lambda: link, host, port, ssl=self._tls)
                for words in _greeting(options):
                    reply = await link.ask(_pack(words))
                    if isinstance(reply, hiredis.ReplyError):
                        raise _raised(reply)
        except BaseException as failure:
            link.give_up("the connection could not be made")
            if isinstance(failure, OSError | RedisError):  # TimeoutError is an OSError
                raise _unavailable(str(failure) or type(failure).__name__) from failure
            raise
        self._link = link
        return link

    def _cluster(self) -> RedisCluster:
        if self._nodes is None:
            # No time limit of its own: on Python 3.11 that could swallow a cancellation.
            self._nodes = RedisCluster.from_url(
                self._url, socket_timeout=None, socket_connect_timeout=self._time_limit, protocol=2
            )
            callbacks = self._nodes.response_callbacks  # replies shall be as they are on one server
            for name in [name for name in callbacks if not name.startswith(("CLUSTER", "COMMAND"))]:
                del callbacks[name]
        return self._nodes

    async def _call_cluster(self, words: Sequence[Word]) -> Reply:
        try:
            async with asyncio.timeout(self._time_limit), self._cluster_connections:
                return await self._cluster().execute_command(*words)
        except (RedisError, OSError) as failure:
            kind = str(failure).partition(" ")[0]
            if type(failure).__name__ == "NoScriptError" or kind == "NOSCRIPT":
                raise UnknownScript(str(failure)) from failure
            if type(failure).__name__ == "ResponseError" and kind not in _SERVER_STATES:
                raise
            raise _unavailable(str(failure) or type(failure).__name__) from failure


class UnknownScript(RedisError):
    """The server does not know a script by this digest."""


class _Link(asyncio.Protocol):
    """One connection: questions go out in order, answers come back in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop, time_limit: float) -> None:
        self.closed = False
        self.gone: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._time_limit = time_limit
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._asked: deque[tuple[float, asyncio.Future[Reply]]] = deque()
        self._unsent: list[bytes] = []
        self._watch: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def ask(self, packed: bytes) -> asyncio.Future[Reply]:
        """The answer to come: a reply, or a ReplyError as a value. Fails with Unavailable."""
        answer: asyncio.Future[Reply] = self._loop.create_future()
        if self.closed:
            answer.set_exception(_unavailable("the connection is closed"))
            return answer
        self._asked.append((self._loop.time(), answer))
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(packed)
        if self._watch is None:
            self._watch = self._loop.call_later(self._time_limit, self._check)
        return answer

    def give_up(self, why: str) -> None:
        """Close at once and fail whatever waits: an answer may not meet another question, so nothing is kept."""
        self.closed = True
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        elif not self.gone.done():
            self.gone.set_result(None)
        waiting, self._asked = self._asked, deque()
        for _, answer in waiting:
            if not answer.done():
                answer.set_exception(_unavailable(why))
                answer.exception()  # marks it as seen: of several answers awaited together only the first failure is raised

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self.closed:
            self._transport.abort()
            return
        connection: socket.socket | None = transport.get_extra_info("socket")
        if connection is not None and connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                _, answer = self._asked.popleft()
                if not answer.done():  # whoever asked may have left
                    answer.set_result(reply)
        except (hiredis.ProtocolError, IndexError):
            self.give_up("the server does not speak the Redis protocol")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.gone.done():
            self.gone.set_result(None)
        self.give_up(f"the connection was lost: {exc or 'closed by the server'}")

    def _send(self) -> None:
        packed, self._unsent = self._unsent, []
        if self._transport is not None and not self.closed:
            self._transport.write(packed[0] if len(packed) == 1 else b"".join(packed))

    def _check(self) -> None:
        """One timer for the whole connection: the oldest question decides."""
        self._watch = None
        if not self._asked:
            return
        left = self._asked[0][0] + self._time_limit - self._loop.time()
        if left <= 0:
            self.give_up(f"no answer within {self._time_limit:g} s")
        else:
            self._watch = self._loop.call_later(left, self._check)


async def durability_faults(client: RedisClient) -> list[str]:
    """What in this server's configuration would let it lose or evict balances: one sentence each, empty where all is well."""
    if client.cluster:
        return ["the settings of a Redis Cluster's nodes cannot be checked from here"]
    faults = []
    try:
        replies = await client.many([("CONFIG", "GET", "maxmemory-policy"), ("CONFIG", "GET", "appendonly")])
    except RedisError:
        return ["this Redis does not let its configuration be read"]
    settings = {bytes(name): bytes(value) for name, value in replies}
    if settings.get(b"maxmemory-policy") != b"noeviction":
        faults.append("Redis may evict balances: set `maxmemory-policy noeviction`")
    if settings.get(b"appendonly") != b"yes":
        faults.append("Redis keeps no append-only file, so a restart would lose balances: set `appendonly yes`")
    return faults


def _seen(task: asyncio.Task[_Link]) -> None:
    if not task.cancelled():
        task.exception()


def _greeting(options: dict[str, Any]) -> list[tuple[Word, ...]]:
    greeting: list[tuple[Word, ...]] = []
    if options.get("password"):
        user = (options["username"],) if options.get("username") else ()
        greeting.append(("AUTH", *user, options["password"]))
    if options.get("db"):
        greeting.append(("SELECT", int(options["db"])))
    return greeting


def _tls(options: dict[str, Any]) -> ssl.SSLContext:
    """Certificates and host names are always checked; the URL may name `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile`."""
    unknown = {name for name in options if name.startswith("ssl_")} - {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}
    if unknown:
        raise ValueError(f"the Redis URL names `{min(unknown)}`: only ssl_ca_certs, ssl_certfile and ssl_keyfile are known")
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if "ssl_certfile" in options:
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    return context


def _raised(reply: hiredis.ReplyError) -> Exception:
    kind = str(reply).partition(" ")[0]
    if kind == "NOSCRIPT":
        return UnknownScript(str(reply))
    if kind in _SERVER_STATES:
        return _unavailable(str(reply))
    return RedisError(str(reply))


def _unavailable(detail: str) -> Unavailable:
    return Unavailable(
        "store_unavailable", "the session store is not available: try again shortly", detail=detail, retry_after=1.0
    )
